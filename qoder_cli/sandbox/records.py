"""What the world is made of: things with their fields, sessions with what happens in them.

All times are unix seconds of the server's own clock. Key order is that of the API's documented examples.
"""

import string
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from qoder_cli.nouns.table import NOUNS
from qoder_cli.sandbox.wire import Shape

AGENT = "agent_019e00000000700080000000000a9e27"  # of all that behave as demo
ENVIRONMENT = "env_019e0000000070008000000000000e27"
TITLE = "Generate today's status report"
PROMPT = [{"type": "user.message", "content": [{"type": "text", "text": TITLE}]}]

_ONCE = ("created_at",)
_WHOLE = ("created_at", "updated_at", "archived_at")


class Layout(NamedTuple):
    """A kind of thing, with its fields in the order shown."""

    what: str  # the beginning of their operations' ids
    type: str
    prefix: str  # of their ids
    empty: Shape
    dated: tuple[str, ...] = _WHOLE
    key: str = "id"  # the field that names one in a path
    name: str = "name"  # the field that a filter by name means
    digits: int = 0  # of a second
    order: str = "desc"  # the newest first, in a list
    statuses: tuple[str, ...] = ()  # to filter by; empty allows any word

    @property
    def path(self) -> str:
        """The path of its list, with `{}` for the holder's id."""
        return self.what.replace(".", "/{}/")

    @property
    def called(self) -> str:
        return self.type.replace("_", " ").capitalize()


BY = {"type": "api_actor", "api_key_id": "key_sandbox"}


LAYOUTS = {
    noun.operations: Layout(
        noun.operations,
        noun.type,
        noun.prefix.rstrip("_"),
        dict(noun.sandbox.kept),
        noun.sandbox.dated,
        name=noun.naming.named_by,
        statuses=noun.listing.statuses,
    )
    for noun in NOUNS.values()
}
_OF_DEMO: Shape = {"agent": {"id": AGENT, "type": "agent", "version": 1}, "environment_id": ENVIRONMENT}
_ROWS = (
    LAYOUTS["deployments"]._replace(empty=LAYOUTS["deployments"].empty | _OF_DEMO),
    LAYOUTS["deployment_runs"]._replace(what="deployments.runs"),
    LAYOUTS["sessions"]._replace(digits=6),
    LAYOUTS["models"]._replace(dated=()),
    Layout("sessions.events", "event", "evt", {}, order="asc"),
    Layout("sessions.threads.events", "event", "evt", {}, order="asc"),
    Layout("sessions.resources", "session_resource", "sesr", {}, order="asc"),
    LAYOUTS["agents"]._replace(what="agents.versions", key="version"),
    Layout(
        *("skills.versions", "skill_version", "skillver"),
        {"skill_id": "", "version": "", "name": "", "description": ""},
        *(_ONCE, "version"),
    ),
)
LAYOUTS |= {layout.what: layout for layout in _ROWS}


ID_LENGTH = 20  # digits of base 36 after an id's prefix (api.md#ids-times-and-numbers)
_DIGITS = string.digits + string.ascii_lowercase


def base36(number: int, length: int) -> str:
    """Return the last `length` digits of a number in base 36, padded with zeros."""
    digits = ""
    for _ in range(length):
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits


@lru_cache(20_000)  # lists show the same thousands again and again
def stamp(moment: float, *, digits: int = 0) -> str:
    """Return a unix time as UTC text. Below 9 digits, trailing zeros are dropped."""
    whole, nanos = divmod(int(moment * 1_000_000_000), 1_000_000_000)
    fraction = f"{nanos:09d}"[:digits]
    if digits < 9:
        fraction = fraction.rstrip("0")
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    if fraction:
        text += f".{fraction}"
    return f"{text}Z"


@dataclass(eq=False)
class FakeThing:
    """Anything the API keeps. `fields` are as shown, except those beginning with `_`."""

    id: str  # what a path calls it
    fields: dict[str, Any]
    created: float
    changed: float = 0.0
    before: dict[str, Any] | None = None  # its fields before that
    deleted: float | None = None

    @property
    def archived(self) -> str | None:
        at: str | None = self.fields.get("archived_at")
        return at

    def change(self, at: float, **fields: Any) -> None:
        """Change fields. A lagging replica shows the old ones for a while."""
        self.before, self.changed = dict(self.fields), at
        self.fields.update(fields)
        if "updated_at" in self.fields:
            self.fields["updated_at"] = stamp(at)
