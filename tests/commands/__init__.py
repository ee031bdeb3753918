"""Commands in the user's words, against a fake server, in this process."""
