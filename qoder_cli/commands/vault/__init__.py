"""`qoder vault`: secrets for agents."""

from qoder_cli.commands import made

COMMANDS = {
    **made.commands("vault", secrets="get put check"),
    "credential": ("The secrets in a vault, one by one", made.commands("vault credential")),
}
