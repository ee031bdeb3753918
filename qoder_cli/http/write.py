"""One write, done once as far as anyone can see: a trigger, a change of a deployment, a cancel, a call of `api`.

Prepare, take a turn, write down, send; then what the response means decides (help/pages/guarantees.md):

    a response that shows it   done
    NOTHING                    pause, and send again under the same key
    REFUSED                    never again; what was wanted may be so already
    DOUBTFUL                   settle it; if it did not happen, it is refused
    FAILED                     settle it; if it did not happen, send again, as often as this kind of write allows
    LOST                       settle it; send again only where this kind of write allows that

DOUBTFUL and FAILED count as LOST where the recovery cannot rule out that it happened (`can_rule_out`).

A write is handed its request, how a response to it is read, its recovery, and its journal. The recovery says how a lost
response is settled: by the run list (`runs.trigger`), by reading back (`http.readback`), by a session's events
(`sessions.answers`), or not at all. Once a response is lost, no later refusal proves any longer that nothing happened.
An Idempotency-Key is sent; nothing relies on it (api.md#idempotency).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, NoReturn, TypeVar

from qoder_cli.base import signals
from qoder_cli.base.errors import (
    ApiError,
    AuthError,
    CannotBe,
    Exit,
    Interrupted,
    NoResponse,
    OutcomeUnknown,
    QoderError,
    Signalled,
)
from qoder_cli.base.ids import segment
from qoder_cli.base.polling import poll
from qoder_cli.base.times import Clock, span
from qoder_cli.http.answers import Answer, Pending, answer_to, no_response
from qoder_cli.http.pace import Closed, Pace, next_try

if TYPE_CHECKING:
    from qoder_cli.http.client import Client

T = TypeVar("T")

_EARLIER = "an earlier attempt may have succeeded"
LAST_WORDS = 2.0  # seconds for the response to a write under way when a signal arrives

GATEWAY = (502, 504)  # these come from gateways, which do not know, even if enveloped
_NO_RESPONSE = (408, 499)  # the same


class Meaning(Enum):
    """What a write's response, or the lack of one, says about its effect."""

    NOTHING = "it did nothing, and may do it now"
    REFUSED = "the API refused it"
    DOUBTFUL = "an intermediary refused it, and may not know whether it acted"
    FAILED = "the API failed at it, and may have done it"
    LOST = "nobody said anything that can be believed"


def meaning_of(error: ApiError) -> Meaning:
    """Return what a write's error means. Only the API's own envelope speaks for the API."""
    status = error.http_status
    if isinstance(error, NoResponse) and not error.sent:
        return Meaning.NOTHING
    if isinstance(error, NoResponse) or status is None:
        return Meaning.LOST
    if status == 429:
        return Meaning.NOTHING
    if status in _NO_RESPONSE:
        return Meaning.LOST
    if 400 <= status < 500 and error.enveloped:
        return Meaning.REFUSED
    if 300 <= status < 500:
        return Meaning.DOUBTFUL
    if error.enveloped and status not in GATEWAY:
        return Meaning.FAILED
    return Meaning.LOST


How = Literal["answered", "settled", "already"]


class Written(NamedTuple, Generic[T]):
    """The result of a write: from its response, by settling it, or because it was so before."""

    value: T
    how: How


class Recovery(NamedTuple, Generic[T]):
    """What is done, and said, when a response does not show success.

    By default nothing can be settled, and only what certainly did nothing is sent again.
    """

    # The error that the outcome is unknown: why, what caused it, and whether repeating it is what to do next: nothing
    # shows it, or nobody has looked.
    doubt: Callable[[str, ApiError | None, bool], OutcomeUnknown]
    # Returns the result of the attempts, if it shows. Raises OutcomeUnknown, ApiError, Signalled.
    settle: Callable[[ApiError, Meaning], T | None] = lambda error, meaning: None
    # Returns what was there already when the API refused. Raises as `settle` does.
    already: Callable[[ApiError, "Write[T]"], T | None] = lambda error, write: None
    # Takes the number of resends and the seconds spent. Returns the seconds until the next one, None for never.
    resend_after: Callable[[ApiError, Meaning, int, float], float | None] = lambda error, meaning, resends, spent: None
    # The error of a signal that came once it was done.
    stopped_after: Callable[[Signalled, T], Interrupted] = lambda signalled, value: signalled.in_words(
        "stopped by a signal; it is done"
    )
    can_rule_out: bool = False  # whether it can find out that nothing happened
    retries: bool = True  # whether what certainly did nothing is sent again
    nothing: str = "nothing was changed"
    absent: str = ""  # what is said where looking for it shows nothing


class Journal(NamedTuple):
    """What is written down of each attempt: by default nothing."""

    begin: Callable[[], None] = lambda: None  # it is about to be sent. Raises ApiError if it must not be any more
    did_nothing: Callable[[], None] = lambda: None
    acted: Callable[[Any], None] = lambda value: None  # its response showed this


