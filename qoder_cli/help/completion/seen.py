"""What commands have seen on this machine, as TAB offers it. The one place that reads it for completion."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

_MOST_LINES = 1000
_NOTHING = "-"  # an absent column


class Seen(NamedTuple):
    """A deployment or a run: its id, the name of a deployment (empty if it has none), and what is told beside it."""

    id: str
    name: str
    about: str


def deployments(env: Mapping[str, str], profile: str) -> Iterator[Seen]:
    """Yield the deployments that commands have seen with a profile, newest first. Raises OSError, RuntimeError."""
    return _lines(env, profile, "deployments", "dep_")


def runs(env: Mapping[str, str], profile: str) -> Iterator[Seen]:
    """Yield the newest runs that commands have seen with a profile. Raises OSError, RuntimeError."""
    return _lines(env, profile, "runs", "drun_")


def _lines(env: Mapping[str, str], profile: str, what: str, prefix: str) -> Iterator[Seen]:
    """Yield what a file holds; in the sandbox that of its own world, where profiles do not differ."""
    from qoder_cli.local.folder import state_folder
    from qoder_cli.local.tsv import LARGEST_FILE, Line

    inside = bool(env.get("QODER_SANDBOX"))
    path = state_folder(env) / f"{'sandbox-' if inside else ''}{what}.tsv"
    if not path.is_file():  # a pipe would never end
        return
    with path.open("rb") as stream:
        text = stream.read(LARGEST_FILE).decode("utf-8", "replace")
    for row in text.split("\n")[:_MOST_LINES]:
        line = Line.read(row)
        if line is None or not line.id.startswith(prefix) or not (inside or line.profile == profile):
            continue
        known_as, mark = ("" if column == _NOTHING else column for column in (line.known_as, line.mark))
        yield Seen(line.id, known_as, ", ".join(filter(None, (known_as, mark))))
