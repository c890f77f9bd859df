"""Samples and the simulated ComfyUI fleet."""
