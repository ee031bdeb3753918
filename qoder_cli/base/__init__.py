"""Needs nothing of ours: errors, the server's objects, ids, times, JSON, threads, signals."""
