"""`qoder env`: the environments that sessions run in."""

from qoder_cli.commands import made

_FOR_WORKERS = "poll ack heartbeat update"
COMMANDS = {
    **made.commands("env", edit="create update"),
    "work": (
        "What waits for the workers of a self-hosted environment",
        made.commands("env work", work=f"stats stop {_FOR_WORKERS}", untold=_FOR_WORKERS),
    ),
}
