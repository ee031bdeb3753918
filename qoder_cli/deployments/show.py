"""What differs between deployments and what is wanted, for people."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import UsageError
from qoder_cli.deployments.changes import told
from qoder_cli.output.screen import inert

if TYPE_CHECKING:
    from qoder_cli.deployments.step import Step


def show_changes(app: App, steps: Sequence["Step"]) -> None:
    """Show what differs, each deployment under its name, on stderr: stdout has the items.

    A schedule that is new or changed is shown in words, with its next five fires.
    """
    for step in filter(lambda step: step.is_open, steps):
        known = step.current.id if step.current else "new"
        app.err.tell(f"{app.err.styled(inert(step.name), 'bold')} ({inert(known)})\n")
        for line in (line for change in step.changes for line in told(change, step.secrets)):
            style = {"+": "green", "-": "red"}.get(line[:5].removeprefix("    ")[:1], "")
            app.err.tell(f"  {app.err.styled(line, style)}\n")
        app.err.tell("".join(f"  {line}\n" for line in _foreseen(app, step)))


def warn_of_plan(app: App, steps: Sequence["Step"]) -> None:
    """Warn of new schedules that never fire, and of new names that nobody can type."""
    for step in steps:
        try:
            can_be_typed = not ids.deployment(_new(step, "name") or "any").startswith("dep_")
        except UsageError:
            can_be_typed = False
        if not can_be_typed:
            app.progress.warn(f"{step.known}: commands will not take this name; use its id")
        schedule = _new(step, "schedule")
        if schedule and not _fires(app, schedule):
            app.progress.warn(f"{step.known}: this schedule never fires (no such date)")


def _foreseen(app: App, step: "Step") -> Iterator[str]:
    """Yield when a schedule fires that is new or changed."""
    schedule = _new(step, "schedule")
    if not schedule:
        return
    from qoder_cli.base.cron import words_of
    from qoder_cli.base.times import local_zone_name
    from qoder_cli.output.cells import Fire, cell

    paused = ", once it is unpaused" if step.current and step.current.state == "paused" else ""
    fires = _fires(app, schedule)
    if fires:
        yield inert(f"fires {words_of(schedule)}{paused}; next, in local time ({local_zone_name()}):")
    yield from (f"  {cell(Fire(fire, schedule['timezone'])).text}" for fire in fires)


def _new(step: "Step", name: str) -> Any:
    return (step.body or {}).get(name) if step.is_open else None


def _fires(app: App, schedule: Mapping[str, Any]) -> list[str]:
    from qoder_cli.base.cron import next_fires

    return next_fires(schedule, now=app.client.server_now())
