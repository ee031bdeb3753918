"""What the completion scripts read: the deployments and the newest runs that were seen, in two small text files.

To be deleted with the scripts, and with the two calls in `remembered`: the store has the same.

`deployments.tsv` and `runs.tsv` in the state folder are read by `completion.seen`. A line is an id
with what people know it by, newest first, between tabs; all of it is inert. TAB offers what is of the profile on the
command line. In the sandbox the files are others, `sandbox-…`: what is rehearsed is offered only there. Nothing here is
ever in the way: what fails is silent.
"""

import os
import re
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Self

from qoder_cli.base.model import Run, text
from qoder_cli.base.times import local_time
from qoder_cli.local.folder import state_folder
from qoder_cli.output.screen import inert

if TYPE_CHECKING:
    from qoder_cli.local.invocation import Invocation

MOST_DEPLOYMENTS = 300
MOST_RUNS = 50
LARGEST_FILE = 200 * 1024  # bytes; completion reads no more either
_LONGEST = 256  # characters of one column
_ID = re.compile(r"d(ep|run)_[A-Za-z0-9_-]{1,128}", re.ASCII)  # anything else could mean something to a shell
_NOTHING = "-"
_ANEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class Line(NamedTuple):
    """One thing that is remembered, as it stands in the file; an absent value is `-`.

    `known_as` is what people know it by. `mark` says where it is, where things of several hosts are remembered.
    `when` orders runs, and deployments as far as it is known of them.
    """

    id: str
    known_as: str
    mark: str
    host: str
    profile: str
    when: str

    @classmethod
    def read(cls, line: str) -> Self | None:
        """Return what a line of the file holds, None for one that is not ours."""
        columns = line.split("\t")
        return cls(*columns) if len(columns) == len(cls._fields) and _ID.fullmatch(columns[0]) else None


def write_runs(state: "Invocation", found: list[Run]) -> None:
    """Put runs into their file, by their deployment and the time they were triggered."""
    with suppress(OSError, RuntimeError):
        names = {line.id: line.known_as for line in _File(state, "deployments").lines}
        file = _File(state, "runs")
        new = [_run_line(file, run, names) for run in found]
        known = {line.id: line for line in [*file.lines, *new]}
        file.write(sorted(known.values(), key=lambda line: line.when, reverse=True)[:MOST_RUNS])


def write_deployments(
    state: "Invocation", names: Mapping[str, str | None], *, gone: set[str], whole: bool, created: Mapping[str, object]
) -> None:
    """Put deployments into their file: what is new, then the newest, as far as it is known when they were `created`.

    What is known keeps its place otherwise, so that the same list changes nothing.
    """
    with suppress(OSError, RuntimeError):
        file = _File(state, "deployments")
        known = {line.id: line for line in file.lines if line.id not in gone}
        new = {id: file.line(id, name, when=_when(created.get(id), known.get(id))) for id, name in names.items()}
        first = [line for id, line in new.items() if id not in known]
        known = {id: new.get(id, line) for id, line in known.items()}
        if whole:
            known = {id: line for id, line in known.items() if id in new or not file.is_here(line)}
        file.write(_newest_first([*first, *known.values()])[:MOST_DEPLOYMENTS])


def _when(created_at: object, known: Line | None) -> str | None:
    return text(created_at) or (known.when if known else None)


def _newest_first(lines: list[Line]) -> list[Line]:
    """Return lines with those whose age is known in the order of it, in the places that they have together."""
    dated = iter(sorted((line for line in lines if line.when != _NOTHING), key=lambda line: line.when, reverse=True))
    return [line if line.when == _NOTHING else next(dated) for line in lines]


def _run_line(file: "_File", run: Run, names: Mapping[str, str]) -> Line:
    when = text(run.raw.get("triggered_at")) or text(run.raw.get("created_at"))
    deployment = run.deployment_id or ""
    named = names.get(deployment, _NOTHING)
    known_as = [deployment if named == _NOTHING else named, local_time(when)[:16] if when else ""]
    return file.line(run.id, " ".join(filter(None, known_as)), when=when)


class _File:
    """One of the files, read when it is made. Raises OSError, RuntimeError."""

    def __init__(self, state: "Invocation", what: str) -> None:
        settings = state.settings
        self._here = (_column(settings.host), _column(settings.profile))
        self._path = state_folder(state.env) / f"{'sandbox-' if settings.sandbox else ''}{what}.tsv"
        self._text = self._read()
        lines = filter(None, map(Line.read, self._text.split("\n")))
        # a sandbox that is over has left nothing that could be asked for
        self.lines = [line for line in lines if not settings.sandbox or line.host == self._here[0]]

    def _read(self) -> str:
        if not self._path.is_file():  # nor anything that would not end
            return ""
        with self._path.open("rb") as stream:
            return stream.read(LARGEST_FILE).decode("utf-8", "replace")

    def line(self, id: str, known_as: str | None, *, when: str | None = None) -> Line:
        """Return a line for something of this host and profile."""
        return Line(id, _column(known_as), _NOTHING, *self._here, _column(when) if when else _NOTHING)

    def is_here(self, line: Line) -> bool:
        """Return whether a line is of this host and profile."""
        return (line.host, line.profile) == self._here

    def write(self, lines: Iterable[Line]) -> None:
        """Replace the file at once, unless it is so already. Lines without an id, and those too many, are left out."""
        said = _text(_marked([line for line in lines if _ID.fullmatch(line.id)]))
        if said == self._text:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = self._path.with_name(f"{self._path.name}.{os.getpid()}-{threading.get_ident()}")
        try:
            with open(os.open(part, _ANEW, 0o600), "wb") as stream:
                stream.write(said.encode())
            os.replace(part, self._path)
        finally:
            part.unlink(missing_ok=True)


def _text(lines: list[Line]) -> str:
    """Return the text of a file that is not too large."""
    said = "".join(["\t".join(line) + "\n" for line in lines])
    return said if len(said.encode()) <= LARGEST_FILE else _text(lines[: len(lines) * 3 // 4])


def _marked(lines: list[Line]) -> list[Line]:
    """Return the lines marked with their host, where they differ."""
    differ = len({line.host for line in lines}) > 1
    return [line._replace(mark=line.host if differ else _NOTHING) for line in lines]


def _column(value: str | None) -> str:
    """Return text that only shows, and takes one column of one line."""
    shown = inert((value or "")[: _LONGEST + 1]).strip()
    return (shown if len(shown) <= _LONGEST else shown[:_LONGEST] + "…") or _NOTHING
