"""`qoder key`: the keys under which runs were started (`deploy run --idempotency-key`), here or on all machines."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from qoder_cli.app import App
from qoder_cli.base.errors import NotFound, OutcomeUnknown, QoderError, Rejected, UsageError
from qoder_cli.base.ids import check_key
from qoder_cli.base.model import data_of
from qoder_cli.base.times import utc_text
from qoder_cli.cli.options import YES, Text, argument, confirmed, option
from qoder_cli.commands.viewing import View, Viewing
from qoder_cli.local.store import StoredAttempt
from qoder_cli.runs.lost import in_doubt, in_words, newest_attempt

if TYPE_CHECKING:
    from qoder_cli.keys.record import KeyRecord, KeyStore, StoredKey

_LISTED = 5  # runs that a warning names
_KEY = argument("KEY", "An idempotency key that was used.")
_COLUMNS = ("key", "state", "deployment", "run", "adopted", "since", "machine")


class KeyData(TypedDict):
    """An idempotency key that was used."""

    key: Annotated[str, "the key"]
    state: Annotated[
        str, "claimed (nothing was sent yet), sending (a run may have been started), started, or applying (a stack)"
    ]
    deployment: Annotated[str | None, "deployment id, or null for a stack"]
    run: Annotated[str | None, "the run that was started under it, or null"]
    adopted: Annotated[bool, "true if that run was found in the run list after a lost response"]
    since: Annotated[str, "when it was used"]
    machine: Annotated[str | None, "the machine that used it, with a shared store, or null"]


class FreedKey(TypedDict):
    """A key that can start a run again."""

    key: Annotated[str, "the key"]
    deployment: Annotated[str | None, "deployment id, or null for a stack"]
    run: Annotated[str | None, "the run that was started under it, or null"]
    freed: Annotated[bool, "true"]


class NewStore(TypedDict):
    """A store of keys that machines share."""

    store: Annotated[str, "the memory store's id, or the URL of the database"]
    variable: Annotated[str, "what to set on each machine"]
    tested: Annotated[bool, "true"]


_STORE = option("--store", "STORE", "memory (default), or postgresql://HOST/DATABASE.", default="memory")
_FOR_AGENTS = "Idempotency keys of qoder on several machines. Give it to no agent, and change nothing in it by hand."


def init(app: App, store: Text = _STORE, yes: bool = YES) -> None:
    """Make a store of idempotency keys that machines share.

    Makes a memory store in this account, or a table in PostgreSQL, tests it,
    and prints what to set on each machine. Run it once: two stores are two
    sets of keys. Asks if there is one; scripts need --yes. Exits 6 if the
    store cannot keep keys. See `qoder help many-machines`.

    Examples:
      qoder key init
      qoder key init --store postgresql://qoder@db.example.com/ci"""
    app.settings.allowed.check("all", "making a store of keys")
    from qoder_cli.keys import selftest
    from qoder_cli.keys.opening import checked, opened
    from qoder_cli.keys.postgres import passwords

    name = str(store)
    if name != "memory":
        name = checked(name, source="--store")
    if not yes and (existing := _other_stores(app, name)):
        listed = " and ".join(existing)
        question = f"{listed} is a store of keys already, and keys of one do not count in another. Make another?"
        why = f"there is a store of keys already: {listed}"
        _confirm(app, question, why, yes=False, hint="use that one, or confirm another with --yes")
    if name != "memory":
        keys = opened(app, name)
        create = getattr(keys, "create", None)
        if create is not None:
            create()
    else:
        from qoder_cli.keys.memstore import STORE_NAME
        from qoder_cli.nouns.edits.create import creating
        from qoder_cli.nouns.table import NOUNS

        app.progress.note(f"creating the memory store {STORE_NAME}{app.client.settings.whereabouts}")
        body = {"name": STORE_NAME, "description": _FOR_AGENTS}
        name = creating(app, NOUNS["memory"], body).deliver().id
        keys = opened(app, name)
        app.progress.note("a memory store keeps this promise if the service decides its writes in one place")
    selftest.check(keys)
    line = f"QODER_KEYS={name}"
    if "://" in name:  # standard error shows no users of URLs
        line = "QODER_KEYS" if passwords(name) else line
        app.progress.note("set QODER_KEYS on every machine to the URL that --store was given")
    else:
        if warning := selftest.warning_of_writers(app.client, name):
            app.progress.warn(warning)
        app.progress.note(f"set it on every machine: {line}")
    made: NewStore = {"store": keys.shown, "variable": line, "tested": True}
    app.output.record(dict(made), id=keys.shown)


