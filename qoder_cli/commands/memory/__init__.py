"""`qoder memory`: memory stores and what they hold."""

from qoder_cli.commands import made
from qoder_cli.nouns.table import NOUNS

COMMANDS = made.commands(
    NOUNS["memory"],
    ls="qoder_cli.commands.memory.read:ls",
    cat="qoder_cli.commands.memory.read:cat",
    write="qoder_cli.commands.memory.write:write",
    remove="qoder_cli.commands.memory.write:remove",
    history="qoder_cli.commands.memory.read:history",
    redact="qoder_cli.commands.memory.write:redact",
)
