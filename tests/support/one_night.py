"""An account after a night, and one deployment as a server tells of it."""

from typing import Any

from qoder_cli.sandbox.records import stamp
from qoder_cli.sandbox.scripts import Behaviour, turn
from qoder_cli.sandbox.world import World
from tests.conftest import Qoder
from tests.support.wire import page

HOUR = 3600.0


def ago(world: World, hours: float) -> float:
    return world.now() - hours * HOUR


def hourly(world: World, name: str = "hourly", hour: str = "*", **fields: Any) -> str:
    """Add a deployment of long ago, which fires at five past."""
    schedule = {"type": "cron", "expression": f"5 {hour} * * *", "timezone": "UTC"}
    return world.add_deployment(at=ago(world, 300), name=name, schedule=schedule, **fields).id


def fire(world: World, id: str, hours: float, *, late: float = 3.0) -> str:
    """Let a schedule fire so many whole hours ago, five past the hour; return the run's id."""
    due = world.now() // HOUR * HOUR - (hours - 1) * HOUR + 300 - HOUR
    run = world.start(id, origin="schedule", trigger="schedule", at=due + late)
    run.fields["trigger_context"]["scheduled_at"] = stamp(due)
    return run.id


def after_a_night(world: World) -> World:
    """Return the server after a night in which everything happened that a report tells of."""
    world.things["deployments"].pop("dep_scheduled")
    id = hourly(world, "watch", hour="22-23,0-7")
    for hours in range(1, 11):
        if hours not in (4, 5):
            fire(world, id, hours, late=2000.0 if hours == 8 else 3.0)
    fire(world, id, 10)
    world.start("dep_ask", at=ago(world, 3))
    for hours in (2, 4, 6):
        world.start("dep_fail", at=ago(world, hours))
    world.start("dep_nostart", at=ago(world, 5))
    world.start("dep_skip", at=ago(world, 5))
    nothing = Behaviour(turn(seconds=3, steps=0))
    world.start(world.add_deployment(at=ago(world, 99), name="hollow", behaviour=nothing), at=ago(world, 7))
    changed = hourly(world, "edited", hour="3")
    world.deployments[changed].change(ago(world, 2), description="Another.")
    broken = world.add_deployment(at=ago(world, 99), name="broken")
    reason = {"type": "error", "error": {"type": "environment_archived_error"}}
    broken.change(ago(world, 30), status="paused", paused_reason=reason)
    return world


OLD = dict.fromkeys(("created_at", "updated_at"), "2026-01-01T00:00:00Z")


def serve(qoder: Qoder, runs: Any, *, sessions: Any = (), events: Any = None, **deployment: Any) -> None:
    """Let there be one deployment, with these runs; what a test does not ask for need not be asked."""
    row = {"id": "dep_1", "name": "odd", "status": "active", **OLD, **deployment}
    qoder.wire.expected.clear()
    qoder.wire.may("GET", "/deployments", page(row)).may("GET", "/deployments/dep_1", row)
    for path in ("/deployment_runs", "/deployments/dep_1/runs"):
        qoder.wire.may("GET", path, runs if isinstance(runs, dict) else page(*runs))
    qoder.wire.may("GET", "/sessions", sessions or page())
    if events is not None:
        qoder.wire.may("GET", "/sessions/sess_1/events", events)
