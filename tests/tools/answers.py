"""Plays every fault at an answer to an agent or a message to it.

A cell is one command against a server that does one thing wrong once, twice or three times, on either generation, on a
clock that nobody has to wait for, while something else may blur what can be read of it.
"""

import itertools
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import httpx

from qoder_cli.sandbox.wire import GENERATIONS, Generation
from tests.support.asking import Asking, Asks, Event, call, otherwise
from tests.support.things import each_row, ok
from tests.support.typed import Said, typed_in
from tests.support.wire import FakeClock
from tests.tools.playing import Played

PROMISES = (
    "twice",  # said twice by one command
    "wrong",  # said to another call than the one that was named
    "lost",  # said, and neither reported nor ended in exit 9
    "lied",  # success where nothing was said by anybody
    "mistold",  # an answer reported that the server shows otherwise
    "misasked",  # other calls told to wait afterwards than do
    "unsaid",  # a policy's decision noted as sent, that nobody said
)
COMMANDS = {
    "approve": ("approve", "sess_1", "evt_1", "--yes"),
    "approve --all": ("approve", "sess_1", "--all", "--yes"),
    "deny": ("deny", "sess_1", "evt_1", "--because", "no", "--yes", "--wait"),
    "answer": ("answer", "sess_1", "evt_1", "--with", "green"),
    "policy allows": ("wait", "drun_1"),
    "policy denies": ("wait", "drun_1"),
    "send": ("send", "sess_1", "-m", "hello", "--wait"),
    "send --when-idle": ("send", "sess_1", "-m", "hello", "--when-idle"),
}
POLICIES = {
    "policy allows": "work: /repo\nallow: [{run: echo 1}]",
    "policy denies": "deny: [{run: echo 1, because: no}]",
}
NOT_SENT = ("refused", "drop-before", "hang-before", "429", "400", "403", "404", "409", "500", "503", "html")
DONE = ("drop-after", "hang-after", "act-500", "act-503", "act-html", "truncated", "garbage", "list")
FAULTS = {  # as the sandbox has them
    "": "",
    **{name: name for name in NOT_SENT},
    **{"login": "html=403", "redirect": "redirect=https://elsewhere.example/"},
    **{name: name for name in DONE},
    "no-data": "",  # nor has it this one
}
BLURS = (
    *("", "lag=1", "lag=4", "lag=60", "reads fail twice", "reads fail", "lenient", "older form"),
    *("a colleague is faster", "a colleague denies", "another order", "every event twice", "no types", "changed"),
    *("answered before", "answered before, named again", "named again", "recorded otherwise", "echoed otherwise"),
    *("a sub-agent asks", "the turn before the message first"),
)
HIDING = ("lag=1", "lag=4", "lag=60", "reads fail twice", "reads fail", "changed")  # afterwards, too


class Cell(NamedTuple):
    command: str
    fault: str
    times: int
    blur: str
    generation: Generation


def cells(options: Namespace) -> Iterator[Cell]:
    for generation, command, fault in itertools.product(reversed(GENERATIONS), COMMANDS, FAULTS):
        for times in (1, 2, 3) if fault else (1,):
            yield Cell(command, fault, times, "", generation)
        for blur in BLURS[1:]:
            yield Cell(command, fault, 1, blur, generation)


def play(cell: Cell, folder: Path) -> Played:
    """Run one cell and return what became of it. `folder` is for its store."""
    at: Any = SimpleNamespace(clock=FakeClock())
    server = Asking(at, cell.generation)
    if cell.fault == "no-data":
        server.after = [lambda done: httpx.Response(202, json={"ok": True})] * cell.times
    elif cell.fault:
        server.faults.add(f"send:{FAULTS[cell.fault]}*{cell.times}")
    sends = cell.command.startswith("send")
    kind = "agent.custom_tool_use" if cell.command == "answer" else "agent.tool_use"
    calls = () if sends else (call(1, kind=kind), *(() if "--all" in cell.command else (call(2),)))
    if calls and cell.blur == "a sub-agent asks":
        server.sub_agent_asks("sess_1", *({**each, "session_thread_id": "sthr_2"} for each in calls), calls=3)
    else:
        server.asks("sess_1", *calls)
    server.asks("sess_2", call(3))
    _blur(server, cell.blur, is_call=not sends)
    if cell.command in POLICIES:
        return _play_policy(cell, server, folder)
    said = _typed(server, folder, *COMMANDS[cell.command])
    what = "hello" if sends else "evt_1"
    claims = "turn" in said.document or bool(said.document.get("calls") or said.document.get("events"))
    decides = cell.command in ("approve", "deny", "approve --all")
    return Played([said.code]).breaks(
        f"exit {said.code}, taken {dict(server.taken)}",
        twice=server.ours[what] > 1,
        wrong=any(count for taken, count in server.ours.items() if taken != what),
        lost=server.ours[what] and said.code not in (0, 9, 10, 11),  # with --wait, 10 and 11 come after it
        lied=said.code == 0 and claims and server.taken[what] == 0,
        mistold=said.code in (0, 11) and decides and _is_otherwise(server, cell.command),
        misasked=cell.blur not in HIDING and _misasked(server, folder),
    )


