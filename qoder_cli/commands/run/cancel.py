"""`qoder run cancel`: stop runs early."""

import shlex
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import Exit, Interrupted, NotYet, OutcomeUnknown, QoderError, Signalled, UsageError
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


class _AlreadyEnded(Exception):
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
    stopped: Interrupted | None = None
    for word in typed:
        key = ids_by_word[word]
        if key in requested:
            continue
        if stopped is not None:
            requested[key] = Ended(word, attempted=False)
            continue
        requested[key] = each = _request(app, word, key, yes=yes)
        if isinstance(each, Ended) and isinstance(each.error, Interrupted):
            stopped = each.error
    observers = [each for each in requested.values() if isinstance(each, Observer)]
    if stopped is None:
        wanted = Wanted(Limits(timeout=CANCEL_FOR), on_ask="wait")
        polled = [PolledRun(observer) for observer in observers]
        waited = iter(_waited_for(app, polled, wanted) if polled else [])
    else:
        waited = iter([_asked(observer, stopped) for observer in observers])
    items = {key: each if isinstance(each, Ended) else _judged(app, next(waited)) for key, each in requested.items()}
    if not as_list:
        return items[ids_by_word[typed[0]]]
    out = printed(app, len(typed))
    for number, word in enumerate(typed):
        out.put(number, items[ids_by_word[word]].with_(typed=word))
    out.end()
    failure = out.broken or deciding_error(out.results)
    if stopped is not None and not out.broken:
        so_far = f"; the cancellation of {len(observers)} was requested before" if observers else ""
        failure = stopped.with_(message=stopped.message + so_far)
    if failure:
        raise failure
    return None


def _asked(observer: Observer, stopped: Interrupted) -> Ended:
    """Return the result of a run whose cancellation was requested before the command was stopped."""
    run = observer.run
    called = run.called if run else observer.run_id
    error = stopped.with_(message=f"interrupted; the cancellation of {called} was requested", kind=None)
    return Ended(observer.run_id, run, error.with_(run_id=observer.run_id, run_state="unknown"))


def _request(app: App, typed: str, id_or_error: str | QoderError, *, yes: bool) -> Observer | Ended:
    """Request it; return the run's observer, or its result if nothing was sent or a signal came."""
    if isinstance(id_or_error, QoderError):
        return Ended(typed, None, id_or_error)
    observer, sent = None, len(app.writes)
    try:
        observer = any_observer(app, id_or_error)
        if _ask(app, observer, typed, yes=yes):
            return observer
        return Ended(typed, observer.run, None)
    except Signalled as signalled:
        called = observer.run.called if observer and observer.run else id_or_error
        error = signalled.in_words(f"interrupted; {called} was not cancelled", run_id=id_or_error, run_state="unknown")
        for write in app.writes[sent:]:
            if write.result is not None:
                error = error.with_(message=f"interrupted; the cancellation of {called} was requested")
            elif write.may_have_acted:
                unknown = f"interrupted; unknown whether the cancellation of {called} arrived"
                error = error.with_(message=unknown, kind=Exit.OUTCOME_UNKNOWN)
        error = error.with_(hint="to see how it stands", next=app.command(noun(id_or_error), "get", id_or_error))
        return Ended(typed, observer.run if observer else None, error)
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
            raise _AlreadyEnded
        return now.session_id

    try:
        cancelling(app.client, session_id).send()
    except _AlreadyEnded:
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
