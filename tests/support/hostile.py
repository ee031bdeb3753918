"""A server written by hand that keeps a true history and tells it badly: what `tests.tools.servers` plays against.

`Server` says in which ways it is bad, a field a way; the first value of each in `WAYS` is honest. `Hostile` is the
transport: it knows which runs each request really started and how each session really went (`truth`), whatever it
answers. Written from help/pages/guarantees.md and api.md alone; it shares nothing with the sandbox.
"""

import json
import math
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, make_dataclass
from email.utils import formatdate
from typing import Any, Literal, NamedTuple

import httpx

from qoder_cli.base import signals
from tests.support.wire import FakeClock

BASE_PATH = "/api/v1/cloud"
DEPLOYMENT = "dep_demo"
BEGAN = 1_800_000_000.437  # not a whole second: a clock that stands on one hides a lost floor
LATENCY = 0.03  # seconds that an answer takes
Shape = dict[str, Any]


class SplitClock(FakeClock):
    """A clock whose wall can be put back while the monotonic one goes on; neither stands on a whole second.

    `step` is when (true seconds since the beginning) somebody puts the wall clock, and by how many seconds. Only the
    thread that made it lets time pass; another that sleeps waits for it.
    """

    def __init__(self, step: tuple[float, float] | None = None, *, phase: float = 0.0) -> None:
        super().__init__(BEGAN + phase)
        self._began = self.time
        self.step = step
        self._owner = threading.get_ident()
        self._lock = threading.Lock()

    def now(self) -> float:
        stepped = self.step and self.time - self._began >= self.step[0]
        return self.time + (self.step[1] if self.step and stepped else 0.0)

    def monotonic(self) -> float:
        return self.time - self._began + 1000.25

    def let_pass(self, seconds: float) -> None:
        with self._lock:
            self.time += max(seconds, 0.0)

    def sleep(self, seconds: float) -> None:
        if threading.get_ident() == self._owner:
            self.let_pass(seconds)
            return
        due, patience = self.time + seconds, time.monotonic() + 0.05
        while self.time < due:
            if time.monotonic() > patience or signals._waits:  # this thread is waited for
                self.let_pass(due - self.time)
            time.sleep(0.0005)

    def receive(self, inbox: "queue.SimpleQueue[Any]", seconds: float) -> Any:
        until = self.time + seconds
        while True:
            try:
                return inbox.get_nowait()
            except queue.Empty:
                if until <= self.time:
                    return None
                self.sleep(until - self.time)


NOTHING: Shape = {}


class Beat(NamedTuple):
    """Something that happens in a session, so many seconds after the run was created."""

    at: float
    type: str
    fields: Shape = NOTHING


def _idle(at: float, reason: object = "…") -> Beat:
    """Return the beat that a session comes to rest; without a reason it sends none."""
    return Beat(at, "session.status_idle", {} if reason == "…" else {"stop_reason": reason})


def _running(at: float) -> Beat:
    return Beat(at, "session.status_running")


def _says(at: float) -> Beat:
    return Beat(at, "agent.message", {"content": [{"type": "text", "text": "Done."}]})


def _error(at: float, retry: str) -> Beat:
    fields = {"type": "model_overloaded_error", "message": "Too many.", "retry_status": {"type": retry}}
    return Beat(at, "session.error", {"error": fields})


class Script(NamedTuple):
    """What happens in a session, and what that truly is: how the run ended and when. `asks`: it waits for ever."""

    beats: tuple[Beat, ...]
    ending: Literal["completed", "failed", "unknown"] | None
    at: float = math.inf
    asks: bool = False


DONE = {"type": "end_turn"}
BROKE = {"type": "retries_exhausted"}
_WORK = (_running(0.9), Beat(1.0, "user.message", {"content": []}), _says(3.2))


def _ends(reason: object, ending: Literal["completed", "failed"], *more: Beat) -> Script:
    return Script((*_WORK, _idle(4.3, reason), *more), ending, 4.3)


