"""Storage engines. The only package that knows SQL, Redis or MongoDB."""
