"""The things of the API: its operations, the table of nouns, what each can do."""
