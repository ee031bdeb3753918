"""Changes the program, and tells which changes no test notices.

So many as --random says (100) are made by the syntax tree in the rooms of ROOMS: conditions negated, comparisons
swapped, statements left out, numbers and truths changed. Each meets the tests that call what was changed, the most
special first, until one fails. Which tests call what is charted once (minutes) and kept in `.mutations/`, by what a
test file says. With --seconds 3 a draw tells sooner where tests are thin: some of what survives then is noticed by a
later test.
"""

import ast
import json
import os
import random
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from tests.tools.mutants import hear, tell
from tests.tools.playing import Played

ROOMS = ("base", "history", "http", "nouns", "runs", "sessions", "stack")
PROMISES = ("survived",)
ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "qoder_cli"
CHARTS = ROOT / ".mutations"
MOST = 60.0  # seconds of the processor that the tests of one mutant may take, but for those that start processes
MOST_STARTED = 40.0  # seconds that the tests of one mutant may take that start processes
LONGEST_STARTED = 5.0  # seconds that one of those may take
_SWAPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip


class Mutation(NamedTuple):
    """A change: in which file, of which function or constant, how; what the file says then; how long it is played."""

    file: str
    name: str
    change: str
    source: str
    seconds: float | None = None  # None for as long as it may take, with tests that start processes

    def __str__(self) -> str:
        return f"{self.file} {self.name}: {self.change}"


# What is changed: functions, and constants of modules and classes


@cache
def tree(file: str) -> ast.Module:
    return ast.parse((PACKAGE / file).read_text("utf-8"))


def named(file: str) -> Iterator[tuple[str, ast.stmt]]:
    """Yield the functions, methods and constants of a file, by their names."""
    classes = [one for one in tree(file).body if isinstance(one, ast.ClassDef)]
    for prefix, body in [("", tree(file).body), *((f"{one.name}.", one.body) for one in classes)]:
        for one in body:
            if isinstance(one, ast.FunctionDef):
                yield prefix + one.name, one
            elif isinstance(one, ast.Assign | ast.AnnAssign) and one.value:
                yield prefix + ast.unparse(one.targets[0] if isinstance(one, ast.Assign) else one.target), one


def within(one: ast.stmt) -> Iterator[ast.AST]:
    """Yield what is within: of a function its body, of a constant its value; no types, defaults or decorators."""
    waiting: list[ast.AST] = [*reversed(one.body)] if isinstance(one, ast.FunctionDef) else [one.value]  # type: ignore[attr-defined]
    while waiting:
        node = waiting.pop()
        yield node
        types = [getattr(node, name, None) for name in ("annotation", "returns")]
        if isinstance(node, ast.FunctionDef):
            types += [node.args, *node.decorator_list]
        waiting += [each for each in reversed([*ast.iter_child_nodes(node)]) if each not in types]


def changed(file: str, old: ast.AST, new: ast.AST | None) -> str:
    """Return what a file says with something in the place of something else, or without it."""
    for parent in ast.walk(tree(file)):
        for name, value in ast.iter_fields(parent):
            is_list = isinstance(value, list) and any(each is old for each in value)
            if value is not old and not is_list:
                continue
            put: Any = new
            if is_list:
                put = [new if each is old else each for each in value if new is not None or each is not old]
            if isinstance(parent, ast.BoolOp) and len(put) == 1:
                return changed(file, parent, put[0])
            is_body = name in ("body", "orelse", "finalbody")
            setattr(parent, name, [ast.Pass()] if is_body and put == [] else put)
            try:
                return ast.unparse(tree(file))
            finally:
                setattr(parent, name, value)
    raise AssertionError(f"{ast.unparse(old)} is not in {file}")


def variants(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST | None]]:
    """Yield what may be changed about a node: what, and what comes in its place; None for nothing."""
    match node:
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            yield test, ast.UnaryOp(ast.Not(), test)
        case ast.Compare(left=left, ops=[op], comparators=right):
            yield node, ast.Compare(left, [_SWAPPED[type(op)]()], right)
        case ast.BoolOp(op=op, values=values):
            yield node, ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            yield from ((value, None) for value in values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield node, operand
        case ast.Constant(value=bool(value)):
            yield node, ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield node, ast.Constant(value * 3 + 1)
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) not in ("None", "False"):
            yield node, ast.Return(ast.Constant(None))
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise() | ast.Continue() | ast.Break():
            yield node, ast.Pass()
        case ast.ExceptHandler(type=ast.expr() as caught):
            yield caught, ast.Tuple([], ast.Load())
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
            yield node, ast.BinOp(left, ast.Sub() if isinstance(op, ast.Add) else ast.Add(), right)
        case ast.comprehension(ifs=ifs):
            yield from ((condition, None) for condition in ifs)


def by_chance(count: int, seed: int, words: Iterable[str] = ()) -> list[Mutation]:
    """Return so many changes made by the syntax tree, where the file and the function have all these in their names."""
    files = [str(path.relative_to(PACKAGE)) for room in ROOMS for path in sorted((PACKAGE / room).rglob("*.py"))]
    found = [(file, name, one) for file in files for name, one in named(file)]
    chosen = [place for place in found if all(word in f"{place[0]} {place[1]}:" for word in words)]
    places = [(file, name, *each) for file, name, one in chosen for node in within(one) for each in variants(node)]
    made: list[Mutation] = []
    for file, name, old, new in random.Random(seed).sample(places, len(places)):
        if len(made) == count:
            break
        source = changed(file, old, new)
        try:
            compile(source, file, "exec")
        except SyntaxError:  # such as a statement in the place of what is within a string
            continue
        said = f"{ast.unparse(old)[:70]}  =>  {ast.unparse(new)[:70] if new else 'nothing'}"
        made.append(Mutation(file, name, said, source))
    return made


