"""What a clause is, and the one table of what is exempt from one, each with the reason."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from qoder_cli.sandbox.wire import GENERATIONS, Generation
from tests.contract.lines import ONCE_MORE, PLAYED, Command
from tests.contract.scene import Scene, playing
from tests.support.cells import MORE, cover

Play = Callable[[Scene], None]
Holds = Callable[[Command], bool]


def everywhere(command: Command) -> bool:
    """Return whether a clause that holds for each command holds for this one."""
    return True


def where_it_asks(command: Command) -> bool:
    return command.asks


def where_it_writes(command: Command) -> bool:
    return command.writes and command.ends == 0


class Clause(NamedTuple):
    """A clause: how it is played, for which commands, and whether the generation of the server matters."""

    play: Play
    holds: Holds
    on_both: bool


class Row(NamedTuple):
    """Clauses that do not hold for some commands, and why."""

    clauses: tuple[str, ...]
    commands: tuple[str, ...]
    reason: str


_RAW = ("api", "api POST")
EXEMPT = (
    Row(
        ("json", "jsonl", "table", "wide", "pretty", "csv", "options before"),
        _RAW,
        "it prints a response as it came, in every format",
    ),
    Row(
        ("csv", "hostile csv"),
        ("report", "report --exit-status", "run logs", "run logs --follow", "run why", "session logs"),
        "what it prints is no table: test_csv.py",
    ),
    Row(("empty input allowed", "input"), ("run logs --follow",), "it takes one run"),
    Row(
        (
            *("array everywhere", "array that acted", "another's object", "read of another"),
            *("hostile table", "hostile pretty", "hostile json", "hostile csv"),
        ),
        _RAW,
        "it prints a response as it came, whatever it says",
    ),
    Row(
        ("hostile table", "hostile pretty", "hostile csv"),
        ("run result", "run send"),
        "the text of --result is the agent's, for a file or a pipe; on a terminal it is made inert",
    ),
    Row(
        ("refused", "forbidden"),
        ("deploy run in a fleet",),
        "what is refused to one deployment is not refused to the next",
    ),
    Row(("whereabouts elsewhere",), _RAW, "it is for scripts, whose author typed the request"),
    Row(
        ("whereabouts elsewhere",),
        ("env work heartbeat",),
        "a worker sends one every few seconds: its log is not filled",
    ),
    Row(
        ("json", "jsonl", "yaml", "id", "terminal", "options before"),
        ("completion", "help", "schema"),
        "it prints a text for a shell, a person or an editor, in every format",
    ),
)


@dataclass
class Clauses:
    """The clauses of a file, by name."""

    table: dict[str, Clause]

    def __init__(self) -> None:
        self.table = {}

    def add(self, name: str, holds: Holds = everywhere, *, on_both: bool = False) -> Callable[[Play], Play]:
        """Return what adds a function as a clause. One that reads what a run became holds `on_both` generations."""

        def added(play: Play) -> Play:
            assert name not in self.table, name
            self.table[name] = Clause(play, holds, on_both)
            return play

        return added

    def cases(self) -> list[Any]:
        """Return each clause with each command that it holds for: `deploy run · lost answer · current`.

        Marked `more` is what a short suite does without: in it one of two neighbouring clauses meets each noun, and
        every command each twelfth clause, so that its neighbours in the table meet the others.
        """
        cells, clauses = list(self._cells()), list(self.table)
        commands = list(dict.fromkeys(command for command, _ in cells))

        def turn(cell: tuple[str, str]) -> bool:
            return (commands.index(cell[0]) + clauses.index(cell[1])) % 12 > 0

        by_noun = cover(sorted(cells, key=turn), lambda cell: [(clauses.index(cell[1]) // 2, PLAYED[cell[0]].noun)])
        played = by_noun | {cell for cell in cells if not turn(cell)}
        return [
            pytest.param(*cell, generation, id=" · ".join((*cell, generation)), marks=() if cell in played else MORE)
            for cell in cells
            for generation in self._generations(*cell)
        ]

    def _generations(self, name: str, about: str) -> Sequence[Generation]:
        tells_of_runs = PLAYED[name].noun in ("deploy", "report", "run", "session", "usage")
        return GENERATIONS if self.table[about].on_both and tells_of_runs else ("current",)

    def _cells(self) -> Iterator[tuple[str, str]]:
        exempt = {(clause, command) for row in EXEMPT for clause in row.clauses for command in row.commands}
        for command in PLAYED.values():
            for about, clause in self.table.items():
                if command.name in ONCE_MORE or not clause.holds(command) or (about, command.name) in exempt:
                    continue
                yield command.name, about

    def play(self, name: str, about: str, generation: Generation) -> None:
        """Play a case."""
        with playing(name, generation) as scene:
            self.table[about].play(scene)
