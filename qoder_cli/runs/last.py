"""`last`: the newest run triggered on this machine, with this profile, on this host."""

from qoder_cli.errors import NotFound, OutcomeUnknown
from qoder_cli.local.store import Entry
from qoder_cli.runs.trigger import look_for_lost
from qoder_cli.state import State
from qoder_cli.times import span

CERTAIN = 600.0  # seconds after which a trigger that the run list does not show has started nothing


def last_run(state: State) -> str:
    """Return the id of the newest run triggered here, settling first what a killed or lost trigger left open.

    Raises NotFound when nothing is remembered or the newest trigger started no run, OutcomeUnknown when it cannot be
    told yet.
    """
    settings = state.client.settings
    entry = state.store.last(profile=settings.profile, host=settings.host)
    if entry is None:
        raise NotFound(
            f"no run was triggered here with profile {settings.profile} on {settings.host}",
            hint="name the run by its id, drun_…",
        )
    return entry.run or _settled(state, entry)


def _settled(state: State, entry: Entry) -> str:
    attempt = entry.attempt
    age = state.clock.now() - attempt.at
    what = f"the trigger of {attempt.deployment} {span(max(age, 0.0))} ago"
    state.progress.note(f"{what} was never settled: looking for its run")
    run = look_for_lost(state.client, state.store, attempt)
    if run is not None:
        return run.id
    if age > CERTAIN:
        state.store.settle_nothing(attempt)
        raise NotFound(f"{what} started no run", hint=f"start it: qoder deploy run {attempt.deployment}")
    raise OutcomeUnknown(
        f"whether {what} started a run is not known: the run list shows none yet",
        hint="ask again in some minutes",
        next=state.command("run", "wait", "last"),
        run_state="unknown",
    )
