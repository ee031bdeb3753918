"""`qoder run cancel`: stop runs early."""

import shlex
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import Interrupted, NotYet, OutcomeUnknown, QoderError, Signalled, UsageError
from qoder_cli.base.ids import noun
from qoder_cli.base.outcome import is_going
from qoder_cli.base.times import Limits
from qoder_cli.cli.options import ALLOW_EMPTY, RUNS, YES, confirmed, is_list, is_of_sessions, named
from qoder_cli.http.write import cancelling
from qoder_cli.output.results import deciding_error
from qoder_cli.runs import names
from qoder_cli.runs.awaiting import printed
from qoder_cli.runs.ending import Ended, Wanted, going_on
from qoder_cli.runs.fleet.wait import Fleet
from qoder_cli.runs.observe import Observer, any_observer
from qoder_cli.runs.wait import PolledRun

Key = str | QoderError  # the id of a run, or why there is none

CANCEL_FOR = 60.0  # seconds to wait until cancelled runs have stopped


class _Ended(Exception):
    """A run ended before it could be cancelled."""


def cancel(ctx: typer.Context, runs: list[str] = RUNS, yes: bool = YES, allow_empty: bool = ALLOW_EMPTY) -> Any:
    """Cancel runs and wait for them to stop.

    Exits 0 once they have stopped, or if they already had; 9 when a run is
    still running a minute later. Anything the agent did before is not undone.
    Asks before each one; scripts need --yes. A failure does not stop the rest.

    Examples:
      qoder run cancel last --yes
      qoder deploy run dep_slow -q | qoder run cancel - --yes"""
    from qoder_cli.runs.target import sessions_of

    app: App = ctx.obj
    typed = named(runs, app, allow_empty=allow_empty)
    if not yes and not app.may_ask:
        raise UsageError("cancelling a run requires confirmation", hint="confirm with --yes")
    as_list = is_list(runs)
    ids_by_word: names.Found = {}
    if is_of_sessions(ctx):
        ids_by_word.update(zip(typed, sessions_of(typed, app), strict=True))
    else:
        ids_by_word = names.runs(typed, app)
    requested: dict[Key, Observer | Ended] = {}  # by run; several words may mean one
    for word in typed:
        if ids_by_word[word] in requested:
            continue
        try:
            requested[ids_by_word[word]] = _request(app, word, ids_by_word[word], yes=yes)
        except Interrupted as stopped:  # at a question
            before = sum(isinstance(each, Observer) for each in requested.values())
            so_far = f"; the cancellation of {before} was requested before" if before else ""
            raise stopped.with_(message=stopped.message + so_far) from None
    polled = [PolledRun(each) for each in requested.values() if isinstance(each, Observer)]
    wanted = Wanted(Limits(timeout=CANCEL_FOR), on_ask="wait")
    waited = iter(_waited_for(app, polled, wanted) if polled else [])
    items = {key: each if isinstance(each, Ended) else _judged(app, next(waited)) for key, each in requested.items()}
    if not as_list:
        return items[ids_by_word[typed[0]]]
    out = printed(app, len(typed))
    for number, word in enumerate(typed):
        out.put(number, items[ids_by_word[word]].with_(typed=word))
    out.end()
    if failure := out.broken or deciding_error(out.results):
        raise failure
    return None


def _request(app: App, typed: str, id_or_error: str | QoderError, *, yes: bool) -> Observer | Ended:
    """Request it; return the run's observer, or its result if nothing was sent."""
    if isinstance(id_or_error, QoderError):
        return Ended(typed, None, id_or_error)
    observer = None
    try:
        observer = any_observer(app, id_or_error)
        if _ask(app, observer, typed, yes=yes):
            return observer
        return Ended(typed, observer.run, None)
    except Interrupted:
        raise
    except QoderError as error:
        return Ended(typed, getattr(observer, "run", None), error)


def _ask(app: App, observer: Observer, typed: str, *, yes: bool) -> bool:
    """Request it unless the run has finished; return whether. Raises QoderError."""
    found = observer.read_once()
    if found.adopted and typed not in (found.id, found.session_id):
        raise UsageError(
            f"run {found.id} was adopted, so it may be someone else's",
            hint="to cancel it all the same, give its id: " + shlex.join(app.command("run", "cancel", found.id)),
        )
    if not is_going(found):
        so = f"already finished: {found.status}" if found.status else f"has nothing to cancel: {found.error_message}"
        app.progress.note(f"{found.called} {so}")
        return False
    if found.session_id is None:
        raise going_on(NotYet(f"{found.called} has no session yet, so it cannot be cancelled"), found, app)
    of = f" of {found.deployment_id}" if found.deployment_id else ""
    if not yes:
        if not confirmed(app, f"Cancel {found.called}{of}?", nothing=f"{found.called} was not cancelled"):
            raise UsageError(f"nothing was cancelled; {found.called} keeps running")
        found = observer.read_once()  # the answer may have taken long
    if not is_going(found) or found.session_id is None:
        return False
    app.progress.note(f"cancelling {found.called} {app.settings.whereabouts}")
    attempts = 0

    def session_id() -> str:
        """Return its session, once more if the request was put off: what works there by now may be somebody else's."""
        nonlocal attempts
        attempts += 1
        now = found if attempts == 1 else observer.read_once()
        if not is_going(now) or now.session_id is None:
            raise _Ended
        return now.session_id

    try:
        cancelling(app.client, session_id).send()
    except _Ended:
        return False
    except OutcomeUnknown as error:  # the run stops if it was heard
        app.progress.warn(f"unknown whether the cancellation arrived: {error.message}")
    return True


def _waited_for(app: App, runs: Sequence[PolledRun], wanted: Wanted) -> list[Ended]:
    """Wait for all runs, until the deadline or a signal. Return the results."""
    items: dict[PolledRun, Ended] = {}
    fleet = Fleet(app, wanted, items.__setitem__)
    with suppress(Signalled):  # the results name it
        fleet.until_reported(runs)
    return [items[polled] for polled in runs]


def _judged(app: App, item: Ended) -> Ended:
    """Return its result: stopped is a success, however it ended."""
    if item.found is not None and not is_going(item.found):
        return item.with_(error=None)
    if isinstance(item.error, Interrupted):
        return item
    error = OutcomeUnknown(
        f"cancellation was requested, but {noun(item.typed)} {item.typed} is still running",
        hint="wait for it",
        next=app.command(noun(item.typed), "wait", item.typed),
        run_id=item.typed,
        run_state="going",
    )
    return item.with_(error=error)
