"""The sandbox with sessions that ask for what a test names; others answer, and lists and answers go wrong."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from operator import attrgetter
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import httpx

from qoder_cli.sandbox.records import AGENT, ENVIRONMENT, stamp
from qoder_cli.sandbox.scripts import Beat, Behaviour, FakeSession, TimedBeat, answer_to, idle, idles, turn, words
from qoder_cli.sandbox.wire import Generation
from qoder_cli.sandbox.world import FakeRun, World
from tests.conftest import TOKEN, Qoder
from tests.support.inprocess import Lie
from tests.support.things import Things, ok, refusal

Event = dict[str, Any]
Events = list[Event]
EVENTS, SEND = (f"{method} /sessions/sess_1/events" for method in ("GET", "POST"))
RUNNING: Event = {"type": "session.status_running"}
ASKED = "allow? [y]es [n]o [w]hy not [a]ll equal [r]est: deny [?]"  # by a command, at a terminal
ENDED: Event = {"type": "session.status_idle", **idle("end_turn")}
_MADE_BY = {"id": AGENT, "type": "agent", "version": 1, "name": "demo"}


def call(number: int, name: str = "Bash", kind: str = "agent.tool_use", **fields: Any) -> Event:
    return {"id": f"evt_{number}", "type": kind, "name": name, "input": {"command": f"echo {number}"}, **fields}


def says(text: str, kind: str = "agent.message") -> Event:
    return {"type": kind, "content": [{"type": "text", "text": text}]}


def sha256_of(event: Event) -> str:
    """Return the hash that `pending` gives for a call, as it is made."""
    kinds = {"agent.tool_use": "tool", "agent.mcp_tool_use": "mcp", "agent.custom_tool_use": "custom"}
    hashed = {"kind": kinds[event["type"]], "thread": event.get("session_thread_id"), "input": event["input"]}
    hashed |= {name: event.get(name) for name in ("name", "mcp_server_name")}
    return hashlib.sha256(json.dumps(hashed, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class Asks(FakeSession):
    """A session whose calls have ids of a test's own, also on threads beside the main one."""

    desk: "Asking"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.numbers = count()

    def event_id(self, moment: TimedBeat) -> str:
        return moment.beat.fields.get("id") or super().event_id(moment)

    def fields_of(self, moment: TimedBeat) -> Event:
        """Return what a test tells of an event as it is; to look for references takes time."""
        fields = moment.beat.fields
        return {**fields} if "processed_at" in fields else super().fields_of(moment)

    def waiting(self, now: float) -> dict[str, TimedBeat]:
        """Return what the newest stop of each thread names, and nobody has answered since."""
        stops, by_id = dict[Any, list[str]](), dict[Any, TimedBeat]()
        for moment in self.past(now):
            fields, kind = moment.beat.fields, moment.beat.type
            by_id[fields.get("id")] = moment
            if "status_" in kind:
                of = fields.get("session_thread_id")
                stops[of] = (fields.get("stop_reason") or {}).get("event_ids", [])
            if answered := answer_to(fields):
                stops = {of: [id for id in ids if id != answered] for of, ids in stops.items()}
        return {id: by_id[id] for ids in stops.values() for id in ids if id in by_id}

    def answer(self, now: float, answers: Sequence[Any]) -> None:
        self.desk.taken.update(map(answer_to, answers))
        waiting = list(self.waiting(now))
        super().answer(now, [otherwise(each, self.desk.records) for each in answers])
        if self.desk.asks_again > 0:
            self.desk.asks_again -= 1
            self.break_off(now, *idles(0.01, idle("requires_action", event_ids=waiting)))

    def say(self, now: float, events: Sequence[Any]) -> None:
        self.desk.taken.update(map(words, events))
        super().say(now, events)


