"""The calls that wait for a person (api.md#stop-reasons and #events).

A call that cannot be read in full counts as unreadable, never as approved: one that is not
among the events, that two events show differently, whose event names a field twice, or whose
id nobody could type.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypedDict

from qoder_cli.base import ids, jsontext
from qoder_cli.base.errors import ApiError, NoResponse
from qoder_cli.base.ids import segment
from qoder_cli.base.jsontext import Number
from qoder_cli.base.model import Run, mapping, text
from qoder_cli.base.outcome import (
    ENDS,
    REPLIES,
    RUNNING,
    THREAD_RUNNING,
    THREAD_STATUSES,
    Asks,
    apply_asks,
    event_at,
    event_key,
    event_time,
    is_asking,
    is_going,
    open_ask,
    stop_reason,
    stops_unreadably,
    waiting_calls,
)
from qoder_cli.base.times import unix
from qoder_cli.base.words import shortened
from qoder_cli.output.cells import Fields, Id, Milliseconds, Moment, Words
from qoder_cli.output.visible import visible
from qoder_cli.policy.verdict import VerdictData
from qoder_cli.sessions.log import Events, Log, in_order
from qoder_cli.sessions.transcript import called, in_a_line

if TYPE_CHECKING:
    from qoder_cli.http.client import Client
    from qoder_cli.output.progress import Progress
    from qoder_cli.policy.deciding import Verdict

READ_WITHIN = 10.0  # seconds for one reading back
_NO_THREADS = (404, 405, 501)  # how a server without threads answers
_NOT_ASKING = ("running", "rescheduling", "terminated")  # statuses of threads; in any other one may wait

CALL_KINDS = {"agent.tool_use": "tool", "agent.mcp_tool_use": "mcp", "agent.custom_tool_use": "custom"}
STATUSES = (RUNNING, *ENDS)
# What answers a call, with the field that names it: a person, or the tool itself.
ANSWERS = {**REPLIES, "agent.tool_result": "tool_use_id", "agent.mcp_tool_result": "mcp_tool_use_id"}
DONE = {"allow": "approved", "approve": "approved", "deny": "denied"}  # what an answer says, in either form, did
DOING = {"approved": "approving", "denied": "denying", "answered": "answering"}
_ASKED_FOR = (*STATUSES, *THREAD_STATUSES, *CALL_KINDS, *ANSWERS)


class Terms(TypedDict):
    """All that decides what a call does; null where it cannot be read."""

    kind: Annotated[str | None, "tool, mcp or custom; null if the call cannot be read (unreadable in a table)"]
    name: Annotated[str | None, "the tool; in a table with its server, as server/tool"]
    mcp_server_name: Annotated[str | None, "its MCP server, or null"]
    thread: Annotated[str | None, "thread of the sub-agent that called it, or null"]
    input: Annotated[Any, "all of it; at most 100 characters in a table"]


@dataclass(frozen=True)
class Call:
    """A tool call that the agent wants to make, from its event."""

    session_id: str
    id: str  # of its event, by which it is answered
    kind: str
    name: str
    input: Any
    thread: str | None
    event: dict[str, Any]

    @classmethod
    def of(cls, session_id: str, event: dict[str, Any]) -> "Call":
        kind, thread = CALL_KINDS[str(event.get("type"))], text(event.get("session_thread_id"))
        return cls(session_id, str(event["id"]), kind, called(event), event.get("input"), thread, event)

    @property
    def terms(self) -> Terms:
        """All that decides what it does, as `pending` tells it in JSON."""
        return {
            "kind": self.kind,
            "name": text(self.event.get("name")),
            "mcp_server_name": text(self.event.get("mcp_server_name")),
            "thread": self.thread,
            "input": self.input,
        }

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of `terms` as JSON: keys sorted, no spaces, UTF-8."""
        return hashlib.sha256(jsontext.dump(self.terms, is_sorted=True).encode()).hexdigest()

    @property
    def shown(self) -> tuple[str, str]:
        """What a person was shown of it, to which an answer is bound."""
        return self.id, self.sha256

    @property
    def is_readable(self) -> bool:
        """Whether everything that names what it does, and where, is text that can be shown, once; and an id to type."""
        places = [self.event.get(name) for name in ("mcp_server_name", "session_thread_id")]
        is_named = text(self.event.get("name")) is not None
        is_clear = all(isinstance(place, str | None) for place in places) and not jsontext.is_repeated(self.event)
        return is_named and is_clear and ids.may_be_call(self.id)


