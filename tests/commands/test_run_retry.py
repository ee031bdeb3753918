"""`qoder run retry`: a run's deployment is started once more, once for each run, whoever asks."""

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from qoder_cli.base.model import Deployment, Run
from qoder_cli.commands.run.retry import differences
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder
from tests.support.hasty import HastyClock
from tests.support.inprocess import WithoutStreams, at_version
from tests.support.lies import Lies
from tests.support.machines import Machines
from tests.support.one_run import DONE, RUN
from tests.support.wire import api_error, page


class Place:
    """A world in which runs have ended, and a machine in it."""

    def __init__(self, qoder: Qoder, generation: Generation = "current") -> None:
        self.qoder = qoder
        self.clock = HastyClock(100.0)  # those of several are started by threads
        qoder.clock = self.clock
        self.world = World(generation=generation, token=TOKEN, clock=qoder.clock.now, honour_key=False)
        self.lie: Callable[[httpx.Request], httpx.Response | None] = lambda request: None
        self.use()

    def wait(self, seconds: float) -> None:
        self.clock.skip(seconds)

    def use(self, *faults: str) -> None:
        def lie(request: httpx.Request, answer: Callable[[], httpx.Response]) -> httpx.Response:
            return self.lie(request) or answer()

        sleep = self.qoder.clock.sleep
        self.qoder.transport = WithoutStreams(self.world, faults=Lies(*faults), sleep=sleep, lie=lie)

    def ended(self, deployment: str, *, hours: float = 1.0) -> str:
        """Return the id of a run that began so long ago."""
        with self.world.lock:
            return self.world.start(deployment, origin="seed", at=self.world.now() - 3600 * hours).id

    @property
    def started(self) -> list[str]:
        return [run.id for run in self.world.started()]


@pytest.fixture(params=GENERATIONS)
def place(request: pytest.FixtureRequest, qoder: Qoder) -> Place:
    return Place(qoder, request.param)


@pytest.fixture
def current(qoder: Qoder) -> Place:
    return Place(qoder)


UNREADABLE = {"type": "unreadable_stop_reason", "message": "It cannot be read."}
# The deployment, whether --again is given, the exit code, and what the error says.
MAY_BE = {
    "failed": ("dep_fail", False, 0, "starting dep_fail once more, for drun_"),
    "never started": ("dep_nostart", False, 1, "did not start"),
    "completed": ("dep_demo", False, 6, "completed; nothing was started"),
    "completed, --again": ("dep_demo", True, 0, ""),
    "waits": ("dep_ask", True, 6, "nothing was started"),
    "running": ("dep_minute", True, 6, "is still running; nothing was started"),
}


@pytest.mark.parametrize("case", MAY_BE)
def test_run_retry_starts_only_what_is_over(place: Place, case: str) -> None:
    deployment, again, code, says = MAY_BE[case]
    old = place.ended(deployment, hours=0.0 if case == "running" else 0.05)
    place.wait(60 if case == "waits" else 0)
    ran = place.qoder("run", "retry", old, *["--again"] * again, "--json")
    assert (ran.code, len(place.started)) == (code, 0 if code == 6 else 1)
    assert says in ran.err
    assert ("waits for an answer;" in ran.err) == (case == "waits" and place.world.generation == "current")
    if code == 6:
        assert (ran.out, ran.error["run_state"]) == ("", "none")
    else:
        assert (ran.json["id"], ran.json["retry_of"]) == (place.started[0], old)


# How a run ended, of which nobody knows what that means.
ODD = {"status": "succeeded", "completed_at": "2027-01-15T07:30:00Z"}


# What a run says, and why it is not started once more; whether --again would.
REFUSED: dict[str, tuple[dict[str, Any], str, bool]] = {
    "no reason": ({"status": "failed", "error": UNREADABLE}, "run drun_1 may not have failed: its s", True),
    "no known status": (ODD, "run drun_1 may not have failed: its s", True),
    **{
        f"{status}, of no deployment": (
            {"status": status, "deployment_id": None},
            "does not name its deployment",
            False,
        )
        for status in ("completed", "failed")
    },
}


@pytest.mark.parametrize("what", REFUSED)
def test_run_retry_refuses_a_run_that_need_not_have_failed_or_names_no_deployment(qoder: Qoder, what: str) -> None:
    run, said, may_be_again = REFUSED[what]
    qoder.wire.on(*RUN, {**DONE, **run})
    ran = qoder("run", "retry", "drun_1", *["--again"] * (not may_be_again), "--json")
    assert (ran.code, ran.out, ran.error["run_state"], said in ran.error["message"]) == (6, "", "none", True)
    assert not may_be_again or ran.error["next"][2:5] == ["retry", "drun_1", "--again"]


