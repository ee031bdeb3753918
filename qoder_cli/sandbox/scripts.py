"""What happens in a session: beats on a time line, shared by all that follow them.

A turn has the usual order (api.md#events): running, user's message, work, idle.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from hashlib import blake2s
from typing import Any, Literal

from qoder_cli.sandbox.records import ID_LENGTH, FakeThing, base36

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ref:
    """Stands for the id of the last beat of this type, or the one `back` before it."""

    type: str
    back: int = 0


@dataclass(frozen=True, slots=True)
class Beat:
    """An event `at` seconds after its session's creation; `fields` lack id and type."""

    at: float
    type: str
    fields: Fields = field(default_factory=dict)


Script = tuple[Beat, ...]


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that an agent delivers; its id is by default made of the event's."""

    name: str
    content: str
    id: str = ""

    def file(self, id: str, session_id: str) -> dict[str, Any]:
        """Return the fields of the file, as `files` shows it."""
        raw, scope = self.content.encode(), {"type": "session", "id": session_id}
        fields = {"id": id, "filename": self.name, "mime_type": "text/markdown", "size_bytes": len(raw)}
        return {**fields, "downloadable": True, "scope": scope, "_content": raw}


DELIVERS = "agent.artifact_delivered"
COSTS = Decimal("0.17")  # credits, of each event of the agent


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a run leads to: a session's `script`, an `error` (type, message), or a skip.

    A script is one turn; each message of a user begins it anew. If it ends with a question,
    the answered turn asks the next of `then`, or reports on the calls and ends. The current
    generation has no skipped runs: there `error` stands in.
    """

    script: Script = ()
    then: tuple[Script, ...] = ()  # the calls of each question
    error: tuple[str, str] | None = None
    skipped: bool = False

    @property
    def asks(self) -> bool:
        return any(beat.fields.get("stop_reason", {}).get("type") == "requires_action" for beat in self.script)


WORK = "session.status_running"
_START = 0.04  # a session is there at once; its turn begins a moment later


def turn(
    *,
    seconds: float,
    start: float = _START,
    steps: int = 1,
    message: str | None = None,
    reason: str = "end_turn",
    idles: bool = False,
    delivers: Artifact | None = None,
) -> Script:
    """Return a turn of `seconds`: it thinks, uses a tool `steps` times, may say a message.

    With `idles` the session is idle before; most are not (api.md#stop-reasons).
    """
    length = seconds - start
    beats = [Beat(0, "session.status_idle", idle("end_turn"))] if idles else []
    beats += _open(start, thinks=start + length * 0.1)
    output = "4f2a91c Retry uploads once\nb07d3e8 Describe the retry"
    for step in range(steps):
        at = start + length * (0.2 + 0.6 * step / steps)
        beats.append(call("git log --oneline --since=yesterday", at=at, permission="allow"))
        beats.append(_result(at + length * 0.4 / steps, Ref("agent.tool_use"), output))
    if delivers is not None:
        beats.append(Beat(start + length * 0.85, DELIVERS, {"_artifact": delivers}))
    if message is not None:
        beats.append(Beat(start + length * 0.9, "agent.message", {"content": _text(message)}))
    return (*beats, *_close(seconds, idle(reason)))


def exhausted(*, seconds: float) -> Script:
    """Return a turn whose model calls fail until the retries are used up."""
    errors = [_model_error(seconds * 0.5, "retrying"), _model_error(seconds * 0.9, "exhausted")]
    return (*_open(thinks=seconds * 0.3), *errors, *_close(seconds, idle("retries_exhausted"), failed=True))


def terminated(*, seconds: float) -> Script:
    """Return a turn whose error also ends the session."""
    ends = [Beat(seconds, "session.thread_status_terminated"), Beat(seconds, "session.status_terminated")]
    return (*_open(thinks=seconds * 0.3), _model_error(seconds * 0.9, "terminal"), *ends)


def call(command: str, *, at: float = 0, permission: str = "ask") -> Beat:
    """Return a tool use, by default one that needs approval."""
    fields = {"name": "Bash", "input": {"command": command}, "evaluated_permission": permission}
    return Beat(at, "agent.tool_use", fields)


def custom_call(name: str, **inputs: str) -> Beat:
    """Return a use of a custom tool, whose result the client gives."""
    return Beat(0, "agent.custom_tool_use", {"name": name, "input": inputs})


def asking(*calls: Beat, seconds: float) -> Script:
    """Return a turn that stops to ask about these calls, all of one type."""
    return (*_open(thinks=seconds * 0.3), *_asks(seconds, calls))


def going_on(*calls: Beat, seconds: float, message: str) -> Script:
    """Return a turn that asks for 2 s, then goes on unanswered (api.md#stop-reasons)."""
    at = seconds - 1
    result = _result(at, Ref(calls[-1].type), "Everything up-to-date")
    reply = Beat(at + 0.9, "agent.message", {"content": _text(message)})
    return (*asking(*calls, seconds=at - 2), *_resume(at), result, reply, *_close(seconds, idle("end_turn")))


def answered(answers: Sequence[tuple[str, Beat, Fields]], *, settled: int, then: Script) -> Script:
    """Return how a turn continues: it asks `then`, or reports on its calls and ends.

    `answers` are all of this turn, with call id and call; the first `settled` are known.
    """
    results, lines = [], []
    for call_id, call, answer in answers:
        what = next(iter(call.fields["input"].values()))
        if call.type == "agent.custom_tool_use":
            lines.append(f"{what} {words(answer)}")
        elif answer.get("result") == "allow" or answer.get("decision") == "approve":
            results.append(_result(_START, call_id, "Done."))
            lines.append(f"I ran {what!r}.")
        else:
            why = answer.get("deny_message") or "The user did not allow this call."
            results.append(_result(_START, call_id, why, is_error=True))
            lines.append(f"I did not run {what!r}: {why}")
    running, thread, request = _resume(_START)
    resumed = (running, thread, *results[settled:], request)
    if then:
        return (*resumed, *_asks(1, then))
    return (*resumed, Beat(0.9, "agent.message", {"content": _text("\n".join(lines))}), *_close(1, idle("end_turn")))


def turn_of(script: Script, events: Sequence[Fields], *, heard: bool) -> Iterator[Beat]:
    """Yield a turn begun by these events; if `heard`, the agent repeats their words."""
    for beat in script:
        if beat.type == "user.message":
            yield from (replace(echo(event), at=beat.at) for event in events)
        elif heard and beat.type == "agent.message":
            yield replace(beat, fields={"content": _text(f"You said: {words(*events)}")})
        else:
            yield beat


def echo(event: Fields) -> Beat:
    """Return the beat of an event that a client sent."""
    return Beat(0, event["type"], {name: value for name, value in event.items() if name != "type"})


def answer_to(fields: Fields) -> Any:
    """Return the id of the call that an event answers, or None."""
    return fields.get("tool_use_id") or fields.get("custom_tool_use_id")


def words(*events: Fields) -> str:
    """Return the text in events' content."""
    blocks = [block for event in events for block in event.get("content") or []]
    return " ".join(block["text"] for block in blocks if block.get("type") == "text")


def idle(reason: str, **more: Any) -> Fields:
    """Return the fields of an idle event with this stop reason."""
    return {"stop_reason": {"type": reason, **more}}


def idles(at: float, stop: Fields) -> Script:
    """Return how a session stops."""
    return Beat(at, "session.thread_status_idle", stop), Beat(at, "session.status_idle", stop)


CANCELLED = idles(0.2, idle("cancelled"))


def _open(start: float = _START, *, thinks: float) -> Script:
    running, thread, request = _resume(start)
    return (running, thread, Beat(start, "user.message"), request, Beat(thinks, "agent.thinking"))


def _resume(start: float) -> Script:
    return (
        Beat(start, WORK),
        Beat(start, "session.thread_status_running"),
        Beat(start + 0.02, "span.model_request_start"),
    )


def _asks(at: float, calls: Script) -> Script:
    ids = [Ref(call.type, back) for back, call in enumerate(reversed(calls))]
    asks = [replace(call, at=at * 0.9) for call in calls]
    return (*asks, *_close(at, idle("requires_action", event_ids=ids[::-1])))


def _result(at: float, call_id: str | Ref, text: str, *, is_error: bool = False) -> Beat:
    return Beat(at, "agent.tool_result", {"tool_use_id": call_id, "content": _text(text), "is_error": is_error})


def _close(at: float, stop: Fields, *, failed: bool = False) -> Script:
    request: Fields = {"is_error": failed, "model_request_start_id": Ref("span.model_request_start")}
    if not failed:
        request = {**request, "model_usage": {"credits": 0.42}}
    return (Beat(at, "span.model_request_end", request), *idles(at, stop))


def _text(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


def _model_error(at: float, retry_status: str) -> Beat:
    error = {"type": "model_request_failed_error", "message": "The model did not answer."}
    return Beat(at, "session.error", {"error": {**error, "retry_status": {"type": retry_status}}})


# What happens in a session.


@dataclass(frozen=True, slots=True)
class FakeEnd:
    """How a run truly ended; `type` and `message` say why it failed."""

    at: float
    status: Literal["completed", "failed", "skipped"]
    type: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class TimedBeat:
    """A beat of a session at its time; `number` makes the event's id."""

    at: float
    number: int
    beat: Beat


@dataclass(eq=False)
class FakeSession(FakeThing):
    """A session, `speed` times as fast as its script, begun with `initial_events`."""

    speed: float = 1.0
    behaviour: Behaviour = field(default_factory=Behaviour)
    initial_events: list[dict[str, Any]] = field(default_factory=list)
    cancelled: float | None = None

    def __post_init__(self) -> None:
        self._begin_turn()

    def _begin_turn(self) -> None:
        self._questions = iter(self.behaviour.then)  # not asked yet in this turn
        self._answers: list[tuple[str, Beat, Fields]] = []  # to its calls
        self._settled = 0  # how many of these the agent knows

    def called(self, prefix: str) -> str:
        """Return the id of its only thread or turn, with this prefix."""
        return prefix + self.id.removeprefix("sess_")

    @cached_property
    def moments(self) -> list[TimedBeat]:
        """All that happens in it, past and future, in order."""
        if not self.initial_events:
            return []
        beats = turn_of(self.behaviour.script, self.initial_events, heard=self.fields["deployment_id"] is None)
        beats = self._within_budget(beats, spent=0)
        return [TimedBeat(self.created + beat.at / self.speed, n, beat) for n, beat in enumerate(beats)]

    def break_off(self, now: float, *beats: Beat) -> None:
        """Let only `beats` happen after `now`."""
        self.moments[:] = self.past(now)
        for beat in self._within_budget(beats, spent=self.worked(now)):
            self.moments.append(TimedBeat(now + beat.at / self.speed, len(self.moments), beat))

    def worked(self, now: float) -> int:
        """Return how many events of the agent there are."""
        return sum(moment.beat.type.startswith("agent.") for moment in self.past(now))

    def _within_budget(self, beats: Iterable[Beat], *, spent: int) -> Iterator[Beat]:
        """Yield beats until the budget is used up; what the agent would do then, it does not, and the turn stops.

        `spent` is the number of the agent's events before.
        """
        most = Decimal((self.fields["budget"] or {}).get("max_credit_cost", "Infinity"))
        is_over = False
        for beat in beats:
            is_work = beat.type.startswith("agent.")
            is_over = is_over or (is_work and spent * COSTS >= most)
            if not is_over:
                spent += is_work
                yield beat
            elif not is_work:
                stops = "stop_reason" in beat.fields
                yield replace(beat, fields=idle("budget_reached")) if stops else beat
                if beat.type == "session.status_idle":
                    return

    def cancel(self, now: float, *events: Beat) -> bool:
        """Stop the turn; return whether one was going. `events` happen either way."""
        going = self.going(now)
        if events or (going and self.cancelled is None):
            self.break_off(now, *events, *(CANCELLED if going else ()))
        if going:
            self.cancelled = self.cancelled or now
        return going

    def say(self, now: float, events: Sequence[Fields]) -> None:
        """Begin a turn with a user's events."""
        start = next((beat.at for beat in self.behaviour.script if beat.type == WORK), 0)
        turn = [replace(beat, at=beat.at - start) for beat in self.behaviour.script if beat.at >= start]
        self.cancelled = None
        self._begin_turn()
        self.break_off(now, *turn_of(tuple(turn), events, heard=True))

    def answer(self, now: float, answers: Sequence[Fields]) -> None:
        """Take answers to waiting calls; continue once none waits, else ask again."""
        waiting = self.waiting(now)
        for answer in answers:
            call_id = answer_to(answer)
            self._answers.append((call_id, waiting.pop(call_id).beat, answer))
        if waiting:
            more = idles(0.02, idle("requires_action", event_ids=list(waiting)))
        else:
            more = answered(self._answers, settled=self._settled, then=next(self._questions, ()))
            self._settled = len(self._answers)
        self.break_off(now, *(echo(answer) for answer in answers), *more)

    def waiting(self, now: float) -> dict[str, TimedBeat]:
        """Return the calls that wait for an answer, by id."""
        past, stop = self.past(now), self._newest_status(now)
        fields = self.fields_of(stop) if stop else {}
        ids = fields.get("stop_reason", {}).get("event_ids", [])
        answered = {answer_to(moment.beat.fields) for moment in past}
        by_id = {self.event_id(moment): moment for moment in past}
        return {id: by_id[id] for id in ids if id not in answered}

    def going(self, now: float) -> bool:
        """Return whether a turn is under way, even if it waits."""
        return self.busy(now) or bool(self.waiting(now))

    def fields_of(self, moment: TimedBeat) -> dict[str, Any]:
        """Return an event's fields, with references replaced by ids."""

        def with_ids(value: Any) -> Any:
            if isinstance(value, Ref):
                before = [earlier for earlier in self.moments[: moment.number] if earlier.beat.type == value.type]
                return self.event_id(before[-1 - value.back])
            if isinstance(value, dict):
                return {key: with_ids(inner) for key, inner in value.items()}
            if isinstance(value, list):
                return [with_ids(inner) for inner in value]
            return value

        if file := self.file_of(moment):
            named = {"file_id": file["id"], "original_filename": file["filename"]}
            return {**named, "content_type": file["mime_type"], "size": file["size_bytes"]}
        return {name: with_ids(value) for name, value in moment.beat.fields.items()}

    def file_of(self, moment: TimedBeat) -> dict[str, Any] | None:
        """Return the fields of the file that an event delivers, if it does."""
        artifact: Artifact | None = moment.beat.fields.get("_artifact")
        if artifact is None:
            return None
        return artifact.file(artifact.id or "file_" + self.event_id(moment).removeprefix("evt_"), self.id)

    def past(self, now: float) -> list[TimedBeat]:
        return [moment for moment in self.moments if moment.at <= now]

    def busy(self, now: float) -> bool:
        """Return whether something is still to happen."""
        return any(moment.at > now for moment in self.moments)

    def status(self, now: float) -> str:
        """Return idle, running or terminated, nothing else (api.md#sessions)."""
        newest = self._newest_status(now)
        return newest.beat.type.removeprefix("session.status_") if newest else "idle"

    def _newest_status(self, now: float) -> TimedBeat | None:
        statuses = (m for m in reversed(self.past(now)) if m.beat.type.startswith("session.status_"))
        return next(statuses, None)

    def starts(self) -> float | None:
        """Return when its turn begins; None if cancelled before, or without one."""
        return next((moment.at for moment in self.moments if moment.beat.type == WORK), None)

    def ending(self, now: float) -> FakeEnd | None:
        """Return how its turn ended, or None. One that asks has not ended."""
        message, worked = "", False
        for moment in self.past(now):
            kind, fields = moment.beat.type, moment.beat.fields
            worked = worked or kind == WORK
            if kind == "session.error":
                message = fields["error"]["message"]
            elif kind == "session.status_terminated":
                return FakeEnd(moment.at, "failed", "session_terminated", message or "The session was terminated.")
            elif kind == "session.deleted":
                return FakeEnd(moment.at, "failed", "session_deleted", "The session was deleted.")
            elif kind == "session.status_idle":
                reason = fields["stop_reason"]["type"]
                if reason == "end_turn" and worked:
                    return FakeEnd(moment.at, "completed")
                if reason not in ("end_turn", "requires_action"):
                    return FakeEnd(moment.at, "failed", reason, message or f"The turn stopped: {reason}.")
        return None

    def event_id(self, moment: TimedBeat) -> str:
        digest = blake2s(f"{self.id}:{moment.number}:{moment.beat.type}".encode(), digest_size=16).digest()
        return "evt_" + base36(int.from_bytes(digest), ID_LENGTH)
