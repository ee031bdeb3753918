"""Moved to `qoder_cli.cron`; this name goes once tests/test_sandbox.py imports it from there."""

from qoder_cli.cron import parse, upcoming

__all__ = ["parse", "upcoming"]
