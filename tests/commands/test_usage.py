"""`qoder usage`: what runs used, added up: never more than the server has, and nothing unknown counted as nothing."""

import json
import time
from fractions import Fraction
from typing import Any

import pytest

from qoder_cli.sandbox.wire import GENERATIONS
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder
from tests.support.inprocess import WithoutStreams
from tests.support.wire import api_error, page

NOW = "2027-01-15T07:00:00Z"
SESSIONS, RUNS = ("GET", "/sessions"), ("GET", "/deployment_runs")
RUNS_OF_1 = ("GET", "/deployments/dep_1/runs")
EMPTY: dict[str, Any] = page()
BY_SCHEDULE = {"trigger_context": {"type": "schedule"}}
ONE = ("--deployment", "dep_1", "--deployment", "dep_2")


def session(id: str, credits: str | None, **more: Any) -> str:
    """Return a session as JSON, its credits exactly as they are written here; None for a session that says none."""
    about = {"id": f"sess_{id}", "type": "session", "status": "idle", "created_at": NOW, "deployment_id": "dep_1"}
    usage = "{}" if credits is None else f'{{"total_credits": {credits}}}'
    return json.dumps({**about, **more})[:-1] + f', "usage": {usage}}}'


def run(id: str, **more: Any) -> dict[str, Any]:
    about = {"id": f"drun_{id}", "type": "deployment_run", "deployment_id": "dep_1", "created_at": NOW}
    return {**about, "session_id": f"sess_{id}", "trigger_context": {"type": "manual"}, **more}


def pages(*texts: list[str]) -> list[str]:
    """Return pages of a list as JSON, each with the cursor to the next."""
    return [
        f'{{"data": [{", ".join(rows)}], "has_more": {json.dumps(n < len(texts))}, '
        f'"next_page": {json.dumps(f"page{n}" if n < len(texts) else None)}}}'
        for n, rows in enumerate(texts, 1)
    ]


def unnamed(qoder: Qoder) -> Qoder:
    """Let there be nothing that has a name."""
    for noun in ("deployments", "agents", "environments"):
        qoder.wire.may("GET", f"/{noun}", EMPTY)
    return qoder


def serve(qoder: Qoder, *sessions: str, runs: Any = EMPTY) -> Qoder:
    unnamed(qoder).wire.on(*RUNS, runs, repeat=True).on(*SESSIONS, *pages(list(sessions)), repeat=True)
    return qoder


KNOWN = ["12345678901234567890.12", "0.000000001", "1e3", "2.5E+2", "0.10", "0"]
UNKNOWN = [None, "null", "true", '"abc"', "-3.5", "[]", "1e999", '"1_000"', "{}"]


@pytest.mark.parametrize("known", [KNOWN, []], ids=["some", "none"])
def test_usage_is_the_exact_sum_of_what_each_session_says(qoder: Qoder, known: list[str]) -> None:
    """Sessions come again on later pages, grown meanwhile; those without an amount are counted as unknown."""
    rows = [session(f"{n}", credits) for n, credits in enumerate([*known, *UNKNOWN])]
    again = [session("0", "12345678901234567890.13"), *rows[1:3]]
    unnamed(qoder).wire.on(*RUNS, EMPTY).on(*SESSIONS, *pages(rows[:4], [*again, *rows[4:]]))
    ran = qoder("usage", "--by", "environment", "--json")
    exact = sum(map(Fraction, known), Fraction(0))
    [line] = json.loads(ran.out, parse_float=Fraction)
    assert (line["credits"], line["credits_unknown"]) == (exact if known else None, len(UNKNOWN))
    said = ran.err.split()
    assert (Fraction(said[2]), int(said[5])) == (exact, len(rows))
    assert f"; {len(UNKNOWN)} unknown" in ran.err


@pytest.mark.parametrize(("over", "code"), [("1000", 7), ("0.50", 8), (None, 4)])
@pytest.mark.parametrize("status", [403, 500])
def test_usage_is_never_fine_where_the_sessions_cannot_all_be_read(
    qoder: Qoder, over: str | None, code: int, status: int
) -> None:
    first, _ = pages([session("1", "1")], [])
    qoder.wire.on(*RUNS, EMPTY, repeat=True)
    qoder.wire.on(*SESSIONS, first).on(*SESSIONS, api_error(status, "permission_error", "No."), repeat=True)
    ran = qoder("usage", *(["--over", over] if over else []), "--json")
    assert (ran.code, ran.out) == (7 if code == 4 and status == 500 else code, "")
    assert code != 8 or "warning: not seen: " in ran.err


