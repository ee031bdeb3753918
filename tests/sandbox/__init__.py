"""The rehearsal server, and what becomes of its faults."""
