"""`qoder run list`: how many, in which shape and order, which of them, and how they ended, on both generations."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from qoder_cli.base.times import utc_text
from qoder_cli.sandbox.wire import BASE_PATH, GENERATIONS
from qoder_cli.sandbox.world import World
from tests.conftest import Qoder, Ran
from tests.support.cells import checkerboard
from tests.support.inprocess import seed_runs
from tests.support.one_run import CURRENT, DEPLOYMENTS, DONE, ELAPSED, LEGACY, deployment, event, idle
from tests.support.stored import put_in_the_way
from tests.support.wire import GONE, api_error, page

LIST = ("run", "list")
pytestmark = pytest.mark.usefixtures("utc")
RUNS = ("GET", "/deployment_runs")
HOUR = 3600.0


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


# How many.

# Options, how many runs there are, how many are shown, the limits that are asked for, and whether more are noted.
COUNTS: dict[str, tuple[int, int, list[str], bool]] = {
    "": (45, 20, ["20"], True),
    "--all": (201, 201, ["100"] * 3, False),
    "-n 3 ": (21, 3, ["3"], True),
    "-n 100": (101, 100, ["100"], True),
    "-n 101": (103, 101, ["51", "51"], True),
    "-n 1000000000": (201, 201, ["100"] * 3, False),
}


@pytest.mark.parametrize(("options", "world"), checkerboard(COUNTS, GENERATIONS), indirect=["world"])
@pytest.mark.few(4)
def test_run_list_shows_the_newest_and_asks_for_no_more_than_it_needs(qoder: Qoder, world: World, options: str) -> None:
    there, shown, limits, more = COUNTS[options]
    seed_runs(world, there)
    ran = qoder(*LIST, *options.split(), "--no-resolve", "--json")
    assert ids(ran) == newest_first(world)[:shown]
    assert ran.err == (f"note: showing {shown}, more match; use --all to see the rest\n" if more else "")
    assert [query["limit"] for query in asked(world)] == limits


# In which shape.


def test_run_list_shows_the_same_in_every_format(qoder: Qoder) -> None:
    items = [run(2), run(1, status="failed", duration_ms=None, error={"type": "odd", "message": "It broke."})]
    qoder.wire.on(*RUNS, *[page(items[0], more=True), page(items[1])] * 5)
    formats = {name: qoder(*LIST, "--all", "-o", name).out for name in ("json", "jsonl", "id", "table")}
    items = [{**item, **ELAPSED} for item in items]
    at = LEGACY["triggered_at"]
    assert formats == {
        "json": json.dumps(items, separators=(",", ":")) + "\n",
        "jsonl": "".join(json.dumps(item, separators=(",", ":")) + "\n" for item in items),
        "id": "drun_2\ndrun_1\n",
        "table": f"drun_2\tcompleted\tdep_1\t{at}\t17.229\t-\tmanual\tsess_1\t-\t-\n"
        f"drun_1\tfailed\tdep_1\t{at}\t17.228\todd\tmanual\tsess_1\t-\t-\n",
    }
    qoder.terminal = True
    assert qoder(*LIST, "--all", "--json").out == json.dumps(items, indent=2) + "\n"


@pytest.mark.parametrize(("format", "terminal"), checkerboard(["table", "wide", "json", "jsonl", "id"], [True, False]))
def test_run_list_shows_rows_that_lack_fields_with_what_they_have(qoder: Qoder, format: str, terminal: bool) -> None:
    qoder.terminal = terminal
    odd = [{}, {"id": 7}, {"id": []}, {"id": "drun_1", "created_at": "soon"}, "text", None, {"agent": [], "error": "x"}]
    qoder.wire.on(*RUNS, {"data": odd})
    ran = qoder(*LIST, "-o", format)
    assert ran.code == 0
    assert "drun_1" in ran.out
    assert "ignored 2 items in the server's list that are not objects" in ran.err
    assert format != "json" or len(ran.json) == 5


@pytest.mark.parametrize("duration", [-5, True])
def test_run_list_takes_no_duration_below_zero_for_one(qoder: Qoder, duration: int) -> None:
    qoder.wire.on(*RUNS, page(run(1, duration_ms=duration)))
    assert qoder(*LIST).out.split("\t")[4] == "17.228"


@pytest.mark.parametrize("data", [None, []])
def test_run_list_takes_an_error_with_no_rows_for_no_list(qoder: Qoder, data: object) -> None:
    qoder.wire.on(*RUNS, {"data": data, "has_more": False, "error": {"type": "internal_error", "message": "No."}})
    ran = qoder(*LIST)
    assert (ran.code, ran.out) == (7, "")
    assert "not a page of a list" in ran.err


# What a terminal has room for.


@pytest.fixture
def columns(qoder: Qoder, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return what puts a terminal of so many columns before the user."""

    def are(width: int) -> None:
        qoder.terminal = True
        monkeypatch.setenv("COLUMNS", str(width))

    return are


