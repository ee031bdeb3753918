"""How a run ended, on either generation of server. The cases are in tests/commands/test_run_get.py.

The older generation gives a run a `status`. The current one only records that a session was created or
was not; how it went must be read from the session's events (api.md#runs and #stop-reasons).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from enum import Enum
from typing import Any, NamedTuple

from qoder_cli.base import jsontext
from qoder_cli.base.errors import Exit
from qoder_cli.base.model import GOING, Derived, Run, array, mapping, text
from qoder_cli.base.times import milliseconds_between, unix

FINAL = frozenset({"completed", "failed", "skipped"})

RUNNING = "session.status_running"
ENDS = ("session.status_idle", "session.status_terminated", "session.deleted")  # after which a session rests
# Of a thread; the main one has them too (api.md#threads).
THREAD_RUNNING = "session.thread_status_running"
THREAD_STATUSES = (
    THREAD_RUNNING,
    "session.thread_status_idle",
    "session.thread_status_rescheduled",
    "session.thread_status_terminated",
)
# Asked for with `types[]`, and filtered again here: a server may ignore the filter.
ENDING_EVENTS = (RUNNING, *ENDS, "session.error")
# What a person sends in answer to a call that waits, with the field that names the call.
REPLIES = {
    "user.tool_confirmation": "tool_use_id",
    "user.custom_tool_result": "custom_tool_use_id",
    "user.tool_result": "tool_use_id",
}
# Any of them shows that work has begun, where no `session.status_running` says so.
AGENT_EVENTS = (
    "agent.message",
    "agent.thinking",
    "agent.tool_use",
    "agent.tool_result",
    "agent.custom_tool_use",
    "agent.mcp_tool_use",
    "agent.mcp_tool_result",
    "agent.artifact_delivered",
    "agent.thread_message_sent",
    "agent.thread_message_received",
    "agent.thread_context_compacted",
)
_IDLE = ("session.status_idle", "session.thread_status_idle")
ASKS_FOR = 15.0  # seconds after which a session that waits for an answer is believed not to continue by itself
_TURN_DONE = frozenset({"end_turn", "stop_sequence"})


class Standing(Enum):
    """What the run object alone says."""

    ENDED = "ended"
    GOING = "going"
    ASK_SESSION = "its session decides"
    HALF_WRITTEN = "neither status, nor error, nor session yet"


class Ending(NamedTuple):
    """The first ending of a session; `status` is None if it can no longer be known."""

    status: str | None
    at: str | None = None
    error: dict[str, Any] | None = None


class Asks(NamedTuple):
    """A `requires_action` that is still open: its event's key, the waiting calls, and since when (unix seconds)."""

    key: str
    event_ids: list[str]
    since: float | None = None


SESSION_DELETED = Ending(
    None, error={"type": "session_deleted", "message": "The session was deleted before its outcome was seen."}
)


SESSION_ARCHIVED = Ending(
    None, error={"type": "session_archived", "message": "The session was archived before its turn ended."}
)
NO_WORK = Ending(None, error={"type": "no_work_seen", "message": "No work was seen after the message."})
_UNKNOWN = (
    (SESSION_DELETED, Exit.OUTCOME_UNKNOWN),
    (SESSION_ARCHIVED, Exit.OUTCOME_UNKNOWN),
    (NO_WORK, Exit.LOST_SIGHT),
)


def standing(run: Run) -> Standing:
    """Return what the run object alone says."""
    status = run.status
    if status is not None:
        ended = status in FINAL or (status not in GOING and run.completed_at is not None)
        if ended:
            return Standing.ENDED
        return Standing.GOING
    if run.error:
        return Standing.ENDED
    if run.session_id:
        return Standing.ASK_SESSION
    return Standing.HALF_WRITTEN


def is_going(run: Run) -> bool:
    """Return whether a run, its status filled in, has not ended yet."""
    return verdict(run) is Exit.NOT_YET


def fill_status(run: Run) -> Run:
    """Return the run with its status filled in, if its own fields decide it."""
    if run.status is not None or run.derived:
        return run
    statuses = {Standing.ENDED: "failed", Standing.ASK_SESSION: "running"}
    return replace(run, derived={"status": statuses.get(standing(run), "pending")})


def apply_ending(run: Run, ending: Ending, *, usage: dict[str, Any] | None = None) -> Run:
    """Return the run with its session's first ending filled in, and `usage`."""
    derived: Derived = {}
    if ending.status or run.raw.get("status") is not None:
        derived["status"] = ending.status  # None removes a status that the session overruled
    if ending.at:
        derived["completed_at"] = ending.at
    duration = None if run.is_session else milliseconds_between(run.triggered_at, ending.at)
    if ending.status == "completed" and duration is not None:
        derived["duration_ms"] = duration
    if ending.error:
        derived["error"] = ending.error
    if usage:
        derived["usage"] = usage
    return replace(run, derived=derived)


