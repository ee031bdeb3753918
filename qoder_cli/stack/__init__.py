"""A whole stack from a folder: agents and all they need, as files, made so on the server."""