LONG = "019ec55694c07f2a9b402ffb4448ec"  # of ids made within one second
SHOWN = ["deployment", "status", "error", "triggered", "duration", "trigger", "session"]
WHY = {"status": "failed", "error": {"type": "environment_archived_error", "message": "The environment is archived."}}


def of_real_length(qoder: Qoder, size: int) -> list[str]:
    """Serve three runs with ids of so many characters, two of deployments that were seen here; return the ids."""
    at = qoder.clock.now()
    ids = [(f"drun_{digit}" + LONG * 2)[: size + 5] for digit in "012"]
    seen, unseen = ("dep_" + (digit + LONG * 2)[:size] for digit in "ab")
    qoder.wire.on(*DEPLOYMENTS, page(deployment(1, "nightly-report", id=seen)))
    qoder("deploy", "list")
    sessions = ["sess_" + (digit + LONG * 2)[:size] for digit in "cde"]
    going = {"status": "running", "completed_at": None, "duration_ms": None}
    items = [
        run(0, id=ids[0], deployment_id=seen, session_id=sessions[0], **going),
        run(1, id=ids[1], deployment_id=seen, session_id=sessions[1], **WHY, trigger_context={"type": "schedule"}),
        run(2, id=ids[2], deployment_id=unseen, session_id=sessions[2]),
    ]
    for item, ago in zip(items, (65, 180, 7300), strict=True):
        item["created_at"] = item["triggered_at"] = datetime.fromtimestamp(at - ago, UTC).isoformat()
    qoder.wire.on(*RUNS, page(*items), repeat=True)
    return ids


def test_run_list_shortens_ids_before_a_column_goes_and_wide_shows_all(
    qoder: Qoder, columns: Callable[[int], None]
) -> None:
    ids = of_real_length(qoder, 32)
    for width, shown in ((24, 2), (40, 2), (60, 3), (80, 4), (120, 7)):
        columns(width)
        header, *lines = qoder(*LIST, "--all").out.splitlines()
        rows, footer = lines[:3], lines[3:]
        assert header.split() == [*SHOWN[:shown], *(["id"] if width >= 40 else [])]
        assert footer[0].startswith("hidden: ") == (width < 120)
        assert " ".join(footer).endswith("-o wide shows all")
        assert max(map(len, [*rows, *footer])) <= width
        assert width < 40 or [row.split()[-1] for row in rows] == [f"{id[:12]}…" for id in ids]
    header, _, row, *_ = qoder(*LIST, "-o", "wide").out.splitlines()
    assert header.split() == [*SHOWN, "deployment", "id", "status", "from", "id"]
    assert row.startswith("nightly-report ")
    assert row.endswith(ids[1])
    assert "environment_archived_error: The environment is archived." in row
    assert f"dep_a{LONG}" in row
    columns(300)
    assert [row.split()[-1] for row in qoder(*LIST, "--all").out.splitlines()] == ["id", *ids]
    qoder.terminal = False
    assert qoder(*LIST, "-o", "wide").out == qoder(*LIST).out
    assert qoder(*LIST).out.splitlines()[0].split("\t")[0] == ids[0]


def alike(qoder: Qoder, *pages: list[dict[str, Any]]) -> None:
    """Serve pages of runs of a deployment that was seen here, all the same but for id, session and what is given."""
    qoder.wire.on(*DEPLOYMENTS, page(deployment(1, "nightly-report", id="dep_a" + LONG)))
    qoder("deploy", "list")
    numbers = iter(range(10))
    for place, rows in enumerate(pages):
        items = [
            run(n, id=f"drun_{n}{LONG}", deployment_id="dep_a" + LONG, session_id=f"sess_{n}{LONG}") | fields
            for n, fields in zip(numbers, rows, strict=False)
        ]
        qoder.wire.on(*RUNS, page(*items, more=place + 1 < len(pages)))