def test_usage_until_leaves_out_what_came_later(qoder: Qoder) -> None:
    """A run within the span counts with its session, made a moment later. What came at its end does not."""
    sessions = [session("1", "1"), session("2", "2", created_at="2027-01-15T07:00:09Z"), session("3", "4")]
    late = session("4", "8", created_at="2027-01-15T07:00:05Z")
    serve(qoder, *sessions, late, runs=page(run("2", status="completed"), run("4", created_at="2027-01-15T07:00:05Z")))
    ran = qoder("usage", "--until", "2027-01-15T07:00:05Z", "--json", "--no-resolve")
    assert [(line["credits"], line["runs"], line["sessions"]) for line in ran.json] == [(7, 1, 3)]
    assert "7 credits in 3 sessions since 2026-12-16T08:00:00Z until 2027-01-15T07:00:05Z" in ran.err
    asked = [request.url.params["created_at[lte]"] for request in qoder.wire.requests[:2]]
    assert asked == ["2027-01-15T07:00:06Z", "2027-01-15T07:10:05Z"]
    assert qoder("usage", "--until", "2026-01-01").code == 2


@pytest.mark.parametrize("by", ["deployment", "environment"])
def test_usage_reads_the_names_that_it_does_not_know(qoder: Qoder, by: str) -> None:
    things = {"deployment": {"id": "dep_1", "name": "nightly"}, "environment": {"id": "env_1", "name": "workers"}}
    qoder.wire.on("GET", f"/{by}s", page({"type": by, **things[by]}))
    serve(qoder, session("1", "1", environment_id="env_1"))
    for _ in range(2 if by == "deployment" else 1):  # a deployment's name is remembered
        [line] = qoder("usage", "--by", by, "--json").json
        assert line["name"] == things[by]["name"]


def test_usage_without_leave_to_read_runs_shows_what_sessions_used(qoder: Qoder) -> None:
    serve(qoder, session("1", "1.25"), runs=api_error(403, "permission_error", "No."))
    ran = qoder("usage", "--json")
    assert ran.code == 0
    assert [(line["credits"], line["runs"]) for line in ran.json] == [(1.25, None)]
    assert "warning: the runs cannot be read, only what sessions used" in ran.err


GROWS = [session("1", "12.5"), session("2", None, status="running")]
SILENT = [session("1", "12.5"), session("2", None)]  # of one that ended it is not said what it used
MAY_HAVE_ENDED = [session("1", "12.5"), session("2", None, status=None)]
NOT_YOURS, BROKEN = api_error(403, "permission_error", "No."), api_error(500, "api_error", "No.")
UNNAMED, AT_NO_TIME = session("1", "9", deployment_id=None), {"status": "completed", "created_at": None}
# Sessions, runs, the limit with other words, and the exit code.
OVER: dict[str, tuple[list[str], Any, tuple[str, ...], int]] = {
    "less": (GROWS, EMPTY, ("12.51",), 0),
    "as much": (GROWS, EMPTY, ("12.50",), 0),
    "more": (GROWS, EMPTY, ("12.49",), 8),
    "perhaps less": (SILENT, EMPTY, ("12.51",), 7),
    "perhaps as much": (MAY_HAVE_ENDED, EMPTY, ("12.50",), 7),
    "more in any case": (SILENT, EMPTY, ("12.49",), 8),
    "without runs": ([session("1", "1.25")], BROKEN, ("1.25",), 0),
    "more without runs": ([session("1", "1.25")], BROKEN, ("1",), 8),
    "at no time": ([session("1", "9", created_at=None)], EMPTY, ("5",), 7),
    "more without that": ([session("1", "9", created_at=None), session("2", "6")], EMPTY, ("5",), 8),
    "no object": (["7"], EMPTY, ("5",), 7),
    "without ids": ([f'{{"created_at": "{NOW}", "usage": {{"total_credits": 3}}}}'] * 2, EMPTY, ("5",), 7),
    "none says what it used": ([session("1", None), session("2", "null")], EMPTY, ("5",), 7),
    "none says it so early": ([session("1", None, status="running")], EMPTY, ("5",), 0),
    "perhaps its own": ([UNNAMED], NOT_YOURS, ("5", *ONE), 7),
    "of its run": ([UNNAMED], page(run("1", status="completed")), ("5", *ONE), 8),
    "of a run at no time": ([UNNAMED], page(run("1", **AT_NO_TIME)), ("5", *ONE), 7),
    "of one whose session is gone": ([], page(run("1", **AT_NO_TIME)), ("5", *ONE), 7),
    "of one whose session names it": ([session("1", "5")], page(run("1", **AT_NO_TIME)), ("5", *ONE), 0),
    "more than that": ([UNNAMED, session("2", "6")], page(run("1", **AT_NO_TIME)), ("5", *ONE), 8),
    "of another's run": ([UNNAMED], page(run("1", **AT_NO_TIME, deployment_id="dep_3")), ("5", *ONE), 0),
    "of a run of no deployment": ([UNNAMED], page(run("1", status="completed", deployment_id=None)), ("5", *ONE), 7),
    "of one that its session names": (
        [session("1", "9", deployment_id="dep_3")],
        page(run("1", status="completed", deployment_id=None)),
        ("5", *ONE),
        0,
    ),
    "not its own": ([UNNAMED], EMPTY, ("5", *ONE), 0),
}


