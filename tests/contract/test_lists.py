"""How lists are looked at: which columns of them, and again and again."""

import json
import re
import signal

import pytest

from qoder_cli.base.errors import Signalled
from qoder_cli.sandbox.wire import Generation
from tests.contract.clauses import Clauses
from tests.contract.lines import COMMANDS, JUDGES, Command
from tests.contract.scene import Played, Scene

CLAUSES = Clauses()
LISTS = ("list", "versions", "ls", "history", "pending", "usage", "log")


def is_list(command: Command) -> bool:
    return "--columns" in command.options


def test_lists_are_looked_at_alike() -> None:
    lists = {name for name in COMMANDS if name.split()[-1] in LISTS}
    having = {name for name, command in COMMANDS.items() if {"--columns", "--watch"} <= command.options.keys()}
    assert lists == having - {"session files", "deploy check"}
    assert len(lists) > 20


def columns_of(ran: Played) -> list[str]:
    """Return the columns that a refusal names."""
    assert (ran.code, ran.out) == (2, "")
    found = re.search(r"choose from: ([\w, ]+)", ran.err)
    assert found
    return found[1].split(", ")


@CLAUSES.add("columns", is_list)
def columns_are_those_typed_in_that_order(scene: Scene) -> None:
    known = columns_of(scene.run("--columns", "id,nonsense"))
    typed = ", ".join([*reversed(known), known[0]]).upper().replace("_", "-")
    assert scene.sent == [], "what is no column is refused before anything is sent"
    words = [word for word in scene.words if word not in ("--add", "notes.md:/data/notes.md")]
    whole = [line.split("\t") for line in scene.run(words=words).out.splitlines()]
    turned = [line.split("\t") for line in scene.run("--columns", typed, words=words).out.splitlines()]
    assert [row[::-1][: len(was)] for row, was in zip(turned, whole, strict=True)] == whole


@CLAUSES.add("columns of json", is_list)
def columns_are_refused_beside_data(scene: Scene) -> None:
    for words in (("--json",), ("-q",), ("-o", "yaml")):
        ran = scene.run("--columns", "id", *words)
        assert (ran.code, ran.out, scene.sent) == (2, "", [])


@CLAUSES.add("watch refused", is_list)
def what_cannot_be_watched_sends_nothing(scene: Scene) -> None:
    for words in (("--watch", "0"), ("--watch", "--json"), ("--watch", "5s", "-o", "yaml"), ("--watch=soon",)):
        ran = scene.run(*words)
        assert (ran.code, ran.out, scene.sent) == (2, "", [])
        assert "--watch" in ran.err


@CLAUSES.add("watch", lambda command: is_list(command) and command.name not in JUDGES)
def a_list_is_watched_until_a_signal(scene: Scene) -> None:
    words = [word for word in scene.words if word not in ("--add", "notes.md:/data/notes.md")]
    once = scene.run("-o", "jsonl", words=words)
    looks = 0

    def at_sleep() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            raise Signalled(signal.SIGINT)

    scene.clock.at_sleep = at_sleep
    ran = scene.run("-o", "jsonl", "--watch", words=words)
    assert ran.code == 130
    assert json.loads(ran.err.splitlines()[-1])["error"]["type"] == "interrupted"
    printed = ran.out.splitlines()
    assert printed[: len(once.out.splitlines())] == once.out.splitlines()
    assert len(printed) == len(set(printed)), "a row is printed again only where it has changed"


@pytest.mark.parametrize(("name", "about", "generation"), CLAUSES.cases())
def test_list(name: str, about: str, generation: Generation) -> None:
    CLAUSES.play(name, about, generation)
