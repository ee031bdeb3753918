"""A session's events: heard, put into words, shown."""