@pytest.mark.parametrize("runs", [{"data": []}, {"data": [7], "has_more": False}])
def test_usage_doubts_a_session_where_the_list_of_runs_may_lack_its_run(qoder: Qoder, runs: Any) -> None:
    assert serve(qoder, UNNAMED, runs=runs)("usage", "--over", "5", *ONE).code == 7


@pytest.mark.parametrize("case", OVER)
def test_usage_exits_8_when_more_was_used_and_7_where_that_is_unknown(qoder: Qoder, case: str) -> None:
    sessions, runs, words, code = OVER[case]
    ran = serve(qoder, *sessions, runs=runs)("usage", "--over", *words)
    assert ran.code == code
    assert ("to see them: qoder session list --all" in ran.err) == (code == 7)
    assert ("qoder session list --since 30d" in ran.err) == (code == 8)


KEYS = {
    "deployment": ["dep_2", "dep_1", None],
    "agent": ["agent_2", "agent_1"],
    "model": ["ultimate", "auto"],
    "environment": ["env_1"],
    "day": ["2027-01-13", "2027-01-14", "2027-01-15"],  # on which a run was started
    "trigger": ["schedule", "manual", None],
}


@pytest.mark.parametrize("by", KEYS)
def test_usage_adds_up_by_what_is_asked_for(qoder: Qoder, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    monkeypatch.setenv("TZ", "UTC")
    setup: dict[str, Any] = {"environment_id": "env_1", "agent": {"id": "agent_1", "model": {"id": "auto"}}}
    sessions = [
        session("1", "1", **setup),
        session("2", "2.50", deployment_id="dep_2", **{**setup, "agent": {"id": "agent_2", "model": "ultimate"}}),
        session("3", "0.25", **{**setup, "created_at": "2027-01-14T00:00:01Z"}, status="running"),
        session("4", "0.5", **{**setup, "deployment_id": None}),
    ]
    agent = {"id": "agent_1", "version": 1}
    runs = [
        run("1", agent=agent, status="completed", duration_ms=1000),
        run("2", agent={**agent, "id": "agent_2"}, deployment_id="dep_2", **BY_SCHEDULE, status="failed"),
        run("3", agent=agent, created_at="2027-01-13T23:59:59Z", status="running"),
    ]
    ran = serve(qoder, *sessions, runs=page(*runs))("usage", "--by", by, "--json")
    assert [line["key"] for line in ran.json] == KEYS[by]
    assert sum(line["credits"] for line in ran.json) == 4.25
    assert [sum(line[each] for line in ran.json) for each in ("runs", "completed", "failed", "going")] == [3, 1, 1, 1]
    assert (sum(line["sessions"] for line in ran.json), sum(line["growing"] for line in ran.json)) == (4, 1)


def test_usage_by_day_counts_days_in_a_zone_that_is_a_day_away(
    qoder: Qoder, utc: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC-25")
    time.tzset()
    asked = serve(qoder, session("1", "1", created_at="2027-01-13T07:00:00Z"), runs=page())
    ran = asked("usage", "--by", "day", "--since", "2027-01-12", "--json")
    assert [line["key"] for line in ran.json][:1] == ["2027-01-14"]


@pytest.mark.parametrize("words", [(), ("--by", "day"), ("--by", "day", "-o", "html")])
def test_usage_sums_no_session_of_a_year_to_come(qoder: Qoder, words: tuple[str, ...]) -> None:
    """Else the days up to then would be millions of lines."""
    sessions = [session("1", "1"), session("2", "1", created_at="9999-12-31T23:59:59Z")]
    ran = serve(qoder, *sessions)("usage", *words)
    assert (ran.code, ran.out.count("\n") < 100) == (0, True)
    assert "ignored 1 run or session without a creation time" in ran.err


def test_usage_prints_all_that_it_knows_of_a_deployment(qoder: Qoder) -> None:
    """Also of a run whose session is gone: what that used is unknown."""
    left = session("1", "2.5", archived_at=NOW, deployment_name="nightly")
    sessions = [left, session("2", "1.5"), session("3", None), session("4", "1", status="running")]
    runs = [run("1", status="completed", duration_ms=1000), run("2", status="completed", duration_ms=9000), run("gone")]
    runs += [run("3", status="failed"), run("4", status="running"), run("5", status="skipped", session_id=None)]
    unnamed(qoder).wire.on(*RUNS_OF_1, page(*runs), repeat=True).on(*SESSIONS, *pages(sessions), repeat=True)
    words = ("usage", "--deployment", "dep_1", "--no-resolve")
    ran, data = qoder(*words), qoder(*words, "--json").json[0]
    assert ran.out == "dep_1\t6\t2\t1\t1\t66%\t1.000\t9.000\t5.0\t1.66\tsess_1\t1\t1\t5\t2\t1\tnightly\n"
    shown = {"name": "nightly", "skipped": 1, "unknown": 1, "success_percent": 66, "p50_ms": 1000, "p95_ms": 9000}
    shown |= {"credits": 5, "credits_per_run": 1.66, "dearest": {"session_id": "sess_1", "credits": 2.5}}
    assert {name: data[name] for name in shown} == shown
    assert "status unknown for 1 run: --resolve reads them from sessions" in ran.err
    assert all(err.endswith("; 2 unknown, 1 still running\n") for err in (ran.err, qoder(*words, "--no-progress").err))
    asked = qoder.wire.requests[1].url.params
    assert (asked["include_archived"], asked["deployment_id"]) == ("true", "dep_1")


def test_usage_by_day_has_credits_where_there_is_no_room_for_bars(
    qoder: Qoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(qoder, session("1", "10"))
    drawn = {}
    for width in (24, 80):
        monkeypatch.setenv("COLUMNS", str(width))
        drawn[width] = qoder("usage", "--by", "day", "-o", "pretty").out
    assert all("credits" in text.splitlines()[0] for text in drawn.values())
    assert (drawn[24].count("█"), drawn[80].splitlines()[1].count("█")) == (0, 20)
    assert "hidden: runs" in drawn[24]


def world_of(qoder: Qoder, *deployments: str, generation: Any = "current") -> World:
    """Return a world in which runs of these were started an hour ago."""
    world = World(generation=generation, token=TOKEN, clock=lambda: qoder.clock.time)
    with world.lock:
        for deployment in deployments:
            world.start(deployment, origin="seed", at=world.now() - 3600)
    qoder.transport = WithoutStreams(world, sleep=qoder.clock.sleep)
    return world


@pytest.mark.parametrize("generation", GENERATIONS)
def test_usage_of_a_deployment_joins_runs_and_sessions_of_either_server(qoder: Qoder, generation: Any) -> None:
    world = world_of(qoder, "dep_demo", "dep_fail", "dep_demo", "dep_nostart", generation=generation)
    ran = qoder("usage", "--since", "1d", "--deployment", "demo", "--deployment", "dep_nostart", "--json")
    rows = {line["key"]: (line["runs"], line["completed"], line["failed"], line["credits"]) for line in ran.json}
    assert rows == {"dep_demo": (2, 2, 0, 1.36), "dep_nostart": (1, 0, 1, 0)}
    qoder.clock.time, world.skew = qoder.clock.time + 7200, -7200  # it is the server's clock that counts
    one = qoder("usage", "--since", "90m", "--deployment", "dep_fail", "--json").json
    assert [(line["key"], line["failed"], line["credits"]) for line in one] == [("dep_fail", 1, 0.17)]


def test_usage_asks_no_session_again_how_its_run_ended(qoder: Qoder) -> None:
    world = world_of(qoder, *["dep_fail"] * 3)
    first = qoder("usage", "--since", "1d", "--json").json
    before = len(world.requests)
    assert qoder("usage", "--since", "1d", "--no-resolve", "--json").json == first
    assert [seen.path.rpartition("/")[2] for seen in list(world.requests)[before:]] == ["deployment_runs", "sessions"]
