"""Lists: the server's pages, filtered here, shown while the next is fetched."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import islice
from math import ceil
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import typer

from qoder_cli.base.errors import exclude
from qoder_cli.base.model import is_new, next_cursor, says_whether_more
from qoder_cli.base.pool import OneAhead

if TYPE_CHECKING:
    from qoder_cli.output.data import Rows
    from qoder_cli.output.progress import Progress

LIMIT = typer.Option(None, "--limit", "-n", min=1, metavar="N", help="Show N at most.")
ALL = typer.Option(False, "--all", help="Show all.")

T = TypeVar("T")
Object = dict[str, Any]  # one of the server's objects, as it was sent

LARGEST_PAGE = 100  # more is refused by the current API (api.md#lists-and-pages)
_REMEMBERED = 1000  # ids; what so many new arrivals push back is not shown twice


def rows_wanted(limit: int | None, *, all: bool, bounded: bool = False) -> int | None:
    """Return the most rows to show, None for all: 20 without a limit, --all or a time.

    A time is given if `bounded`. Raises UsageError for a limit with --all.
    """
    exclude({"--limit": limit, "--all": all})
    if limit is None and not (all or bounded):
        return 20
    return limit


def page_size(limit: int | None) -> int:
    """Return the page size that reaches a limit with the fewest requests and rows."""
    return LARGEST_PAGE if limit is None else ceil(limit / ceil(limit / LARGEST_PAGE))


@dataclass(eq=False)
class WantedRows(Generic[T]):
    """The rows wanted from the pages of a list.

    `matches` filters objects as sent; if `sure`, the server filters so too. `read`
    makes rows of those that match: fewer if it `sifts`, one by one if it is `slow`.
    Objects with a `key` already shown are ignored: new arrivals may push them onto
    the next page. At most one page is fetched ahead, and none if no more is needed.

    Afterwards `shown` counts rows, and `left_out` says whether rows were left out; `ignored` entries were no objects.
    Unless it `says_its_end`, nobody knows whether more rows follow those that were read.
    """

    pages: Iterable[Mapping[str, Any]]
    _: KW_ONLY
    read: Callable[[Sequence[Object]], Iterable[T]]
    limit: int | None
    matches: Callable[[Object], bool] = lambda item: True
    sifts: bool = False
    sure: bool = True
    slow: bool = False
    key: str = "id"
    shown: int = 0
    ignored: int = 0
    says_its_end: bool = True
    left_out: Literal["more match", "more may match"] | None = None

    def __post_init__(self) -> None:
        self._ids: dict[str, None] = {}  # of objects that were shown
        self._is_sorted = False

    def print(self, rows: "Rows[T]") -> None:
        """Print the rows as they come. Raises ApiError; those printed before stand."""
        self._is_sorted = rows.output.sorting is not None
        pages = OneAhead(iter(self.pages))
        with rows:
            while (page := pages.next()) is not None:
                self.says_its_end = says_whether_more(page)
                objects = list(filter(self.matches, self._objects(page)))
                room = None if self.limit is None else self.limit - self.shown
                if room is None or (room > len(objects) and not self.sifts):
                    pages.prepare()
                read = islice(self.read(objects if self.sifts else objects[:room]), room)
                for batch in ([row] for row in read) if self.slow else [list(read)]:
                    self.shown += len(batch)
                    rows.show(batch)
                if self.shown != self.limit:
                    continue
                rest = objects[room:]
                if rest and not self.sifts:
                    self.left_out = "more match"
                elif rest or next_cursor(page):
                    self.left_out = "more match" if self.sure and not self.sifts else "more may match"
                return

    def conclude(self, progress: "Progress", *, none: str) -> None:
        """Say on stderr what was ignored or left out; `none` if it had no rows."""
        if self.ignored:
            progress.warn(f"ignored {self.ignored} items in the server's list that are not objects")
        if not self.says_its_end and not self.left_out:
            progress.warn("the list does not say whether it is complete")
        if self.left_out:
            remedy = "use --all to sort all of them" if self._is_sorted else "use --all to see the rest"
            progress.note(f"note: showing {self.shown}, {self.left_out}; {remedy}", always=True)
        elif not self.shown:
            progress.note(f"note: {none}")

    def _objects(self, page: Mapping[str, Any]) -> Iterator[Object]:
        objects = [item for item in page["data"] if isinstance(item, dict)]
        self.ignored += len(page["data"]) - len(objects)
        for item in objects:
            id = item.get(self.key)
            if id in (None, "") or is_new(str(id), self._ids, most=_REMEMBERED):
                yield item
