"""One request of `qoder api`, sent again only if that is safe.

A GET is retried. A write is sent once: a 4xx did nothing; after a 5xx, no response, or one
not the API's, nobody knows (exit 9), unless it certainly never arrived (exit 7). With a key
it is retried like a GET, under that key, which a server may ignore (api.md#idempotency).
"""

from qoder_cli.api.request import RawRequest
from qoder_cli.app import App
from qoder_cli.base import jsontext
from qoder_cli.base.errors import ApiError, Interrupted, NotFound, OutcomeUnknown, Signalled
from qoder_cli.http.answers import WITHOUT_BODY, Answer, Pending, no_response, not_json
from qoder_cli.http.pace import next_try
from qoder_cli.http.write import Meaning, Recovery, Write
from qoder_cli.nouns.table import Operation, readable

WRITE_TIMEOUT = 60.0  # seconds; a lost response to a write costs more than waiting for it


class RawCall:
    """A request and its result. A lost response cannot be settled: the request may be any.

    `answer` is the last complete response; `is_done` is True once one says that all is done.
    """

    def __init__(self, app: App, request: RawRequest) -> None:
        self.answer: Answer | None = None
        self.is_done = False
        self._app = app
        self._request = request
        self._announced = False

    def make(self) -> Answer:
        """Send it and return a 2xx response that can be believed. Raises as `Write.deliver`."""
        client = self._app.client
        if not self._request.is_write:
            return client.patiently(lambda: self._read(client.send(self._prepare())))
        recovery = Recovery(
            self._doubt,
            resend_after=self._resend_after,
            stopped_after=self.stopped_after,
            retries=self._request.key is not None,
        )
        return Write(client, self._prepare, self._read, recovery).deliver()

    def _prepare(self) -> Pending:
        request, client = self._request, self._app.client
        self.answer = None
        usual = WRITE_TIMEOUT if request.is_write else client.request_timeout
        pending = client.prepare(
            request.method,
            request.path,
            params=request.params or None,
            content=request.body and request.body.content,
            headers=request.all_headers,
            timeout=client.settings.request_timeout or usual,
        )
        if request.is_write and not self._announced:
            self._announced = True
            again = f"; retried with the key {request.key} if no response comes" if request.key else ""
            client.progress.note(f"{request}{client.settings.whereabouts}{again}")
        return pending

    def _read(self, answer: Answer) -> Answer:
        client = self._app.client
        self.answer = answer
        _check(client.accept(answer), self._request.operation, client.settings.host)
        self.is_done = True
        return answer

    def _resend_after(self, error: ApiError, meaning: Meaning, resends: int, spent: float) -> float | None:
        if self._request.key is None or meaning is Meaning.DOUBTFUL:
            return None
        return next_try(error, tries=resends + 1, spent=spent, jitter=self._app.clock.jitter())

    def _doubt(self, why: str, cause: ApiError | None, may_repeat: bool) -> OutcomeUnknown:
        path = readable(self._request.path)
        return OutcomeUnknown(
            f"unknown whether {self._request} was done: {why}",
            hint="check before doing it again",
            next=self._app.command("api", "GET", path) if path else None,
            run_state="unknown",
            cause=cause,
        )

    def stopped_after(self, signalled: Signalled, answer: Answer) -> Interrupted:
        """Return the error of a signal that came once it was done."""
        message = f"stopped by a signal; {self._request} is done (HTTP {answer.status})"
        return signalled.in_words(message, run_state="unknown")


def explained(request: RawRequest, error: ApiError) -> ApiError:
    """Return an error with a better hint, if operations or options have one."""
    if request.operation is None and (isinstance(error, NotFound) or error.http_status == 405):
        what = f"{request.method} is not documented for this path"
        return error.with_(hint=f"{what}; to list the operations: qoder api --list")
    return error


def _check(answer: Answer, operation: Operation | None, host: str) -> None:
    """Raise NoResponse for what cannot be the API's, such as a gateway's page."""
    kind = answer.kind
    if not answer.content and (answer.status in WITHOUT_BODY or answer.headers.get("content-length") == "0"):
        return
    if kind == "text/html":
        raise no_response(f"HTTP {answer.status} from {host}: not the API's response ({kind})")
    may_be_anything = operation is None or operation.kind == "binary"
    if not may_be_anything or kind == "application/json" or kind.endswith("+json"):
        try:
            jsontext.parse(answer.body)
        except ValueError as error:
            raise not_json(answer, host, error) from None
