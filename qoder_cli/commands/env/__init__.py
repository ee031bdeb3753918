"""`qoder env`: the environments that sessions run in."""

from qoder_cli.cli.options import Untold
from qoder_cli.commands import made
from qoder_cli.nouns.table import NOUNS

COMMANDS = {
    **made.commands(
        NOUNS["env"],
        create="qoder_cli.commands.env.edit:create",
        update="qoder_cli.commands.env.edit:update",
    ),
    "work": (
        "What waits for the workers of a self-hosted environment",
        made.commands(
            NOUNS["env work"],
            stats="qoder_cli.commands.env.work:stats",
            stop="qoder_cli.commands.env.work:stop",
            poll=Untold("qoder_cli.commands.env.work:poll"),
            ack=Untold("qoder_cli.commands.env.work:ack"),
            heartbeat=Untold("qoder_cli.commands.env.work:heartbeat"),
            update=Untold("qoder_cli.commands.env.work:update"),
        ),
    ),
}
