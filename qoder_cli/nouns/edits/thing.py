"""One thing of the server: how it is named, and read."""

from typing import TYPE_CHECKING, Any, NamedTuple

from qoder_cli.base.errors import CannotBe, NoResponse, NotFound
from qoder_cli.base.marks import KEY
from qoder_cli.base.model import Raw, mapping, text
from qoder_cli.http.readback import READ_WITHIN
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.table import path_of, words_of

if TYPE_CHECKING:
    from qoder_cli.http.client import Client


ONCE: Raw = {"within": READ_WITHIN, "retry": False, "fresh": True}  # how a thing is read back


class Target(NamedTuple):
    """One thing of the server. The id of a version is its number."""

    path: str
    id: str
    called: str
    look: tuple[str, ...]  # the words of a command
    query: str = ""  # the condition of its change

    def is_it(self, raw: Raw) -> bool:
        """Return whether an object is this thing."""
        return self.id in (raw.get("id"), str(raw.get("version")))


def target_of(noun: Noun, *ids: str) -> Target:
    """Return the thing whose id comes last, after those of its holders."""
    return Target(path_of(noun, *ids), ids[-1], f"{noun.called} {ids[-1]}", words_of(noun, "get", *ids))


def read(client: "Client", target: Target, **how: Any) -> Raw:
    """Return a thing as `Client.get` reads it. Raises ApiError, NoResponse for another thing."""
    try:
        current = mapping(client.get(target.path, **how))
    except NotFound as error:
        raise error.about(target.called) from None
    if not target.is_it(current):
        raise NoResponse(f"the response is not {target.called}")
    return current


def mark_in(raw: Raw) -> str | None:
    """Return our own key in the metadata of a thing, or of a body."""
    return text(mapping(raw.get("metadata")).get(KEY))


def archived(target: Target, raw: Raw) -> CannotBe | None:
    """Return the error that an archived thing cannot be changed; None if it is not archived."""
    if not raw.get("archived_at"):
        return None
    message = f"{target.called} was archived on {raw['archived_at']}; it cannot be changed"
    return CannotBe(message, hint="create another; archiving cannot be undone")
