"""`qoder file`: files."""

from qoder_cli.commands import made
from qoder_cli.nouns.table import NOUNS

COMMANDS = made.commands(
    NOUNS["file"],
    upload="qoder_cli.commands.file.content:upload",
    download="qoder_cli.commands.file.content:download",
)
