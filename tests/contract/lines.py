"""Every command of the program, with a line that works in the sandbox: its own help's first example that can be played.

A new command is in the table as soon as its help has an example.
"""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from inspect import cleandoc
from typing import Any, NamedTuple

from qoder_cli.cli.main import command_tree, commands_of, function_of, shared_options
from qoder_cli.cli.options import HiddenCommand
from qoder_cli.help import NOUNS
from qoder_cli.nouns.table import all_operations

# Examples that cannot be typed in process: they have a shell's signs, or talk with a person.
_NOT_HERE = re.compile(r"[|<>$;&]|^qoder sandbox|--install|session chat|auth login|run approve last$|--chat")

NOT_PLAYED = {
    "auth login": "asks a person for a token",
    "key init": "writes keys at once, to see which are refused",
    "sandbox": "serves until it is stopped",
    "session chat": "talks with a person at a terminal",
    "vault connect": "waits for a person to log in elsewhere",
}
OWN_LINES = {
    "apply": "qoder apply --yes",  # its example asks
    "completion": "qoder completion zsh",  # its examples write files
    "run cancel": "qoder run cancel {id} --yes",  # that of its example ends by itself
    "deploy check": "qoder deploy check dep_demo",
    "dream cancel": "qoder dream cancel {id}",  # the dream of its example has ended
    "run retry": "qoder run retry {id} --again",  # one that fails is no good line
    "run logs": "qoder run logs last",  # that of its example follows one run: see MORE_LINES
}
# What is typed before; `{id}` in the line is what it prints.
BEFORE = {
    "dream cancel": "qoder dream create --from project --model auto --json",
    "run cancel": "qoder deploy run dep_ask --json",
    "run retry": "qoder deploy run dep_demo --wait --json",
    "usage": "qoder deploy run dep_demo --wait --json",
    "usage --over": "qoder deploy run dep_demo --wait --json",
    "report --exit-status": "qoder deploy run dep_demo --wait --json",
    "run retry --all-failed": "qoder deploy run dep_demo --wait --json",
    "deploy unpause": "qoder deploy pause nightly-report --json",
    "memory restore": "qoder memory write project conventions.md -m 'Releases are on Monday.' --json",
    "env work heartbeat": "qoder env work ack workers work_demo --json",
    "key get": "qoder deploy run dep_demo --idempotency-key nightly-2026-06-14 --json",
    "key free": "qoder deploy run dep_demo --idempotency-key nightly-2026-06-14 --json",
}
# Lines that end well with another code than 0.
ENDS = {
    "diff": 8,  # something differs
    "session thread archive": 6,  # the sandbox's sessions have only their coordinator's thread, which stays
}
# What else a command does, as if it were another command: its name, and its line.
MORE_LINES = {
    "apply FILE": ("apply", "qoder apply weekly.jsonl --yes"),
    "api POST": ("api", "qoder api POST /deployments/dep_slow -f 'metadata[team]=web'"),
    "deploy run in a fleet": ("deploy run", "qoder deploy run dep_demo dep_minute --wait"),
    "run logs --follow": ("run logs", "qoder run logs last --follow"),
    "report --exit-status": ("report", "qoder report --exit-status"),
    "deploy check --exit-status": ("deploy check", "qoder deploy check demo nightly-report --exit-status"),
    "usage --over": ("usage", "qoder usage --since 1d --over 50"),
    "run retry --all-failed": ("run retry", "qoder run retry --all-failed dep_demo nightly-report --since 1d --yes"),
    "session files --add": ("session files", "qoder session files sess_demo --add notes.md:/data/notes.md"),
}
# Lines that only read, though the operations of their command write.
_ONLY_READ = ("session files", "vault check")
# Nouns about this machine: their commands need no server.
OF_THIS_MACHINE = ("auth", "completion", "config", "doctor", "help", "init", "key", "schema")
_OF_THIS_MACHINE = ("policy check", "policy log")
# Lines that judge what they read, with those reads that their answer does not depend on.
JUDGES: dict[str, tuple[str, ...]] = {
    "report --exit-status": (),
    "deploy check --exit-status": (),
    "usage --over": ("/deployment_runs", "/events", "/deployments"),  # how runs ended, and names
    "run retry --all-failed": (),
}
# Commands that write by an operation that `operations.tsv` gives to another.
_ALSO_WRITE = (
    "api POST, apply, apply FILE, deploy run in a fleet, memory restore, run answer, run approve, run deny, "
    "run retry, session files --add"
)


class Place(NamedTuple):
    """An argument of a line: the place of its word, and what it is for."""

    at: int
    metavar: str