def apply_asks(run: Run, asks: Asks) -> Run:
    """Return a running run with the calls that wait for an answer."""
    derived: Derived = {**fill_status(run).derived, "requires_action": {"event_ids": asks.event_ids}}
    return replace(run, derived=derived, asks_since=asks.since)


def waits_for_answer(run: Run) -> bool:
    """Return whether the agent is known to wait for an answer."""
    return "requires_action" in run.derived


def calls_to_answer(run: Run) -> list[str]:
    """Return the ids of the calls that a run waits for; empty if it names none."""
    return list(filter(text, array(mapping(run.get("requires_action")).get("event_ids"))))


def verdict(run: Run) -> Exit:
    """Return the exit code of a run, its status filled in: NOT_YET while it is going on."""
    for ending, code in _UNKNOWN:
        if run.derived.get("error") == ending.error:
            return code
    if standing(run) is not Standing.ENDED:
        return Exit.NOT_YET
    return {"completed": Exit.OK, "skipped": Exit.RUN_SKIPPED}.get(str(run.status), Exit.RUN_FAILED)


def why_not_failed(run: Run) -> str | None:
    """Return why a run, its status filled in, may not have failed though it counts as failed; None if it did."""
    if run.status not in FINAL:
        return f"its status is {run.status!r}"
    if run.error_type == UNREADABLE:
        return "its session does not say why it stopped"
    return None


def may_wait(run: Run) -> bool:
    """Return whether a run that counts as failed may wait for an answer: why its session stopped cannot be read."""
    return mapping(run.derived.get("error")).get("type") == UNREADABLE


class Placed(NamedTuple):
    """An event in its place among others: key, kind, time in unix seconds or None, and the event itself."""

    key: str
    kind: str
    at: float | None
    event: dict[str, Any]


class Rest(NamedTuple):
    """An ending with nothing after it yet: its event's key, and what it means."""

    key: str
    ending: Ending


class Judgement(NamedTuple):
    """What events mean, read in order.

    `is_unclear`: only the agent's own events can tell whether an idle was an ending, because no work is known before
    it, and none after it either, or another idle or an error stands before it.
    """

    endings: list[Rest]
    asks: Asks | None
    worked: bool
    is_unclear: bool
    rests: bool  # whether only errors or endings follow an ending


def judge(story: Iterable[Placed], *, needs_work: bool = False, needs_proof: bool = False) -> Judgement:
    """Return what events mean that come oldest first. If it `needs_work`, no idle before work is an ending.

    If it `needs_proof`, nor is one whose reason cannot be read: it may be an ask.
    """
    endings: list[Rest] = []
    last: dict[str, Any] = {}  # of these events, but for what answers a call
    answered: list[str | None] = []  # the calls answered after it
    worked = idled_early = is_unclear = rests = False
    idled_at: float | None = None
    last_error: dict[str, Any] | None = None
    fatal_error: dict[str, Any] | None = None
    for key, kind, moment, event in story:
        if kind.startswith("agent."):
            worked = True
        if kind in REPLIES:
            answered.append(text(event.get(REPLIES[kind])))
        if kind not in ENDING_EVENTS:
            continue
        last, answered = event, []
        ending = None
        match kind:
            case "session.status_running":
                # Nothing but the place in the list says that the idle came first, and its order may be another.
                is_unclear = is_unclear or (idled_early and not worked and moment == idled_at)
                worked, fatal_error, rests = True, None, False
            case "session.error":
                last_error = _session_error(event)
                if last_error.pop("retry_status") in ("exhausted", "terminal"):
                    fatal_error = last_error
            case "session.status_terminated":
                ending = Ending("failed", event_time(event), _explained("session_terminated", last_error))
            case "session.deleted":
                ending = SESSION_DELETED
            case "session.status_idle":
                reason, at = stop_reason(event), event_time(event)
                if reason == "requires_action" or (needs_proof and reason == UNREADABLE):
                    rests = False
                elif reason is not None and reason not in _TURN_DONE and (worked or not needs_work):
                    ending = Ending("failed", at, _explained(reason, last_error))
                elif not worked:
                    # A new session may be so before it starts (api.md#stop-reasons), once.
                    is_unclear = idled_early or last_error is not None
                    idled_early, idled_at = True, moment
                elif reason is None and fatal_error is not None:
                    ending = Ending("failed", at, fatal_error)
                else:
                    ending = Ending("completed", at)
        if ending is not None:
            endings.append(Rest(key, ending))
            rests = True
    is_unclear = is_unclear or (idled_early and not worked)
    return Judgement(endings, open_ask(last, answered), worked, is_unclear, rests)


def is_asking(event: dict[str, Any]) -> bool:
    """Return whether an agent stopped here to wait for an answer, whether or not it has come since."""
    return event.get("type") in _IDLE and stop_reason(event) == "requires_action"


