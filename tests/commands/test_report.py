"""`qoder report`: what it tells and how, once or again, and what it says of what it could not read."""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.local.reports import ReportMemory
from qoder_cli.local.store import Store
from qoder_cli.sandbox.scripts import Behaviour, turn
from qoder_cli.sandbox.wire import BASE_PATH
from qoder_cli.sandbox.world import World
from qoder_cli.settings.config import resolve
from qoder_cli.settings.values import Flags
from tests.conftest import Qoder, Ran
from tests.support.inprocess import WorldTransport
from tests.support.one_night import HOUR, OLD, ago, fire, hourly, serve
from tests.support.wire import api_error, page

pytestmark = pytest.mark.usefixtures("utc")
DEPLOYMENTS, RUNS, SESSIONS = (f"{BASE_PATH}/{name}" for name in ("deployments", "deployment_runs", "sessions"))
SECTIONS = ("needs_you", "did_not_happen", "failed", "did_nothing", "cannot_tell")


RUN: dict[str, Any] = {"id": "drun_1", "deployment_id": "dep_1", "session_id": "sess_1"}
RUN["created_at"] = "2027-01-15T07:00:00Z"


def kinds(report: dict[str, Any]) -> dict[str, list[str]]:
    """Return what each section has: kinds, with the names of deployments."""
    return {name: sorted(f"{each['kind']} {each['deployment_name']}" for each in report[name]) for name in SECTIONS}


