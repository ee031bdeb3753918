"""Spells every command wrong in twenty ways, and judges the hints: none may lead to a write that was not meant.

The commands are those of the program, and the lines of README. A cell is a line of somebody who means one of them: a
letter dropped, doubled, swapped or replaced, the noun or verb of another command, what other tools call it, no noun,
the verb first, an option misspelt. Nothing is sent: what is understood after all is not run.
"""

import io
import random
import re
import shlex
from argparse import Namespace
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import typer

from qoder_cli.app import App
from qoder_cli.cli.main import command_tree, main
from qoder_cli.output.screen import Screen
from tests.contract.lines import COMMANDS
from tests.tools.playing import Played

PROMISES = ("leads_to_a_write_that_was_not_meant", "names_no_command", "repeats_itself", "sends")
WAYS = 20  # lines of each command
README = Path(__file__).parents[2] / "README.md"

# Commands that only read, or that a person has to answer; all others act on a server or on what is remembered.
READS = re.compile(
    r" (list|get|wait|logs|result|pending|export|versions|threads|files|cat|ls|history|download|check|stats)$"
    r"|^(auth status|config path|policy test|policy log)$"
    r"|^(api|auth login|completion|diff|doctor|help|report|sandbox|schema|session chat|usage)$"
)
# Verbs that mean one thing: whoever types one may be led to another of its line, within the noun that was typed.
SAME = (
    {"create", "new", "add", "make", "upload", "put", "write", "set", "start", "trigger"},
    {"update", "apply", "edit", "set", "change", "modify", "patch", "rename"},
    {"run", "start", "trigger", "launch", "exec"},
    {"unpause", "resume", "enable"},
)
AGAIN = ("rerun", "retry", "restart", "redo", "repeat", "again")  # said of a run, and never of a new start
# What gh, kubectl, docker and people type for a verb.
OTHERWISE = {
    "list": ("ls", "ps", "all", "index"),
    "get": ("show", "describe", "inspect", "info", "view", "cat"),
    "create": ("new", "add", "make", "apply"),
    "new": ("create", "start", "exec"),
    "update": ("edit", "set", "patch", "modify", "rename", "apply"),
    "run": ("start", "trigger", "exec", "launch", "invoke", "dispatch"),
    "retry": AGAIN,
    "delete": ("rm", "remove", "del", "destroy", "prune", "kill"),
    "archive": ("delete", "rm", "destroy", "unarchive", "restore"),
    "cancel": ("stop", "kill", "abort", "terminate", "halt", "finish"),
    "pause": ("stop", "disable", "suspend", "scale"),
    "unpause": ("resume", "enable", "start"),
    "wait": ("watch", "follow", "attach", "rollout"),
    "logs": ("log", "tail", "events", "attach"),
    "result": ("output", "outcome", "print"),
    "put": ("set", "add", "store"),
    "upload": ("add", "push", "cp", "create"),
    "download": ("pull", "cp", "fetch"),
    "send": ("message", "say", "prompt", "exec"),
    "approve": ("allow", "accept", "yes", "ok"),
    "deny": ("reject", "refuse", "no"),
    "apply": ("deploy", "push", "diff", "sync"),
}
WRONG_OPTIONS = ("--no-wait", "--force", "--detach", "--environment", "-n3", "--lines", "--watch=1", "--no-yes", "--rm")


class Line(NamedTuple):
    """What is typed, and the command that is meant."""

    means: str
    typed: tuple[str, ...]

    def __str__(self) -> str:
        return f"{shlex.join(self.typed)} (for {self.means})"


def cells(options: Namespace, step: int = 1) -> Iterator[Line]:
    """Yield the wrong spellings of every command, the same for a seed; of each `step` of them one."""
    chance = random.Random(options.seed)
    means = dict.fromkeys(COMMANDS, ("x",)) | _of_readme()
    lines = [Line(name, typed) for name, rest in means.items() for typed in _spellings(name.split(), rest, chance)]
    yield from (line for line in lines[::step] if not _is_understood(line.typed))


def _of_readme() -> dict[str, tuple[str, ...]]:
    """Return the rest of the last line of README for each of its commands."""
    found = {}
    for line in re.findall(r"^(?:\$ )?qoder ([a-z][^|<>$#;&\\\n]*)", README.read_text("utf-8"), re.MULTILINE):
        try:
            words = shlex.split(line)
        except ValueError:  # quoted over several lines
            continue
        for depth in (3, 2, 1):
            if " ".join(words[:depth]) in COMMANDS:
                found[" ".join(words[:depth])] = tuple(words[depth:])
                break
    return found


