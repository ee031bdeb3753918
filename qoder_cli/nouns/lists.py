"""What the server has: each kind listed once, whole, and found by id or name."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache, partial
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import AuthError, NoResponse, NotFound, UsageError
from qoder_cli.base.model import Raw, mapping, says_whether_more
from qoder_cli.base.polling import poll
from qoder_cli.base.pool import in_order
from qoder_cli.base.words import few
from qoder_cli.local.remembered import as_remembered, seen
from qoder_cli.nouns.edits.thing import read, target_of
from qoder_cli.nouns.how import how_of
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.shown import name_of
from qoder_cli.nouns.table import NOUNS, has_id, path_of, words_of

_READ = 10  # things that are read singly, for each name
_LOOKS = (0.5, 1.0, 2.0, *(4.0,) * 7)  # seconds between two looks at a list that lags: LAGS in all


class ServerLists:
    """The lists of a server, read when they are needed. What is not in one may be created, or is pruned."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._kept: dict[Any, Any] = {}
        self.pages = cache(self._pages)
        self.rows = cache(self._rows)

    def once(self, key: Any, ask: Callable[[], Any]) -> Any:
        """Return what `ask` returned when it was first asked under this key."""
        if key not in self._kept:
            self._kept[key] = ask()
        return self._kept[key]

    def _pages(self, noun: Noun, *parents: str) -> list[Raw]:
        """Return the pages of a whole list, read now. Raises ApiError, NoResponse for one that may be incomplete."""
        try:
            pages = list(self.app.client.pages(path_of(noun, *parents), {"limit": 100}, fresh=True))
        except AuthError as error:
            raise error.with_(message=f"the list of {noun.plural}: {error.message}") from None
        if not pages or not says_whether_more(pages[-1]):
            why = f"the list of {noun.plural} does not say whether it is complete; nothing was sent"
            raise NoResponse(why, hint="try again, or check the base URL: qoder doctor")
        return pages

    def _rows(self, noun: Noun, *parents: str) -> list[Raw]:
        """Return what is listed and not archived, each once. Raises ApiError, also for what is no thing of the kind."""
        rows: dict[str, Raw] = {}
        for page in self.pages(noun, *parents):
            for row in map(mapping, page["data"]):
                is_several = str(row.get("type")).endswith("_prefix")  # all that is below a folder
                if not has_id(noun, row) or is_several:
                    what = f"the list of {noun.plural} has something else in it; nothing was sent"
                    raise NoResponse(what, hint="try again, or check the base URL: qoder doctor")
                if not row.get("archived_at"):
                    rows.setdefault(str(row["id"]), row)
        return list(rows.values())

    def of_id(self, noun: Noun, id: str) -> Raw | None:
        """Return what is listed under an id."""
        rows: dict[str, Raw] = self.once(("ids", noun), lambda: {str(row["id"]): row for row in self.rows(noun)})
        return rows.get(id)

    def named(self, noun: Noun, name: str) -> list[Raw]:
        """Return what of ours is listed under a name. Raises ApiError."""
        rows: dict[str | None, list[Raw]] = self.once(("names", noun), lambda: self._by_name(noun))
        return rows.get(name, [])

    def _by_name(self, noun: Noun) -> dict[str | None, list[Raw]]:
        names: dict[str | None, list[Raw]] = {}
        ours = list(filter(how_of(noun).ours, self.rows(noun)))
        called: Iterator[str | None] = map(name_of, ours)
        if how_of(noun).name is not None:  # which may ask each
            called = in_order(partial(self.name_of, noun), ours)
        for row, name in zip(ours, called, strict=True):
            names.setdefault(name, []).append(row)
        return names

    def name_of(self, noun: Noun, row: Raw) -> str | None:
        """Return what something listed is called, None if it has no name. Raises ApiError."""
        if (name := how_of(noun).name) is not None:
            return name(self, row)
        return name_of(row)

    def holders(self, noun: Noun, *names: str, renamed: Collection[str] = ()) -> list[list[Raw]]:
        """Return, for each name, the things not archived that have it. Raises ApiError, also where nobody can tell.

        Things to be `renamed`, by id, may show no name. A list may lag behind: what this machine saw under a name is
        asked for too, and what a thing says of itself counts. One that is listed and cannot be found has the name:
        nothing is created on a doubt. It is no lock: two commands that look at the same moment can both create.
        """
        app = self.app
        by_name: dict[str, list[Raw]] = {name.strip(): [] for name in names}
        rows = {str(row["id"]): row for row in self.rows(noun) if _name_in(row) in ("", *by_name)}
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
                raise _unclear(f"{id} shows no name")
            if shown_name in by_name and not now.get("archived_at"):
                by_name[shown_name].append(now)
        return [by_name[name.strip()] for name in names]

    def unlisted(self, noun: Noun, names: Sequence[str]) -> dict[str, list[Raw]]:
        """Return what has one of these names and is not listed yet: a list may lag. Raises ApiError."""
        if how_of(noun).name is not None:  # which asks more than the list
            return {}
        rows_by_name = self.holders(noun, *names)
        return {name: rows for name, rows in zip(names, rows_by_name, strict=True) if rows}

    def whole(self, noun: Noun, row: Raw, *parents: str) -> Raw:
        """Return what is listed as it is shown singly, read once: a list may show less. Raises ApiError."""
        whole: Raw = self.once(("whole", row["id"]), lambda: self.read(noun, *parents, str(row["id"])))
        return whole

    def with_fields(self, fields: Iterable[str], noun: Noun, row: Raw, *parents: str) -> Raw:
        """Return what is listed with these fields, if the server shows them at all. Raises ApiError."""
        return row if all(row.get(name) is not None for name in fields) else self.whole(noun, row, *parents)

    def read(self, noun: Noun, *ids: str) -> Raw:
        """Return a thing by its id, after those of its holders, as it is now.

        Raises ApiError, with where it was looked for.
        """
        try:
            return read(self.app.client, target_of(noun, *ids), fresh=True)
        except NotFound as error:
            hint = f"correct the id, or remove it {self.app.settings.asked}"
            raise error.with_(hint=hint, next=self.app.looking(*words_of(noun, "list", *ids[:-1]))) from None


