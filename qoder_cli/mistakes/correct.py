"""Finds what was meant by a command line that is not understood, by the `tables`."""

import shlex
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import takewhile
from typing import NamedTuple

from qoder_cli import ids
from qoder_cli.completion.grammar import Grammar, Level
from qoder_cli.contents import NOUNS_UNDERSTOOD, VERBS_UNDERSTOOD
from qoder_cli.errors import UsageError
from qoder_cli.mistakes.tables import COMMANDS, MOVED, OPTIONS, UNSURE, UNSURE_OPTIONS, Foreign

_KINDS = ("deploy", "run")  # the nouns whose verbs other tools have too
_LISTED = ("list", "ls", "get", "show")


class Correction(NamedTuple):
    """What was meant: why it is typed otherwise, and the words; None where it is not sure."""

    because: str
    words: list[str] | None = None


class Typed(NamedTuple):
    """A word of a command line, or an option (`name`) with its value if it has one."""

    words: tuple[str, ...]
    name: str = ""
    value: str | None = None


class _Unsure(Exception):
    """It is not sure what was meant. `args` has a hint, which may be empty."""


def correct(words: Sequence[str], grammar: Grammar, program: str) -> Correction | None:
    """Return what was meant by a command line that is not understood; None when nothing is known of it."""
    if "--" in words:
        return None  # what stands behind may be anyone's
    line = _Line(words, grammar)
    try:
        line.take_our_command()
        line.take_our_options()
    except _Unsure as unsure:
        hint = "; ".join(filter(None, (*line.because, str(unsure))))
        return Correction(hint) if hint else None
    if not line.because:
        return None
    meant = [program, *line.plain, *(word for option in line.options for word in option.words)]
    return Correction("; ".join(line.because), meant if line.fits() else None)


