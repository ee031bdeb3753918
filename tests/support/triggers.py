"""What tests share of the trigger protocol: lost answers, and what the run list shows afterwards."""

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any

import httpx

from tests.conftest import Qoder
from tests.support.one_run import CURRENT, EVENTS, TRIGGER
from tests.support.wire import FakeClock, api_error, page

RUNS = ("GET", "/deployments/dep_1/runs")
NOW = 1_800_000_000.0  # where the fake clock starts: 2027-01-15T08:00:00Z
Look = Callable[[FakeClock], Any]  # what one look at the run list is answered with


def at(seconds: float) -> str:
    """Return the timestamp of a run created so long after the command began."""
    return datetime.fromtimestamp(NOW + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def listed(*runs: dict[str, Any], at: float = NOW, date: str | None = None, age: int = 0) -> Any:
    """Return an answer of the run list, with the server's clock in its Date header."""
    return dated(page(*runs), at=at, date=date, age=age)


def dated(body: Any, *, at: float, date: str | None = None, age: int = 0) -> Any:
    """Return an answer with the server's clock in its Date header."""
    headers = {"date": formatdate(at, usegmt=True) if date is None else date} if date != "" else {}
    return httpx.Response(200, json=body, headers=headers | ({"age": str(age)} if age else {}))


def fresh(number: int, *, created: str = "2027-01-15T08:00:00Z", trigger: str = "manual") -> dict[str, Any]:
    return {**CURRENT, "id": f"drun_{number}", "created_at": created, "trigger_context": {"type": trigger}}


def looks(qoder: Qoder, shown: list[dict[str, Any]] | Look) -> None:
    """Let every look at the run list show these runs, or be answered so, from now on."""
    qoder.wire.expected = [one for one in qoder.wire.expected if one.path != RUNS[1]]
    answer = shown if callable(shown) else lambda clock: listed(*shown, at=clock.time)
    qoder.wire.on(*RUNS, lambda request: answer(qoder.clock), repeat=True)


def shows(qoder: Qoder, *runs: dict[str, Any], ahead: float = 0.0) -> None:
    """Let every look at the run list show these runs, on a server whose clock is so far ahead of ours."""
    looks(qoder, lambda clock: listed(*runs, at=clock.time + ahead))


def shows_ours(qoder: Qoder, *runs: dict[str, Any], ahead: float = 0.0) -> None:
    """Let the run list show them, one of which is adopted and then asked how it stands."""
    shows(qoder, *runs, ahead=ahead)
    qoder.wire.on(*EVENTS, page())


def late(seconds: float, *runs: dict[str, Any]) -> Look:
    """Let the run list show these runs only so many seconds after the fake clock starts."""
    return lambda clock: listed(*(runs if clock.time >= NOW + seconds else ()), at=clock.time)


LOST: dict[str, Any] = {
    "cut": httpx.RemoteProtocolError("peer closed connection"),
    "no answer": httpx.ReadTimeout("timed out"),
    "reset": httpx.ReadError("reset"),
    "502 in HTML": (502, "<html>Bad Gateway</html>"),
    "503 without a body": (503, ""),
    "500 that is not the API's": (500, '{"oops": true}'),
    "broken JSON": (200, '{"id": "drun_'),
    "a list": (200, "[]"),
    "no run": (200, '{"ok": true}'),
    "nothing": (200, ""),
}
CUT = LOST["cut"]
ENVELOPED = api_error(500, "api_error", "Oops.")
NIGHT = ("deploy", "run", "dep_1", "--idempotency-key", "night-1")


def killed(qoder: Qoder, *words: str) -> None:
    """Leave a start behind of which nothing is known, as a process that was killed does."""
    qoder.wire.on(*TRIGGER, CUT)
    assert qoder("deploy", "run", "dep_1", "--on-lost", "fail", *words).code == 9


def lost_twice(qoder: Qoder, *words: str) -> None:
    """Lose the answers to two starts under one key, at 0 s and at 30 s; no run is listed until 38 s."""
    killed(qoder, *NIGHT[3:], *words)
    qoder.wire.on(*TRIGGER, CUT)
    shows(qoder)
    assert qoder(*NIGHT, *words).code == 9


def seen(ran: Any) -> dict[str, Any]:
    """Return what a user sees of one start: exit code, run, whether it was adopted, how it stands."""
    run = ran.json if ran.out else {}
    state = ran.error["run_state"] if ran.code else None
    return {"code": ran.code, "run": run.get("id"), "adopted": run.get("adopted", False), "state": state}


ADOPTED = {"code": 0, "run": "drun_7", "adopted": True, "state": None}
STARTED = {"code": 0, "run": "drun_7", "adopted": False, "state": None}
IN_DOUBT = {"code": 9, "run": None, "adopted": False, "state": "unknown"}


def nothing(code: int) -> dict[str, Any]:
    """Return what a user sees where certainly nothing was started."""
    return {"code": code, "run": None, "adopted": False, "state": "none"}
