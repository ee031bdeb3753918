"""The queue of a self-hosted environment (api/facts.md, 4 and 7.3)."""

from qoder_cli.nouns.operations import Operation
from qoder_cli.sandbox.call import Call, Reply
from qoder_cli.sandbox.kept import FORMS
from qoder_cli.sandbox.records import Session, Thing
from qoder_cli.sandbox.shapes import Shape, stamp
from qoder_cli.sandbox.store import Act, Kind, said, visible
from qoder_cli.sandbox.wire import Refusal, invalid
from qoder_cli.sandbox.world import World

_RECLAIM = 5000  # ms after which what nobody acknowledged is given to someone else
_POLLING = 30  # seconds for which a worker counts as polling


def enqueue(world: World, session: Session) -> None:
    """Let the workers of a session's environment know of it, where it has its own."""
    environment = world.thing("environments", session.environment_id)
    if environment is not None and environment.fields["config"]["type"] == "self_hosted":
        id, data = session.environment_id, {"type": "session", "id": session.id}
        world.keep("environments.work", id, at=session.created, environment_id=id, data=data)


def _of_own_hosts(call: Call) -> None:
    if _environment(call).fields["config"]["type"] != "self_hosted":
        raise invalid("The environment is not self_hosted.")


def _environment(call: Call) -> Thing:
    return call.world.things["environments"][call.ids[0]]


def _poll(kind: Kind, operation: Operation, call: Call) -> Reply:
    """Give the oldest item that nobody has to a worker; null when there is none."""
    call.query.number("block_ms", 1, least=1, most=999)  # it never waits: nothing can come meanwhile
    reclaim = call.query.number("reclaim_older_than_ms", _RECLAIM) / 1000
    worker = call.request.headers.get("worker-id", "")
    _environment(call).fields.setdefault("_polls", {})[worker] = call.now
    for item in call.world.alive(kind.home(call)):
        taken = item.fields.get("_taken")
        if item.fields["state"] == "queued" and (taken is None or taken + reclaim <= call.now):
            item.fields.update(_taken=call.now, _worker=worker)
            return visible(item)
    return None


def _stats(kind: Kind, operation: Operation, call: Call) -> Reply:
    queued = [item.fields for item in call.world.alive(kind.home(call)) if item.fields["state"] == "queued"]
    polls = _environment(call).fields.get("_polls", {}).values()
    taken = sum("_taken" in item for item in queued)
    oldest = next((item["created_at"] for item in queued), None)
    polling = sum(at > call.now - _POLLING for at in polls)
    counts: Shape = {"type": "work_queue_stats", "depth": len(queued) - taken, "pending": taken}
    return {**counts, "oldest_queued_at": oldest, "workers_polling": polling}


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
    ttl = min(max(call.query.number("desired_ttl_seconds", 60), 10), 600)
    expected = call.query.one("expected_last_heartbeat")
    if expected is not None and expected != (fields["latest_heartbeat_at"] or "NO_HEARTBEAT"):
        raise Refusal(412, "Another worker took over.", type="precondition_failed_error")
    if fields["state"] == "queued":
        raise Refusal(409, "The item is not acknowledged.")
    goes_on = fields["state"] in ("starting", "active")
    if goes_on:
        fields["latest_heartbeat_at"] = stamp(call.now, digits=6)
        fields["started_at"] = fields["started_at"] or stamp(call.now)
        fields["state"] = "active"
    lease: Shape = {"type": "work_heartbeat", "lease_extended": goes_on, "ttl_seconds": ttl}
    return {**lease, "last_heartbeat": fields["latest_heartbeat_at"], "state": fields["state"]}


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


KINDS = {"environments.work": Kind(FORMS["environments.work"], guard=_of_own_hosts)}
OWN: dict[str, Act] = {
    "environments.work.poll": _poll,
    "environments.work.stats": _stats,
    "environments.work.ack": _ack,
    "environments.work.heartbeat": _heartbeat,
    "environments.work.stop": _stop,
}
