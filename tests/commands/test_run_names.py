"""Naming deployments and runs: by id, by name, by `last`, by the beginning of an id; and what can name none."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.app import App
from qoder_cli.local.store import Store
from qoder_cli.sandbox.world import World
from tests.conftest import Qoder
from tests.support.inprocess import seed_runs
from tests.support.one_run import CURRENT, DEPLOYMENTS, DONE, EVENTS, LEGACY, RUN, SESSION, TRIGGER, WORK, deployment
from tests.support.result import END, says
from tests.support.stored import entries_in
from tests.support.wire import GONE, api_error, page

RUNS_OF_1 = ("GET", "/deployments/dep_1/runs")
HOUR = 3600.0


# Deployments.

NAMES = ["a name, with spaces", "日本語", "50%/day?", "dep", "-x", "last", "x dep_demo"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.few(4)
def test_deploy_get_takes_an_exact_name_wherever_it_is(qoder: Qoder, world: World, tmp_path: Path, name: str) -> None:
    made = world.add_deployment(name=name, at=world.now() - 365 * 24 * HOUR)
    world.seed_deployments(120)
    assert qoder("deploy", "get", "-q", "--", name).out == f"{made.id}\n"
    assert {seen.method for seen in world.requests} == {"GET"}
    assert entries_in(tmp_path / "state") == []


def test_deploy_get_lists_the_deployments_of_one_name_but_archived_ones(qoder: Qoder) -> None:
    old = deployment(4, "twin", archived_at="2026-06-14T08:54:06Z")
    pages = [page(deployment(1, "twin"), old, more=True), page(deployment(2, "twin"), deployment(3, "other"))]
    qoder.wire.on(*DEPLOYMENTS, *pages)
    ran = qoder("deploy", "get", "twin", "--json")
    assert (ran.code, ran.out) == (2, "")
    assert ran.error["message"] == "2 deployments are named 'twin': dep_1, dep_2"
    qoder.wire.on(*DEPLOYMENTS, page(old), page(old, deployment(2, "twin")))
    assert qoder("deploy", "get", "twin").code == 5
    qoder.wire.on("GET", "/deployments/dep_2", deployment(2, "twin"))
    assert qoder("deploy", "get", "twin", "-q").out == "dep_2\n"


def test_deploy_run_takes_a_name_from_no_list_that_a_proxy_has_kept(qoder: Qoder) -> None:
    qoder.wire.on(*DEPLOYMENTS, httpx.Response(200, json=page(deployment(1, "x")), headers={"age": "60"}), repeat=True)
    assert qoder("deploy", "run", "x").code == 7


NEAR = {
    **dict.fromkeys(["nightly-reprot", "Nightly-Report", "nightly"], "'nightly-report' (dep_scheduled)"),
    "sikp": "'skip' (dep_skip)",
    "dep_demmo": "'demo' (dep_demo)",
    "dep_nightly-report": "'nightly-report' (dep_scheduled)",
    "dep_demoo@last": "'demo' (dep_demo)",
    "quux-quux-quux": None,
}


@pytest.mark.parametrize("command", ["deploy get", "run list"])
@pytest.mark.parametrize("typed", NEAR)
@pytest.mark.few(10)
def test_deploy_get_and_run_list_suggest_the_nearest_name(qoder: Qoder, world: World, command: str, typed: str) -> None:
    ran = qoder(*("run get" if "@" in typed else command).split(), typed, "--json")
    assert (ran.code, ran.out) == (5, "")
    if near := NEAR[typed]:
        assert f"did you mean {near}" in ran.error["hint"]
    else:
        assert ran.error["message"] == f"no deployment is named {typed!r}"
        assert ran.error["next"][:3] == ["qoder", "deploy", "list"]
    assert "default" in ran.error["hint"]  # the profile


@pytest.mark.parametrize("answer", [(503, ""), api_error(403, "permission_error", "No."), "<html>", {"items": []}])
def test_deploy_get_says_the_same_where_no_suggestion_can_be_had(qoder: Qoder, answer: Any) -> None:
    qoder.wire.on("GET", "/deployments/dep_1", GONE).on(*DEPLOYMENTS, answer)
    ran = qoder("deploy", "get", "dep_1", "--json")
    assert (ran.code, ran.error["message"]) == (5, "deployment dep_1: HTTP 404 from api.qoder.com: No such thing.")
    assert ran.error["hint"] == "check the id and the profile (default)"


# Runs.


@pytest.mark.parametrize("typed", ["dep_scheduled@last", "nightly-report@last", "odd@last@last"])
def test_run_get_of_a_deployment_at_last_is_the_newest_of_anybody(qoder: Qoder, world: World, typed: str) -> None:
    named = world.add_deployment(name="odd@last") if "odd" in typed else world.deployments["dep_scheduled"]
    world.start(named, at=world.now() - HOUR)
    newest = world.start(named, trigger="schedule", at=world.now() - 60)
    world.start("dep_demo")
    assert qoder("run", "get", typed, "-q").out == f"{newest.id}\n"
    assert [seen.query for seen in world.requests if seen.path.endswith("/runs")] == ["limit=20"]


LATER = {**CURRENT, "id": "drun_7", "created_at": "2026-06-14T09:54:06Z"}
ANSWERS: dict[str, tuple[Any, int, str]] = {
    "no runs": (page(), 5, "dep_1 has no runs yet"),
    "none, perhaps": ({"data": []}, 7, "does not say whether it is complete"),
    "another deployment's": (page({**LEGACY, "deployment_id": "dep_2"}), 7, "another deployment"),
    "kept": (httpx.Response(200, json=page(CURRENT), headers={"age": "60"}), 7, "kept"),
    "one at no time": (page(CURRENT, LATER, {**CURRENT, "created_at": None}), 7, "not begin with the newest"),
    "oldest first": (page(CURRENT, LATER, more=True), 7, "not begin with the newest"),
    "data is a word": ({"data": "x"}, 7, "not a page"),
    "a list": ([], 7, "not a page"),
    "nothing": ({}, 7, "not a page"),
}


@pytest.mark.parametrize(("answer", "code", "says"), ANSWERS.values(), ids=ANSWERS.keys())
def test_run_get_of_a_deployment_at_last_heeds_only_its_runs(qoder: Qoder, answer: Any, code: int, says: str) -> None:
    qoder.wire.on(*RUNS_OF_1, answer, repeat=True)
    ran = qoder("run", "get", "dep_1@last", "--json")
    assert (ran.code, ran.out) == (code, "")
    assert says in ran.error["message"]


def test_run_get_of_a_deployment_at_last_finds_the_newest_run_in_a_list(qoder: Qoder) -> None:
    odd = page({"id": "dep_1"})
    qoder.wire.on(*RUNS_OF_1, {**odd, "next_page": "2"}, page(*odd["data"], CURRENT, LATER))
    qoder.wire.on("GET", "/deployment_runs/drun_7", {**DONE, "id": "drun_7"})
    assert qoder("run", "get", "dep_1@last", "-q").out == "drun_7\n"


def test_run_get_takes_a_session_for_its_run(qoder: Qoder, world: World) -> None:
    runs = seed_runs(world, 230)
    for wanted in (runs[0], runs[-1], runs[100]):
        assert wanted.session is not None
        assert qoder("run", "get", wanted.session.id, "-q").out == f"{wanted.id}\n"


OF_1 = {"id": "sess_1", "deployment_id": "dep_1", "created_at": "2026-06-14T10:00:00Z"}
NO_RUNS: dict[str, tuple[Any, str]] = {
    "not there": (GONE, "session sess_1: HTTP 404 from api.qoder.com: No such thing"),
    "of no deployment": ({"id": "sess_1", "deployment_id": None}, "does not belong to a deployment"),
    "not looked for beyond its time": (OF_1, "no run of deployment dep_1 has the session sess_1"),
}


@pytest.mark.parametrize(("session", "says"), NO_RUNS.values(), ids=NO_RUNS.keys())
def test_run_get_exits_5_for_a_session_without_a_run(qoder: Qoder, session: Any, says: str) -> None:
    qoder.wire.on(*SESSION, session)
    if session is OF_1:
        times = ("2026-06-14T10:30:00Z", "2026-06-14T08:30:00Z")
        rows = [{**CURRENT, "session_id": "sess_x", "created_at": time} for time in times]
        qoder.wire.on(*RUNS_OF_1, page(*rows, more=True))
    ran = qoder("run", "get", "sess_1", "--json")
    assert ran.code == 5
    assert says in ran.error["message"]


# Without a run, and by the beginning of an id.

READS = pytest.mark.parametrize("verb", ["get", "wait", "logs", "result"])


@READS
def test_run_without_a_run_is_an_error_in_a_script_and_an_empty_one_everywhere(
    qoder: Qoder, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    ran = qoder("run", verb)
    assert (ran.code, ran.out) == (2, "")
    assert "missing argument RUN" in ran.err
    monkeypatch.setattr(App, "may_ask", True)
    assert qoder("run", verb, "").code == 2


@READS
def test_run_without_a_run_is_the_last_for_a_person(qoder: Qoder, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    qoder.wire.on(*TRIGGER, DONE)
    qoder("deploy", "run", "dep_1")
    monkeypatch.setattr(App, "may_ask", True)
    qoder.wire.may(*RUN, DONE).may(*EVENTS, page(*WORK, says("All done."), END)).may(*SESSION, {})
    ran = qoder("run", verb)
    assert ran.code == 0
    assert ran.err.startswith("no RUN given; using the latest run started on this machine (drun_1)\n")


LONG = "drun_019ec55694c07f2a9b402ffb4448ec18"


def seen(qoder: Qoder, *ids: str) -> None:
    for id in ids:
        qoder.wire.on("GET", f"/deployment_runs/{id}", {**DONE, "id": id}, repeat=True).may(*SESSION, {})
        assert qoder("run", "get", id).code == 0


def test_run_get_takes_the_beginning_of_an_id_that_was_seen(qoder: Qoder) -> None:
    seen(qoder, LONG)
    ran = qoder("run", "get", "drun_019ec556", "--json")
    assert (ran.code, ran.json["id"]) == (0, LONG)
    assert f"using run {LONG}" in ran.err
    for typed in ("drun_019", "drun_019ec557"):  # too short, or not seen: taken as it is
        qoder.wire.on("GET", f"/deployment_runs/{typed}", GONE)
        assert qoder("run", "get", typed).code == 5


def test_run_cancel_takes_no_beginning_of_several_or_adopted_ids(qoder: Qoder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen(qoder, LONG)
    monkeypatch.setattr(Store, "adopted", lambda *those: frozenset({LONG}))
    ran = qoder("run", "cancel", "drun_019ec556", "--yes", "--json")
    assert (ran.code, qoder.wire.asked("POST")) == (2, [])
    assert LONG in ran.error["hint"]
    other = LONG[:-1] + "9"
    seen(qoder, other)
    ran = qoder("run", "cancel", "drun_019ec556", "--yes", "--json")
    assert (ran.code, ran.error["type"]) == (2, "usage")
    assert [id in ran.error["message"] for id in (LONG, other)] == [True, True]
