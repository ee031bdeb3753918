"""One write, done once as far as anyone can see: a trigger, a change of a deployment, a cancel, a call of `qoder api`.

Prepare, take a turn, write down, send; then what the answer means decides (contract, section 6):

    an answer that shows it    done
    NOTHING                    pause, and send again under the same key
    REFUSED                    never again; what was wanted may be so already
    DOUBTFUL                   settle it; if it did not happen, it is refused
    FAILED                     settle it; if it did not happen, send again, as often as the recovery allows
    LOST                       settle it; send again only where the recovery allows that

What differs from one kind of write to the other is how a lost answer is settled: its `Recovery`. Once an answer is
lost, no later refusal says that nothing happened. No page promises to honour an Idempotency-Key (api/facts.md, 3.5):
one is sent, and nothing relies on it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Generic, Literal, NamedTuple, NoReturn, Protocol, TypeVar

from qoder_cli.base import signals
from qoder_cli.base.errors import ApiError, NoAnswer, OutcomeUnknown, Signalled
from qoder_cli.base.times import span
from qoder_cli.http.pace import Closed, Pace, next_try

if TYPE_CHECKING:
    from qoder_cli.base.times import Clock
    from qoder_cli.http.answers import Answer
    from qoder_cli.http.pending import Pending
    from qoder_cli.output.progress import Progress

T = TypeVar("T")

_EARLIER = "an earlier attempt may have succeeded"
LAST_WORDS = 2.0  # seconds for the answer to a write under way when a signal arrives

GATEWAY = (502, 504)  # who answers so does not know what became of the request, whatever the envelope
_NO_ANSWER = (408, 499)  # the same


class Meaning(Enum):
    """What an answer to a write, or its lack, says of what the write did."""

    NOTHING = "it did nothing, and may do it now"
    REFUSED = "the API refused it"
    DOUBTFUL = "somebody on the way refused it, who may not know"
    FAILED = "the API failed at it, and may have done it"
    LOST = "nobody said anything that can be believed"


def meaning_of(error: ApiError) -> Meaning:
    """Return what the error that a write ended with means. Only the API's own envelope speaks for the API."""
    status = error.http_status
    if isinstance(error, NoAnswer) or status is None:
        return Meaning.LOST if getattr(error, "sent", True) else Meaning.NOTHING
    if status == 429:
        return Meaning.NOTHING
    if status in _NO_ANSWER:
        return Meaning.LOST
    if 400 <= status < 500:
        return Meaning.REFUSED if error.enveloped else Meaning.DOUBTFUL
    if 300 <= status < 400:
        return Meaning.DOUBTFUL
    return Meaning.FAILED if error.enveloped and status not in GATEWAY else Meaning.LOST


How = Literal["answered", "settled", "already"]


class Written(NamedTuple, Generic[T]):
    """What a write came to, and how that is known: by its answer, by its recovery, or it was so before."""

    value: T
    how: How


class Unknown(Protocol):
    """Makes the error that nobody knows what a write did, and why; `is_absent`: looking for it shows nothing."""

    def __call__(self, *why: str, cause: ApiError | None = None, is_absent: bool = False) -> OutcomeUnknown:
        """Return the error."""


class Recovery(Generic[T]):
    """What settles a write whose answer does not. This one cannot settle anything, and lets nothing be sent again.

    It hears of each attempt: `begin` before it is sent, then one of `nothing` (it did nothing), `done` or `settle`.
    """

    can_tell = False  # whether it can find out that nothing happened

    def begin(self) -> None:
        """Write down that an attempt is about to be sent."""

    def nothing(self) -> None:
        """Write down that the newest attempt did nothing."""

    def done(self, value: T) -> None:
        """Write down what the answer to the newest attempt showed."""

    def settle(self, error: ApiError, meaning: Meaning) -> T | None:
        """Return what the attempts so far came to, None if they came to nothing that shows.

        Raises OutcomeUnknown, saying why, when that cannot be told; ApiError when it never will be; Signalled.
        """
        return None

    def already(self, error: ApiError) -> T | None:
        """Return what was there already, of a write that the API refused. Raises as `settle` does."""
        return None

    def resend_after(self, error: ApiError, meaning: Meaning, resends: int, spent: float) -> float | None:
        """Return the seconds after which to send again what did not show, None for never.

        It was sent again so many times, and `spent` seconds have passed since the first attempt.
        """
        return None

    def ruled_out(self) -> None:
        """Write down that no attempt so far did anything."""