def list_(app: App, viewing: Viewing) -> None:
    """List the idempotency keys that were used.

    Those of this machine, or with a shared store (QODER_KEYS) of all. State:
    claimed (nothing sent yet), sending (a run may have started), started;
    applying for a stack.

    Examples:
      qoder key list"""
    view = View(app, viewing, _COLUMNS)
    view.show(lambda: app.output.records([dict(_row(record)) for record in _records(app)], id="key"))


def get(app: App, key: str = _KEY) -> None:
    """Show what is known of an idempotency key.

    Exits 5 if it was not used: here, or with a shared store on any machine.

    Examples:
      qoder key get nightly-2026-06-14"""
    check_key(key, app.keep_secrets())
    keys = _shared(app)
    if keys is None:
        entries = app.store.of_key(key, host=app.settings.host)
        record = next((_record(entry) for entry in reversed(entries) if not entry.nothing), None)
    else:
        stored = _found(app, keys, key)
        record = stored and stored.record
    if record is None:
        raise _not_used(app, key, keys)
    app.output.record(dict(_row(record)), id=key)


def free(app: App, key: str = _KEY, yes: bool = YES) -> None:
    """Let an idempotency key start a run again.

    Use it when `deploy run` exited 9 for a key, and none of the deployment's
    runs is yours. It changes only what this machine and the shared store
    (QODER_KEYS) remember; no run is stopped. Asks first; scripts need --yes.
    Exits 5 if the key was not used, 6 while a command uses it, 9 if the store
    does not say. `stack NAME` is the turn to apply that stack: the next
    `apply` begins, and this one stops.

    Examples:
      qoder key free nightly-2026-06-14 --yes"""
    app.settings.allowed.check("all", "freeing a key")
    check_key(key, app.keep_secrets())
    host = app.settings.host
    keys = _shared(app)
    with _to_itself(app, key):
        entries = app.store.of_key(key, host=host)
        stored = keys and _found(app, keys, key)
        if not entries and not stored:
            raise _not_used(app, key, keys)
        record = stored.record if stored else None
        if record and record.run:
            app.progress.warn(f"it started run {record.run}")
        elif record and record.state == "sending":
            app.progress.warn(f"a command on some machine has been starting a run under it since {record.at}")
        elif record and record.state == "applying":
            app.progress.warn(f"{record.machine} has been applying the stack since {record.at}")
        _warn_of_runs(app, entries, named=record and record.run)
        if record and record.state == "applying":
            _confirm(app, f"End {key}? Another `apply` can begin.", "a machine may be applying it", yes=yes)
        else:
            question = f"Free the key {key}? `deploy run` can start another run under it."
            _confirm(app, question, "a run may have been started", yes=yes)
        if keys and stored:
            _free_shared(app, keys, stored)
        if entries:
            app.store.free_key(key, host=host)
            _check_written(app, f"the key {key!r} was not freed")
    record = record or _record(entries[-1])
    freed: FreedKey = {"key": key, "deployment": record.deployment or None, "run": record.run, "freed": True}
    app.output.record(dict(freed), id=key)


def _shared(app: App) -> "KeyStore | None":
    """Return the store that machines share; None where none is set up. Raises UsageError, AuthError."""
    if app.settings.keys is None:
        return None
    from qoder_cli.keys.opening import shared_store

    return shared_store(app)


def _found(app: App, keys: "KeyStore", key: str) -> "StoredKey | None":
    """Return what a shared store has of a key; None if it is free."""
    from qoder_cli.keys.record import name_of

    stored = keys.read(name_of(app.settings.host, app.settings.workspace_id, key))
    return None if stored is None or stored.record.state == "free" else stored


def _not_used(app: App, key: str, keys: "KeyStore | None" = None) -> NotFound:
    if keys is None:
        app.store.check_read()
    where = f"in {keys.shown}" if keys else "on this machine"
    why = f"the key {key!r} was not used {where} (for {app.settings.host})"
    return NotFound(why, hint="use it: a key that was not used is free")


def _records(app: App) -> "list[KeyRecord]":
    """Return what is kept of the keys that were used, newest first: in the shared store, or else on this machine."""
    keys, host, workspace = _shared(app), app.settings.host, app.settings.workspace_id
    if keys is not None:
        records = [entry.record for entry in keys.entries()]
        ours = [record for record in records if (record.host, record.workspace) == (host, workspace)]
        return sorted((record for record in ours if record.state != "free"), key=lambda record: record.at, reverse=True)
    newest: dict[str, StoredAttempt] = {}
    for entry in app.store.entries(host):
        if entry.attempt.key and not entry.nothing:
            newest[entry.attempt.key] = entry
    app.store.check_read()
    return [_record(entry) for entry in reversed(newest.values())]


def _record(entry: StoredAttempt) -> "KeyRecord":
    """Return what this machine remembers of a key as a shared store has it."""
    from qoder_cli.keys.record import KeyRecord

    attempt, at = entry.attempt, utc_text(entry.attempt.at)
    record = KeyRecord("sending", "", attempt.key, attempt.deployment, attempt.host, at=at)
    if entry.run is None:
        return record
    return record._replace(state="started", run=entry.run, adopted=entry.adopted)


