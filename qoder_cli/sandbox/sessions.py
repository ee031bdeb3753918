"""Special to sessions, events, threads, resources (api.md#sessions and #events); and the models."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from qoder_cli.nouns.parts import variables_in
from qoder_cli.sandbox.bodies import check_tools
from qoder_cli.sandbox.kinds import SERVED, OperationCall, Reply, Things, of
from qoder_cli.sandbox.records import FakeThing, stamp
from qoder_cli.sandbox.scripts import COSTS, Beat, FakeSession, TimedBeat, answer_to, echo
from qoder_cli.sandbox.wire import Refusal, Shape, Step, encode, invalid, unknown_field
from qoder_cli.sandbox.world import World

_LAST = ("session.status_terminated", "session.deleted")
_WORDS_A_DELTA = 4
_WRITING = 0.1  # seconds that a delta takes


def follow(
    world: World, session: FakeSession, conditions: Mapping[str, float], *, position: int, deltas: Collection[str]
) -> Iterator[Step]:
    """Yield what to send from event `position` on, and the seconds until more may come.

    Types in `deltas` are previewed. Callers may ask earlier, for the unforeseen.
    """
    sent_at = world.now()
    closes = sent_at + conditions.get("cut", math.inf)
    behind = math.inf if "silent" in conditions else conditions.get("behind", 0)
    beats_at = math.inf if "silent" in conditions else world.heartbeat
    moment: TimedBeat | None = None  # the next event, its frames, and how many of them were sent
    frames: list[tuple[float, bytes]] = []
    sent, over = 0, False
    while not over:
        with world.lock:
            world.settle()
            now, wakes = world.now(), math.inf
            over, due = now >= closes, list[bytes]()
            while not over and position < len(session.moments):
                if moment is not session.moments[position]:
                    moment, sent = session.moments[position], 0
                    frames = list(_frames(world, session, moment, deltas))
                ready = [frame for at, frame in frames[sent:] if at + behind <= now]
                due, sent = due + ready, sent + len(ready)
                if sent < len(frames):
                    wakes = frames[sent][0] + behind
                    break
                position += 1
            over = over or any(moment.beat.type in _LAST for moment in session.moments[:position])
            if not over and not due and now - sent_at >= beats_at:
                due = [b": heartbeat\n\n"]
            if due:
                sent_at = now
        yield from due
        if not over:
            yield max(min(closes, sent_at + beats_at, wakes) - now, 0.0)


def event_of(session: FakeSession, moment: TimedBeat, *, legacy: bool) -> Shape:
    """Return an event as shown (api.md#events)."""
    beat, at = moment.beat, stamp(moment.at, digits=6)
    shape: Shape = {"id": session.event_id(moment), "type": beat.type}
    if beat.type.startswith("session.thread_"):  # of the main thread, unless it names another
        shape |= {"session_thread_id": session.called("sthr_"), "agent_name": session.fields["agent"]["name"]}
    shape |= {**session.fields_of(moment), "processed_at": at}
    if legacy:
        turn_id = session.called("turn_")
        shape |= {"session_id": session.id, "turn_id": turn_id, "schema_version": "1.0", "created_at": at}
    return shape


def _frames(
    world: World, session: FakeSession, moment: TimedBeat, deltas: Collection[str]
) -> Iterator[tuple[float, bytes]]:
    """Yield an event's frames, each with the time to send it."""
    event = event_of(session, moment, legacy=world.generation == "legacy")
    previews = list(_previews(event)) if moment.beat.type in deltas else []
    before = session.moments[moment.number - 1].at if moment.number else session.created
    for left, preview in zip(range(len(previews), 0, -1), previews, strict=True):
        at = moment.at - left * _WRITING / session.speed
        yield max(before, at), _frame(event["id"], preview)
    yield moment.at, _frame(event["id"], event)


def _previews(event: Shape) -> Iterator[Shape]:
    """Yield the previews of a message; of thinking, only that it began."""
    yield {"type": "event_start", "event": {"id": event["id"], "type": event["type"]}}
    for index, block in enumerate(event.get("content", [])):
        words = block["text"].split(" ")
        for n in range(0, len(words), _WORDS_A_DELTA):
            chunk = " " * (n > 0) + " ".join(words[n : n + _WORDS_A_DELTA])
            delta = {"type": "content_delta", "index": index, "content": {"type": "text", "text": chunk}}
            yield {"type": "event_delta", "event_id": event["id"], "delta": delta}


def _frame(event_id: str, data: Shape) -> bytes:
    return f"id: {event_id}\nevent: {data['type']}\ndata: ".encode() + encode(data) + b"\n\n"


def _session(call: OperationCall) -> FakeSession:
    return call.world.sessions[call.ids[0]]


@of("sessions")
class _Sessions(Things):
    def accept(self, call: OperationCall, fields: Shape, old: FakeThing | None) -> None:
        if "environment_variables" in fields:  # a text or an object (api.md#sessions)
            variables = fields["environment_variables"] or {}
            fields["environment_variables"] = variables_in(variables) if isinstance(variables, str) else variables
        world, agent = call.world, fields.get("agent", {})
        if old is None:
            fields["agent"] = world.snapshot(world.pinned(agent))
        else:
            fields["agent"] = old.fields["agent"] | agent
        if {"tools", "mcp_servers"} & agent.keys():
            check_tools(fields["agent"], "agent.tools")
        if old is not None:
            return
        resources = fields.get("resources") or ()
        fields["resources"] = [world.new_resource(resource, at=call.now) for resource in resources]

    def make(self, call: OperationCall, fields: Shape) -> FakeThing:
        return call.world.add_session(at=call.now, **fields)

    def changed(self, call: OperationCall, entity: FakeThing, how: str) -> None:
        """Queue work for a new session in a self-hosted environment."""
        id = entity.fields["environment_id"]
        if how == "created" and call.world.is_self_hosted(id):
            data = {"type": "session", "id": entity.id}
            call.world.keep("environments.work", id, at=call.now, environment_id=id, data=data)

    def leave(self, call: OperationCall, entity: FakeThing) -> None:
        """Delete a session for good, even a busy one. Its run stays."""
        super().leave(call, entity)
        call.world.sessions[entity.id].break_off(call.world.now(), Beat(0, "session.deleted"))

    def show(self, call: OperationCall, entity: FakeThing) -> Shape:
        assert isinstance(entity, FakeSession)
        past, shape = entity.past(call.now), super().show(call, entity)
        started, last = entity.starts(), past[-1].at if past else entity.created
        active = max(0.0, last - (last if started is None else started))
        credits, status = entity.worked(call.now) * COSTS, entity.status(call.now)
        if call.legacy and entity.cancelled is not None and entity.busy(call.now):
            status = "canceling"
        shape |= {
            "status": status,
            "stats": {"active_seconds": round(active, 9), "duration_seconds": round(last - entity.created, 9)},
            "usage": {"total_credits": float(credits) if credits else 0},
            "updated_at": stamp(max(last, entity.changed), digits=6),
        }
        return shape

    def values(self, fields: Shape, name: str) -> Iterable[Any]:
        if name == "memory_store_id":
            return [resource.get("memory_store_id") for resource in fields["resources"]]
        return super().values(fields, name)

    def page(self, call: OperationCall) -> Reply:
        if call.query("agent_version") is not None and call.query("agent_id") is None:
            raise invalid("agent_version needs agent_id.", "agent_version")
        return super().page(call)

    def archive(self, call: OperationCall) -> Reply:
        self.unarchived(call)
        return super().archive(call)

    def cancel(self, call: OperationCall) -> Reply:
        self.find(call)
        if _session(call).cancel(call.world.now()):
            call.status = 202
        # It says so even when it was idle (api.md#sessions).
        return {"id": call.ids[0], "type": "session", "status": "canceling"}


@of("sessions.threads")
class _Threads(Things):
    def things(self, call: OperationCall) -> Mapping[str, FakeThing]:
        session = _session(call)
        whole = SERVED["sessions"].show(call, session)
        agent = {name: whole["agent"][name] for name in ("id", "type", "version", "name")}
        id = session.called("sthr_")
        shape: Shape = {"id": id, "type": "session_thread", "session_id": session.id, "agent": agent}
        shape |= {"parent_thread_id": None, "status": session.status(call.now)}
        shape |= {name: whole[name] for name in ("stats", "created_at", "updated_at", "archived_at")}
        return {id: FakeThing(id, shape, session.created)}

    def archive(self, call: OperationCall) -> Reply:
        raise Refusal(409, "The thread of the coordinator cannot be archived.")  # api.md#threads


@of("sessions.events", "sessions.threads.events")
class _Events(Things):
    def things(self, call: OperationCall) -> Mapping[str, FakeThing]:
        session = _session(call)
        shown = ((moment, event_of(session, moment, legacy=call.legacy)) for moment in session.past(call.now))
        return {event["id"]: FakeThing(event["id"], event, moment.at) for moment, event in shown}

    def is_visible(self, call: OperationCall, entity: FakeThing) -> bool:
        return True  # a replica that lags lags in whole sessions

    def page(self, call: OperationCall) -> Reply:
        if call.request.wants_stream:
            return self.stream(call)
        return super().page(call)

    def stream(self, call: OperationCall) -> Reply:
        after = call.request.headers.get("last-event-id")
        ids = [None, *self.things(call)]
        if after is not None and after not in ids:
            raise Refusal(409, "Invalid cursor: Last-Event-ID names no event of this session.")
        position = len(ids) - 1 if after is None else ids.index(after)
        deltas = call.all("event_deltas[]")
        return follow(call.world, _session(call), call.conditions, position=position, deltas=deltas)

    def send(self, call: OperationCall) -> Reply:
        SERVED["sessions"].unarchived(call)
        session, events = _session(call), call.fields()["events"]
        if any(event["type"] == "system.message" for event in events[:-1]):
            raise invalid("There is at most one system.message, and it is the last event.")
        if session.status(call.now) == "terminated":
            raise Refusal(409, "Session is terminated.")
        waiting, answers, messages = session.waiting(call.now), list[Shape](), list[Shape]()
        for n, event in enumerate(events):
            kind = event["type"]
            if kind == "user.tool_confirmation":
                _check_confirmation(event, f"events.{n}", "decision" if call.legacy else "result")
            if id := answer_to(event):
                param = next(name for name in ("tool_use_id", "custom_tool_use_id") if name in event)
                named = waiting.pop(id, None)
                if named is None:
                    raise invalid(f"{param}: no call with this id waits for an answer.", f"events.{n}.{param}")
                if (named.beat.type == "agent.custom_tool_use") != (param == "custom_tool_use_id"):
                    raise invalid(f"{param}: {named.beat.type} wants another answer.", f"events.{n}.{param}")
                answers.append(event)
            elif kind != "user.interrupt":
                messages.append(event)
            elif messages or answers:
                raise invalid("user.interrupt must come first.", f"events.{n}")
        if messages and session.going(call.now):
            message = "Session is currently processing a turn. Cancel the current turn or wait for completion."
            raise Refusal(409, message, type="invalid_request_error")  # api.md#errors
        before = len(session.past(call.now))
        interrupts = events[: len(events) - len(messages) - len(answers)]
        if interrupts:
            session.cancel(call.now, *map(echo, interrupts))
        if answers:
            session.answer(call.now, answers)
        if messages:
            session.say(call.now, messages)
        if call.legacy:
            call.status = 202
        shown = [event.fields for event in [*self.things(call).values()][before:]]
        return {"data": [event for event in shown if event["type"].startswith(("user.", "system."))]}


def _check_confirmation(event: Shape, where: str, wanted: str) -> None:
    """Check an answer, in this generation's field (api.md#sending-events). Raises Refusal."""
    for name in ("result", "decision"):
        if name in event and name != wanted:
            raise unknown_field(name, f"{where}.{name}")
    if wanted not in event:
        raise invalid(f"Missing required field: {where}.{wanted}", f"{where}.{wanted}")
    if "deny_message" in event and event[wanted] != "deny":
        raise invalid("deny_message is only for a denial.", where)


@of("sessions.resources")
class _Resources(Things):
    def things(self, call: OperationCall) -> Mapping[str, FakeThing]:
        at = _session(call).created
        return {row["id"]: FakeThing(row["id"], row, at) for row in _session(call).fields["resources"]}

    def add(self, call: OperationCall) -> Reply:
        SERVED["sessions"].unarchived(call)
        fields, resources = call.fields(), _session(call).fields["resources"]
        resource = call.world.new_resource(fields, at=call.now)
        if any(other.get("mount_path") == resource["mount_path"] for other in resources):
            raise Refusal(409, "Something is mounted there already.")
        resources.append(resource)
        return resource

    def update(self, call: OperationCall) -> Reply:
        resource = self.find(call)
        secrets = {"github_repository": "authorization_token", "git_repository": "password"}
        for name, value in call.body().items():
            if name != secrets.get(resource.fields["type"]):
                raise unknown_field(name, name)
            if not isinstance(value, str) or not value:
                raise invalid(f"{name} must be a text.", name)
        resource.change(call.now)
        return resource.fields

    def leave(self, call: OperationCall, entity: FakeThing) -> None:
        _session(call).fields["resources"].remove(entity.fields)


@of("models")
class _Models(Things):
    def page(self, call: OperationCall) -> Reply:
        return {"data": [model.fields for model in self.things(call).values()], "has_more": False}
