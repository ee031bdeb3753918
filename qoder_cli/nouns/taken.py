"""Who has a name already, asked before something is created or renamed.

It is no lock: two commands that look at the same moment can both create.
"""

from collections.abc import Callable, Collection, Iterable, Iterator

from qoder_cli.app import App
from qoder_cli.base.errors import NoResponse, NotFound
from qoder_cli.base.model import Raw, mapping
from qoder_cli.base.polling import poll
from qoder_cli.base.words import few
from qoder_cli.http.readback import says_whether_more
from qoder_cli.local.remembered import as_remembered, seen
from qoder_cli.nouns.edits.thing import read, target_of
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.shown import name_of
from qoder_cli.nouns.table import has_id, path_of

_READ = 10  # things that are read singly, for each name
_LOOKS = (0.5, 1.0, 2.0, *(4.0,) * 7)  # seconds between two looks at a list that lags: LAGS in all


def holders(
    app: App, noun: Noun, *names: str, pages: Iterable[Raw] | None = None, renamed: Collection[str] = ()
) -> list[list[Raw]]:
    """Return, for each name, the things not archived that have it. Raises ApiError, also where nobody can tell.

    `pages` are those of the whole list, if it was just read. Things to be `renamed`, by id, may show no name.
    A list may lag behind: what this machine saw under a name is asked for too, and what a thing says
    of itself counts. One that is listed and cannot be found has the name: nothing is created on a doubt.
    """
    by_name: dict[str, list[Raw]] = {name.strip(): [] for name in names}
    if pages is None:
        pages = app.client.pages(path_of(noun), {"limit": 100}, fresh=True)
    rows = {str(row["id"]): row for row in _listed(noun, by_name, pages)}
    here = seen(app.store, noun.words, profile=app.settings.profile, host=app.settings.host)
    unlisted: dict[str, Raw] = {}
    for name in by_name:
        called = as_remembered(name)
        these = [seen_here.id for seen_here in here if seen_here.name == called and seen_here.id not in rows]
        unlisted |= {id: {} for id in these[:_READ]}
    read_singly = {*list(rows)[: _READ * len(by_name)], *unlisted}
    for id, row in (rows | unlisted).items():
        now = row
        if id in read_singly:
            now = _read(app, noun, id, row)
        shown_name = _name_in(now) or _name_in(row)
        if now and not shown_name and id not in renamed:
            raise _unclear(noun, f"{id} shows no name")
        if shown_name in by_name and not now.get("archived_at"):
            by_name[shown_name].append(now)
    return [by_name[name.strip()] for name in names]


def once_listed(app: App, noun: Noun, ids: Collection[str], rows: Callable[[], list[Raw]]) -> list[Raw]:
    """Return the `rows` of a list once they include some ids. Raises ApiError, also where they never do.

    A list that does not show yet what was created here cannot show whether someone else created the same. So each
    machine reads on until the list shows its own: of two that created at once, the later one then sees both.
    """

    def missing(listed: list[Raw]) -> set[str]:
        return {*ids} - {str(row.get("id")) for row in listed}

    listed = poll(rows, app.clock, pauses=_LOOKS, is_enough=lambda listed: not missing(listed))
    if left := missing(listed):
        raise NoResponse(f"the list of {noun.plural} does not show {few(sorted(left))}")
    return listed


def _listed(noun: Noun, names: Collection[str], pages: Iterable[Raw]) -> Iterator[Raw]:
    """Yield what is listed under some names, or under none. Raises NoResponse for a list that is not whole."""
    page: Raw = {}
    for page in pages:
        for row in map(mapping, page["data"]):
            if row.get("archived_at") or _name_in(row) not in ("", *names):
                continue
            if not has_id(noun, row):
                raise _unclear(noun, f"the list of {noun.plural} has something else in it")
            yield row
    if not says_whether_more(page):
        raise _unclear(noun, f"the list of {noun.plural} does not say whether it is complete")


def _read(app: App, noun: Noun, id: str, row: Raw) -> Raw:
    """Return a thing as it is; as it is listed, if that is all there is. Raises ApiError."""
    try:
        return read(app.client, target_of(noun, id), fresh=True)
    except NotFound as error:
        if row or error.enveloped:
            return row
        raise _unclear(noun, f"{id} could not be read: {error.message.rstrip('.')}") from None  # a proxy's 404


def _unclear(noun: Noun, why: str) -> NoResponse:
    return NoResponse(f"{why}, so nobody can tell whether the name is taken; nothing was sent")


def _name_in(raw: Raw) -> str:
    return (name_of(raw) or "").strip()
