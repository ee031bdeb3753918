"""Flags, variables and the config file: which server is asked with which token."""
