"""Knows the truth about every server and warms it safely: probe, decide, submit, record, report."""
