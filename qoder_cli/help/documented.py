"""What `qoder help` and the README say beyond the commands (`documented.tsv`)."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from qoder_cli.base.errors import Exit


class Named(NamedTuple):
    """A variable, format or JSON key: its names, usually one, and the meaning."""

    names: tuple[str, ...]
    meaning: str


def rows_of(file: str) -> list[list[str]]:
    """Return the rows of a file of tab-separated columns in this folder, without comments and header."""
    lines = Path(__file__).with_name(file).read_text("utf-8").splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("#")][1:]


def _rows(table: str) -> Iterator[list[str]]:
    return (columns for of, *columns in _ROWS if of == table)


def _named(table: str) -> tuple[Named, ...]:
    return tuple(Named(tuple(names.split(", ")), meaning) for names, meaning in _rows(table))


_ROWS = rows_of("documented.tsv")
MEANING = {Exit[name.upper()]: meaning for name, meaning, _ in _rows("exit")}
THEN = {Exit[name.upper()]: then for name, _, then in _rows("exit")}  # what a script should do about it
TOPICS: dict[str, str] = dict(_rows("topic"))  # made from the program itself
PAGES: dict[str, str] = dict(_rows("page"))  # files in `pages/`
VARIABLES, FORMATS, CI = _named("variable"), _named("format"), _named("ci")

# What `deploy get` shows in a pipe, besides the fields of every deployment.
RECENT_FIELDS = ("recent_runs", "durations", "success_rate", "usual_duration")
# And `run get`: a line for each outcome that was evaluated.
OUTCOME_FIELDS = ("outcome",)
# What `apply` and `diff` show of each, in a pipe.
APPLY_COLUMNS = ("kind", "name", "id", "action", "changes", "file", "error")
