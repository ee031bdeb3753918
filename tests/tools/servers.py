"""Plays commands against every server of `tests.support.hostile`, judged by the server's own truth.

A cell is a server and a flow: what somebody types, one line after the other. After each line it is judged, and at the
very end `run get last`, when all that is late has come. The first command may be killed at one of its requests. With
--random N so many servers that are odd in up to six ways at once.
"""

import math
import random
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

from qoder_cli.runs.lost import ADOPT_WITHIN
from tests.support.hostile import (
    ANSWERS,
    DEPLOYMENT,
    KEPT,
    REFUSALS,
    SCRIPTS,
    WAYS,
    Hostile,
    Run,
    Server,
    SplitClock,
)
from tests.support.typed import Killed, Mortal, Said, Words, typed_in
from tests.tools.playing import Played

RUN: Words = ("deploy", "run", DEPLOYMENT, "--json")
WAIT: Words = (*RUN, "--wait", "--timeout", "3m")
KEY: Words = (*WAIT, "--idempotency-key", "nightly")
LAST: Words = ("run", "wait", "last", "--json", "--timeout", "3m")
# What is typed: seconds to wait before it, and the words.
FLOWS: dict[str, tuple[tuple[float, Words], ...]] = {
    "wait": ((0, WAIT), (20, LAST)),
    "plain": ((0, RUN), (15, LAST)),
    "resend": ((0, (*WAIT, "--on-lost", "resend")),),
    "fail": ((0, (*WAIT, "--on-lost", "fail")), (20, LAST)),
    "key": ((0, KEY), (5, KEY), (300, KEY)),
    "cancel": ((0, RUN), (1, ("run", "cancel", "last", "--yes", "--json"))),
    "two": ((0, RUN), (1, RUN)),
}
NEXT: Words = ()  # what the error before says is next, if that starts or waits
# All that can be said of a lost answer, under a key and without, repeated or settled sooner or later.
LOST_FLOWS: dict[str, tuple[tuple[float, Words], ...]] = {
    f"{on_lost}{', key' if key else ''}, {name}": tuple(
        (pause, (*(KEY if key else WAIT), "--on-lost", on_lost) if words is WAIT else words) for pause, words in lines
    )
    for on_lost in ("adopt", "resend", "fail")
    for key, name, lines in (
        (False, "last", ((0, WAIT), (20, LAST), (660, LAST))),
        (False, "last at 11 min", ((0, WAIT), (660, LAST))),
        (False, "next", ((0, WAIT), (5, NEXT), (200, NEXT), (20, LAST))),
        (False, "next at 80 s", ((0, WAIT), (80, NEXT), (20, LAST))),
        (False, "next at 130 s", ((0, WAIT), (130, NEXT), (20, LAST))),
        (False, "next at 11 min", ((0, WAIT), (660, NEXT), (20, LAST))),
        (True, "again", ((0, WAIT), (5, WAIT), (300, WAIT), (20, LAST))),
        (True, "again at 80 s", ((0, WAIT), (80, WAIT), (20, LAST))),
        (True, "again at 130 s", ((0, WAIT), (130, WAIT), (20, LAST))),
        (True, "again at 11 min", ((0, WAIT), (660, WAIT), (20, LAST))),
        (False, "two", ((0, WAIT), (1, WAIT), (20, LAST))),
    )
}
AT_LAST: Words = ("run", "get", "last", "--json")
LATER = 700.0  # seconds after which all that is late has come, and `last` is certain

PROMISES = (
    "twice",  # a run started twice
    "lost",  # a run started, and neither named nor called unknown
    "success",  # claimed wrongly
    "failure",  # claimed wrongly
    "nothing",  # "nothing was started" claimed wrongly
    "adopted",  # a colleague's run
    "cancelled",  # what must not be
    "unmarked",  # adopted, and not said so
    "crash",
)
_NOTHING = (2, 4, 5, 6, 7)  # exit codes that say that nothing was started
_OPEN = (9, 10, 11, 124)  # those that say that it goes on, or is not known
LOOK, LONG_LOOK = 7.5, 29.0  # seconds for which the list is looked at, at least