@dataclass(frozen=True)
class Asked:
    """What a session waits for; `events` are those read, newest first.

    `key` is that of the event at which it stopped to wait, None if it did not; `asked_by` has it for each call that
    waits. `is_unclear` says that it, or a sub-agent, stopped for what cannot be read in full.
    """

    session_id: str
    calls: tuple[Call, ...] = ()
    unreadable: tuple[str, ...] = ()
    key: str | None = None
    asked_by: Mapping[str, str] = field(default_factory=dict)
    events: Events = field(default_factory=list)
    is_unclear: bool = False

    @property
    def newest(self) -> dict[str, Any]:
        """The newest status event; empty if none."""
        return next((event for event in self.events if event.get("type") in STATUSES), {})

    @property
    def is_busy(self) -> bool:
        """Whether the agent works, or waits for an answer."""
        return self.newest.get("type") == RUNNING or self.key is not None

    @property
    def waiting(self) -> list[str]:
        """The ids of the calls that wait."""
        return [*(call.id for call in self.calls), *self.unreadable]

    @property
    def open(self) -> Asks | None:
        """What it still waits for, named or not; None if for nothing."""
        if self.waiting:
            key = self.asked_by[self.waiting[0]]
            since = next((event_at(event) for event in self.events if event_key(event) == key), None)
            return Asks(key, self.waiting, since)
        return _open_ask(self.newest, self.since(event_key(self.newest)))

    def refuse_unclear(self, progress: "Progress") -> None:
        """Raise NoResponse if nothing is known to wait, but something may; warn if more may wait than is known."""
        if not self.is_unclear:
            return
        why = f"why session {self.session_id} stopped cannot be read in full"
        if not self.waiting:
            raise NoResponse(f"{why}, so whether it waits for an answer is unknown", session_id=self.session_id)
        progress.warn(f"{why}, so whether more calls wait is unknown")

    def call(self, id: str) -> Call | None:
        return next((Call.of(self.session_id, event) for event in self.events if _is_call(event, id)), None)

    def thread_of(self, call: Call) -> str | None:
        """Return the thread of a call, which need not name it: then that which stopped to wait for it, if one did."""
        stops = (event for event in self.events if event.get("type") in THREAD_STATUSES)
        threads = (text(stop.get("session_thread_id")) for stop in stops if call.id in waiting_calls(stop))
        return call.thread or next(filter(None, threads), None)

    def since(self, key: str) -> Events:
        """Return the events after the one with this key; none if it is not there."""
        place = next((n for n, event in enumerate(self.events) if event_key(event) == key), 0)
        return self.events[:place]

    def answer_to(self, id: str) -> dict[str, Any] | None:
        """Return a call's answer: a person's, else the tool's result."""
        answers = [event for event in self.events if _answered(event) == id]
        of_people = [event for event in answers if str(event.get("type")).startswith("user.")]
        return next(iter(of_people or answers), None)

    def became_of(self, id: str) -> str:
        """Return in words what became of a call that no longer waits."""
        if (answer := self.answer_to(id)) is None:
            status = str(self.newest.get("type") or "").rpartition("_")[2] or "unknown"
            reason = stop_reason(self.newest)
            if reason:
                return f"the session moved on ({status}: {reason})"
            return f"the session moved on ({status})"
        done = DONE.get(str(answer.get("result") or answer.get("decision")), "answered")
        done = done if str(answer.get("type")).startswith("user.") else "already run"
        at = event_time(answer)
        if at:
            return f"it was {done} at {at}"
        return f"it was {done}"


