"""`qoder skill`: skills."""

from qoder_cli.commands import made
from qoder_cli.nouns.table import NOUNS

COMMANDS = made.commands(
    NOUNS["skill"],
    upload="qoder_cli.commands.skill.content:upload",
    download="qoder_cli.commands.skill.content:download",
)
