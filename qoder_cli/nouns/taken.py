"""Who has a name already, asked before something is created under it.

It is no lock: two commands that look at the same moment can both create.
"""

from contextlib import suppress
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import NotFound
from qoder_cli.local.remembered import seen
from qoder_cli.nouns.edits.thing import read, target_of
from qoder_cli.nouns.named import alive
from qoder_cli.nouns.shown import name_of
from qoder_cli.nouns.table import Noun

Raw = dict[str, Any]

_READ = 10  # things of one name that are read singly


def holders(app: App, noun: Noun, name: str) -> list[Raw]:
    """Return the things, not archived, that have a name. Raises ApiError, also for a list that is not whole.

    A list may lag behind: what this machine saw under the name is asked for too, and what a thing says
    of itself counts. One that is listed and cannot be found has the name: nothing is created on a doubt.
    """
    name = name.strip()
    rows = {str(raw["id"]): raw for raw in alive(app.client, noun, fresh=True) if _has(raw, name)}
    here = seen(app.store, noun.words, profile=app.settings.profile, host=app.settings.host)
    rows = rows | {each.id: {} for each in here if each.name == name and each.id not in rows}
    found = []
    for id, row in list(rows.items())[:_READ]:
        with suppress(NotFound):
            row = read(app, target_of(noun, id), fresh=True)
        if _has(row, name) and not row.get("archived_at"):
            found.append(row)
    return found + [row for row in list(rows.values())[_READ:] if row]


def _has(raw: Raw, name: str) -> bool:
    return (name_of(raw) or "").strip() == name