class Cell(NamedTuple):
    server: Server
    flow: str
    dies_after: int | None = None  # so many requests the first command is killed at the next; None for never
    is_heard: bool = False  # which the server hears all the same

    def __str__(self) -> str:
        heard = ", which is heard" * self.is_heard
        killed = "" if self.dies_after is None else f", killed after {self.dies_after} requests at the next{heard}"
        return f"[{self.flow}{killed}] {self.server}"


def play(cell: Cell, folder: Path) -> Played:
    """Run one cell and return what became of it. `folder` is for its state. Borne are the undetectable cases."""
    server, played = cell.server, Played()
    if cell.flow == "cancel" and server.script == "completes":
        server = replace(server, script="goes on")  # there is something to cancel
    clock = SplitClock(server.step, phase=server.phase)
    hostile = Hostile(server, now=lambda: clock.time, let_pass=clock.let_pass)
    said = Said(0, "", "")
    for number, (pause, words) in enumerate((*(FLOWS | LOST_FLOWS)[cell.flow], (LATER, AT_LAST))):
        clock.let_pass(pause)
        words = words or said.next
        if not words:
            continue
        hostile.command = number
        hostile.began[number] = clock.time
        asked = len(hostile.requests)
        try:
            wire = hostile if number else Mortal(hostile, cell.dies_after, is_heard=cell.is_heard)
            said = typed_in(folder, clock, wire, *words)
        except Killed:
            said = Said(0, "", "")
            played.codes.append("killed")
            unseen = not any(hostile.is_visible(run, clock.time) for run in hostile.ours())
            hostile.named |= {run.id for run in hostile.runs if _may_adopt(hostile, run, unseen)}  # as it may have
            continue
        played.codes.append(said.code)
        judge(played, hostile, said, number, clock.time, hostile.requests[asked:], cell.flow)
        if number == 0 and (cause := unsettled(hostile, said, clock.time)):
            played.open.append(cause)
    return played


def judge(
    played: Played,
    hostile: Hostile,
    said: Said,
    number: int,
    now: float,
    requests: Sequence[tuple[float, str, str]],
    flow: str,
) -> None:
    """Note the promises that a command broke."""
    played.breaks(said.err[-300:], crash="Traceback" in said.err or said.code == 70)
    ours = hostile.ours(number) if said.starts else []
    is_one_key = not flow.endswith("two")  # whatever its commands start is one start, repeated
    counted = hostile.ours() if is_one_key and said.starts else ours
    if said.starts and len(counted) > 1:
        played.breaks(f"{len(counted)} runs", is_borne=_borne_twice(hostile, counted), twice=True)
    named = hostile.find(said.run) if said.run else None
    _judge_ending(played, said, named, now)
    looked = max((at for at, method, path in requests if method == "GET" and path.endswith("/runs")), default=now)
    unseen = all(not hostile.is_visible(run, looked) for run in counted or hostile.ours())
    if said.starts:
        hostile.ended = now
    if said.starts and said.code in _NOTHING and _borne_nothing(hostile, counted):
        hostile.settled.add(number)
    says_none = said.error.get("run_state") == "none"
    words = f"exit {said.code} names {said.run}: {said.error.get('message', '')[:150]}"
    if said.starts and counted and (said.code in _NOTHING or says_none):
        played.breaks(words, is_borne=_borne_nothing(hostile, counted), nothing=True)
    elif said.starts and counted and said.code not in _OPEN:
        is_lost = said.run not in [run.id for run in counted] + [*hostile.named]
        is_borne = unseen or _shows_only_a_strangers(hostile) or _is_of_a_chosen_key(hostile, flow)
        played.breaks(words, is_borne=is_borne, lost=is_lost)
    played.breaks(
        words + ", which is none", lost=said.run and named is None and hostile.server.answer != "other deployment"
    )
    is_denied = not said.run and (said.code == 5 or (said.code == 9 and says_none))
    if not said.starts and is_denied and hostile.ours() and is_one_key:
        # What was said, when it might be, is not asked again; until then what is listed forbids to say so.
        is_borne = _borne_nothing(hostile, hostile.ours()) and (unseen or bool(hostile.settled))
        played.breaks(words, is_borne=is_borne, nothing=True)
    if named is not None:
        _judge_named(played, hostile, said, named, number, is_one_key=is_one_key, unseen=unseen, flow=flow)
    for run in hostile.runs:
        theirs = run.origin != "ours" or not run.heard
        played.breaks(f"{run.origin}, heard: {run.heard}", cancelled=run.cancelled is not None and theirs)


