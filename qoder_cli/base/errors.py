"""Exit codes, and the exceptions that become them.

QoderError                     carries the message, the hint and all that the error line says
├── UsageError            2    bad option, argument, file or config value
│   └── BadFiles          2    (deployfile) deployment files are wrong: a line for each problem
├── RunFailed             1    the run failed or never started
├── RunSkipped            3    the run was skipped
├── ApiError                   the server, or the way to it, said no
│   ├── AuthError         4    no token, 401, 403
│   ├── NotFound          5    404
│   ├── Rejected          6    409 and every other 4xx
│   │   └── CannotBe      6    reading back shows that a write can never come true
│   └── Unavailable       7    429, 5xx, 3xx
│       └── NoResponse      7    no connection, a cut or unreadable response
├── NotYet                8    the run is still going, or a file differs
├── OutcomeUnknown        9    nobody can tell what happened
├── LostSight            10    a run is known and could not be followed
├── NeedsAnswer          11    the run waits for an answer from a person
├── InternalError        70    a bug here, or nowhere to write to
├── WaitTimeout         124    --timeout reached
└── Interrupted  130/143/129   a signal, once it has been put into words

Signalled                      the signal itself, raised by the handler (a BaseException)
ReaderGone                     standard output was closed by its reader: exit 141, nothing said
"""

import shlex
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Annotated, Any, Literal, ParamSpec, Self, TypedDict, TypeVar

from qoder_cli.base.tokens import without_tokens

P = ParamSpec("P")
T = TypeVar("T")

LONGEST_RETRY_AFTER = 60.0  # seconds; longer is not worth holding a terminal for

RunState = Literal["none", "ended", "going", "unknown"]


class Exit(IntEnum):
    """The exit codes; `help.documented` says what each means."""

    OK = 0
    RUN_FAILED = 1
    USAGE = 2
    RUN_SKIPPED = 3
    AUTH = 4
    NOT_FOUND = 5
    REJECTED = 6
    UNAVAILABLE = 7
    NOT_YET = 8
    OUTCOME_UNKNOWN = 9
    LOST_SIGHT = 10
    NEEDS_ANSWER = 11
    INTERNAL = 70
    WAIT_TIMEOUT = 124
    HUNG_UP = 129
    INTERRUPTED = 130
    CLOSED_PIPE = 141
    TERMINATED = 143


# The first that applies is the exit code of several runs (help/pages/exit-codes.md). 2 can also be the code of one of
# several (a name that two deployments have, a key that another one was started with).
RANKING = (130, 143, 129, 9, 70, 10, 4, 7, 6, 5, 2, 1, 11, 124, 3, 8, 0)


class ErrorData(TypedDict):
    """Why a command, or an item of several, did not come to its end."""

    type: Annotated[str, "name of the exit code, e.g. run_failed"]
    exit_code: Annotated[int, "the exit code"]
    message: Annotated[str, "what happened"]
    hint: Annotated[str | None, "what to do, or null"]
    next: Annotated[list[str] | None, "suggested next command as an array of words, or null"]
    run_id: Annotated[str | None, "run id or null"]
    session_id: Annotated[str | None, "session id or null"]
    run_state: Annotated[RunState, "one of none (nothing started), ended, going or unknown"]
    api_type: Annotated[str | None, "error type reported by the API, or null"]
    http_status: Annotated[int | None, "status of the response, or null"]
    request_id: Annotated[str | None, "request id reported by the API, or null"]


class ErrorLine(TypedDict):
    """The last line of standard error with JSON output, where the exit code is not 0 or 141."""

    error: ErrorData


