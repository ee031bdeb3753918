"""Things that are named by their id or by their exact name: agents, environments, vaults, memory stores."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from qoder_cli.base import ids
from qoder_cli.base.errors import NotFound, UsageError
from qoder_cli.base.model import mapping, text

if TYPE_CHECKING:
    from qoder_cli.app import App

Kind = Literal["agent", "environment", "vault", "memory store"]
_LISTED = 10  # ids or names that an error has


class _Listed(NamedTuple):
    prefix: str
    path: str
    name: str = "name"


KINDS: dict[Kind, _Listed] = {
    "agent": _Listed("agent_", "/agents"),
    "environment": _Listed("env_", "/environments"),
    "vault": _Listed("vault_", "/vaults", "display_name"),
    "memory store": _Listed("memstore_", "/memory_stores"),
}


def id_of(app: "App", kind: Kind, typed: str) -> str:
    """Return the id of what was typed: an id as it is, a name by listing what is not archived.

    Raises UsageError for what can be neither and for a name that several have, NotFound with the nearest names.
    """
    wanted = f"an id ({KINDS[kind].prefix}…) or an exact name"
    if ids.id_or_name(typed, KINDS[kind].prefix, kind, wanted):
        return typed
    known = list(alive(app, kind))
    found = [each["id"] for each in known if name_of(kind, each) == typed]
    if len(found) > 1:
        hint = f"use an id: {', '.join(found[:_LISTED])}"
        raise UsageError(f"{len(found)} {kind}s are named {typed!r}", hint=hint)
    if not found:
        near = ids.nearest(typed, [name for each in known if (name := name_of(kind, each))], most=3)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"use an id ({KINDS[kind].prefix}…)"
        raise NotFound(f"no {kind} is named {typed!r}", hint=hint)
    app.progress.note(f"{typed} is {found[0]}")
    return str(found[0])


def alive(app: "App", kind: Kind) -> Iterator[dict[str, Any]]:
    """Yield those of a kind that are not archived, as they were sent. Raises ApiError."""
    for page in app.client.pages(KINDS[kind].path, {"limit": 100}):
        for each in map(mapping, page["data"]):
            if text(each.get("id")) and not each.get("archived_at"):
                yield each


def name_of(kind: Kind, found: dict[str, Any]) -> str | None:
    """Return what one of a kind is called."""
    return text(found.get(KINDS[kind].name))


def only_environment(app: "App") -> str:
    """Return the one environment that there is. Raises UsageError, which lists them, unless there is exactly one."""
    known = list(alive(app, "environment"))
    if len(known) == 1:
        app.progress.note(f"environment: {name_of('environment', known[0]) or '-'} ({known[0]['id']})")
        return str(known[0]["id"])
    if not known:
        raise UsageError("there is no environment", hint="create one: qoder api POST /environments")
    listed = ", ".join(f"{name_of('environment', each) or '-'} ({each['id']})" for each in known[:_LISTED])
    more = " and more" if len(known) > _LISTED else ""
    raise UsageError(f"there are {len(known)} environments; choose one with --env", hint=f"{listed}{more}")
