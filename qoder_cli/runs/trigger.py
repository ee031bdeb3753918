"""The one write that must not happen twice: `POST /deployments/{id}/run`.

Its page promises no idempotency, replies get lost and a server can act late (api/facts.md, 3.5 and 5). It is sent
as any `Write` is; its recovery is the run list: what a run in it permits is said in `lost`. A 5xx of the API itself
is sent again at most twice, and only when the list rules out a run of ours; a lost answer never by itself.
"""

import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from qoder_cli.base import signals
from qoder_cli.base.errors import ApiError, LostSight, NoAnswer, OutcomeUnknown, UsageError
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Run
from qoder_cli.base.times import LONGEST_RETRY_AFTER, span
from qoder_cli.base.tokens import has_token
from qoder_cli.http.pace import Closed, Pace
from qoder_cli.http.write import Meaning, Recovery, Write
from qoder_cli.output.progress import Progress
from qoder_cli.runs.lost import CERTAIN, LOOKS, MORE_LOOKS, age, dated, look_for_run
from qoder_cli.runs.observe import YOUNG, Observer
from qoder_cli.settings.values import OnLost, written

if TYPE_CHECKING:
    from qoder_cli.app import State
    from qoder_cli.http.client import Client
    from qoder_cli.local.store import Attempt, Entry, Store

TRIGGER_TIMEOUT = 60.0  # seconds
RESENDS = 2
KEY_PAUSE = 0.2  # seconds between two looks whether another process has let go of the key
LONGEST_KEY = 255  # characters


class Started(NamedTuple):
    """A run that was triggered. `adopted`: its answer was lost and the list showed it; `sent`: not known before."""

    run: Run
    adopted: bool = False
    sent: bool = True


def check_key(key: str, secrets: Collection[str] = ()) -> str:
    """Return an idempotency key that was typed. Raises UsageError for one that no header can carry, or with a secret.

    The key is kept in the journal and shown in the command to repeat; a token must come to neither.
    """
    if any(secret in key for secret in secrets) or has_token(key):
        raise UsageError("--idempotency-key contains a token", hint="use another key, for example nightly-2026-06-14")
    if not 0 < len(key) <= LONGEST_KEY or not key.isascii() or not key.isprintable() or key != key.strip():
        raise UsageError(
            f"--idempotency-key must be 1 to {LONGEST_KEY} printable ASCII characters, with no spaces around them",
            hint="use for example nightly-2026-06-14",
        )
    return key


@dataclass(frozen=True)
class Order:
    """A run that was asked for: of which deployment, under which key (None: a new one), and what if it is lost.

    `options` are the words of the command line that a repetition needs too.
    """

    deployment_id: str
    key: str | None = None
    on_lost: OnLost = "adopt"
    options: tuple[str, ...] = ()

    def repeated(self, state: "State", key: str) -> list[str]:
        """Return the command that gives this order again, under the key it had."""
        return state.command("deploy", "run", self.deployment_id, *written("--idempotency-key", key), *self.options)


class _Sent(NamedTuple):
    """An attempt of this command, and when it was sent by the monotonic clock."""

    attempt: "Attempt"
    at: float


