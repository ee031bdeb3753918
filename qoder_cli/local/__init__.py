"""What this machine remembers: one SQLite file of triggers, names and ids seen, and the locks on keys."""
