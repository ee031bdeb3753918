"""Runs that were started before: found, listed, and added up."""
