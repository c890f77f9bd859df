"""The cache operations that the API, the command line and the schedule all call; every one of them on record."""
