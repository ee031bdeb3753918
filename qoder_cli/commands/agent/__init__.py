"""`qoder agent`: agents."""

from qoder_cli.commands import made

COMMANDS = made.commands("agent", edit="create update")
