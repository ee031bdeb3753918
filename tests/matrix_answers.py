"""Every fault at an answer to an agent or a message to it, in process on a clock that nobody has to wait for.

`python -m tests.matrix_answers` prints the table; `test_matrix_answers.py` runs a part of it. A cell is one command
against a server that does one thing wrong once, twice or three times, on either generation, while something else may
blur what can be read of it. What must never be: something said twice by one command, something said to another call
than the one that was named, something said and neither reported nor ended in exit 9, success where nothing was, an
answer reported that the server shows otherwise, and other calls told to wait afterwards than do.
"""

import io
import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from qoder_cli.app import App
from qoder_cli.cli.main import main
from qoder_cli.output.screen import Screen
from tests.support.asking import Event, Server, Session, call
from tests.support.wire import FakeClock

COMMANDS = {
    "approve": ("approve", "sess_1", "evt_1", "--yes"),
    "approve --all": ("approve", "sess_1", "--all", "--yes"),
    "deny": ("deny", "sess_1", "evt_1", "--because", "no", "--yes", "--wait"),
    "answer": ("answer", "sess_1", "evt_1", "--result", "green"),
    "send": ("send", "sess_1", "-m", "hello", "--wait"),
    "send --when-idle": ("send", "sess_1", "-m", "hello", "--when-idle"),
}
NOT_SENT = ("refused", "drop-before", "hang-before", "429", "400", "403", "404", "409", "500", "503", "html", "login")
DONE = ("drop-after", "hang-after", "act-500", "act-503", "act-html", "truncated", "garbage", "list", "no-data")
FAULTS = ("", *NOT_SENT, "redirect", *DONE)
BLURS = (
    *("", "lag=1", "lag=4", "lag=60", "reads fail twice", "reads fail", "lenient", "older form"),
    *("a colleague is faster", "a colleague denies", "another order", "every event twice", "no types", "changed"),
    *("answered before", "answered before, named again", "named again", "recorded otherwise", "echoed otherwise"),
    *("a sub-agent asks", "the turn before the message first"),
)
HIDING = ("lag=1", "lag=4", "lag=60", "reads fail twice", "reads fail", "changed")  # afterwards, too


