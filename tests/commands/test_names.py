"""Naming deployments and runs other than by their ids, in the user's words."""

import io
from pathlib import Path
from typing import Any

import pytest

from qoder_cli.app import App
from qoder_cli.base.errors import NotFound, QoderError, UsageError
from qoder_cli.output.screen import Screen
from qoder_cli.runs import names
from qoder_cli.sandbox.wire import BASE_PATH, GENERATIONS
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder
from tests.support.inprocess import WorldTransport
from tests.support.one_run import CURRENT, LEGACY
from tests.support.seeds import seed_runs
from tests.support.stored import entries_in
from tests.support.wire import api_error, page

DEPLOYMENTS = ("GET", "/deployments")
RUNS_OF_1 = ("GET", "/deployments/dep_1/runs")
GONE = api_error(404, "not_found_error", "No such thing.")
HOUR = 3600.0


def deployment(number: int, name: str, **fields: Any) -> dict[str, Any]:
    return {"id": f"dep_{number}", "type": "deployment", "name": name, "status": "active", **fields}


def state_of(qoder: Qoder) -> App:
    """Return what a command of this user has."""
    nowhere = Screen(io.BytesIO())
    return App(env=qoder.env, out=nowhere, err=nowhere, clock=qoder.clock, transport=qoder.transport)


@pytest.fixture(params=GENERATIONS)
def world(request: pytest.FixtureRequest, qoder: Qoder) -> World:
    made = World(clock=qoder.clock.now, generation=request.param, token=TOKEN, seed=7)
    qoder.transport = WorldTransport(made, sleep=qoder.clock.sleep)
    return made


# Deployments.


def test_an_id_is_taken_as_it_is_without_asking(qoder: Qoder) -> None:
    assert names.deployment("dep_nobody_knows", state_of(qoder)) == "dep_nobody_knows"
    assert qoder.wire.requests == []


@pytest.mark.parametrize("name", ["job-1", "a name, with spaces", "日本語", "50%/day?", "UPPER", "dep", "-x", "last"])
def test_an_exact_name_works_wherever_it_stands_in_the_list(qoder: Qoder, world: World, name: str) -> None:
    made = world.add_deployment(name=name, at=world.now() - 365 * 24 * HOUR)
    world.seed_deployments(120)
    assert names.deployment(name, state_of(qoder)) == made.id


def test_the_whole_list_is_read_for_a_name(qoder: Qoder, world: World) -> None:
    world.seed_deployments(230)
    names.deployment("seed-0229", state_of(qoder))  # on the first page; others of this name may be on the last
    assert len([seen for seen in world.requests if seen.path == BASE_PATH + "/deployments"]) == 3


def test_several_of_one_name_are_listed_and_nothing_is_done(qoder: Qoder) -> None:
    first, second = page(deployment(1, "twin"), more=True), page(deployment(2, "twin"), deployment(3, "other"))
    qoder.wire.on(*DEPLOYMENTS, first, second)
    ran = qoder("deploy", "get", "twin", "--json")
    assert (ran.code, ran.out) == (2, "")
    assert ran.error["message"] == "2 deployments are named 'twin': dep_1, dep_2"


def test_an_archived_deployment_has_no_name_any_more(qoder: Qoder) -> None:
    archived = deployment(1, "old", archived_at="2026-06-14T08:54:06Z")
    qoder.wire.on(*DEPLOYMENTS, page(archived), page(archived, deployment(2, "old")))
    assert qoder("deploy", "get", "old").code == 5
    assert names.deployment("old", state_of(qoder)) == "dep_2"


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        ("nightly-reprot", "'nightly-report' (dep_scheduled)"),
        ("Nightly-Report", "'nightly-report' (dep_scheduled)"),
        ("nightly", "'nightly-report' (dep_scheduled)"),
        ("sikp", "'skip' (dep_skip)"),
    ],
)
def test_a_name_that_is_not_there_suggests_the_nearest(qoder: Qoder, world: World, typed: str, near: str) -> None:
    ran = qoder("deploy", "get", typed, "--json")
    assert (ran.code, ran.out) == (5, "")
    assert f"did you mean {near}" in ran.error["hint"]
    assert "profile default" in ran.error["hint"]


