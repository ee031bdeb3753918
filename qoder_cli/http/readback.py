"""The write of one object. A lost response is settled by reading back the object, or its list, for 30 s.

A repeatable change, such as a pause, is sent again at most twice if reading back does not show it; a 409 or 403 may
mean that it is so already (api.md#errors). Other changes are sent again only if the last attempt certainly
did nothing. If reading back does not show it: exit 7 after a 5xx of the API itself, exit 9 after no response.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from qoder_cli.base import jsontext
from qoder_cli.base.errors import ApiError, CannotBe, Interrupted, NoResponse, OutcomeUnknown, Signalled
from qoder_cli.base.model import Resource, array, created_at, mapping, says_whether_more, text
from qoder_cli.http.answers import Answer, Pending
from qoder_cli.http.pace import Pace
from qoder_cli.http.write import Meaning, Recovery, Write, look_for

if TYPE_CHECKING:
    from qoder_cli.http.client import Client

Part = tuple[str, str, bytes]  # of a form: field, file name, content

READ_WITHIN = 10.0  # seconds for one reading back
READ_BACK_LOOKS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # seconds after the looking began
CHANGE_RESENDS = 2

MOST_PAGES = 30  # of 100 rows
PAGE_WITHIN = 10.0  # seconds
ALL_WITHIN = 45.0  # seconds
STRETCH = 8  # dated rows, newest first, needed to believe that order; two may be so by chance


class Sent(NamedTuple):
    """What a write sends; `body` is JSON, `{}` when None. With `files` it is a form, its fields texts or JSON."""

    method: str
    path: str
    body: Any = None
    files: Sequence[Part] = ()


def object_write(
    client: "Client",
    sent: Sent,
    *,
    what: str,
    shows: Callable[[Resource], bool],
    find: Callable[[], Resource | None] | None,
    look: list[str],
    parse: Callable[[Any], Resource | None] = lambda value: Resource(mapping(value)),
    repeatable: bool = False,
    pace: Pace | None = None,
    at_attempt: Callable[[], None] = lambda: None,
) -> Write[Resource]:
    """Return the write of an object, or of a new one.

    `what` says what it does, as in "pausing dep_1". `parse` returns the object of a JSON response, or None. `shows`
    tells whether it is as it was to become. `at_attempt` is called as each attempt is prepared.

    `find` reads it back with one request: None when it is not so, ApiError when it cannot be read, CannotBe when it
    never will be so, OutcomeUnknown when it cannot be told from someone else's. `find` is None where nothing would
    show the change: then a 5xx leaves it unknown, too. `look` is the command to look with.
    """
    headers = {"idempotency-key": str(uuid.uuid4()), **headers_for(sent.body)}

    def request() -> Pending:
        at_attempt()
        if not sent.files:
            return client.prepare(sent.method, sent.path, body=sent.body, headers=headers)
        from qoder_cli.http.client import multipart

        texts = {name: [text(value) or jsontext.dump(value)] for name, value in (sent.body or {}).items()}
        content, form = multipart(texts, sent.files)
        return client.prepare(sent.method, sent.path, content=content, headers={"content-type": form, **headers})

    def read(answer: Answer) -> Resource:
        written = parse(client.understand(answer))
        if written is None or not shows(written):
            raise NoResponse("the response does not show the change")
        return written

    def doubt(why: str, cause: ApiError | None, may_repeat: bool) -> OutcomeUnknown:
        message = "; ".join(filter(None, (f"unknown whether {what} succeeded", why)))
        hint = "check; it is safe to repeat" if repeatable else "check before doing it again"
        return OutcomeUnknown(message, hint=hint, next=look, cause=cause)

    def stopped_after(signalled: Signalled, value: Resource) -> Interrupted:
        return signalled.in_words(f"stopped by a signal; {what} succeeded ({value.id})")

    def resend_after(error: ApiError, meaning: Meaning, resends: int, spent: float) -> float | None:
        may_follow = repeatable and meaning is not Meaning.DOUBTFUL and resends < CHANGE_RESENDS
        return 0.0 if may_follow else None

    recovery = Recovery[Resource](doubt, resend_after=resend_after, stopped_after=stopped_after)
    if find is None:
        return Write(client, request, read, recovery._replace(absent="nothing shows it"), pace=pace)

    def read_back(looks: Sequence[float], error: ApiError) -> Resource | None:
        failures = (ApiError, OutcomeUnknown)
        try:
            return look_for(client.clock, find, looks, unread="it could not be read back", failures=failures)
        except CannotBe as final:
            about = {"api_type": error.api_type, "http_status": error.http_status, "request_id": error.request_id}
            raise final.with_(**about) from error

    def settle(error: ApiError, meaning: Meaning) -> Resource | None:
        why = error.message.rstrip(".")
        client.progress.note(f"no confirmation ({why}); reading back for up to {READ_BACK_LOOKS[-1]:.0f}s")
        return read_back(READ_BACK_LOOKS, error)

    def already(error: ApiError, write: Write[Resource]) -> Resource | None:
        if sent.method == "DELETE" and error.http_status == 404:
            if write.may_have_acted:
                return find()
            return None
        if not repeatable or error.http_status not in (403, 409):
            return None
        looks: tuple[float, ...] = (0.0,)
        if error.http_status == 409:  # a replica may lag; a permission does not
            looks = (0.0, *READ_BACK_LOOKS[:4])
        return read_back(looks, error)

    recovery = recovery._replace(
        settle=settle, already=already, can_rule_out=True, absent="reading it back does not show it"
    )
    return Write(client, request, read, recovery, pace=pace)


def headers_for(body: object) -> Mapping[str, str]:
    """Return the headers for a body that is written: one if an agent gets the browser toolset (api.md#headers)."""
    tools = map(mapping, array(mapping(body).get("tools")))
    if any(tool.get("type") == "browser_toolset_20260714" for tool in tools):
        return {"x-qoder-beta": "browser-use-2026-07-14"}
    return {}


class ReadBack:
    """The rows of one list, read back past a moment; `is_whole` says whether it got there.

    Lists have the newest first (api.md#lists-and-pages), but what is *not* found in one may permit a
    write. So the order is believed only after a stretch of it was seen; until then the list is read to its end. A
    list that does not say in the documented way whether more follows counts as not read back.
    """

    def __init__(self, client: "Client", path: str, query: Mapping[str, Any] | None = None) -> None:
        self._client = client
        self._path = path
        self._query = {"limit": 100, **(query or {})}
        self.is_whole = False

    def rows(self, until: Callable[[], float | None]) -> Iterator[dict[str, Any]]:
        """Yield the rows to the end of the page that passes the moment. Raises ApiError.

        `until` gives the moment in unix seconds of the server, None for the whole list; it is asked after each
        page, for a page may be what tells the server's clock.
        """
        began = self._client.clock.monotonic()
        created: list[float] = []
        page: dict[str, Any] = {}
        pages = self._client.pages(self._path, self._query, within=PAGE_WITHIN, retry=False, fresh=True)
        for number, page in enumerate(pages, 1):
            for row in map(mapping, page["data"]):
                if (at := created_at(row)) is not None:
                    created.append(at)
                yield row
            if not says_whether_more(page):
                return
            moment = until()
            is_in_order = len(created) >= STRETCH and created == sorted(created, reverse=True)
            if moment is not None and is_in_order and created[-1] < min(created[0], moment):
                self.is_whole = True
                return
            if number == MOST_PAGES or self._client.clock.monotonic() - began > ALL_WITHIN:
                return
        self.is_whole = True