@dataclass(eq=False, repr=False)
class Write(Generic[T]):
    """One write, done by `send`. After a signal, `result` and `may_have_acted` say what is known.

    `request` prepares an attempt, and raises UsageError if writing is forbidden. `read` returns what was wanted from a
    response that shows it, and raises ApiError for any other. `pace` spaces several writes.
    """

    client: "Client"
    request: Callable[[], Pending]
    read: Callable[[Answer], T]
    recovery: Recovery[T]
    journal: Journal = Journal()  # noqa: RUF009  # it never changes
    pace: Pace | None = field(default=None, kw_only=True)
    result: Written[T] | None = field(default=None, init=False)
    # What is not settled, of this command or an earlier one under the same key. LOST: nobody knows. FAILED: an error
    # came (also DOUBTFUL), and looking showed nothing.
    unsettled: set[Meaning] = field(default_factory=set, init=False)
    _loss: ApiError | None = field(default=None, init=False)  # the first of this command
    _is_sending: bool = field(default=False, init=False)

    @property
    def may_have_acted(self) -> bool:
        """Whether an attempt was sent that may have had an effect."""
        return self._is_sending or bool(self.unsettled)

    @property
    def is_open_or_done(self) -> bool:
        """Whether it was done, or may have been."""
        return self.result is not None or self.may_have_acted

    def send(self) -> Written[T]:
        """Do the write and return the result. Raises ApiError if nothing was changed, OutcomeUnknown if that is
        uncertain, UsageError, Closed if nothing was sent; Signalled, after up to 2 s more for the response.
        """
        clock, tries, resends = self.client.clock, 0, 0
        began = since = clock.monotonic()  # when the write began; when the last resend began
        with signals.deferred():
            while True:
                try:
                    pending = self.request()
                except ApiError as error:  # what it needs, as a new token: the last attempt's state stands
                    self._give_up(error)
                self._take_turn()
                self._begin()
                self._heed_signal()
                try:
                    return self._shown(answer_to(pending.start()))
                except Signalled:
                    self._hear_out(pending)
                    raise
                except ApiError as error:
                    spent = clock.monotonic() - since
                    meaning = meaning_of(error)
                    if meaning is Meaning.NOTHING:
                        tries += 1
                        self._note_nothing()
                        if (early := self._pause(error, tries, spent)) is not None:
                            return early
                    elif meaning is Meaning.REFUSED:
                        self._note_nothing()
                        return self._refused(error)
                    elif (settled := self._settle(error, meaning)) is not None:
                        return self._finish(settled, "settled")
                    else:
                        self._may_resend(error, meaning, resends, clock.monotonic() - began)
                        resends, tries, since = resends + 1, 0, clock.monotonic()

    def deliver(self) -> T:
        """Do it, and return what it came to. Raises as `send` does; what a signal leaves is put into words."""
        with self.in_words():
            return self.send().value

    @contextmanager
    def in_words(self) -> Iterator[None]:
        """Put into words what a signal in this block leaves, once it was done or may have been."""
        try:
            yield
        except Signalled as signalled:
            if self.is_open_or_done:
                raise self.stopped(signalled) from None
            raise

    def stopped(self, signalled: Signalled) -> Interrupted:
        """Return the error of a signal that came once it was done, or may have been."""
        if self.result is not None:
            return self.recovery.stopped_after(signalled, self.result.value)
        unknown = self.unknown("interrupted before it was confirmed")
        about = {name: getattr(unknown, name) for name in ("hint", "next", "session_id", "run_state")}
        return signalled.in_words(unknown.message, kind=Exit.OUTCOME_UNKNOWN, **about)

    def unknown(self, *why: str, cause: ApiError | None = None, is_absent: bool = False) -> OutcomeUnknown:
        reasons = [*why]
        if cause:
            reasons.insert(0, cause.message.rstrip("."))
        if is_absent:
            reasons.append(self.recovery.absent)
        return self.recovery.doubt("; ".join(filter(None, reasons)), cause, is_absent)

    def _take_turn(self) -> None:
        if self.pace is None:
            self._note_sending()
            return
        try:
            self.pace.wait_turn(self._note_sending)
        except Closed as closed:
            if self.may_have_acted:
                raise self.unknown("it was stopped before it could be sent again", cause=self._loss) from closed
            raise

    def _note_sending(self) -> None:
        self._is_sending = True
        if self not in self.client.writes[-1:]:
            self.client.writes.append(self)

    def _begin(self) -> None:
        try:
            self.journal.begin()
        except BaseException as error:  # nothing was sent
            self._is_sending = False
            if isinstance(error, ApiError):
                self._give_up(error)
            raise

    def _note_nothing(self) -> None:
        self.journal.did_nothing()
        self._is_sending = False

    def _heed_signal(self) -> None:
        """Raise the signal that came before this attempt is sent, such as while the store was locked."""
        try:
            with signals.waiting():
                pass
        except Signalled:
            self._note_nothing()
            raise

    def _hear_out(self, pending: Pending) -> None:
        """After a signal, wait a little longer for an attempt's response. The signal decides how the command ends."""
        self.client.progress.note("stopping; waiting up to 2 s for the response (press Ctrl-C again to quit now)")
        try:
            self._shown(answer_to(pending, LAST_WORDS))
        except ApiError as error:
            if meaning_of(error) in (Meaning.NOTHING, Meaning.REFUSED):
                self._note_nothing()
        except OutcomeUnknown:
            pass

    def _shown(self, answer: Answer) -> Written[T]:
        if 200 <= answer.status < 300 and answer.is_kept:
            raise no_response("the response is an old one that a proxy has kept")
        value = self.read(answer)
        self.journal.acted(value)
        return self._finish(value, "answered")

    def _finish(self, value: T, how: How) -> Written[T]:
        self.result = Written(value, how)
        return self.result

    def _pause(self, error: ApiError, tries: int, spent: float) -> Written[T] | None:
        """Wait before sending again. If that is pointless, return what was there already, or raise the error."""
        wait = next_try(error, tries=tries, spent=spent, jitter=self.client.clock.jitter())
        if wait is None or not self.recovery.retries:
            if Meaning.FAILED in self.unsettled:
                return self._refused(error)
            self._give_up(error)
        self.client.progress.note(f"{self.recovery.nothing}: {error.message.rstrip('.')}; retrying in {span(wait)}")
        if self.pace and error.http_status == 429:
            self.pace.hold(wait)
        self.client.clock.sleep(wait)
        return None

    def _refused(self, error: ApiError) -> Written[T]:
        """Return what was there already, perhaps by a failed attempt; or raise."""
        why, is_doubtful, earlier = _EARLIER, error.http_status == 409, None
        try:
            earlier = self.recovery.already(error, self)
        except OutcomeUnknown as unsettled:
            why, is_doubtful = unsettled.message, True
        if earlier is not None:
            return self._finish(earlier, "settled" if self.may_have_acted else "already")
        self._give_up(error, why, is_doubtful=is_doubtful)

    def _give_up(self, error: ApiError, why: str = _EARLIER, *, is_doubtful: bool = False) -> NoReturn:
        """Raise the error; OutcomeUnknown where it `is_doubtful` whether a failed attempt acted after all."""
        if Meaning.LOST in self.unsettled or (is_doubtful and Meaning.FAILED in self.unsettled):
            raise self.unknown(why, cause=error) from error
        self.unsettled.discard(Meaning.FAILED)
        raise error

    def _settle(self, error: ApiError, meaning: Meaning) -> T | None:
        self._is_sending = False
        if meaning is Meaning.LOST or not self.recovery.can_rule_out:
            self.unsettled.add(Meaning.LOST)
            self._loss = self._loss or error
        else:
            self.unsettled.add(Meaning.FAILED)
        try:
            return self.recovery.settle(error, meaning)
        except OutcomeUnknown as unsettled:
            raise self.unknown(unsettled.message, cause=error) from error

    def _may_resend(self, error: ApiError, meaning: Meaning, resends: int, spent: float) -> None:
        wait = self.recovery.resend_after(error, meaning, resends, spent)
        if wait is None and Meaning.LOST in self.unsettled:
            raise self.unknown(cause=self._loss or error, is_absent=True) from error
        if wait is None:
            self._give_up(error)
        again = "sending it again"
        if wait:
            again += f" in {span(wait)}"
        self.client.progress.note(f"{error.message.rstrip('.')}; {again} with the same key")
        self.client.clock.sleep(wait)


