"""`last`: the newest run triggered on this machine, with this profile, on this host."""

from typing import TYPE_CHECKING

from qoder_cli.app import State
from qoder_cli.base.errors import NotFound, OutcomeUnknown
from qoder_cli.base.times import span
from qoder_cli.runs.lost import CERTAIN, age, dated, look_for_run

if TYPE_CHECKING:
    from qoder_cli.local.store import Attempt


def last_run(state: State) -> str:
    """Return the id of the newest run triggered here, settling first what a killed or lost trigger left open.

    Raises NotFound when nothing is remembered or the newest trigger started no run, OutcomeUnknown when it cannot be
    told yet.
    """
    settings = state.client.settings
    entry = state.store.last(profile=settings.profile, host=settings.host)
    if entry is None:
        raise NotFound(
            f"no run was started from this machine (profile {settings.profile}, {settings.host})",
            hint="use a run id, or DEPLOYMENT@last",
        )
    return entry.run or _settled(state, entry.attempt)


def _settled(state: State, attempt: "Attempt") -> str:
    """Return the run that an attempt started whose answer was lost."""
    client = state.client

    what = f"the attempt to start {attempt.deployment} {span(age(client, attempt))} ago"
    look = state.command("run", "list", attempt.deployment)
    state.progress.note(f"{what} is unconfirmed; looking for its run")
    try:
        run = look_for_run(client, state.store, lambda: [dated(client, attempt)], thoroughly=True)
    except OutcomeUnknown as error:
        why = f"unknown whether {what} started a run: {error.message}"
        raise OutcomeUnknown(why, hint="check the deployment's runs", next=look, run_state="unknown") from error
    if run is not None:
        return run.id
    if age(client, dated(client, attempt)) > CERTAIN:
        state.store.settle_nothing(attempt)
        raise NotFound(f"{what} did not start a run", hint=f"to start one: qoder deploy run {attempt.deployment}")
    raise OutcomeUnknown(
        f"unknown whether {what} started a run: none is listed yet",
        hint="try again later; after 10 minutes it counts as not started",
        next=state.command("run", "wait", "last"),
        run_state="unknown",
    )
