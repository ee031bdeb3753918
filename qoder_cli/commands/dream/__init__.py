"""`qoder dream`: dreams, which tidy memories up."""

from qoder_cli.commands import made

COMMANDS = made.commands("dream", dreams="create cancel")