class FromRunList(Recovery[Run]):
    """Settles a trigger whose answer is lost from the deployment's run list, read in two ways (see `lost`)."""

    can_tell = True

    def __init__(self, trigger: "Trigger") -> None:
        self._trigger = trigger
        self._client, self._store = trigger.client, trigger.store
        self.earlier: list[Attempt] = []  # of other commands under this key, unsettled
        self._sent: list[_Sent] = []  # of this command: those that may have started a run, oldest first
        self._failed: list[_Sent] = []  # those of them that were answered with a 5xx

    def begin(self) -> None:
        """Write down that an attempt is about to be sent."""
        clock, settings = self._client.clock, self._client.settings
        attempt = self._store.begin(
            at=clock.now(),
            ahead=self._client.server_ahead,
            profile=settings.profile,
            host=settings.host,
            deployment=self._trigger.deployment_id,
            key=self._trigger.key,
        )
        self._sent.append(_Sent(attempt, clock.monotonic()))

    def nothing(self) -> None:
        """Write down that the newest attempt started nothing."""
        self._store.settle_nothing(self._sent.pop().attempt)

    def ruled_out(self) -> None:
        """Write down that those that failed started nothing: the list shows it."""
        for sent in self._failed:
            self._store.settle_nothing(sent.attempt)
        self._failed.clear()

    def done(self, value: Run) -> None:
        """Write down the run that the answer to the newest attempt names."""
        self._store.settle(self._sent[-1].attempt, value.id)
        self.ruled_out()
        self._trigger.heard_of(value)

    def settle(self, error: ApiError, meaning: Meaning) -> Run | None:
        """Return the run that the list shows to be ours, adopted. Raises OutcomeUnknown, Signalled."""
        if meaning is not Meaning.LOST:
            self._failed.append(self._sent[-1])
        if self._trigger.on_lost == "fail":
            raise OutcomeUnknown("not looked for, because of --on-lost fail")
        thoroughly = meaning is not Meaning.LOST or self._trigger.on_lost == "resend"
        seconds = MORE_LOOKS[-1] if thoroughly else LOOKS[-1]
        self._trigger.progress.note(
            f"no confirmation ({error.message.rstrip('.')}); checking the run list for up to {span(seconds)}"
        )
        return self.find(thoroughly=thoroughly)

    def find(self, *, thoroughly: bool) -> Run | None:
        """Do what `look_for_run` does for all attempts under this key that are not settled."""
        run = look_for_run(self._client, self._store, self._attempts, thoroughly=thoroughly)
        if run is not None:
            self._trigger.heard_of(run)
            self._trigger.progress.warn(
                f"adopted run {run.id}: the response was lost, and this is the only run started since"
            )
        return run

    def resend_after(self, error: ApiError, meaning: Meaning, resends: int, spent: float) -> float | None:
        """Return the seconds after which to start it again, though it was sent: the list rules out a run of it."""
        if meaning is Meaning.DOUBTFUL or resends == RESENDS:
            return None
        if meaning is Meaning.LOST:
            return 0.0 if self._trigger.on_lost == "resend" else None
        pause = error.retry_after or 0.0
        # The look took its part of what the server asked for.
        return max(pause - MORE_LOOKS[-1], 0.0) if pause <= LONGEST_RETRY_AFTER else None

    def forget_certain(self) -> None:
        """Write down that earlier commands started nothing, where the list shows none and that is certain by now."""
        for attempt in list(self.earlier):
            if age(self._client, dated(self._client, attempt)) > CERTAIN:
                self._store.settle_nothing(attempt)
                self.earlier.remove(attempt)

    def _attempts(self) -> "list[Attempt]":
        """Return the attempts under this key that are not settled, oldest first, with the server's clock at each."""
        return [*(dated(self._client, each) for each in self.earlier), *map(self._placed, self._sent)]

    def _placed(self, sent: _Sent) -> "Attempt":
        """Return an attempt of this command with the server's clock as the monotonic clock tells it, kept with it."""
        moment = self._client.on_server_clock(sent.at)
        if moment is None:
            return sent.attempt
        ahead = moment - sent.attempt.at
        if sent.attempt.ahead is None:
            self._store.know_offset(sent.attempt, ahead)
        return sent.attempt._replace(ahead=ahead)


