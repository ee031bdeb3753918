"""How lists are looked at: which columns of them, and again and again."""

import csv
import io
import json
import re
import signal

import httpx
import pytest

from qoder_cli.base.errors import Signalled
from qoder_cli.sandbox.wire import Generation
from tests.contract.clauses import Clauses
from tests.contract.lines import COMMANDS, JUDGES, Command
from tests.contract.scene import Answer, Played, Scene
from tests.support.cells import ALL_CELLS

CLAUSES = Clauses()
LISTS = ("list", "versions", "ls", "history", "pending", "usage", "log")


def is_list(command: Command) -> bool:
    return "--columns" in command.options


def test_lists_are_looked_at_alike() -> None:
    lists = {name for name in COMMANDS if name.split()[-1] in LISTS}
    having = {name for name, command in COMMANDS.items() if {"--columns", "--watch"} <= command.options.keys()}
    assert lists == having - {"session files", "deploy check"}
    assert len(lists) > 20


def without_adding(scene: Scene) -> list[str]:
    """Return the words of a line, but what is not done again with each look."""
    return [word for word in scene.words if word not in ("--add", "notes.md:/data/notes.md")]


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
    words = without_adding(scene)
    whole = [line.split("\t") for line in scene.run(words=words).out.splitlines()]
    turned = [line.split("\t") for line in scene.run("--columns", typed, words=words).out.splitlines()]
    assert [row[::-1][: len(was)] for row, was in zip(turned, whole, strict=True)] == whole


@CLAUSES.add("columns of json", is_list)
def columns_are_refused_beside_data(scene: Scene) -> None:
    for words in (("--json",), ("-q",), ("-o", "yaml")):
        ran = scene.run("--columns", "id", *words)
        assert (ran.code, ran.out, scene.sent) == (2, "", [])


@CLAUSES.add("list as csv", is_list)
def csv_has_a_header_and_what_a_pipe_has(scene: Scene) -> None:
    words = without_adding(scene)
    piped = [line.split("\t") for line in scene.run(words=words).out.splitlines()]
    ran = scene.run("-o", "csv", words=words)
    assert ran.out.count("\n") == len(piped) + 1
    header, *rows = csv.reader(io.StringIO(ran.out, newline=""), strict=True)
    ages = [place for place, name in enumerate(header) if name == "waits"]  # in seconds, which pass meanwhile
    for row, was in zip(rows, piped, strict=True):
        assert len(row) == len(header)
        was = ["" if cell == "-" else cell for cell in was]
        assert [row[n] for n in range(len(row)) if n not in ages] == [was[n] for n in range(len(was)) if n not in ages]
    known = columns_of(scene.run("--columns", "id,nonsense"))
    assert header == known[: len(header)]


@CLAUSES.add("sort", is_list)
def any_column_sorts_a_list_up_and_down(scene: Scene) -> None:
    words = without_adding(scene)
    known = columns_of(scene.run("--sort", "nonsense"))
    assert scene.sent == [], "what is no column is refused before anything is sent"
    unsorted = scene.run(words=words).out.splitlines()
    columns = list(enumerate(known[: len(unsorted[0].split("\t"))] if unsorted else ()))
    for place, name in columns if ALL_CELLS else columns[len(known) % 2 :: 2]:  # of each list other ones
        up, down = (_column(scene.run(f"--sort={name}{end}", words=words), place) for end in ("", ":desc"))
        assert len(up) == len(down) == len(unsorted)
        rising = [cell for cell in up if cell != "-"]
        assert rising == [cell for cell in down if cell != "-"][::-1]
        assert up[: len(rising)] == rising, "what is absent comes last"


def _column(ran: Played, place: int) -> list[str]:
    return [line.split("\t")[place] for line in ran.out.splitlines()]


@CLAUSES.add("list silent about its end", is_list)
def a_list_is_not_whole_unless_it_says_so(scene: Scene) -> None:
    def lie(request: httpx.Request, answer: Answer) -> httpx.Response:
        said = answer()
        is_page = request.method == "GET" and "data" in said.json()
        return httpx.Response(200, json={"data": said.json()["data"]}) if is_page else said

    scene.lie = lie
    ran = scene.run("--json", words=without_adding(scene))
    assert "does not say whether it is complete" in ran.err or not scene.sent


@CLAUSES.add("watch refused", is_list)
def what_cannot_be_watched_sends_nothing(scene: Scene) -> None:
    for words in (("--watch", "0"), ("--watch", "--json"), ("--watch", "5s", "-o", "yaml"), ("--watch=soon",)):
        ran = scene.run(*words)
        assert (ran.code, ran.out, scene.sent) == (2, "", [])
        assert "--watch" in ran.err


@CLAUSES.add("watch", lambda command: is_list(command) and command.name not in JUDGES)
def a_list_is_watched_until_a_signal(scene: Scene) -> None:
    words = without_adding(scene)
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