class QoderError(Exception):
    """An expected failure: what happened, what to do next, and the exit code.

    `next` is the command to type next, as words. `run_state` is how the run stands when the command ends.
    What the server said comes from `cause`, if another error caused this one.
    """

    exit = Exit.INTERNAL
    # Its type in JSON, if not its exit code's: a signal's code, but `outcome_unknown` where a write may have acted.
    kind: Exit | None = None
    shell: str | None = None  # `next` for a shell, where it is longer than what one types
    asked_to_cancel = False  # whether the run left going was asked to cancel
    has_lines = False  # whether the message has several, made harmless already
    _is_frozen = False

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        next: list[str] | None = None,
        run_id: str | None = None,
        session_id: str | None = None,
        run_state: RunState = "none",
        api_type: str | None = None,
        http_status: int | None = None,
        request_id: str | None = None,
        cause: "QoderError | None" = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.next = next
        self.run_id = run_id
        self.session_id = session_id
        self.run_state = run_state
        if cause:
            api_type, http_status, request_id = cause.api_type, cause.http_status, cause.request_id
        self.api_type: str | None = api_type
        self.http_status: int | None = http_status
        self.request_id: str | None = request_id
        self._is_frozen = True

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse changes once made: others may hold this error."""
        if self._is_frozen and not name.startswith("__"):
            raise AttributeError(f"errors are never changed: use with_({name}=...)")
        super().__setattr__(name, value)

    def with_(self, **changes: Any) -> Self:
        other = type(self).__new__(type(self), *self.args)
        vars(other).update(vars(self), **changes)
        other.__cause__ = self.__cause__
        return other

    @property
    def type_name(self) -> str:
        """Its name in JSON, and wherever one word has to do."""
        return (self.kind or self.exit).name.lower()

    @property
    def command(self) -> str:
        """The command to type next; empty if there is none."""
        return self.shell or shlex.join(self.next or ())

    @property
    def advice(self) -> str:
        """The hint and the command to type next; empty if there are none."""
        return ": ".join(part for part in (self.hint, self.command) if part)

    def as_json(self) -> ErrorData:
        """Return the object under `error` in JSON: always the same keys, never a token."""
        run_id, session_id = self.run_id, self.session_id
        if run_id is not None and run_id.startswith("sess_"):  # it is about a session, of no run
            run_id, session_id = None, session_id or run_id
        return {
            "type": self.type_name,
            "exit_code": int(self.exit),
            "message": without_tokens(self.message),
            "hint": self.hint and without_tokens(self.hint),
            "next": self.next and [without_tokens(word) for word in self.next],
            "run_id": run_id,
            "session_id": session_id,
            "run_state": self.run_state,
            "api_type": self.api_type,
            "http_status": self.http_status,
            "request_id": self.request_id,
        }


class UsageError(QoderError):
    exit = Exit.USAGE


class RunFailed(QoderError):
    exit = Exit.RUN_FAILED


class RunSkipped(QoderError):
    exit = Exit.RUN_SKIPPED


class ApiError(QoderError):
    """An error from the server, or on the way to it. `retry_after` is in seconds, if given."""

    retryable = False  # whether asking again can help
    retry_after: float | None = None
    enveloped = False  # True when the response was complete and in the API's own error envelope

    @property
    def asked_pause(self) -> float:
        """The seconds to pause, as far as the server's request is heeded."""
        return min(self.retry_after or 0.0, LONGEST_RETRY_AFTER)

    @property
    def is_logged_out(self) -> bool:
        """Whether nobody is logged in, so that no other request would be answered either."""
        return isinstance(self, AuthError) and self.http_status != 403

    def about(self, what: str) -> Self:
        return self.with_(message=f"{what}: {self.message}")


class AuthError(ApiError):
    exit = Exit.AUTH


class NotFound(ApiError):
    exit = Exit.NOT_FOUND


class Rejected(ApiError):
    exit = Exit.REJECTED


class CannotBe(Rejected):
    """The wanted state can certainly not come about any more."""


class Unavailable(ApiError):
    exit = Exit.UNAVAILABLE
    retryable = True


class NoResponse(Unavailable):
    """No believable response. `sent` is False if no connection was ever made."""

    sent = True


class NotYet(QoderError):
    exit = Exit.NOT_YET


class OutcomeUnknown(QoderError):
    exit = Exit.OUTCOME_UNKNOWN


class LostSight(QoderError):
    exit = Exit.LOST_SIGHT


class NeedsAnswer(QoderError):
    exit = Exit.NEEDS_ANSWER


class InternalError(QoderError):
    exit = Exit.INTERNAL


class WaitTimeout(QoderError):
    exit = Exit.WAIT_TIMEOUT


class Interrupted(QoderError):
    exit = Exit.INTERRUPTED


class Signalled(BaseException):
    """A signal arrived. Not an Exception, so that no library's `except Exception` swallows it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum

    @property
    def exit(self) -> Exit:
        if self.signum == signal.SIGINT:
            return Exit.INTERRUPTED
        if self.signum == signal.SIGTERM:
            return Exit.TERMINATED
        return Exit.HUNG_UP

    def in_words(self, message: str, *, kind: Exit | None = None, **details: Any) -> Interrupted:
        """Return the error for this signal, with this message."""
        return Interrupted(message, **details).with_(exit=self.exit, kind=kind)


class ReaderGone(BaseException):
    """The reader of standard output went away, as in `qoder … | head -1`."""


def broken_down(failure: BaseException, runs: Sequence[str] = ()) -> InternalError:
    """Return the error for an exception that nobody expected, with the runs that may go on."""
    what = f"internal error (a bug in qoder, or its files changed while it ran): {type(failure).__name__}: {failure}"
    if not runs:
        return InternalError(what, hint="check whether a run was started: qoder run wait last", run_state="unknown")
    if len(runs) == 1:
        return InternalError(
            f"{what}; run {runs[0]} may still be running", hint="to wait for it", run_id=runs[0], run_state="unknown"
        )
    return InternalError(f"{what}; {len(runs)} runs may still be running", hint="to wait for them", run_state="unknown")


def exclude(options: Mapping[str, object]) -> None:
    """Refuse options, by their names, of which more than one is given. Raises UsageError."""
    given = [name for name, value in options.items() if value]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} cannot be used together", hint="give only one of them")


def first_by_rank(errors: Iterable[QoderError]) -> QoderError | None:
    """Return the error that decides the exit code of several runs; None if there is none."""
    return min(errors, key=lambda error: RANKING.index(error.exit), default=None)


def or_error(read: Callable[P, T]) -> Callable[P, T | ApiError]:
    """Return a function that returns what `read` does, or its ApiError: of several things, each may fail by itself."""

    def attempt(*args: P.args, **kwargs: P.kwargs) -> T | ApiError:
        try:
            return read(*args, **kwargs)
        except ApiError as error:
            return error

    return attempt