def look_for(
    clock: Clock,
    find: Callable[[], T | None],
    looks: Sequence[float],
    *,
    unread: str,
    failures: tuple[type[QoderError], ...] = (ApiError,),
) -> T | None:
    """Return the first find of `find`, called after each delay, in seconds; None if there is none.

    Another look is made after these `failures`. If the last one failed so, raises OutcomeUnknown: its own, or one
    that says it is `unread`. Raises CannotBe.
    """
    began = clock.monotonic()

    def may_pass(error: QoderError) -> bool:
        return isinstance(error, failures) and not isinstance(error, (AuthError, CannotBe))

    clock.sleep(looks[0])
    pauses = (max(began + look - clock.monotonic(), 0.0) for look in looks[1:])
    try:
        return poll(find, clock, pauses=pauses, is_enough=lambda result: result is not None, may_pass=may_pass)
    except (CannotBe, OutcomeUnknown):
        raise
    except failures as failure:
        raise OutcomeUnknown(f"{unread}: {failure.message}") from failure


def cancelling(
    client: "Client", session_id: Callable[[], str], *, timeout: float | None = None, retries: bool = True
) -> Write[Any]:
    """Return the write that asks a session to stop, which alone settles it."""

    def request() -> Pending:
        return client.prepare("POST", f"/sessions/{segment(session_id())}/cancel", timeout=timeout)

    def doubt(why: str, cause: ApiError | None, may_repeat: bool) -> OutcomeUnknown:
        return OutcomeUnknown(why, run_state="unknown", cause=cause)

    def stopped_after(signalled: Signalled, value: Any) -> Interrupted:
        return signalled.in_words("interrupted; the cancellation was requested", run_state="unknown")

    recovery = Recovery[Any](doubt, stopped_after=stopped_after, retries=retries)
    return Write(client, request, client.understand, recovery)
