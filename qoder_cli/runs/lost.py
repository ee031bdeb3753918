"""Find out whether a trigger whose response is lost started a run, from the deployment's run list.

The list is read with two tests, never one:

    narrow, to adopt a run        a manual run, created by the server's clock in whole seconds not before the attempt
                                  and at most ADOPT_WITHIN after it, and claimed by no other trigger of this machine
    wide, to send again, or       every possible run: not scheduled; not known to be another trigger's; undated, or
    to say that nothing started   created after the attempt by either clock, however much later. A list that was not
                                  read back to the attempt, or that shows another deployment's runs, rules nothing out

A run is adopted only if it alone passes the narrow test, if no other possible run is undated or of the same time,
and only after the last look: an early one may be a stranger's, while ours is still on its way. The wide test is strict,
because it permits a second run.

If no possible run is listed until NOT_STARTED_AFTER, the attempt counts as not started. If one is listed, only a person
can end the doubt: `run wait last --forget`, `key free`.

It stays unknown (OutcomeUnknown) where
    the last look could not be read, or was no list back to the attempt
    a possible run of an earlier look is gone
    there are several possible runs, or one that is not certain enough: late, undated, not manual
    the server sent no Date header, or our clock was set back since
    another open trigger of this machine is a rival, or was faster to claim the run
"""

import math
import shlex
import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, NotFound, OutcomeUnknown, QoderError, Unavailable
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Run, mapping, text
from qoder_cli.base.polling import poll
from qoder_cli.base.times import Clock, span
from qoder_cli.http.client import Client
from qoder_cli.http.readback import ReadBack
from qoder_cli.local.store import ABOUT, Attempt, Store, StoredAttempt

if TYPE_CHECKING:
    from qoder_cli.keys.record import KeyRecord, KeyStore, StoredKey

# `qoder help guarantees` tells the first three of these, and how often a trigger is sent again.
RUN_LIST_LOOKS = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds after the looking began
THOROUGH_LOOKS = (16.0, 30.0)  # then, to send again or to say that nothing started
ADOPT_WITHIN = 120.0  # seconds between an attempt and the run that it started
NOT_STARTED_AFTER = 600.0  # seconds; after this long with no possible run listed, an attempt counts so
_NAMED = 5  # runs that an error lists
_MARK_SHOWS = (0.5, 1.0, 2.0, *(4.0,) * 7)  # seconds between two looks at a store whose list lags


class Others(NamedTuple):
    """What is known of other machines' triggers: by default nothing."""

    named: Callable[[], Collection[str]] = lambda: ()  # runs that responses to them named
    check: Callable[[Run], None] = lambda run: None  # raises OutcomeUnknown for a run that may be one of theirs


NO_OTHERS = Others()


def others_in(keys: "KeyStore", claim: "KeyRecord", clock: Clock) -> Others:
    """Return what a store that machines share says of the triggers under other keys than that of a claim."""

    def named() -> set[str]:
        records: list[KeyRecord] = []
        with suppress(QoderError):
            records = [entry.record for entry in keys.entries()]
        return {run for record in records for run in (record.before if record.is_about(claim) else record.runs)}

    def check(run: Run) -> None:
        from qoder_cli.keys.protocol import why_not_adopted

        try:
            others = _written_before(keys, claim, clock)
        except QoderError as error:
            raise OutcomeUnknown(f"run {run.id} may be it, but {error.message}") from error
        why = why_not_adopted(run.id, claim, others)
        if why is not None:
            raise OutcomeUnknown(why)

    return Others(named, check)


