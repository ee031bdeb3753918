"""Deployments changed: compared with what is wanted, written once, and read back."""
