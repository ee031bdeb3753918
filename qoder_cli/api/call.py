"""One request of `qoder api`, sent as often as it may be, and never said to have done nothing when it may have.

A GET is asked again as ever. A write is sent once: its 4xx did nothing, and no answer, one that is not the API's, or a
5xx leave open what it did (exit 9), unless it certainly never reached the server (exit 7). With an idempotency key it
is sent again as a GET is, under the same key: whether that is honoured is the server's affair (api/facts.md, 3.5).
"""

from qoder_cli.api.request import Request
from qoder_cli.app import App
from qoder_cli.base import jsontext
from qoder_cli.base.errors import (
    ApiError,
    Interrupted,
    NotFound,
    OutcomeUnknown,
    Rejected,
    Signalled,
)
from qoder_cli.http.answers import WITHOUT_BODY, Answer, Pending, no_answer, not_json
from qoder_cli.http.pace import next_try
from qoder_cli.http.write import Meaning, Write, meaning_of
from qoder_cli.nouns.operations import Operation, of_path, readable

WRITE_TIMEOUT = 60.0  # seconds; a lost answer to a write costs more than waiting for it
_NO_FEATURE = "feature_not_available"


class Call(Write[Answer]):
    """A request and what became of it; nothing settles it, for nothing is known of what was asked.

    `answer` is the last complete answer, whatever it says; `is_done` is True once it says that all is done.
    """

    def __init__(self, app: App, request: Request) -> None:
        client = app.client
        usual = WRITE_TIMEOUT if request.is_write else client.request_timeout
        super().__init__(client, timeout=client.settings.request_timeout or usual)
        self.retries = request.key is not None
        self.answer: Answer | None = None
        self.is_done = False
        self._announced = False
        self._app = app
        self._request = request

    def make(self) -> Answer:
        """Make it, and return the answer, which is 2xx and believable.

        Raises ApiError when nothing was changed, UsageError when writing is forbidden, and what `deliver` raises.
        """
        if not self._request.is_write:
            return self.client.patiently(lambda: self.read(self.request().start().result(self.timeout)))
        return self.deliver()

    def request(self) -> Pending:
        request = self._request
        self.answer = None
        pending = self.client.prepare(
            request.method,
            request.path,
            params=request.params or None,
            content=request.body and request.body.content,
            headers=request.all_headers,
            timeout=self.timeout,
        )
        if request.is_write and not self._announced:
            self._announced = True
            again = f"; retried with the key {request.key} if no response comes" if request.key else ""
            self.client.progress.note(f"{request} {self.client.settings.whereabouts}{again}")
        return pending

    def read(self, answer: Answer) -> Answer:
        self.answer = answer
        _check(self.client.accept(answer), self._request.operation, self.client.settings.host)
        self.is_done = True
        return answer

    def meaning_of(self, error: ApiError) -> Meaning:
        return Meaning.REFUSED if error.api_type == _NO_FEATURE else meaning_of(error)

    def resend_after(self, error: ApiError, meaning: Meaning, resends: int, spent: float) -> float | None:
        if self._request.key is None or meaning is Meaning.DOUBTFUL:
            return None
        return next_try(error, tries=resends + 1, spent=spent, jitter=self.client.clock.jitter())

    def doubt(self, why: str, cause: ApiError | None, *, is_absent: bool) -> OutcomeUnknown:
        path = readable(self._request.path)
        return OutcomeUnknown(
            f"unknown whether {self._request} was done: {why}",
            hint="check before doing it again",
            next=self._app.command("api", "GET", path) if path else None,
            run_state="unknown",
            cause=cause,
        )

    def stopped_after(self, signalled: Signalled, value: Answer) -> Interrupted:
        said = f"stopped by a signal; {self._request} is done (HTTP {value.status})"
        return signalled.in_words(said, run_state="unknown")


def explained(request: Request, error: ApiError) -> ApiError:
    """Return an error with a better hint, where the table or the options have one."""
    if isinstance(error, NotFound) or error.http_status == 405:
        methods = " or ".join(each.method for each in of_path(request.path))
        if request.operation is None:
            known = f"this path takes {methods}" if methods else "no operation has this path"
            return error.with_(hint=f"{known}; to list the operations: qoder api --list")
    elif request.is_write and error.retryable and not isinstance(error, Rejected) and request.key is None:
        hints = filter(None, ("to let it be retried, use --idempotency-key", error.hint))
        return error.with_(hint="; ".join(hints))
    return error


def _check(answer: Answer, operation: Operation | None, host: str) -> None:
    """Raise NoAnswer for what cannot be the API's, as a page of a gateway."""
    kind = answer.kind
    if not answer.content and (answer.status in WITHOUT_BODY or answer.headers.get("content-length") == "0"):
        return
    if kind == "text/html":
        raise no_answer(f"HTTP {answer.status} from {host}: not the API's response ({kind})")
    may_be_anything = operation is None or operation.kind == "binary"
    if not may_be_anything or kind == "application/json" or kind.endswith("+json"):
        try:
            jsontext.parse(answer.body)
        except ValueError as error:
            raise not_json(answer, host, error) from None