def test_run_list_says_of_no_row_what_a_later_page_contradicts(qoder: Qoder, columns: Callable[[int], None]) -> None:
    columns(80)
    alike(qoder, [{}, {}], [{}, WHY, {}], [{}])
    lines = qoder(*LIST, "--all").out.splitlines()
    heads = [n for n, line in enumerate(lines) if line.endswith(" id")]
    assert [lines[n].split()[0] for n in heads] == ["triggered", "status"]
    assert lines[heads[1] - 1].endswith("in these rows")
    assert [line.split()[0] for line in lines[heads[1] + 1 :][:4]] == ["completed", "failed", "completed", "completed"]
    assert "in every row" not in "".join(lines)


def test_run_list_shows_no_name_that_two_deployments_have(qoder: Qoder, columns: Callable[[int], None]) -> None:
    columns(80)
    qoder.wire.on(*DEPLOYMENTS, page(deployment(1, "twin"), deployment(2, "twin"), deployment(3, "dep_1")))
    qoder("deploy", "list")
    qoder.wire.on(*RUNS, page(run(2, deployment_id="dep_1"), run(1, deployment_id="dep_3")))
    assert [row.split()[0] for row in qoder(*LIST).out.splitlines()[1:3]] == ["dep_1", "dep_3"]


def test_run_list_on_a_terminal_says_how_long_ago_it_was(qoder: Qoder, columns: Callable[[int], None]) -> None:
    columns(300)
    qoder.clock.time = datetime(2027, 1, 15, 8, tzinfo=UTC).timestamp()
    shown = {-59: "59s ago", -3600: "1h ago", -3e6: "34d ago", 30: "now", 7200: "2027-01-15 10:00:00"}
    times = [datetime.fromtimestamp(qoder.clock.time + ahead, UTC).isoformat() for ahead in shown]
    qoder.wire.on(*RUNS, page(*(run(n, triggered_at=at) for n, at in enumerate(times))), repeat=True)
    rows = qoder(*LIST).out.splitlines()[1:6]
    assert [text in row for text, row in zip(shown.values(), rows, strict=True)] == [True] * 5
    qoder.terminal = False
    assert [line.split("\t")[3] for line in qoder(*LIST).out.splitlines()] == times


# What the pages may do.


def numbered(first: int, count: int, **more: Any) -> dict[str, Any]:
    return {**page(*(run(n) for n in range(first, first + count))), **more}


def test_run_list_shows_a_run_once_that_newer_ones_push_to_the_next_page(qoder: Qoder) -> None:
    qoder.wire.on(*RUNS, numbered(0, 3, next_page="3"), numbered(2, 3))
    assert ids(qoder(*LIST, "--all", "--json")) == [f"drun_{n}" for n in range(5)]


BAD_PAGES = {
    "a cursor that does not move": [numbered(0, 2, next_page="x"), numbered(2, 2, next_page="x")],
    "an after_id that does not move": [
        numbered(0, 2, last_id="drun_1", has_more=True),
        numbered(2, 2, last_id="drun_1", has_more=True),
    ],
    "no page": [numbered(0, 2, next_page="x"), {"items": []}],
    "not JSON": [numbered(0, 2, next_page="x"), "<html>"],
    "an error": [numbered(0, 2, next_page="x"), api_error(500, "api_error", "It broke.")],
}


@pytest.mark.parametrize("answers", BAD_PAGES.values(), ids=BAD_PAGES.keys())
def test_run_list_leaves_what_was_shown_when_a_page_fails(qoder: Qoder, answers: list[Any]) -> None:
    for all_but_last in answers[:-1]:
        qoder.wire.on(*RUNS, all_but_last)
    qoder.wire.on(*RUNS, answers[-1], repeat=True)
    ran = qoder("run", "list", "--all", "--json")
    assert (ran.code, ran.error["type"]) == (7, "unavailable")
    assert ran.out.startswith('[{"id":"drun_0"')
    assert not ran.out.endswith("]\n")
    shown = json.loads(ran.out + "]")  # and nothing but the end is missing
    assert [item["id"] for item in shown[:2]] == ["drun_0", "drun_1"]


# Which of them.


@pytest.fixture
def mixed(world: World) -> World:
    """Return the server with runs of every ending, some of them older than its first page of 100."""
    return mixed_with(world, 108)


def mixed_with(world: World, count: int) -> World:
    for n in range(count):
        kind = ["demo", "fail", "terminated", "nostart", "skip", "budget"][n % 6]
        trigger: Any = ["manual", "schedule", "retry"][n % 3 if n % 5 else 0]
        world.start(f"dep_{kind}", trigger=trigger, at=world.now() - HOUR * (count + 10 - n))
    world.start("dep_minute")
    return world