def _row(record: "KeyRecord") -> KeyData:
    return data_of(
        KeyData, record, deployment=record.deployment or None, machine=record.machine or None, since=record.at
    )


def _free_shared(app: App, keys: "KeyStore", stored: "StoredKey") -> None:
    """Free the key in the store, as it was read. Raises Rejected if it has changed since, OutcomeUnknown."""
    from qoder_cli.keys.record import Lost

    key = stored.record.key
    look: dict[str, Any] = {"hint": "to see how it is now", "next": app.command("key", "get", key)}
    try:
        is_used = keys.put(stored, stored.record.freed) is None and _found(app, keys, key) is not None
    except Lost:
        try:
            is_used = _found(app, keys, key) is not None
        except QoderError as error:
            raise OutcomeUnknown(f"unknown whether the key {key!r} was freed: {error.message}", **look) from error
    if is_used:
        why = f"the key {key!r} was not freed: a command uses it, or the store was not reached"
        raise Rejected(why, **look)


def forget_newest(app: App, *, yes: bool) -> None:
    """Let the newest attempt to start a run count as not started: a person's decision. Sends nothing.

    So do the other open attempts under its key. Raises UsageError if it is in no doubt or nobody confirms it, NotFound
    if there is none, Rejected while a command uses its key.
    """
    app.settings.allowed.check("all", "--forget")
    entry = newest_attempt(app)
    if entry.run:
        why = f"the latest start is not in doubt: it started run {entry.run}"
        raise UsageError(why, hint="to wait for it", next=app.command("run", "wait", "last"))
    with _to_itself(app, entry.attempt.key):
        attempts = in_doubt(app, entry)
        what = in_words(attempts, max(app.clock.now() - entry.attempt.at, 0.0))
        _warn_of_runs(app, [StoredAttempt(attempt) for attempt in attempts])
        question = f"Forget {what}? It counts as not started, and can be repeated."
        _confirm(app, question, "a run may have been started", yes=yes)
        for attempt in attempts:
            app.store.record_nothing(attempt)
        _check_written(app, f"{what} was not forgotten")
    app.progress.note(f"{what} now counts as not started", always=True)


@contextmanager
def _to_itself(app: App, key: str) -> Iterator[None]:
    """Hold a key's lock. Raises Rejected if another command holds it."""
    host = app.settings.host
    if not app.store.hold(f"key {key}", host=host):
        raise Rejected(f"another command is using the key {key!r}; nothing was changed", hint="wait until it has ended")
    try:
        yield
    finally:
        app.store.let_go(f"key {key}", host=host)


def _warn_of_runs(app: App, entries: Sequence[StoredAttempt], *, named: str | None = None) -> None:
    """Name the runs that these attempts started, or may have started, but for one that was `named` before."""
    sighted = app.store.sighted([entry.attempt for entry in entries if entry.open])
    runs = [entry.run for entry in entries if entry.run]
    if runs and runs[-1] != named:
        app.progress.warn(f"it started run {runs[-1]}")
    if sighted:
        listed = ", ".join(sorted(sighted)[:_LISTED])
        app.progress.warn(f"these runs may have been started by an unconfirmed attempt: {listed}")


def _other_stores(app: App, name: str) -> list[str]:
    """Return the stores of keys beside the one to be made: that of the settings, and for memory those of the account.

    Raises AuthError, ApiError, NoResponse where the account's list may be incomplete.
    """
    from qoder_cli.keys.opening import named, shown

    stores = set()
    with suppress(UsageError):  # what the settings name is no store: to make one is the way out
        stores = {shown(named(app.settings.keys))} - {"", shown(name)}  # by another user it is the same database
    if name == "memory":
        from qoder_cli.keys.memstore import stores_of_account

        stores |= stores_of_account(app.client)
    return sorted(stores)


def _confirm(
    app: App, question: str, why: str, *, yes: bool, hint: str = "check the runs, then confirm with --yes"
) -> None:
    """Ask a person, unless `yes`, whether what may have happened may be repeated. Raises UsageError, with the why."""
    if yes:
        return
    if not app.may_ask:
        raise UsageError(f"this requires confirmation: {why}", hint=hint)
    if not confirmed(app, question, nothing="nothing was changed"):
        raise UsageError("nothing was changed")


def _check_written(app: App, so: str) -> None:
    """Raise UsageError, which says how it still is, unless what a person decided is in the store."""
    if not app.store.is_written():
        raise UsageError(f"{so}: {app.store.path} cannot be written", hint="to see why", next=app.command("doctor"))


COMMANDS = {"init": init, "list": list_, "get": get, "free": free}
