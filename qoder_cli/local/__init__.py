"""Local state: one SQLite file of triggers and things seen, and key locks."""
