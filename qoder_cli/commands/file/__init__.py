"""`qoder file`: files."""

from qoder_cli.commands import made

COMMANDS = made.commands("file", content="upload download")