def _play_policy(cell: Cell, server: Asking, folder: Path) -> Played:
    """Wait by a policy that decides about the first call and not about the second; then once more, as cron would."""
    policy = folder / "policy.yaml"
    policy.write_text(POLICIES[cell.command])
    policy.chmod(0o600)
    words = ("run", *COMMANDS[cell.command], "--on-ask", f"policy={policy}", "--timeout", "10m", "--json")
    is_over = cell.blur == "a sub-agent asks"  # the run had ended before, so that nobody waits for an answer
    first, again = (typed_in(folder, server.clock, server, *words) for _ in range(2))
    log = typed_in(folder, server.clock, server, "policy", "log", "--all", "--json").json
    is_sent = any(one["state"] == "sent" for one in log)
    return Played([first.code, again.code]).breaks(
        f"exit {first.code} and {again.code}, taken {dict(server.taken)}, noted {[one['state'] for one in log]}",
        twice=server.ours["evt_1"] > 1,
        wrong=any(count for taken, count in server.ours.items() if taken != "evt_1"),
        lost=server.ours["evt_1"] and not {first.code, again.code} <= {0, 9, 10, 11, 124},
        lied=0 in (first.code, again.code) and not (server.taken["evt_1"] or is_over),
        mistold=is_sent and _is_otherwise(server, "deny" if "denies" in cell.command else "approve"),
        misasked=cell.blur not in HIDING and _misasked(server, folder),
        unsaid=is_sent and not server.taken["evt_1"],
    )


def _is_otherwise(server: Asking, command: str) -> bool:
    """Return whether the newest answer to the call says the opposite of a command."""
    beats = [moment.beat for moment in server.sessions["sess_1"].moments]
    answers = [beat.fields for beat in beats if beat.type == "user.tool_confirmation"]
    results = [one.get("result") or one.get("decision") for one in answers if one["tool_use_id"] == "evt_1"]
    opposite = ("allow", "approve") if command == "deny" else ("deny",)
    return bool(results) and results[-1] in opposite


def _misasked(server: Asking, folder: Path) -> bool:
    """Return whether `pending` lists other calls than wait, or `wait` ends with 11 where none does."""
    session = server.sessions["sess_1"]
    server.faults.on_order.clear()
    server.after.clear()
    server.clock.time += 1
    waits = {one["call"] for one in _typed(server, folder, "pending", "sess_1").json or []}
    ended = _typed(server, folder, "wait", "sess_1", "--timeout", "30s").code
    waiting = session.waiting(server.clock.time)
    is_known = not waiting or not _is_behind(session)
    return waits != waiting.keys() or (is_known and (ended == 11) is not bool(waiting))


def _is_behind(session: Asks) -> bool:
    """Return whether only a sub-agent waits, while the main thread works: that is noticed within a minute or two."""
    statuses = [moment.beat.type for moment in session.moments if moment.beat.type.startswith("session.status_")]
    return statuses[-1] == "session.status_running"


def _typed(server: Asking, folder: Path, *words: str) -> Said:
    return typed_in(folder, server.clock, server, "session", *words, "--json")


def _blur(server: Asking, blur: str, *, is_call: bool) -> None:
    if blur.startswith("lag="):
        server.lag = float(blur[4:])
    if blur.startswith("reads fail"):
        fails = f"events:503*{2 if blur.endswith('twice') else 1000}"
        server.meanwhile.append(lambda: server.faults.add(fails))
    server.lenient, server.takes = blur == "lenient", "legacy" if blur == "older form" else "current"
    server.ignores = ("types[]",) if blur == "no types" else ()
    if blur == "another order":
        server.tells(lambda events: events[::-1])
    if blur == "every event twice":
        server.tells(lambda events: [each for event in events for each in (event, event)])
    if blur == "changed" and is_call:
        server.tells(_changing())
    if blur.startswith("answered before") and is_call:
        server.asks_again = blur.endswith("named again")
        server.colleague("evt_1")
        server.clock.time += 1
    server.asks_again += blur == "named again"
    server.records = "opposite" if blur == "recorded otherwise" else None
    if blur == "echoed otherwise":
        server.bends("POST", _echoing)
    if blur == "the turn before the message first" and not is_call:
        early = {"type": "session.status_idle", "stop_reason": {"type": "cancelled"}}
        server.meanwhile.append(lambda: server.tell(server.sessions["sess_1"], server.clock.time, early))
    if blur.startswith("a colleague") and is_call:
        result = "deny" if blur.endswith("denies") else "allow"
        server.meanwhile.append(lambda: server.colleague("evt_1", result))


def _echoing(request: httpx.Request, answer: Callable[[], httpx.Response]) -> httpx.Response:
    """Return an answer whose events say the opposite of what was taken, if it has events."""
    response = answer()
    response.read()
    with suppress(ValueError, TypeError, KeyError):
        return ok(each_row(lambda row: otherwise(row, "opposite"))(response.json()))
    return response


def _changing() -> Any:
    """Return what makes the call another one from the second reading on."""
    reads = itertools.count()

    def told(events: list[Event]) -> list[Event]:
        other = {"input": {"command": "rm -rf /"}} if next(reads) else {}
        return [{**event, **other} if event["id"] == "evt_1" else event for event in events]

    return told