def truth(world: World, *statuses: str) -> list[str]:
    """Return the runs that truly ended so, or go on, newest first."""

    def status(id: str) -> str:
        ending = world.ending(id)
        return ending.status if ending else "running"

    return [id for id in newest_first(world) if status(id) in statuses]


@pytest.mark.parametrize("statuses", [["completed", "skipped"], ["failed"], ["skipped"], ["running"], ["completed"]])
@pytest.mark.few(4)
def test_run_list_of_a_status_is_the_same_on_both_generations(qoder: Qoder, mixed: World, statuses: list[str]) -> None:
    joined = ",".join(statuses)
    words = tuple(word for status in statuses for word in ("--status", status))
    for typed in {words, ("--status", joined), (f"--status={joined}",)}:
        mixed.requests.clear()
        ran = qoder(*LIST, "--all", *typed, "--json")
        assert ids(ran) == truth(mixed, *statuses)
    assert {item["status"] for item in ran.json} <= set(statuses)


@pytest.mark.parametrize("status", ["failed", "running", "completed"])
def test_run_list_of_a_status_has_runs_of_a_status_that_is_not_recognised(qoder: Qoder, status: str) -> None:
    odd, other = run(1, status="timed_out"), run(2, status="thinking", completed_at=None)
    qoder.wire.on(*RUNS, page(odd, more=True), page(other, run(3)))
    found = {"failed": ["drun_1"], "running": ["drun_2"], "completed": ["drun_3"]}
    assert ids(qoder(*LIST, "--status", status, "--json")) == found[status]
    assert all("status" not in request.url.params for request in qoder.wire.requests)


@pytest.mark.parametrize("trigger", ["manual", "schedule", "retry"])
@pytest.mark.parametrize("deployment", ["dep_fail", None])
@pytest.mark.few(4)
def test_run_list_of_a_trigger_finds_its_runs(qoder: Qoder, mixed: World, trigger: str, deployment: str | None) -> None:
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


@pytest.mark.parametrize("line", ["run list --trigger retry", "run list --since 2020-01-01", "deploy list --name job"])
def test_lists_do_not_claim_that_more_match(qoder: Qoder, line: str) -> None:
    rows = page(run(2, trigger_context={"type": "retry"}, name="job"), more=True)
    qoder.wire.on("GET", "/deployments" if "deploy " in line else RUNS[1], rows)
    ran = qoder(*line.split(), "-n", "1", "-q")
    assert ran.err == "note: showing 1, more may match; use --all to see the rest\n"


def test_run_list_puts_one_page_in_order(qoder: Qoder) -> None:
    times = ["2026-06-14T08:54:06Z", "2026-06-14T08:54:06.5Z", "2026-06-15T10:54:06.5+02:00", "2026-06-13T08:54:06Z"]
    qoder.wire.on(*RUNS, page(*(run(n, created_at=time) for n, time in enumerate(times))))
    assert ids(qoder(*LIST, "--json")) == ["drun_2", "drun_1", "drun_0", "drun_3"]


# How they ended.

RESOLVED = [("-n 100", True), ("--all", False), ("--all --resolve", True), ("-n 5 --no-resolve", False)]


@pytest.mark.parametrize(("options", "asks"), [*RESOLVED, ("-q", False)])
@pytest.mark.few(4)
def test_run_list_asks_the_sessions_of_a_short_list_alone(qoder: Qoder, world: World, options: str, asks: bool) -> None:
    seed_runs(world, 102)
    ran = qoder(*LIST, *options.split(), *([] if options == "-q" else ["--json"]))
    sessions = [seen for seen in world.requests if "/sessions/" in seen.path]
    assert bool(sessions) == (asks and world.generation == "current")
    if options != "-q":
        known = asks or world.generation == "legacy"
        assert {item.get("status") for item in ran.json} == {"completed" if known else None}
        assert any("status" in item.get("derived", ()) for item in ran.json) == bool(sessions)


def run_of_session(number: int) -> dict[str, Any]:
    return {**CURRENT, "id": f"drun_{number}", "session_id": f"sess_{number}"}


