"""Every kind of cache behind one protocol."""
