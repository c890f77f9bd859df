"""The only package that speaks HTTP to ComfyUI servers."""
