"""The API's things: its operations, the table of nouns, what each can do."""