@dataclass(frozen=True)
class Command:
    """A command: its words, its function, and what typer knows of it."""

    name: str
    function: Callable[..., Any]
    line: str | None
    words: tuple[str, ...]  # that it is typed with

    @property
    def noun(self) -> str:
        return self.words[0]

    @cached_property
    def params(self) -> list[Any]:
        """Its own parameters, as typer has them."""
        found: Any = command_tree("qoder")
        for word in self.words:
            found = found.get_command(None, word)
        return [param for param in found.params if param not in shared_options()]

    @property
    def arguments(self) -> list[Any]:
        return [param for param in self.params if param.param_type_name == "argument"]

    @property
    def options(self) -> dict[str, Any]:
        """Its own options, by each of their names."""
        options = [param for param in self.params if param.param_type_name == "option"]
        return {name: param for param in options for name in (*param.opts, *param.secondary_opts)}

    @property
    def asks(self) -> bool:
        """Whether it asks a server."""
        return self.noun not in OF_THIS_MACHINE and self.name not in _OF_THIS_MACHINE

    @property
    def writes(self) -> bool:
        """Whether its line changes something on a server."""
        same = {self.name, self.name.replace("session ", "run ", 1), self.name.replace("run ", "session ", 1)}
        of_api = (one for one in all_operations() if one.method != "GET" and " ".join(one.command) in same)
        if self.name in _ONLY_READ:
            return False
        return next(of_api, None) is not None or not same.isdisjoint(_ALSO_WRITE.split(", "))

    @property
    def ends(self) -> int:
        """Return how its line ends where all is well."""
        return ENDS.get(self.name, 0)

    @property
    def reads_stdin(self) -> bool:
        """Whether `-` stands for a list of ids."""
        return "--allow-empty" in self.options

    def places(self, words: list[str]) -> list[Place]:
        """Return the arguments of a line that begins with the command's words."""
        found, metavars = [], [str(param.metavar) for param in self.arguments]
        at = len(self.words)
        while at < len(words) and metavars:
            option = self.options.get(words[at].partition("=")[0])
            if option is not None or words[at].startswith("--"):
                at += 1 if option is None or option.is_flag or "=" in words[at] else 2
                continue
            found.append(Place(at, metavars[0].rstrip(".")))
            metavars = metavars if metavars[0].endswith("...") else metavars[1:]
            at += 1
        return found


def _below(path: tuple[str, ...], commands: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Callable[..., Any]]]:
    for name, command in commands.items():
        words = path if (name,) == path else (*path, name)
        if isinstance(command, tuple):
            yield from _below(words, command[1])
        else:
            yield words, function_of(command.command if isinstance(command, HiddenCommand) else command)


def _all_commands() -> Iterator[tuple[str, Callable[..., Any]]]:
    for noun, (_, module) in NOUNS.items():
        commands = {noun: module} if ":" in module else commands_of(module)
        for path, function in _below((noun,), commands):
            yield " ".join(path), function


def examples(function: Callable[..., Any]) -> list[str]:
    """Return the lines that a command's help has as examples."""
    block = re.search(r"Examples:\n((?: {2,}\S.*(?:\n|$))+)", cleandoc(function.__doc__ or ""))
    return [line.strip() for line in block[1].replace("\\\n", "").splitlines()] if block else []


def _line(name: str, function: Callable[..., Any]) -> str | None:
    """Return the line of a command, in its own words: those of runs have examples of runs. A preview is sent, too."""
    if name in NOT_PLAYED:
        return None
    fits = (line for line in examples(function) if not _NOT_HERE.search(line))
    line = OWN_LINES.get(name) or next(fits, None)
    if line is None:
        return None
    words = shlex.split(re.sub(" --dry-run| --json", "", line))[1:]
    depth = max(depth for depth in range(len(words) + 1) if " ".join(words[:depth]) in _FUNCTIONS or not depth)
    return shlex.join(["qoder", *name.split(), *words[depth:]])


_FUNCTIONS = dict(_all_commands())
_SAME = {name: getattr(function, "__wrapped__", function) for name, function in _FUNCTIONS.items()}
_FIRST = {function: name for name, function in reversed(_SAME.items())}
COMMANDS = {
    name: Command(name, function, _line(name, function), tuple(name.split())) for name, function in _FUNCTIONS.items()
}
PLAYED = {name: command for name, command in COMMANDS.items() if command.line}
PLAYED |= {name: Command(name, _FUNCTIONS[of], line, tuple(of.split())) for name, (of, line) in MORE_LINES.items()}
# A session's commands that are a run's: one function, which is held to every clause under its first name.
ONCE_MORE = {name for name in COMMANDS if _FIRST[_SAME[name]] != name}
