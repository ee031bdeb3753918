"""`qoder model`: the models that agents can use."""

from qoder_cli.commands import generic

COMMANDS = generic.commands("model")
