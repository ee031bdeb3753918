"""`qoder memory`: memory stores and what they hold."""

from qoder_cli.commands import made

COMMANDS = made.commands("memory", memories="ls cat write remove history redact")
