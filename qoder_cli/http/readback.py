"""Reading a list back past a moment, whatever the order it comes in.

Lists are documented as newest first (api/facts.md, 1.2 and 1.3), but what is *not* found in one may permit a write. So
the order is believed only after a stretch of it was seen; until then the list is read to its end, and a list that does
not say that it has ended was not read back.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from qoder_cli.base.model import mapping
from qoder_cli.base.times import parse_timestamp

if TYPE_CHECKING:
    from qoder_cli.http.client import Client

MOST_PAGES = 30  # of 100 rows
PAGE_WITHIN = 10.0  # seconds
ALL_WITHIN = 45.0  # seconds
STRETCH = 8  # dated rows that come newest first before that order is believed: two do by chance

Until = Callable[[], float | None]

_SMALLEST_LIMIT = 20  # rows; the API's default, which a page without a word about more may have been cut at


class ReadBack:
    """The rows of one list, read back past a moment. `is_whole` says, once they are read, whether it got there."""

    def __init__(self, client: "Client", path: str) -> None:
        self._client = client
        self._path = path
        self._order = _Order()
        self.is_whole = False

    def rows(self, until: Until) -> Iterator[dict[str, Any]]:
        """Yield the rows up to the end of the page that passes the moment, or to the end of the list.

        `until` gives the moment in unix seconds on the server's clock, None where the whole list has to be read; it is
        asked after each page, for a page may be what tells the server's clock. Raises ApiError.
        """
        began = self._client.clock.monotonic()
        page: dict[str, Any] = {}
        pages = self._client.pages(self._path, {"limit": 100}, within=PAGE_WITHIN, retry=False)
        for number, page in enumerate(pages, 1):
            for row in map(mapping, page["data"]):
                self._order.take(row)
                yield row
            moment = until()
            if moment is not None and self._order.is_past(moment):
                self.is_whole = True
                return
            if number == MOST_PAGES or self._client.clock.monotonic() - began > ALL_WITHIN:
                return
        self.is_whole = _says_that_it_ends(page)


class _Order:
    """The order of the rows so far, by their `created_at`; rows without one say nothing."""

    def __init__(self) -> None:
        self._newest: float | None = None
        self._last: float | None = None
        self._dated = 0
        self._falls = True

    def take(self, row: dict[str, Any]) -> None:
        created = parse_timestamp(row.get("created_at"))
        if created is None:
            return
        moment = created.timestamp()
        self._dated += 1
        if self._newest is None:
            self._newest = moment
        elif self._last is not None and moment > self._last:
            self._falls = False
        self._last = moment

    def is_past(self, moment: float) -> bool:
        """Return whether the list comes newest first, as far as it was seen, and has passed the moment."""
        if self._newest is None or self._last is None or self._dated < STRETCH:
            return False
        return self._falls and self._last < self._newest and self._last < moment


def _says_that_it_ends(page: dict[str, Any]) -> bool:
    says_something = page.get("has_more") is False or "next_page" in page
    return says_something or len(page.get("data") or ()) < _SMALLEST_LIMIT
