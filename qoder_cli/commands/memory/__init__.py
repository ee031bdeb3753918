"""`qoder memory`: memory stores and what they hold."""

from qoder_cli.commands import made
from qoder_cli.nouns.table import NOUNS

COMMANDS = made.commands(
    NOUNS["memory"],
    ls="qoder_cli.commands.memory.memories:ls",
    cat="qoder_cli.commands.memory.memories:cat",
    write="qoder_cli.commands.memory.memories:write",
    remove="qoder_cli.commands.memory.memories:remove",
    history="qoder_cli.commands.memory.memories:history",
    redact="qoder_cli.commands.memory.memories:redact",
)