def _is_of_a_chosen_key(hostile: Hostile, flow: str) -> bool:
    """Whether another's run is believed: who chose the key may have started it elsewhere, or have a schedule do it."""
    return hostile.server.answer in KEPT and (flow == "key" or ", key" in flow)


def _judge_named(
    played: Played, hostile: Hostile, said: Said, named: Run, number: int, *, is_one_key: bool, unseen: bool, flow: str
) -> None:
    """Note what is wrong about the run that a command names."""
    anothers = said.starts and not is_one_key and named.origin == "ours" and named.command != number
    played.breaks(f"another command's, exit {said.code}", adopted=anothers)
    if _is_of_a_chosen_key(hostile, flow):
        hostile.named.add(named.id)
    if named.origin != "ours" and named.id not in hostile.named:
        words = f"{named.origin} {named.since - hostile.posts[0].at:+.1f} s"
        played.breaks(words, adopted=not _may_adopt(hostile, named, unseen))
        hostile.named.add(named.id)
    by_list = not named.heard and hostile.server.answer != "other deployment"
    played.breaks(" ".join(said.words[:3]), unmarked=by_list and said.document and not said.document.get("adopted"))


def _judge_ending(played: Played, said: Said, named: Run | None, now: float) -> None:
    """Note what was claimed wrongly of how a run ended."""
    if named is None:
        return
    truth, status = named.truth(now), said.document.get("status")
    awaits = "--wait" in said.words or said.words[:2] == ("run", "wait")
    played.breaks(
        f"exit {said.code}, status {status}; in truth {truth}: {said.document.get('error')}",
        success=(status == "completed" or (awaits and said.code == 0)) and truth != "completed",
        failure=(status == "failed" or (awaits and said.code == 1)) and truth != "failed",
    )


def _borne_nothing(hostile: Hostile, runs: list[Run]) -> bool:
    """Whether it may be said that these were not started: none was to be seen by then, for long."""
    patience = LOOK if hostile.server.answer in REFUSALS else LONG_LOOK
    last = max((post.at for post in hostile.posts), default=-math.inf)
    unseen = not any(hostile.is_visible(run, hostile.ended) for run in runs)
    return unseen and hostile.ended - last >= patience and hostile.server.down == 0


def _borne_twice(hostile: Hostile, runs: list[Run]) -> bool:
    """Whether these may have been started: none was to be seen for long when the next was asked for."""
    sent = [(post, run) for post in hostile.posts for run in runs if run.id in post.runs]
    for (earlier, run), (later, _) in pairwise(sent):
        readable = hostile.posts[0].at + hostile.server.down < later.at
        looked_for = later.at - max(earlier.at, hostile.began[later.command]) >= LONG_LOOK
        long_enough = looked_for or earlier.command in hostile.settled
        if hostile.is_visible(run, later.at) or not readable or not long_enough:
            return False
    return True


def _may_adopt(hostile: Hostile, run: Run, unseen: bool) -> bool:
    """Whether a colleague's run may be adopted: ours is not there, and it came in the documented time."""
    hidden = unseen or _shows_only_a_strangers(hostile)
    if run.origin != "stranger" or (hostile.ours() and not hidden):
        return False
    skew = hostile.server.date if isinstance(hostile.server.date, float) else 0.0
    created = math.floor(run.since)
    sent = [post.at + by for post in hostile.posts for by in (0, skew)]
    return any(math.floor(at) <= created <= at + ADOPT_WITHIN + 1 for at in sent)


