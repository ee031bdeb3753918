"""`qoder run cancel`: stop runs early."""

from collections.abc import Sequence
from typing import Any

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import (
    Exit,
    Interrupted,
    LostSight,
    NotYet,
    OutcomeUnknown,
    QoderError,
    RunState,
    Signalled,
    UsageError,
)
from qoder_cli.base.ids import noun
from qoder_cli.base.model import Run
from qoder_cli.base.outcome import is_going, may_wait
from qoder_cli.base.times import Limits
from qoder_cli.base.words import counted
from qoder_cli.cli.options import ALLOW_EMPTY, RUNS, YES, confirmed, is_list, is_of_sessions, named
from qoder_cli.commands.target import refuse_adopted
from qoder_cli.fleet.conductor import printed
from qoder_cli.fleet.wait import Wait
from qoder_cli.history import names
from qoder_cli.http.write import Write, cancelling
from qoder_cli.output.results import deciding_error
from qoder_cli.runs.ending import Ended, Wanted, going_on
from qoder_cli.runs.observe import Observer, any_observer
from qoder_cli.runs.polled import PolledRun

Key = str | QoderError  # the id of a run, or why there is none
Sent = dict[str, tuple[PolledRun, Write[Any]]]  # the cancellations that were sent, by run

CANCEL_FOR = 60.0  # seconds to wait until cancelled runs have stopped
FEW_SESSIONS = 8  # at a time; no list shows their state


class _AlreadyEnded(Exception):
    """A run ended before it could be cancelled."""


def cancel(ctx: typer.Context, runs: list[str] = RUNS, yes: bool = YES, allow_empty: bool = ALLOW_EMPTY) -> Any:
    """Cancel runs and wait for them to stop.

    Exits 0 once they have stopped, or already had; 9 if one still runs a
    minute later. Nothing the agent did is undone. Asks first; scripts need
    --yes. A failure does not stop the rest.

    Examples:
      qoder deploy run dep_slow -q | qoder run cancel - --yes"""
    app: App = ctx.obj
    words = named(runs, app, allow_empty=allow_empty)
    if not yes and not app.may_ask:
        raise UsageError("cancelling a run requires confirmation", hint="confirm with --yes")
    if not all(word.startswith(("drun_", "sess_")) for word in words):
        app.settings.allowed.check("answer", "cancelling by another word than an id")
    ids_by_word: names.Found = {}
    if is_of_sessions(ctx):
        from qoder_cli.commands.session import found

        if len(words) > FEW_SESSIONS:
            why = f"{len(words)} sessions at once are too many; the limit is {FEW_SESSIONS}"
            raise UsageError(why, hint=f"use xargs -n {FEW_SESSIONS}")
        ids_by_word.update(zip(words, found(words, app), strict=True))
    else:
        ids_by_word = names.runs(words, app)
    items: dict[Key, Ended] = {}  # by run; several words may mean one
    sent: Sent = {}
    stopped: Interrupted | None = None
    for word in words:
        key = ids_by_word[word]
        if key in items:
            continue
        if stopped is not None:
            items[key] = Ended(word, attempted=False)
        elif isinstance(key, QoderError):
            items[key] = Ended(word, None, key)
        else:
            items[key] = item = _request(app, word, key, sent, yes=yes)
            if isinstance(item.error, Interrupted):
                stopped = item.error
    if stopped is None:
        items.update(_waited_for(app, sent))
    else:
        items.update((id, _left(app, id, polled.run, write, stopped)) for id, (polled, write) in sent.items())
    if not is_list(runs):
        return items[ids_by_word[words[0]]]
    out = printed(app, len(words))
    for number, word in enumerate(words):
        out.put(number, items[ids_by_word[word]].with_(typed=word))
    out.end()
    failure = out.broken or deciding_error(out.results)
    if stopped is not None and not out.broken:
        failure = _with_others(stopped, [write for _, write in sent.values()])
    if failure:
        raise failure
    return None


def _left(app: App, run_id: str, run: Run | None, write: Write[Any] | None, stopped: Interrupted) -> Ended:
    """Return the result of a run when a signal stops the command: what is known of its cancellation."""
    called = run.called if run else run_id
    so, kind = f"{called} was not cancelled", None
    if write is not None and write.result is not None:
        so = f"the cancellation of {called} was requested"
    elif write is not None and write.may_have_acted:
        so, kind = f"unknown whether the cancellation of {called} arrived", Exit.OUTCOME_UNKNOWN
    look = {"hint": "to see how it stands", "next": app.command(noun(run_id), "get", run_id)}
    error = stopped.with_(message=f"interrupted; {so}", kind=kind, run_id=run_id, run_state="unknown", **look)
    return Ended(run_id, run, error)


