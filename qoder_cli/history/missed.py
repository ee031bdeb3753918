"""Fires of which no run came, and the keys under which they are made up: the same whoever does it, wherever."""

from collections.abc import Iterable

from qoder_cli.app import App
from qoder_cli.base.times import utc_text


def fire_key(deployment_id: str, due: float) -> str:
    """Return the idempotency key of the run that makes up a fire, which was due at a time in unix seconds."""
    return f"fire-{deployment_id}-{utc_text(due)}"


def made_up(app: App, keys: Iterable[str]) -> dict[str, str]:
    """Return the runs that make up fires, by their keys: those known here, and to the store that machines share.

    Raises QoderError if that store cannot be read.
    """
    from qoder_cli.keys.opening import shared_records

    wanted = dict.fromkeys(keys)
    runs = {key: entry.run for key in wanted for entry in app.store.of_key(key, host=app.settings.host) if entry.run}
    for record in shared_records(app) if wanted else ():
        is_started = record.state == "started" and record.workspace == app.settings.workspace_id
        if is_started and record.key in wanted and record.run is not None:
            runs[record.key] = record.run
    return runs