def look(
    client: "Client",
    session_id: str,
    *,
    until: Collection[str] = (),
    retry: bool = True,
    main_only: bool = False,
    threads: bool = True,
    may_lack_threads: bool = False,
) -> Asked:
    """Return what a session waits for, read back to the keys `until`. Raises ApiError.

    Unless it is to be of the main agent alone (`main_only`), also what sub-agents wait for while that works on. The
    `threads` are listed then, or if an event names a second one: what they tell may stand in their own logs only.
    Where they cannot be, what the session's own log shows to wait is enough for who `may_lack_threads`.
    """
    unlisted: ApiError | None = None
    within = None if retry else READ_WITHIN
    met: Events = []  # all that was shown, also repeats that differ
    log = Log(client, session_id, exact=True, on_event=met.append)
    events: Events = []
    portions = log.back(_ASKED_FOR, within=within, retry=retry)
    for portion in portions:
        events += portion
        if _is_enough(events, until):
            break
    is_behind = not main_only and Asked(session_id, events=events).newest.get("type") == RUNNING
    if is_behind:
        of_threads = log.back(THREAD_STATUSES, within=within, retry=retry)
        read = set(map(event_key, events))
        events = _with_threads(events, chain.from_iterable(of_threads))
        stops = [stop for stop, _ in _newest_of_threads(events)]
        # One at work may have stopped since, which stands in its own log only.
        known = {text(stop.get("session_thread_id")) for stop in stops if stop.get("type") != THREAD_RUNNING}
        if threads or len(stops) > 1:
            try:
                for of_thread in _events_of_threads(client, session_id, known, met.append, within=within, retry=retry):
                    events = _with_threads(events, of_thread)
                    read.update(map(event_key, of_thread))
            except ApiError as error:
                if not may_lack_threads:
                    raise
                unlisted = error
        needed = _needed(events)
        while not needed <= read and (older := next(portions, None)) is not None:
            events = _with_threads(events, older)
            read.update(map(event_key, older))
    asked = _asked(session_id, events, _readable(session_id, met), is_behind=is_behind)
    if unlisted is not None and not asked.waiting:
        raise unlisted
    return asked


def threads_of(client: "Client", session_id: str, **how: Any) -> list[dict[str, Any]]:
    """Return the threads of a session (api.md#threads); none on a server without them. Raises ApiError."""
    try:
        pages = client.pages(f"/sessions/{segment(session_id)}/threads", {"limit": 100}, **how)
        return [mapping(row) for page in pages for row in page["data"]]
    except ApiError as error:
        if error.enveloped and error.http_status in _NO_THREADS:  # a proxy's 404 says nothing
            return []
        raise


def main_thread(client: "Client", session_id: str) -> str | None:
    """Return the thread of a session that is certainly the main agent's: the only one without a parent
    (api.md#threads); None if there is no such. Raises ApiError.
    """
    return _main_of(threads_of(client, session_id))


def _main_of(threads: Sequence[Mapping[str, Any]]) -> str | None:
    main = {text(row.get("id")) for row in threads if row.get("parent_thread_id") in (None, "")}
    return main.pop() if len(main) == 1 else None


def _events_of_threads(
    client: "Client",
    session_id: str,
    known: Collection[str | None],
    on_event: Callable[[dict[str, Any]], None],
    *,
    within: float | None,
    retry: bool,
) -> Iterator[Events]:
    """Yield what threads at rest tell in logs of their own, newest first, but for those `known` by the session's log.

    Each is read back to its newest status, and the calls that this names. Raises ApiError.
    """
    threads = threads_of(client, session_id, within=within, retry=retry, fresh=True)
    main = _main_of(threads)
    for thread in threads:
        id = text(thread.get("id"))
        if thread.get("status") in _NOT_ASKING or (id is not None and (id == main or id in known)):
            continue
        if id is None:
            raise NoResponse("the response shows a thread without an id, so whether it waits is unknown")
        asked_for: Events = []

        def of_thread(event: dict[str, Any], id: str = id) -> dict[str, Any]:
            """Return an event, which need not name its thread, as the session's log would show it."""
            shown = {**event, "session_thread_id": id} if event.get("session_thread_id") is None else event
            return jsontext.Repeated(shown) if isinstance(event, jsontext.Repeated) else shown

        log = Log(client, session_id, thread=id, exact=True, on_event=lambda event: on_event(of_thread(event)))
        for portion in log.back(within=within, retry=retry):
            asked_for += [of_thread(event) for event in portion if event.get("type") in _ASKED_FOR]
            stops = [event for event in asked_for if event.get("type") in THREAD_STATUSES]
            if stops and (not is_asking(stops[0]) or set(map(event_key, asked_for)) >= _needed(asked_for)):
                break
        yield asked_for


def _readable(session_id: str, events: Events) -> dict[str, Call]:
    """Return the calls among some events by id, but those that two show differently, or one unreadably."""
    calls: dict[str, Call] = {}
    doubtful: set[str] = set()
    for event in events:
        id = text(event.get("id"))
        if id and _is_call(event, id):
            call = Call.of(session_id, event)
            if calls.setdefault(id, call).shown != call.shown or not call.is_readable:
                doubtful.add(id)
    return {id: call for id, call in calls.items() if id not in doubtful}


def _is_enough(events: Events, until: Collection[str]) -> bool:
    keys = set(map(event_key, events))
    idle = next((event for event in events if event.get("type") in STATUSES), None)
    if idle is None or not keys.issuperset(until):
        return False
    if not is_asking(idle):
        return True
    if named := waiting_calls(idle):
        return keys.issuperset(named)
    return any(event.get("type") == RUNNING for event in events)


