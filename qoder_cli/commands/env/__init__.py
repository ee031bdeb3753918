"""`qoder env`: the environments that sessions run in."""

from qoder_cli.cli.options import HiddenCommand
from qoder_cli.commands import generic
from qoder_cli.commands.env import edit, work

# What only workers do is for programs.
_FOR_WORKERS = {verb: HiddenCommand(getattr(work, verb)) for verb in ("poll", "ack", "heartbeat", "update")}
COMMANDS = {
    **generic.commands("env", create=edit.create, update=edit.update),
    "work": (
        "The queue of work for a self-hosted environment's workers",
        generic.commands("env work", stats=work.stats, stop=work.stop, **_FOR_WORKERS),
    ),
}
