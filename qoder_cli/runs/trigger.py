"""The one write that must not happen twice: `POST /deployments/{id}/run`.

Its page promises no idempotency, replies get lost and a server can act late (api/facts.md, 3.5 and 5). So:

    429, a connection never made       send again, under the same key
    any other 4xx, 3xx                 never again; nothing was started
    a complete 5xx in the API's        the run list decides; if it shows no candidate, again under the same key,
    own envelope, but 502 and 504      at most twice, then exit 7
    no answer, a cut or broken one,    never again by itself: the run list decides (`--on-lost` may say otherwise)
    any other 5xx, an unreadable 2xx

Once an attempt was lost, here or earlier under the same key, no later refusal says that nothing was started.

The run list is looked at for 8 seconds. A candidate is a manual run, created not before the attempt in whole seconds of
the server's clock, that no other trigger of this machine claimed. Exactly one, to the end of the look: it is adopted. A
candidate that shows early is not adopted early, for it may be a stranger's while ours is still on its way.
"""

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from qoder_cli.choices import OnLost
from qoder_cli.clock import LONGEST_RETRY_AFTER
from qoder_cli.errors import ApiError, LostSight, NoAnswer, NotFound, OutcomeUnknown, QoderError, Signalled, UsageError
from qoder_cli.http.pace import Closed, Pace
from qoder_cli.http.resending import did_nothing, next_try
from qoder_cli.ids import segment
from qoder_cli.journal import Entry, Intent, Journal
from qoder_cli.model import Run, mapping, text
from qoder_cli.output.progress import Progress
from qoder_cli.runs.newest import newest_runs
from qoder_cli.runs.observe import YOUNG, Observer
from qoder_cli.times import parse_timestamp, span
from qoder_cli.tokens import has_token

if TYPE_CHECKING:
    from qoder_cli.http.client import Client, Pending


TRIGGER_TIMEOUT = 60.0  # seconds
LAST_WORDS = 2.0  # seconds to settle a trigger under way when a signal arrives
LOOKS = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds after the loss at which the run list is looked at
OLD = 120.0  # seconds after which a trigger has acted, or never will, as far as one look can tell
RESENDS = 2
GATEWAY = (502, 504)  # who answers so does not know what became of the request, whatever the envelope
KEY_PAUSE = 0.2  # seconds between two looks whether another process has let go of the key
LONGEST_KEY = 255  # characters
RIVAL = 120.0  # seconds in which another trigger of this machine, itself unsettled, may have started what we see


class Started(NamedTuple):
    """A run that was triggered. `adopted`: its answer was lost and the list showed it; `sent`: not known before."""

    run: Run
    adopted: bool = False
    sent: bool = True


class TriggerStopped(Exception):
    """A signal arrived while the trigger was under way; `run` is what could still be learnt of it, or None."""

    def __init__(self, signalled: Signalled, run: Run | None) -> None:
        super().__init__(signalled)
        self.signalled = signalled
        self.run = run


def check_key(key: str, secrets: Collection[str] = ()) -> str:
    """Return an idempotency key that was typed. Raises UsageError for one that no header can carry, or with a secret.

    The key is kept in the journal and shown in the command to repeat; a token must come to neither.
    """
    if any(secret in key for secret in secrets) or has_token(key):
        raise UsageError("--idempotency-key contains a token", hint="take another key, as nightly-2026-06-14")
    if not 0 < len(key) <= LONGEST_KEY or not key.isascii() or not key.isprintable() or key != key.strip():
        raise UsageError(
            f"--idempotency-key takes 1 to {LONGEST_KEY} printable ASCII characters without spaces around them",
            hint="a UUID, or a name and a date as in nightly-2026-06-14",
        )
    return key


