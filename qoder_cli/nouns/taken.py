"""Who has a name already, asked before something is created under it.

It is no lock: two commands that look at the same moment can both create.
"""

from collections.abc import Iterator
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import NoResponse, NotFound
from qoder_cli.base.model import mapping
from qoder_cli.http.readback import tells_more
from qoder_cli.local.remembered import as_remembered, seen
from qoder_cli.nouns.edits.thing import read, target_of
from qoder_cli.nouns.shown import name_of
from qoder_cli.nouns.table import Noun, has_id, path_of

Raw = dict[str, Any]

_READ = 10  # things that are read singly


def holders(app: App, noun: Noun, name: str) -> list[Raw]:
    """Return the things, not archived, that have a name. Raises ApiError, also where nobody can tell.

    A list may lag behind: what this machine saw under the name is asked for too, and what a thing says
    of itself counts. One that is listed and cannot be found has the name: nothing is created on a doubt.
    """
    name = name.strip()
    rows = {str(row["id"]): row for row in _listed(app, noun, name)}
    here = seen(app.store, noun.words, profile=app.settings.profile, host=app.settings.host)
    rows |= {each.id: {} for each in here if each.name == as_remembered(name) and each.id not in rows}
    found = []
    for number, (id, row) in enumerate(rows.items()):
        now = row
        if number < _READ:
            now = _read(app, noun, id, row)
        known = _name_in(now) or _name_in(row)
        if row and not known:
            raise _untold(noun, f"{id} shows no name")
        if now and known in ("", name) and not now.get("archived_at"):
            found.append(now)
    return found


def _listed(app: App, noun: Noun, name: str) -> Iterator[Raw]:
    """Yield what is listed under a name, or under none. Raises ApiError, also for a list that is not whole."""
    page: Raw = {}
    for page in app.client.pages(path_of(noun), {"limit": 100}, fresh=True):
        for row in map(mapping, page["data"]):
            if row.get("archived_at") or _name_in(row) not in ("", name):
                continue
            if not has_id(noun, row):
                raise _untold(noun, f"the list of {noun.plural} has something else in it")
            yield row
    if not tells_more(page):
        raise _untold(noun, f"the list of {noun.plural} does not say whether it is whole")


def _read(app: App, noun: Noun, id: str, row: Raw) -> Raw:
    try:
        return read(app, target_of(noun, id), fresh=True)
    except NotFound:
        return row


def _untold(noun: Noun, why: str) -> NoResponse:
    hint = f"nothing was created; --allow-duplicate creates the {noun.called} without asking"
    return NoResponse(f"{why}, so nobody can tell whether the name is taken", hint=hint)


def _name_in(raw: Raw) -> str:
    return (name_of(raw) or "").strip()
