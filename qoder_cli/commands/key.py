"""`qoder key`: the keys under which this machine has started runs (`deploy run --idempotency-key`)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from qoder_cli.app import App
from qoder_cli.base.errors import NotFound, Rejected, UsageError
from qoder_cli.base.ids import check_key
from qoder_cli.cli.options import YES, argument, confirmed
from qoder_cli.local.store import Entry
from qoder_cli.output.cells import Fields
from qoder_cli.runs.lost import in_doubt, in_words, newest_attempt

_LISTED = 5  # runs that a warning names
_KEY = argument("KEY", "An idempotency key that was used on this machine.")


def free(app: App, key: str = _KEY, yes: bool = YES) -> None:
    """Let an idempotency key start a run again.

    Use it when `deploy run` exits 9 for a key, and you have checked that the
    deployment's runs include none of yours. It changes only what this machine
    remembers: nothing is sent, and no run is stopped. Asks first; scripts need
    --yes. Exits 5 if the key was not used here, 6 while a command uses it.

    Examples:
      qoder key free nightly-2026-06-14 --yes"""
    check_key(key, app.keep_secrets())
    host = app.settings.host
    with _to_itself(app, key):
        entries = app.store.of_key(key, host=host)
        if not entries:
            why = f"the key {key!r} was not used on this machine (for {host})"
            raise NotFound(why, hint="use it: a key that was not used is free")
        _warn_of_runs(app, entries)
        _confirm(app, f"Free the key {key}? `deploy run` can start another run under it.", yes=yes)
        app.store.free_key(key, host=host)
        _check_written(app, f"the key {key!r} was not freed")
    newest = entries[-1]
    fields: Fields = {"key": key, "deployment": newest.attempt.deployment, "run": newest.run, "freed": True}
    app.output.record(fields, id=key)


def forget_newest(app: App, *, yes: bool) -> None:
    """Let the newest attempt to start a run count as not started: a person's decision. Sends nothing.

    So do the other open attempts under its key. Raises UsageError if it is in no doubt or nobody confirms it, NotFound
    if there is none, Rejected while a command uses its key.
    """
    entry = newest_attempt(app)
    if entry.run:
        why = f"the latest start is not in doubt: it started run {entry.run}"
        raise UsageError(why, hint="to wait for it", next=app.command("run", "wait", "last"))
    with _to_itself(app, entry.attempt.key):
        attempts = in_doubt(app, entry)
        what = in_words(attempts, max(app.clock.now() - entry.attempt.at, 0.0))
        _warn_of_runs(app, [Entry(attempt) for attempt in attempts])
        _confirm(app, f"Forget {what}? It counts as not started, and can be repeated.", yes=yes)
        for attempt in attempts:
            app.store.record_nothing(attempt)
        _check_written(app, f"{what} was not forgotten")
    app.progress.note(f"{what} now counts as not started", always=True)


@contextmanager
def _to_itself(app: App, key: str) -> Iterator[None]:
    """Hold a key's lock. Raises Rejected if another command holds it."""
    host = app.settings.host
    if not app.store.take_key(key, host=host):
        raise Rejected(f"another command is using the key {key!r}; nothing was changed", hint="wait until it has ended")
    try:
        yield
    finally:
        app.store.release_key(key, host=host)


def _warn_of_runs(app: App, entries: Sequence[Entry]) -> None:
    """Name the runs that these attempts started, or may have started."""
    sighted = app.store.sighted([entry.attempt for entry in entries if entry.open])
    if runs := [entry.run for entry in entries if entry.run]:
        app.progress.warn(f"it started run {runs[-1]}")
    if sighted:
        listed = ", ".join(sorted(sighted)[:_LISTED])
        app.progress.warn(f"these runs may have been started by an unconfirmed attempt: {listed}")


def _confirm(app: App, question: str, *, yes: bool) -> None:
    """Ask a person, unless `yes`, whether a start that may have happened may be repeated. Raises UsageError."""
    if yes:
        return
    if not app.may_ask:
        raise UsageError(
            "this requires confirmation: a run may have been started", hint="check the runs, then confirm with --yes"
        )
    if not confirmed(app, question, nothing="nothing was changed"):
        raise UsageError("nothing was changed")


def _check_written(app: App, so: str) -> None:
    """Raise UsageError, which says how it still is, unless what a person decided is in the store."""
    if not app.store.is_written():
        raise UsageError(f"{so}: {app.store.path} cannot be written", hint="to see why", next=app.command("doctor"))


COMMANDS = {"free": free}
