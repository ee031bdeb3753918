"""What became of a night: what did not happen, what failed, what waits, what comes."""