def test_a_name_like_no_other_says_where_to_look(qoder: Qoder, world: World) -> None:
    ran = qoder("run", "list", "quux-quux-quux", "--json")
    assert (ran.code, ran.error["message"]) == (5, "no deployment is named 'quux-quux-quux'")
    assert ran.error["next"][:3] == ["qoder", "deploy", "list"]
    assert "profile default" in ran.error["hint"]


@pytest.mark.parametrize("words", [["deploy", "get"], ["run", "list"]])
@pytest.mark.parametrize(
    ("typed", "near"), [("dep_demmo", "'demo' (dep_demo)"), ("dep_nightly-report", "'nightly-report' (dep_scheduled)")]
)
def test_an_id_that_is_not_there_suggests_the_nearest(
    qoder: Qoder, world: World, words: list[str], typed: str, near: str
) -> None:
    ran = qoder(*words, typed, "--json")
    assert (ran.code, ran.error["http_status"]) == (5, 404)
    assert f"did you mean {near}" in ran.error["hint"]


def test_suggestions_take_one_listing_of_two_pages_at_most(qoder: Qoder, world: World) -> None:
    world.seed_deployments(330)
    assert qoder("deploy", "get", "dep_x").code == 5
    assert len([seen for seen in world.requests if seen.path == BASE_PATH + "/deployments"]) == 2


@pytest.mark.parametrize("answer", [(503, ""), api_error(403, "permission_error", "No."), "<html>", {"items": []}])
def test_suggestions_that_cannot_be_had_change_nothing(qoder: Qoder, answer: Any) -> None:
    qoder.wire.on("GET", "/deployments/dep_1", GONE).on(*DEPLOYMENTS, answer)
    ran = qoder("deploy", "get", "dep_1", "--json")
    assert (ran.code, ran.error["message"]) == (5, "deployment dep_1: HTTP 404 from api.qoder.com: No such thing.")
    assert ran.error["hint"] == "check the id and the profile (default)"


@pytest.mark.parametrize(
    "typed", ["", " ", "x" * 257, "a\nb", "a\x00", "..", "a/../b", "drun_1", "sess_1", "agent_1", "env_1", "\ud800"]
)
def test_what_can_name_no_deployment_is_refused_before_any_request(qoder: Qoder, typed: str) -> None:
    with pytest.raises(UsageError):
        names.deployment(typed, state_of(qoder))
    assert qoder.wire.requests == []


# Runs.


def test_a_run_id_is_taken_as_it_is_without_asking(qoder: Qoder) -> None:
    assert names.run("drun_1", state_of(qoder)) == "drun_1"
    assert qoder.wire.requests == []


def test_the_last_of_a_deployment_is_no_other_deployments(qoder: Qoder) -> None:
    qoder.wire.on(*RUNS_OF_1, page({**LEGACY, "deployment_id": "dep_2", "status": "completed"}))
    ran = qoder("run", "wait", "dep_1@last", "--json")
    assert (ran.code, ran.out, "another deployment" in ran.error["message"]) == (7, "", True)


@pytest.mark.parametrize("typed", ["last", "@last"])
def test_last_is_the_newest_triggered_here(qoder: Qoder, world: World, typed: str) -> None:
    started = qoder("deploy", "run", "dep_demo", "-q").out.strip()
    world.start("dep_demo")  # by someone else
    assert names.run(typed, state_of(qoder)) == started