@pytest.mark.parametrize(
    ("in_the_way", "world"), checkerboard([None, "binary", "newer"], GENERATIONS), indirect=["world"]
)
def test_run_list_asks_no_session_again_once_its_run_ended_for_certain(
    qoder: Qoder, world: World, in_the_way: str | None
) -> None:
    """Without a store it asks again, and says and shows the same."""
    if in_the_way:
        put_in_the_way(Path(qoder.env["QODER_STATE_DIR"]), in_the_way)
    mixed_with(world, 12)
    world.start("dep_demo", at=world.now() - 30)  # has ended, but other events may still turn up on a replica
    first = qoder(*LIST, "--all", "--resolve", "--json")
    world.requests.clear()
    assert qoder(*LIST, "--all", "--resolve", "--json").json == first.json
    again = {seen.path.split("/")[-2] for seen in world.requests if seen.path.endswith("/events")}
    young = {row["session_id"] for row in first.json[:2]}
    if world.generation == "current":
        assert again > young if in_the_way else again == young
    else:
        assert again <= young


# What a row says later of a run that completed, and what then counts; its session is asked again where that says so.
LATER: dict[str, tuple[dict[str, Any], str, bool]] = {
    "the same": ({}, "completed", False),
    "another session": ({"session_id": "sess_2"}, "failed", True),
    "a status": ({"status": "failed", "completed_at": "2026-06-14T08:54:23Z"}, "failed", False),
    "an error": ({"error": {"type": "unknown_error", "message": "No."}}, "failed", False),
    "still running": ({"status": "running", "session_id": None}, "running", False),
}


@pytest.mark.parametrize(("fields", "status", "asks"), LATER.values(), ids=LATER.keys())
def test_run_list_believes_a_row_before_what_was_kept_of_its_run(
    qoder: Qoder, fields: dict[str, Any], status: str, asks: bool
) -> None:
    qoder.wire.on(*RUNS, page(run_of_session(1)), page(run_of_session(1) | fields))
    qoder.wire.on("GET", "/sessions/sess_1/events", page(event("status_running", 7), idle("end_turn", 9)))
    if asks:
        qoder.wire.on("GET", "/sessions/sess_2/events", page(event("status_running", 7), idle("cancelled", 9)))
    assert [qoder(*LIST, "--json").json[0]["status"] for _ in range(2)] == ["completed", status]


def test_run_list_keeps_no_error_that_holds_a_secret(qoder: Qoder) -> None:
    said = {"type": "unknown_error", "message": "401 for Bearer abcdef0123", "retry_status": "terminal"}
    events = page(event("status_running", 7), event("error", 8, error=said), event("status_terminated", 9))
    qoder.wire.on(*RUNS, page(run_of_session(1)), repeat=True)
    qoder.wire.on("GET", "/sessions/sess_1/events", events, events)
    assert {qoder(*LIST).code for _ in range(2)} == {0}


def test_run_list_leaves_a_row_as_sent_whose_session_cannot_be_read(qoder: Qoder) -> None:
    qoder.wire.on(*RUNS, page(run_of_session(1), run_of_session(2)), repeat=True)
    qoder.wire.on("GET", "/sessions/sess_1/events", api_error(403, "permission_error", "Not yours."), repeat=True)
    qoder.wire.on("GET", "/sessions/sess_2/events", page(event("status_running", 7), idle("end_turn", 9)), repeat=True)
    ran = qoder(*LIST, "--all", "--json")
    assert (ran.code, ran.json[0], ran.json[1]["status"]) == (0, run_of_session(1), "completed")
    assert ran.err == "warning: status unknown for 1 run: sessions could not be read\n"
    filtered = qoder(*LIST, "--status", "completed", "--json")
    assert ids(filtered) == ["drun_2"]
    assert "ignored 1 run: sessions could not be read" in filtered.err
    assert "no runs match --status failed, as far as is known" in qoder(*LIST, "--status", "failed", "--all").err


def test_run_list_does_not_ask_all_sessions_where_nobody_may_read_them(qoder: Qoder) -> None:
    runs = [run_of_session(n) for n in range(100)]
    qoder.wire.on(*RUNS, page(*runs)).on("GET", "/sessions/*/events", (403, ""), repeat=True)
    ran = qoder(*LIST, "-n", "100", "--json")
    assert ran.json == runs
    assert "status unknown for 100 runs" in ran.err
    assert len(qoder.wire.requests) <= 1 + 8 + 8  # the list, those that failed, those under way by then


