"""Runs that were always there."""

from qoder_cli.sandbox.world import Run, World


def seed_runs(world: World, count: int, *, deployment_id: str = "dep_demo", every: float = 60.0) -> list[Run]:
    """Add manual runs of the past, `every` seconds apart, and return them oldest first."""
    last = world.now() - 3600
    with world.lock:
        times = [last - every * n for n in reversed(range(count))]
        return [world.start(deployment_id, origin="seed", at=at) for at in times]
