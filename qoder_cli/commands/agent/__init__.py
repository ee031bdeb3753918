"""`qoder agent`: agents."""

from qoder_cli.commands import made
from qoder_cli.nouns.table import NOUNS

COMMANDS = made.commands(
    NOUNS["agent"],
    create="qoder_cli.commands.agent.edit:create",
    update="qoder_cli.commands.agent.edit:update",
)
