"""`qoder memory`: memory stores and what they hold."""

from qoder_cli.commands import made
from qoder_cli.nouns.table import NOUNS

COMMANDS = made.commands(NOUNS["memory"])