def _with_threads(events: Events, older: Iterable[dict[str, Any]]) -> Events:
    """Return events with others that are mostly older, all newest first, each once."""
    return in_order([*reversed([*older]), *reversed(events)])[::-1]


def _asked(session_id: str, events: Events, calls: Mapping[str, Call], *, is_behind: bool) -> Asked:
    newest = next(((event, n) for n, event in enumerate(events) if event.get("type") in STATUSES), None)
    if newest is None:
        return Asked(session_id, events=events)
    stops = _newest_of_threads(events) if is_behind else [newest]
    is_unclear = any(stops_unreadably(event) for event, _ in stops)
    asking = [stop for stop in stops if is_asking(stop[0])]
    asked_by: dict[str, str] = {}
    for event, place in asking:
        still = _open_ask(event, events[:place])
        named = still.event_ids if still else []
        if not waiting_calls(event):
            answered = set(map(_answered, events))
            named = [id for id in _marked(event, events) if id not in answered]
            is_unclear = is_unclear or (still is not None and not named)
        asked_by |= dict.fromkeys(named, event_key(event))
    if is_behind:
        # The main thread may pass through such an idle by itself: only what is marked as asked waits for a person.
        permissions = {id: call.event.get("evaluated_permission") for id, call in calls.items()}
        asked_by = {id: key for id, key in asked_by.items() if permissions.get(id) not in ("allow", "deny")}
    readable = tuple(calls[id] for id in asked_by if id in calls)
    unreadable = tuple(id for id in asked_by if id not in calls)
    key = next((event_key(event) for event, _ in asking), None)
    return Asked(session_id, readable, unreadable, key, asked_by, events, is_unclear)


def _open_ask(event: dict[str, Any], later: Events) -> Asks | None:
    """Return what still waits of an ask. An answer before it does not count: the server names the call again."""
    return open_ask(event, set(filter(None, map(_answered, later))))


def _newest_of_threads(events: Events) -> list[tuple[dict[str, Any], int]]:
    """Return the newest status of each thread, with its place."""
    newest: dict[str | None, tuple[dict[str, Any], int]] = {}
    for place, event in enumerate(events):
        if event.get("type") in THREAD_STATUSES:
            newest.setdefault(text(event.get("session_thread_id")), (event, place))
    return [*newest.values()]


def _needed(events: Events) -> set[str]:
    """Return the keys of what tells for what threads wait: the calls that each names, else its last start."""
    needed: set[str] = set()
    for stop, place in _newest_of_threads(events):
        if not is_asking(stop):
            continue
        starts = (event for event in _of_thread(stop, events[place:]) if event.get("type") == THREAD_RUNNING)
        needed.update(waiting_calls(stop) or [event_key(next(starts, {}))])
    return needed


def _of_thread(stop: dict[str, Any], events: Events) -> Events:
    """Return the events of the thread whose status is given."""
    return [event for event in events if event.get("session_thread_id") == stop.get("session_thread_id")]


def _marked(stop: dict[str, Any], events: Events) -> Iterable[str]:
    """Yield the ids of calls that say they wait, oldest first.

    Those since the session last started; the thread, if `stop` is a thread's status.
    """
    start = RUNNING
    if stop.get("type") in THREAD_STATUSES:
        start, events = THREAD_RUNNING, _of_thread(stop, events)
    since = events[: next((n for n, event in enumerate(events) if event.get("type") == start), len(events))]
    for event in reversed(since):
        is_marked = event.get("evaluated_permission") == "ask" or event.get("type") == "agent.custom_tool_use"
        if is_marked and (id := text(event.get("id"))) and _is_call(event, id):
            yield id


def _is_call(event: dict[str, Any], id: str) -> bool:
    return event.get("type") in tuple(CALL_KINDS) and event.get("id") == id


def _answered(event: dict[str, Any]) -> str | None:
    return text(event.get(ANSWERS.get(str(event.get("type")), "")))


# The columns of what waits; in a pipe they are only ever appended.
COLUMNS = (
    *("run", "session", "deployment", "call", "kind", "name", "input", "asked", "waits", "credits", "length"),
    *("number", "mcp_server_name", "thread", "input_sha256", "deployment_name"),
)
# As a terminal shows them, what matters most first.
FIRST = (
    *("deployment", "number", "name", "input", "length", "waits", "kind", "run", "asked", "credits", "call"),
    "session",
)
MOST_DRAWN = 100  # characters of an input in a drawn row; its length is in a column of its own
_UNREADABLE: Terms = {"kind": None, "name": None, "mcp_server_name": None, "thread": None, "input": None}
_IDS = "ids; run_id is null unless one was named, or this machine has seen whose session it is"


