"""The one write that must not happen twice: `POST /deployments/{id}/run`.

Its page promises no idempotency, replies get lost and a server can act late (api/facts.md, 3.5 and 5). What an answer
means, and what follows (contract, section 6):

    NOTHING   429, a connection never made        send again, under the same key
    REFUSED   4xx in the API's own envelope       never again; nothing was started
    DOUBTFUL  any other 4xx, 3xx                  never again; if the run list rules out a run of ours, it is refused
    FAILED    a complete 5xx in the envelope      the same, and then again under the same key, at most twice
    LOST      no answer, a cut or broken one,     never again by itself: the run list decides, see `lost`
              any other 5xx, an unreadable 2xx

Once an attempt is lost, here or earlier under the same key, no later refusal says that nothing was started.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from qoder_cli import signals
from qoder_cli.choices import OnLost
from qoder_cli.clock import LONGEST_RETRY_AFTER
from qoder_cli.errors import ApiError, LostSight, NoAnswer, NotFound, OutcomeUnknown, Signalled, UsageError
from qoder_cli.http.pace import Closed, Pace
from qoder_cli.http.resending import Meaning, did_nothing, meaning_of, next_try
from qoder_cli.ids import segment
from qoder_cli.model import Run
from qoder_cli.output.progress import Progress
from qoder_cli.runs.lost import CERTAIN, LOOKS, MORE_LOOKS, age, look_for_run
from qoder_cli.runs.observe import YOUNG, Observer
from qoder_cli.times import span

if TYPE_CHECKING:
    from qoder_cli.http.client import Client, Pending
    from qoder_cli.local.store import Attempt, Entry, Store


TRIGGER_TIMEOUT = 60.0  # seconds
LAST_WORDS = 2.0  # seconds to settle a trigger under way when a signal arrives
RESENDS = 2
KEY_PAUSE = 0.2  # seconds between two looks whether another process has let go of the key
LONGEST_KEY = 255  # characters


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
    if any(secret in key for secret in secrets):
        raise UsageError("--idempotency-key contains your token", hint="take another key, as nightly-2026-06-14")
    if not 0 < len(key) <= LONGEST_KEY or not key.isascii() or not key.isprintable() or key != key.strip():
        raise UsageError(
            f"--idempotency-key takes 1 to {LONGEST_KEY} printable ASCII characters without spaces around them",
            hint="a UUID, or a name and a date as in nightly-2026-06-14",
        )
    return key


class _Sent(NamedTuple):
    """An attempt of this command, and when it was sent by the monotonic clock."""

    attempt: "Attempt"
    at: float


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
    run: Run | None = None  # as soon as it is heard of
    _is_sending: bool = False
    _earlier: "list[Attempt]" = field(default_factory=list)  # of other commands under this key, unsettled
    _lost: list[_Sent] = field(default_factory=list)  # of this command: no answer says what became of them
    _failed: list[_Sent] = field(default_factory=list)  # the same: answered with a 5xx, and no run showed

    @property
    def may_have_started(self) -> bool:
        """Whether an attempt was sent of which nobody knows yet that it started nothing."""
        return self._is_sending or bool(self._earlier or self._lost or self._failed)

    def start(self) -> Started:
        """Start one run and return it, or the run that this key is known to have started.

        Raises ApiError when certainly nothing was started, OutcomeUnknown when that is not certain, UsageError for a
        key that another deployment was triggered with, TriggerStopped when a signal came in between, Closed when the
        pace was closed before anything could be started.
        """
        try:
            with signals.held():
                return self._start()
        except Signalled as signalled:
            if self.run is not None or self.may_have_started:
                raise TriggerStopped(signalled, self.run) from None
            raise

    def _start(self) -> Started:
        with self._key_to_itself():
            entries = self._under_this_key()
            if known := next((entry for entry in entries if entry.run), None):
                return self._known(known)
            self._earlier = [entry.attempt for entry in entries]
            if self._earlier and (run := self._settled_earlier()):
                return self._adopted(run)
            return self._send()

    @contextmanager
    def _key_to_itself(self) -> Iterator[None]:
        """Let no other process trigger under this key meanwhile; wait for one that does. Raises Signalled, Closed."""
        if self.is_new_key:
            yield
            return
        host = self.client.settings.host
        if not self.store.take_key(self.key, host=host):
            self.progress.note(f"another command is starting a run under the key {self.key!r}: waiting for it")
            while not self.store.take_key(self.key, host=host):
                if self.pace and self.pace.is_closed:
                    raise Closed
                self.client.clock.sleep(KEY_PAUSE)
        try:
            yield
        finally:
            self.store.release_key(self.key, host=host)

    def _under_this_key(self) -> "list[Entry]":
        """Return the earlier triggers under this key that started something, or may have; oldest first."""
        entries = [] if self.is_new_key else self.store.of_key(self.key, host=self.client.settings.host)
        for entry in entries:
            if entry.attempt.deployment != self.deployment_id:
                raise UsageError(
                    f"the key {self.key!r} was used for deployment {entry.attempt.deployment}",
                    hint="use another key for another deployment",
                )
        return [entry for entry in entries if not entry.nothing]

    def _known(self, entry: "Entry") -> Started:
        """Return the run that this key is known to have started, as it stands. Raises ApiError, LostSight."""
        assert entry.run is not None
        self.progress.note(f"the key {self.key!r} already started run {entry.run}: nothing was sent")
        is_young = age(self.client, entry.attempt) < YOUNG
        observer = Observer(self.client, entry.run, progress=self.progress, is_fresh=lambda _: is_young)
        try:
            return Started(self._of_this(observer.read_once()), adopted=entry.adopted, sent=False)
        except NotFound as error:
            raise LostSight(
                f"the key {self.key!r} started run {entry.run}, which the server does not show: {error.message}",
                hint="look for it again; nothing was sent",
                next=self.repeat,
                run_id=entry.run,
                run_state="unknown",
            ) from error

    def _settled_earlier(self) -> Run | None:
        """Return the run that an earlier command under this key started; None when the list rules one out."""
        why = f"an earlier trigger under the key {self.key!r} is unsettled"
        if self.on_lost == "fail":
            raise self._unknown(why)
        self.progress.note(f"{why}: looking for its run")
        if run := self._find(why, thoroughly=True):
            return run
        for attempt in list(self._earlier):
            if age(self.client, self._dated(attempt)) > CERTAIN:
                self.store.settle_nothing(attempt)
                self._earlier.remove(attempt)
        return None

    def _send(self) -> Started:
        """Send until the answer settles it, or nobody can."""
        tries = resends = 0
        began = self.client.clock.monotonic()
        while True:
            pending = self._prepared()
            sent = self._about_to_send()
            try:
                return Started(self._once(sent, pending))
            except ApiError as error:
                meaning = meaning_of(error)
                if meaning is Meaning.NOTHING:
                    tries += 1
                    self._started_nothing(sent)
                    self._pause(error, tries, began)
                elif meaning is Meaning.REFUSED:
                    self._refused(sent, error)
                elif run := self._look(sent, error, meaning):
                    return self._adopted(run)
                else:
                    self._may_resend(error, meaning, resends)
                    resends += 1

    def _about_to_send(self) -> _Sent:
        """Take a turn, and write down what is about to be sent. Raises Closed, Signalled."""
        if self.pace is not None:
            try:
                self.pace.take(self._begin)
            except Closed as closed:
                if self.may_have_started:
                    raise self._unknown("it was stopped before it could be sent again") from closed
                raise
        self._begin()
        clock, settings = self.client.clock, self.client.settings
        attempt = self.store.begin(
            at=clock.now(),
            ahead=self.client.server_ahead,
            profile=settings.profile,
            host=settings.host,
            deployment=self.deployment_id,
            key=self.key,
        )
        return _Sent(attempt, clock.monotonic())

    def _begin(self) -> None:
        self._is_sending = True

    def _prepared(self) -> "Pending":
        path = f"/deployments/{segment(self.deployment_id)}/run"
        headers = {"idempotency-key": self.key}
        return self.client.prepare("POST", path, headers=headers, timeout=self._timeout)

    @property
    def _timeout(self) -> float:
        return self.client.settings.request_timeout or TRIGGER_TIMEOUT

    def _once(self, sent: _Sent, pending: "Pending") -> Run:
        """Send it, and return the run that the answer names. Raises ApiError, and Signalled when all is known of it."""
        try:
            return self._heard(sent, pending.start(), self._timeout)
        except Signalled:
            self.progress.note("stopping: waiting 2 s at most for the answer; Ctrl-C again leaves at once")
            try:
                self._heard(sent, pending, LAST_WORDS)
            except ApiError as error:
                if did_nothing(error):
                    self._started_nothing(sent)
            except OutcomeUnknown:
                pass  # the signal decides how the command ends; what it started stays unknown
            raise

    def _heard(self, sent: _Sent, pending: "Pending", within: float) -> Run:
        run = Run.read(self.client.understand(pending.result(within)))
        if run is None:
            raise NoAnswer("the server answered with something that is no run")
        self.run = self._of_this(run)
        self.store.settle(sent.attempt, run.id)
        self._nothing_else()
        self.on_started(run)
        return run

    def _of_this(self, run: Run) -> Run:
        """Return a run of this deployment. Raises OutcomeUnknown for another's."""
        if run.deployment_id not in (None, self.deployment_id):
            raise OutcomeUnknown(
                f"the server answered with a run of {run.deployment_id}, not of {self.deployment_id}",
                hint="look at the runs of both deployments before starting another",
                next=self.look,
                run_id=run.id,
                session_id=run.session_id,
                run_state="unknown",
            )
        return run

    def _started_nothing(self, sent: _Sent) -> None:
        self.store.settle_nothing(sent.attempt)
        self._is_sending = False

    def _refused(self, sent: _Sent, error: ApiError) -> None:
        """Raise what a refusal by the API itself means: that nothing was started, unless an earlier attempt may have.

        A conflict after such an attempt may be with the run that it started.
        """
        is_after_failure = bool(self._failed)
        self._started_nothing(sent)
        if self._earlier or self._lost or (is_after_failure and error.http_status == 409):
            raise self._unknown("an earlier attempt may have started one", cause=error) from error
        self._nothing_else()
        raise error

    def _nothing_else(self) -> None:
        """Write down that the attempts that failed started nothing: the list has ruled out a run of each."""
        for sent in self._failed:
            self.store.settle_nothing(sent.attempt)
        self._failed.clear()

    def _pause(self, error: ApiError, tries: int, began: float) -> None:
        """Wait before sending again what started nothing. Raises the error when that is pointless or enough."""
        clock = self.client.clock
        wait = next_try(error, refusals=tries, spent=clock.monotonic() - began, jitter=clock.jitter())
        if wait is None:
            if self._earlier or self._lost:
                raise self._unknown("an earlier attempt may have started one", cause=error) from error
            self._nothing_else()
            raise error
        self.progress.note(f"nothing was started: {error.message.rstrip('.')}; trying again in {span(wait)}")
        if self.pace and error.http_status == 429:
            self.pace.hold(wait)
        clock.sleep(wait)

    def _look(self, sent: _Sent, error: ApiError, meaning: Meaning) -> Run | None:
        """Return the run that the list shows to be ours, None if it rules that out for what is to be done next.

        Raises OutcomeUnknown when it cannot, or is not to be asked.
        """
        (self._lost if meaning is Meaning.LOST else self._failed).append(sent)
        self._is_sending = False
        if self.on_lost == "fail":
            raise self._unknown("", cause=error) from error
        thoroughly = meaning is not Meaning.LOST or self.on_lost == "resend"
        seconds = MORE_LOOKS[-1] if thoroughly else LOOKS[-1]
        self.progress.note(f"the answer was lost ({error.message}): looking for the run, for {span(seconds)} at most")
        return self._find("", thoroughly=thoroughly, cause=error)

    def _find(self, why: str, *, thoroughly: bool, cause: ApiError | None = None) -> Run | None:
        """Do what `look_for_run` does for all attempts under this key that are not settled."""
        try:
            return look_for_run(self.client, self.store, self._attempts, thoroughly=thoroughly)
        except OutcomeUnknown as unsettled:
            raise self._unknown(why, unsettled.message, cause=cause) from cause

    def _attempts(self) -> "list[Attempt]":
        """Return the attempts under this key that are not settled, oldest first, with the server's clock at each."""
        return [*(self._dated(each) for each in self._earlier), *map(self._placed, self._failed + self._lost)]

    def _dated(self, earlier: "Attempt") -> "Attempt":
        """Return an attempt of another command; where it never heard of the server's clock, what holds now."""
        return earlier if earlier.ahead is not None else earlier._replace(ahead=self.client.server_ahead)

    def _placed(self, sent: _Sent) -> "Attempt":
        """Return an attempt of this command with the server's clock as the monotonic clock tells it, kept with it."""
        moment = self.client.on_server_clock(sent.at)
        if moment is None:
            return sent.attempt
        ahead = moment - sent.attempt.at
        if sent.attempt.ahead is None:
            self.store.know_offset(sent.attempt, ahead)
        return sent.attempt._replace(ahead=ahead)

    def _forget_certain(self) -> None:
        """Write down that earlier attempts started nothing, where that is certain by now."""
        for attempt in list(self._earlier):
            if age(self.client, self._dated(attempt)) > CERTAIN:
                self.store.settle_nothing(attempt)
                self._earlier.remove(attempt)

    def _adopted(self, run: Run) -> Started:
        self.run = run
        self.on_started(run)
        self.progress.warn(f"run {run.id} was adopted: the answer was lost, and it is the one run started since")
        return Started(run, adopted=True)

    def _may_resend(self, error: ApiError, meaning: Meaning, resends: int) -> None:
        """Return when it may be sent again although it was, for the list rules out a run of it; raise otherwise."""
        if meaning is Meaning.LOST:
            if self.on_lost != "resend" or resends == RESENDS:
                raise self._unknown("the run list shows no run of it", cause=error, repeats=True) from error
        else:
            pause = error.retry_after or 0.0
            is_enough = meaning is Meaning.DOUBTFUL or resends == RESENDS or pause > LONGEST_RETRY_AFTER
            if is_enough and (self._earlier or self._lost):
                raise self._unknown("an earlier attempt may have started one", cause=error, repeats=True) from error
            if is_enough:
                self._nothing_else()
                raise error
            self.client.clock.sleep(max(pause - MORE_LOOKS[-1], 0.0))  # the look took its part of what was asked for
        self.progress.note("the run list shows no run of it: sending again, under the same key")

    def _unknown(self, *why: str, cause: ApiError | None = None, repeats: bool = False) -> OutcomeUnknown:
        """Return the error that whether a run was started is not known; with `repeats`, that the list shows none."""
        said = cause.message if cause else ""
        parts = (f"whether a run of {self.deployment_id} was started is not known", said, *why)
        hint = "look at the deployment's runs before starting another"
        if repeats:
            hint = "look at the deployment's runs first; this repeats it under the same key"
        return OutcomeUnknown(
            "; ".join(part for part in parts if part),
            hint=hint,
            next=self.repeat if repeats else self.look,
            run_state="unknown",
            cause=cause,
        )
