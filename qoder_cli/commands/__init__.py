"""The commands: `deploy` and `run` name theirs, the other nouns are commands or have a few."""