@dataclass
class Trigger:
    """One run to be started, once. `on_started` hears of the run before any signal can come in between."""

    client: "Client"
    journal: Journal
    progress: Progress
    deployment_id: str
    key: str
    is_new_key: bool = False  # made just now, so that no earlier trigger can have had it
    on_lost: OnLost = "adopt"
    on_started: Callable[[Run], None] = field(default=lambda run: None)
    repeat: list[str] | None = None  # the command that repeats this trigger under the same key, as words
    pace: Pace | None = None  # where several are started at a time: what spaces them, and ends it
    may_have_started: bool = False  # an attempt was sent, and no answer has said that it started nothing
    _lost_one: bool = False  # an attempt before the present one is unsettled, whatever becomes of this one

    def start(self) -> Started:
        """Start one run and return it, or the run that this key is known to have started.

        Raises ApiError when certainly nothing was started, OutcomeUnknown when that is not certain, UsageError for a
        key that another deployment was triggered with, TriggerStopped when a signal came in between, Closed when the
        pace was closed before anything could be started.
        """
        with self._key_to_itself():
            earlier = self._under_this_key()
            if earlier is not None and (known := self._settled(earlier)):
                return known
            self._lost_one = self.may_have_started = earlier is not None
            return self._settle(earlier.intent if earlier else self._intend())

    def _settle(self, intent: Intent) -> Started:
        """Send it, and write down that nothing was started where that is certain: of earlier attempts too."""
        try:
            return self._send(intent)
        except (ApiError, UsageError, Signalled, Closed) as refusal:  # each says that this attempt started nothing
            if not self._lost_one:
                self.journal.settle(intent, None)
            elif isinstance(refusal, ApiError):
                raise self._unknown(refusal, "an earlier attempt may have started one", next=self.repeat) from refusal
            elif isinstance(refusal, Signalled):
                raise TriggerStopped(refusal, None) from None
            raise

    @contextmanager
    def _key_to_itself(self) -> Iterator[None]:
        """Let no other process trigger under this key meanwhile; wait for one that does. Raises Signalled, Closed."""
        if self.is_new_key:
            yield
            return
        host = self.client.settings.host
        if not self.journal.take_key(self.key, host=host):
            self.progress.note(f"another command is starting a run under the key {self.key!r}: waiting for it")
            while not self.journal.take_key(self.key, host=host):
                if self.pace and self.pace.is_closed:
                    raise Closed
                self.client.clock.sleep(KEY_PAUSE)
        try:
            yield
        finally:
            self.journal.release_key(self.key, host=host)

    def _intend(self) -> Intent:
        settings = self.client.settings
        return self.journal.intend(
            at=self.client.clock.now(),
            profile=settings.profile,
            host=settings.host,
            deployment=self.deployment_id,
            key=self.key,
        )

    def _under_this_key(self) -> Entry | None:
        """Return the newest earlier trigger under this key that started something, or may have."""
        entries = [] if self.is_new_key else self.journal.of_key(self.key, host=self.client.settings.host)
        for entry in entries:
            if entry.intent.deployment != self.deployment_id:
                raise UsageError(
                    f"the key {self.key!r} was used for deployment {entry.intent.deployment}",
                    hint="use another key for another deployment",
                )
        mine = [entry for entry in entries if not entry.nothing]
        return next((entry for entry in mine if entry.run), mine[-1] if mine else None)

    def _settled(self, earlier: Entry) -> Started | None:
        """Return the run of an earlier trigger under this key, looking for it if its answer was lost."""
        if earlier.run:
            self.progress.note(f"the key {self.key!r} already started run {earlier.run}: nothing was sent")
            return Started(self._is_ours(self._read_known(earlier.run, earlier.intent)), sent=False)
        self.progress.note(f"an earlier trigger under the key {self.key!r} is unsettled: looking for its run")
        try:
            run = look_for_lost(self.client, self.journal, earlier.intent)
        except Signalled as signalled:
            raise TriggerStopped(signalled, None) from None
        return self._adopted(run) if run else None

    def _read_known(self, run_id: str, intent: Intent) -> Run:
        """Return a run that this key is known to have started, as it stands. Raises ApiError, LostSight."""
        is_young = self.client.clock.now() - intent.at < YOUNG
        try:
            return Observer(self.client, run_id, progress=self.progress, is_fresh=lambda _: is_young).read_once()
        except NotFound as error:
            raise LostSight(
                f"the key {self.key!r} started run {run_id}, which the server does not show: {error.message}",
                hint="look for it again; nothing was sent",
                run_id=run_id,
                run_state="unknown",
            ) from error

    def _send(self, intent: Intent) -> Started:
        """Send until the answer settles it, or nobody can."""
        refusals = resends = 0
        began = self.client.clock.monotonic()
        while True:
            try:
                return Started(self._once(intent))
            except ApiError as error:
                if resends and error.http_status == 409:
                    raise self._unknown(error) from error  # our own earlier attempt may be what is in its way
                if did_nothing(error):
                    refusals += 1
                    self.may_have_started = self._lost_one or bool(resends)
                    self._pause(error, refusals, began)
                elif (run := self._look(intent, error)) is not None:
                    return self._adopted(run)
                else:
                    self._may_resend(error, resends)
                    resends += 1

    def _once(self, intent: Intent) -> Run:
        timeout = self.client.settings.request_timeout or TRIGGER_TIMEOUT
        path = f"/deployments/{segment(self.deployment_id)}/run"
        pending = self.client.prepare("POST", path, headers={"idempotency-key": self.key}, timeout=timeout)
        self._take_turn()
        try:
            pending.start()
            return self._heard(intent, pending, timeout)
        except Signalled as signalled:
            if not pending.started:
                raise
            self.progress.note("stopping: waiting 2 s at most for the answer; Ctrl-C again leaves at once")
            raise self._last_words(intent, pending, signalled) from None

    def _take_turn(self) -> None:
        if self.pace is None:
            self._begin()
            return
        try:
            self.pace.take(self._begin)
        except Closed as closed:
            if self.may_have_started:
                error = QoderError("it was stopped before it could be sent again")
                raise self._unknown(error) from closed
            raise

    def _begin(self) -> None:
        self.may_have_started = True

    def _last_words(self, intent: Intent, pending: "Pending", signalled: Signalled) -> Signalled | TriggerStopped:
        """Return what is raised for a signal: itself, when the answer comes in time and says that nothing was done."""
        try:
            return TriggerStopped(signalled, self._heard(intent, pending, LAST_WORDS))
        except ApiError as error:
            self.may_have_started = self._lost_one or not did_nothing(error)
            return TriggerStopped(signalled, None) if self.may_have_started else signalled
        except OutcomeUnknown:
            return TriggerStopped(signalled, None)

    def _heard(self, intent: Intent, pending: "Pending", within: float) -> Run:
        run = Run.read(self.client.understand(pending.result(within)))
        if run is None:
            raise NoAnswer("the server answered with something that is no run")
        self.on_started(self._is_ours(run))
        self.journal.settle(intent, run.id)
        return run

    def _is_ours(self, run: Run) -> Run:
        if run.deployment_id not in (None, self.deployment_id):
            raise OutcomeUnknown(
                f"the server answered with a run of {run.deployment_id}, not of {self.deployment_id}",
                hint="look at the runs of both deployments before starting another",
                run_id=run.id,
                session_id=run.session_id,
                run_state="unknown",
            )
        return run

    def _pause(self, error: ApiError, refusals: int, began: float) -> None:
        """Wait before sending again what started nothing. Raises the error when that is pointless or enough."""
        clock = self.client.clock
        wait = next_try(error, refusals=refusals, spent=clock.monotonic() - began, jitter=clock.jitter())
        if wait is None:
            raise error
        self.progress.note(f"nothing was started: {error.message.rstrip('.')}; trying again in {span(wait)}")
        if self.pace and error.http_status == 429:
            self.pace.hold(wait)
        self._rest(wait)

    def _rest(self, seconds: float) -> None:
        try:
            self.client.clock.sleep(seconds)
        except Signalled as signalled:
            if self.may_have_started:
                raise TriggerStopped(signalled, None) from None
            raise

    def _look(self, intent: Intent, error: ApiError) -> Run | None:
        """Let the run list decide. Raises OutcomeUnknown when it cannot, or is not to be asked."""
        if self.on_lost == "fail":
            raise self._unknown(error) from error
        self.progress.note(f"the answer was lost ({error.message}): looking for the run, which takes {LOOKS[-1]:.0f}s")
        try:
            return look_for_lost(self.client, self.journal, intent)
        except OutcomeUnknown as unsettled:
            raise self._unknown(error, unsettled.message) from error
        except Signalled as signalled:
            raise TriggerStopped(signalled, None) from None

    def _adopted(self, run: Run) -> Started:
        self.on_started(run)
        self.progress.warn(f"run {run.id} was adopted: the answer was lost, and it is the one run started since")
        return Started(run, adopted=True)

    def _may_resend(self, error: ApiError, resends: int) -> None:
        """Return when it may be sent again although it was; raise what it ends with when not."""
        if error.enveloped and error.http_status not in GATEWAY:
            pause = error.retry_after or 0.0
            if resends == RESENDS or pause > LONGEST_RETRY_AFTER:
                raise error
            self._rest(max(pause - LOOKS[-1], 0.0))  # the look took its part of what was asked for
        elif self.on_lost != "resend" or resends == RESENDS:
            raise self._unknown(error, "the run list shows no run of it", next=self.repeat) from error
        else:
            self._lost_one = True
        self.progress.note("the run list shows no run of it: sending again, under the same key")

    def _unknown(self, error: QoderError, why: str = "", *, next: list[str] | None = None) -> OutcomeUnknown:
        parts = (f"whether a run of {self.deployment_id} was started is not known", error.message, why)
        return OutcomeUnknown(
            "; ".join(part for part in parts if part),
            hint="look at the deployment's runs first; this repeats it under the same key"
            if next
            else "look at the deployment's runs before starting another",
            next=next,
            run_state="unknown",
            cause=error,
        )


