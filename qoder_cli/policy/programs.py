"""What the programs of the table (`programs.tsv`) do to which paths, by the words of a command."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from qoder_cli.policy.paths import is_plain
from qoder_cli.policy.shell import Words

ROWS_OF_GIT = "git"


class NotCovered(Exception):
    """A command that the table does not cover; the text says why, for people."""


class Option(NamedTuple):
    """An option: the kinds of its values, and whether it may stand without its one value, which then is glued to it."""

    kinds: tuple[str, ...] = ()
    is_optional: bool = False


@dataclass(frozen=True)
class Row:
    """A program, with its subcommand, as the table knows it (the comment there says what each column is)."""

    words: Words
    rule: str  # read, write or run
    operands: Words
    options: Mapping[str, Option]
    has_whole_options: bool  # -ab is one option, not -a and -b
    always_down: bool
    down_with: frozenset[str]
    down_unless: frozenset[str]
    launched: str
    runs: str
    note: str

    @property
    def name(self) -> str:
        return " ".join(self.words)

    @property
    def is_of_git(self) -> bool:
        return self.words[0] == ROWS_OF_GIT


@dataclass
class Use:
    """What a command names: paths that it reads, writes or moves, as typed, and whether it goes down into folders."""

    reads: list[str] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    moves: list[str] = field(default_factory=list)
    is_in_work: bool = False  # it reads the folder in which it runs
    goes_down: bool = False


# What operands and values may be. The first are text for every program: it opens and runs nothing for them.
def _is_text(value: str) -> bool:
    return "\0" not in value


def _fits(pattern: str) -> Callable[[str], bool]:
    return lambda value: re.fullmatch(pattern, value, re.ASCII) is not None


_SED_ADDRESS = r"(?:\d+|\$|/[^/\\\n]*/)"
_JQ_ELSEWHERE = re.compile(
    r"(?<![\w.])(?<!\d\.)(?:import|include|env|input_filename|modulemeta|get_search_list)\b|\$ENV\b|\$__prog|[.\d]\.\s*env"
)
_TEXTS: dict[str, Callable[[str], bool]] = {
    "text": _is_text,
    "pattern": _is_text,
    "format": lambda value: "%g" not in value.lower() and "%(sig" not in value.lower(),  # which runs gpg
    "sed": _fits(
        rf" *{_SED_ADDRESS}(?:, *(?:{_SED_ADDRESS}|[+~]\d+))? *p *(?:[;\n] *{_SED_ADDRESS}(?:, *{_SED_ADDRESS})? *p *)*"
    ),
    "jq": lambda value: _JQ_ELSEWHERE.search(value) is None,
}
_PLAIN: dict[str, Callable[[str], bool]] = {
    "word": _is_text,
    "compared": lambda value: not value.startswith(("-", "(", "!")) or value == "!=",
    "date": lambda value: value.startswith("+"),
    "name": _fits(r"[A-Za-z0-9][A-Za-z0-9._/,+-]*"),
    "number": _fits(r"[+-]?\d+(?:\.\d+)*[A-Za-z%]{0,5}"),
    "remote": _fits(r"[A-Za-z0-9][A-Za-z0-9._/-]*"),
    "script": _fits(r"[A-Za-z0-9][A-Za-z0-9._:/-]*"),
    "slug": _fits(r"[A-Za-z0-9][\w.-]*/[\w.-]+"),
    "path": is_plain,
    "folder": is_plain,
    "written": is_plain,
    "moved": is_plain,
    "spec": lambda value: value.isprintable() and "\\" not in value and not value.startswith("-"),
}
_S3 = _fits(r"s3://[A-Za-z0-9._/=-]*")
KINDS = frozenset((*_TEXTS, *_PLAIN, "words", "s3"))
_MANY = "*+"


def _check(value: str, kind: str, *, what: str) -> None:
    """Raise NotCovered unless a value is of a kind, or one of the values that a kind lists."""
    if kind in _TEXTS:
        is_fine = value != "" and _TEXTS[kind](value)
    elif kind == "s3":
        is_fine = _S3(value)
    elif not value or value.startswith("@") or "://" in value or "file:" in value.lower():
        is_fine = False
    elif kind in _PLAIN:
        is_fine = _PLAIN[kind](value)
    else:
        is_fine = value in kind.split("|")
    if not is_fine:
        raise NotCovered(f"{what} is not what the table knows")


@cache
def table() -> Mapping[Words, Row]:
    """Return the table by the words with which commands begin."""
    lines = (files("qoder_cli") / "policy" / "programs.tsv").read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    names, *cells = rows
    found: dict[Words, Row] = {}
    for row in cells:
        values = dict(zip(names, [*row, *[""] * (len(names) - len(row))], strict=True))
        first, *more = values["program"].split()
        for program in first.split("|"):
            found[(program, *more)] = _row((program, *more), values)
    return found


def _row(words: Words, values: Mapping[str, str]) -> Row:
    options = values["options"].split()
    if is_whole := options[:1] == ["whole"]:
        del options[0]
    down: dict[str, list[str]] = {"always": [], "unless": [], "with": []}
    listed: list[str] = []
    for word in values["down"].split():
        listed = down.get(word, listed)
        if word not in down:
            listed.append(word)
    return Row(
        words,
        values["rule"],
        tuple(values["operands"].split()),
        dict(option for token in options for option in _options(token)),
        is_whole,
        values["down"].startswith("always"),
        frozenset(down["with"]),
        frozenset(down["unless"]),
        values["launched"],
        values["runs"],
        values["note"],
    )


def _options(token: str) -> list[tuple[str, Option]]:
    """Return the options that a token of the table stands for."""
    if token.startswith("-["):
        return [(f"-{letter}", Option()) for letter in token[2:-1]]
    name, equals, kinds = token.partition("=")
    if name.endswith("["):
        return [(name[:-1], Option((kinds[:-1],), is_optional=True))]
    return [(name, Option(tuple(kinds.split(",")) if equals else ()))]


def row_of(words: Words) -> Row | None:
    """Return the row of a command: the one with the most of its first words."""
    for length in range(min(len(words), 4), 0, -1):
        if (row := table().get(words[:length])) is not None:
            return row
    return None


def use_of(row: Row, words: Words) -> Use:
    """Return what a command of a row names. Raises NotCovered."""
    reading = _Reading(row, words)
    operands = reading.operands
    use = Use(*reading.values)
    if row.operands == ("words",):
        return use
    kinds = _kinds_of(row, len(operands), first_given=reading.first_given)
    for operand, kind in zip(operands, kinds, strict=True):
        _check(operand, kind, what=f"the operand {operand}" if operand else "an empty operand")
        _note(use, operand, kind)
    if kinds[-1:] == ["written"] and row.operands[-1] == "written" and len(operands) > 1:
        # The last may be a folder, in which they get their names.
        use.writes += [f"{operands[-1]}/{source.rstrip('/').rpartition('/')[2]}" for source in operands[:-1]]
    used = reading.used
    use.goes_down = (row.always_down and used.isdisjoint(row.down_unless)) or not used.isdisjoint(row.down_with)
    has_path = any(kind in ("path", "folder") for kind in kinds)
    takes_folder = any(kind.rstrip("*+?") == "folder" for kind in row.operands)
    use.is_in_work = not has_path and row.rule == "read" and (takes_folder or (use.goes_down and not row.is_of_git))
    return use


def _note(use: Use, value: str, kind: str) -> None:
    if kind in ("path", "folder"):
        use.reads.append(value)
    elif kind == "spec":
        use.reads += [value, *_behind_colons(value)]
    elif kind == "written":
        use.writes.append(value)
    elif kind == "moved":
        use.moves.append(value)


def _behind_colons(value: str) -> list[str]:
    """Return what may be a path in `REV:path`, or in git's own words for paths."""
    parts = value.split(":")
    return [rest for place in range(1, len(parts)) if (rest := ":".join(parts[place:]))]