@dataclass
class Trigger:
    """One run to be started, once. `on_started` hears of the run before any signal is raised.

    `repeat` is the command that repeats this trigger under the same key, `look` the one that shows the deployment's
    runs, both as words.
    """

    client: "Client"
    store: "Store"
    progress: Progress
    deployment_id: str
    key: str
    repeat: list[str]
    look: list[str]
    is_new_key: bool = False  # made just now, so that no earlier trigger can have had it
    on_lost: OnLost = "adopt"
    on_started: Callable[[Run], None] = field(default=lambda run: None)
    pace: Pace | None = None  # where several are started at a time: what spaces them, and ends it
    run: Run | None = field(default=None, init=False)  # as soon as it is heard of

    def __post_init__(self) -> None:
        timeout = self.client.settings.request_timeout or TRIGGER_TIMEOUT
        path, headers = f"/deployments/{segment(self.deployment_id)}/run", {"idempotency-key": self.key}
        self._recovery = FromRunList(self)
        self._write = Write(
            request=lambda: self.client.prepare("POST", path, headers=headers, timeout=timeout),
            read=lambda answer: self._of_this(self.client.understand(answer)),
            recovery=self._recovery,
            unknown=self.unknown,
            clock=self.client.clock,
            progress=self.progress,
            timeout=timeout,
            pace=self.pace,
            nothing="not started",
        )

    @property
    def may_have_started(self) -> bool:
        """Whether an attempt was sent of which nobody knows yet that it started nothing."""
        return self._write.may_have_acted

    def start(self) -> Started:
        """Start one run and return it, or the run that this key is known to have started.

        Raises ApiError when certainly nothing was started, OutcomeUnknown when that is not certain, UsageError for a
        key that another deployment was triggered with, Closed when the pace was closed before anything could be
        started; Signalled, when `run` and `may_have_started` say what is known.
        """
        with signals.held(), self._key_to_itself():
            if (started := self._settled_before()) is not None:
                return started
            written = self._write.send()
            return Started(written.value, adopted=written.how == "settled")

    def heard_of(self, run: Run) -> None:
        """Take in which run was started; `start` may still be stopped by a signal."""
        self.run = run
        self.on_started(run)

    @contextmanager
    def _key_to_itself(self) -> Iterator[None]:
        """Let no other process trigger under this key meanwhile; wait for one that does. Raises Signalled, Closed."""
        if self.is_new_key:
            yield
            return
        host = self.client.settings.host
        if not self.store.take_key(self.key, host=host):
            self.progress.note(f"another command is using the key {self.key!r}; waiting for it")
            while not self.store.take_key(self.key, host=host):
                if self.pace and self.pace.is_closed:
                    raise Closed
                self.client.clock.sleep(KEY_PAUSE)
        try:
            yield
        finally:
            self.store.release_key(self.key, host=host)

    def _settled_before(self) -> Started | None:
        """Return the run that an earlier command under this key started, looking for it if that is not settled.

        None when there is none, as far as the list tells. Raises OutcomeUnknown, UsageError.
        """
        entries = [] if self.is_new_key else self.store.of_key(self.key, host=self.client.settings.host)
        for entry in entries:
            if entry.attempt.deployment != self.deployment_id:
                raise UsageError(
                    f"the key {self.key!r} belongs to deployment {entry.attempt.deployment}",
                    hint="use another key for another deployment",
                )
        if known := next((entry for entry in entries if entry.run), None):
            return self._known(known)
        self._recovery.earlier = [entry.attempt for entry in entries if entry.open]
        self._write.is_lost = bool(self._recovery.earlier)
        if not self._write.is_lost:
            return None
        why = f"an earlier attempt with the key {self.key!r} is unconfirmed"
        if self.on_lost == "fail":
            raise self.unknown(why)
        self.progress.note(f"{why}; looking for its run")
        try:
            run = self._recovery.find(thoroughly=True)
        except OutcomeUnknown as unsettled:
            raise self.unknown(why, unsettled.message) from unsettled
        self._recovery.forget_certain()
        self._write.is_lost = bool(self._recovery.earlier)
        return Started(run, adopted=True) if run else None

    def _known(self, entry: "Entry") -> Started:
        """Return the run that this key is known to have started, as it stands. Raises ApiError, LostSight."""
        assert entry.run is not None
        self.progress.note(f"the key {self.key!r} already started run {entry.run}; nothing was sent")
        is_young = age(self.client, entry.attempt) < YOUNG
        observer = Observer(self.client, entry.run, progress=self.progress, is_fresh=lambda _: is_young)
        try:
            run = observer.read_once()
        except ApiError as error:
            raise LostSight(
                f"the key {self.key!r} started run {entry.run}, which cannot be read now: {error.message}",
                hint="try again later; nothing was sent",
                next=self.repeat,
                run_id=entry.run,
                run_state="unknown",
                cause=error,
            ) from error
        return Started(self._mine(run), adopted=entry.adopted, sent=False)

    def _of_this(self, answer: object) -> Run:
        """Return the run that an answer shows. Raises NoAnswer, and OutcomeUnknown for another deployment's."""
        run = Run.read(answer)
        if run is None:
            raise NoAnswer("the response is not a run")
        return self._mine(run)

    def _mine(self, run: Run) -> Run:
        if run.deployment_id not in (None, self.deployment_id):
            raise OutcomeUnknown(
                f"the response is a run of {run.deployment_id}, not of {self.deployment_id}",
                hint="check the runs of both deployments before starting another",
                next=self.look,
                run_id=run.id,
                session_id=run.session_id,
                run_state="unknown",
            )
        return run

    def unknown(self, *why: str, cause: ApiError | None = None, is_absent: bool = False) -> OutcomeUnknown:
        """Return the error that whether a run was started is not known; `is_absent`: the list shows none."""
        absent = ("no new run is listed",) if is_absent else ()
        said = cause.message.rstrip(".") if cause else ""
        reasons = [reason for reason in (said, *why, *absent) if reason]
        hint = "check the deployment's runs before starting another"
        if is_absent:
            hint = "check first: qoder run wait last. To retry with the same key"
        return OutcomeUnknown(
            f"unknown whether a run of {self.deployment_id} was started: {'; '.join(reasons)}",
            hint=hint,
            next=self.repeat if is_absent else self.look,
            run_state="unknown",
            cause=cause,
        )


def trigger_of(state: "State", order: Order, *, pace: Pace | None = None) -> Trigger:
    """Return the trigger that an order asks for; `pace` spaces it among others."""
    key = order.key or str(uuid.uuid4())
    return Trigger(
        client=state.client,
        store=state.store,
        progress=state.progress,
        deployment_id=order.deployment_id,
        key=key,
        is_new_key=order.key is None,
        on_lost=order.on_lost,
        on_started=state.known.started.append,
        repeat=order.repeated(state, key),
        look=state.command("run", "list", order.deployment_id),
        pace=pace,
    )
