"""What tests share of: The trigger protocol."""

from email.utils import formatdate
from typing import Any

import httpx

from tests.conftest import Qoder
from tests.support.one_run import CURRENT, EVENTS
from tests.support.wire import api_error, page

RUNS = ("GET", "/deployments/dep_1/runs")


NOW = 1_800_000_000.0  # where the fake clock starts: 2027-01-15T08:00:00Z


def listed(*runs: dict[str, Any], at: float = NOW, date: str | None = None) -> Any:
    """Return an answer of the run list, with the server's clock in its Date header."""
    headers = {"date": formatdate(at, usegmt=True) if date is None else date}
    return httpx.Response(200, json=page(*runs), headers=headers if date != "" else {})


def fresh(number: int, *, created: str = "2027-01-15T08:00:00Z", trigger: str = "manual") -> dict[str, Any]:
    return {**CURRENT, "id": f"drun_{number}", "created_at": created, "trigger_context": {"type": trigger}}


def shows(qoder: Qoder, *runs: dict[str, Any], ahead: float = 0.0) -> None:
    """Let every look at the run list show these runs, on a server whose clock is so far ahead of ours."""
    qoder.wire.on(*RUNS, lambda request: listed(*runs, at=qoder.clock.time + ahead), repeat=True)


def shows_ours(qoder: Qoder, *runs: dict[str, Any], ahead: float = 0.0) -> None:
    """Let the run list show them, one of which is adopted and then asked how it stands."""
    shows(qoder, *runs, ahead=ahead)
    qoder.wire.on(*EVENTS, page())


LOST = {
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


ENVELOPED = api_error(500, "api_error", "Oops.")