def _shows_only_a_strangers(hostile: Hostile) -> bool:
    """Whether the server's Date is so far ahead that only a stranger's run looks younger than our attempt.

    The server's clock decides what is adopted: nothing tells the two runs apart. help/pages/guarantees.md says so.
    """
    date = hostile.server.date
    return isinstance(date, float) and date >= 1 and bool(hostile.server.strangers)


LIST_WAYS = ("ahead", "date", "step", "phase", "lag", "forgets", "order", "older", "newer", "created", "context",
             "paging", "down", "empty", "strangers", "foreign", "more", "acts")  # fmt: skip
SESSION_WAYS = ("telling", "events", "types", "ids", "times_of_events", "status", "missing", "session", "earlier",
                "empty", "created")  # fmt: skip


def unsettled(hostile: Hostile, said: Said, now: float) -> str | None:
    """Return why a command left open what the server could have told; None when it did not."""
    server, ours = hostile.server, hostile.ours()
    if said.code == 9 and not said.document and len(ours) == 1:
        is_there = hostile.is_visible(ours[0], hostile.posts[-1].at + 8) and server.down < 5
        if not is_there or server.strangers or server.answer == "other deployment" or "fail" in said.words:
            return None
        return "9: " + (_oddities(server, LIST_WAYS) or "nothing odd")
    named = hostile.find(said.run) if said.run else None
    if named is None or said.code not in (9, 10, 124):
        return None
    if said.code == 9 and server.moves:
        return f"9: session={server.session!r}"
    if said.code == 124 and named.script.asks and named.since + 80 < now and server.missing is None:
        return "124: asks, " + (_oddities(server, SESSION_WAYS) or "nothing odd")
    if said.code == 10 and (server.missing is None or server.missing[1] < 60):
        return "10: gave up, " + (_oddities(server, (*SESSION_WAYS, "date")) or "nothing odd")
    ended = named.truth(now - (130 if server.status == "stuck" else 70))
    if named.script.beats[100:] and server.events in ("page ignored", "stuck cursor"):
        return None  # it cannot be read to its end
    if ended in ("completed", "failed") and not (server.missing and server.missing[1] == math.inf):
        return f"{said.code}: ended, " + (_oddities(server, (*SESSION_WAYS, "script")) or "nothing odd")
    return None


def _oddities(server: Server, ways: Sequence[str]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in server.oddities.items() if name in ways)


# The cells

# What becomes of a trigger, for the ways to tell of it.
LOSSES: tuple[tuple[str, float | None], ...] = (
    ("500", 0.0), ("500", None), ("503", 3.0), ("500", 30.0), ("502", 0.0), ("502", None), ("reset", 0.0),
    ("reset", None), ("reset", 3.0), ("reset", 70.0), ("hang", 0.0), ("garbage", 0.0), ("404 html", 0.0),
    ("404 html", None), ("403 html", 3.0), ("302", 0.0), ("302", None), ("408", 0.0), ("500 html", 0.0),
    ("certificate error", 0.0), ("204", 0.0), ("ok", 0.0),
)  # fmt: skip
COMBINED: tuple[dict[str, Any], ...] = (
    {"order": "oldest", "older": 150},
    {"order": "shuffled", "older": 150},
    {"order": "oldest", "newer": 110},
    {"order": "shuffled", "newer": 260},
    *({"paging": way, "newer": 110} for way in WAYS["paging"]),
    *({"paging": way, "order": "oldest", "older": 150} for way in WAYS["paging"]),
    {"date": 2.0, "strangers": (3.3,)},
    {"date": 10.0, "strangers": (3.3,)},
    {"date": "absent", "strangers": (3.3,)},
    {"date": "absent", "ahead": 7200.0},
    {"lag": 10.0, "strangers": (3.3,)},
    {"forgets": True, "strangers": (3.3,)},
    {"context": "null", "strangers": (3.3,)},
    {"created": "null", "strangers": (3.3,)},
    {"step": (0.02, -10.0), "strangers": (-5.0,)},
    {"step": (0.02, 10.0), "strangers": (3.3,)},
    {"times": 3, "lag": 10.0},
    {"times": 9},
)