@pytest.mark.parametrize("typed", ["dep_scheduled@last", "nightly-report@last"])
def test_the_last_of_a_deployment_is_the_newest_whoever_started_it(qoder: Qoder, world: World, typed: str) -> None:
    world.start("dep_scheduled", at=world.now() - HOUR)
    newest = world.start("dep_scheduled", trigger="schedule", at=world.now() - 60)
    world.start("dep_demo")
    assert names.run(typed, state_of(qoder)) == newest.id
    assert world.requests[-1].query == "limit=1"


def test_a_name_may_end_like_that_itself(qoder: Qoder, world: World) -> None:
    odd = world.start(world.add_deployment(name="odd@last"))
    assert names.run("odd@last@last", state_of(qoder)) == odd.id


def test_a_deployment_without_runs_has_no_last(qoder: Qoder, world: World) -> None:
    with pytest.raises(NotFound, match="dep_demo has no runs yet"):
        names.run("dep_demo@last", state_of(qoder))


def test_the_last_of_a_deployment_that_is_not_there_suggests_the_nearest(qoder: Qoder, world: World) -> None:
    with pytest.raises(NotFound) as caught:
        names.run("dep_demoo@last", state_of(qoder))
    assert "did you mean 'demo' (dep_demo)" in str(caught.value.hint)


def test_a_session_is_its_run(qoder: Qoder, world: World) -> None:
    runs = seed_runs(world, 230)
    for wanted in (runs[0], runs[-1], runs[100]):
        assert wanted.session is not None
        assert names.run(wanted.session.id, state_of(qoder)) == wanted.id


def test_a_session_is_not_looked_for_beyond_its_time(qoder: Qoder) -> None:
    session = {"id": "sess_9", "deployment_id": "dep_1", "created_at": "2026-06-14T10:00:00Z"}
    younger, older = {**LEGACY, "created_at": "2026-06-14T10:30:00Z"}, {**LEGACY, "created_at": "2026-06-14T08:30:00Z"}
    qoder.wire.on("GET", "/sessions/sess_9", session).on(*RUNS_OF_1, page(younger, older, more=True))
    with pytest.raises(NotFound, match="no run of deployment dep_1 has the session sess_9"):
        names.run("sess_9", state_of(qoder))


@pytest.mark.parametrize(
    ("session", "message"),
    [
        (GONE, "session sess_1: HTTP 404 from api.qoder.com: No such thing"),
        ({"id": "sess_1", "deployment_id": None}, "does not belong to a deployment"),
    ],
)
def test_a_session_without_a_run_is_not_found(qoder: Qoder, session: Any, message: str) -> None:
    qoder.wire.on("GET", "/sessions/sess_1", session)
    with pytest.raises(NotFound) as refused:
        names.run("sess_1", state_of(qoder))
    assert message in refused.value.message


@pytest.mark.parametrize("answer", [{"data": "x"}, [], {}])
def test_an_answer_that_is_no_list_is_no_answer(qoder: Qoder, answer: Any) -> None:
    qoder.wire.on(*RUNS_OF_1, answer)
    with pytest.raises(QoderError, match="not a page"):
        names.run("dep_1@last", state_of(qoder))


def test_anything_else_among_the_runs_is_passed_over(qoder: Qoder) -> None:
    qoder.wire.on(*RUNS_OF_1, page({"id": "dep_1"}, {**CURRENT, "id": "drun_7"}))
    assert names.run("dep_1@last", state_of(qoder)) == "drun_7"


@pytest.mark.parametrize(
    "typed", ["", "nightly-report", "dep_1", "x@first", "agent_1@last", "@", "../@last", "a\t@last"]
)
def test_what_can_name_no_run_is_refused_before_any_request(qoder: Qoder, typed: str) -> None:
    with pytest.raises(UsageError):
        names.run(typed, state_of(qoder))
    assert qoder.wire.requests == []


def test_nothing_is_written_to_find_a_name(qoder: Qoder, world: World, tmp_path: Path) -> None:
    names.deployment("nightly-report", state_of(qoder))
    assert {seen.method for seen in world.requests} == {"GET"}
    assert entries_in(tmp_path / "state") == []