class Cell(NamedTuple):
    """One thing to try."""

    command: str
    fault: str
    times: int
    blur: str
    generation: str


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: how often what was said was taken, what else was, and how the command ended."""

    said: int
    others: int
    is_claimed: bool  # whether standard output claims that it was said
    exit_code: int
    is_otherwise: bool = False  # whether the newest answer to the call that the server shows is another than was said
    misasked: bool = False  # whether what is said to wait afterwards is not what waits

    @property
    def twice(self) -> bool:
        """Whether one command said it more than once."""
        return self.said > 1

    @property
    def wrong(self) -> bool:
        """Whether it was said to something that was not named."""
        return self.others > 0

    @property
    def lost(self) -> bool:
        """Whether it was said, and the command claims that it was not: with --wait, 10 and 11 come after it."""
        return self.said > 0 and self.exit_code not in (0, 9, 10, 11)

    @property
    def lied(self) -> bool:
        """Whether success was claimed, and nothing was said by anybody."""
        return self.exit_code == 0 and self.is_claimed

    @property
    def mistold(self) -> bool:
        """Whether an answer was reported that the server shows otherwise."""
        return self.exit_code in (0, 11) and self.is_otherwise


def cells() -> Iterator[Cell]:
    """Yield every cell."""
    for generation, command, fault in itertools.product(("current", "legacy"), COMMANDS, FAULTS):
        for times in (1, 2, 3) if fault else (1,):
            yield Cell(command, fault, times, "", generation)
        for blur in BLURS[1:]:
            yield Cell(command, fault, 1, blur, generation)


def play(cell: Cell, folder: Path) -> Outcome:
    """Run one cell and return what became of it. `folder` is for its store."""
    clock = FakeClock()
    server = Server(clock, generation=cell.generation, goes_wrong=[cell.fault] * cell.times if cell.fault else [])
    sends = cell.command.startswith("send")
    kind = "agent.custom_tool_use" if cell.command == "answer" else "agent.tool_use"
    calls = () if sends else (call(1, kind=kind), *(() if "--all" in cell.command else (call(2),)))
    if calls and cell.blur == "a sub-agent asks":
        server.sub_agent_asks("sess_1", *({**each, "session_thread_id": "sthr_2"} for each in calls), calls=3)
    else:
        server.session("sess_1", *calls)
    server.session("sess_2", call(3))
    _blur(server, cell.blur, is_call=not sends)
    code, out = _ran(server, folder, *COMMANDS[cell.command])
    what = "hello" if sends else "evt_1"
    others = sum(count for taken, count in server.ours.items() if taken != what)
    document = json.loads(out or "{}")
    claims = "turn" in document or bool(document.get("calls") or document.get("events"))
    is_otherwise = cell.command in ("approve", "deny", "approve --all") and _is_otherwise(server, cell.command)
    misasked = cell.blur not in HIDING and _misasked(server, folder)
    return Outcome(server.ours[what], others, claims and server.taken[what] == 0, code, is_otherwise, misasked)


def _is_otherwise(server: Server, command: str) -> bool:
    """Return whether the newest answer to the call says the opposite of a command."""
    told = [event for _, event in server.sessions["sess_1"].told if event.get("tool_use_id") == "evt_1"]
    results = [event.get("result") or event.get("decision") for event in told if event["type"].startswith("user.")]
    opposite = ("allow", "approve") if command == "deny" else ("deny",)
    return bool(results) and results[-1] in opposite


def _misasked(server: Server, folder: Path) -> bool:
    """Return whether `pending` lists other calls than wait, or `wait` ends with 11 where none does."""
    session = server.sessions["sess_1"]
    server.goes_wrong, server.clock.time = [], server.clock.time + 1
    listed, wait = _ran(server, folder, "pending", "sess_1"), _ran(server, folder, "wait", "sess_1", "--timeout", "30s")
    waits = {one["call"] for one in json.loads(listed[1] or "[]")}
    return waits != set(session.waiting) or (wait[0] == 11) is not bool(session.waiting and not _is_behind(session))


def _is_behind(session: Session) -> bool:
    """Return whether only a sub-agent waits, while the main thread works: that ends no wait."""
    statuses = [event for _, event in session.told if event["type"].startswith("session.status_")]
    return bool(statuses[-1]["type"] == "session.status_running")


def _ran(server: Server, folder: Path, *words: str) -> tuple[int, str]:
    """Run a command about a session; return its exit code and standard output."""
    out = io.BytesIO()
    env = {"QODER_PAT": "pt-planted-0123456789abcdef", "QODER_STATE_DIR": str(folder)}
    app = App(env=env, out=Screen(out), err=Screen(None), clock=server.clock, transport=server)
    return main(["session", *words, "--json"], app), out.getvalue().decode()


def _blur(server: Server, blur: str, *, is_call: bool) -> None:
    """Let something blur what can be read."""
    if blur.startswith("lag="):
        server.lag = float(blur[4:])
    server.reads_fail = {"reads fail twice": 2, "reads fail": 1000}.get(blur, 0)
    server.lenient, server.older_form = blur == "lenient", blur == "older form"
    server.ignores = ("types[]",) if blur == "no types" else ()
    if blur == "another order":
        server.told = lambda events: events[::-1]
    if blur == "every event twice":
        server.told = lambda events: [each for event in events for each in (event, event)]
    if blur == "changed" and is_call:
        server.told = _changing()
    if blur.startswith("answered before") and is_call:
        server.asks_again = blur.endswith("named again")
        server.answered_by_a_colleague("evt_1")
        server.ours.clear()
        server.clock.time += 1
    server.asks_again += blur == "named again"
    server.records = "opposite" if blur == "recorded otherwise" else None
    server.echoes = "opposite" if blur == "echoed otherwise" else None
    if blur == "the turn before the message first" and not is_call:
        early = {"type": "session.status_idle", "stop_reason": {"type": "cancelled"}}
        server.before_post.append(lambda: server._tell(server.sessions["sess_1"], server.clock.time + 0.005, early))
    if blur.startswith("a colleague") and is_call:
        result = "deny" if blur.endswith("denies") else "allow"
        server.before_post.append(lambda: server.answered_by_a_colleague("evt_1", result))


def _changing() -> Any:
    """Return what makes the call another one from the second reading on."""
    reads = itertools.count()

    def told(events: list[Event]) -> list[Event]:
        other = {"input": {"command": "rm -rf /"}} if next(reads) else {}
        return [{**event, **other} if event["id"] == "evt_1" else event for event in events]

    return told


def play_all(some: Iterator[Cell]) -> dict[Cell, Outcome]:
    """Run cells, each with a store of its own."""
    outcomes = {}
    for cell in some:
        with tempfile.TemporaryDirectory() as folder:
            outcomes[cell] = play(cell, Path(folder))
    return outcomes


def table(outcomes: dict[Cell, Outcome]) -> str:
    """Return the table: a line a fault and what blurs it, its exit codes, and the zeros at the end."""
    lines = [f"{'fault':<14} {'blurred by':<34} {'said':<12} {'exit codes':<32} {' '.join(NEVER)}"]
    order = sorted(outcomes, key=lambda cell: (FAULTS.index(cell.fault), BLURS.index(cell.blur)))
    for (fault, blur), group in itertools.groupby(order, key=lambda cell: (cell.fault, cell.blur)):
        found = [outcomes[cell] for cell in group]
        said, codes = Counter(one.said for one in found), Counter(one.exit_code for one in found)
        counts = [sum(getattr(one, name) for one in found) for name in NEVER]
        numbers = " ".join(f"{count:>{len(name)}}" for name, count in zip(NEVER, counts, strict=True))
        lines.append(f"{fault or '-':<14} {blur or '-':<34} {_counted(said):<12} {_counted(codes):<32} {numbers}")
    every = list(outcomes.values())
    zeros = ", ".join(f"{name}: {sum(getattr(one, name) for one in every)}" for name in NEVER)
    return "\n".join([*lines, "", f"{len(every)} cells. {zeros}"])


NEVER = ("twice", "wrong", "lost", "lied", "mistold", "misasked")


def _counted(counter: Counter[Any]) -> str:
    return " ".join(f"{int(value)}x{count}" for value, count in sorted(counter.items()))


if __name__ == "__main__":
    print(table(play_all(cells())))