def test_run_retry_refuses_a_run_of_which_nobody_knows_how_it_ended(current: Place) -> None:
    old = current.ended("dep_fail")
    session = current.qoder("run", "get", old, "--json").json["session_id"]
    assert current.qoder("session", "delete", session, "--yes").code == 0
    ran = current.qoder("run", "retry", old, "--json")
    assert (ran.code, current.started) == (6, [])
    assert "outcome" in ran.error["message"]


def test_run_retry_of_one_run_starts_one_however_often_it_is_asked_for(place: Place) -> None:
    old = place.ended("dep_demo")
    place.use("trigger:drop-after")
    first = place.qoder("run", "retry", old, "--again", "--json")
    assert (first.code, first.json["adopted"], first.json["retry_of"]) == (0, True, old)
    again = place.qoder("run", "retry", old, "--again", "--wait", "--json")
    assert (again.code, again.json["id"], again.json["retry_of"]) == (0, first.json["id"], old)
    assert "nothing was sent" in again.err
    assert place.started == [first.json["id"]]
    listed = place.qoder("run", "list", "dep_demo", "--json").json
    assert {row["id"]: row.get("retry_of") for row in listed} == {old: None, first.json["id"]: old}


def test_run_retry_exits_9_where_no_run_shows_and_names_the_command_that_repeats_it(current: Place) -> None:
    old = current.ended("dep_fail")
    current.use("trigger:drop-before")
    ran = current.qoder("run", "retry", old, "--wait", "--json")
    assert (ran.code, ran.error["run_state"]) == (9, "unknown")
    assert ran.error["next"] == ["qoder", "run", "retry", old, "--wait", "-o", "json"]
    assert current.started == []


def test_run_retry_on_two_machines_with_a_shared_store_starts_one(shared: Machines) -> None:
    with shared.world.lock:
        old = shared.world.start("dep_fail", origin="seed", at=shared.clock.time - 3600).id
    ran = [shared.machine(name)("run", "retry", old, "--json") for name in ("a", "b")]
    shared.clock.time += 3600
    ran.append(shared.machine("c")("run", "retry", old, "--json"))  # that run has failed, too
    assert [each.code for each in ran] == [0, 0, 1]
    assert [each.json["id"] for each in ran] == shared.runs[-1:] * 3
    assert [each.json["retry_of"] for each in ran] == [old] * 3
    assert shared.triggers == 1


def test_run_retry_of_several_is_asked_about_and_has_an_item_each(place: Place) -> None:
    failed, completed, lost = place.ended("dep_fail"), place.ended("dep_demo"), place.ended("dep_nostart")
    typed = (failed, completed, "drun_unknown", lost)
    asks = place.qoder("run", "retry", *typed, "--json")
    assert (asks.code, place.started) == (2, [])
    ran = place.qoder("run", "retry", *typed, "--yes", "--json")
    assert [item["input"] for item in ran.json] == list(typed)
    assert [item["exit_code"] for item in ran.json] == [0, 6, 5, 1]
    assert [item.get("retry_of") for item in ran.json] == [failed, None, None, lost]
    assert (ran.code, len(place.started)) == (6, 2)
    twice = place.qoder("run", "retry", failed, failed, "--yes")
    assert (twice.code, len(place.started)) == (2, 2)
    others = (place.ended("dep_nostart"), place.ended("dep_fail"))
    ran = place.qoder("run", "retry", *others, "--yes", "--parallel", "1", "--fail-fast", "--json")
    assert ([item["exit_code"] for item in ran.json], len(place.started)) == ([1, None], 3)


def test_run_retry_all_failed_retries_each_failed_run_once(place: Place) -> None:
    failed = [place.ended("dep_fail", hours=hours) for hours in (30, 3, 2)]
    words = ("run", "retry", "--all-failed", "dep_fail", "--since", "1d", "--json")
    for since in ("1d", "150m"):  # of two, and of one
        assert (place.qoder(*words, "--since", since).code, place.started) == (2, [])
    ran = place.qoder(*words, "--yes")
    assert [item["retry_of"] for item in ran.json] == failed[1:]
    assert len(place.started) == 2
    place.wait(60)  # they fail, too
    again = place.qoder(*words, "--yes")
    assert (again.code, again.json, len(place.started)) == (0, [], 2)
    assert "ignored 4 that were retried before, or are retries themselves" in again.err


def test_run_retry_all_failed_leaves_alone_what_somebody_cancelled(place: Place) -> None:
    failed = place.ended("dep_fail")
    cancelled = place.qoder("deploy", "run", "dep_minute", "-q").out.strip()
    assert place.qoder("run", "cancel", cancelled, "--yes").code == 0
    words = ("run", "retry", "--all-failed", "--all", "--since", "1d", "--yes", "--json")
    ran = place.qoder(*words)
    assert [item["retry_of"] for item in ran.json] == [failed]
    assert f"skipped 1 run that somebody cancelled: {cancelled}; to retry one: qoder run retry {cancelled}" in ran.err
    assert place.qoder("run", "retry", cancelled, "--json").json["retry_of"] == cancelled
    assert "cancelled" not in place.qoder(*words).err  # it was retried by its name