SCRIPTS: dict[str, Script] = {
    "completes": _ends(DONE, "completed"),
    "fails": _ends(BROKE, "failed"),
    "fails late": Script((*_WORK, _error(20, "retrying"), _idle(110.2, BROKE)), "failed", 110.2),
    "completes late": Script((*_WORK, _says(60), _idle(95.2, DONE)), "completed", 95.2),
    "idle at first": Script(
        (_idle(0.1, DONE), *(b._replace(at=b.at + 8) for b in _WORK), _idle(14, BROKE)), "failed", 14
    ),
    "idle without a reason at first": Script((_idle(0.1), _idle(0.4, {}), *_WORK, _idle(14, DONE)), "completed", 14),
    "idle at first, never runs": Script((_idle(0.1, DONE),), None),
    "no running": Script((_says(2.1), _idle(3.2, DONE)), "completed", 3.2),
    "cancelled": _ends({"type": "cancelled"}, "failed"),
    "unheard-of reason": _ends({"type": "moon_phase"}, "failed"),
    "reason null": _ends(None, "completed"),
    "reason missing": _ends("…", "completed"),
    "reason string": _ends("end_turn", "completed"),
    "reason number": _ends(7, "failed"),
    "exhausted, then idle": Script((*_WORK, _error(4, "exhausted"), _idle(5)), "failed", 5),
    "exhausted, runs again": Script((*_WORK, _error(4, "exhausted"), _running(5), _idle(7)), "completed", 7),
    "terminal error": Script((*_WORK, _error(4, "terminal"), Beat(5, "session.status_terminated")), "failed", 5),
    "retrying": Script((*_WORK, _error(4, "retrying"), _idle(9, DONE)), "completed", 9),
    "terminated": Script((*_WORK, Beat(5, "session.status_terminated")), "failed", 5),
    "deleted": Script((*_WORK, Beat(5, "session.deleted")), "unknown", 5),
    "asks, and goes on": Script(
        (*_WORK, _idle(4, {"type": "requires_action"}), _running(9), _says(10), _idle(12, DONE)), "completed", 12
    ),
    "asks twice, and fails": Script(
        (*_WORK, _idle(4, {"type": "requires_action"}), _running(9), _idle(11, {"type": "requires_action"}),
         _running(14), _idle(16, BROKE)), "failed", 16,
    ),
    "asks for ever": Script((*_WORK, _idle(4, {"type": "requires_action"})), None, asks=True),
    "completes, chats on, fails": _ends(DONE, "completed", _running(6), _idle(9, BROKE)),
    "fails, chats on, completes": _ends(BROKE, "failed", _running(6), _says(7), _idle(9, DONE)),
    "fails, is deleted": _ends(BROKE, "failed", Beat(6, "session.deleted")),
    "many errors, then fails": Script(
        (*_WORK, *(_error(4 + n / 100, "retrying") for n in range(230)), _idle(9, BROKE)), "failed", 9
    ),
    "goes on": Script((_running(0.9), _says(3)), None),
}  # fmt: skip

# Whole answers that are a run, and not the one that was asked for: whether something keeps them, or mixes them up.
KEPT = ("old run", "kept", "scheduled", "another's")
ENVELOPED_4XX = ("400", "401", "403", "404", "409", "413", "422")
# Each: whether a server that answers so may have acted.
ANSWERS: dict[str, bool] = {
    "ok": True,
    **dict.fromkeys(("500", "503", "502", "504", "500 json", "500 html", "502 html", "503 html", "504 html"), True),
    **dict.fromkeys(("500 empty", "500 cut", "501", "520 html"), True),
    **dict.fromkeys(("garbage", "html", "empty", "list", "null", "204", "other deployment", "cut", "half"), True),
    **dict.fromkeys(("reset", "read error", "certificate error", "write error", "hang", "slow"), True),
    **dict.fromkeys([f"{status} html" for status in (400, 401, 403, 404, 407, 409, 413, 408, 499)], True),
    **dict.fromkeys(("408", "400 json", "403 empty", "302", "307", "308"), True),
    **dict.fromkeys((*ENVELOPED_4XX, "429", "connect"), False),
    **dict.fromkeys(KEPT, True),
}
OLD = {"old run": -600.0, "kept": -30.0, "scheduled": -1.0}  # seconds after the trigger at which it was created
AGE = "30"  # seconds that a kept answer says that it was kept
# 3xx and 4xx that are not the API's: how long the list is looked at before the refusal stands.
REFUSALS = frozenset(
    [f"{status} html" for status in (400, 401, 403, 404, 407, 409, 413)]
    + ["400 json", "403 empty", "302", "307", "308"]
)

