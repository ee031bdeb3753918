"""What this machine creates from files: noted before each creation is sent, and after it.

A list may lag. Who was killed, and applies the same files again, must not make a second of what the list does not show
yet. The notes are in the store; what fails here is silent.
"""

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from qoder_cli.local.store import Store, writable
from qoder_cli.local.tables import MADE

if TYPE_CHECKING:
    from qoder_cli.settings.config import Settings

LAGS = 30.0  # seconds after which a list shows what was created


class Creation(NamedTuple):
    """Something that is created: what it is, where, and under which name; with its id once that is known."""

    noun: str
    parent: str
    name: str
    id: str = ""
    at: float = 0.0  # on this machine's clock

    def _values(self, settings: "Settings") -> dict[str, object]:
        found = {"host": settings.host, "profile": settings.profile, **self._asdict()}
        return {key: value if isinstance(value, float) else writable(str(value or "")) for key, value in found.items()}

    def put(self, store: Store, settings: "Settings") -> None:
        """Note that it is about to be sent, or was created."""
        values = self._values(settings)
        store.write(lambda connection: MADE.put(connection, [values], instead="REPLACE"), quiet=True)

    def drop(self, store: Store, settings: "Settings") -> None:
        """Forget it: nothing was created."""
        values = self._values(settings)
        store.write(lambda connection: MADE.drop(connection, {name: values[name] for name in MADE.key}), quiet=True)


def recent(store: Store, settings: "Settings", *, now: float) -> list[Creation]:
    """Return what was created, or may have been, since a list that lags can show it."""
    where = {"host": settings.host, "profile": settings.profile}
    found = []
    for noun, parent, name, id, at in MADE.read(store, where, *Creation._fields):
        with suppress(TypeError, ValueError):  # a damaged file may have anything there
            creation = Creation(str(noun), str(parent), str(name), str(id), float(at))
            if abs(creation.at - now) < LAGS:
                found.append(creation)
    return found
