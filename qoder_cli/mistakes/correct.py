"""Finds what was meant by a command line that is not understood, by the `tables`."""

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise, takewhile
from typing import Any, NamedTuple

from qoder_cli import ids
from qoder_cli.completion.grammar import Grammar, Level, Option, read
from qoder_cli.contents import NOUNS_UNDERSTOOD, understood
from qoder_cli.errors import UsageError
from qoder_cli.mistakes.fitting import fits
from qoder_cli.mistakes.near import nearest
from qoder_cli.mistakes.tables import A_DEPLOYMENT, A_WORD, COMMANDS, MOVED, OPTIONS, UNSURE, UNSURE_OPTIONS, Foreign

_KINDS = ("deploy", "run")  # the nouns whose verbs other tools have too
_LISTED = ("list", "ls", "get", "show")
_DEPLOYMENTS = {"name", "deployment"}
_FIELDS = re.compile(r"\w+(,\w+)+", re.ASCII)  # which gh's --json takes


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


def correct(words: Sequence[str], tree: Any, program: str) -> Correction | None:
    """Return what was meant by a command line that is not understood; None when nothing is known of it."""
    if "--" in words:
        return None  # what stands behind may be anyone's
    line = _Line(words, read(tree))
    try:
        line.take_our_command()
        line.take_our_options()
    except _Unsure as unsure:
        hint = "; ".join(filter(None, (*line.because, str(unsure))))
        return Correction(hint) if hint else None
    if not line.because:
        return None
    meant = [*line.plain, *(word for option in line.options for word in option.words)]
    if fits(meant, tree):
        return Correction("; ".join(line.because), [program, *meant])
    return Correction("; ".join([*line.because, f"{line.command(program)} --help shows what it takes"]))


def command_typed(words: Sequence[str], tree: Any, program: str) -> str:
    """Return the words of a line that name a command, with the program."""
    return _Line(words, read(tree)).command(program)


