"""`qoder deploy run` on the presets of the sandbox: one exit code and one status for each ending."""

from typing import Any

import pytest

from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder
from tests.support.inprocess import WithoutStreams

both = pytest.mark.parametrize("generation", GENERATIONS)


def enter(qoder: Qoder, generation: Generation, *faults: str) -> World:
    """Lead the user into a world of its own, and return it."""
    world = World(clock=qoder.clock.now, generation=generation, token=TOKEN, seed=1)
    qoder.transport = WithoutStreams(world, faults=Faults(*faults), sleep=qoder.clock.sleep)
    return world


@both
@pytest.mark.parametrize(
    ("preset", "code", "status", "unwaited"),
    [
        ("demo", 0, "completed", 0),
        ("silent", 0, "completed", 0),
        ("fail", 1, "failed", 0),
        ("terminated", 1, "failed", 0),
        ("budget", 1, "failed", 0),
        ("nostart", 1, "failed", 1),
        ("skip", 3, "skipped", 3),
    ],
)
def test_deploy_run_exits_as_its_run_ended(
    qoder: Qoder, generation: Generation, preset: str, code: int, status: str, unwaited: int
) -> None:
    enter(qoder, generation)
    if preset == "skip" and generation == "current":
        code, status, unwaited = 1, "failed", 1
    assert qoder("deploy", "run", f"dep_{preset}").code == unwaited
    ran = qoder("deploy", "run", f"dep_{preset}", "--wait", "--json")
    assert (ran.code, ran.json["status"]) == (code, status)
    assert ("derived" in ran.json) == (generation == "current")
    if code:
        name = "run_skipped" if code == 3 else "run_failed"
        assert (ran.error["type"], ran.error["run_id"], ran.error["run_state"]) == (name, ran.json["id"], "ended")


@both
def test_deploy_run_loses_sight_of_its_run_where_the_token_is_refused_while_it_waits(
    qoder: Qoder, generation: Generation
) -> None:
    world = enter(qoder, generation, "run:401*inf", "events:401*inf")
    ran = qoder("deploy", "run", "dep_minute", "--wait", "--json")
    [run] = world.started()
    assert (ran.code, ran.error["type"], ran.json["id"], ran.error["run_id"]) == (10, "lost_sight", run.id, run.id)
    qoder.transport = WithoutStreams(world, sleep=qoder.clock.sleep)
    assert ran.error["next"][:4] == ["qoder", "run", "wait", run.id]
    assert qoder(*ran.error["next"][1:]).code == 0


@both
def test_deploy_run_leaves_its_run_going_at_the_timeout_and_names_what_resumes(
    qoder: Qoder, generation: Generation
) -> None:
    enter(qoder, generation)
    early = qoder("deploy", "run", "dep_minute", "--wait", "--json", "--timeout", "0")
    told: dict[str, Any] = {name: early.error[name] for name in ("exit_code", "type", "run_state", "run_id")}
    assert told == {"exit_code": 124, "type": "wait_timeout", "run_state": "going", "run_id": early.json["id"]}
    assert early.json["status"] in ("pending", "running")
    assert qoder("run", "get", "last", "--exit-status").code == 8
    assert qoder("run", "get", "last").code == 0
    idle = qoder("deploy", "run", "dep_minute", "--if-idle", "-q")
    assert (idle.code, idle.out) == (3, f"{early.json['id']}\n")
    resumed = qoder(*early.error["next"][1:])
    assert (resumed.code, resumed.json["id"], resumed.json["status"]) == (0, early.json["id"], "completed")