def _written_before(keys: "KeyStore", claim: "KeyRecord", clock: Clock) -> "list[KeyRecord]":
    """Return what a store keeps, with all that was written before this began. Raises QoderError.

    Its list may lag. Whoever started a listed run had written that they would; so a mark is written now, and the list
    is read until it shows that. Then once more: a page of that list may have been older than the one with the mark.
    """
    from qoder_cli.keys.record import Lost

    id = str(uuid.uuid4())
    record = claim._replace(state="free", owner=id, key=f"look {id}", run=None, sent=None, before=())

    def shows_mark(entries: "list[StoredKey]") -> bool:
        return any(entry.record.owner == id for entry in entries)

    mark = None
    with suppress(Lost):
        mark = keys.put(None, record)
    if mark is None:
        raise Unavailable(f"the store of keys {keys.shown} did not take a mark")
    try:
        poll(keys.entries, clock, pauses=_MARK_SHOWS, is_enough=shows_mark)
        entries = keys.entries()
    finally:
        with suppress(QoderError, Lost):
            keys.put(mark, None)
    if not shows_mark(entries):
        raise Unavailable(f"the store of keys {keys.shown} does not show what was written")
    return [entry.record for entry in entries]


Attempts = Callable[[], Sequence[Attempt]]


def look_for_run(
    client: Client,
    store: Store,
    attempts: Attempts,
    *,
    thoroughly: bool,
    others: Others = NO_OTHERS,
) -> Run | None:
    """Return the run that one of several attempts at a trigger started, claimed for it.

    If `thoroughly`, None means that the list shows that nothing was started; otherwise only that nothing shows yet.
    Raises OutcomeUnknown if a run may be ours but need not be, or if the list cannot be read back; Signalled.
    """
    search = _Search(client, store, attempts, others)
    looks: tuple[float, ...] = (*RUN_LIST_LOOKS, *THOROUGH_LOOKS) if thoroughly else RUN_LIST_LOOKS
    began = client.clock.monotonic()
    for look in looks:
        if look in THOROUGH_LOOKS and not search.is_worth_more:
            break
        client.clock.sleep(max(began + look - client.clock.monotonic(), 0.0))
        search.look()
    return search.verdict()


def age(client: Client, attempt: Attempt) -> float:
    """Return the seconds since an attempt, by the clock on which it is youngest."""
    ages = [client.clock.now() - attempt.at]
    if attempt.ahead is not None and client.server_ahead is not None:
        ages.append(client.server_now() - attempt.at - attempt.ahead)
    return max(min(ages), 0.0)


def dated(client: Client, attempt: Attempt) -> Attempt:
    """Return an attempt with the server's clock: its own, else as it is ahead now, unless ours was set back since."""
    if attempt.ahead is not None or attempt.at > client.clock.now():
        return attempt
    return attempt._replace(ahead=client.server_ahead)


def may_have_started(attempt: Attempt, created: float | None) -> bool:
    """Return whether an attempt may have started a run created then, on the server's clock, by the narrow test."""
    if created is None or attempt.ahead is None:
        return False
    sent = attempt.at + attempt.ahead
    return math.floor(sent) <= created <= sent + ADOPT_WITHIN