def stops_unreadably(event: dict[str, Any]) -> bool:
    """Return whether an agent stopped here for what cannot be read in full: it may wait for more than is known."""
    if event.get("type") not in _IDLE:
        return False
    reason = stop_reason(event)
    if reason == "requires_action":
        return len(waiting_calls(event)) < len(_named(event))
    is_known = reason in _TURN_DONE or reason in _EXPLANATIONS
    return reason == UNREADABLE or (bool(_named(event)) and not is_known)


def open_ask(event: dict[str, Any], answered: Collection[str | None]) -> Asks | None:
    """Return what an agent waits for after its newest status event, if anything."""
    if not is_asking(event):
        return None
    named = waiting_calls(event)
    left = [id for id in named if id not in answered]
    is_unread = len(named) < len(_named(event))  # then nothing shows that all is answered
    if left or is_unread or not (named or answered):  # one that names none waits until anything is answered
        return Asks(event_key(event), left, event_at(event))
    return None


def _explained(reason: str, last_error: dict[str, Any] | None) -> dict[str, Any]:
    message = _EXPLANATIONS.get(reason, f"The session stopped: {reason}.")
    cause = (last_error or {}).get("message")
    return {"type": reason, "message": f"{message} {cause}" if cause and reason in _CAUSED else message}


UNREADABLE = "unreadable_stop_reason"

_EXPLANATIONS = {
    "budget_reached": "The credit budget was used up.",
    "retries_exhausted": "The session ran out of retries.",
    "cancelled": "The session was cancelled.",
    "session_terminated": "The session was terminated.",
    UNREADABLE: "The session stopped for a reason that cannot be read.",
}
_CAUSED = frozenset({"retries_exhausted", "session_terminated"})
_NOT_FAILED = ("satisfied", "needs_revision")  # an outcome whose evaluation says so has not failed


def event_key(event: Mapping[str, Any]) -> str:
    """Return what identifies an event: its id, or its whole content if it has none."""
    return text(event.get("id")) or jsontext.dump(dict(sorted(event.items())))


def event_time(event: Mapping[str, Any]) -> str | None:
    """Return when an event happened, as the server wrote it."""
    return text(event.get("processed_at")) or text(event.get("created_at"))


def event_at(event: Mapping[str, Any]) -> float | None:
    """Return when an event happened, in unix seconds, or None."""
    at = unix(event.get("processed_at"))
    if at is None:
        at = unix(event.get("created_at"))
    return at


def waiting_calls(event: dict[str, Any]) -> list[str]:
    """Return the ids of the calls that wait for an answer (api.md#stop-reasons)."""
    return list(filter(text, _named(event)))


def _named(event: dict[str, Any]) -> list[Any]:
    return array(mapping(event.get("stop_reason")).get("event_ids"))


def evaluations(session: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the newest evaluation of each outcome (api.md#sessions)."""
    of_each: dict[str | int, list[dict[str, Any]]] = {}
    for number, one in enumerate(map(mapping, array(session.get("outcome_evaluations")))):
        of_each.setdefault(text(one.get("outcome_id")) or number, []).append(one)
    return [_newest(of_one) for of_one in of_each.values()]


def _newest(of_one: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the newest evaluation of an outcome: by its time, or else by its iteration.

    Where neither tells, it is the last in the list. But if one has failed, it is that one: it may be the newest.
    """
    times = [unix(one.get("completed_at")) for one in of_one]
    iterations = [n if type(n) is int else None for n in (one.get("iteration") for one in of_one)]
    for numbers in (times, iterations):
        order = [number for number in numbers if number is not None]
        if len(set(order)) == len(of_one):
            return of_one[order.index(max(order))]
    failed = [one for one in of_one if one.get("result") not in _NOT_FAILED]
    return [*of_one, *failed][-1]


def stop_reason(event: dict[str, Any]) -> str | None:
    """Return why a `session.status_idle` stopped; None when missing or empty, UNREADABLE if odd."""
    reason = event.get("stop_reason")
    if isinstance(reason, dict):
        says_more = any(value for name, value in reason.items() if name != "type")  # such as calls that wait
        reason = reason.get("type", UNREADABLE) if reason else None
        if says_more and reason in (None, ""):
            return UNREADABLE
    if reason is None or reason == "":
        return None
    if isinstance(reason, str):
        return reason
    return UNREADABLE


def _session_error(event: dict[str, Any]) -> dict[str, Any]:
    error = event.get("error")
    if isinstance(error, str):  # the older form: {error: "…", code: "…"} (api.md#session-errors)
        return {"message": error, "retry_status": None}
    fields = mapping(error)
    status = fields.get("retry_status")
    return {
        "type": text(fields.get("type")) or "unknown_error",
        "message": text(fields.get("message")) or "The session reported an error.",
        "retry_status": text(status) or text(mapping(status).get("type")),
    }
