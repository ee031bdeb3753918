"""`qoder run list`, `deploy list` and `deploy get`, in the user's words, on both generations of server."""

import io
import json
import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoder_cli.app import App
from qoder_cli.base.model import Run
from qoder_cli.cli.main import main
from qoder_cli.output.cells import Moment, cell, plain
from qoder_cli.output.screen import Screen
from qoder_cli.runs.listed import picture
from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.wire import BASE_PATH, GENERATIONS
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder, Ran
from tests.support.inprocess import WorldTransport
from tests.support.one_run import CURRENT, DONE, LEGACY, event
from tests.support.seeds import seed_runs
from tests.support.wire import FakeClock, api_error, page

RUNS = ("GET", "/deployment_runs")
RUNS_OF_1 = ("GET", "/deployments/dep_1/runs")
DEPLOYMENTS = ("GET", "/deployments")
HOUR, DAY = 3600.0, 86400.0


@pytest.fixture(params=GENERATIONS)
def world(request: pytest.FixtureRequest, qoder: Qoder) -> World:
    """Return a server that knows the runs of many; `qoder` asks it."""
    made = World(clock=qoder.clock.now, generation=request.param, token=TOKEN, seed=7)
    qoder.transport = WorldTransport(made, sleep=qoder.clock.sleep)
    return made


def asked(world: World, path: str = "/deployment_runs") -> list[dict[str, str]]:
    """Return the query of every request for a path."""
    return [dict(parse_qsl(seen.query)) for seen in world.requests if seen.path == BASE_PATH + path]


def newest_first(world: World) -> list[str]:
    return [run.id for run in sorted(world.runs.values(), key=lambda run: run.created, reverse=True)]


def ids(ran: Ran) -> list[str]:
    assert ran.code == 0
    return [item["id"] for item in ran.json]


def run(number: int, **fields: Any) -> dict[str, Any]:
    return {**DONE, "id": f"drun_{number}", **fields}


