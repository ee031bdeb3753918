"""Rules in a file that answer an agent's calls: read, and matched, without a server or a store."""