def _kinds_of(row: Row, count: int, *, first_given: bool) -> list[str]:
    """Return the kind of each operand. Raises NotCovered for too many or too few."""
    wanted = list(row.operands[1:] if first_given else row.operands)
    many = next((place for place, kind in enumerate(wanted) if kind[-1] in _MANY), None)
    if many is not None:
        others = len(wanted) - 1
        times = max(count - others, 0)
        if wanted[many].endswith("+") and times == 0:
            raise NotCovered(f"{row.name} misses an operand")
        wanted[many : many + 1] = [wanted[many].rstrip(_MANY)] * times
    while len(wanted) > count and wanted[-1].endswith("?"):
        del wanted[-1]
    if len(wanted) != count:
        raise NotCovered(f"{row.name} has {'more' if count > len(wanted) else 'fewer'} operands than the table knows")
    return [kind.rstrip("?") for kind in wanted]


class _Reading:
    """The words of a command behind its program: options, which are used, and operands. Raises NotCovered."""

    def __init__(self, row: Row, words: Words) -> None:
        self.operands: list[str] = []
        self.used: set[str] = set()
        self.first_given = False  # an option has what is the first operand otherwise, as grep -e
        self._row = row
        self._use = Use()
        self._rest = list(words[len(row.words) :])
        if row.operands == ("words",):
            self.operands, self._rest = self._rest, []
        while self._rest:
            self._take(self._rest.pop(0))

    @property
    def values(self) -> tuple[list[str], list[str], list[str]]:
        """The paths among the values."""
        return self._use.reads, self._use.writes, self._use.moves

    def _take(self, word: str) -> None:
        options = self._row.options
        if word == "--" and "--" in options:
            self.operands += self._rest
            self._rest.clear()
        elif not word.startswith("-") or word == "-":
            self.operands.append(word)
        elif re.fullmatch(r"-\d+", word, re.ASCII) and "-#" in options:
            self.used.add("-#")
        elif word.startswith("--") or word in options or self._row.has_whole_options:
            self._take_long(word)
        else:
            self._take_letters(word)

    def _take_long(self, word: str) -> None:
        name, equals, value = word.partition("=")
        option = self._option(name)
        if equals and len(option.kinds) == 1:
            self._value(name, option.kinds[0], value)
        elif equals:
            raise NotCovered(f"{name} takes no value here")
        elif not option.is_optional:
            self._next_values(name, option)

    def _take_letters(self, word: str) -> None:
        """Take letters one by one; the first with a value has the rest of the word."""
        for place in range(1, len(word)):
            name, rest = f"-{word[place]}", word[place + 1 :]
            if name == "-#" or name not in self._row.options:
                raise NotCovered(f"{self._row.name} {word} is not in the table")
            option = self._option(name)
            if not option.kinds:
                continue
            if rest and len(option.kinds) == 1:
                self._value(name, option.kinds[0], _without_equals(rest, option.kinds[0]))
            elif not option.is_optional:
                self._next_values(name, option)
            return

    def _option(self, name: str) -> Option:
        if name not in self._row.options:
            raise NotCovered(f"{self._row.name} {name} is not in the table")
        self.used.add(name)
        return self._row.options[name]

    def _next_values(self, name: str, option: Option) -> None:
        for kind in option.kinds:
            if not self._rest:
                raise NotCovered(f"{name} misses its value")
            self._value(name, kind, self._rest.pop(0))

    def _value(self, name: str, kind: str, value: str) -> None:
        _check(value, kind, what=f"the value of {name}")
        _note(self._use, value, kind)
        if kind in ("pattern", "sed") and self._row.operands[:1] == (kind,):
            self.first_given = True


def _without_equals(value: str, kind: str) -> str:
    """Return a glued value without the `=` that some programs take: kubectl's `-n=x`. To others it is no such value."""
    if kind in ("name", "number") or "|" in kind:
        return value.removeprefix("=")
    return value


def nearest_rows(words: Sequence[str]) -> list[str]:
    """Return rows whose names are near to a command, the nearest first."""
    from difflib import get_close_matches

    names = [row.name for row in table().values()]
    same = [row.name for row in table().values() if row.words[0] == words[0]]
    return (
        same
        or get_close_matches(" ".join(words[:2]), names, n=1, cutoff=0.6)
        or get_close_matches(words[0], names, n=1)
    )
