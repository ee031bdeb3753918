"""What can be typed, read from the command tree.

What an option or an argument takes is known from its choices, its name in Python, or its metavar: FILE is a file name,
DIR a folder, COMMAND a command line behind `--`, DEPLOYMENT and RUN are what `qoder_cli.local.remembered` remembers.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import typer

from qoder_cli.configfile import KEYS
from qoder_cli.documented import TOPICS
from qoder_cli.http.pending import METHODS
from qoder_cli.values import REGIONS

SHELLS = ("bash", "zsh", "fish", "powershell")

# The fixed words behind a parameter, by its name in Python.
_WORDS = {"key": KEYS, "region": tuple(REGIONS), "shell": SHELLS, "topic": tuple(TOPICS), "method": METHODS}
_SETTING = ("config", "set")
_REFUSED: dict[tuple[str, ...], set[str]] = {_SETTING: {"token"}}  # a token is never an argument
_METAVAR = re.compile(r"(?:-- )?([A-Z]+)(?:\.\.\.|\|-)?")  # RUN, RUN..., FILE|-, -- COMMAND...


@dataclass(frozen=True)
class Value:
    """What an option or an argument takes: its name, and the words that it can be when they are known."""

    name: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Option:
    """An option by all its names; `value` is None for a flag."""

    names: tuple[str, ...]
    help: str
    value: Value | None
    repeatable: bool


@dataclass(frozen=True)
class Argument:
    """An argument; `repeatable` when it takes every word that is left."""

    value: Value
    repeatable: bool


@dataclass(frozen=True)
class Level:
    """A place in the tree: the words that lead there, and what can follow."""

    words: tuple[str, ...]
    commands: dict[str, str]  # name -> one line of help
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...]

    @property
    def path(self) -> str:
        """The words that lead here, as typed."""
        return " ".join(self.words)


@dataclass(frozen=True)
class Grammar:
    """All that can be typed: the options that work everywhere, and each level with what only it has.

    Those `unshown` work everywhere and are not offered; what they take is.
    """

    shared: tuple[Option, ...]
    unshown: tuple[Option, ...]
    levels: tuple[Level, ...]


@cache
def read(tree: Any) -> Grammar:
    """Return what can be typed, from the root of the command tree; hidden commands are left out.

    A tree is read once: each correction of a line asks for it.
    """
    unshown = tuple(_option(param) for param in tree.params if param.hidden and not param.is_flag)
    levels = tuple(_levels(tree, ()))
    shared = tuple(option for option in levels[0].options if all(option in level.options for level in levels))
    own = [tuple(option for option in level.options if option not in shared) for level in levels]
    levels = tuple(replace(level, options=options) for level, options in zip(levels, own, strict=True))
    return Grammar(shared, unshown, levels)


def spelled_out(grammar: Grammar) -> Grammar:
    """Return what can be typed with arguments whose values depend on each other as words that lead on, as commands do:
    a topic or a command behind `help`, a key and its value behind `config set`.
    """
    levels = {level.words: level for level in grammar.levels}
    for level in grammar.levels:
        if ("help",) in levels and level.commands:
            topics = {} if level.words else TOPICS
            levels["help", *level.words] = Level(("help", *level.words), {**topics, **level.commands}, (), ())
    if setting := levels.get(_SETTING):
        keys = dict.fromkeys(setting.arguments[0].value.words, "")
        levels[_SETTING] = replace(setting, commands=keys, arguments=())
        value = Argument(Value("REGION", tuple(REGIONS)), repeatable=False)
        levels[*_SETTING, "region"] = Level((*_SETTING, "region"), {}, setting.options, (value,))
    return replace(grammar, levels=tuple(levels.values()))


def _levels(command: Any, words: tuple[str, ...]) -> Iterator[Level]:
    context = typer.Context(command, **command.context_settings)
    params = [param for param in command.get_params(context) if not getattr(param, "hidden", False)]
    names = command.list_commands(context) if hasattr(command, "list_commands") else []
    children = {name: child for name in names if not (child := command.get_command(context, name)).hidden}
    yield Level(
        words,
        commands={name: _sentence((child.help or "").partition("\n")[0]) for name, child in children.items()},
        options=tuple(_option(param) for param in params if param.param_type_name == "option"),
        arguments=tuple(
            Argument(taken_by(param, words), repeatable=param.nargs == -1)
            for param in params
            if param.param_type_name == "argument"
        ),
    )
    for name, child in children.items():
        yield from _levels(child, (*words, name))


def _option(param: Any) -> Option:
    return Option(
        names=tuple(sorted((*param.opts, *param.secondary_opts))),  # those of --help come in no fixed order
        help=_sentence(param.help or ""),
        value=None if param.is_flag or param.count else _value(param),
        repeatable=param.multiple or param.count,
    )


def _value(param: Any) -> Value:
    metavar = _METAVAR.fullmatch(param.metavar or "")
    choices = tuple(map(str, getattr(param.type, "choices", ())))
    return Value(metavar[1] if metavar else param.name.upper(), words=choices or _WORDS.get(param.name, ()))


def taken_by(param: Any, words: tuple[str, ...]) -> Value:
    """Return what a parameter of the command at some words takes, without the words that it refuses."""
    value, refused = _value(param), _REFUSED.get(words, set())
    return replace(value, words=tuple(word for word in value.words if word not in refused))


def _sentence(text: str) -> str:
    return " ".join(text.split()).rstrip(".")