def _with_others(stopped: Interrupted, writes: Sequence[Write[Any]]) -> Interrupted:
    """Return the error of a signal, with how many cancellations of other runs were sent before it."""
    message, kind = stopped.message, stopped.kind
    confirmed = sum(write.result is not None for write in writes)
    unknown = len(writes) - confirmed
    if confirmed:
        message += f"; the cancellation of {counted(confirmed, 'other')} was requested"
    if unknown:
        message += f"; unknown whether the cancellation of {counted(unknown, 'other')} arrived"
        kind = Exit.OUTCOME_UNKNOWN
    return stopped.with_(message=message, kind=kind)


def _request(app: App, word: str, run_id: str, sent: Sent, *, yes: bool) -> Ended:
    """Request it, and note it among those sent. Return the result where nothing was sent or a signal came."""
    observer, before = None, len(app.writes)
    try:
        observer = any_observer(app, run_id)
        write = _ask(app, observer, word, yes=yes)
        if write is not None:
            sent[run_id] = PolledRun(observer), write
        return Ended(word, observer.run)
    except Signalled as signalled:
        write = next(iter(app.writes[before:]), None)
        run = observer.run if observer else None
        return _left(app, run_id, run, write, signalled.in_words("interrupted")).with_(typed=word)
    except QoderError as error:
        return Ended(word, observer.run if observer else None, error)


def _ask(app: App, observer: Observer, word: str, *, yes: bool) -> Write[Any] | None:
    """Request it, and return the write that did; None if the run has finished. Raises QoderError."""
    run = observer.read_once()
    refuse_adopted(run, word)
    if not is_going(run):
        so = f"already finished: {run.status}"
        if not run.status:
            so = f"has nothing to cancel: {run.error_message}"
        app.progress.note(f"{run.called} {so}")
        if may_wait(run):
            app.progress.warn("why it stopped cannot be read: it may wait for an answer; nothing was cancelled")
        return None
    _session_in(app, run)
    of = f" of {run.deployment_id}" if run.deployment_id else ""
    if not yes:
        if not confirmed(app, f"Cancel {run.called}{of}?", nothing=f"{run.called} was not cancelled"):
            raise UsageError(f"nothing was cancelled; {run.called} keeps running")
        run = observer.read_once()  # the answer may have taken long
    attempts = 0

    def session_id() -> str:
        """Return its session, once more if the request was put off: what works there by now may be somebody else's."""
        nonlocal attempts
        attempts += 1
        return _session_in(app, run if attempts == 1 else observer.read_once())

    write = cancelling(app.client, session_id)
    try:
        _session_in(app, run)
        app.progress.note(f"cancelling {run.called}{app.settings.whereabouts}")
        write.send()
    except _AlreadyEnded:
        return None
    except OutcomeUnknown as error:  # the run stops if it was heard
        app.progress.warn(f"unknown whether the cancellation arrived: {error.message}")
    return write


def _session_in(app: App, run: Run) -> str:
    """Return the session in which a run works. Raises _AlreadyEnded; NotYet while it names none."""
    if not is_going(run):
        raise _AlreadyEnded
    if run.session_id is None:
        raise going_on(NotYet(f"{run.called} has no session yet, so it cannot be cancelled"), run, app)
    return run.session_id


def _waited_for(app: App, sent: Sent) -> dict[Key, Ended]:
    """Wait for all runs, until the deadline or a signal. Return the results."""
    wait = Wait(app, Wanted(Limits(timeout=CANCEL_FOR), on_ask="wait"))
    try:
        wait.until_reported([polled for polled, _ in sent.values()])
    except Signalled as signalled:
        if len(wait.items) < len(sent):  # it came before the wait began; else the results name it
            stopped = signalled.in_words("interrupted")
            return {id: _left(app, id, polled.run, write, stopped) for id, (polled, write) in sent.items()}
    return {id: _judged(app, polled, write, wait.items[polled]) for id, (polled, write) in sent.items()}


def _judged(app: App, polled: PolledRun, write: Write[Any], item: Ended) -> Ended:
    """Return its result: stopped is a success, however it ended."""
    if item.found is not None and not is_going(item.found):
        return item.with_(error=None)
    if isinstance(item.error, Interrupted):
        return _left(app, item.typed, polled.run, write, item.error)
    called = f"{noun(item.typed)} {item.typed}"
    run_state: RunState = "unknown"
    so = f"it is unknown whether {called} has stopped: nothing was heard of it since"
    if isinstance(item.error, LostSight):
        so = item.error.message
    elif app.clock.monotonic() - polled.contact.heard_at < CANCEL_FOR / 2:
        so, run_state = f"{called} is still running", "going"
    message = f"cancellation was requested, but {so}"
    if write.result is None:
        message = f"unknown whether the cancellation arrived, and {so}"
    again = app.command(noun(item.typed), "wait", item.typed)
    return item.with_(
        error=OutcomeUnknown(message, hint="wait for it", next=again, run_id=item.typed, run_state=run_state)
    )
