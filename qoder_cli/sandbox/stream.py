"""The event stream of a session (api/facts.md, 2.5)."""

import math
from collections.abc import Collection, Iterator, Mapping

from qoder_cli.sandbox.records import Moment, Session, stamp
from qoder_cli.sandbox.wire import Shape, Step, encode
from qoder_cli.sandbox.world import World

_LAST = ("session.status_terminated", "session.deleted")
_WORDS_A_DELTA = 4
_WRITING = 0.1  # seconds that a delta takes


def follow(
    world: World, session: Session, conditions: Mapping[str, float], *, position: int, deltas: Collection[str]
) -> Iterator[Step]:
    """Yield what to send from event `position` on, and the seconds until more may come.

    Types in `deltas` are previewed. Callers may ask earlier, for the unforeseen.
    """
    sent_at = world.now()
    closes = sent_at + conditions.get("cut", math.inf)
    behind = math.inf if "silent" in conditions else conditions.get("behind", 0)
    beats_at = math.inf if "silent" in conditions else world.heartbeat
    moment: Moment | None = None  # the next event, its frames, and how many of them were sent
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


def event_of(session: Session, moment: Moment, *, legacy: bool) -> Shape:
    """Return an event as shown (api/facts.md, 2.6)."""
    beat, at = moment.beat, stamp(moment.at, digits=6)
    shape: Shape = {"id": session.event_id(moment), "type": beat.type, **session.told(moment)}
    if beat.type.startswith("session.thread_"):
        named = session.fields["agent"].get("name", "sandbox-agent")
        shape |= {"session_thread_id": session.called("sthr_"), "agent_name": named}
    shape["processed_at"] = at
    if legacy:
        turn_id = session.called("turn_")
        shape |= {"session_id": session.id, "turn_id": turn_id, "schema_version": "1.0", "created_at": at}
    return shape


def _frames(world: World, session: Session, moment: Moment, deltas: Collection[str]) -> Iterator[tuple[float, bytes]]:
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
            said = " " * (n > 0) + " ".join(words[n : n + _WORDS_A_DELTA])
            delta = {"type": "content_delta", "index": index, "content": {"type": "text", "text": said}}
            yield {"type": "event_delta", "event_id": event["id"], "delta": delta}


def _frame(event_id: str, data: Shape) -> bytes:
    return f"id: {event_id}\nevent: {data['type']}\ndata: ".encode() + encode(data) + b"\n\n"