def only_environment(app: App) -> str:
    """Return the only environment's id. Raises UsageError unless there is one."""
    rows = ServerLists(app).rows(NOUNS["env"])
    if not rows:
        raise UsageError("no environment exists", hint="create one: qoder env create --name default")
    listed = few([f"{name_of(row) or '-'} ({row['id']})" for row in rows])
    if len(rows) > 1:
        raise UsageError(f"there are {len(rows)} environments; choose one with --env", hint=listed)
    app.progress.note(f"environment: {listed}")
    return str(rows[0]["id"])


def once_listed(app: App, noun: Noun, ids: Collection[str], *parents: str) -> list[Raw]:
    """Return the rows of a list once they include some ids. Raises ApiError, also where they never do.

    A list that does not show yet what was created here cannot show whether someone else created the same. So each
    machine reads on until the list shows its own: of two that created at once, the later one then sees both.
    """

    def missing(listed: list[Raw]) -> set[str]:
        return {*ids} - {str(row.get("id")) for row in listed}

    def look() -> list[Raw]:
        return ServerLists(app).rows(noun, *parents)

    listed = poll(look, app.clock, pauses=_LOOKS, is_enough=lambda listed: not missing(listed))
    if left := missing(listed):
        raise NoResponse(f"the list of {noun.plural} does not show {few(sorted(left))}")
    return listed


def _read(app: App, noun: Noun, id: str, row: Raw) -> Raw:
    """Return a thing as it is; as it is listed, if that is all there is. Raises ApiError."""
    try:
        return read(app.client, target_of(noun, id), fresh=True)
    except (NotFound, AuthError) as error:
        if error.http_status not in (403, 404):
            raise
        if row or error.enveloped:  # it is gone, or this machine saw it with another account's token
            return row
        raise _unclear(f"{id} could not be read: {error.message.rstrip('.')}") from None  # a proxy's 404


def _unclear(why: str) -> NoResponse:
    return NoResponse(f"{why}, so nobody can tell whether the name is taken; nothing was sent")


def _name_in(raw: Raw) -> str:
    return (name_of(raw) or "").strip()