class _Line:
    """A command line: its plain words, and its options, which may stand behind them; and why it was changed."""

    def __init__(self, words: Sequence[str], grammar: Grammar) -> None:
        self._levels = {level.words: level for level in grammar.levels}
        self._shared = grammar.shared
        self.because: list[str] = []
        self._read(_with_rest(list(_pieces(words, self._valued())), self.because))

    def _read(self, words: Sequence[str]) -> None:
        """Take words apart; those of a known command by what its own options take."""
        typed = list(_pieces(words, self._valued()))
        level = self._level([each.words[0] for each in typed if not each.name])
        typed = typed if level.commands else list(_pieces(words, self._valued(level)))
        self.plain = [each.words[0] for each in typed if not each.name]
        self.options = [each for each in typed if each.name]

    def _valued(self, of: Level | None = None) -> set[str]:
        """Return the options that take a value: those of a level, or of any where no level has them without."""
        levels = self._levels.values() if of is None else [of]
        options = [option for level in levels for option in level.options] + list(self._shared)
        ours = {name for option in options if option.value for name in option.names}
        flags = {name for option in options if not option.value for name in option.names}
        foreign = {name for name, instead in OPTIONS.items() if instead.valued}
        return ({*ours, *foreign} - flags) | {"--output", "--format"}

    def _level(self, plain: Sequence[str]) -> Level:
        words = (
            *(NOUNS_UNDERSTOOD.get(word, word) for word in plain[:1]),
            *(VERBS_UNDERSTOOD.get(word, word) for word in plain[1:2]),
        )
        return self._levels.get(words) or self._levels.get(words[:1]) or self._levels[()]

    # The command.

    def take_our_command(self) -> None:
        """Put a command of ours in the place of another tool's. Raises _Unsure."""
        if not self.plain:
            return
        first, *rest = self.plain
        noun, second = (NOUNS_UNDERSTOOD.get(word, word) for word in (first, rest[0] if rest else ""))
        if second in _KINDS and noun not in ("deploy", second) and self._is_verb(first, second):
            self.because.append("the kind of thing stands first")
            verb = "list" if first in _LISTED and len(rest) == 1 else first
            self.plain = self._under(second, verb, rest[1:])
        elif noun in _KINDS and rest:
            self.plain = self._under(noun, rest[0], rest[1:])
        elif noun in self._levels[()].commands:
            self.plain = [noun, *rest]
        else:
            self.plain = self._foreign(first, rest)

    def _is_verb(self, typed: str, noun: str) -> bool:
        ours = VERBS_UNDERSTOOD.get(typed, typed)
        return ours in self._levels[(noun,)].commands or typed in COMMANDS or typed in UNSURE

    def _under(self, noun: str, verb: str, operands: list[str]) -> list[str]:
        """Return the words for a verb of `deploy` or `run`, which may be none of ours, or what stands in its place."""
        commands = self._levels[(noun,)].commands
        ours = VERBS_UNDERSTOOD.get(verb, verb)
        if ours in commands:
            return [noun, ours, *operands]
        if verb in COMMANDS or verb in UNSURE:
            return self._foreign(verb, operands, under=noun)
        kind = _kind(verb)
        if kind == "name" and get_close_matches(verb, commands):
            raise _Unsure  # a slip: the nearest is told
        if noun == "run" and kind in ("name", "deployment"):
            self.because.append("a deployment is run by `deploy run`")
            return ["deploy", "run", verb, *operands]
        if noun == "run" and kind == "run":
            self.because.append("`get` shows a run")
            return ["run", "get", verb, *operands]
        if kind == "deployment":
            raise _Unsure("`qoder deploy run DEPLOYMENT` starts a run, `qoder deploy get DEPLOYMENT` shows it")
        raise _Unsure

    def _foreign(self, verb: str, operands: list[str], *, under: str = "") -> list[str]:
        """Return the words for another tool's command, which may have been typed under one of our nouns."""
        foreign = COMMANDS.get(verb)
        template = foreign and _template(foreign, operands, under)
        if not foreign or not template:
            raise _Unsure(UNSURE.get(verb) or (foreign.because if foreign else ""))
        self.because.append(foreign.because)
        return self._filled(template, operands)

    def _filled(self, template: str, operands: Sequence[str]) -> list[str]:
        """Return the plain words of a template, with what is named in the place of X; its options are added."""
        plain: list[str] = []
        for word in template.split():
            if word.startswith("X"):
                plain += [operand + word[1:] for operand in operands]
            elif not word.startswith("-"):
                plain.append(word)
            elif all(option.name != word for option in self.options):
                self.options.insert(0, Typed((word,), word))
        return plain

    # The options.

    def take_our_options(self) -> None:
        """Put options of ours in the place of others. Raises _Unsure when one is neither."""
        for _ in range(1 + 2 * len(self.options)):  # a replaced one may turn the command into another
            known = self._known()
            unknown = next((option for option in self.options if option.name not in known), None)
            if unknown is None:
                return
            self._take_instead(unknown, known)
        raise _Unsure

    def _known(self) -> dict[str, bool]:
        """Return the options of the command by their names, and whether each takes a value."""
        options = (*self._level(self.plain).options, *self._shared)
        ours = {name: option.value is not None for option in options for name in option.names}
        return ours | dict.fromkeys(("--output", "--format"), True)

    def _take_instead(self, unknown: Typed, known: dict[str, bool]) -> None:
        place = self.options.index(unknown)
        level = self._level(self.plain)
        if moved := MOVED.get((level.path, unknown.name)):
            del self.options[place]
            self.because.append(moved.because)
            self.plain = self._filled(moved.run, self.plain[len(level.words) :])
            return
        instead = OPTIONS.get(unknown.name)
        ours = next((name for name in instead.ours if name in ("", "X") or name in known), None) if instead else None
        if instead is None or ours is None or (instead.only_with and instead.only_with not in known):
            raise _Unsure(UNSURE_OPTIONS.get(unknown.name, ""))
        value = unknown.value or ""
        self.because.append(instead.because.replace("{value}", shlex.quote(value)))
        if instead.valued and (not value or value.startswith("-")):
            raise _Unsure  # what follows is no value but an option
        self.plain += [value] if ours == "X" else []
        have = {option.name for option in self.options}
        replaced = Typed((ours, value) if known.get(ours) else (ours,), ours, value if known.get(ours) else None)
        self.options[place : place + 1] = [] if ours in ("", "X") or ours in have else [replaced]

    def fits(self) -> bool:
        """Return whether it is a line of ours, with the options of its command and not too many arguments."""
        level, known = self._level(self.plain), self._known()
        places = level.arguments
        count = len(self.plain) - len(level.words)
        return (count <= len(places) or any(place.repeatable for place in places)) and all(
            known[option.name] is (option.value is not None) for option in self.options
        )