def cells(options: Namespace) -> list[Cell]:
    """Return every cell that is fair, each once; or some that are drawn."""
    if options.random:
        chance = random.Random(options.seed)
        return [draw(chance) for _ in range(options.random)]
    return list(dict.fromkeys(cell for cell in _cells() if cell.server.is_fair))


def simpler(cell: Cell) -> Iterator[Cell]:
    """Yield the cells of which one oddity is put right."""
    for name, flow in product(cell.server.oddities, dict.fromkeys(("wait", cell.flow))):
        server = replace(cell.server, **{name: getattr(Server(), name)})
        if server.is_fair:
            yield cell._replace(server=server, flow=flow)


def _cells() -> Iterator[Cell]:
    generations, flows = WAYS["generation"], [*FLOWS, *LOST_FLOWS]
    for answer, acts in product(ANSWERS, WAYS["acts"]):
        for generation in generations:
            yield Cell(Server(generation, False, answer, acts), "wait")
            yield Cell(Server(generation, True, answer, acts), "resend")
        for flow in flows if answer in KEPT else ("cancel", "fail", "key"):
            yield Cell(Server(answer=answer, acts=acts, times=1 + len(flow) % 3 * (answer in KEPT)), flow)
    for answer, acts, flow in product(LATE, WAYS["acts"][3:], LOST_FLOWS):
        for n, keys in enumerate((False, True)):
            yield Cell(Server(generations[n], keys, answer, acts), flow)
    odd = [{name: value} for name in LIST_WAYS for value in WAYS[name][1:]]
    for n, way in enumerate([*odd, *COMBINED]):
        for m, (answer, acts) in enumerate(LOSSES, n):
            server = replace(Server(answer=answer, acts=acts, generation=generations[n % 2]), **way)
            yield Cell(server, "key")
            yield Cell(server, flows[(7 * m + n) % len(flows)])
    for script in SCRIPTS:
        yield Cell(Server("legacy", script=script), "wait")
        for name in SESSION_WAYS:
            for value in WAYS[name][1:]:
                generation = "legacy" if name == "status" else "current"
                yield Cell(replace(Server(generation, script=script), **{name: value}), "wait")
        for value in WAYS["missing"][1:]:
            yield Cell(Server("legacy", script=script, status="stuck", missing=value), "wait")
        yield Cell(Server(script=script, telling="newest first", types="ignored"), "wait")
        yield Cell(Server(script=script, events="after_id ignored", ids="absent"), "wait")
        yield Cell(Server(script=script, earlier=True, telling="newest first"), "wait")
        yield Cell(Server("legacy", script=script, earlier=True, status="stuck"), "wait")
    for n, ((answer, acts), after, is_heard) in enumerate(product(LOSSES, range(LONGEST), (False, True))):
        way = {"strangers": WAYS["strangers"][n // 2 % 8]} if n % 2 else {"lag": WAYS["lag"][n // 2 % 4]}
        for keys, flow in product((False, True), KILLED):
            server = replace(Server(generations[(n + keys) % 2], keys, answer, acts), **way)
            yield Cell(server, flow, after, is_heard)
    chance = random.Random(11)
    for _ in range(1000):
        yield draw(chance)


# What is typed where the first command is killed, and before which of its requests.
KILLED, LONGEST = ("wait", "plain", "key", "two", "adopt, key, again at 80 s", "adopt, two"), 7
# Answers to a trigger that is acted upon later.
LATE = ("reset", "hang", "503", "504", "500", "502 html")


def draw(chance: random.Random, most: int = 6) -> Cell:
    """Return a cell of which up to `most` things are odd."""
    while True:
        names = chance.sample([*WAYS], chance.randint(1, most))
        server = replace(Server(), **{name: chance.choice(WAYS[name]) for name in names})
        if server.is_fair and server.oddities:
            dies_after = chance.choice((None, None, *range(LONGEST)))
            return Cell(server, chance.choice(list(FLOWS)), dies_after, is_heard=chance.random() < 0.5)