WAYS: dict[str, tuple[Any, ...]] = {
    "generation": ("current", "legacy"),
    "keys": (False, True),
    "answer": tuple(ANSWERS),
    "acts": (0.0, None, 3.0, 20.0, 30.0, 70.0, 100.0, 150.0, 300.0),  # after so many seconds; None: not at all
    "times": (1, 2, 3, 9),  # that it answers so, before it behaves
    "ahead": (0.0, -7200.0, 7200.0, 3.0),  # the server's clock before ours
    "date": (0.0, -7200.0, -10.0, -2.0, 2.0, 10.0, 7200.0, "absent", "frozen", "nonsense"),  # against created_at
    "step": (None, (0.02, -10.0), (0.02, 10.0), (2.0, -10.0), (0.02, -7200.0), (0.02, 7200.0), (5.0, 7200.0)),
    "phase": (0.0, 0.535, 0.55, 0.563),  # of the second in which it begins: the answer may come in the next one
    "lag": (0.0, 3.0, 10.0, 20.0),
    "forgets": (False, True),  # the list shows our run, and from 6 to 20 s after it not: another replica answers
    "order": ("newest", "oldest", "shuffled"),
    "older": (0, 150),
    "newer": (0, 110, 260),  # scheduled runs that came right after ours
    "created": ("text", "null", "number", "absent", "nonsense", "year 1", "1970", "a year ahead"),
    "context": ("manual", "null", "absent", "string", "other", "retry", "number"),
    "paging": ("honest", "overlap", "repeated", "after_id ignored", "limit ignored", "next_page only",
               "has_more only", "neither", "no last_id", "next_page null"),
    # Rows of another deployment between ours, in their place, or in their place for the first 10 s.
    "foreign": ("none", "mixed in", "instead", "instead at first"),
    # How a page says whether there are more: as text, as a number; or always the same, whatever is so.
    "more": ("true or false", "text", "number", "null", "always 'false'", "always 0", "always 'true'"),
    "down": (0.0, 5.0, 40.0, math.inf),  # seconds for which the list cannot be read
    "empty": ("[]", "null"),
    "strangers": ((), (-0.3,), (-5.0,), (0.6,), (3.3,), (20.0,), (130.0,), (2.2, 4.4)),  # seconds after ours
    "script": tuple(SCRIPTS),
    "earlier": (False, True),  # a colleague's turn in the same session, before the run
    "telling": ("asked", "newest first", "oldest first", "shuffled"),
    "events": ("honest", "overlap", "repeated", "after_id ignored", "page ignored", "no last_id", "strict",
               "stuck cursor"),
    "types": ("honoured", "ignored"),
    "ids": ("there", "absent", "number"),
    "times_of_events": ("there", "absent"),
    "status": ("honest", "stuck", "behind", "idle"),  # of the run, where the server has one; `idle`: the session's
    "missing": (None, ("api", 20.0), ("api", math.inf), ("404 html", math.inf), ("404 html", 45.0), ("401 html", 45.0),
                ("403 html", math.inf), ("407 html", 45.0), ("413 html", 45.0)),  # of its session, for so long
    # The run may name another session from 3 s on, in which it goes on; the first is gone, says no more, or ends.
    "session": ("there", "late", "changes", "moves, gone", "moves, silent", "moves, deleted", "moves, failed",
                "moves, completed"),
}  # fmt: skip
MOVES = 3.0  # seconds after which a run that moves names its last session
GOES_ON = 10.0  # seconds by which its work is later there


YEAR = 365 * 86400.0  # seconds
_TIMES = {"nonsense": "a moment ago", "year 1": "0001-01-01T00:00:00Z", "1970": "1970-01-01T00:00:00Z"}
_MORE: dict[str, Callable[[bool], object]] = {
    "true or false": lambda more: more,
    "text": lambda more: str(more).lower(),
    "number": int,
    "null": lambda more: None,
    "always 'false'": lambda more: "false",
    "always 0": lambda more: 0,
    "always 'true'": lambda more: "true",
}
_FIRST = "_first"  # ends the id of the session that a run has left
# What happens in that.
_LEFT: dict[str, tuple[Beat, ...]] = {
    "moves, gone": (),
    "moves, silent": (),
    "moves, deleted": (Beat(4.3, "session.deleted"),),
    "moves, failed": (_says(3.9), _idle(4.3, BROKE)),
    "moves, completed": (_says(3.9), _idle(4.3, DONE)),
}


_HONEST = {name: values[0] for name, values in WAYS.items()}
_Ways = make_dataclass("_Ways", [(name, Any, field(default=one)) for name, one in _HONEST.items()], frozen=True)


class Server(_Ways):  # type: ignore[misc, valid-type]  # each way is Any
    """A way to be a server: each field one of `WAYS`."""

    @property
    def oddities(self) -> dict[str, Any]:
        """What is not honest about it."""
        return {name: value for name, honest in _HONEST.items() if (value := getattr(self, name)) != honest}

    @property
    def is_fair(self) -> bool:
        """Whether the truth can be told at all: contradictions, and what nobody could see through, are left out."""
        loses_order = self.telling != "asked" or self.ids != "there" or self.events in ("overlap", "repeated")
        return not (
            (self.acts is not None and not ANSWERS[self.answer])  # the API's own refusal is the truth
            or (self.answer == "ok" and self.acts != 0.0)
            or (self.answer == "other deployment" and self.acts is None)
            # Nothing tells an old run from a new one: it says no time, or clocks differ by more than its age.
            or (self.answer in KEPT and (self.created != "text" or self._is_off))
            or (self.times_of_events == "absent" and (loses_order or self.earlier))
            or (self.earlier and self.created != "text")  # nothing says which events are older than the run
            or (self.earlier and self.script in ("idle at first, never runs",))
            # Whether such a run went on with its session, or ended before, nobody can tell.
            or (self.status == "stuck" and "chats on" in self.script)
        )

    @property
    def _is_off(self) -> bool:
        """Whether some clock is off by more than a moment, so that an old run can look new."""
        off = (self.ahead, self.date, self.step[1] if self.step else 0.0)
        return any(not isinstance(by, float) or abs(by) > 3.0 for by in off)

    @property
    def moves(self) -> bool:
        """Whether its runs change their session for good."""
        return str(self.session).startswith("moves")

    def __str__(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.oddities.items()) or "honest"


