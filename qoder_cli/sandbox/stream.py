"""The event stream of a session (api/facts.md, 2.5)."""

import math
from collections.abc import Collection, Iterator, Mapping

from qoder_cli.sandbox.records import Moment, Session
from qoder_cli.sandbox.shapes import Shape, View
from qoder_cli.sandbox.wire import Step, encode
from qoder_cli.sandbox.world import World

_LAST = ("session.status_terminated", "session.deleted")
_WORDS_A_DELTA = 4


class EventStream:
    """One connection to a session's stream: events from now on, or after the event `after`.

    Types in `deltas` are previewed. Raises LookupError for an unknown `after`.
    """

    def __init__(
        self,
        world: World,
        session: Session,
        conditions: Mapping[str, float],
        *,
        after: str | None,
        deltas: Collection[str],
    ) -> None:
        self._world = world
        self._session = session
        self._deltas = deltas
        self._sent_at = world.now()
        self._closes = self._sent_at + conditions.get("cut", math.inf)
        self._behind = conditions.get("behind", 0)
        if "silent" in conditions:
            self._behind = math.inf
        self._position = self._place(after)  # how many of the session's events are behind it

    def steps(self) -> Iterator[Step]:
        """Yield what to send, and the seconds until there may be more, until the stream closes.

        It may be asked earlier: something unforeseen may happen meanwhile.
        """
        while True:
            with self._world.lock:
                self._world.settle()
                now = self._world.now()
                due = [] if now >= self._closes else list(self._due(now))
                over, pause = self._is_over(now), self._pause(now)
            yield from due
            if over:
                return
            yield pause

    def _place(self, after: str | None) -> int:
        past = self._session.past(self._world.now())
        if after is None:
            return len(past)
        ids = [self._session.event_id(moment.number) for moment in past]
        if after not in ids:
            raise LookupError(after)
        return ids.index(after) + 1

    def _due(self, now: float) -> Iterator[bytes]:
        if self._behind == math.inf:
            return
        for moment in self._session.past(now - self._behind)[self._position :]:
            self._position += 1
            self._sent_at = now
            yield from self._frames(moment)
        if now - self._sent_at >= self._world.heartbeat:
            self._sent_at = now
            yield b": heartbeat\n\n"

    def _is_over(self, now: float) -> bool:
        sent = self._session.past(now - self._behind)[: self._position]
        return now >= self._closes or any(moment.beat.type in _LAST for moment in sent)

    def _pause(self, now: float) -> float:
        due = [self._closes]
        if self._behind < math.inf:
            due += [self._sent_at + self._world.heartbeat]
            due += [moment.at + self._behind for moment in self._session.moments[self._position :][:1]]
        return max(min(due) - now, 0.0)

    def _frames(self, moment: Moment) -> Iterator[bytes]:
        event = View(moment.at, self._world.generation).event(self._session, moment)
        if event["type"] in self._deltas:
            for preview in _previews(event):
                yield _frame(event["id"], preview)
        yield _frame(event["id"], event)


def _previews(event: Shape) -> Iterator[Shape]:
    """Yield what is streamed of a message before it is whole; of thinking, only that it began."""
    yield {"type": "event_start", "event": {"id": event["id"], "type": event["type"]}}
    for index, block in enumerate(event.get("content", [])):
        words = block["text"].split(" ")
        for n in range(0, len(words), _WORDS_A_DELTA):
            said = " " * (n > 0) + " ".join(words[n : n + _WORDS_A_DELTA])
            delta = {"type": "content_delta", "index": index, "content": {"type": "text", "text": said}}
            yield {"type": "event_delta", "event_id": event["id"], "delta": delta}


def _frame(event_id: str, data: Shape) -> bytes:
    return f"id: {event_id}\nevent: {data['type']}\ndata: ".encode() + encode(data) + b"\n\n"
