"""A page about a night: what needs someone, did not happen, failed or waits, and what comes next."""
