"""`qoder vault`: secrets for agents."""

from qoder_cli.commands import made
from qoder_cli.nouns.table import NOUNS

COMMANDS = {
    **made.commands(NOUNS["vault"]),
    "credential": ("The secrets in a vault, one by one", made.commands(NOUNS["vault credential"])),
}
