"""Cells, played several at a time, and what became of them: the same for every tool.

A tool is a module with `PROMISES` (what must never be), `cells(options)` and `play(cell, folder)`. It may have
`arguments(parser)` for options of its own, and `simpler(cell)`, with which the examples of what broke are made smaller.
"""

import os
import random
import sys
import tempfile
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

Play = Callable[[Any, Path], "Played"]
EVERY = 10.0  # seconds between two lines of progress


class Broken(NamedTuple):
    """A promise that was broken, and how. `is_borne`: by a known limit."""

    promise: str
    words: str = ""
    is_borne: bool = False


@dataclass
class Played:
    """What became of a cell: its exit codes, the promises that it broke, and what it left open, by cause."""

    codes: list[Any] = field(default_factory=list)  # or words for how it ended
    broken: list[Broken] = field(default_factory=list)
    open: list[str] = field(default_factory=list)  # could have been told, and was not
    told: str = ""  # more about it, printed at once

    def breaks(self, words: str = "", *, is_borne: bool = False, **promises: object) -> "Played":
        """Note those promises as broken whose value is true."""
        self.broken += [Broken(promise, words, is_borne) for promise, so in promises.items() if so]
        return self

    @property
    def wrong(self) -> dict[str, str]:
        """The promises that were broken, with the words about each."""
        return {one.promise: one.words for one in reversed(self.broken) if not one.is_borne}


class Report:
    """How often each promise was broken, with the simplest cells that do it, and what was left open, by cause."""

    def __init__(self, promises: Iterable[str] = ()) -> None:
        self.found: dict[str, list[tuple[Any, str]]] = {promise: [] for promise in promises}
        self.borne, self.open, self.codes = Counter[str](), Counter[str](), Counter[str]()
        self.cells = 0

    @property
    def broken(self) -> int:
        return sum(map(len, self.found.values()))

    def add(self, cell: Any, played: Played) -> None:
        self.cells += 1
        self.codes.update(str(int(code)) if isinstance(code, int) else str(code) for code in played.codes)
        self.open.update(played.open)
        self.borne.update({one.promise for one in played.broken if one.is_borne})
        for promise in (one.promise for one in played.broken):
            self.found.setdefault(promise, [])
        for promise, words in played.wrong.items():
            self.found[promise].append((cell, words))

    def text(self, examples: int, smaller: Callable[[Any, str], Any] = lambda cell, promise: cell) -> str:
        codes = " ".join(f"{code}x{count}" for code, count in sorted(self.codes.items()))
        lines = [f"{self.cells} cells, ended in: {codes}"]
        for promise, found in sorted(self.found.items(), key=lambda item: -len(item[1])):
            borne = f" (and {self.borne[promise]} known limits)" if self.borne[promise] else ""
            lines.append(f"{len(found):>6} {promise}{borne}")
            for cell, words in sorted(found, key=lambda one: len(str(one[0])))[:examples]:
                lines.append(f"         {smaller(cell, promise)}" + f": {words}" * bool(words))
        if self.open:
            lines.append(f"left open, though it could have been told: {self.open.total()}, by cause:")
            lines += [f"{count:>6} {cause}" for cause, count in self.open.most_common(8 * examples)]
        return "\n".join(lines)


def alone(play: Play, cell: Any) -> Played:
    """Play a cell in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return play(cell, Path(folder))


def wrong(play: Play, cells: Iterable[Any]) -> list[str]:
    """Play cells one after the other, and return in words what each broke."""
    return [f"{cell}: {words}" for cell in cells for words in alone(play, cell).wrong.items()]


def chosen(every: Sequence[Any], options: Namespace) -> list[Any]:
    """Return the cells that have all the words in their names, or a sample of them."""
    these = [cell for cell in every if all(word in str(cell) for word in options.words)]
    return random.Random(options.seed).sample(these, min(options.sample or len(these), len(these)))


def played(play: Play, cells: Sequence[Any], workers: int) -> Iterator[Played]:
    """Play cells, several at a time, and yield what became of each, in order."""
    work = partial(alone, play)
    if workers == 1:
        yield from map(work, cells)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(work, cells, chunksize=max(min(len(cells) // workers // 8, 16), 1))


def play_tool(tool: Any, options: Namespace) -> int:
    """Play the cells of a tool, print what became of them, and return 1 if a promise was broken."""
    if os.path.isdir("/dev/shm"):
        tempfile.tempdir = "/dev/shm"  # each store waits for the disk
    report, began = Report(tool.PROMISES), time.monotonic()
    said = began
    cells = chosen(list(tool.cells(options)), options)
    for cell, one in zip(cells, played(tool.play, cells, options.workers), strict=True):
        report.add(cell, one)
        if one.told:
            print(f"{cell}: {one.told}", flush=True)
        if time.monotonic() - said > EVERY:
            said = time.monotonic()
            took = f"{said - began:.0f} s"
            print(f"{report.cells} of {len(cells)} cells, {report.broken} broken, {took}", file=sys.stderr, flush=True)
    print(report.text(options.examples, partial(smallest, tool)))
    print(f"took {time.monotonic() - began:.0f} s")
    return 1 if report.broken else 0


def smallest(tool: Any, cell: Any, promise: str) -> Any:
    """Return the simplest cell that still breaks a promise, one step at a time."""
    for simpler in islice(getattr(tool, "simpler", lambda cell: ())(cell), 100):
        if promise in alone(tool.play, simpler).wrong:
            return smallest(tool, simpler, promise)
    return cell
