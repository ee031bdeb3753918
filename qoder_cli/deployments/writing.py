"""One write to the API that is done once as far as anyone can see, and whose lost answer is settled by reading back.

    429, a connection never made       send again, under the same key
    409, 403, of a repeatable write    read back: it may be as wanted already
    any other 4xx of the API itself    never again; nothing was changed
    any other 4xx, 3xx                 never again; done, if reading back shows it, and refused if not
    no answer, a cut or broken one,    read back: done, if it shows. If not, a repeatable write is sent again under the
    5xx, an unreadable 2xx             same key, at most twice. Else it is exit 7 when the answer was a complete 5xx in
                                       the API's own envelope, and exit 9 when it was none

A write is repeatable when doing it twice is the same as once, as pausing is. No page of a deployment's operations
promises to honour an Idempotency-Key (api/facts.md, 3.5): one is sent, and nothing relies on it. Starting a run is no
such write: it has `trigger`.
"""

import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar

from qoder_cli.errors import ApiError, AuthError, NoAnswer, OutcomeUnknown, Rejected, Signalled
from qoder_cli.http.pace import Closed, Pace
from qoder_cli.http.resending import Meaning, did_nothing, meaning_of, next_try
from qoder_cli.times import span

if TYPE_CHECKING:
    from qoder_cli.http.client import Pending
    from qoder_cli.state import State

T = TypeVar("T")

LAST_WORDS = 2.0  # seconds for the answer to a write under way when a signal arrives
LOOKS = (0.5, 1.0, 2.0, 4.0)  # seconds after the loss of an answer at which it is read back
LAST_LOOK = 8.0  # the same, at what is not sent again: as for a trigger (contract, section 6)
RESENDS = 2

How = Literal["answered", "read back", "already"]


class CannotBe(Rejected):
    """What a write was to bring about cannot come about any more: it was read back, and is certain."""


class Written(NamedTuple, Generic[T]):
    """What a write came to, and how that is known: by its answer, by reading back, or it was so before."""

    value: T
    how: How