@pytest.mark.parametrize("sets_it", ["cancelled", "canceled"])
def test_run_retry_all_failed_names_a_few_of_the_runs_that_it_skips(qoder: Qoder, sets_it: str) -> None:
    runs = [failed(f"drun_{n}", f"2027-01-15T07:0{n}:00Z", error={"type": sets_it}) for n in range(7)]
    qoder.wire.on("GET", "/deployment_runs", page(*runs))
    ran = qoder("run", "retry", "--all-failed", "--all", "--since", "1d", "--yes", "--json")
    assert (ran.code, ran.json) == (0, [])
    assert "skipped 7 runs that somebody cancelled: drun_6, drun_5, drun_4, drun_3, drun_2 and more; to" in ran.err


def failed(id: str, at: str | None = "2027-01-15T07:00:00Z", **more: Any) -> dict[str, Any]:
    return {**DONE, "id": id, "status": "failed", "created_at": at, "triggered_at": at, **more}


CUT = [page(failed("drun_5"), more=True), api_error(403, "permission_error", "No.")]
# What is typed, the pages of the list, and the runs with their exit codes; None: nothing can be judged.
LISTED: dict[str, tuple[str, list[Any], dict[str, int] | None]] = {
    "an older one": ("dep_1", [page(failed("drun_5"), failed("drun_2", "2027-01-12T07:00:00Z"))], {"drun_5": 0}),
    "one at no time": ("--all", [page(failed("drun_5"), failed("drun_6", None))], {"drun_5": 0, "drun_6": 7}),
    "one for an unreadable reason": ("--all", [page(failed("drun_5", error=UNREADABLE))], {"drun_5": 7}),
    "one of an unknown status": ("--all", [page({**failed("drun_5"), **ODD})], {"drun_5": 7}),
    "cut": ("dep_1", CUT, {"drun_5": 0, "dep_1": 7}),
    "cut, of all": ("--all", CUT, {"drun_5": 0, "all deployments": 7}),
    "of another deployment": ("dep_1", [page(failed("drun_9", deployment_id="dep_2"))], None),
    "no boolean": ("dep_1", [{"data": [], "has_more": "maybe"}], None),
    "not said": ("dep_1", [{"data": []}], None),
}


@pytest.mark.parametrize("case", LISTED)
def test_run_retry_all_failed_starts_what_a_list_tells(qoder: Qoder, case: str) -> None:
    typed, pages, items = LISTED[case]
    path = "/deployment_runs" if typed == "--all" else "/deployments/dep_1/runs"
    qoder.wire.on("GET", path, *pages).may("GET", "/deployments/dep_1", NOW)
    ran = qoder("run", "retry", "--all-failed", typed, "--since", "1d", "--dry-run", "--json")
    told = {item["input"]: item["exit_code"] for item in ran.json} if ran.out else None
    assert told == items
    assert ran.code == (7 if items is None else max(items.values()))


@pytest.mark.parametrize(("typed", "hinted"), [("dep_fial", True), ("--all", False)])
def test_run_retry_all_failed_says_what_is_not_there(current: Place, typed: str, hinted: bool) -> None:
    current.lie = lambda request: (
        httpx.Response(404, json={"error": {"type": "not_found_error", "message": "Nothing."}})
        if request.url.path.endswith("runs")
        else None
    )
    ran = current.qoder("run", "retry", "--all-failed", typed, "--since", "1d", "--json")
    assert (ran.code, "dep_fail" in ran.error["hint"]) == (5, hinted), ran.err


@pytest.mark.parametrize("hours", [-48, 48])
def test_run_retry_all_failed_counts_an_age_by_the_servers_clock(current: Place, hours: int) -> None:
    current.world.skew = hours * 3600
    failed, _ = current.ended("dep_fail"), current.ended("dep_fail", hours=30)
    ran = current.qoder("run", "retry", "--all-failed", "dep_fail", "--since", "1d", "--dry-run", "--json")
    assert ([item["input"] for item in ran.json], ran.err.count("failed since")) == ([failed], 1)


def test_run_retry_all_failed_says_how_many_runs_it_could_not_judge(current: Place) -> None:
    failed = current.ended("dep_fail")
    current.lie = lambda request: httpx.Response(403, json={}) if "/sessions/" in request.url.path else None
    ran = current.qoder("run", "retry", "--all-failed", "dep_fail", "--since", "1d", "--yes", "--json")
    [item] = ran.json
    assert (ran.code, item["input"], item["exit_code"], current.started) == (7, failed, 7, [])
    assert f"how run {failed} ended is unknown: its session could not be read; nothing was started" in ran.err


