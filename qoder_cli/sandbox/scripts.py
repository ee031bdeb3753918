"""What happens in a session: beats on a time line, shared by all that follow them.

A turn has the usual order (api/facts.md, 2.6): running, user's message, work, idle.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

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
) -> Script:
    """Return a turn of `seconds`: it thinks, uses a tool `steps` times, may say a message.

    With `idles` the session is idle before; most are not (api/facts.md, 7.2).
    """
    length = seconds - start
    beats = [Beat(0, "session.status_idle", idle("end_turn"))] if idles else []
    beats += [*_open(start), Beat(start + length * 0.1, "agent.thinking")]
    output = "4f2a91c Retry uploads once\nb07d3e8 Describe the retry"
    for step in range(steps):
        at = start + length * (0.2 + 0.6 * step / steps)
        beats.append(_tool_use(at, "git log --oneline --since=yesterday", "allow"))
        beats.append(_result(at + length * 0.4 / steps, Ref("agent.tool_use"), output))
    if message is not None:
        beats.append(Beat(start + length * 0.9, "agent.message", {"content": _text(message)}))
    return (*beats, *_close(seconds, idle(reason)))


def exhausted(*, seconds: float) -> Script:
    """Return a turn whose model calls fail until the retries are used up."""
    errors = [_model_error(seconds * 0.5, "retrying"), _model_error(seconds * 0.9, "exhausted")]
    return (*_thinking(seconds), *errors, *_close(seconds, idle("retries_exhausted"), failed=True))


def terminated(*, seconds: float) -> Script:
    """Return a turn whose error also ends the session."""
    ends = [Beat(seconds, "session.thread_status_terminated"), Beat(seconds, "session.status_terminated")]
    return (*_thinking(seconds), _model_error(seconds * 0.9, "terminal"), *ends)


def call(command: str) -> Beat:
    """Return a tool use that needs approval."""
    return _tool_use(0, command, "ask")


def custom_call(name: str, **inputs: str) -> Beat:
    """Return a use of a custom tool, whose result the client gives."""
    return Beat(0, "agent.custom_tool_use", {"name": name, "input": inputs})


def asking(*calls: Beat, seconds: float) -> Script:
    """Return a turn that stops to ask about these calls, all of one type."""
    return (*_thinking(seconds), *_asks(seconds, calls))


def going_on(*calls: Beat, seconds: float, message: str) -> Script:
    """Return a turn that asks for 2 s, then goes on unanswered (api/facts.md, 7.2)."""
    at = seconds - 1
    result = _result(at, Ref(calls[-1].type), "Everything up-to-date")
    reply = Beat(at + 0.9, "agent.message", {"content": _text(message)})
    return (*asking(*calls, seconds=at - 2), *_resume(at), result, reply, *_close(seconds, idle("end_turn")))


def answered(answers: Sequence[tuple[str, Beat, Fields]], *, settled: int, then: Script) -> Script:
    """Return how a turn continues: it asks `then`, or reports on its calls and ends.

    `answers` are all of this turn, with call id and call; the first `settled` are known.
    """
    results, told = [], []
    for call_id, call, answer in answers:
        what = next(iter(call.fields["input"].values()))
        if call.type == "agent.custom_tool_use":
            told.append(f"{what} {words(answer)}")
        elif answer.get("result") == "allow" or answer.get("decision") == "approve":
            results.append(_result(_START, call_id, "Done."))
            told.append(f"I ran {what!r}.")
        else:
            why = answer.get("deny_message") or "The user did not allow this call."
            results.append(_result(_START, call_id, why, is_error=True))
            told.append(f"I did not run {what!r}: {why}")
    running, thread, request = _resume(_START)
    resumed = (running, thread, *results[settled:], request)
    if then:
        return (*resumed, *_asks(1, then))
    return (*resumed, Beat(0.9, "agent.message", {"content": _text("\n".join(told))}), *_close(1, idle("end_turn")))


def said(script: Script, events: Sequence[Fields], *, heard: bool) -> Iterator[Beat]:
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


def _open(start: float) -> Script:
    """Return how a turn begins."""
    running, thread, request = _resume(start)
    return (running, thread, Beat(start, "user.message"), request)


def _resume(start: float) -> Script:
    return (
        Beat(start, WORK),
        Beat(start, "session.thread_status_running"),
        Beat(start + 0.02, "span.model_request_start"),
    )


def _asks(at: float, calls: Script) -> Script:
    """Return how a turn stops to ask."""
    ids = [Ref(call.type, back) for back, call in enumerate(reversed(calls))]
    asks = [replace(call, at=at * 0.9) for call in calls]
    return (*asks, *_close(at, idle("requires_action", event_ids=ids[::-1])))


def _result(at: float, call_id: str | Ref, text: str, *, is_error: bool = False) -> Beat:
    return Beat(at, "agent.tool_result", {"tool_use_id": call_id, "content": _text(text), "is_error": is_error})


def _thinking(seconds: float) -> Script:
    return (*_open(_START), Beat(seconds * 0.3, "agent.thinking"))


def _close(at: float, stop: Fields, *, failed: bool = False) -> Script:
    """Return how a turn ends."""
    request: Fields = {"is_error": failed, "model_request_start_id": Ref("span.model_request_start")}
    if not failed:
        request = {**request, "model_usage": {"credits": 0.42}}
    return (Beat(at, "span.model_request_end", request), *idles(at, stop))


def _tool_use(at: float, command: str, permission: str) -> Beat:
    fields = {"name": "Bash", "input": {"command": command}, "evaluated_permission": permission}
    return Beat(at, "agent.tool_use", fields)


def _text(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


def _model_error(at: float, retry_status: str) -> Beat:
    error = {"type": "model_request_failed_error", "message": "The model did not answer."}
    return Beat(at, "session.error", {"error": {**error, "retry_status": {"type": retry_status}}})