class _Search:
    """What several looks at the run list have shown. A run that was listed once may be ours."""

    def __init__(self, client: Client, store: Store, attempts: Attempts, others: Others) -> None:
        self._client = client
        self._store = store
        self._attempts = attempts
        self._others = others
        self._shown: dict[str, Run] = {}
        self._problem: ApiError | None = None
        self._gap: str | None = None  # why the newest look rules nothing out
        newest = attempts()[-1]
        self._deployment, self._host = newest.deployment, newest.host

    def look(self) -> None:
        self._problem = self._gap = None
        reading = ReadBack(self._client, f"/deployments/{segment(self._deployment)}/runs")
        try:
            for row in reading.rows(lambda: min(attempt.no_run_before for attempt in self._attempts())):
                run = Run.read(row)
                if run is None:
                    self._gap = "the run list shows something that is not a run"
                elif run.deployment_id not in (None, self._deployment):
                    self._gap = f"the run list shows runs of another deployment than {self._deployment}"
                else:
                    self._shown[run.id] = run
        except ApiError as error:
            self._problem = error
        if not reading.is_whole:
            self._gap = self._gap or "the run list could not be read back far enough"

    @property
    def is_worth_more(self) -> bool:
        if self._problem is not None:
            return self._problem.retryable
        return self._gap is None and not self._possible(self._store.owners(self._host))

    def verdict(self) -> Run | None:
        """Return our run, claimed; None if no run can be ours. Raises OutcomeUnknown."""
        if self._problem is not None:
            raise OutcomeUnknown(f"the run list cannot be read ({self._problem.message.rstrip('.')})")
        owners = self._store.owners(self._host)
        possible = self._possible(owners)
        # A possible run seen in an earlier look must still be listed.
        gone = sorted(self._store.sighted(self._attempts()) - self._shown.keys())
        if possible:
            self._store.sight(self._attempts()[-1], [run.id for run in possible])
        if gone:
            names = ", ".join(gone[:_NAMED])
            raise OutcomeUnknown(f"run {names} may be it, but has disappeared from the list")
        if self._gap is not None:
            shown = f"; these may be it: {_listed(possible)}" if possible else ""
            raise OutcomeUnknown(f"{self._gap}{shown}")
        if not possible:
            return None
        ours = [run for run in possible if self._is_ours(run, owners)]
        # Possible runs whose time does not rule them out.
        likely = [run for run in possible if (created := self._created(run)) is None or self._in_time(created)]
        if len(ours) != 1 or likely != ours:
            names, count = _listed(likely or possible), len(likely or possible)
            if any(attempt.ahead is None for attempt in self._attempts()):
                why = f"cannot match runs (the server sent no Date header, or our clock was set back); listed: {names}"
            elif count > 1:
                why = f"{count} runs may be it: {names}"
            else:
                why = f"run {names} may be it, but that is not certain enough to adopt it"
            raise OutcomeUnknown(why)
        [run] = ours
        self._check_rivals(run)
        self._others.check(run)
        created = self._created(run)
        may_have = [attempt for attempt in self._attempts() if may_have_started(attempt, created)]
        if not may_have:  # what was read since then told more of the server's clock
            raise OutcomeUnknown(f"run {run.id} may be it, but that is not certain enough to adopt it")
        if not self._store.claim(may_have[-1], run.id):  # the newest of them
            raise OutcomeUnknown(f"run {run.id} may be it, but belongs to another command on this machine")
        return run

    def _created(self, run: Run) -> float | None:
        """Return when a run was created, on the server's clock; None if undated, or in the future on both clocks."""
        latest = max(self._client.clock.now(), self._client.server_now()) + ABOUT
        return run.created if run.created is not None and run.created <= latest else None

    def _possible(self, owners: dict[str, StoredAttempt]) -> list[Run]:
        """Return the runs that may be ours, by the wide test."""
        mine = {attempt.id for attempt in self._attempts()}
        since = min(attempt.no_run_before for attempt in self._attempts())

        def is_possible(run: Run) -> bool:
            owner, created = owners.get(run.id), self._created(run)
            # Adoption by another attempt proves nothing; a response that names the run does.
            is_another = owner is not None and owner.attempt.id not in mine and not owner.adopted
            is_earlier = created is not None and created < since
            return not (is_earlier or is_another or run.is_scheduled)

        possible = [run for run in self._shown.values() if is_possible(run)]
        if len(possible) > 1:
            named = self._others.named()
            possible = [run for run in possible if run.id not in named]
        return possible

    def _is_ours(self, run: Run, owners: dict[str, StoredAttempt]) -> bool:
        is_manual = text(mapping(run.raw.get("trigger_context")).get("type")) == "manual"
        is_free = run.id not in owners or owners[run.id].attempt.id in {attempt.id for attempt in self._attempts()}
        return is_manual and is_free and self._in_time(self._created(run))

    def _in_time(self, created: float | None) -> bool:
        return any(may_have_started(attempt, created) for attempt in self._attempts())

    def _check_rivals(self, run: Run) -> None:
        """Raise OutcomeUnknown if an open trigger of another command may have started the run."""
        mine = {attempt.id for attempt in self._attempts()}
        since = min(attempt.at for attempt in self._attempts()) - ADOPT_WITHIN
        for entry in self._store.entries(self._host, since=since):
            other = entry.attempt
            is_other = other.id not in mine and other.deployment == self._deployment
            if entry.open and is_other:
                raise OutcomeUnknown(f"run {run.id} may be it, or may belong to another command on this machine")


