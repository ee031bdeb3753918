"""`qoder dream`: dreams, which tidy memories up."""

from qoder_cli.commands import made
from qoder_cli.nouns.table import NOUNS

COMMANDS = made.commands(
    NOUNS["dream"],
    create="qoder_cli.commands.dream.dreams:create",
    cancel="qoder_cli.commands.dream.dreams:cancel",
)