def test_run_retry_all_failed_of_several_starts_what_it_can_judge(place: Place) -> None:
    failed, hidden, other = place.ended("dep_fail"), place.ended("dep_demo"), place.ended("dep_fail", hours=2)
    place.ended("dep_nostart", hours=30)
    place.lie = lambda request: (
        httpx.Response(503, json={"error": {"type": "api_error"}})
        if request.url.path.endswith("dep_demo/runs")
        else None
    )
    words = ("run", "retry", "--all-failed", "--since", "1d", "--yes", "--json")
    ran = place.qoder(*words, "dep_fail", "nostart", "demo")
    assert [(item["input"], item["exit_code"]) for item in ran.json] == [(other, 0), (failed, 0), ("dep_demo", 7)]
    assert (ran.code, len(place.started)) == (7, 2)
    place.lie = lambda request: None
    place.wait(60)  # both fail, too
    ran = place.qoder(*words, "--all")
    assert [item["input"] for item in ran.json] == []
    assert (ran.code, hidden in ran.err, len(place.started)) == (0, False, 2)
    assert "4 runs failed since" in ran.err
    assert "ignored 4 that were retried before, or are retries themselves" in ran.err


NOW = {"id": "dep_1", "agent": {"id": "agent_1", "version": 2}, "updated_at": "2026-06-14T09:00:00Z"}
FIRED: dict[str, Any] = {"trigger_context": {"type": "schedule", "scheduled_at": "2026-06-14T08:00:00Z"}}
DIFFERENCES: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({}, {}, []),
    ({"agent": {"id": "agent_1", "version": 1}}, {}, ["agent 1 → 2"]),
    ({"agent": {"id": "agent_0", "version": 2}}, {}, ["agent agent_0 → agent_1"]),
    ({"agent": {"version": 1}}, {}, []),
    ({"agent": {"id": "agent_1", "version": 1}}, {"agent": {"version": 2}}, []),
    *(
        (FIRED, {"schedule": schedule}, found)
        for schedule, found in (
            ({"expression": "*/2 * * * *", "timezone": "UTC"}, []),
            ({"expression": "0 10 * * *", "timezone": "Europe/Berlin"}, []),
            ({"expression": "0 9 * * *", "timezone": "UTC"}, ["schedule changed"]),
            ({"expression": None, "timezone": "UTC"}, []),  # what cannot be read cannot be compared
            ({"expression": "0 9 * * *", "timezone": None}, []),
            (None, ["schedule removed"]),
        )
    ),
    (
        {"trigger_context": {"scheduled_at": "2026-06-14T08:00:30Z"}},
        {"schedule": {"expression": "0 8 * * *", "timezone": "UTC"}},
        [],
    ),
    ({"triggered_at": "2026-06-14T08:59:59Z"}, {"environment_id": "e"}, ["deployment updated at 2026-06-14T09:00:00Z"]),
    ({"triggered_at": "2026-06-14T09:00:00Z"}, {}, []),
    ({"triggered_at": "2026-06-14T08:00:00Z"}, {"updated_at": None}, []),
]


@pytest.mark.parametrize(("run", "deployment", "found"), DIFFERENCES)
def test_run_retry_compares_a_run_and_its_deployment(
    run: dict[str, Any], deployment: dict[str, Any], found: list[str]
) -> None:
    then = Run({"id": "drun_1", "agent": NOW["agent"], "session_id": None, **run})
    assert differences(then, Deployment({**NOW, **deployment})) == found


def test_run_retry_says_what_is_different_from_then_and_sends_nothing_before(current: Place, questions: Any) -> None:
    world, old = current.world, current.ended("dep_fail")
    at_version(world, "agent_fail", 2)
    assert current.qoder("deploy", "update", "dep_fail", "--agent", "agent_fail").code == 0
    before = len(world.requests)
    ran = current.qoder("run", "retry", old, "--dry-run", "--json")
    assert re.search(r"different from then \(dep_fail\): agent 1 → 2, deployment updated at \S+\n", ran.err)
    assert (ran.json["idempotency_key"], ran.json["deployment"]) == (f"retry-{old}", "dep_fail")
    questions(False)
    asked = current.qoder("run", "retry", "--all-failed", "dep_fail", "--since", "1d", "--no-progress")
    assert "different from then (dep_fail): agent 1 → 2" in asked.err
    assert {seen.method for seen in list(world.requests)[before:]} == {"GET"}
    current.lie = lambda request: httpx.Response(403, json={}) if request.url.path.endswith("/dep_fail") else None
    assert "unknown what is different now: " in current.qoder("run", "retry", old).err
