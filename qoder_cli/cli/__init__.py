"""The command tree: `main`, the options that all commands take, ids from standard input."""