@dataclass
class Write(Generic[T]):
    """One POST, to be sent once by `send`; `body` is its JSON, `{}` when None.

    `what` says what it does, as in "pausing dep_1". `read` makes of an answer's JSON what the write was to bring about;
    None when it shows something else. `settle` reads that back, with one request and no retries: None when it does not
    show, ApiError when it cannot be read, CannotBe when it never will, OutcomeUnknown when it cannot be told from
    someone else's. `look` is the command to look with, as words.

    Who is stopped in between finds here what is known: `result` once it is done, and `may_have_acted` while an attempt
    was sent of which nothing says that it did nothing.
    """

    state: "State"
    path: str
    body: Any = None
    _: KW_ONLY
    what: str
    read: Callable[[Any], T | None]
    settle: Callable[[], T | None]
    look: list[str]
    repeatable: bool = False
    pace: Pace | None = None  # where several are sent at a time: what spaces them, and ends it
    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    result: Written[T] | None = field(default=None, init=False)
    may_have_acted: bool = field(default=False, init=False)
    _lost: ApiError | None = field(default=None, init=False)  # the loss of an answer, not settled by reading back

    def send(self) -> Written[T]:
        """Do it, and return what it came to.

        Raises ApiError when nothing was changed, OutcomeUnknown when that is not certain, UsageError when writing is
        forbidden, Closed when the pace was closed before anything was sent, Signalled at any moment: an answer under
        way is waited for 2 s first.
        """
        refusals = resends = 0
        began = self.state.clock.monotonic()
        while True:
            try:
                return self._once()
            except ApiError as error:
                if self.repeatable and error.http_status in (403, 409):  # 403: "archived and locked" (facts, 3.4)
                    return self._as_it_stands(error, resends)
                if did_nothing(error):
                    refusals += 1
                    self._pause(error, refusals, began)
                elif (found := self._look(error)) is not None:
                    return self._done(found, "read back")
                else:
                    self._may_resend(error, resends)
                    resends += 1

    def _once(self) -> Written[T]:
        client = self.state.client
        pending = client.prepare("POST", self.path, body=self.body, headers={"idempotency-key": self.key})
        try:
            self._take_turn()
            pending.start()
            return self._heard(pending, client.request_timeout)
        except Signalled:
            if pending.started:
                self._last_words(pending)
            else:
                self._did_nothing()
            raise

    def _take_turn(self) -> None:
        if self.pace is None:
            self._begin()
            return
        try:
            self.pace.take(self._begin)
        except Closed as closed:
            if self.may_have_acted:
                raise self.unknown("it was stopped before it could be sent again", self._lost) from closed
            raise

    def _begin(self) -> None:
        self.may_have_acted = True

    def _heard(self, pending: "Pending", within: float) -> Written[T]:
        try:
            value = self.read(self.state.client.understand(pending.result(within)))
        except ApiError as error:
            if did_nothing(error):
                self._did_nothing()
            raise
        if value is None:
            raise NoAnswer("the server answered with something that does not show it")
        return self._done(value, "answered")

    def _last_words(self, pending: "Pending") -> None:
        """Wait a little for the answer to what is under way; what it says stands in `result` and `may_have_acted`."""
        self.state.progress.note("stopping: waiting 2 s at most for the answer; Ctrl-C again leaves at once")
        with suppress(ApiError):
            self._heard(pending, LAST_WORDS)

    def _done(self, value: T, how: How) -> Written[T]:
        self.result = Written(value, how)
        return self.result

    def _did_nothing(self) -> None:
        """Note that the last attempt did nothing; one before it may have."""
        self.may_have_acted = self._lost is not None

    def _as_it_stands(self, error: ApiError, resends: int) -> Written[T]:
        """Return what is there already, when the server refuses a change that is no change. Raises the error if not."""
        looks = (0.0, *LOOKS) if error.http_status == 409 else (0.0,)  # a replica may lag; a permission does not
        found, failure = self._read_back(looks, error)
        if found is None and self._lost is not None:
            why = f"reading back fails: {failure.message}" if failure else "reading back does not show it"
            raise self.unknown(why, error) from failure
        if found is None:
            raise error
        return self._done(found, "read back" if resends else "already")

    def _pause(self, error: ApiError, refusals: int, began: float) -> None:
        """Wait before sending again what did nothing. Raises what it ends with when that is pointless or enough."""
        clock = self.state.clock
        wait = next_try(error, refusals=refusals, spent=clock.monotonic() - began, jitter=clock.jitter())
        if wait is None:
            raise error if self._lost is None else self.unknown(error.message, self._lost)
        self.state.progress.note(f"nothing was changed: {error.message.rstrip('.')}; trying again in {span(wait)}")
        if self.pace is not None and error.http_status == 429:
            self.pace.hold(wait)
        clock.sleep(wait)

    def _look(self, error: ApiError) -> T | None:
        """Read back what a write brought about whose answer is lost; None when it does not show."""
        looks = LOOKS if self.repeatable else (*LOOKS, LAST_LOOK)
        self.state.progress.note(f"the answer was lost ({error.message}): reading back, for {looks[-1]:.0f}s at most")
        found, failure = self._read_back(looks, error)
        if failure is not None:
            raise self.unknown(f"reading back does not settle it: {failure.message}", error) from error
        return found

    def _read_back(self, looks: Sequence[float], error: ApiError) -> tuple[T | None, ApiError | OutcomeUnknown | None]:
        """Return what the first look that shows it shows, or why none does; `looks` are in seconds from now."""
        clock = self.state.clock
        began = clock.monotonic()
        found: T | None = None
        failure: ApiError | OutcomeUnknown | None = None
        for look in looks:
            clock.sleep(max(began + look - clock.monotonic(), 0.0))
            try:
                found, failure = self.settle(), None
            except CannotBe as known:
                known.api_type, known.http_status = error.api_type, error.http_status
                known.request_id = error.request_id
                raise
            except (ApiError, OutcomeUnknown) as unread:
                found, failure = None, unread
            if isinstance(failure, AuthError) or found is not None:
                break
        return found, failure

    def _may_resend(self, error: ApiError, resends: int) -> None:
        """Return when it may be sent again although it was; raise what it ends with when not."""
        meaning = meaning_of(error)
        if meaning is Meaning.LOST:
            self._lost = error
        if not self.repeatable or meaning is Meaning.DOUBTFUL or resends == RESENDS:
            if self._lost is None:
                self.may_have_acted = False
                raise error
            raise self.unknown("reading back does not show it", self._lost) from error
        self.state.progress.note("reading back does not show it: sending it again, for repeating it does no harm")

    def unknown(self, why: str, error: ApiError | None = None) -> OutcomeUnknown:
        """Return the error that whether it was done is not known, and why; `error` is what the answer was."""
        parts = (f"whether {self.what} was done is not known", error.message.rstrip(".") if error else "", why)
        return OutcomeUnknown(
            "; ".join(part for part in parts if part),
            hint="look; repeating it does no harm" if self.repeatable else "look before doing it again",
            next=self.look,
            cause=error,
        )
