"""`qoder model`: the models that agents can use."""

from qoder_cli.commands import made

COMMANDS = made.commands("model")
