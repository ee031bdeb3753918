"""A session's events: heard, shown, answered."""