class Asking(Things):
    """A deployment, `dep_1`, whose sessions wait for answers to calls, with hooks beside those of `Things`.

    It takes no key that would make a second answer harmless. Of the same number are a session and its run.
    """

    def __init__(self, qoder: Qoder, generation: Generation = "current", *, speed: float = 1.0) -> None:
        self.clock, patience = qoder.clock, qoder.clock.patience
        world = World(clock=qoder.clock.now, generation=generation, token=TOKEN, seed=5, speed=speed, honour_key=False)
        super().__init__(qoder, generation, world=world)
        qoder.clock.patience = patience  # nothing streams
        self.takes: Generation = "current"  # the form of answers that it knows
        self.lag = 0.0  # for how long a list does not show events
        self.ignores: tuple[str, ...] = ()  # parameters of lists
        self.lenient = False  # takes a second answer to the same call, as a server may
        self.records: str | None = None  # what it makes of every answer to a call, whatever was said, or the `opposite`
        self.asks_again = 0  # so many answers are accepted and shown, and the calls named again
        self.taken: Counter[str] = Counter()  # how often each call, or message, was taken
        self.theirs: Counter[str] = Counter()  # the same, of what somebody else said
        self.sessions: dict[str, Asks] = {}
        about: dict[str, Any] = {"name": "nightly", "agent": _MADE_BY, "environment_id": ENVIRONMENT}
        self._deployment = world.add_deployment(id="dep_1", at=world.now() - 86400, **about)

    @property
    def ours(self) -> Counter[str]:
        """How often each call, or message, was taken by a request."""
        return self.taken - self.theirs

    # What there is.

    def asks(self, id: str, *calls: Event, run: bool = True) -> Asks:
        """Put a session there that has worked and now waits for these calls, or has ended its turn without any."""
        at = self.world.now() - 60
        about: dict[str, Any] = {"agent": _MADE_BY, "deployment_id": "dep_1" if run else None}
        make = partial(Asks, speed=self.world.speed, behaviour=Behaviour(turn(seconds=2, steps=0, message="Done.")))
        session = self.world._add(make, "sessions", id=id, at=at, title="Nightly", environment_id=ENVIRONMENT, **about)
        session.desk, self.sessions[id] = self, session
        self.tell(session, at + 1, RUNNING, *map(_asked, calls), apart=1)
        self.tell(session, at + 10, {"type": "session.status_idle", **_stop(calls)} if calls else ENDED)
        if run:
            about |= {"trigger_context": {"type": "manual"}, "session_id": id}
            made = partial(FakeRun, deployment=self._deployment, origin="seed", session=session)
            self.world._add(made, "deployment_runs", id=id.replace("sess", "drun"), at=at, **about)
        return session

    def sub_agent_asks(self, id: str, *asking: Event, calls: int) -> Asks:
        """Put a session there whose main thread makes so many calls while a sub-agent waits for answers."""
        session, at = self.asks(id), self.world.now() - 40
        sub = {"session_thread_id": asking[0]["session_thread_id"]}
        running, stopped = ({"type": f"session.thread_status_{status}"} for status in ("running", "idle"))
        self.tell(session, at, RUNNING, running, running | sub)
        self.tell(session, at + 3, *map(_asked, asking), stopped | _stop(asking) | sub)
        allowed = {**call(1), "evaluated_permission": "allow"}
        for number in range(calls):
            did = {"type": "agent.tool_result", "tool_use_id": f"evt_m{number}"}
            self.tell(session, at + 5 + 30 * number / calls, {**allowed, "id": f"evt_m{number}"}, did)
        return session

    def turn(self, session: Asks, at: float, text: str = "All done.", *before: Event) -> None:
        """Let the agent work from then on, and end its turn two seconds later."""
        self.tell(session, at + 0.01, RUNNING, *before)
        self.tell(session, at + 1.9, says(text), ENDED, apart=0.1)

    def tell(self, session: Asks, at: float, *events: Event, apart: float = 0.0) -> Events:
        """Let events of a session become true at a time, and return them as they are shown then."""
        new = []
        for number, event in enumerate(events):
            when, id = at + apart * number, f"evt_s{next(session.numbers)}_{session.id}"
            fields = {"id": id, **event, "processed_at": stamp(when, digits=6)}
            new.append(TimedBeat(when, 0, Beat(0, event["type"], fields)))
        moments = sorted([*session.moments, *new], key=attrgetter("at"))
        session.moments[:] = [TimedBeat(one.at, number, one.beat) for number, one in enumerate(moments)]
        return [{**one.beat.fields} for one in new]

    def colleague(self, id: str, result: str = "allow", session: str = "sess_1") -> None:
        """Let somebody else answer a call now, also one that waits no more."""
        self.theirs[id] += 1
        self._take(self.sessions[session], {"type": "user.tool_confirmation", "tool_use_id": id, "result": result})

    def _take(self, session: Asks, event: Event) -> Events:
        now = self.world.now()
        if answer_to(event) in session.waiting(now):
            session.answer(now, [event])
            return []
        self.taken[answer_to(event)] += 1
        return self.tell(session, now, event)

    # What goes wrong.

    def tells(self, change: Callable[[Events], Events]) -> None:
        """Let something else become of each page of the session's events before it is sent."""
        self.lies[EVENTS] = lambda page: {**page, "data": change(page["data"])}

    def bends(self, method: str, change: Lie) -> None:
        """Change what is answered to each request of a method for events, or what is asked."""
        self.lie = lambda request, answer: (
            change(request, answer) if request.method == method and request.url.path.endswith("/events") else answer()
        )

    def refuses_one_look(self) -> None:
        """Refuse once to show which calls there are."""
        left = [refusal(400, "invalid_request_error", "Not now.")]
        self.bends(
            "GET", lambda asked, answer: left.pop() if left and b"agent.tool_use" in asked.url.query else answer()
        )

    def stops(self, why: Any) -> None:
        """Let the session tell of another reason why it stopped to ask."""
        self.tells(
            lambda events: [
                each | {"stop_reason": why} if each.get("stop_reason", {}).get("type") == "requires_action" else each
                for each in events
            ]
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        is_events = request.url.path.endswith("/events")
        if request.url.path.endswith("/events/stream"):
            return refusal(501, "feature_not_available", "No stream here.")
        with self.world.lock:
            if is_events and request.method == "POST":
                return self._send(request)
            for name in self.ignores:
                request = again(request, url=request.url.copy_remove_param(name))
            if not (is_events and self.lag):
                return super()._answer(request)
            now = self.world.clock
            with patch.object(self.world, "clock", lambda: now() - self.lag):
                response = super()._answer(request)
            del response.headers["date"]
            return response

    def _send(self, request: httpx.Request) -> httpx.Response:
        session, events = self.sessions[request.url.path.split("/")[-2]], json.loads(request.content)["events"]
        waiting = session.waiting(self.world.now())
        if self.lenient and all(self.taken[answer_to(each)] and answer_to(each) not in waiting for each in events):
            return ok({"data": [taken for each in events for taken in self._take(session, each)]})
        with patch.object(self.world, "generation", self.takes):
            return super()._answer(request)


def _asked(call: Event) -> Event:
    return call if "custom" in call["type"] else {"evaluated_permission": "ask", **call}


def _stop(calls: Sequence[Event]) -> Event:
    return {**idle("requires_action", event_ids=[each["id"] for each in calls])}


def otherwise(event: Event, result: str | None) -> Event:
    """Return an answer with another result, or the opposite of its own."""
    form = next((form for form in ("result", "decision") if form in event), None)
    if result is None or form is None:
        return event
    if result == "opposite":
        result = "allow" if event[form] == "deny" else "deny"
    return {**event, form: "approve" if (form, result) == ("decision", "allow") else result}


def again(request: httpx.Request, **changes: Any) -> httpx.Request:
    """Return the same request with another `url` or `content`."""
    given = {"url": request.url, "content": request.content, "headers": request.headers}
    return httpx.Request(request.method, **{**given, **changes}, extensions=request.extensions)


def on_real_time(generation: Generation) -> Asking:
    """Return one for real processes, whose agents answer at once."""
    clock = SimpleNamespace(now=time.time, sleep=lambda seconds: None, patience=0.0)
    seat: Any = SimpleNamespace(clock=clock)
    return Asking(seat, generation, speed=40)
