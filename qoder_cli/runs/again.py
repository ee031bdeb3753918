"""A run that is started once more: which may be, under which key, and what is different from then."""

from collections.abc import Iterator
from contextlib import suppress

from qoder_cli.app import App
from qoder_cli.base.cron import upcoming
from qoder_cli.base.errors import QoderError, Rejected
from qoder_cli.base.ids import retry_key
from qoder_cli.base.model import Deployment, Run, mapping, text
from qoder_cli.base.outcome import is_going, waits_for_answer
from qoder_cli.base.times import unix
from qoder_cli.runs.trigger import Order

_NOTHING = "; nothing was started"


def retry_of(run: Run, like: Order, app: App, *, again: bool) -> Order:
    """Return the order that starts a run once more, like `like`. Raises Rejected for one that is not to be retried.

    `again`: one that completed may be, too.
    """
    if (refused := _refusal_of(run, app, again=again)) is not None:
        raise refused
    if run.deployment_id is None:
        raise Rejected(f"run {run.id} does not name its deployment{_NOTHING}")
    return like._replace(deployment_id=run.deployment_id, key=retry_key(run.id), typed=run.id, retry_of=run.id)


def _refusal_of(run: Run, app: App, *, again: bool) -> QoderError | None:
    if is_going(run):
        if waits_for_answer(run):
            hint, next = "to see what it waits for", app.command("run", "pending", run.id)
            return Rejected(f"run {run.id} waits for an answer{_NOTHING}", hint=hint, next=next)
        return Rejected(
            f"run {run.id} is still {run.status}{_NOTHING}", hint="to wait for it", next=app.wait_again(run.id)
        )
    if run.status == "completed" and not again:
        hint, next = "to start it once more all the same", app.command("run", "retry", run.id, "--again")
        return Rejected(f"run {run.id} completed{_NOTHING}", hint=hint, next=next)
    if run.status is None:
        hint, next = "check what it did before starting another", app.looking("run", "get", run.id)
        return Rejected(f"the outcome of run {run.id} is unknown{_NOTHING}", hint=hint, next=next)
    return None


def differences(run: Run, deployment: Deployment) -> list[str]:
    """Return what is different from when the run was started, in words: `agent 3 → 4`, `schedule changed`.

    A run says its agent and, if a schedule started it, when that fired; `run why` finds out the rest.
    """
    changes = [*_of_agent(run, deployment), *_of_schedule(run, deployment)]
    triggered, updated = unix(run.triggered_at), unix(deployment.raw.get("updated_at"))
    if triggered is not None and updated is not None and updated > triggered:
        changes.append(f"deployment updated at {deployment.raw['updated_at']}")
    return changes


def _of_agent(run: Run, deployment: Deployment) -> Iterator[str]:
    then, now = mapping(run.raw.get("agent")), mapping(deployment.raw.get("agent"))
    if None in (text(then.get("id")), text(now.get("id"))):
        return
    if then["id"] != now["id"]:
        yield f"agent {then['id']} → {now['id']}"
    elif then.get("version") != now.get("version"):
        yield f"agent {then.get('version')} → {now.get('version')}"


def _of_schedule(run: Run, deployment: Deployment) -> Iterator[str]:
    fired = unix(mapping(run.raw.get("trigger_context")).get("scheduled_at"))
    if fired is None:
        return
    if not deployment.schedule:
        yield "schedule removed"
        return
    with suppress(ValueError):  # what cannot be read cannot be compared
        fires = upcoming(deployment.schedule, after=fired - 60, count=1)
        if fires not in ((fired,), (fired - fired % 60,)):
            yield "schedule changed"