def timeless(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report without the time at which it was made."""
    told = {name: [{**each, "since": 0, "next": 0} for each in report[name]] for name in SECTIONS}
    return {**report, **told, "since": 0, "until": 0}


def test_report_tells_of_a_night_all_there_is(qoder: Qoder, night: World) -> None:
    report = qoder("report", "-o", "json").json
    skips = night.generation == "legacy"
    assert kinds(report) == {
        "needs_you": ["paused broken", "waits ask"],
        "did_not_happen": [
            *("late watch", "missed watch", "missed watch", "not_started nostart"),
            *("skipped skip" if skips else "not_started skip", "twice watch"),
        ],
        "failed": ["failed fail"],
        "did_nothing": ["did_nothing hollow"],
        "cannot_tell": ["changed edited"],
    }
    [fails] = [each for each in report["failed"] if each["deployment_name"] == "fail"]
    assert (fails["failed"], fails["runs"], fails["in_a_row"], fails["error_type"]) == (3, 3, True, "retries_exhausted")
    [watch] = [each for each in report["ran"] if each["deployment_name"] == "watch"]
    assert (watch["runs"], watch["completed"], watch["median_ms"] > 2000, watch["credits_unknown"]) == (9, 9, True, 0)
    assert {each["deployment_name"]: each["fires"] for each in report["next"]} == {"watch": 10, "edited": 1}
    ran = qoder("report", "-q")
    paused = [each["deployment"] for each in report["needs_you"] if each["kind"] == "paused"]
    assert set(ran.out.split()) > {fails["run"], report["did_nothing"][0]["run"], *paused}


def test_report_asks_for_pages_and_each_session_once(qoder: Qoder, night: World) -> None:
    first = qoder("report", "-o", "json").json
    asked = [seen.path for seen in night.requests]
    sessions = [path for path in asked if path.endswith("/events")]
    waiting = 1  # its call is read, too
    assert len(sessions) == len(set(sessions)) + waiting
    assert [path for path in asked if not path.endswith("/events")] == [DEPLOYMENTS, RUNS, SESSIONS]
    night.requests.clear()
    assert timeless(qoder("report", "-o", "json").json) == timeless(first)
    again = {seen.path for seen in night.requests} - {DEPLOYMENTS, RUNS, SESSIONS}
    assert again == {f"{SESSIONS}/{first['needs_you'][0]['session']}/events"}


def test_report_asks_no_session_again_that_is_at_rest(qoder: Qoder, quiet: World) -> None:
    for hours in range(1, 5):
        quiet.start("dep_demo", at=ago(quiet, hours))
    first = qoder("report", "-o", "json").json["ran"]
    quiet.requests.clear()
    assert qoder("report", "-o", "json").json["ran"] == first
    assert (first[0]["credits_unknown"], [seen.path for seen in quiet.requests]) == (0, [DEPLOYMENTS, RUNS])


def test_report_is_a_page_of_80_columns(qoder: Qoder, night: World) -> None:
    page = qoder("report").out
    titles = re.findall(r"^[A-Z ]+$", page, re.MULTILINE)
    assert titles == ["NEEDS YOU", "DID NOT HAPPEN", "FAILED", "DID NOTHING", "CANNOT TELL", "RAN", "NEXT"]
    assert [line for line in page.splitlines() if len(line) > 80 and not line.startswith("    qoder ")] == []
    for line in (
        "  watch  2 scheduled runs missed: 03:05, 04:05",
        "         late by 33m 20s: due 00:05",
        "  watch  1 scheduled run started twice: 01-14 22:05",
        "  broken  paused: its environment is archived (environment_archived_error)",
        "  edited  changed at 06:00; what was due before is unknown",
        "  watch   22:05, 10 times",
    ):
        assert re.sub(" +", " ", line) in re.sub(" +", " ", page)
    assert "\x1b" not in page
    qoder.terminal = True
    assert len(qoder("report").out) == len(page)  # but for the second at which it was made


HOSTILE = ["<b>x</b> @team [x](http://e.example) `a`", "| --- | ::error::x # x\na *x* _y_ ~~z~~"]


@pytest.mark.parametrize("texts", [HOSTILE, HOSTILE[::-1], ["`job", "job`"], ["a\nb", ""]])
def test_report_in_markdown_shows_what_others_wrote_as_code(qoder: Qoder, texts: list[str]) -> None:
    name, message = texts
    ended = {"status": "failed", "completed_at": "2027-01-15T07:01:00Z"}
    serve(qoder, [{**RUN, **ended, "error": {"type": "odd", "message": message}}], name=name)
    page = qoder("report", "-o", "markdown").out
    [line] = [line for line in page.splitlines() if "1 of 1" in line]
    bare = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", line)
    assert re.fullmatch(r"- \*\*[A-Za-z0-9 .,%:-]*\*\* 1 of 1 · odd(: [A-Za-z0-9 .,%:-]*)?", bare)


def test_report_says_all_is_well_only_where_it_is(qoder: Qoder, world: World) -> None:
    world.things["deployments"].pop("dep_scheduled")
    assert "All is well: nothing was due, and no run failed." in qoder("report").out
    id = hourly(world)
    for hours in range(1, 25):
        fire(world, id, hours)
    ran = qoder("report", "--exit-status")
    assert (ran.code, "All is well: 24 scheduled times, none missed; no run failed." in ran.out) == (0, True)
    world.start("dep_fail", at=ago(world, 2))
    ran = qoder("report", "--exit-status")
    assert (ran.code, "All is well" in ran.out) == (8, False)
    assert ran.errors == ["error: the report has something that needs you, did not happen or failed"]
    world.deployments.clear()
    world.runs.clear()
    assert "No deployments." in qoder("report").out


# What cannot be read.

DENIED = api_error(403, "permission_error", "Not yours.")


def answered(qoder: Qoder, world: World, path: str, answer: Any) -> None:
    """Let the server answer requests for a path so, but all others as it would."""

    def lie(request: httpx.Request, true: Any) -> httpx.Response:
        if request.url.path != path or (callable(answer) and not answer(request)):
            found: httpx.Response = true()
            return found
        status, body = DENIED if callable(answer) else answer
        return httpx.Response(status, json=body)

    qoder.transport = WorldTransport(world, sleep=qoder.clock.sleep, lie=lie)


@pytest.mark.parametrize(
    ("path", "told", "lost"),
    [
        (DEPLOYMENTS, {"failed": 1}, {"did_not_happen", "next"}),
        (RUNS, {"needs_you": 1, "next": 2}, {"did_not_happen", "failed", "ran"}),
        (SESSIONS, {"needs_you": 2}, set()),
    ],
)
def test_report_says_what_it_may_not_read_and_shows_the_rest(
    qoder: Qoder, night: World, path: str, told: dict[str, int], lost: set[str]
) -> None:
    answered(qoder, night, path, DENIED)
    ran = qoder("report", "-o", "json")
    assert ran.code == 0
    named = {DEPLOYMENTS: "deployments", RUNS: "runs", SESSIONS: "credits"}[path]
    assert [each["what"] for each in ran.json["problems"]] == [named]
    assert {name: len(ran.json[name]) >= count for name, count in told.items()} == dict.fromkeys(told, True)
    missed = [each for each in ran.json["did_not_happen"] if each["kind"] == "missed"]
    assert (missed == []) == ("did_not_happen" in lost)
    assert f"warning: not seen: {named}: " in ran.err
    page, ids = qoder("report"), qoder("report", "-q")
    assert re.search(rf"{named} +not read in full: ", page.out)
    assert ("not seen: " in page.err, "not seen: " in ids.err, "None" in ids.out) == (True, True, False)


@pytest.mark.parametrize("path", [DEPLOYMENTS, RUNS, SESSIONS])
def test_report_ends_with_4_where_its_token_is_refused_on_the_way(qoder: Qoder, night: World, path: str) -> None:
    answered(qoder, night, path, api_error(401, "authentication_error", "Not valid."))
    assert qoder("report").code == 4


def test_report_goes_by_the_clock_of_the_server(qoder: Qoder, night: World) -> None:
    report = qoder("report", "-o", "json").json
    qoder.clock.time -= 86400  # this machine's is a day behind
    night.skew = 86400
    assert timeless(qoder("report", "-o", "json").json) == timeless(report)


@pytest.mark.parametrize("of", ["dep_demo", "dep_ask"])
def test_report_exit_status_is_no_0_where_a_session_could_not_be_read(qoder: Qoder, world: World, of: str) -> None:
    world.things["deployments"].pop("dep_scheduled")
    session = world.start(of, at=ago(world, 2)).session
    assert session
    answered(qoder, world, f"{SESSIONS}/{session.id}/events", DENIED)
    assert [qoder("report", *words).code for words in ([], ["--exit-status"])] == [0, 7]
    assert ("1 run may wait" in qoder("run", "list").err) == (world.generation == "legacy" and of == "dep_ask")


AT = "2027-01-14T01:00:00Z"  # 31 hours ago: a session that is gone by then was deleted
GONE = {**RUN, "created_at": AT, "triggered_at": AT}
ENDED_WELL = {**GONE, "status": "completed", "completed_at": AT}
ELSEWHERE = {"id": "drun_1", "deployment_id": "dep_2", "status": "completed", "created_at": AT}
HOURLY = {"type": "cron", "expression": "0 * * * *", "timezone": "UTC", "last_run_at": "2027-01-15T06:00:01Z"}
UNSEEN: dict[str, tuple[Any, Any, int]] = {  # the schedule, the runs listed, and the code of what was told
    "whether that is the whole list": (None, {"data": [], "has_more": "true"}, 7),
    "whether more runs follow": (None, {"data": []}, 7),
    "when its schedule fires": ({**HOURLY, "timezone": "Mars/Olympus"}, [], 7),
    "a schedule that is a text": ("0 * * * *", [], 7),
    "an item that is not a run": (None, [{"id": 7}], 7),
    "a run that the deployment names": (HOURLY, [], 7),
    "when a run was": (HOURLY, [{"id": "drun_1", "deployment_id": "dep_1", "status": "running"}], 7),
    "two runs of one id": (None, [ENDED_WELL, ENDED_WELL, {**ENDED_WELL, "session_id": "sess_2"}], 7),
    "the outcome in a deleted session": (None, [GONE], 0),
    "a deployment that ran": (None, [ELSEWHERE], 7),
}


@pytest.mark.parametrize("what", UNSEEN)
def test_report_says_neither_well_nor_0_where_it_has_not_seen(qoder: Qoder, what: str) -> None:
    schedule, runs, told = UNSEEN[what]
    serve(qoder, runs, events=api_error(404, "not_found_error", "Gone."), schedule=schedule)
    ran = [qoder("report", "--exit-status", "--since", "2d", *words) for words in ((), ("--new",), ("--new",))]
    assert [(each.code, "All is well" in each.out) for each in ran] == [(7, False), (7, False), (told, False)]
    of_one = qoder("report", "dep_1", "--exit-status", "--since", "2d")
    assert (of_one.code, "All is well" in of_one.out) == (7, False)


OLD_LIST = httpx.Response(200, json=page(), headers={"age": "60"})


@pytest.mark.parametrize(("listed", "why"), [({"data": []}, "does not say whether"), (OLD_LIST, "a proxy has kept")])
def test_report_says_neither_well_nor_0_over_a_list_of_deployments_that_may_be_longer(
    qoder: Qoder, listed: Any, why: str
) -> None:
    qoder.wire.on("GET", "/deployments", listed, repeat=True).on("GET", "/deployment_runs", page())
    ran = qoder("report", "--exit-status")
    assert (ran.code, why in ran.err) == (7, True)
    assert ("All is well" in ran.out, "No deployments." in ran.out) == (False, False)


@pytest.mark.parametrize("credits", ["0.10", "12345678901234567890.12", "1E3", "-1", None, "many"])
def test_report_adds_credits_exactly_and_says_what_is_missing(qoder: Qoder, credits: str | None) -> None:
    runs = [{**RUN, "status": "running", "id": f"drun_{n}", "session_id": f"sess_{n}"} for n in range(3)]
    rows = [f'{{"id": "sess_{n}", "usage": {{"total_credits": {json.dumps(credits)}}}}}' for n in range(2)]
    if credits and credits[0].isdigit():
        rows = [row.replace(f'"{credits}"', credits) for row in rows]  # as a number, however it is written
    serve(qoder, runs, sessions=f'{{"data": [{",".join(rows)}]}}')
    [row] = qoder("report", "-o", "json").json["ran"]
    sums = {"0.10": "0.20", "12345678901234567890.12": "24691357802469135780.24", "1E3": "2000"}
    known = credits in sums
    assert (row["credits"], row["credits_unknown"]) == (sums.get(str(credits)), 1 if known else 3)


# Each thing once.


def news(ran: Ran) -> set[str]:
    return set(re.findall(r"^[A-Z ]+$", ran.out, re.MULTILINE))


def test_report_new_tells_each_thing_once(qoder: Qoder, night: World) -> None:
    everything = {"NEEDS YOU", "DID NOT HAPPEN", "FAILED", "DID NOTHING", "CANNOT TELL"}
    assert news(qoder("report")) >= everything  # and notes nothing
    ran = qoder("report", "--new", "--exit-status")
    assert (ran.code, news(ran)) == (8, everything)
    for format in ("table", "markdown", "json", "id"):
        ran = qoder("report", "--new", "--exit-status", "-o", format)
        assert (ran.code, ran.out, ran.err) == (0, "", "")
    night.start("dep_fail", at=ago(night, 1))
    assert news(qoder("report", "--new")) == {"FAILED"}
    assert [each["failed"] for each in qoder("report", "-o", "json").json["failed"]] == [4]


def test_report_new_leaves_out_no_failure_for_the_sake_of_the_page(qoder: Qoder) -> None:
    deployments = [{"id": f"dep_{n}", "name": f"job-{n}", "status": "active", **OLD} for n in range(10, 40)]
    failed = {"status": "failed", "created_at": "2027-01-15T07:00:00Z"}
    runs = [{"id": f"drun_{n}", "deployment_id": f"dep_{n}", **failed} for n in range(10, 40)]
    qoder.wire.on("GET", "/deployments", {"data": deployments}, repeat=True)
    qoder.wire.on("GET", "/deployment_runs", {"data": runs}, repeat=True)
    assert "and 19 more: -o json has all" in qoder("report").out
    assert set(re.findall(r"^  job-(\d+) ", qoder("report", "--new").out, re.MULTILINE)) == set(map(str, range(10, 40)))


def test_report_new_warns_where_it_cannot_note_what_it_told(qoder: Qoder, night: World) -> None:
    qoder.env["QODER_STATE_DIR"] = "/dev/null/none"
    for _ in range(2):
        ran = qoder("report", "--new")
        assert (ran.code, "FAILED" in news(ran)) == (0, True)
        assert "the next --new repeats it" in ran.err


DAILY = {"type": "cron", "expression": "5 3 * * *", "timezone": "UTC"}


def fired(qoder: Qoder, *times: str) -> None:
    """Serve runs of a schedule for five past three, which name no time of it, at these times of that morning."""
    run = {"deployment_id": "dep_1", "status": "completed", "trigger_context": {"type": "schedule"}}
    ats = [f"2027-01-15T{time}Z" for time in times]
    runs = [{**run, "id": f"drun_{n}", "created_at": at, "completed_at": at} for n, at in enumerate(ats, 1)]
    serve(qoder, runs, schedule=DAILY)


def test_report_shows_a_scheduled_run_that_names_no_time_and_fits_none(qoder: Qoder) -> None:
    fired(qoder, "03:05:09", "05:00:00")
    assert "  odd  1 run outside the schedule: 05:00\n    qoder run get drun_2\n" in qoder("report").out


def test_report_judges_no_fire_before_lists_must_show_its_run_and_schedule(qoder: Qoder) -> None:
    """A run that fits none may be of a schedule that was changed, and is not shown yet."""
    fired(qoder, "03:05:09", "07:59:40")
    assert qoder("report", "--exit-status").code == 0
    later(qoder, 1 / 60)
    assert qoder("report", "--exit-status").code == 8


def at_07(time: str, kind: str, **fields: Any) -> dict[str, Any]:
    """Return an event of that morning, which also names it."""
    return {"id": f"evt_{time}", "type": kind, "processed_at": f"2027-01-15T{time}Z", **fields}


BEGAN, ENDED = at_07("07:00:02", "session.status_running"), at_07("07:09:00", "session.status_idle")
ASKS = {"type": "requires_action", "event_ids": ["evt_1"]}
SPACE = [{"type": "text", "text": " \n"}]
LEFT: dict[str, tuple[list[Any], dict[str, str]]] = {
    "no work": ([], {"did_not_happen": "not_started"}),
    "work": ([BEGAN], {}),
    "work, and an end by its status": ([BEGAN], {"did_nothing": "did_nothing"}),
    "an ask": ([at_07("07:09:00", "session.status_idle", stop_reason=ASKS)], {"needs_you": "waits"}),
    "an ending": ([BEGAN, ENDED], {"did_nothing": "did_nothing"}),
    "no text": ([BEGAN, at_07("07:05:00", "agent.message", content=SPACE), ENDED], {"did_nothing": "did_nothing"}),
    "a file": ([BEGAN, at_07("07:05:00", "agent.artifact_delivered"), ENDED], {}),
    "a call of before": ([at_07("06:00:00", "agent.tool_use"), BEGAN, ENDED], {"did_nothing": "did_nothing"}),
    "a call of afterwards": ([BEGAN, ENDED, at_07("07:20:00", "agent.tool_use")], {"did_nothing": "did_nothing"}),
    "rows that are no events": ([5, BEGAN, None, ENDED], {"did_nothing": "did_nothing"}),
}


@pytest.mark.parametrize("name", LEFT)
def test_report_tells_whether_a_run_began_and_what_it_left(qoder: Qoder, name: str) -> None:
    events, items = LEFT[name]
    serve(qoder, [RUN | ({"status": "completed"} if "its status" in name else {})])
    qoder.wire.on("GET", "/sessions/sess_1/events", {"data": events})
    report = qoder("report", "-o", "json").json
    assert {section: each["kind"] for section in SECTIONS for each in report[section]} == items


# A report that remembers.


def later(qoder: Qoder, hours: float) -> None:
    qoder.clock.time += hours * HOUR


def keys(ran: Ran) -> list[str]:
    """Return what a report told, as kinds with runs or deployments."""
    if not ran.out:
        return []
    found = [each for name in (*SECTIONS, "paused") for each in ran.json[name]]
    return sorted(f"{each['kind']} {each.get('run') or each['deployment_name'] or each['what']}" for each in found)


@pytest.fixture
def quiet(world: World) -> World:
    """Return a server on which nothing has happened so far."""
    world.things["deployments"].pop("dep_scheduled")
    return world


NEW = ("report", "--new", "-o", "json")


def test_report_knows_of_a_run_that_lasted_long_whatever_it_covers(qoder: Qoder, quiet: World) -> None:
    """It was created before the look back, and had ended before the last report."""
    quiet.things["deployments"].pop("dep_demo", None)
    for _ in range(120):  # more than what is read of older runs in one page
        quiet.start("dep_nostart", at=ago(quiet, 200))
    run = quiet.start("dep_ask", at=ago(quiet, 1))
    assert keys(qoder("report", "-o", "json"))[-1:] == [f"waits {run.id}"]
    later(qoder, 90)
    assert qoder("run", "cancel", run.id, "--yes").code == 0
    for hours, since in ((1, "2h"), (30, "1d"), (0, "3d")):
        later(qoder, hours)
        told = keys(qoder("report", "--since", since, "-o", "json"))
        assert told == ([] if since == "1d" else [f"failed {run.id}"])


@pytest.mark.parametrize("words", [(), ("--new",)])
def test_report_calls_nothing_well_where_a_run_is_read_again_and_is_another(qoder: Qoder, words: Any) -> None:
    going = {**RUN, "status": "running"}
    serve(qoder, [going], events={"data": [BEGAN]})
    assert qoder("report", *words, "--exit-status").code == 0
    for shown in ({**going, "id": "drun_2", "status": "completed"}, {**going, "deployment_id": None}):
        serve(qoder, [])
        qoder.wire.on("GET", "/deployment_runs/drun_1", shown)
        ran = qoder("report", *words, "--exit-status")
        assert (ran.code, "All is well" in ran.out) == (7, False)
        assert "1 run that had not ended could not be read again" in ran.err
    serve(qoder, [])
    qoder.wire.on("GET", "/deployment_runs/drun_1", {**going, "status": "failed", "completed_at": AT})
    assert "FAILED" in news(qoder("report", *words))  # it is asked for until it can be read


def test_report_new_has_a_memory_for_each_reader_and_each_choice_of_deployments(qoder: Qoder, quiet: World) -> None:
    run = quiet.start("dep_fail", at=ago(quiet, 2))
    for words in ((), ("--reader", "team"), ("--reader", "boss"), ("dep_fail",), ("dep_fail", "--reader", "team")):
        assert keys(qoder(*NEW, *words)) == [f"failed {run.id}"]
        assert keys(qoder(*NEW, *words)) == []
    assert keys(qoder(*NEW, "fail")) == []  # by its name it is the same
    assert "News for team of" in qoder("report", "--new", "--reader", "team ", "dep_demo", "dep_fail").out
    qoder.env["QODER_STATE_DIR"] += "2"  # a machine that was never asked, or has lost what it remembered
    ran = qoder("report", "--new")
    assert " ".join(ran.out.split()).startswith("News of 2027-01-14 08:00 to 2027-01-15 08:00 UTC: 18 deployments")
    assert "(the first report: nothing earlier is included)" in " ".join(ran.out.split())


def test_report_new_tells_what_it_could_not_read_however_long_ago_that_was(qoder: Qoder, quiet: World) -> None:
    assert keys(qoder(*NEW)) == []
    run, readable = quiet.start("dep_fail", at=quiet.now()), qoder.transport
    later(qoder, 100)
    answered(qoder, quiet, RUNS, DENIED)
    assert "failed" not in str(keys(qoder(*NEW)))
    qoder.transport = readable
    assert keys(qoder(*NEW)) == [f"failed {run.id}"]


@pytest.mark.parametrize(("after", "is_quiet"), [(0, False), (20, True)])
def test_report_new_of_one_reader_takes_turns(qoder: Qoder, quiet: World, after: float, is_quiet: bool) -> None:
    """Two mails under one name at once: the second waits, says so, and tells what is left."""
    quiet.start("dep_fail", at=ago(quiet, 2))
    runs: list[Ran] = []

    def again() -> None:
        if qoder.clock.monotonic() < began + after:
            return
        qoder.clock.at_sleep = lambda: None
        held.let_go(f"report {memory}", host="api.qoder.com")
        runs.append(qoder(*NEW))

    settings = resolve(Flags(), qoder.env)
    held = Store(qoder.env, warn=lambda what: None)
    memory = ReportMemory(held, settings, "", []).name
    assert held.hold(f"report {memory}", host="api.qoder.com")
    began, qoder.clock.at_sleep = qoder.clock.monotonic(), again
    second = qoder(*NEW, *["--no-progress"] * is_quiet)
    waits = "another command of this machine makes a report for this reader; waiting for it"
    assert second.err.count(waits) == 1
    assert (f"warning: {waits}, however long it takes; see whether it hangs" in second.err) == is_quiet
    assert [len(keys(ran)) for ran in (*runs, second)] == [1, 0]


@pytest.mark.parametrize("hours", [48, 24 * 400])
def test_report_new_loses_nothing_where_a_clock_was_ahead(qoder: Qoder, quiet: World, hours: int) -> None:
    first = quiet.start("dep_fail", at=ago(quiet, 2))
    assert keys(qoder(*NEW)) == [f"failed {first.id}"]
    quiet.skew = hours * HOUR
    assert keys(qoder(*NEW)) == []
    quiet.skew = 0
    second = quiet.start("dep_fail", at=quiet.now() - 300)
    later(qoder, 0.5)
    assert keys(qoder(*NEW)) == [f"failed {second.id}"]
    assert keys(qoder(*NEW)) == []


@pytest.mark.parametrize("damage", ["ended = -1e300", "began = 9e999", "began = 'x'"])
def test_report_new_begins_anew_where_its_memory_is_damaged(qoder: Qoder, quiet: World, damage: str) -> None:
    quiet.start("dep_fail", at=ago(quiet, 2))
    qoder(*NEW)
    with closing(sqlite3.connect(Path(qoder.env["QODER_STATE_DIR"]) / "state.db")) as connection, connection:
        connection.execute(f"UPDATE memories SET {damage}")
    ran = qoder(*NEW)
    assert (ran.code, keys(ran)) == (0, [])


def test_report_shows_a_schedule_that_was_paused_by_hand_and_calls_nothing_well(qoder: Qoder, quiet: World) -> None:
    for name, schedule in (("held", DAILY), ("manual", None)):
        paused = quiet.add_deployment(at=ago(quiet, 99), name=name, schedule=schedule)
        paused.change(ago(quiet, 50), status="paused", paused_reason={"type": "manual"})
    ran = qoder("report", "--exit-status")
    assert (ran.code, "All is well" in ran.out) == (0, False)
    [line] = [line for line in ran.out.splitlines() if "by hand" in line]
    assert line == "  held  paused by hand since 01-13 06:00"
    assert "    qoder deploy unpause " in ran.out


@pytest.mark.parametrize("reason", ["agent_archived_error", {"error": {"type": "agent_archived_error"}}])
def test_report_takes_a_deployment_for_paused_by_an_error_however_its_reason_is_told(qoder: Qoder, reason: Any) -> None:
    serve(qoder, [], schedule=None, status="paused", paused_reason=reason)
    ran = qoder("report", "--exit-status")
    assert (ran.code, "its agent is archived (agent_archived_error)" in ran.out) == (8, True)


def test_report_exits_7_where_a_deployment_does_not_say_why_it_is_paused(qoder: Qoder) -> None:
    serve(qoder, [], schedule=None, status="paused")
    ran = qoder("report", "--exit-status")
    assert (ran.code, "paused; the server does not say why" in ran.out) == (7, True)


def test_report_new_tells_that_a_run_came_of_a_fire_that_it_had_called_missed(qoder: Qoder, quiet: World) -> None:
    id = hourly(quiet, "rare", hour="7")
    assert keys(qoder(*NEW)) == ["missed rare"]
    late = fire(quiet, id, 1, late=3000.0)
    later(qoder, 0.5)
    [told] = qoder(*NEW).json["did_not_happen"]
    assert (told["kind"], told["run"], told["was_missed"]) == ("late", late, True)
    page = qoder("report", "--new", "--reader", "other").out
    assert "late by 50m 00s: due 07:05" in page
    assert "reported as missed before" not in page


def test_report_tells_of_an_end_a_minute_after_it_and_calls_nothing_well_meanwhile(qoder: Qoder, quiet: World) -> None:
    fails = Behaviour(turn(seconds=5, reason="retries_exhausted"))
    run = quiet.start(quiet.add_deployment(at=ago(quiet, 99), name="fails", behaviour=fails), at=quiet.now() - 20)
    report = qoder("report", "-o", "json").json
    assert (report["failed"], report["not_decided"], report["verdict"]) == ([], 1, None)
    assert "1 run; 1 not decided yet" in " ".join(qoder("report").out.split())
    assert [qoder("report", "--exit-status", *words).code for words in ([], ["--until", "1m"], ["--new"])] == [8, 0, 0]
    since = report["until"]
    later(qoder, 0.1)
    assert keys(qoder("report", "--since", since, "-o", "json")) == [f"failed {run.id}"]
    assert keys(qoder("report", "--until", since, "-o", "json")) == []


def test_report_asks_so_many_sessions_and_says_what_is_left(
    qoder: Qoder, quiet: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    if quiet.generation == "legacy":
        pytest.skip("its lists say how runs ended")
    monkeypatch.setattr("qoder_cli.history.nights.MOST_ASKED", 3)
    runs = [quiet.start("dep_fail", at=ago(quiet, hours)).id for hours in range(8, 0, -1)]
    ran = qoder(*NEW, "--exit-status")
    assert ran.json["failed"][0]["run_ids"] == runs[:-4:-1]
    assert ran.json["problems"][0]["message"].startswith("5 sessions were not asked, as they are more than 3")
    assert ran.code == 8
    assert qoder(*NEW).json["failed"][0]["run_ids"] == runs[-4:-7:-1]
    assert sorted(qoder(*NEW, "--all").json["failed"][0]["run_ids"]) == sorted(runs[:2])
    assert keys(qoder(*NEW)) == []
    qoder.env["QODER_STATE_DIR"] += "2"
    assert qoder("report", "--since", "30m", "--exit-status").code == 7


def test_report_says_once_which_older_runs_it_has_not_looked_at(
    qoder: Qoder, quiet: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qoder_cli.history.nights._FEWEST", 2)
    old = quiet.start("dep_ask", at=ago(quiet, 24 * 9))
    for n in range(120):
        quiet.start("dep_demo", at=ago(quiet, 100 + n / 60))
    ran = qoder("report", "--exit-status", "-o", "json")
    assert (ran.code, ran.json["verdict"], ran.json["problems"][0]["what"]) == (7, None, "older runs")
    assert f"waits {old.id}" in keys(qoder("report", "--all", "-o", "json"))
    again = qoder("report", "--exit-status", "-o", "json")  # this machine knows it by now
    assert (again.code, keys(again)) == (8, [f"waits {old.id}"])
    monkeypatch.undo()
    qoder.env["QODER_STATE_DIR"] += "2"  # on another, few sessions are asked anyway
    assert keys(qoder("report", "-o", "json")) == [f"waits {old.id}"]


def test_report_of_two_looks_at_older_runs_of_both(qoder: Qoder, quiet: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qoder_cli.history.nights._FEWEST", 104)
    for n in range(110):
        quiet.start("dep_demo", at=ago(quiet, 56 + n / 60))
    waiting = quiet.start("dep_ask", at=ago(quiet, 55))  # on the second page of its list
    quiet.deployments["dep_ask"].behaviour = Behaviour(turn(seconds=3))
    for n in (260, *range(99, 0, -1)):
        quiet.start("dep_ask", at=ago(quiet, n / 5))
    assert keys(qoder("report", "dep_demo", "dep_ask", "-o", "json"))[-1:] == [f"waits {waiting.id}"]


def test_report_calls_a_credential_refused_until_a_run_goes_well(qoder: Qoder) -> None:
    refused = {"type": "mcp_authentication_failed_error", "message": "Token expired."}
    runs = [
        {"id": f"drun_{hour}", "deployment_id": "dep_1", "session_id": f"sess_{hour}", "status": "failed"}
        | {"created_at": f"2027-01-15T0{hour}:00:00Z", "completed_at": f"2027-01-15T0{hour}:01:00Z", "error": refused}
        for hour in (5, 4)
    ]
    serve(qoder, runs, vault_ids=["vault_1"])
    [told] = qoder("report", "-o", "json").json["needs_you"]
    assert (told["kind"], told["run"], told["next"][1:]) == ("credential", "drun_5", ["vault", "check", "vault_1"])
    well = {**runs[0], "id": "drun_6", "status": "completed", "error": None, "created_at": "2027-01-15T06:00:00Z"}
    well["completed_at"] = "2027-01-15T06:01:00Z"
    serve(qoder, [well, *runs], vault_ids=["vault_1"])
    qoder.wire.may("GET", "/sessions/*/events", {"data": []})
    assert qoder("report", "-o", "json").json["needs_you"] == []
