"""`qoder vault`: secrets for agents."""

from qoder_cli.commands import made
from qoder_cli.nouns.table import NOUNS

COMMANDS = {
    **made.commands(
        NOUNS["vault"],
        get="qoder_cli.commands.vault.secrets:get",
        put="qoder_cli.commands.vault.secrets:put",
        check="qoder_cli.commands.vault.secrets:check",
    ),
    "credential": ("The secrets in a vault, one by one", made.commands(NOUNS["vault credential"])),
}
