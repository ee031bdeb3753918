"""`qoder skill`: skills."""

from qoder_cli.commands import made

COMMANDS = made.commands("skill", content="upload download")