def look_for_lost(client: "Client", journal: Journal, intent: Intent) -> Run | None:
    """Return the one run that a trigger whose answer was lost has started, claimed for it; None when there is none.

    Takes 8 s, or one look when the trigger is old. Raises OutcomeUnknown when several could be it, or the list cannot
    be read, or nothing tells the server's clock.
    """
    began = client.clock.monotonic()
    seen: dict[str, Run] = {}
    error: ApiError | None = None
    for look in LOOKS if client.clock.now() - intent.at < OLD else (0.0,):
        client.clock.sleep(max(began + look - client.clock.monotonic(), 0.0))
        try:
            error, found = None, newest_runs(client, intent.deployment, 100, within=10.0, retry=False)
        except ApiError as failure:
            error = failure
            continue
        seen |= {run.id: run for run in found if _is_candidate(client, run, intent)}
    if error is not None:
        raise OutcomeUnknown(f"the run list cannot be read: {error.message}")
    return _the_one(client, journal, intent, seen)


def _is_candidate(client: "Client", run: Run, intent: Intent) -> bool:
    """Return whether a run can be what the trigger started; True also where the server's clock is not known."""
    if text(mapping(run.raw.get("trigger_context")).get("type")) != "manual":
        return False
    created = parse_timestamp(run.raw.get("created_at"))
    attempted = client.on_server_clock(intent.at)
    return attempted is None or (created is not None and created.timestamp() >= math.floor(attempted))


def _the_one(client: "Client", journal: Journal, intent: Intent, seen: dict[str, Run]) -> Run | None:
    owners = journal.owners(intent.host)
    candidates = [run for run in seen.values() if owners.get(run.id, intent.id) == intent.id]
    if not candidates:
        return None
    names = ", ".join(run.id for run in candidates[:5])
    if client.on_server_clock(0) is None:
        raise OutcomeUnknown(f"the server does not tell its time, so no run can be held for it; the newest: {names}")
    if len(candidates) > 1:
        raise OutcomeUnknown(f"{len(candidates)} runs could be it: {names}")
    if any(_is_rival(entry, intent) for entry in journal.entries(intent.host, since=intent.at - RIVAL)):
        raise OutcomeUnknown(f"run {names} could be it, or belong to another trigger of this machine just now")
    return candidates[0] if journal.claim(intent, candidates[0].id) else None


def _is_rival(entry: Entry, intent: Intent) -> bool:
    """Return whether another, unsettled trigger of this deployment may have started what this one sees."""
    other = entry.intent
    recent = other.at > intent.at - RIVAL
    return entry.open and recent and other.id != intent.id and other.deployment == intent.deployment
