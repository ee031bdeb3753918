"""The commands: `deploy` and `run` name theirs, the other nouns are commands themselves or have a few."""
