"""What thinks: pure decisions over plain values. No I/O, no clock, no logging; stdlib and itself only."""