def _spellings(words: list[str], rest: tuple[str, ...], chance: random.Random) -> list[tuple[str, ...]]:
    """Return twenty wrong lines for one command, each another where there are so many."""
    *nouns, verb = words
    other = [each.split() for each in COMMANDS if " " in each]
    made: list[tuple[str, ...]] = [(*nouns, _slip(verb, way, chance), *rest) for way in range(4)]
    made.append((*nouns, _slip(_slip(verb, 0, chance), 2, chance), *rest))
    if nouns:
        made += [(_slip(nouns[0], way, chance), *nouns[1:], verb, *rest) for way in range(4)]
        made += [(chance.choice(other)[0], verb, *rest) for _ in range(3)]
        made += [(*nouns, chance.choice(other)[-1], *rest) for _ in range(3)]
        made += [(verb, *rest), (verb, *nouns, *rest)]
    otherwise = OTHERWISE.get(verb, ("do", "go", "it"))
    made += [(*nouns, word, *rest) for word in chance.sample(otherwise, 2)]
    made += [(otherwise[0], *nouns, *rest)]
    made += [(*words, *rest, option) for option in chance.sample(WRONG_OPTIONS, 2)]
    own = [name for name in COMMANDS[" ".join(words)].options if len(name) > 3]
    made += [(*words, *rest, "--" + _slip(chance.choice(own or ["--json"])[2:], way, chance)) for way in range(4)]
    return list(dict.fromkeys(made))[:WAYS]


def _slip(word: str, way: int, chance: random.Random) -> str:
    """Return a word with a letter dropped, doubled, swapped with the next or replaced."""
    at = chance.randrange(len(word))
    following = word[at + 1 : at + 2]
    return (
        word[:at]
        + ("", word[at] * 2, following + word[at], chance.choice("aeinorst"))[way]
        + (word[at + 2 :] if way == 2 else word[at + 1 :])
    )


def _is_understood(typed: tuple[str, ...]) -> bool:
    """Return whether the program takes a line: what is no mistake has no hint."""
    app = App(env={}, out=Screen(None), err=Screen(None))
    command: Any = command_tree("qoder")
    context: Any = None
    words = list(typed)
    try:
        while True:
            context = command.make_context(command.name, words, parent=context, obj=app)
            if not hasattr(command, "resolve_command") or not (words := [*context._protected_args, *context.args]):
                return True
            _, command, words = command.resolve_command(context, words)
    except typer.Exit:
        return True
    except Exception:
        return False


def play(line: Line, folder: Path) -> Played:
    """Type a line, and judge the commands that its hint names."""
    sent: list[httpx.Request] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(404)

    err, env = io.BytesIO(), {"QODER_PAT": "pt-0123456789", "QODER_STATE_DIR": str(folder), "HOME": str(folder)}
    app = App(env=env, out=Screen(None), err=Screen(err), transport=httpx.MockTransport(refuse))
    code = main(list(line.typed), app)
    hint = err.getvalue().decode().partition("hint: ")[2].replace("\n", " ")
    named = _commands_in(hint)
    wrong = [name for name in named if not READS.search(name) and not _is_meant(name, line)]
    own = next((name for name in _longest(line.typed) if name in named and "--" not in hint.split(name)[1][:4]), "")
    return Played([code]).breaks(
        hint, leads_to_a_write_that_was_not_meant=wrong, names_no_command="?" in named, repeats_itself=own, sends=sent
    )


@cache
def _commands_in(hint: str) -> tuple[str, ...]:
    """Return the commands that a hint names, "?" for what is none; where help is shown, nothing is done."""
    found = []
    for words in re.findall(r"qoder((?: [a-z][a-z-]*)+)", re.sub(r"qoder( [a-z-]+)* --help", "", hint)):
        name = next(_longest(tuple(words.split())), None)
        is_group = any(each.startswith(f"{words.strip()} ") for each in COMMANDS)
        if name or not is_group:
            found.append(name or "?")
    return tuple(found)


def _longest(words: tuple[str, ...]) -> Iterator[str]:
    return (name for depth in (3, 2, 1) if (name := " ".join(words[:depth])) in COMMANDS)


def _is_meant(named: str, line: Line) -> bool:
    """Return whether a hint may name this writing command: the one that is meant, or what its words say of the noun."""
    noun, verb = named.rpartition(" ")[::2]
    says_again = bool({*AGAIN} & {*line.typed[:3]})
    if named == "run retry" and says_again:
        return True
    if named == "deploy run" and (says_again or line.means == "run retry"):
        return False
    if {*line.means.split()[1:-1]} & {*line.typed} - {*noun.split()}:
        return False  # a noun within another was typed, and the hint is about the other
    twin = {"run": "session", "session": "run"}.get(noun, noun)
    if line.means in (named, f"{twin} {verb}"):
        return True
    typed = {*line.typed, *line.means.split()}
    if noun.split()[-1:] and not {noun.split()[0], f"{noun.split()[0]}s"} & set(line.typed[:3]):
        return named == "deploy run" and bool(SAME[2] & set(line.typed[:2]))  # only deployments are run
    return verb in line.typed[:3] or any(verb in same and same & typed for same in SAME)
