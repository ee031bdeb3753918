"""Reading a list back past a moment, whatever the order it comes in.

Lists are documented as newest first (api/facts.md, 1.2 and 1.3), but what is *not* found in one may
permit a write. So the order is believed only after a stretch of it was seen; until then the list is read
to its end, and a list that does not say that it has ended was not read back.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qoder_cli.base.model import mapping
from qoder_cli.base.times import unix

if TYPE_CHECKING:
    from qoder_cli.http.client import Client

MOST_PAGES = 30  # of 100 rows
PAGE_WITHIN = 10.0  # seconds
ALL_WITHIN = 45.0  # seconds
STRETCH = 8  # dated rows that come newest first before that order is believed: two do by chance

Until = Callable[[], float | None]

_SMALLEST_LIMIT = 20  # rows; the API's default, which a page without a word about more may have been cut at


class ReadBack:
    """The rows of one list, read back past a moment; `is_whole` says afterwards whether it got there."""

    def __init__(self, client: "Client", path: str, query: Mapping[str, Any] | None = None) -> None:
        self._client = client
        self._path = path
        self._query = {"limit": 100, **(query or {})}
        self.is_whole = False

    def rows(self, until: Until) -> Iterator[dict[str, Any]]:
        """Yield the rows to the end of the page that passes the moment, or of the list. Raises ApiError.

        `until` gives the moment in unix seconds of the server, None for the whole list; it is asked after each
        page, for a page may be what tells the server's clock.
        """
        began = self._client.clock.monotonic()
        created: list[float] = []
        page: dict[str, Any] = {}
        pages = self._client.pages(self._path, self._query, within=PAGE_WITHIN, retry=False)
        for number, page in enumerate(pages, 1):
            for row in map(mapping, page["data"]):
                if (at := unix(row.get("created_at"))) is not None:
                    created.append(at)
                yield row
            moment = until()
            is_told = len(created) >= STRETCH and created == sorted(created, reverse=True)
            if moment is not None and is_told and created[-1] < min(created[0], moment):
                self.is_whole = True
                return
            if number == MOST_PAGES or self._client.clock.monotonic() - began > ALL_WITHIN:
                return
        says_something = page.get("has_more") is False or "next_page" in page
        self.is_whole = says_something or len(page.get("data") or ()) < _SMALLEST_LIMIT