def _pieces(words: Sequence[str], valued: set[str]) -> Iterator[Typed]:
    """Take a command line apart; `valued` are the options that take a value."""
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if not word.startswith("-") or word == "-":
            yield Typed((word,))
        elif word.startswith("--") and equals:
            yield Typed((word,), name, value)
        elif word in valued:
            value = next(rest, "")
            yield Typed((word, value), word, value)
        elif word.startswith("--") or word in OPTIONS:
            yield Typed((word,), word)
        else:
            yield from _short(word[1:], valued, rest)


def _short(letters: str, valued: set[str], rest: Iterator[str]) -> Iterator[Typed]:
    """Take apart short options that share a dash; the last may take what is left, or the next word, as its value."""
    flags = "".join(takewhile(lambda letter: f"-{letter}" not in valued, letters))
    for letter in flags:
        yield Typed((f"-{letter}",), f"-{letter}")
    if last := letters[len(flags) : len(flags) + 1]:
        value = letters[len(flags) + 1 :] or next(rest, "")
        yield Typed((f"-{last}", value), f"-{last}", value)


def _with_rest(typed: list[Typed], because: list[str]) -> list[str]:
    """Return the words with a command that takes all that follows as it is, `create` or `apply`, put under its noun."""
    plain = [each for each in typed if not each.name]
    foreign = COMMANDS.get(plain[0].words[0]) if plain else None
    if not foreign or not foreign.rest:
        return [word for each in typed for word in each.words]
    because.append(foreign.because)
    second = plain[1].words[0] if len(plain) > 1 else ""
    is_named = NOUNS_UNDERSTOOD.get(second, second) == foreign.rest.split()[0]  # as in `create deployment`
    for left in plain[: 2 if is_named else 1]:
        typed.remove(left)
    return [*foreign.rest.split(), *(word for each in typed for word in each.words)]


def _template(foreign: Foreign, operands: Sequence[str], under: str) -> str:
    """Return the template for what is named; empty when it is not sure what is meant."""
    if not operands or not (foreign.run or foreign.deployment):
        return foreign.alone
    kinds = set(map(_kind, operands))
    if kinds == {"name"} and under == "run" and not foreign.deployment.startswith(("run ", "deploy run ")):
        return ""  # runs have no names
    if kinds == {"run"}:
        return foreign.run
    if kinds <= {"name", "deployment"}:
        return foreign.deployment
    if kinds == {"-"} and not (foreign.run and foreign.deployment):
        return foreign.run or foreign.deployment
    return ""


def _kind(word: str) -> str:
    """Return what a word names: a run, a deployment by its id, a name, `-`, or nothing that can be meant."""
    if word == "-":
        return word
    if word in ids.LAST or word.startswith(("drun_", "sess_")) or ids.deployment_of(word):
        return "run"
    if word.startswith("/"):
        return "other"  # a path of the API
    try:
        return "deployment" if ids.deployment(word).startswith("dep_") else "name"
    except UsageError:
        return "other"