@dataclass
class Run:
    """A run as it really is. `since` is when it came to be, in true time; `heard` that its answer arrived whole."""

    id: str
    deployment: str
    origin: Literal["ours", "stranger", "schedule"]
    since: float
    script: Script
    key: str | None = None
    command: int = 0
    cancelled: float | None = None
    heard: bool = False  # an answer to a trigger was sent whole, with it in it
    delay: float = 0.0  # seconds by which its script begins later

    @property
    def session(self) -> str:
        return self.id.replace("drun_", "sess_")

    def truth(self, now: float) -> str | None:
        """How it has ended by now: completed, failed, unknown; None while it goes on."""
        ends = self.since + self.delay + self.script.at
        ended = ends <= now
        if self.cancelled is not None and not (ended and ends <= self.cancelled):
            return "failed"
        return self.script.ending if ended else None


@dataclass
class Post:
    at: float
    deployment: str
    key: str | None
    command: int
    runs: list[str] = field(default_factory=list)


class Hostile(httpx.BaseTransport):
    """The server. `now` is true time, `let_pass` is called for the seconds that something takes."""

    def __init__(self, server: Server, *, now: Callable[[], float], let_pass: Callable[[float], None]) -> None:
        self.server = server
        self.command = 0  # of which the requests that come now are
        self.runs: list[Run] = []
        self.posts: list[Post] = []
        self.requests: list[tuple[float, str, str]] = []
        self.named: set[str] = set()  # the runs of others that a command named
        self.began: dict[int, float] = {}  # when each command began
        self.ended = 0.0  # when the last command that starts something came to its end
        self.settled: set[int] = set()  # the commands that have said that nothing was started, when they might
        self.lock = threading.RLock()
        self._now = now
        self._let_pass = let_pass
        self._late: list[tuple[float, Run, Post | None]] = []
        self._began = now()
        self._reads = 0
        self._answered: dict[str, int] = {}
        self._random = random.Random(7)
        for n in range(server.older):
            self._add(DEPLOYMENT, "schedule", self._began - 300.0 * (n + 2), SCRIPTS["completes"])

    # What is true

    def ours(self, command: int | None = None) -> list[Run]:
        """The runs that requests of a command (or any) really started, whatever was answered."""
        with self.lock:
            self._settle()
            return [run for run in self.runs if run.origin == "ours" and command in (None, run.command)]

    def find(self, run_id: object) -> Run | None:
        with self.lock:
            self._settle()
            return next((run for run in self.runs if run.id == run_id), None)

    def is_visible(self, run: Run, now: float) -> bool:
        return run.since + float(self.server.lag) <= now

    def _add(self, deployment: str, origin: Any, since: float, script: Script, post: Post | None = None) -> Run:
        run = Run(f"drun_{len(self.runs) + 1:032x}", deployment, origin, since, script, delay=self._delay)
        if post is not None:
            run.key, run.command = post.key, post.command
            post.runs.append(run.id)
        self.runs.append(run)
        return run

    @property
    def _delay(self) -> float:
        return GOES_ON if self.server.moves else 0.0

    def _settle(self) -> None:
        """Let happen what was due by now."""
        now = self._now()
        due = sorted((one for one in self._late if one[0] <= now), key=lambda one: one[0])
        self._late = [one for one in self._late if one[0] > now]
        for at, run, post in due:
            run.id, run.since = f"drun_{len(self.runs) + 1:032x}", at
            if post is not None:
                post.runs.append(run.id)
            self.runs.append(run)

    def _act(self, post: Post, after: float) -> Run | None:
        """Start a run for a trigger, at once or later; return it when it is there."""
        server = self.server
        if server.keys and post.key:
            same = [one for one in self.posts if one.key == post.key and one is not post]
            for run in self.runs:
                if run.key == post.key and run.deployment == post.deployment:
                    return run
            if any(run.key == post.key for _, run, _ in self._late) and same:
                return None
        if after > 0:
            self._later(after, post.deployment, "ours", SCRIPTS[server.script], post)
            return None
        run = self._add(post.deployment, "ours", self._now(), SCRIPTS[server.script], post)
        for n in range(server.newer):
            self._later(0.01 + n / 1000, run.deployment, "schedule", SCRIPTS["completes"])
        return run

    def _later(self, after: float, deployment: str, origin: Any, script: Script, post: Post | None = None) -> None:
        run = Run("", deployment, origin, 0.0, script)
        if post is not None:
            run.key, run.command, run.delay = post.key, post.command, self._delay
        self._late.append((self._now() + after, run, post))

    def _strangers(self, deployment: str) -> None:
        """Let colleagues start runs around the first trigger."""
        for after in self.server.strangers:
            if after < 0:
                self._add(deployment, "stranger", self._now() + after, SCRIPTS["completes"])
            else:
                self._later(after, deployment, "stranger", SCRIPTS["completes"])

    # What is told

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        content = request.read()
        path = request.url.path.removeprefix(BASE_PATH)
        parts = path.strip("/").split("/")
        if parts[-1] == "stream":
            return _refusal(501, "no streams", "feature_not_available")
        self._let_pass(LATENCY / 2)
        try:
            with self.lock:
                self._settle()
                self.requests.append((self._now(), request.method, path))
                if request.method == "POST" and parts[0] == "deployments" and parts[-1] == "run":
                    answer = self._trigger(request, parts[1])
                elif request.method == "POST" and parts[0] == "sessions" and parts[-1] == "cancel":
                    answer = self._cancel(parts[1])
                elif request.method == "GET":
                    answer = self._read(request, parts)
                else:
                    answer = _refusal(404, f"no such path: {content[:20]!r}")
        finally:
            self._let_pass(LATENCY / 2)
        if date := self._date():
            answer.headers["date"] = date
        return answer

    def _date(self) -> str | None:
        server = self.server
        if server.date in ("absent", "nonsense"):
            return None if server.date == "absent" else "yesterday"
        moment = self._began if server.date == "frozen" else self._now() + server.date
        return formatdate(math.floor(moment + server.ahead), usegmt=True)

    def _trigger(self, request: httpx.Request, deployment: str) -> httpx.Response:
        server = self.server
        post = Post(self._now(), deployment, request.headers.get("idempotency-key"), self.command)
        if not any(one.deployment == deployment for one in self.posts):
            self._strangers(deployment)
        self.posts.append(post)
        answer = "ok"
        if server.answer != "another's" or self._earlier(post):
            answered = self._answered[deployment] = self._answered.get(deployment, 0) + 1
            answer = server.answer if answered <= server.times else "ok"
        if answer == "ok":
            run = self._act(post, 0.0)
            if run is None:  # under this key one is on its way
                return _refusal(409, "a request with this key is under way", "conflict_error")
            run.heard = True
            return _json(200, self._shape(run, fresh=True))
        other = self._kept(answer, post) if answer in KEPT else None
        run = None
        if server.acts is not None and ANSWERS[answer]:
            run = self._act(post, server.acts)
        if other is not None:
            other.heard = True
            return _json(200, self._shape(other, fresh=True), {"age": AGE} if answer == "kept" else {})
        return self._bad_answer(request, answer, run, deployment)

    def _earlier(self, post: Post) -> Run | None:
        """Return a run that an earlier command of this machine has started of the same deployment."""
        mine = (run for run in self.runs if run.origin == "ours" and run.deployment == post.deployment)
        return next((run for run in mine if run.command < post.command), None)

    def _kept(self, answer: str, post: Post) -> Run | None:
        """Return the run that is answered in the place of the one that was asked for."""
        if answer == "another's":
            return self._earlier(post)
        origin = "schedule" if answer == "scheduled" else "stranger"
        return self._add(post.deployment, origin, post.at + OLD[answer], SCRIPTS["completes"])

    def _bad_answer(self, request: httpx.Request, answer: str, run: Run | None, deployment: str) -> httpx.Response:
        run = run or Run("drun_" + "f" * 32, deployment, "ours", self._now(), SCRIPTS["goes on"])
        whole = json.dumps(self._shape(run))
        half = whole[: len(whole) // 2]
        if answer[:3].isdigit():
            return _status(int(answer[:3]), answer[4:], request)
        if answer in ("hang", "slow"):
            self._let_pass(_patience(request) if answer == "hang" else 45.0)
        match answer:
            case "html":
                return httpx.Response(200, html="<html>Welcome to the hotel</html>")
            case "other deployment":
                return _json(200, {**json.loads(whole), "deployment_id": "dep_other"})
            case "cut":
                return _cut(200, half, request)
            case "half":
                return httpx.Response(200, content=half.encode())
            case "garbage" | "empty" | "list" | "null":
                content = {"garbage": b"\x00\xff{{", "empty": b"", "list": b"[]", "null": b"null"}[answer]
                return httpx.Response(200, content=content, headers={"content-type": "application/json"})
        error, words = _BREAKS.get(answer, (httpx.RemoteProtocolError, "Server disconnected without a response."))
        raise error(words, request=request)

    def _cancel(self, session: str) -> httpx.Response:
        run = self._run_of(session)
        if run is None or self._has_left(run, session):
            return _refusal(404, "no such session", "not_found_error")
        run.cancelled = self._now() if run.cancelled is None else run.cancelled
        return _json(202, {"id": session, "type": "session", "status": "canceling"})

    def _run_of(self, session: str) -> Run | None:
        session = session.removesuffix(_FIRST).removesuffix("b")
        return next((run for run in self.runs if run.session.removesuffix("b") == session), None)

    def _read(self, request: httpx.Request, parts: list[str]) -> httpx.Response:
        match parts:
            case ["deployments", deployment]:
                return _json(200, _deployment(deployment, self._stamp(self._began)))
            case ["deployments", deployment, "runs"]:
                return self._list(request, [run for run in self.runs if run.deployment == deployment])
            case ["deployment_runs"]:
                wanted = request.url.params.get("deployment_id")
                return self._list(request, [run for run in self.runs if wanted in (None, run.deployment)])
            case ["deployment_runs", run_id] | ["deployments", _, "runs", run_id]:
                run = next((run for run in self.runs if run.id == run_id), None)
                return _json(200, self._shape(run)) if run else _refusal(404, "no such run", "not_found_error")
            case ["sessions", session]:
                run = self._run_of(session)
                gone = self._missing(run, session)
                return gone or _json(200, self._session(run, session) if run else {})
            case ["sessions", session, "events"]:
                run = self._run_of(session)
                return (
                    self._missing(run, session) or self._events(request, run, session)
                    if run
                    else _refusal(404, "none", "not_found_error")
                )
        return _refusal(404, "no such path", "not_found_error")

    def _list(self, request: httpx.Request, runs: list[Run]) -> httpx.Response:
        server, now = self.server, self._now()
        first = self.posts[0].at if self.posts else None
        if first is not None and now - first < server.down:
            return httpx.Response(503, html="<html>unavailable</html>")
        shown = sorted((run for run in runs if self.is_visible(run, now)), key=lambda run: run.since, reverse=True)
        if server.forgets:
            shown = [run for run in shown if run.origin != "ours" or not 6 <= now - run.since < 20]
        if server.order == "oldest":
            shown.reverse()
        elif server.order == "shuffled":
            random.Random(3).shuffle(shown)
        items = [self._shape(run) for run in shown]
        if server.foreign != "none" and (server.foreign != "instead at first" or first is None or now - first < 10):
            foreign = [
                {**item, "id": item["id"].replace("drun_", "drun_f"), "deployment_id": "dep_f"} for item in items
            ]
            both = [row for rows in zip(items, foreign, strict=True) for row in rows]
            items = both if server.foreign == "mixed in" else foreign
        return _json(200, self._page(request, items, server.paging))

    def _page(self, request: httpx.Request, items: list[Shape], paging: str) -> Shape:
        """Return a page of a list, in one of the ways to be wrong about pages."""
        query = request.url.params
        limit = len(items) + 1 if paging == "limit ignored" else min(int(query.get("limit", "20")), 100)
        begin = 0
        cursor = query.get("page")
        is_repeat = False
        if cursor is not None and paging != "page ignored":
            begin = int(cursor.removeprefix("p").removesuffix("r"))
            is_repeat = cursor.endswith("r")
        elif (after := query.get("after_id")) is not None and paging not in ("after_id ignored", "stuck cursor"):
            begin = next((n + 1 for n, item in enumerate(items) if item.get("id") == after), 0)
        if paging == "overlap" and begin:
            begin -= 1
        data = items[begin : begin + limit]
        end = begin + len(data)
        has_more = end < len(items)
        following: str | None = f"p{end}" if has_more else None
        if paging == "repeated" and not is_repeat and has_more:
            following = f"p{begin}r"
        elif paging == "stuck cursor" and has_more:
            following = "p0"
        shape: Shape = {
            "data": data or (None if self.server.empty == "null" else []),
            "first_id": data[0].get("id") if data else None,
            "last_id": data[-1].get("id") if data else None,
            "has_more": has_more,
        }
        if self.server.generation == "current" or paging in ("repeated", "next_page only", "stuck cursor"):
            shape["next_page"] = following
        if paging == "next_page null":
            shape["next_page"] = None
        shape["has_more"] = _MORE[self.server.more](has_more)
        if paging in ("next_page only", "neither"):
            del shape["has_more"]
        if paging in ("has_more only", "neither"):
            shape.pop("next_page", None)
        if paging == "no last_id":
            del shape["last_id"], shape["first_id"]
        return shape

    def _stamp(self, moment: float, digits: int = 0) -> str:
        seconds = math.floor(moment)
        fraction = f"{moment - seconds:.9f}"[1 : 2 + digits] if digits else ""
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + fraction + "Z"

    def _shape(self, run: Run, *, fresh: bool = False) -> Shape:
        """Return a run as it is told."""
        server, now = self.server, self._now()
        legacy = server.generation == "legacy"
        created = run.since + server.ahead
        stamp = self._stamp(created, (9 if fresh else 6) if legacy else 0)
        shape: Shape = {
            "id": run.id,
            "type": "deployment_run",
            "deployment_id": run.deployment,
            "agent": {"id": "agent_1", "type": "agent", "version": 1},
            "created_at": {
                "null": None,
                "number": math.floor(created),
                **_TIMES,
                "a year ahead": self._stamp(created + YEAR),
            }.get(server.created, stamp),
            "session_id": self._session_id(run, now),
            "error": None,
            "trigger_context": self._context(run),
        }
        for name in ("created", "context"):
            if getattr(server, name) == "absent" and (name == "created" or run.origin != "schedule"):
                del shape[{"created": "created_at", "context": "trigger_context"}[name]]
        if legacy:
            shape |= self._legacy(run, shape, now)
        return shape

    def _session_id(self, run: Run, now: float) -> str | None:
        if self.server.session == "late" and now - run.since < 3:
            return None
        if self.server.moves and not self._has_moved(run, now):
            return run.session + _FIRST
        self._reads += 1
        changed = self.server.session == "changes" and self._reads % 2
        return run.session + ("b" if changed else "")

    def _has_moved(self, run: Run, now: float) -> bool:
        """Return whether a run that moves names its last session; one that was stopped before never does."""
        return now - run.since >= MOVES and not (run.cancelled is not None and run.cancelled < run.since + MOVES)

    def _has_left(self, run: Run, session: str) -> bool:
        return session.endswith(_FIRST) and self._has_moved(run, self._now())

    def _context(self, run: Run) -> object:
        if run.origin == "schedule":
            return {"type": "schedule", "scheduled_at": self._stamp(run.since + self.server.ahead)}
        return {
            "manual": {"type": "manual"},
            "null": None,
            "string": "manual",
            "other": {"type": "api"},
            "retry": {"type": "retry"},
            "number": {"type": 1},
        }.get(self.server.context)

    def _legacy(self, run: Run, shape: Shape, now: float) -> Shape:
        truth = run.truth(now)
        if self.server.status == "stuck":
            truth = None
        elif self.server.status == "behind":
            truth = run.truth(now - 20)
        fields: Shape = {"status": truth if truth in ("completed", "failed") else "running"}
        if truth == "unknown":
            fields["status"] = "running"
        if "created_at" in shape:
            fields["triggered_at"] = shape["created_at"]
        if truth in ("completed", "failed"):
            ended = run.since + run.delay + min(run.script.at, now)
            fields["completed_at"] = self._stamp(ended + self.server.ahead, 6)
        if truth == "failed":
            fields["error"] = {"type": "unknown_error", "message": "It failed."}
        if shape["session_id"] is None:
            fields["status"] = "pending"
        return fields

    def _missing(self, run: Run | None, session: str) -> httpx.Response | None:
        """Return what is answered instead of a session, for as long as it is."""
        if run is not None and self.server.session == "moves, gone" and self._has_left(run, session):
            return _refusal(404, "no such session", "not_found_error")
        if run is None or self.server.missing is None:
            return None
        kind, seconds = self.server.missing
        if self._now() - run.since >= seconds:
            return None
        if kind == "api":
            return _refusal(404, "no such session", "not_found_error")
        return httpx.Response(int(kind[:3]), html="<html>This is not the API</html>")

    def _session(self, run: Run, session: str) -> Shape:
        now = self._now()
        past = [event for event in self._past(run, session=session) if event["type"].startswith("session.status")]
        at_rest = bool(past) and past[-1]["type"] != "session.status_running"
        status = "idle" if at_rest or self.server.status == "idle" else "running"
        return {
            "id": session,
            "type": "session",
            "status": status,
            "deployment_id": run.deployment,
            "usage": {"total_credits": 0.17},
            "created_at": self._stamp(run.since + self.server.ahead),
            "updated_at": self._stamp(now + self.server.ahead),
        }

    def _past(self, run: Run, now: float | None = None, *, session: str = "") -> list[Shape]:
        """Return what has happened in the session by now, oldest first, as it is told."""
        now = self._now() if now is None else now
        beats = [b._replace(at=b.at + run.delay) for b in run.script.beats]
        if session.endswith(_FIRST):
            beats = [_running(0.9), *_LEFT[self.server.session]]
        if self.server.earlier:
            beats = [b._replace(at=b.at - 300) for b in (*_WORK, _idle(20.0, DONE))] + beats
        if run.cancelled is not None:
            beats = [b for b in beats if run.since + b.at <= run.cancelled]
            beats.append(_idle(run.cancelled - run.since + 0.1, {"type": "cancelled"}))
        told = []
        for n, beat in enumerate(beats):
            if run.since + beat.at > now:
                continue
            of = "0" if session.endswith(_FIRST) else ""
            event: Shape = {"id": f"evt_{run.id[-6:]}_{of}{n:06d}", "type": beat.type, **beat.fields}
            if self.server.ids == "absent":
                del event["id"]
            elif self.server.ids == "number":
                event["id"] = n
            if self.server.times_of_events == "there":
                event["processed_at"] = self._stamp(run.since + beat.at + self.server.ahead, 6)
            told.append(event)
        return told

    def _events(self, request: httpx.Request, run: Run, session: str) -> httpx.Response:
        server, query = self.server, request.url.params
        every = self._past(run, session=session)
        wanted = set(query.get_list("types[]"))
        events = every
        if wanted and server.types == "honoured":
            events = [event for event in every if event["type"] in wanted]
        after = query.get("after_id")
        if server.events == "strict" and after and after not in [event.get("id") for event in events]:
            return _refusal(400, "after_id: no such event", "invalid_request_error")
        descending = query.get("order") == "desc"
        if server.telling == "newest first" or (server.telling == "asked" and descending):
            events = events[::-1]
        elif server.telling == "shuffled":
            events = list(events)
            random.Random(len(events)).shuffle(events)
        return _json(200, self._page(request, events, server.events))


# How a connection breaks; otherwise the server hangs up.
_BREAKS: dict[str, tuple[type[httpx.TransportError], str]] = {
    "connect": (httpx.ConnectError, "[Errno 111] Connection refused"),
    "read error": (httpx.ReadError, "[Errno 104] Connection reset by peer"),
    "certificate error": (httpx.ReadError, "[SSL: SSLV3_ALERT_BAD_CERTIFICATE] bad certificate"),
    "write error": (httpx.WriteError, "[Errno 32] Broken pipe"),
    "hang": (httpx.ReadTimeout, "The read operation timed out"),
}


def _status(code: int, form: str, request: httpx.Request) -> httpx.Response:
    """Return an answer with a status: the API's own, or another's in some form."""
    match form:
        case "html":
            return httpx.Response(code, html="<html><title>Sorry</title></html>")
        case "json":
            return _json(code, {"message": "an error occurred"})
        case "cut":
            return _cut(code, '{"type": "error", "error": {"type": "api_error", "mess', request)
    if form == "empty" or code == 204:
        return httpx.Response(code)
    if 300 <= code < 400:
        return httpx.Response(code, headers={"location": "https://login.example/"})
    kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    answer = _refusal(code, "no", kinds.get(code, "api_error"))
    if code == 429:
        answer.headers["retry-after"] = "1"
    return answer


def _refusal(status: int, message: str, kind: str = "api_error") -> httpx.Response:
    error = {"type": kind, "message": message}
    return _json(status, {"type": "error", "request_id": "req_1", "error": error})


def _json(status: int, value: object, headers: Mapping[str, str] = NOTHING) -> httpx.Response:
    told = {"content-type": "application/json", **headers}
    return httpx.Response(status, content=json.dumps(value).encode(), headers=told)


def _cut(status: int, text: str, request: httpx.Request) -> httpx.Response:
    return httpx.Response(status, headers={"content-type": "application/json"}, stream=_CutOff(text, request))


class _CutOff(httpx.SyncByteStream):
    def __init__(self, text: str, request: httpx.Request) -> None:
        self._text, self._request = text, request

    def __iter__(self) -> Iterator[bytes]:
        yield self._text.encode()
        raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")


def _patience(request: httpx.Request) -> float:
    timeout = request.extensions.get("timeout", {}).get("read")
    return 600.0 if timeout is None else float(timeout)


def _deployment(deployment: str, stamp: str) -> Shape:
    events = [{"type": "user.message", "content": [{"type": "text", "text": "Go."}]}]
    return {
        "id": deployment, "type": "deployment", "name": deployment.removeprefix("dep_"), "environment_id": "env_1",
        "agent": {"id": "agent_1", "type": "agent", "version": 1}, "status": "active", "paused_reason": None,
        "schedule": None, "initial_events": events, "created_at": stamp, "updated_at": stamp, "archived_at": None,
        "metadata": {}, "resources": [], "vault_ids": [],
    }  # fmt: skip
