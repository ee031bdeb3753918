"""Flags, variables and the config file: which server to ask, with which token."""
