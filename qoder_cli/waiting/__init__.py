"""Waiting for runs: each by itself and its event stream, many by the lists."""