class _Line:
    """A command line: its plain words, and its options, which may stand behind them; and why it was changed."""

    def __init__(self, words: Sequence[str], grammar: Grammar) -> None:
        self._levels = {level.words: level for level in grammar.levels}
        self._shared = grammar.shared + grammar.unshown
        self.because: list[str] = []
        self._read(_with_rest(list(_pieces(words, self._valued())), self.because))

    def _read(self, words: Sequence[str]) -> None:
        """Take words apart; those of a known command by what its own options take."""
        typed = list(_pieces(words, self._valued()))
        level = self._level([each.words[0] for each in typed if not each.name])
        typed = typed if level.commands else list(_pieces(words, self._valued(level)))
        typed = self._without_fields(typed)
        self.plain = [each.words[0] for each in typed if not each.name]
        self.options = [each for each in typed if each.name]

    def _without_fields(self, typed: list[Typed]) -> list[Typed]:
        """Return what was typed without the fields that gh's --json takes: --json a,b and --json=a."""
        fields = [
            after
            for before, after in pairwise(typed)
            if before.name == "--json" and not after.name and _FIELDS.fullmatch(after.words[0])
        ]
        attached = [each for each in typed if each.name == "--json" and each.value not in (None, "true", "false")]
        self.because += ["--json takes no fields: jq picks them"] if fields or attached else []
        kept = [each for each in typed if not any(each is field for field in fields)]
        return [Typed(("--json",), "--json") if each in attached else each for each in kept]

    def _valued(self, of: Level | None = None) -> set[str]:
        """Return the options that take a value: those of a level, and of others where no level has them without."""
        everywhere = [option for level in self._levels.values() for option in level.options] + list(self._shared)
        foreign = {name for name, instead in OPTIONS.items() if instead.valued}
        elsewhere = foreign | _names(everywhere, valued=True) - _names(everywhere, valued=False)
        own = [*(of.options if of else ()), *self._shared]
        return (elsewhere | _names(own, valued=True)) - _names(own, valued=False)

    def command(self, program: str) -> str:
        """Return the words that name the command, with the program."""
        return " ".join([program, *self._level(self.plain).words])

    def _level(self, plain: Sequence[str]) -> Level:
        words = understood(plain[:2])
        return self._levels.get(words) or self._levels.get(words[:1]) or self._levels[()]

    # The command.

    def take_our_command(self) -> None:
        """Put a command of ours in the place of another tool's. Raises _Unsure."""
        if not self.plain:
            return
        first, *rest = self.plain
        noun, second = (NOUNS_UNDERSTOOD.get(word, word) for word in (first, rest[0] if rest else ""))
        if noun in _KINDS and second in _KINDS and rest[0] not in self._levels[(noun,)].commands:
            self.plain = self._of_two_nouns(noun, second, rest)
        elif second in _KINDS and noun not in _KINDS and self._is_verb(first, second):
            self.because.append("the kind of thing stands first")
            self.plain = self._under(second, self._listing(first, *rest), rest[1:])
        elif noun in _KINDS and rest:
            self.plain = self._under(noun, rest[0], rest[1:])
        elif noun in self._levels[()].commands:
            self.plain = [noun, *rest]
        else:
            self.plain = self._foreign(first, rest)

    def _of_two_nouns(self, noun: str, second: str, rest: list[str]) -> list[str]:
        """Return the words for `run deployment X`, which begins with a verb, or `deploy runs list`, which does not."""
        operands = rest[1:]
        if operands and self._is_verb(operands[0], second):
            self.because.append("one kind of thing is named")
            return self._under(second, operands[0], operands[1:])
        if noun == "run" and second == "deploy":
            self.because.append("the kind of thing stands first")
            return self._under("deploy", "run", operands)
        if noun == second and rest[0] not in COMMANDS:  # as in `run run X`
            if not operands:
                raise _Unsure
            return self._under(noun, operands[0], operands[1:])
        return self._under(noun, rest[0], operands)

    def _listing(self, verb: str, kind: str, *operands: str) -> str:
        """Return the verb for `get runs`, and for `get runs X` where X has runs and is none."""
        lists = not operands or (kind == "runs" and {*map(_kind, operands)} <= _DEPLOYMENTS)
        return "list" if verb in _LISTED and lists else verb

    def _is_verb(self, typed: str, noun: str) -> bool:
        ours = understood([noun, typed])[1]
        return ours in self._levels[(noun,)].commands or typed in COMMANDS or typed in UNSURE

    def _under(self, noun: str, verb: str, operands: list[str]) -> list[str]:
        """Return the words for a verb of `deploy` or `run`, which may be none of ours, or what stands in its place."""
        commands = self._levels[(noun,)].commands
        ours = understood([noun, verb])[1]
        if ours in commands:
            return [noun, ours, *operands]
        if verb in COMMANDS or verb in UNSURE:
            return self._foreign(verb, operands, under=noun)
        kind = _kind(verb)
        if kind == "name" and nearest(verb, commands):
            raise _Unsure  # a slip: the nearest is told
        if noun == "run" and kind in _DEPLOYMENTS:
            if operands and not {kind, *map(_kind, operands)} == {"deployment"}:
                raise _Unsure(A_WORD)  # the first may be a verb of another tool
            self.because.append("a deployment is run by `deploy run`")
            return ["deploy", "run", verb, *operands]
        if noun == "run" and kind == "run":
            self.because.append("`get` shows a run")
            return ["run", "get", verb, *operands]
        if kind == "deployment":
            raise _Unsure(A_DEPLOYMENT)
        raise _Unsure

    def _foreign(self, verb: str, operands: list[str], *, under: str = "") -> list[str]:
        """Return the words for another tool's command, which may have been typed under one of our nouns."""
        foreign = COMMANDS.get(verb)
        template = foreign and _template(foreign, operands, under)
        if not foreign or not template:
            raise _Unsure(UNSURE.get(verb) or (_in_general(foreign) if foreign else ""))
        self.because.append(foreign.because)
        return self._filled(template, operands)

    def _filled(self, template: str, operands: Sequence[str]) -> list[str]:
        """Return the plain words of a template, with what is named in the place of X; its options are added."""
        pieces = list(_pieces(template.split(), self._valued()))
        have = {option.name for option in self.options}
        self.options[:0] = [piece for piece in pieces if piece.name and piece.name not in have]
        words = [piece.words[0] for piece in pieces if not piece.name]
        return [each for word in words for each in _named(word, operands)]

    # The options.

    def take_our_options(self) -> None:
        """Put options of ours in the place of others. Raises _Unsure when one is neither."""
        for _ in range(1 + 2 * len(self.options)):  # a replaced one may turn the command into another
            known = self._known()
            unknown = [option for option in self.options if option.name not in known]
            if not unknown:
                self.options = [self._as_ours(option, takes_value=known[option.name]) for option in self.options]
                return
            path = self._level(self.plain).path
            moving = next((option for option in unknown if (path, option.name) in MOVED), None)
            if moving:
                self._move(moving, MOVED[path, moving.name])
            else:
                self._take_instead(unknown[0], known)
        raise _Unsure

    def _as_ours(self, option: Typed, *, takes_value: bool) -> Typed:
        """Return an option of ours as it is written here: -n 5 for -n=5, --wait for --wait=true. Raises _Unsure."""
        name, value = option.name, option.value
        if takes_value and value and value.startswith("=") and not name.startswith("--"):
            self.because.append(f"the value of {name} stands behind a space")
            return Typed((name, value[1:]), name, value[1:])
        if takes_value or value is None:
            return option
        if value != "true":
            raise _Unsure(f"{name} takes no value: leave it out, or give it alone")
        self.because.append(f"{name} takes no value")
        return Typed((name,), name)

    def _known(self) -> dict[str, bool]:
        """Return the options of the command by their names, and whether each takes a value."""
        options = (*self._level(self.plain).options, *self._shared)
        return {name: option.value is not None for option in options for name in option.names}

    def _move(self, option: Typed, moved: Foreign) -> None:
        """Turn the command into the one that an option of another tool's means."""
        level = self._level(self.plain)
        self.options.remove(option)
        self.because.append(moved.because)
        self.plain = self._filled(moved.run, self.plain[len(level.words) :])

    def _take_instead(self, unknown: Typed, known: dict[str, bool]) -> None:
        instead = OPTIONS.get(unknown.name)
        ours = next((name for name in instead.ours if name in ("", "X") or name in known), None) if instead else None
        if instead is None or ours is None or (instead.only_with and instead.only_with not in known):
            raise _Unsure(UNSURE_OPTIONS.get(unknown.name, ""))
        value = (unknown.value or "").removeprefix("=")
        self.because.append(instead.because.replace("{value}", shlex.quote(value)))
        if (not value or value.startswith("-")) if instead.valued else value not in ("", "true"):
            raise _Unsure  # what follows is no value but an option; or it is switched off
        self.plain += [value] if ours == "X" else []
        have = {option.name for option in self.options}
        replaced = Typed((ours, value) if known.get(ours) else (ours,), ours, value if known.get(ours) else None)
        place = self.options.index(unknown)
        self.options[place : place + 1] = [] if ours in ("", "X") or ours in have else [replaced]


