"""`qoder env work`: work for your own workers (api.md#environments)."""

import re
from typing import Any
from urllib.parse import urlencode

from qoder_cli.app import App
from qoder_cli.base.errors import NoResponse, UsageError
from qoder_cli.base.model import ApiObject, Resource, filled, mapping
from qoder_cli.cli.options import argument, flag, option
from qoder_cli.commands.generic import change_things, edit_command, one_argument
from qoder_cli.http.answers import WITHOUT_BODY
from qoder_cli.http.readback import Sent, object_write
from qoder_cli.nouns.edits.thing import Target, target_of
from qoder_cli.nouns.edits.verbs import Change
from qoder_cli.nouns.named import id_of
from qoder_cli.nouns.shown import show
from qoder_cli.nouns.table import NOUNS, has_id, path_of

_ENV, _WORK = NOUNS["env"], NOUNS["env work"]
_OF_ENV = one_argument(_ENV)
_ONE = argument("WORK", "Work item (work_…).")

Polled = ApiObject | None  # what `poll` prints

_BLOCK = "Wait so many milliseconds for work."
_RECLAIM = "Take over work that was not acknowledged for so long."
_EXPECTED = "The last_heartbeat before; without one it is the first."
NO_HEARTBEAT = "NO_HEARTBEAT"  # what a first heartbeat expects
_ACK = Change("acknowledge", "acknowledging", "acknowledged", "POST", "/ack", "acknowledged")
_WORKER = re.compile(r"[\x21-\x7e]{1,256}")


def _has_stopped(raw: dict[str, Any]) -> bool:
    return raw.get("state") == "stopped" or bool(raw.get("stopped_at"))


_STOP = Change(
    *("stop", "stopping", "stopped", "POST", "/stop", "stopping"),
    shows=lambda raw: _has_stopped(raw) or raw.get("state") == "stopping" or bool(raw.get("stop_requested_at")),
)


def stats(app: App, env: str = _OF_ENV) -> None:
    """Show how many work items are queued and how many workers are polling.

    Examples:
      qoder env work stats workers"""
    id = id_of(app, _ENV, env)
    counts = mapping(app.client.get(f"{path_of(_WORK, id)}/stats"))
    app.output.record({key: value for key, value in counts.items() if key != "type"}, data=counts, id=id)


def stop(
    app: App,
    env: str = _OF_ENV,
    work: str = _ONE,
    force: bool = flag("--force", "Stop immediately instead of letting the worker finish."),
) -> None:
    """Stop a work item.

    Exits 0 if it is stopping, or has stopped already.

    Examples:
      qoder env work stop workers work_demo"""
    _change(app, env, work, _STOP._replace(body={"force": True}, reads=_has_stopped) if force else _STOP)


def ack(app: App, env: str = _OF_ENV, work: str = _ONE) -> None:
    """Acknowledge a work item, for a worker that polled it.

    Examples:
      qoder env work ack workers work_demo"""
    _change(app, env, work, _ACK)


def _change(app: App, env: str, work: str, change: Change) -> None:
    change_things(app, _WORK, change, [(work, _target(app, env, work))], as_list=False)


def _target(app: App, env: str, work: str) -> Target:
    id = id_of(app, _WORK, work)  # what can be none is refused before any request
    return target_of(_WORK, id_of(app, _ENV, env), id)


def poll(
    app: App,
    env: str = _OF_ENV,
    worker: str = option("--worker", "ID", "What this worker is called.", default=...),
    block_ms: int | None = option("--block-ms", "N", _BLOCK, min=1, max=999),
    reclaim_older_than_ms: int | None = option("--reclaim-older-than-ms", "N", _RECLAIM, min=1),
) -> None:
    """Ask for a work item, as a worker. JSON is null when nothing waits.

    Asked once: a lost response is not asked for again.

    Examples:
      qoder env work poll workers --worker w1 --block-ms 500 --json"""
    if not _WORKER.fullmatch(worker):
        raise UsageError("--worker must be 1 to 256 printable ASCII characters without spaces")
    query = filled({"block_ms": block_ms, "reclaim_older_than_ms": reclaim_older_than_ms})
    path = f"{path_of(_WORK, id_of(app, _ENV, env))}/poll"
    client = app.client
    request = client.prepare("GET", path, params=query, headers={"worker-id": worker})
    answer = client.accept(client.send(request))
    work = None if answer.status in WITHOUT_BODY else client.understand(answer)
    if work is not None:
        if not has_id(_WORK, mapping(work)):
            raise NoResponse("the response is not a work item")
        show(app, _WORK, work)
        return
    if app.output.is_json:
        app.output.screen.write("null\n")
    app.progress.note("note: no work is waiting")


def heartbeat(
    app: App,
    env: str = _OF_ENV,
    work: str = _ONE,
    expected: str = option("--expected", "TIME", _EXPECTED, default=NO_HEARTBEAT),
    ttl: int | None = option("--ttl", "SECONDS", "How long the lease lasts.", min=1),
) -> None:
    """Tell that a work item is still being worked on.

    Exits 6 if another worker took over.

    Examples:
      qoder env work heartbeat workers work_demo --ttl 60"""
    target = _target(app, env, work)
    query = {"expected_last_heartbeat": expected, **filled({"desired_ttl_seconds": ttl})}
    write = object_write(
        app.client,
        Sent("POST", f"{target.path}/heartbeat?{urlencode(query)}"),
        parse=lambda value: Resource({"id": target.id, **mapping(value)}),
        what=f"the heartbeat of {target.id}",
        shows=lambda beat: "last_heartbeat" in beat.raw,
        find=None,  # another worker's looks the same
        look=app.looking(*target.look),
    )
    beat = {key: value for key, value in write.deliver().raw.items() if key != "id"}  # which was added here
    app.output.record({key: value for key, value in beat.items() if key != "type"}, data=beat, id=target.id)


update = edit_command(_WORK, "update")