def deployment(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": f"dep_{number}", "type": "deployment", "name": f"job-{number}", "status": "active", **fields}


# How many.


def test_the_newest_20_unless_told_otherwise(qoder: Qoder, world: World) -> None:
    seed_runs(world, 45)
    ran = qoder("run", "list", "--json")
    assert ids(ran) == newest_first(world)[:20]
    assert ran.err.splitlines()[-1] == "note: 20 shown, more match; --all shows them"

    assert [query["limit"] for query in asked(world)] == ["20"]


def test_that_a_list_is_cut_is_said_however_quiet_it_is(qoder: Qoder, world: World) -> None:
    seed_runs(world, 21)
    assert qoder("run", "list", "--no-progress", "-q").err == "note: 20 shown, more match; --all shows them\n"


def test_all_of_them_in_order_and_nothing_to_note(qoder: Qoder, world: World) -> None:
    seed_runs(world, 345)
    ran = qoder("run", "list", "--all", "--json")
    assert ids(ran) == newest_first(world)
    assert ran.err == ""
    assert [query["limit"] for query in asked(world)] == ["100"] * 4


@pytest.mark.parametrize(
    ("limit", "requests"), [(3, ["3"]), (100, ["100"]), (101, ["51", "51"]), (250, ["84"] * 3), (10**9, ["100"] * 4)]
)
def test_a_limit_asks_for_no_more_than_it_needs(qoder: Qoder, world: World, limit: int, requests: list[str]) -> None:
    seed_runs(world, 345)
    ran = qoder("run", "list", "-n", str(limit), "--no-resolve", "--json")
    assert ids(ran) == newest_first(world)[:limit]
    assert [query["limit"] for query in asked(world)] == requests
    assert ("more match" in ran.err) == (limit < 345)


def test_no_note_when_the_limit_is_all_there_is(qoder: Qoder, world: World) -> None:
    seed_runs(world, 3)
    ran = qoder("run", "list", "-n", "3", "--json")
    assert (len(ids(ran)), ran.err) == (3, "")


@pytest.mark.parametrize(
    "words",
    [
        ["-n", "0"],
        ["-n", "-1"],
        ["-n", "many"],
        ["--all", "-n", "3"],
        ["--status", "done"],
        ["--trigger", "cron"],
        ["drun_1"],
        ["  "],
        ["../x"],
        ["x" * 257],
    ],
)
def test_bad_usage_is_exit_2_and_asks_nothing(qoder: Qoder, words: list[str]) -> None:
    ran = qoder("run", "list", *words)
    assert (ran.code, ran.out, qoder.wire.requests) == (2, "", [])


# In which shape.


def test_every_format_side_by_side(qoder: Qoder) -> None:
    items = [run(2), run(1, status="failed", duration_ms=None, error={"type": "odd", "message": "It broke."})]
    qoder.wire.on(*RUNS, page(*items), repeat=True)
    assert qoder("run", "list", "-o", "json").out == json.dumps(items, separators=(",", ":")) + "\n"
    assert [json.loads(line) for line in qoder("run", "list", "-o", "jsonl").out.splitlines()] == items
    assert qoder("run", "list", "-q").out == "drun_2\ndrun_1\n"
    at = LEGACY["triggered_at"]
    assert [line.split("\t") for line in qoder("run", "list").out.splitlines()] == [
        ["drun_2", "completed", "dep_1", at, "17.229", "-", "manual", "sess_1", "-"],
        ["drun_1", "failed", "dep_1", at, "17.228", "odd", "manual", "sess_1", "-"],
    ]


@pytest.mark.parametrize(("format", "out"), [("json", "[]\n"), ("jsonl", ""), ("id", ""), ("table", "")])
@pytest.mark.parametrize("terminal", [True, False])
def test_an_empty_list_is_empty_in_every_format(qoder: Qoder, format: str, out: str, terminal: bool) -> None:
    qoder.terminal = terminal
    qoder.wire.on(*RUNS, page())
    ran = qoder("run", "list", "-o", format)
    assert (ran.code, ran.out, ran.err) == (0, out, "note: no runs found\n")


def test_json_on_a_terminal_is_one_indented_document_over_all_pages(qoder: Qoder) -> None:
    qoder.terminal = True
    qoder.wire.on(*RUNS, page(run(3), run(2), more=True), page(run(1)))
    ran = qoder("run", "list", "--all", "--json")
    assert ran.out == json.dumps([run(3), run(2), run(1)], indent=2) + "\n"


def test_numbers_stay_as_written_and_steering_characters_do_not_steer(qoder: Qoder) -> None:
    text = '{"data":[{"id":"drun_1","n":1.10,"m":1E400,"s":"\x9b31m\\u001b\u202e é"}],"has_more":false}'
    qoder.wire.on(*RUNS, text, repeat=True)
    assert (
        qoder("run", "list", "-o", "jsonl", "--no-resolve").out
        == '{"id":"drun_1","n":1.10,"m":1E400,"s":"\\u009b31m\\u001b\\u202e é"}\n'
    )
    assert "\x1b" not in qoder("run", "list").out


# What a terminal has room for.


@pytest.fixture
def columns(qoder: Qoder, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return what puts a terminal of so many columns before the user."""

    def are(width: int) -> None:
        qoder.terminal = True
        monkeypatch.setattr("qoder_cli.output.data.terminal_width", lambda: width)

    return are


LONG = "019ec55694c07f2a9b402ffb4448ec"  # of ids made within one second
SHOWN = ["id", "status", "deployment", "triggered", "duration", "error", "trigger", "session"]
WHY = {"status": "failed", "error": {"type": "environment_archived_error", "message": "The environment is archived."}}


def of_real_length(qoder: Qoder, size: int) -> list[str]:
    """Serve three runs with ids of so many characters, two of deployments that were seen here; return the ids."""
    at = qoder.clock.now()
    ids = [(f"drun_{digit}" + LONG * 2)[: size + 5] for digit in "012"]
    seen, unseen = ("dep_" + (digit + LONG * 2)[:size] for digit in "ab")
    qoder.wire.on(*DEPLOYMENTS, page(deployment(1, id=seen, name="nightly-report")))
    qoder("deploy", "list")
    session = "sess_" + ("c" + LONG * 2)[:size]
    going = {"status": "running", "completed_at": None, "duration_ms": None}
    items = [
        run(0, id=ids[0], deployment_id=seen, session_id=session, **going),
        run(1, id=ids[1], deployment_id=seen, session_id=session, **WHY),
        run(2, id=ids[2], deployment_id=unseen, session_id=session),
    ]
    for item, ago in zip(items, (65, 180, 7300), strict=True):
        item["created_at"] = item["triggered_at"] = datetime.fromtimestamp(at - ago, UTC).isoformat()
    qoder.wire.on(*RUNS, page(*items), repeat=True)
    return ids


@pytest.mark.parametrize("size", [20, 32])
def test_eighty_columns_say_which_run_of_what_and_why(qoder: Qoder, columns: Callable[[int], None], size: int) -> None:
    columns(80)
    ids = of_real_length(qoder, size)
    header, *rows, footer = qoder("run", "list", "--all").out.splitlines()
    assert header.split() == SHOWN[:6]
    assert all(len(line) <= 80 for line in [header, *rows])
    assert [row.split()[0] for row in rows] == [f"{id[:12]}…" for id in ids]
    assert [row.split()[2][:11] for row in rows] == ["nightly-rep", "nightly-rep", "dep_b019ec5"]
    assert [("1m ago" in rows[0], "1m 05s" in rows[0]), "3m ago" in rows[1], "2h ago" in rows[2]] == [
        (True, True),
        True,
        True,
    ]
    assert "  environment_arch" in rows[1]
    assert footer == "hidden: trigger, session · -o wide shows all"


@pytest.mark.parametrize("size", [20, 32])
@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_a_list_of_failed_runs_never_loses_the_error(
    qoder: Qoder, columns: Callable[[int], None], width: int, size: int
) -> None:
    columns(width)
    of_real_length(qoder, size)
    header, row, *_ = qoder("run", "list", "--status", "failed").out.splitlines()
    assert {"id", "deployment", "error"} <= set(header.split())
    assert "nightly-r" in row
    assert ("environment_archived_error:" if width >= 120 else "environm") in row
    assert len(row) <= width


@pytest.mark.parametrize(("width", "shown"), [(20, 1), (40, 3), (80, 6), (120, 8)])
def test_ids_are_shortened_before_a_column_goes(
    qoder: Qoder, columns: Callable[[int], None], width: int, shown: int
) -> None:
    columns(width)
    ids = of_real_length(qoder, 32)
    header, *rows, footer = qoder("run", "list", "--all").out.splitlines()
    assert header.split() == SHOWN[:shown]
    assert footer.startswith("hidden: ") == (shown < 8)
    assert footer.endswith("-o wide shows all")
    assert [row.split()[0] for row in rows] == [f"{id[:12]}…" for id in ids]
    columns(300)
    assert [row.split()[0] for row in qoder("run", "list", "--all").out.splitlines()] == ["id", *ids]


def test_wide_shows_everything_whole_and_a_pipe_the_same_as_ever(qoder: Qoder, columns: Callable[[int], None]) -> None:
    columns(40)
    ids = of_real_length(qoder, 32)
    header, _, row, *_ = qoder("run", "list", "-o", "wide").out.splitlines()
    assert header.split() == [*SHOWN, "deployment", "id"]
    assert row.startswith(f"{ids[1]}  failed     nightly-report")
    assert "environment_archived_error: The environment is archived." in row
    assert f"dep_a{LONG}" in row
    qoder.terminal = False
    assert qoder("run", "list", "-o", "wide").out == qoder("run", "list").out
    assert qoder("run", "list").out.splitlines()[0].split("\t")[0] == ids[0]


def test_a_name_that_two_deployments_have_says_nothing(qoder: Qoder, columns: Callable[[int], None]) -> None:
    columns(80)
    like_an_id = deployment(3, name="dep_1")
    qoder.wire.on(*DEPLOYMENTS, page(deployment(1, name="twin"), deployment(2, name="twin"), like_an_id))
    qoder("deploy", "list")
    qoder.wire.on(*RUNS, page(run(2, deployment_id="dep_1"), run(1, deployment_id="dep_3")))
    shown = qoder("run", "list").out.splitlines()[1:3]
    assert [row.split()[2] for row in shown] == ["dep_1", "dep_3"]


@pytest.mark.parametrize(
    ("ahead", "shown"),
    [(-59, "59s ago"), (-3600, "1h ago"), (-3e6, "34d ago"), (30, "now"), (7200, "2027-01-15 10:00:00")],
)
def test_a_time_is_as_long_ago_as_it_is(ahead: float, shown: str) -> None:
    now = datetime(2027, 1, 15, 8, tzinfo=UTC).timestamp()
    at = datetime.fromtimestamp(now + ahead, UTC).isoformat()
    assert cell(Moment(at, now)).text == shown
    assert plain(Moment(at, now)) == at


def test_ids_that_only_their_ends_tell_apart_are_cut_in_the_middle(
    qoder: Qoder, columns: Callable[[int], None]
) -> None:
    columns(80)
    qoder.wire.on(*RUNS, page(*(run(n, id=f"drun_{n:032}", **WHY) for n in (1, 2))))
    assert [line.split()[0] for line in qoder("run", "list").out.splitlines()[1:3]] == [
        "drun_0…000001",
        "drun_0…000002",
    ]


def test_operations_keep_their_path(qoder: Qoder, columns: Callable[[int], None]) -> None:
    columns(80)
    header, *rows, footer = qoder("api", "--list").out.splitlines()
    assert header.split() == ["method", "path"]
    assert [row[-3:] for row in rows if "…" in row] == ["re…"]
    assert footer == "hidden: id, kind, query, body, command · -o wide shows all"


def test_wide_is_a_table_where_there_is_no_more_to_show(qoder: Qoder) -> None:
    assert qoder("help", "exit-codes", "-o", "wide").out == qoder("help", "exit-codes").out
    qoder.wire.on("GET", "/deployment_runs/drun_1", {**run(1), "session_id": None}, repeat=True)
    assert qoder("run", "get", "drun_1", "-o", "wide").out == qoder("run", "get", "drun_1").out
    qoder.wire.on(*DEPLOYMENTS, page(deployment(1)), repeat=True)
    assert qoder("deploy", "list", "--output=wide").out == qoder("deploy", "list").out


def test_a_value_wider_than_its_column_is_cut_only_if_it_is_a_text(
    qoder: Qoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qoder_cli.output.data.terminal_width", lambda: 60)
    qoder.terminal = True
    names = ["short", "a name of many words that goes on and on and on and on", "日本語の名前" * 8]
    pages = [page(deployment(1, name=names[0]), more=True), page(deployment(2, name=names[1]), deployment(3 * 10**20))]
    qoder.wire.on(*DEPLOYMENTS, *pages)
    _, _, second, third, _ = qoder("deploy", "list", "--all").out.splitlines()
    assert "…" in second
    assert third.split()[0] == "dep_300000000000000000000"
    qoder.wire.on(*DEPLOYMENTS, page(deployment(4, name=names[2])))
    assert "…" in qoder("deploy", "list").out


# What the pages may do.


STYLES = ["after_id", "next_page", "offset"]


class Growing(httpx.BaseTransport):
    """A list in pages of given sizes; before each page but the first, new runs arrive in front of it."""

    def __init__(self, count: int, sizes: list[int], arrivals: list[int], style: str) -> None:
        self.runs = [f"drun_{n}" for n in range(count)]
        self._sizes, self._arrivals, self._style = iter(sizes), iter(arrivals), style
        self._come = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        query = request.url.params
        cursor = query.get("after_id") or query.get("page")
        start = 0
        if cursor:
            for _ in range(next(self._arrivals, 0)):
                self._come += 1
                self.runs.insert(0, f"drun_new_{self._come}")
            start = int(cursor) if self._style == "offset" else self.runs.index(cursor) + 1
        end = start + next(self._sizes, 100)
        shown, more = self.runs[start:end], end < len(self.runs)
        last = shown[-1] if shown else cursor
        body: dict[str, Any] = {"data": [{**DONE, "id": id} for id in shown], "last_id": last, "has_more": more}
        if self._style != "after_id":
            body["next_page"] = (str(end) if self._style == "offset" else last) if more else None
        return httpx.Response(200, json=body)


@given(
    count=st.integers(0, 40),
    sizes=st.lists(st.integers(1, 9), max_size=20),
    arrivals=st.lists(st.integers(0, 12), max_size=20),
    style=st.sampled_from(STYLES),
)
def test_every_run_that_was_there_at_the_start_is_listed_once_and_in_order(
    count: int, sizes: list[int], arrivals: list[int], style: str
) -> None:
    growing = Growing(count, sizes, arrivals, style)
    before = list(growing.runs)
    qoder = Qoder(Path(os.devnull) / "config.toml")  # what completion would remember is not kept
    qoder.env["QODER_BASE_URL"] = "http://127.0.0.1:1"
    qoder.transport = growing
    ran = qoder("run", "list", "--all", "-o", "jsonl")
    listed = [json.loads(line)["id"] for line in ran.out.splitlines()]
    assert ran.code == 0
    assert [id for id in listed if id in before] == before
    assert len(set(listed)) == len(listed)


def numbered(first: int, count: int, **more: Any) -> dict[str, Any]:
    return {**page(*(run(n) for n in range(first, first + count))), **more}


BAD_PAGES = {
    "a cursor that does not move": [numbered(0, 2, next_page="x"), numbered(2, 2, next_page="x")],
    "cursors in a circle": [numbered(2 * n, 2, next_page="xyz"[n % 3]) for n in range(4)],
    "an after_id that does not move": [
        numbered(0, 2, last_id="drun_1", has_more=True),
        numbered(2, 2, last_id="drun_1", has_more=True),
    ],
    "more, but not where": [numbered(0, 2, next_page="x"), {"data": [], "has_more": True}],
    "no page": [numbered(0, 2, next_page="x"), {"items": []}],
    "not JSON": [numbered(0, 2, next_page="x"), "<html>"],
    "an error": [numbered(0, 2, next_page="x"), api_error(500, "api_error", "It broke.")],
}


@pytest.mark.parametrize("answers", BAD_PAGES.values(), ids=BAD_PAGES.keys())
def test_a_page_that_fails_leaves_what_was_shown_and_is_exit_7(qoder: Qoder, answers: list[Any]) -> None:
    for all_but_last in answers[:-1]:
        qoder.wire.on(*RUNS, all_but_last)
    qoder.wire.on(*RUNS, answers[-1], repeat=True)
    ran = qoder("run", "list", "--all", "--json")
    assert (ran.code, ran.error["type"]) == (7, "unavailable")
    assert ran.out.startswith('[{"id":"drun_0"')
    assert not ran.out.endswith("]\n")
    shown = json.loads(ran.out + "]")  # and nothing but the end is missing
    assert [item["id"] for item in shown[:2]] == ["drun_0", "drun_1"]


def test_a_first_page_that_fails_leaves_standard_output_empty(qoder: Qoder) -> None:
    qoder.wire.on(*RUNS, api_error(401, "authentication_error", "Bad token."))
    ran = qoder("run", "list", "--json")
    assert (ran.code, ran.out) == (4, "")


def test_an_empty_page_with_a_next_one_goes_on(qoder: Qoder) -> None:
    qoder.wire.on(*RUNS, numbered(0, 0, next_page="a"), numbered(0, 1, next_page="b"), numbered(0, 0, next_page="c"))
    qoder.wire.on(*RUNS, numbered(1, 1))
    assert ids(qoder("run", "list", "--all", "--json")) == ["drun_0", "drun_1"]


def test_a_page_without_last_id_goes_on_after_its_last_item(qoder: Qoder) -> None:
    qoder.wire.on(*RUNS, {"data": [run(1)], "has_more": True}, {"data": [run(0)], "has_more": False})
    assert ids(qoder("run", "list", "--all", "--json")) == ["drun_1", "drun_0"]
    assert qoder.wire.requests[1].url.params["after_id"] == "drun_1"


def test_a_page_in_between_is_asked_for_again_when_it_fails(qoder: Qoder) -> None:
    qoder.wire.on(*RUNS, numbered(0, 2, next_page="x"), (503, ""), httpx.ReadError("reset"), numbered(2, 1))
    assert ids(qoder("run", "list", "--all", "--json")) == ["drun_0", "drun_1", "drun_2"]
    assert qoder.clock.slept == [0.5, 1.0]


@pytest.mark.parametrize("format", ["table", "wide", "json", "jsonl", "id"])
@pytest.mark.parametrize("terminal", [True, False])
def test_items_that_lack_fields_are_shown_with_what_they_have(qoder: Qoder, format: str, terminal: bool) -> None:
    qoder.terminal = terminal
    odd = [{}, {"id": 7}, {"id": "drun_1", "created_at": "soon"}, "text", None, {"agent": [], "error": "x"}]
    qoder.wire.on(*RUNS, {"data": odd})
    ran = qoder("run", "list", "-o", format)
    assert ran.code == 0
    assert "drun_1" in ran.out
    assert "ignored 2 items in the server's list that are not objects" in ran.err
    if format == "json":
        assert len(ran.json) == 4


class Gate(io.BytesIO):
    """A reader of standard output that looks at what was asked by the time it gets something."""

    def __init__(self, at_write: Callable[[], None]) -> None:
        super().__init__()
        self._at_write = at_write

    def write(self, data: Any) -> int:
        self._at_write()
        return super().write(data)


def test_the_next_page_is_fetched_while_the_current_one_is_shown_and_no_further(tmp_path: Path) -> None:
    fetched: list[threading.Event] = [threading.Event() for _ in range(5)]
    asked_for: list[str] = []
    written = [0]

    def serve(request: httpx.Request) -> httpx.Response:
        n = int(request.url.params.get("page", "0"))
        asked_for.append(str(n))
        fetched[n].set()
        return httpx.Response(200, json=numbered(n, 1, next_page=str(n + 1) if n < 4 else None))

    def at_write() -> None:
        n = written[0]
        written[0] += 1
        if n < 4:
            assert fetched[n + 1].wait(10), "the next page was not asked for"
        assert len(asked_for) <= n + 2, "more than one page was asked for ahead"

    gate = Gate(at_write)
    env = {"QODER_PAT": TOKEN, "QODER_CONFIG": str(tmp_path / "none"), "QODER_STATE_DIR": str(tmp_path)}
    transport = httpx.MockTransport(serve)
    app = App(env=env, out=Screen(gate), err=Screen(io.BytesIO()), clock=FakeClock(), transport=transport)
    assert main(["run", "list", "--all", "-o", "jsonl"], app) == 0
    assert gate.getvalue().count(b"\n") == 5


# Which of them.


@pytest.fixture
def mixed(world: World) -> World:
    """Return the server with runs of every ending, some of them older than its first page of 100."""
    for n in range(130):
        kind = ["demo", "fail", "terminated", "nostart", "skip", "budget"][n % 6]
        trigger: Any = ["manual", "schedule", "retry"][n % 3 if n % 5 else 0]
        world.start(f"dep_{kind}", trigger=trigger, at=world.now() - HOUR * (140 - n))
    world.start("dep_minute")
    return world


def truth(world: World, *statuses: str) -> list[str]:
    """Return the runs that truly ended so, or go on, newest first."""

    def status(id: str) -> str:
        ending = world.ending(id)
        return ending.status if ending else "running"

    return [id for id in newest_first(world) if status(id) in statuses]


@pytest.mark.parametrize("statuses", [["failed"], ["completed"], ["skipped"], ["running"], ["completed", "skipped"]])
def test_a_status_finds_the_same_runs_on_either_generation(qoder: Qoder, mixed: World, statuses: list[str]) -> None:
    words = [word for status in statuses for word in ("--status", status)]
    ran = qoder("run", "list", "--all", *words, "--json")
    assert ids(ran) == truth(mixed, *statuses)
    assert {item["status"] for item in ran.json} <= set(statuses)


def test_a_status_and_a_limit(qoder: Qoder, mixed: World) -> None:
    ran = qoder("run", "list", "--status", "completed", "-n", "4", "--json")
    assert ids(ran) == truth(mixed, "completed")[:4]
    assert ran.err.splitlines()[-1] == "note: 4 shown, more may match; --all shows them"


def test_a_status_is_sent_only_to_a_server_whose_runs_have_one(qoder: Qoder, mixed: World) -> None:
    assert ids(qoder("run", "list", "--status", "failed", "--all", "--json")) == truth(mixed, "failed")
    first, *others = asked(mixed)
    assert "status" not in first
    assert others
    assert all(query.get("status") == ("failed" if mixed.generation == "legacy" else None) for query in others)


def test_several_statuses_are_never_sent(qoder: Qoder, mixed: World) -> None:
    qoder("run", "list", "--status", "failed", "--status", "skipped", "--all")
    assert not any("status" in query for query in asked(mixed))


@pytest.mark.parametrize("trigger", ["manual", "schedule", "retry"])
@pytest.mark.parametrize("deployment", ["dep_fail", None])
def test_a_trigger_finds_its_runs(qoder: Qoder, mixed: World, trigger: str, deployment: str | None) -> None:
    ran = qoder("run", "list", *([deployment] if deployment else []), "--trigger", trigger, "--all", "--json")
    wanted = [
        id
        for id in newest_first(mixed)
        if mixed.runs[id].fields["trigger_context"]["type"] == trigger
        and deployment in (None, mixed.runs[id].deployment.id)
    ]
    assert ids(ran) == wanted
    sent = {"manual": "manual", "schedule": "schedule", "retry": None}[trigger] if deployment is None else None
    path = f"/deployments/{deployment}/runs" if deployment else "/deployment_runs"
    assert {query.get("trigger_type") for query in asked(mixed, path)} == {sent}


@pytest.mark.parametrize("words", [["--limit", "3"], ["--all"]])
def test_what_the_server_was_to_filter_is_filtered_again(qoder: Qoder, words: list[str]) -> None:
    scheduled = {"trigger_context": {"type": "schedule"}}
    qoder.wire.on(*RUNS, page(run(3), run(2, **scheduled), run(1, trigger_context=None)))
    assert ids(qoder("run", "list", "--trigger", "schedule", *words, "--json")) == ["drun_2"]


def test_a_deployment_is_named_by_id_or_name(qoder: Qoder, mixed: World) -> None:
    mixed.start("dep_scheduled", at=mixed.now() - DAY)
    [one] = [id for id in newest_first(mixed) if mixed.runs[id].deployment.name == "nightly-report"]
    assert ids(qoder("run", "list", "dep_scheduled", "--json")) == [one]
    assert ids(qoder("run", "list", "nightly-report", "--json")) == [one]


def test_a_list_of_all_runs_that_is_one_page_is_put_in_order(qoder: Qoder) -> None:
    times = ["2026-06-14T08:54:06Z", "2026-06-14T08:54:06.5Z", "2026-06-15T10:54:06.5+02:00", "2026-06-13T08:54:06Z"]
    qoder.wire.on(*RUNS, page(*(run(n, created_at=time) for n, time in enumerate(times))))
    assert ids(qoder("run", "list", "--json")) == ["drun_2", "drun_1", "drun_0", "drun_3"]


# How they ended.


def test_a_short_list_knows_how_runs_ended_and_a_long_one_shows_what_was_sent(qoder: Qoder, world: World) -> None:
    seed_runs(world, 130)
    short = qoder("run", "list", "-n", "100", "--json")
    assert {item["status"] for item in short.json} == {"completed"}
    long = qoder("run", "list", "--all", "--json")
    assert {item.get("status") for item in long.json} == {None if world.generation == "current" else "completed"}
    assert {line.split("\t")[1] for line in qoder("run", "list", "--all").out.splitlines()} == {
        "-" if world.generation == "current" else "completed"
    }


@pytest.mark.parametrize(
    ("words", "statuses"),
    [(["--all", "--resolve"], {"completed"}), (["-n", "5", "--no-resolve"], {None}), (["--all"], {None})],
)
def test_resolve_and_no_resolve_decide_whether_sessions_are_asked(
    qoder: Qoder, words: list[str], statuses: set[str | None]
) -> None:
    world = World(clock=qoder.clock.now, token=TOKEN, seed=7)
    qoder.transport = WorldTransport(world)
    seed_runs(world, 102)
    ran = qoder("run", "list", *words, "--json")
    assert {item.get("status") for item in ran.json} == statuses
    sessions = [seen for seen in world.requests if "/sessions/" in seen.path]
    assert bool(sessions) == (statuses == {"completed"})
    if statuses == {None}:
        assert all("derived" not in item for item in ran.json)


def test_ids_alone_ask_no_session(qoder: Qoder, world: World) -> None:
    seed_runs(world, 5)
    assert qoder("run", "list", "-q").out.split() == newest_first(world)
    assert not [seen for seen in world.requests if "/sessions/" in seen.path]
    assert qoder("run", "list", "-q", "--status", "completed").out.split() == newest_first(world)


def test_rows_come_in_order_whatever_session_answers_first(qoder: Qoder, tmp_path: Path) -> None:
    last_first = [threading.Event() for _ in range(6)]

    def serve(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/deployment_runs"):
            return httpx.Response(200, json=page(*(run_of_session(n) for n in range(6))))
        n = int(request.url.path.split("/")[-2].removeprefix("sess_"))
        assert n == 5 or last_first[n + 1].wait(10), "sessions are not asked at the same time"
        last_first[n].set()
        events = [event("status_running", 7), event("status_idle", 9 + n, stop_reason={"type": "end_turn"})]
        return httpx.Response(200, json=page(*events))

    qoder.transport = httpx.MockTransport(serve)
    ran = qoder("run", "list", "-o", "jsonl")
    assert [json.loads(line)["id"] for line in ran.out.splitlines()] == [f"drun_{n}" for n in range(6)]
    assert [json.loads(line)["duration_ms"] for line in ran.out.splitlines()] == [3000 + 1000 * n for n in range(6)]


def run_of_session(number: int) -> dict[str, Any]:
    return {**CURRENT, "id": f"drun_{number}", "session_id": f"sess_{number}"}


def test_a_session_that_cannot_be_read_leaves_its_row_as_sent(qoder: Qoder) -> None:
    qoder.wire.on(*RUNS, page(run_of_session(1), run_of_session(2)), repeat=True)
    qoder.wire.on("GET", "/sessions/sess_1/events", api_error(403, "permission_error", "Not yours."), repeat=True)
    done = page(event("status_running", 7), event("status_idle", 9, stop_reason={"type": "end_turn"}))
    qoder.wire.on("GET", "/sessions/sess_2/events", done, repeat=True)
    ran = qoder("run", "list", "--json")
    assert ran.code == 0
    assert ran.json[0] == run_of_session(1)
    assert ran.json[1]["status"] == "completed"
    assert ran.err == "warning: status unknown for 1 runs: their sessions could not be read\n"
    filtered = qoder("run", "list", "--status", "completed", "--json")
    assert ids(filtered) == ["drun_2"]
    assert "ignored 1 runs: their sessions could not be read" in filtered.err


def test_sessions_that_nobody_may_read_are_not_all_asked(qoder: Qoder) -> None:
    runs, paths = [run_of_session(n) for n in range(100)], []

    def serve(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        return httpx.Response(403) if "/sessions/" in paths[-1] else httpx.Response(200, json=page(*runs))

    qoder.transport = httpx.MockTransport(serve)
    ran = qoder("run", "list", "-n", "100", "--json")
    assert ran.json == runs
    assert "status unknown for 100 runs" in ran.err
    assert len(paths) <= 1 + 8 + 8  # the list, those that failed, those under way by then


def test_a_deleted_session_leaves_a_run_without_status(qoder: Qoder) -> None:
    qoder.wire.on(*RUNS, page(run_of_session(1)))
    qoder.wire.on("GET", "/sessions/sess_1/events", api_error(404, "not_found_error", "Gone."))
    [item] = qoder("run", "list", "--json").json
    assert (item.get("status"), item["error"]["type"]) == (None, "session_deleted")


def test_a_status_without_asking_leaves_out_what_only_sessions_know(qoder: Qoder) -> None:
    failed = {**CURRENT, "id": "drun_2", "session_id": None, "error": {"type": "unknown_error", "message": "No."}}
    qoder.wire.on(*RUNS, page(run_of_session(1), failed))
    ran = qoder("run", "list", "--status", "failed", "--no-resolve", "--json")
    assert ids(ran) == ["drun_2"]
    assert "ignored 1 runs: --no-resolve" in ran.err


# When.


@pytest.fixture
def hourly(world: World) -> World:
    """Return the server with a run each hour for 250 hours."""
    for n in reversed(range(250)):
        world.start("dep_demo", at=world.now() - HOUR * n - 60)
    return world


@pytest.mark.parametrize("deployment", [["dep_demo"], []])
@pytest.mark.parametrize(
    ("words", "first", "last"),
    [
        (["--since", "5h"], 0, 5),
        (["--since", "5h", "--until", "2h"], 2, 5),
        (["--until", "2h"], 2, 250),
        (["--since", "10d", "--limit", "7"], 0, 7),
        (["--since", "2w"], 0, 250),
    ],
)
def test_since_and_until_bound_when_runs_were_created(
    qoder: Qoder, hourly: World, deployment: list[str], words: list[str], first: int, last: int
) -> None:
    ran = qoder("run", "list", *deployment, *words, "--no-resolve", "--json")
    assert ids(ran) == newest_first(hourly)[first:last]
    assert ("note" in ran.err) == ("--limit" in words)


def test_since_reads_no_more_of_a_deployment_than_it_must(qoder: Qoder) -> None:
    qoder.clock.time = 1781514000.0  # 2026-06-15T09:00:00Z
    times = [f"2026-06-{day}T08:00:00Z" for day in (15, 14, 13)]
    runs = [run(n, created_at=time, triggered_at=time) for n, time in enumerate(times)]
    # A server that filters nothing by itself:
    for path in (RUNS_OF_1, RUNS):
        qoder.wire.on(*path, page(runs[0], runs[1], more=True))
    qoder.wire.on(*RUNS, page(runs[2]))  # the order of this list is not documented: it is read to its end
    assert ids(qoder("run", "list", "dep_1", "--since", "2h", "--json")) == ["drun_0"]
    assert ids(qoder("run", "list", "--since", "2h", "--json")) == ["drun_0"]


def test_runs_that_do_not_say_when_are_left_out_of_a_time_and_counted(qoder: Qoder) -> None:
    qoder.wire.on(*RUNS, page(run(1, created_at="2027-01-15T07:00:00Z"), run(2, created_at=None)))
    ran = qoder("run", "list", "--since", "2h", "--json")
    assert ids(ran) == ["drun_1"]
    assert "ignored 1 runs without a creation time" in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ["--since", "1h", "--until", "2h"],
        ["--since", "7"],
        ["--until", "x"],
        ["--since", "2099-01-01"],
    ],
)
def test_a_time_that_makes_no_sense_is_exit_2(qoder: Qoder, words: list[str]) -> None:
    ran = qoder("run", "list", *words)
    assert (ran.code, qoder.wire.requests) == (2, [])


# Deployments.


def test_deployments_are_listed_newest_first_without_archived_ones(qoder: Qoder, world: World) -> None:
    made = world.seed_deployments(30)
    ran = qoder("deploy", "list", "--json")
    assert (len(ids(ran)), ids(ran)[0]) == (20, made[-1].id)
    assert ran.err.splitlines()[-1] == "note: 20 shown, more match; --all shows them"
    everything = ids(qoder("deploy", "list", "--all", "--json"))
    assert "dep_archived" not in everything
    assert len(everything) == len(world.deployments) - 1
    assert "dep_archived" in ids(qoder("deploy", "list", "--all", "--include-archived", "--json"))


def test_archived_is_told_by_when_it_was_and_never_by_status(qoder: Qoder) -> None:
    archived = deployment(1, archived_at="2026-06-14T08:54:06Z")
    qoder.wire.on(*DEPLOYMENTS, page(archived, deployment(2, status="archived")), repeat=True)
    assert ids(qoder("deploy", "list", "--json")) == ["dep_2"]  # although the server sent both
    rows = [line.split("\t") for line in qoder("deploy", "list", "--include-archived").out.splitlines()]
    assert [row[2] for row in rows] == ["archived", "archived"]


def test_deployments_by_status_and_agent(qoder: Qoder, world: World) -> None:
    other = world.add_deployment(name="other", agent={"id": "agent_2", "type": "agent", "version": 1}, status="paused")
    assert ids(qoder("deploy", "list", "--agent", "agent_2", "--json")) == [other.id]
    assert set(ids(qoder("deploy", "list", "--status", "paused", "--json"))) == {other.id, "dep_paused"}
    assert set(ids(qoder("deploy", "list", "--status", "paused", "--include-archived", "--json"))) == {
        other.id,
        "dep_paused",
    }
    assert not [query for query in asked(world, "/deployments") if {"status", "include_archived"} <= query.keys()]


@pytest.mark.parametrize("words", [["--status", "archived"], ["--agent", "dep_1"], ["-n", "0"]])
def test_bad_usage_of_deploy_list_is_exit_2(qoder: Qoder, words: list[str]) -> None:
    assert qoder("deploy", "list", *words).code == 2


def test_columns_of_deployments_in_a_pipe(qoder: Qoder) -> None:
    schedule = {"expression": "0 9 * * *", "timezone": "Asia/Shanghai", "upcoming_runs_at": ["2026-06-15T01:00:00Z"]}
    paused = {"status": "paused", "paused_reason": {"type": "error", "error": {"type": "agent_archived_error"}}}
    agent = {"agent": {"id": "agent_1", "version": 4}, "environment_id": "env_1", "created_at": "2026-06-14T08:53:32Z"}
    qoder.wire.on(*DEPLOYMENTS, page(deployment(1, schedule=schedule, **paused, **agent)))
    assert qoder("deploy", "list").out.rstrip("\n").split("\t") == [
        *("dep_1", "job-1", "paused", "agent_archived_error", "0 9 * * *", "Asia/Shanghai", "2026-06-15T01:00:00Z"),
        *("-", "agent_1@4", "env_1", "2026-06-14T08:53:32Z"),
    ]


# One deployment.


FULL = {
    **deployment(1),
    "agent": {"id": "agent_1", "type": "agent", "version": 4},
    "environment_id": "env_1",
    "environment_variables": "FEATURE_FLAG=on;API_TOKEN=hush-hush\nLOG_LEVEL=info",
    "initial_events": [{"type": "user.message", "content": [{"type": "text", "text": "Do\nit. " * 100}]}],
    "resources": [
        {
            "type": "github_repository",
            "url": "https://joe:hush-hush@github.com/your-org/your-repo",
            "mount_path": "/workspace/your-repo",
            "checkout": {"type": "branch", "name": "main"},
            "authorization_token": "hush-hush",
        },
        {"type": "memory_store", "memory_store_id": "memstore_1", "access": "read_write"},
        {"type": "file", "file_id": "file_1"},
    ],
    "vault_ids": ["vault_1", "vault_2"],
    "metadata": {"team": "platform", "cas_config": {"stats": {}}},
    "budget": {"type": "limit", "max_credit_cost": "100.00"},
    "schedule": {
        "type": "cron",
        "expression": "0 9 * * *",
        "timezone": "Asia/Shanghai",
        "upcoming_runs_at": ["2026-06-15T01:00:00Z", "2026-06-16T01:00:00Z"],
    },
}


def sheet(ran: Ran) -> dict[str, list[str]]:
    """Return the `key<TAB>value` lines, by key."""
    values: dict[str, list[str]] = {}
    for line in ran.out.splitlines():
        key, value = line.split("\t")
        values.setdefault(key, []).append(value)
    return values


def test_a_deployment_in_full_and_without_secrets(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/deployments/dep_1", FULL).on(*RUNS_OF_1, page())
    ran = qoder("deploy", "get", "dep_1")
    shown = sheet(ran)
    assert ran.code == 0
    assert "hush" not in ran.out
    assert shown["variables"] == ["FEATURE_FLAG, API_TOKEN, LOG_LEVEL"]
    assert shown["resource"] == [
        "github_repository https://github.com/your-org/your-repo main at /workspace/your-repo",
        "memory_store memstore_1 read_write",
        "file file_1",
    ]
    assert shown["vault"] == ["vault_1", "vault_2"]
    assert shown["budget"] == ["100.00 credits a run"]
    assert shown["metadata"] == ["1 key"]
    assert shown["next_run"] == ["2026-06-15T01:00:00Z", "2026-06-16T01:00:00Z"]
    assert len(shown["first_message"][0]) == 201
    assert shown["recent_runs"] == ["none yet"]


def test_next_fires_are_told_in_local_time_and_in_the_zone_of_the_deployment(qoder: Qoder) -> None:
    qoder.terminal = True
    qoder.wire.on("GET", "/deployments/dep_1", FULL).on(*RUNS_OF_1, page())
    lines = qoder("deploy", "get", "dep_1").out.splitlines()
    [first] = [n for n, line in enumerate(lines) if line.startswith("next run")]
    assert lines[first].rstrip().endswith("2026-06-15 09:00:00 Asia/Shanghai")
    assert lines[first + 1].rstrip().endswith("2026-06-16 09:00:00 Asia/Shanghai")
    assert lines[-1].startswith("times are local (")


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", None, "../../etc/passwd", "x" * 5000])
def test_a_zone_that_nobody_knows_is_left_out(qoder: Qoder, zone: str | None) -> None:
    qoder.terminal = True
    schedule = {**FULL["schedule"], "timezone": zone}
    qoder.wire.on("GET", "/deployments/dep_1", {**FULL, "schedule": schedule}).on(*RUNS_OF_1, page())
    ran = qoder("deploy", "get", "dep_1")
    assert ran.code == 0
    [line] = [line for line in ran.out.splitlines() if line.startswith("next run")]
    assert "Shanghai" not in line


@pytest.mark.parametrize("format", ["json", "jsonl", "id"])
def test_a_deployment_for_scripts_is_one_request_and_unchanged(qoder: Qoder, format: str) -> None:
    qoder.wire.on("GET", "/deployments/dep_1", FULL)
    ran = qoder("deploy", "get", "dep_1", "-o", format)
    assert ran.out == "dep_1\n" if format == "id" else ran.json == FULL
    assert len(qoder.wire.requests) == 1


def test_recent_runs_are_a_picture(qoder: Qoder, world: World) -> None:
    for hours, kind in ((6, "silent"), (5, "nostart"), (4, "silent"), (3, "fail"), (2, "minute")):
        deployment = world.deployments["dep_demo"]
        deployment.behaviour = world.deployments[f"dep_{kind}"].behaviour
        world.start(deployment, at=world.now() - HOUR * hours)
    world.deployments["dep_demo"].behaviour = world.deployments["dep_minute"].behaviour
    world.start("dep_demo")
    shown = sheet(qoder("deploy", "get", "dep_demo"))
    assert shown["recent_runs"] == ["CFCFCR"]
    assert shown["success_rate"] == ["60% (3 of 5)"]
    assert len(shown["durations"][0].split()) == 6
    assert float(shown["usual_duration"][0]) < 10
    qoder.terminal = True
    drawn = qoder("deploy", "get", "dep_demo").out
    assert "✓✗✓✗✓…" in drawn
    assert "█" in drawn


def test_runs_that_cannot_be_read_do_not_hide_the_deployment(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/deployments/dep_1", FULL).on(*RUNS_OF_1, api_error(403, "permission_error", "No."))
    ran = qoder("deploy", "get", "dep_1")
    assert (ran.code, "recent_runs" in sheet(ran)) == (0, False)
    assert "could not read its runs" in ran.err


def test_the_picture_leaves_out_what_cannot_be_known() -> None:
    lost = Run({**CURRENT, "id": "drun_9"}, {"error": {"type": "session_deleted"}})
    skipped, going = Run({**LEGACY, "status": "skipped"}), Run(LEGACY)
    done = [Run({**DONE, "duration_ms": ms}) for ms in (1000, 3000, 8000)]
    fields = picture([going, skipped, lost, Run({**DONE, "status": "failed"}), *done])
    assert fields["success_rate"] == "75% (3 of 4)"
    assert fields["usual_duration"].milliseconds == 3000
    assert fields["recent_runs"].words == ("completed",) * 3 + ("failed", None, "skipped", "running")


@pytest.fixture(autouse=True)
def in_one_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let local time be UTC, wherever this runs."""
    import time

    monkeypatch.setenv("TZ", "UTC")
    if hasattr(time, "tzset"):
        time.tzset()
    yield
    monkeypatch.undo()
    if hasattr(time, "tzset"):
        time.tzset()


def test_faults_of_the_list_are_tried_again(qoder: Qoder, world: World) -> None:
    seed_runs(world, 150)
    qoder.transport = WorldTransport(world, faults=Faults("list:503*2", "list:truncated"), sleep=qoder.clock.sleep)
    assert ids(qoder("run", "list", "--all", "--json")) == newest_first(world)