def test_run_list_shows_no_status_of_a_run_whose_session_was_deleted(qoder: Qoder) -> None:
    qoder.wire.on(*RUNS, page(run_of_session(1)), repeat=True)
    qoder.wire.on("GET", "/sessions/sess_1/events", GONE, repeat=True)
    [item] = qoder(*LIST, "--json").json
    assert (item.get("status"), item["error"]["type"]) == (None, "session_deleted")
    assert "ignored 1 run: the outcome is unknown" in qoder(*LIST, "--status", "failed", "--json").err


@pytest.mark.parametrize(
    ("age", "answer", "stands"),
    [
        *((59, GONE, "running"), (60, GONE, "unread"), (93600, GONE, "unread"), (93601, GONE, "session_deleted")),
        (93601, (404, "<html>"), "unread"),
    ],
)
def test_run_list_takes_a_session_for_deleted_once_its_time_is_over(
    qoder: Qoder, age: int, answer: Any, stands: str
) -> None:
    qoder.clock.time = 1_800_000_000.0
    created = utc_text(datetime.fromtimestamp(qoder.clock.time - age, UTC))
    qoder.wire.on(*RUNS, page({**run_of_session(1), "created_at": created}))
    qoder.wire.on("GET", "/sessions/sess_1/events", answer, repeat=True)
    ran = qoder(*LIST, "--json")
    [item] = ran.json
    unread = "unread" if "status unknown for 1 run" in ran.err else None
    assert (item.get("status") or (item["error"] or {}).get("type") or unread) == stands


def test_run_list_of_a_status_without_asking_leaves_out_what_only_sessions_know(qoder: Qoder) -> None:
    failed = {**CURRENT, "id": "drun_2", "session_id": None, "error": {"type": "unknown_error", "message": "No."}}
    qoder.wire.on(*RUNS, page(run_of_session(1), failed))
    ran = qoder(*LIST, "--status", "failed", "--no-resolve", "--json")
    assert ids(ran) == ["drun_2"]
    assert "ignored 1 run: --no-resolve" in ran.err


# When.

WHEN: list[tuple[str, int, int]] = [
    *(("--since 5h", 0, 5), ("--since 5h --until 2h", 2, 5), ("--until 2h", 2, 102)),
    *(("--since 10d --limit 7", 0, 7), ("--since 2w", 0, 102)),
]


@pytest.mark.parametrize(("deployment", "when"), checkerboard(["dep_demo", ""], WHEN))
@pytest.mark.few(4)
def test_run_list_since_and_until_bound_when_runs_were_created(
    qoder: Qoder, world: World, deployment: str, when: tuple[str, int, int]
) -> None:
    options, first, last = when
    for n in reversed(range(102)):
        world.start("dep_demo", at=world.now() - HOUR * n - 60)
    qoder.clock.time, world.skew = qoder.clock.time + 7200, -7200  # it is the server's clock that counts
    ran = qoder(*LIST, *deployment.split(), *options.split(), "--no-resolve", "--json")
    assert ids(ran) == newest_first(world)[first:last]
    assert ("note" in ran.err) == ("--limit" in options)


def test_run_list_since_reads_no_more_of_a_deployment_than_it_must(qoder: Qoder) -> None:
    qoder.clock.time = 1781514000.0  # 2026-06-15T09:00:00Z
    times = [f"2026-06-{day}T08:00:00Z" for day in (15, 14, 13)]
    runs = [run(n, created_at=time, triggered_at=time) for n, time in enumerate(times)]
    for path in (("GET", "/deployments/dep_1/runs"), RUNS):  # of a server that filters nothing by itself
        qoder.wire.on(*path, page(runs[0], runs[1], more=True))
    qoder.wire.on(*RUNS, page(runs[2]))  # the order of this list is not documented: it is read to its end
    qoder.wire.on("GET", "/deployments/dep_2/runs", page(runs[2], runs[1], more=True), page(runs[0]))  # oldest first
    assert ids(qoder(*LIST, "dep_1", "--since", "2h", "--json")) == ["drun_0"]
    assert ids(qoder(*LIST, "dep_2", "--since", "2h", "--json")) == ["drun_0"]
    assert ids(qoder(*LIST, "--since", "2h", "--json")) == ["drun_0"]


def test_run_list_since_leaves_out_and_counts_runs_that_do_not_say_when(qoder: Qoder) -> None:
    qoder.wire.on(*RUNS, page(run(1, created_at="2027-01-15T07:00:00Z"), run(2, created_at=None)))
    ran = qoder(*LIST, "--since", "2h", "--json")
    assert ids(ran) == ["drun_1"]
    assert "ignored 1 run without a creation time" in ran.err
