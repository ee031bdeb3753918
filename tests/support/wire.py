"""A fake wire that complains about a request nobody expected and an answer nobody asked for; and a clock tests own."""

import io
import json
import queue
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import httpx

from qoder_cli.base.times import Clock, next_of

BASE = "https://api.qoder.com/api/v1/cloud"


class FakeClock(Clock):
    """A clock that moves only when someone sleeps, or a test moves it."""

    def __init__(self, now: float = 1_800_000_000.37) -> None:  # no whole second, at which rounding cannot be seen
        self.time = now
        self.slept: list[float] = []
        self.at_sleep: Callable[[], None] = lambda: None
        self.patience = 0.0  # real seconds that another thread gets to put something into an inbox

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        self.at_sleep()

    def receive(self, inbox: "queue.SimpleQueue[Any]", seconds: float) -> Any:
        """Give another thread a moment of real time, then let the time pass."""
        try:
            return next_of(inbox, self.patience)
        except queue.Empty:
            self.sleep(seconds)
            return None

    def jitter(self) -> float:
        return 1.0


class Unwritable(io.BytesIO):
    """A stream that nobody can write to."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def write(self, data: Any) -> int:
        raise self.error


@dataclass
class Expected:
    """One kind of request and its answers in turn; the last one is given for ever when `repeat`.

    In the path, `*` stands for anything.
    """

    method: str
    path: str
    answers: list[Any]
    repeat: bool
    asked: int = 0
    is_needed: bool = True


@dataclass
class Wire(httpx.BaseTransport):
    """Answers as told, remembers what was asked, and is checked at the end of the test."""

    expected: list[Expected] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    tells_of_asks: bool = False  # whether it is expected to be read what a session waits for
    told: dict[str, dict[str, Any]] = field(default_factory=dict)  # runs without a status, as they were told last

    def on(self, method: str, path: str, *answers: Any, repeat: bool = False) -> "Wire":
        """Expect a request for each answer: a JSON value, `(status, value)`, a raw text, an exception, a function."""
        self.expected.append(Expected(method, path, list(answers), repeat))
        return self

    def may(self, method: str, path: str, answer: Any) -> "Wire":
        """Answer a request that may come any number of times, or never: the test is about something else."""
        self.expected.append(Expected(method, path, [answer], repeat=True, is_needed=False))
        return self

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events/stream") and not self._expects_stream:
            return httpx.Response(
                501, json={"type": "error", "error": {"type": "feature_not_available", "message": ""}}
            )
        types = request.url.params.get_list("types[]")
        if (
            {"agent.tool_use", "user.tool_confirmation"} <= {*types}
            and "agent.message" not in types
            and not self.tells_of_asks
        ):
            return httpx.Response(200, json=page())  # nobody is asked, unless a test says so
        looks_for_pins = request.url.path.endswith("/deployments") and "agent_id" in request.url.params
        if looks_for_pins and not any(one.path == "/deployments" for one in self.expected):
            return httpx.Response(501, json={})  # what an update of an agent says besides, unless a test says so
        self.requests.append(request)
        path = request.url.raw_path.decode().partition("?")[0].removeprefix("/api/v1/cloud")
        for one in self.expected:
            is_meant = one.method == request.method and fnmatchcase(path, one.path)
            if is_meant and (one.repeat or one.asked < len(one.answers)):
                one.asked += 1
                response = _response(one.answers[min(one.asked, len(one.answers)) - 1], request)
                self._note_runs(response)
                return response
        if request.method == "GET" and (again := self.told.get(path.removeprefix("/deployment_runs/"))):
            return _response(again, request)  # a run is read again before its session decides
        self.unexpected.append(f"{request.method} {path}")
        return httpx.Response(599, text=f"nobody expected {request.method} {path}")

    def _note_runs(self, response: httpx.Response) -> None:
        try:
            body = response.json()
        except (ValueError, httpx.ResponseNotRead):
            return
        listed = body.get("data") if isinstance(body, dict) else None
        for row in listed if isinstance(listed, list) else [body]:
            if isinstance(row, dict) and str(row.get("id")).startswith("drun_") and "status" not in row:
                self.told[row["id"]] = row

    @property
    def _expects_stream(self) -> bool:
        return any(one.path.endswith("/events/stream") for one in self.expected)

    def check(self) -> None:
        """Fail when anything unexpected was asked, or an answer is left over."""
        assert not self.unexpected, f"unexpected requests: {self.unexpected}"
        left = [f"{one.method} {one.path}" for one in self.expected if one.is_needed and one.asked < len(one.answers)]
        assert not left, f"never asked: {left}"

    def asked(self, method: str) -> list[str]:
        return [request.url.path for request in self.requests if request.method == method]


def _response(answer: Any, request: httpx.Request) -> httpx.Response:
    if callable(answer):
        answer = answer(request)
    if isinstance(answer, Exception):
        raise answer
    if isinstance(answer, httpx.Response):
        return answer
    status, body = answer if isinstance(answer, tuple) else (200, answer)
    content = body if isinstance(body, str) else json.dumps(body)
    return httpx.Response(status, text=content, headers={"content-type": "application/json"})


def api_error(status: int, kind: str, message: str) -> tuple[int, dict[str, Any]]:
    """Return an answer in the API's error envelope."""
    return status, {"type": "error", "request_id": "req_1", "error": {"type": kind, "message": message}}


GONE = api_error(404, "not_found_error", "No such thing.")


def page(*items: dict[str, Any], more: bool = False) -> dict[str, Any]:
    ids = [item.get("id") for item in items]
    return {
        "data": list(items),
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
        "has_more": more,
    }
