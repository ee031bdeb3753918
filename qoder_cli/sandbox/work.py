"""The queue of a self-hosted environment (api/facts.md, 4 and 7.3)."""

from qoder_cli.nouns.operations import Operation
from qoder_cli.sandbox.call import Call, Reply
from qoder_cli.sandbox.records import Session, Thing
from qoder_cli.sandbox.shapes import Shape, stamp
from qoder_cli.sandbox.store import Act, Kind, add, said, visible
from qoder_cli.sandbox.wire import Refusal, invalid
from qoder_cli.sandbox.world import World

_RECLAIM = 5000  # ms after which what nobody acknowledged is given to someone else
_TTL = (10, 60, 600)  # seconds: at least, unless asked otherwise, at most
_POLLING = 30  # seconds for which a worker counts as polling
_NONE = "NO_HEARTBEAT"  # what the first heartbeat expects to be the last one


def enqueue(world: World, session: Session) -> None:
    """Let the workers of a session's environment know of it, where it has its own."""
    environment = world.thing("environments", session.environment_id)
    if environment is not None and environment.fields["config"]["type"] == "self_hosted":
        fields = {"environment_id": session.environment_id, "data": {"type": "session", "id": session.id}}
        add(
            world, KINDS["environments.work"], f"environments/{session.environment_id}/work", fields, at=session.created
        )


def _of_own_hosts(call: Call) -> None:
    if _environment(call).fields["config"]["type"] != "self_hosted":
        raise invalid("The environment is not self_hosted.")


def _environment(call: Call) -> Thing:
    found = call.world.thing("environments", call.ids[0])
    assert found is not None  # the route has seen to it
    return found


def _items(kind: Kind, call: Call) -> list[Thing]:
    return list(call.world.things.get(kind.home(call), {}).values())


def _number(call: Call, name: str, default: int, least: int, most: float) -> int:
    value = call.query.one(name)
    if value is None:
        return default
    if not value.isascii() or not value.isdigit() or not least <= int(value[:9]) <= most:
        raise invalid(f"{name} must be a number from {least} to {most:g}.", name)
    return int(value)


def _poll(kind: Kind, operation: Operation, call: Call) -> Reply:
    """Give the oldest item that nobody has to a worker; null when there is none."""
    _number(call, "block_ms", 1, 1, 999)  # it never waits: nothing can come meanwhile
    reclaim = _number(call, "reclaim_older_than_ms", _RECLAIM, 0, 10**9) / 1000
    worker = call.request.headers.get("worker-id", "")
    _environment(call).fields.setdefault("_polls", {})[worker] = call.now
    for item in _items(kind, call):
        taken = item.fields.get("_taken")
        if item.fields["state"] == "queued" and (taken is None or taken + reclaim <= call.now):
            item.fields.update(_taken=call.now, _worker=worker)
            return visible(item)
    return None


def _stats(kind: Kind, operation: Operation, call: Call) -> Reply:
    queued = [item.fields for item in _items(kind, call) if item.fields["state"] == "queued"]
    polls = _environment(call).fields.get("_polls", {}).values()
    return {
        "type": "work_queue_stats",
        "depth": sum("_taken" not in item for item in queued),
        "pending": sum("_taken" in item for item in queued),
        "oldest_queued_at": queued[0]["created_at"] if queued else None,
        "workers_polling": sum(at > call.now - _POLLING for at in polls),
    }


def _of_worker(kind: Kind, call: Call) -> Shape:
    """Return the fields of an item. Raises Refusal when another worker has it."""
    fields = kind.known(call).fields
    worker = call.request.headers.get("worker-id")
    if worker is not None and fields.get("_worker", worker) != worker:
        raise Refusal(409, "Another worker has this item.")
    return fields


def _ack(kind: Kind, operation: Operation, call: Call) -> Reply:
    fields = _of_worker(kind, call)
    call.expect_no_fields()
    if fields["state"] != "queued":
        raise Refusal(409, f"The item is {fields['state']}.")
    fields.update(state="starting", acknowledged_at=stamp(call.now))
    return visible(kind.known(call))


def _heartbeat(kind: Kind, operation: Operation, call: Call) -> Reply:
    """Extend the lease of a worker that knows the last heartbeat."""
    fields = _of_worker(kind, call)
    call.expect_no_fields()
    least, usual, most = _TTL
    ttl = min(max(_number(call, "desired_ttl_seconds", usual, 0, 10**9), least), most)
    expected = call.query.one("expected_last_heartbeat")
    if expected is not None and expected != (fields["latest_heartbeat_at"] or _NONE):
        raise Refusal(412, "Another worker took over.", type="precondition_failed_error")
    if fields["state"] == "queued":
        raise Refusal(409, "The item is not acknowledged.")
    goes_on = fields["state"] in ("starting", "active")
    if goes_on:
        fields["latest_heartbeat_at"] = stamp(call.now, digits=6)
        fields["started_at"] = fields["started_at"] or stamp(call.now)
        fields["state"] = "active"
    return {
        "type": "work_heartbeat",
        "last_heartbeat": fields["latest_heartbeat_at"],
        "lease_extended": goes_on,
        "state": fields["state"],
        "ttl_seconds": ttl,
    }


def _stop(kind: Kind, operation: Operation, call: Call) -> Reply:
    """Ask the worker to stop; at once with `force`, or where no worker has begun."""
    item, force = kind.known(call), said(operation, call).get("force")
    fields = item.fields
    fields["stop_requested_at"] = fields["stop_requested_at"] or stamp(call.now)
    if fields["state"] == "queued" or (force and fields["state"] != "stopped"):
        fields.update(state="stopped", stopped_at=stamp(call.now))
    elif fields["state"] != "stopped":
        fields["state"] = "stopping"
    return visible(item)


_WORK: Shape = {
    **{"environment_id": "", "data": {}, "state": "queued", "metadata": {}, "acknowledged_at": None},
    **{"started_at": None, "latest_heartbeat_at": None, "stop_requested_at": None, "stopped_at": None},
}
KINDS = {
    "environments.work": Kind("environments/{}/work", "work", "work", _WORK, guard=_of_own_hosts, dated=("created_at",))
}
OWN: dict[str, Act] = {
    "environments.work.poll": _poll,
    "environments.work.stats": _stats,
    "environments.work.ack": _ack,
    "environments.work.heartbeat": _heartbeat,
    "environments.work.stop": _stop,
}
