"""What the programs of the table (`programs.tsv`) do to which paths, by the words of a command."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from qoder_cli.policy.shell import Words
from qoder_cli.policy.spelling import is_plain

_MANY = "*+"
_NUMBER = re.compile(r"\d+(?:\.\d+)?[smhd]?", re.ASCII)
# What may start programs and modules of Python, one of each, in this order.
_LAUNCHERS = ((("uv", "run"), ("poetry", "run")), (("python", "-m"), ("python3", "-m")))


class NotCovered(Exception):
    """A call that a policy does not cover; the text says why, for people."""


# What operands and values may be. Text is nothing but text to every program of the table.


def _fits(pattern: str) -> Callable[[str], bool]:
    return lambda value: re.fullmatch(pattern, value, re.ASCII) is not None


_NO_UP = r"(?!.*\.\.)"
_NAME = rf"{_NO_UP}[A-Za-z0-9][A-Za-z0-9._/,+-]*"
_NO_SECRETS = r"(?!(?:.*,)?secrets?(?:[.,/]|\Z))"
_NO_CALL = r"(?!\b(?!(?:and|or|not)\b)\w+\s*\(|__)"
_ADDRESS = r"(?:\d+|\$|/[^/\\\n]*/)"
_PRINT = rf" *{_ADDRESS}(?:, *(?:{_ADDRESS}|[+~]\d+))? *p *"
_JQ = re.compile(
    r"(?<![\w.])(?:import|include|env|input_filename|modulemeta|get_search_list)\b|[.\d]\.\s*env"
    r"|\$(?:ENV\b|__prog|\W|\Z)"  # blanks and comments may stand behind the $
)
# Of git: what runs gpg, or prints an object as it is.
_GIT_FORMAT = re.compile(r"%[-+ ]*(?:g|\(\*?(?:raw|sig|contents:sig))", re.IGNORECASE)
_GIT_ORDER = re.compile(r"raw|sig|contents", re.IGNORECASE)
_TEXTS: dict[str, Callable[[str], bool]] = {
    "text": lambda value: True,
    "pattern": lambda value: True,
    "format": lambda value: _GIT_FORMAT.search(value) is None,
    "sed": _fits(rf"{_PRINT}(?:[;\n]{_PRINT})*"),
    "jq": lambda value: _JQ.search(value) is None,
    "s3": _fits(r"s3://[A-Za-z0-9._/=-]*"),
}
_NAMES: dict[str, Callable[[str], bool]] = {
    **dict.fromkeys(("path", "folder", "written", "moved"), is_plain),
    "word": lambda value: value != "help",  # to aws a page, shown by a program of its config
    "compared": lambda value: value == "!=" or value[0] not in "-(!",
    "date": lambda value: value[0] == "+",
    # An old pytest evaluates it as Python: no quotes, no calls.
    "expression": _fits(rf"(?:{_NO_CALL}[\w .:/\[\]()-])+"),
    "label": _fits(r"[A-Za-z0-9][A-Za-z0-9_-]*"),
    "name": _fits(_NAME),
    "order": lambda value: _GIT_ORDER.search(value) is None,
    "number": _fits(r"[+-]?\d+(?:\.\d+)*[A-Za-z%]{0,5}"),
    "remote": _fits(rf"{_NO_UP}[A-Za-z0-9][A-Za-z0-9._/-]*"),
    "resource": _fits(rf"(?i:{_NO_SECRETS}){_NAME}"),
    "script": _fits(rf"(?!env\Z){_NO_UP}[A-Za-z0-9][A-Za-z0-9._:/-]*"),  # `npm run env` shows all variables
    "slug": _fits(r"[A-Za-z0-9][\w.-]*/[\w.-]+"),
    "spec": lambda value: value.isprintable() and "\\" not in value and value[0] != "-",
}
KINDS = frozenset((*_TEXTS, *_NAMES, "words"))


def _is_of(value: str, kind: str) -> bool:
    if not value or kind in _TEXTS:
        return value != "" and _TEXTS[kind](value)
    if value.startswith("@") or "://" in value or "file:" in value.lower():
        return False
    return _NAMES[kind](value) if kind in _NAMES else value in kind.split("|")


@dataclass(frozen=True)
class ProgramOption:
    """An option: the kinds of its values, and whether it may stand without its one value, which then is glued to it."""

    kinds: tuple[str, ...] = ()
    is_optional: bool = False


@dataclass(frozen=True, eq=False)
class ProgramRow:
    """A program, with its subcommand, as the table knows it once. The comment there says what each column is."""

    words: Words
    rule: str
    operands: Words
    options: Mapping[str, ProgramOption]
    has_whole_options: bool
    down: str
    launched: str
    runs: str
    note: str

    @property
    def name(self) -> str:
        return " ".join(self.words)

    @property
    def is_of_git(self) -> bool:
        return self.words[0] == "git"

    def goes_down(self, used: set[str]) -> bool:
        """Return whether it goes down into folders, or prints what the repository holds, with these options."""
        usually, _, then = f" {self.down}".partition(" with ")
        is_usual = "always" in usually and used.isdisjoint(usually.split())
        return is_usual or not used.isdisjoint(then.split())


@cache
def table() -> Mapping[Words, ProgramRow]:
    """Return the table by the words with which commands begin."""
    lines = (files("qoder_cli") / "policy" / "programs.tsv").read_text("utf-8").splitlines()
    names, *rows = [line.split("\t") for line in lines if not line.startswith("#")]
    by_words: dict[Words, ProgramRow] = {}
    for row in rows:
        program, rule, operands, options, *rest = [*row, *[""] * (len(names) - len(row))]
        tokens, known = options.split(), dict[str, ProgramOption]()
        for token in tokens:
            name, equals, kinds = token.partition("=")
            if token.startswith("-["):
                known |= dict.fromkeys((f"-{letter}" for letter in token[2:-1]), ProgramOption())
            elif name.endswith("["):
                known[name[:-1]] = ProgramOption((kinds[:-1],), is_optional=True)
            elif token != "whole":
                known[name] = ProgramOption(tuple(kinds.split(",")) if equals else ())
        first, *more = program.split()
        for words in ((name, *more) for name in first.split("|")):
            by_words[words] = ProgramRow(words, rule, tuple(operands.split()), known, "whole" in tokens, *rest)
    return by_words


def nearest_rows(words: Sequence[str]) -> list[str]:
    """Return the names of rows that are near to a command."""
    names = [row.name for row in table().values()]
    same = [row.name for row in table().values() if row.words[0] == words[0]]
    return same or get_close_matches(" ".join(words[:2]), names, n=1) or get_close_matches(words[0], names, n=1)


@dataclass
class Use:
    """What a command names: paths that it reads, writes or moves, as typed; operands that are no paths but text;
    whether it goes down into folders, and whether it reads that in which it runs."""

    reads: list[str] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    moves: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    goes_down: bool = False
    is_in_work: bool = False

    def note(self, value: str, kind: str) -> None:
        """Note a path, if a value of this kind is one."""
        if kind == "spec":  # REV:path, or git's own words for paths
            self.reads += [value, *(value[place + 1 :] for place, sign in enumerate(value[:-1]) if sign == ":")]
        if kind == "path" and "::" in value:  # of pytest, a test in a file
            self.reads.append(value.partition("::")[0])
        kinds = {"path": self.reads, "folder": self.reads, "written": self.writes, "moved": self.moves}
        if kind in kinds:
            kinds[kind].append(value)

    @property
    def paths(self) -> list[str]:
        return self.reads + self.writes + self.moves


class ShellCommand(NamedTuple):
    """The words of a command, as they are and without what only starts them: `timeout 60`, `uv run`, `python -m`.

    `row` is that of the program, and `is_itself` whether it is certainly that, and none of its name in work.
    """

    words: Words
    untimed: Words
    program: Words
    row: ProgramRow | None
    is_itself: bool

    @classmethod
    def of(cls, words: Words) -> "ShellCommand":
        untimed = words
        if words[0] == "timeout" and len(words) > 2 and _NUMBER.fullmatch(words[1]):
            untimed = words[2:]
        # `python -m timeout` would start a module of work, and `npx npx` a program of node_modules: neither counts.
        program, launchers = untimed, set[str]()
        if program[:2] == ("git", "--no-pager") and len(program) > 2:
            program = ("git", *program[2:])
        elif program[0] == "npx" and len(program) > 1:
            program, launchers = program[1:], {"node"}
        else:
            for alternatives in _LAUNCHERS:
                if program[:2] in alternatives and len(program) > 2:
                    program = program[2:]
                    launchers.add("python")
        rows = (table().get(program[:length]) for length in range(4, 0, -1))  # the most of its first words
        row = next((row for row in rows if row is not None), None)
        return cls(words, untimed, program, row, row is not None and launchers <= {row.launched})

    @property
    def use(self) -> Use:
        """What it names, as its row has it. Raises NotCovered."""
        row = self.row
        if row is None:
            raise NotCovered("no rule covers it")
        if row.operands == ("words",):
            return Use()
        reading = _OptionReader(row, list(self.program[len(row.words) :]))
        use, operands = reading.use, reading.operands
        # One with `*` or `+` takes what is left of the operands; those with `?` may be missing.
        kinds, count = list(row.operands[reading.has_first :]), len(operands)
        for place, kind in enumerate(kinds):
            if kind[-1] in _MANY:
                times = max(count - len(kinds) + 1, 1 if kind[-1] == "+" else 0)
                kinds[place : place + 1] = [kind[:-1]] * times
                break
        while len(kinds) > count and kinds[-1][-1] == "?":
            kinds.pop()
        if len(kinds) != count:
            raise NotCovered(f"no rule covers {row.name} with so {'many' if count > len(kinds) else 'few'} operands")
        kinds = [kind.rstrip("?") for kind in kinds]
        for operand, kind in zip(operands, kinds, strict=True):
            if not _is_of(operand, kind):
                raise NotCovered(f"no rule covers the operand {operand}" if operand else "an operand is empty")
            use.note(operand, kind)
            if kind in _TEXTS:
                use.texts.append(operand)
        if kinds[-1:] == ["written"] and kinds[0] != "written":
            # The last may be a folder, in which the others get their names.
            use.writes += [f"{operands[-1]}/{source.rstrip('/').rpartition('/')[2]}" for source in operands[:-1]]
        use.goes_down = row.goes_down(reading.used)
        takes_folder = row.operands[-1:] == ("folder*",) or (use.goes_down and row.rule == "read" and not row.is_of_git)
        use.is_in_work = takes_folder and "path" not in kinds and "folder" not in kinds
        return use


class _OptionReader:
    """The words behind a program: its options, those `used`, and operands; a long option is whole, letters may be
    together. `has_first`: an option has what else is the first operand, as in `grep -e`. Raises NotCovered."""

    def __init__(self, row: ProgramRow, rest: list[str]) -> None:
        self.operands: list[str] = []
        self.used: set[str] = set()
        self.use = Use()
        self.has_first = False
        self._row = row
        self._rest = rest
        while self._rest:
            self._take(self._rest.pop(0))

    def _take(self, word: str) -> None:
        options = self._row.options
        if word == "--" and word in options:
            self.operands += self._rest
            self._rest.clear()
        elif word == "-" or not word.startswith("-"):
            self.operands.append(word)
        elif "-#" in options and re.fullmatch(r"-\d+", word, re.ASCII):
            self.used.add("-#")
        elif word.startswith("--") or word in options or self._row.has_whole_options:
            name, equals, value = word.partition("=")
            self._take_option(name, value if equals else None, word)
        else:
            for place in range(1, len(word)):
                name, glued = f"-{word[place]}", word[place + 1 :]
                if self._take_option(name, glued or None, word, is_letter=True):
                    break

    def _take_option(self, name: str, glued: str | None, word: str, *, is_letter: bool = False) -> bool:
        """Take an option, with what may be glued to it. Return whether it has values."""
        option = self._row.options.get(name)
        if option is None or name == "-#":
            raise NotCovered(f"no rule covers `{self._row.name} {word}`")
        self.used.add(name)
        if not option.kinds and is_letter:
            return False
        if glued is not None:
            if len(option.kinds) != 1:
                raise NotCovered(f"no rule covers `{self._row.name} {word}`")
            [kind] = option.kinds
            if is_letter and (kind in ("name", "number") or "|" in kind):
                glued = glued.removeprefix("=")  # as in kubectl's -n=x; to others it is no such value
            self._value(name, kind, glued)
        elif not option.is_optional:
            for kind in option.kinds:
                value = self._rest.pop(0) if self._rest else ""
                if value.startswith("-") and kind != "number":
                    raise NotCovered(f"the value of {name} looks like an option; write {name}=VALUE")
                self._value(name, kind, value)
        return bool(option.kinds)

    def _value(self, name: str, kind: str, value: str) -> None:
        if not _is_of(value, kind):
            raise NotCovered(f"no rule covers this value of {name}")
        self.use.note(value, kind)
        self.has_first |= kind in ("pattern", "sed") and self._row.operands[:1] == (kind,)