# Playing them


class Nursery:
    """A process that has collected the tests, and forks."""

    def __init__(self, *tests: str) -> None:
        (theirs, self._asks), (self._hears, their_answers) = os.pipe(), os.pipe()
        env = {**os.environ, "QODER_MUTANTS": f"{theirs},{their_answers}"}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.tools.mutants", *(tests or ["tests"])]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=env, pass_fds=[theirs, their_answers], stdout=subprocess.DEVNULL
        )
        os.close(theirs)
        os.close(their_answers)
        # How many cases each has, and whether it starts processes
        self.tests: dict[str, tuple[int, bool]] = hear(self._hears)

    def ask(self, names: Iterable[str], mutant: tuple[str, ...] | None, most: float = MOST) -> Any:
        """Return what becomes of a mutant in these tests, or the chart of them."""
        tell(self._asks, ([*names], mutant, most))
        return hear(self._hears)

    def end(self) -> None:
        tell(self._asks, None)
        self._process.wait()


@cache
def _nursery(pid: int) -> Nursery:
    return Nursery()


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, metavar="N", help="of tests for each change; no processes")


def cells(options: Namespace) -> list[Mutation]:
    """Return the changes; the tests are charted where that was not done."""
    chart(options.workers)
    drawn = by_chance(options.random or 100, options.seed, options.words)
    return [each._replace(seconds=options.seconds) for each in drawn]


class Chart(NamedTuple):
    """Of a test: the seconds that its cases take, whether it starts processes, and which functions it calls."""

    took: float
    starts: bool
    called: frozenset[str]


def _chart_of(path: Path) -> Path:
    """Return where the chart of a test file is kept, as it is now."""
    return CHARTS / f"called-{sha256(path.read_bytes()).hexdigest()[:32]}.json"


def chart(workers: int) -> None:
    """Write down which functions each test calls, of those files that have changed since."""
    CHARTS.mkdir(exist_ok=True)
    new = [path for path in sorted(ROOT.glob("tests/**/test_*.py")) if not _chart_of(path).exists()]
    nurseries = SimpleQueue[Nursery]()
    for _ in range(min(workers, len(new))):
        nurseries.put(Nursery())

    def chart_one(path: Path) -> None:
        nursery, beginning = nurseries.get(), f"{path.relative_to(ROOT)}::"
        names = [name for name in nursery.tests if name.startswith(beginning)]
        told = nursery.ask(names, None) if names else {}
        if not isinstance(told, dict):  # one of them ends the process, or hangs
            each = [nursery.ask([name], None) for name in names]
            told = {name: about for one in each if isinstance(one, dict) for name, about in one.items()}
        kept = {
            name: [took * nursery.tests[name][0], nursery.tests[name][1], sorted(map(":".join, called))]
            for name, (took, is_bad, called) in told.items()
            if not is_bad
        }
        _chart_of(path).write_text(json.dumps(kept))
        nurseries.put(nursery)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(chart_one, new))
    while not nurseries.empty():
        nurseries.get().end()


@cache
def _charted() -> dict[str, Chart]:
    charts = [json.loads(_chart_of(path).read_text()) for path in ROOT.glob("tests/**/test_*.py")]
    return {
        name: Chart(took, starts, frozenset(called)) for one in charts for name, (took, starts, called) in one.items()
    }


@cache
def users_of(constant: str) -> frozenset[str]:
    """Return the functions of the program that name a constant, as a chart has them."""
    files = [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")]
    functions = [(file, name, one) for file in files for name, one in named(file) if isinstance(one, ast.FunctionDef)]
    return frozenset(
        f"{file}:{name}"
        for file, name, one in functions
        if any(constant in (getattr(node, "id", None), getattr(node, "attr", None)) for node in ast.walk(one))
    )


def tests_of(mutation: Mutation) -> list[str]:
    """Return the tests that call the function, or what names the constant, or any of the file.

    The most special come first, and those last that start processes.
    """
    tests, of_file = _charted(), f"{mutation.file}:"
    every = frozenset[str]().union(*(one.called for one in tests.values()))
    constant = mutation.name.rpartition(".")[2]
    users = {one for one in users_of(constant) if constant[0] != "_" or one.startswith(of_file)}
    meant = every & {of_file + mutation.name} or every & users or {one for one in every if one.startswith(of_file)}
    meet = [name for name, one in tests.items() if one.called & meant]
    meet.sort(key=lambda name: (tests[name].took > 1.0, len(tests[name].called)))
    starting = [name for name in meet if tests[name].starts and tests[name].took <= LONGEST_STARTED]
    computing = [name for name in meet if not tests[name].starts]
    return computing + (_within(MOST_STARTED, starting) if mutation.seconds is None else [])


def _within(seconds: float, names: list[str]) -> list[str]:
    """Return the first tests, to those that go beyond so many seconds."""
    return names[: bisect_right([*accumulate(_charted()[name].took for name in names)], seconds) + 1]


def play(mutation: Mutation, folder: Path) -> Played:
    base = ast.unparse(tree(mutation.file))
    tests = tests_of(mutation)
    mutant = (mutation.file, mutation.name, mutation.source, base)
    fate, by = _nursery(os.getpid()).ask(tests, mutant, mutation.seconds or MOST)
    return Played([fate], told=f"{fate} by {by}").breaks(f"{len(tests)} tests", survived=fate == "survived")
