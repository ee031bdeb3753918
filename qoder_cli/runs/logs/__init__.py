"""What happened in runs, and what happens now: one run, or many side by side."""
