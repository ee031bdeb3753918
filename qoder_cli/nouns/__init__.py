"""What the API has things of: its operations, the table of nouns, and what every noun can do."""
