"""A report of a large account: `python -m tests.bench.report [DEPLOYMENTS] [RUNS]`.

So many deployments (200) with so many runs a day altogether (1,000), on the current generation of server, where only
sessions know how runs ended: a first report, and the same again. Then each deployment has a thousand runs in the time
that a report looks at.
Prints requests, wall time, peak memory and the lines of progress.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from qoder_cli.sandbox.records import stamp
from tests.bench.lists import LAUNCHER, QODER, TOKEN

NOW = datetime(2027, 1, 15, 8, tzinfo=UTC).timestamp()
DAY = 86400.0
LOOK_BACK = 26 * 3600.0  # seconds before a report's span of which runs are read, too
PAGE = 100


class Account:
    """So many deployments, and runs at even distances back to where the look back of a report of a day ends."""

    def __init__(self, deployments: int, runs_a_day: int) -> None:
        self.deployments = deployments
        self._apart = DAY / runs_a_day
        self.runs = int((DAY + LOOK_BACK - 180) / self._apart)

    def came(self, number: int) -> float:
        return NOW - 120 - number * self._apart

    def page(self, path: str, query: dict[str, list[str]]) -> dict[str, Any]:
        """Return a page of a list, the newest first."""
        start = int(query.get("page", ["0"])[0])
        if path.endswith("/events"):
            return {"data": self._events(int(path.split("/")[2].removeprefix("sess_"))), "has_more": False}
        make = {"/deployments": self._deployment, "/deployment_runs": self._run, "/sessions": self._session}[path]
        count = self.deployments if path == "/deployments" else self.runs
        numbers = range(start, min(start + PAGE, count))
        since = query.get("created_at[gte]", [""])[0]
        rows = [row for row in map(make, numbers) if row["created_at"] >= since]
        more = len(rows) == PAGE and start + PAGE < count
        return {"data": rows, "has_more": more, "next_page": str(start + PAGE) if more else None}

    def _deployment(self, number: int) -> dict[str, Any]:
        schedule = {"type": "cron", "expression": "0 3 30 2 *", "timezone": "UTC"}  # never
        old = dict.fromkeys(("created_at", "updated_at"), "2026-01-01T00:00:00Z")
        about = {"id": f"dep_{number:032x}", "type": "deployment", "name": f"job-{number}", "status": "active"}
        return {**about, "schedule": schedule, "archived_at": None, **old}

    def _run(self, number: int) -> dict[str, Any]:
        return {
            "id": f"drun_{number:032x}",
            "type": "deployment_run",
            "deployment_id": f"dep_{number % self.deployments:032x}",
            "agent": {"id": f"agent_{number % 20:032x}", "type": "agent", "version": 3},
            "session_id": f"sess_{number}",
            "error": None,
            "trigger_context": {"type": "manual"},
            "created_at": stamp(self.came(number)),
        }

    def _session(self, number: int) -> dict[str, Any]:
        about = {"id": f"sess_{number}", "type": "session", "status": "idle", "usage": {"total_credits": 0.25}}
        return {**about, "created_at": stamp(self.came(number))}

    def _events(self, number: int) -> list[dict[str, Any]]:
        reason = {"type": "retries_exhausted" if number % 20 == 0 else "end_turn"}
        told: list[tuple[float, dict[str, Any]]] = [
            (1, {"type": "session.status_running"}),
            (20, {"type": "agent.message", "content": [{"type": "text", "text": "Done."}]}),
            (40, {"type": "session.status_idle", "stop_reason": reason}),
        ]
        at = self.came(number)
        return [{"id": f"evt_{n}", "processed_at": stamp(at + after), **event} for n, (after, event) in enumerate(told)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    account: Account
    asked: Counter[str]

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = url.path.removeprefix("/api/v1/cloud")
        self.asked[re.sub(r"sess_\d+", "…", path)] += 1
        content = json.dumps(self.account.page(path, parse_qs(url.query))).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass

    def date_time_string(self, timestamp: float | None = None) -> str:
        return formatdate(NOW, usegmt=True)


def measure(deployments: int, runs_a_day: int, times: int) -> Iterator[dict[str, Any]]:
    """Yield the figures of a report that is made so many times."""
    Handler.account = Account(deployments, runs_a_day)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, tempfile.TemporaryDirectory() as folder:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for _ in range(times):
            Handler.asked = Counter()
            yield _report(f"http://127.0.0.1:{server.server_port}/api/v1/cloud", folder)
        server.shutdown()


def _report(base_url: str, folder: str) -> dict[str, Any]:
    env = {**os.environ, "QODER_BASE_URL": base_url, "QODER_PAT": TOKEN, "QODER_STATE_DIR": folder}
    words = [sys.executable, "-S", "-E", "-c", LAUNCHER, QODER, "report", "-o", "json"]
    ran = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    *said, last = ran.stderr.splitlines()
    status, took, kilobytes = last.split()
    report = json.loads(ran.stdout)
    return {
        "code": int(status) >> 8,
        "requests": Handler.asked.total(),
        "asked": dict(Handler.asked),
        "seconds": round(float(took), 1),
        "MB": round(int(kilobytes) / 1024),
        "runs": report["runs"],
        "failed": sum(each["failed"] for each in report["failed"]),
        "problems": [each["message"] for each in report["problems"]],
        "progress": said,
    }


def main(words: list[str]) -> None:
    deployments, runs = (int(word) for word in [*words, *("200", "1000")[len(words) :]])
    many = int(runs * deployments * DAY / (DAY + LOOK_BACK))
    for what, runs_a_day, times in (("a day", runs, 2), ("for each", many, 1)):
        print(f"{deployments} deployments, {runs} runs {what}")
        for figures in measure(deployments, runs_a_day, times):
            for name, value in figures.items():
                print(f"  {name:<9} {value}")


if __name__ == "__main__":
    main(sys.argv[1:])
