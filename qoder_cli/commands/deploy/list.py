"""`qoder deploy list`, made from its row in the table."""

from qoder_cli.commands.made import list_command
from qoder_cli.nouns.table import NOUNS

list_deployments = list_command(NOUNS["deploy"])
