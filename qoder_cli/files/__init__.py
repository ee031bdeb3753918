"""What people write in files: YAML, JSON and Markdown as trees, their variables filled in."""
