"""What the server has: each kind listed once, whole, and found by id or name."""

from collections.abc import Sequence
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import AuthError, NoResponse, NotFound
from qoder_cli.base.model import mapping, text
from qoder_cli.http.readback import says_whether_more
from qoder_cli.nouns import memories, skills
from qoder_cli.nouns.edits.thing import read, target_of
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.shown import name_of
from qoder_cli.nouns.table import NOUNS, has_id, path_of
from qoder_cli.nouns.taken import holders
from qoder_cli.stack.marks import STACK, owner_of

Raw = dict[str, Any]


class ServerLists:
    """The lists of a server, read when they are needed. What is not in one may be created, or is pruned."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._pages: dict[tuple[str, ...], list[Raw]] = {}
        self._rows: dict[tuple[str, ...], list[Raw]] = {}
        self._by_name: dict[str, dict[str | None, list[Raw]]] = {}
        self._by_id: dict[str, dict[str, Raw]] = {}

    def pages(self, noun: Noun, *parents: str) -> list[Raw]:
        """Return the pages of a whole list, read now. Raises ApiError, NoResponse for one that may not be whole."""
        key = (noun.words, *parents)
        if key not in self._pages:
            try:
                pages = list(self.app.client.pages(path_of(noun, *parents), {"limit": 100}, fresh=True))
            except AuthError as error:
                raise error.with_(message=f"the list of {noun.plural}: {error.message}") from None
            if not pages or not says_whether_more(pages[-1]):
                why = f"the list of {noun.plural} does not say whether it is whole; nothing was sent"
                raise NoResponse(why, hint="try again, or check the base URL: qoder doctor")
            self._pages[key] = pages
        return self._pages[key]

    def rows(self, noun: Noun, *parents: str) -> list[Raw]:
        """Return what is listed and not archived, each once. Raises ApiError, also for what is no thing of the kind."""
        key = (noun.words, *parents)
        if key not in self._rows:
            found: dict[str, Raw] = {}
            for page in self.pages(noun, *parents):
                for row in map(mapping, page["data"]):
                    if noun is memories.ENTRY and row.get("type") == "memory_prefix":
                        raise NoResponse(f"the list of {noun.plural} is not whole; nothing was sent")
                    if not has_id(noun, row):
                        what = f"the list of {noun.plural} has something else in it; nothing was sent"
                        raise NoResponse(what, hint="try again, or check the base URL: qoder doctor")
                    if not row.get("archived_at"):
                        found.setdefault(str(row["id"]), row)
            self._rows[key] = list(found.values())
        return self._rows[key]

    def of_id(self, noun: Noun, id: str) -> Raw | None:
        """Return what is listed under an id."""
        if noun.words not in self._by_id:
            self._by_id[noun.words] = {str(row["id"]): row for row in self.rows(noun)}
        return self._by_id[noun.words].get(id)

    def named(self, noun: Noun, name: str, type: str = "skill") -> list[Raw]:
        """Return what is listed under a name. Raises ApiError."""
        if noun.words == "skill":
            return self._skills_named(name)
        if noun.words not in self._by_name:
            names = self._by_name[noun.words] = {}
            for row in self.rows(noun):
                names.setdefault(name_of(row), []).append(row)
        return self._by_name[noun.words].get(name, [])

    def _skills_named(self, name: str) -> list[Raw]:
        """Return our skills of a name; for one that the list does not name, its newest version is asked."""
        noun = NOUNS["skill"]
        ours = [row for row in self.rows(noun) if skills.is_ours(row)]
        found = [row for row in ours if text(row.get("name")) == name or owner_of(noun, row, name)]
        silent = [row for row in ours if not text(row.get("name")) and not mapping(row.get("metadata")).get(STACK)]
        return found + [row for row in silent if row not in found and self.name_of_skill(row) == name]

    def name_of_skill(self, row: Raw) -> str | None:
        key = ("name of skill", str(row["id"]))
        if key not in self._pages:
            self._pages[key] = [{"name": skills.name_of(self.app, row)}]
        return text(self._pages[key][0]["name"])

    def unlisted(self, noun: Noun, names: Sequence[str]) -> dict[str, list[Raw]]:
        """Return what has one of these names and is not listed yet: a list may lag. Raises ApiError."""
        if not names or noun.words not in ("env", "vault", "memory", "agent", "deploy"):
            return {}
        found = holders(self.app, noun, *names, pages=self.pages(noun))
        return {name: rows for name, rows in zip(names, found, strict=True) if rows}

    def read(self, noun: Noun, id: str) -> Raw:
        """Return a thing by its id, as it is now. Raises ApiError, with where it was looked for."""
        target = target_of(noun, id)
        try:
            return read(self.app.client, target, fresh=True)
        except NotFound as error:
            hint = f"correct the id, or remove it {self.app.settings.asked}"
            raise error.with_(hint=hint, next=self.app.looking(*noun.words.split(), "list")) from None
