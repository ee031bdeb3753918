"""A report of a large account: `python -m tests.bench.report [DEPLOYMENTS] [RUNS]`.

So many deployments (200) with so many runs a day altogether (1,000), on the current generation of server, where only
sessions know how runs ended: a first report, and the same again. Then each deployment has a thousand runs in the time
that a report looks at.
Prints requests, wall time, peak memory and the lines of progress.
"""

import json
import re
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs

from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.records import stamp
from qoder_cli.sandbox.server import Server
from qoder_cli.sandbox.wire import BASE_PATH, Request, WireResponse, encode
from qoder_cli.sandbox.world import World
from tests.bench import QODER, run

NOW = datetime(2027, 1, 15, 8, tzinfo=UTC).timestamp()
DAY = 86400.0
LOOK_BACK = 26 * 3600.0  # seconds before a report's span of which runs are read, too
PAGE = 100


class Account(Faults):
    """So many deployments, and runs at even distances back to where the look back of a report of a day ends."""

    def __init__(self, deployments: int, runs_a_day: int) -> None:
        super().__init__()
        self.asked = Counter[str]()
        self.deployments = deployments
        self._apart = DAY / runs_a_day
        self.runs = int((DAY + LOOK_BACK - 180) / self._apart)

    def answer(self, world: World, request: Request) -> WireResponse:
        """Answer in the place of a world, with the time of this account."""
        path = request.path.removeprefix(BASE_PATH)
        self.asked[re.sub(r"sess_\d+", "…", path)] += 1
        headers = {"content-type": "application/json", "date": formatdate(NOW, usegmt=True)}
        return WireResponse(200, headers, encode(self._page(path, parse_qs(request.query))))

    def came(self, number: int) -> float:
        return NOW - 120 - number * self._apart

    def _page(self, path: str, query: dict[str, list[str]]) -> dict[str, Any]:
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


def main(words: list[str]) -> None:
    deployments, runs = (int(word) for word in [*words, *("200", "1000")[len(words) :]])
    many = int(runs * deployments * DAY / (DAY + LOOK_BACK))
    for what, runs_a_day, times in (("a day", runs, 2), ("for each", many, 1)):
        print(f"{deployments} deployments, {runs} runs {what}")
        account = Account(deployments, runs_a_day)
        with Server(World(), faults=account).start() as server, tempfile.TemporaryDirectory() as folder:
            for _ in range(times):
                account.asked.clear()
                took = run([QODER, "report", "-o", "json"], server.base_url, QODER_STATE_DIR=folder)
                report = json.loads(took.out)
                failed = sum(each["failed"] for each in report["failed"])
                print(f"  exit {took.code}, {took.time:.1f} s, {took.memory:.0f} MiB, {account.asked.total()} requests")
                print(f"  {report['runs']} runs, {failed} failed, {dict(account.asked)}")
                print("  " + "\n  ".join([*(each["message"] for each in report["problems"]), *took.err]))


if __name__ == "__main__":
    main(sys.argv[1:])
