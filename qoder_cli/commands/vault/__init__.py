"""`qoder vault`: secrets for agents."""

from qoder_cli.commands import made
from qoder_cli.nouns.table import NOUNS

COMMANDS = {
    **made.commands(
        NOUNS["vault"],
        get="qoder_cli.commands.vault.get:get",
        put="qoder_cli.commands.vault.put:put",
        check="qoder_cli.commands.vault.get:check",
    ),
    "credential": ("The secrets in a vault, one by one", made.commands(NOUNS["vault credential"])),
}
