"""The numbers under which this machine last showed the calls that wait in a session, by profile and host.

A number stands for a call by its id and the hash of all that was shown of it: where either differs, it stands for none.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from qoder_cli.local.tables import NUMBERED

if TYPE_CHECKING:
    from qoder_cli.local.store import Store
    from qoder_cli.settings.config import Settings


class Numbered(NamedTuple):
    """A call as it was shown: the id of its event, and its hash."""

    call: str
    sha256: str


def keep(store: "Store", settings: "Settings", session: str, calls: Sequence[tuple[str, str]], *, at: float) -> bool:
    """Keep the list that is about to be shown. If this returns False, no numbers may be shown."""
    scope = {"host": settings.host, "profile": settings.profile, "session": session}
    rows = [
        {**scope, "number": number, "call": call, "sha256": sha256, "at": at}
        for number, (call, sha256) in enumerate(calls, 1)
    ]
    return NUMBERED.save(store, rows, in_place_of=scope)


def kept(store: "Store", settings: "Settings", session: str) -> dict[int, Numbered]:
    """Return the calls of the list that was last shown of a session, by their numbers."""
    scope = {"host": settings.host, "profile": settings.profile, "session": session}
    rows = NUMBERED.read(store, scope, "number", "call", "sha256")
    return {number: Numbered(call, sha256) for number, call, sha256 in rows}