@dataclass
class Write(Generic[T]):
    """One write, to be done by `send`. `request` prepares an attempt, and `read` makes of a complete answer what the
    write was to bring about; it raises ApiError for any other. `timeout` is for one attempt, in seconds.

    Who is stopped in between finds here what is known: `result` once it is done, and `may_have_acted` while there is an
    attempt of which nobody knows that it did nothing.
    """

    request: "Callable[[], Pending]"
    read: "Callable[[Answer], T]"
    recovery: Recovery[T]
    unknown: Unknown
    clock: "Clock"
    progress: "Progress"
    timeout: float
    pace: Pace | None = None  # where several are sent at a time: what spaces them, and ends it
    nothing: str = "nothing was changed"
    meaning_of: Callable[[ApiError], Meaning] = meaning_of
    retries: bool = True  # what certainly did nothing is sent again
    is_lost: bool = False  # an attempt is not settled, of this command or of an earlier one under the same key
    result: Written[T] | None = field(default=None, init=False)
    _loss: ApiError | None = field(default=None, init=False)  # the first of this command
    _is_sending: bool = field(default=False, init=False)
    _failed: bool = field(default=False, init=False)  # an attempt was answered with an error, and showed nothing

    @property
    def may_have_acted(self) -> bool:
        """Whether an attempt was sent of which nobody knows that it did nothing."""
        return self._is_sending or self._failed or self.is_lost

    def send(self) -> Written[T]:
        """Do it, and return what it came to.

        Raises ApiError when nothing was changed, OutcomeUnknown when that is not certain, UsageError when writing is
        forbidden, Closed when the pace was closed before anything was sent; Signalled, when all that can be learnt of
        an attempt under way within 2 s is known.
        """
        with signals.held():
            return self._send()

    def _send(self) -> Written[T]:
        tries = resends = 0
        began = self.clock.monotonic()
        while True:
            pending = self.request()
            self._take_turn()
            self.recovery.begin()
            try:
                return self._answered(pending)
            except ApiError as error:
                meaning = self.meaning_of(error)
                if meaning is Meaning.NOTHING:
                    tries += 1
                    self._did_nothing()
                    self._pause(error, tries, self.clock.monotonic() - began)
                elif meaning is Meaning.REFUSED:
                    return self._refused(error)
                elif (found := self._settle(error, meaning)) is not None:
                    return self._done(found, "settled")
                else:
                    self._may_resend(error, meaning, resends, self.clock.monotonic() - began)
                    resends += 1

    def _take_turn(self) -> None:
        if self.pace is None:
            self._begin()
            return
        try:
            self.pace.take(self._begin)
        except Closed as closed:
            if self.may_have_acted:
                raise self.unknown("it was stopped before it could be retried", cause=self._loss) from closed
            raise

    def _begin(self) -> None:
        self._is_sending = True

    def _answered(self, pending: "Pending") -> Written[T]:
        """Send an attempt, and return what its answer shows. Raises ApiError, OutcomeUnknown, Signalled."""
        try:
            return self._heard(pending.start(), self.timeout)
        except Signalled:
            self.progress.note("stopping; waiting up to 2 s for the response (press Ctrl-C again to quit now)")
            self._last_words(pending)
            raise

    def _last_words(self, pending: "Pending") -> None:
        try:
            self._heard(pending, LAST_WORDS)
        except ApiError as error:
            if self.meaning_of(error) in (Meaning.NOTHING, Meaning.REFUSED):
                self._did_nothing()
        except OutcomeUnknown:
            pass  # the signal decides how the command ends

    def _heard(self, pending: "Pending", within: float) -> Written[T]:
        value = self.read(pending.result(within))
        self.recovery.done(value)
        return self._done(value, "answered")

    def _done(self, value: T, how: How) -> Written[T]:
        self.result = Written(value, how)
        return self.result

    def _did_nothing(self) -> None:
        self.recovery.nothing()
        self._is_sending = False

    def _pause(self, error: ApiError, tries: int, spent: float) -> None:
        """Wait before sending again what did nothing. Raises what it ends with when that is pointless or enough."""
        wait = next_try(error, tries=tries, spent=spent, jitter=self.clock.jitter())
        if wait is None or not self.retries:
            self._give_up(error)
        else:
            self.progress.note(f"{self.nothing}: {error.message.rstrip('.')}; retrying in {span(wait)}")
            if self.pace and error.http_status == 429:
                self.pace.hold(wait)
            self.clock.sleep(wait)

    def _refused(self, error: ApiError) -> Written[T]:
        """Return what was there already, though the API refused. Raises the refusal where that does not show.

        A conflict after an attempt that failed may be with what that attempt did.
        """
        why, found = _EARLIER, None
        self._did_nothing()
        try:
            found = self.recovery.already(error)
        except OutcomeUnknown as unsettled:
            why = unsettled.message
        if found is not None:
            return self._done(found, "settled" if self.may_have_acted else "already")
        self._give_up(error, why, conflicts=error.http_status == 409)

    def _give_up(self, error: ApiError, why: str = _EARLIER, *, conflicts: bool = False) -> NoReturn:
        """Raise the error that nothing was changed, or that this is not certain."""
        if self.is_lost or (conflicts and self._failed):
            raise self.unknown(why, cause=error) from error
        self.recovery.ruled_out()
        self._failed = False
        raise error

    def _settle(self, error: ApiError, meaning: Meaning) -> T | None:
        self._is_sending = False
        if meaning is Meaning.LOST or not self.recovery.can_tell:
            self.is_lost, self._loss = True, self._loss or error
        else:
            self._failed = True
        try:
            return self.recovery.settle(error, meaning)
        except OutcomeUnknown as unsettled:
            raise self.unknown(unsettled.message, cause=error) from error

    def _may_resend(self, error: ApiError, meaning: Meaning, resends: int, spent: float) -> None:
        """Wait until it may be sent again although it was; raise what it ends with when it may not."""
        wait = self.recovery.resend_after(error, meaning, resends, spent)
        if wait is None and self.is_lost:
            raise self.unknown(cause=self._loss or error, is_absent=True) from error
        if wait is None:
            self._give_up(error)
        again = f"retrying in {span(wait)}" if wait else "retrying"
        self.progress.note(f"{error.message.rstrip('.')}; {again} with the same key")
        self.clock.sleep(wait)
