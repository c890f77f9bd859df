"""What the program costs, measured: each module is run by hand, and README.md says how."""