class WaitingData(Terms):
    """A call that waits for an answer; all of its terms are null if it cannot be read."""

    run_id: Annotated[str | None, _IDS]
    session_id: Annotated[str, _IDS]
    deployment_id: Annotated[str | None, _IDS]
    deployment_name: Annotated[str | None, "the deployment's name, if this machine has seen it"]
    call: Annotated[str, "id of the call, evt_…"]
    length: Annotated[int | None, "of its input in one line, in characters"]
    asked_at: Annotated[str | None, "when it was made"]
    credits: Annotated[Number | float | str | None, "what its session has used"]
    number: Annotated[int | None, "its place among the calls of its session"]
    input_sha256: Annotated[
        str | None,
        "SHA-256 of the object with kind, name, mcp_server_name, thread and input as JSON (keys sorted, no spaces)",
    ]
    answer: Annotated[dict[str, list[str]], "the commands that answer it, each as an array of words; no column"]
    policy: NotRequired[
        Annotated[VerdictData, "with --policy: an object with the keys `answer`, line, rule and why of policy_test"]
    ]


@dataclass(frozen=True)
class PendingCall:
    """A row of `pending`: a waiting call, None if unreadable, and its session."""

    id: str
    session: dict[str, Any]
    call: Call | None
    run_id: str | None = None
    commands: dict[str, list[str]] = field(default_factory=dict)
    number: int | None = None  # among those of its session that can be read
    deployment_name: str | None = None
    verdict: "Verdict | None" = None  # what a policy says of it

    def row(self, now: float, *, most: int | None = None) -> Fields:
        """Return the row, with the whole input or its first `most` characters: a call is never cut in a pipe."""
        data = self.as_json()
        name = given = None
        if self.call is not None:
            name, given = self.call.name, in_a_line(self.call.input)
            given = given if most is None else shortened(given, most)
        asked, since = data["asked_at"], unix(data["asked_at"])
        row: Fields = {
            "run": self.run_id and Id(self.run_id),
            "session": Id(data["session_id"]),
            "deployment": self.deployment_id and Id(self.deployment_id),
            "call": Id(self.id),
            "kind": data["kind"] or "unreadable",
            "name": _words(name, least=14),
            "input": _words(given, least=12),
            "asked": asked and Moment(asked),
            "waits": None if since is None else Milliseconds(max(0, round(1000 * (now - since)))),
            **{name: data[name] for name in ("credits", "length", "number")},
            "mcp_server_name": _words(data["mcp_server_name"]),
            "thread": _words(data["thread"]),
            "input_sha256": data["input_sha256"],
            "deployment_name": self.deployment_name,
        }
        if self.verdict is not None:
            row["policy"] = self.verdict.in_words
        return row

    @property
    def deployment_id(self) -> str | None:
        return text(self.session.get("deployment_id"))

    def as_json(self) -> WaitingData:
        """Return its JSON: the whole input, and the commands that answer, as words.

        How long it has waited is not in it: two readings of a call that waits are equal.
        """
        call = self.call
        terms = _UNREADABLE if call is None else call.terms
        data: WaitingData = {
            "run_id": self.run_id,
            "session_id": str(self.session.get("id")),
            "deployment_id": self.deployment_id,
            "deployment_name": self.deployment_name,
            "call": self.id,
            "kind": terms["kind"],
            "name": terms["name"],
            "mcp_server_name": terms["mcp_server_name"],
            "thread": terms["thread"],
            "input": terms["input"],
            "input_sha256": None if call is None else call.sha256,
            "asked_at": None if call is None else event_time(call.event),
            "credits": Run(self.session).credits,
            "answer": self.commands,
            "length": None if call is None else len(in_a_line(call.input)),
            "number": self.number,
        }
        if self.verdict is not None:
            data["policy"] = self.verdict.data
        return data


def _words(given: str | None, **how: int) -> Words | None:
    return None if given is None else Words(visible(given), **how)


def with_asks(client: "Client", run: Run, *, threads: bool = True) -> Run:
    """Return a run with its waiting calls: its status does not show them. Raises ApiError.

    The `threads` of its session are listed then, as by `look`.
    """
    if run.raw.get("status") is None or not run.session_id or not is_going(run):
        return run
    still = look(client, run.session_id, retry=False, threads=threads).open
    return run if still is None else apply_asks(run, still)
