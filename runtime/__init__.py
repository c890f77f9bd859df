"""What main.py wires together and the operating system sees: the running fleet, the jobs, the web thread, the log."""