def _names(options: Iterable[Option], *, valued: bool) -> set[str]:
    return {name for option in options if (option.value is not None) is valued for name in option.names}


def _named(word: str, operands: Sequence[str]) -> Iterator[str]:
    """Yield the operands for X, and X@last of each for that; any other word as it is."""
    yield from (operand + word[1:] for operand in operands) if word in ("X", "X@last") else (word,)


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
    if not foreign or not foreign.rest or (foreign.alone and len(plain) == 1):
        return [word for each in typed for word in each.words]
    because.append(foreign.because)
    second = plain[1].words[0] if len(plain) > 1 else ""
    is_named = NOUNS_UNDERSTOOD.get(second, second) == foreign.rest.split()[0]  # as in `create deployment`
    for left in plain[: 2 if is_named else 1]:
        typed.remove(left)
    return [*foreign.rest.split(), *(word for each in typed for word in each.words)]


def _template(foreign: Foreign, operands: Sequence[str], under: str) -> str:
    """Return the template for what is named; empty when it is not sure what is meant."""
    if not operands:
        return foreign.alone
    kinds = set(map(_kind, operands))
    if kinds == {"name"} and under == "run" and not foreign.deployment.startswith(("run ", "deploy run ")):
        return ""  # runs have no names
    if foreign.several and len(operands) > 1:
        return (
            foreign.several if kinds == {"run"} else foreign.several.replace(" X", " X@last") * (kinds <= _DEPLOYMENTS)
        )
    if kinds == {"run"}:
        return foreign.run
    if kinds <= _DEPLOYMENTS:
        return foreign.deployment
    if kinds == {"-"} and _is_one_command(foreign):
        return foreign.run or foreign.deployment
    return ""


def _in_general(foreign: Foreign) -> str:
    """Return why a command is another here, and which, where nothing or another kind of thing is named."""
    template = foreign.run.replace("X", "RUN") or foreign.deployment.replace("X", "DEPLOYMENT")
    return f"{foreign.because}: qoder {template}" if template else foreign.because


def _is_one_command(foreign: Foreign) -> bool:
    """Return whether runs and deployments lead to the same command, or only one of them to any."""
    commands = {tuple(template.split()[:2]) for template in (foreign.run, foreign.deployment) if template}
    return len(commands) == 1


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