def _listed(runs: Sequence[Run]) -> str:
    return ", ".join(run.id for run in runs[:_NAMED])


def last_run(app: App) -> str:
    """Return the newest run triggered here; first settle the newest attempt, if it is open. Raises QoderError."""
    client = app.client
    entry = newest_attempt(app)
    if entry.run:
        return entry.run
    attempts, deployment = in_doubt(app, entry), entry.attempt.deployment
    what = in_words(attempts, age(client, entry.attempt))
    look = app.command("run", "list", deployment)
    others = NO_OTHERS
    if app.settings.keys is not None:  # what is known of triggers on other machines
        from qoder_cli.keys.opening import shared_store
        from qoder_cli.keys.record import KeyRecord

        about = entry.attempt.key, deployment, entry.attempt.host, app.settings.workspace_id
        others = others_in(shared_store(app), KeyRecord("claimed", "", *about), app.clock)
    app.progress.note(f"{what} is unconfirmed; looking for its run")
    try:
        run = look_for_run(
            client, app.store, lambda: [dated(client, attempt) for attempt in attempts], thoroughly=True, others=others
        )
    except OutcomeUnknown as error:
        why = f"unknown whether {what} started a run: {error.message}"
        raise OutcomeUnknown(why, hint=hint_to_end_doubt(to_forget(app)), next=look, run_state="unknown") from error
    if run is not None:
        return run.id
    if not note_not_started(client, app.store, attempts):
        start = shlex.join(app.command("deploy", "run", deployment))
        raise NotFound(f"{what} did not start a run", hint=f"to start one: {start}")
    raise OutcomeUnknown(
        f"unknown whether {what} started a run: none is listed yet",
        hint=f"try again later; after {NOT_STARTED_AFTER / 60:.0f} minutes it counts as not started",
        next=app.command("run", "wait", "last"),
        run_state="unknown",
    )


def note_not_started(client: Client, store: Store, attempts: Sequence[Attempt]) -> list[Attempt]:
    """Record as not started the attempts that are long enough ago: the list shows no run. Return the others."""
    left = []
    for attempt in attempts:
        if age(client, dated(client, attempt)) > NOT_STARTED_AFTER:
            store.record_nothing(attempt)
        else:
            left.append(attempt)
    return left


def in_doubt(app: App, newest: StoredAttempt) -> list[Attempt]:
    """Return the open attempts under the key of the newest one, which is open, too; that one last."""
    entries = app.store.of_key(newest.attempt.key, host=newest.attempt.host)
    others = [entry.attempt for entry in entries if entry.open and entry.attempt.id != newest.attempt.id]
    return [*others, newest.attempt]


def in_words(attempts: Sequence[Attempt], ago: float) -> str:
    """Return how to speak of the attempts under one key, the newest of which was so many seconds ago."""
    what = f"the attempt to start {attempts[-1].deployment} {span(ago)} ago"
    if len(attempts) > 1:
        what += f" (and {len(attempts) - 1} before it under its key)"
    return what


def to_forget(app: App) -> str:
    """Return the command by which a person ends the doubt about the newest attempt."""
    return shlex.join(app.command("run", "wait", "last", "--forget"))


def hint_to_end_doubt(command: str) -> str:
    """Return the hint that comes before the command that lists the deployment's runs."""
    return f"if none of the deployment's runs is yours: {command}; list them first"


def newest_attempt(app: App) -> StoredAttempt:
    """Return the newest attempt of this profile. Raises NotFound."""
    settings = app.settings
    entry = app.store.last(profile=settings.profile, host=settings.host)
    if entry is None:
        app.store.check_read()
        why = f"no run was started from this machine (profile {settings.profile}, {settings.host})"
        raise NotFound(why, hint="use a run id, or DEPLOYMENT@last")
    return entry
