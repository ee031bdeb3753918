"""A pytest plugin for `mutations`: it collects the tests once, and plays each mutant in a fork of itself.

In the fork the code of the functions that were changed is put in the place of theirs, so that nothing is imported anew;
of a constant, the value. The nursery of processes does the same before it forks any. What starts only others is left
out: they would read the program from the disk.
"""

import gc
import inspect
import json
import os
import pickle
import select
import signal
import struct
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import _lru_cache_wrapper, partial
from importlib import import_module
from itertools import chain, zip_longest
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest

import qoder_cli
from tests.support.nursery import FIRST, nursery

PACKAGE = os.path.dirname(qoder_cli.__file__) + os.sep
HANGS = 180.0  # seconds without a word from a test
LIMIT = 3600.0  # seconds of all its tests, whatever else the machine does
CHARTED = 5.0  # seconds of a test that are charted: of as many of its cases as that takes
SPREAD = 8  # cases that are charted before their neighbours are
BUSY = 40.0  # seconds of the processor that one test may take
WHOLE = 1 / 3  # of the time of a mutant, in which the most special tests are played whole

_seen: set[tuple[str, str]] = set()  # functions that were called, by file and name
_notes: list[int] = []  # where they are written down at once, in a process of the nursery


def tell(fd: int, told: Any) -> None:
    """Send something to the other side."""
    data = pickle.dumps(told)
    data = struct.pack("!I", len(data)) + data
    while data:
        data = data[os.write(fd, data) :]


def hear(fd: int) -> Any:
    """Return what the other side sent. Raises EOFError where it has gone."""
    return pickle.loads(_read(fd, struct.unpack("!I", _read(fd, 4))[0]))


def _read(fd: int, length: int) -> bytes:
    data = b""
    while len(data) < length:
        if not (part := os.read(fd, length - len(data))):
            raise EOFError
        data += part
    return data


def _trace(frame: FrameType, event: str, arg: Any) -> None:
    """Note a call; what happens within is not told, as nothing is returned."""
    called = frame.f_code.co_filename, frame.f_code.co_qualname
    if called[0].startswith(PACKAGE) and called not in _seen:
        _seen.add(called)
        for notes in _notes:
            os.write(notes, "\t".join(called).encode() + b"\n")


def trace(*notes: str) -> None:
    """Note from now on which functions are called, in this process and in those forked from it."""
    _notes[:] = [os.open(path, os.O_WRONLY | os.O_APPEND) for path in notes]
    threading.settrace(_trace)
    sys.settrace(_trace)


def started_by(item: pytest.Item) -> set[str]:
    """Return how a test, a fixture of it or what they call starts processes; others of its file may start none."""
    assert isinstance(item, pytest.Function)
    fixtures = item._fixtureinfo.name2fixturedefs.values()
    words: set[str] = set()
    waiting: list[Any] = [item.function, *(fixture.func for each in fixtures for fixture in each)]
    seen: set[int] = set()
    while waiting:
        one = inspect.unwrap(waiting.pop())
        if id(one) in seen or not str(getattr(one, "__module__", "")).startswith("tests."):
            continue
        seen.add(id(one))
        functions = [one, *vars(one).values()] if isinstance(one, type) else [one]
        for function in filter(inspect.isfunction, functions):
            codes = [function.__code__, *_codes(function.__code__).values()]
            names = {name for code in codes for name in code.co_names}
            words |= names & {"Shell", "nursery", "press_tab", "subprocess"}
            waiting += [function.__globals__[name] for name in names & function.__globals__.keys()]
    return words


def pytest_runtestloop(session: pytest.Session) -> bool:
    """Tell which tests there are, and do what is asked for until nothing is."""
    reader, writer = map(int, os.environ["QODER_MUTANTS"].split(","))
    items: dict[str, list[pytest.Item]] = {}
    for item in session.items:
        if started_by(item) != {"subprocess"}:
            items.setdefault(_name(item), []).append(item)
    about = {name: (len(cases), bool(started_by(cases[0]))) for name, cases in items.items()}
    tell(writer, about)
    while (asked := hear(reader)) is not None:
        names, mutant, most = asked
        tests = [name for name in names if name in items]
        work = partial(_chart, [case for name in tests for case in _spread(items[name])])
        if mutant:
            computing = [_spread(items[name]) for name in tests if not about[name][1]]
            starting = [_spread(items[name]) for name in tests if about[name][1]]
            work = partial(_try, computing, starting, mutant, most)
        tell(writer, _forked(work))
    return True


def _forked(work: Callable[[Callable[[Any], None]], Any]) -> Any:
    """Return what work comes to in a fork, or why nothing was heard of that."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.close(reader)
        code = 0
        try:
            outcome = work(lambda at: tell(writer, ("at", at)))
            if nursery.cache_info().currsize:
                nursery().close()
            tell(writer, ("end", outcome))
        except BaseException as failure:
            tell(writer, ("end", ("unviable", f"{type(failure).__name__}: {failure}")))
        os._exit(code)
    os.close(writer)
    at, began = "the beginning", time.monotonic()
    try:
        while time.monotonic() - began < LIMIT:
            if not select.select([reader], [], [], HANGS)[0]:
                return "killed", f"{at}, which hangs"
            try:
                kind, told = hear(reader)
            except EOFError:
                return "killed", f"{at}, which ends the process"
            if kind == "end":
                return told
            at = told
        return "survived", f"{LIMIT:.0f} s of tests"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)


def _spread(cases: list[pytest.Item]) -> list[pytest.Item]:
    """Return the cases of a test in an order in which the first few are of all kinds."""
    step = len(cases) // SPREAD + 1
    return [case for at in range(step) for case in cases[at::step]]


def _in_turn(tests: list[list[pytest.Item]]) -> list[pytest.Item]:
    """Return the first case of each test, then the second of each: what is looked for may be in any of them."""
    return [case for cases in zip_longest(*tests) for case in cases if case is not None]


def _without(tests: list[list[pytest.Item]], played: set[pytest.Item]) -> list[list[pytest.Item]]:
    return [[case for case in cases if case not in played] for cases in tests]


def _name(item: pytest.Item) -> str:
    """Return the name of a test, which its cases share."""
    return item.nodeid.partition("[")[0]


def _run(
    items: list[pytest.Item], say: Callable[[Any], None], is_wanted: Callable[[pytest.Item], bool] = lambda item: True
) -> Iterator[tuple[pytest.Item, bool]]:
    failed = []

    class Ears:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            failed.append(report.failed)

    if items:
        items[0].config.pluginmanager.register(Ears())
    for item, following in zip(items, [*items[1:], None], strict=False):
        if not is_wanted(item):
            continue
        say(item.nodeid)
        signal.setitimer(signal.ITIMER_PROF, BUSY)  # whose signal ends the process
        failed.clear()
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        yield item, any(failed)


def _chart(items: list[pytest.Item], say: Callable[[Any], None]) -> Any:
    """Return for each test how long a case took, whether one failed, and which functions they called.

    Of one that starts processes it is the time on the wall: it waits for them.
    """
    chart: dict[str, tuple[float, bool, set[tuple[str, str]]]] = {}
    spent: dict[str, float] = defaultdict(float)
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as notes:
        os.environ[FIRST] = f"from tests.tools import mutants; mutants.trace({notes.name!r})"
        trace()
        began = time.monotonic(), time.process_time()
        for item, is_failed in _run(items, say, lambda item: spent[_name(item)] < CHARTED):
            longest, was_failed, called = chart.get(_name(item), (0.0, False, set()))
            took = time.monotonic() - began[0] if started_by(item) else time.process_time() - began[1]
            spent[_name(item)] += took
            seen = _seen | {(file, name) for file, _, name in (line.rstrip().partition("\t") for line in notes)}
            called |= {(file.removeprefix(PACKAGE), name.partition(".<locals>")[0]) for file, name in seen}
            chart[_name(item)] = max(longest, took), was_failed or is_failed, called
            _seen.clear()
            began = time.monotonic(), time.process_time()
        sys.settrace(None)
    return chart


def _try(
    computing: list[list[pytest.Item]],
    starting: list[list[pytest.Item]],
    mutant: tuple[str, ...],
    most: float,
    say: Callable[[Any], None],
) -> tuple[str, str]:
    """Return what becomes of a mutant: its file, its name, its source and that of the program.

    The tests that compute may take so many seconds of the processor: the most special are played whole, then a case of
    each in turn. Then come those that start processes, which may fail because the machine is busy, but not twice.
    """
    if not put(*mutant):
        return "unviable", "it changes nothing that runs"
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
        json.dump(mutant, file)
        file.flush()
        put_it = f"mutants.put(*json.load(open({file.name!r})))"
        os.environ[FIRST] = f"import json; from tests.tools import mutants; {put_it}"
        began, played = time.process_time(), set[pytest.Item]()
        for item, is_failed in _run([*chain(*computing)], say, lambda item: time.process_time() - began < most * WHOLE):
            played.add(item)
            if is_failed:
                return "killed", item.nodeid
        others = _in_turn(_without(computing, played))
        for item, is_failed in _run(others, say, lambda item: time.process_time() - began < most):
            if is_failed:
                return "killed", item.nodeid
        for item, is_failed in _run(_in_turn(starting), say):
            if is_failed and all(failed for _, failed in _run([item], say)):
                return "killed", item.nodeid
    return "survived", "all of them"


def put(file: str, name: str, source: str, base: str) -> bool:
    """Put a mutant in the place of what it is made of; return whether anything changed."""
    path = PACKAGE + file
    import_module("qoder_cli." + file.removesuffix(".py").replace("/", ".").removesuffix(".__init__"))  # some are lazy
    changed = compile(source, path, "exec")
    new, old = _codes(changed), _codes(compile(base, path, "exec"))
    differ = [key for key in new.keys() & old.keys() if not _is_same(new[key], old[key])]
    gc.unfreeze()
    live: dict[str, dict[int, list[FunctionType]]] = {}  # functions by name and line
    for one in gc.get_objects():
        if isinstance(one, _lru_cache_wrapper) and one.__module__.startswith("qoder_cli."):
            one.cache_clear()  # its results are those of the unchanged program
        elif isinstance(one, FunctionType) and one.__code__.co_filename == path:
            live.setdefault(one.__code__.co_qualname, {}).setdefault(one.__code__.co_firstlineno, []).append(one)
    is_put = False
    for qualname, number in differ:
        for one in [*dict(sorted(live.get(qualname, {}).items())).values()][number : number + 1]:
            for function in one:
                function.__code__ = new[qualname, number]
                is_put = True
    return is_put or _put_value(file, name, changed)


def _codes(code: CodeType) -> dict[tuple[str, int], CodeType]:
    """Return the code within some, by its name and its place among those of the same name."""
    waiting, found = [code], []
    while waiting:
        _, within = _consts(waiting.pop())
        waiting += within
        found += within
    counted = Counter[str]()
    codes = {}
    for each in sorted(found, key=lambda one: one.co_firstlineno):
        codes[each.co_qualname, counted[each.co_qualname]] = each
        counted[each.co_qualname] += 1
    return codes


def _is_same(one: CodeType, two: CodeType) -> bool:
    """Return whether codes do the same, wherever they stand, and what is within, which is made anew at each call."""
    plain, within = zip(*(_consts(code) for code in (one, two)), strict=True)
    is_same = (one.co_code, one.co_names, repr(plain[0])) == (two.co_code, two.co_names, repr(plain[1]))
    return is_same and len(within[0]) == len(within[1]) and all(map(_is_same, *within))


def _consts(code: CodeType) -> tuple[list[Any], list[CodeType]]:
    """Return the constants of a code, and the code among them."""
    within = [const for const in code.co_consts if isinstance(const, CodeType)]
    return [const for const in code.co_consts if not isinstance(const, CodeType)], within


def _put_value(file: str, name: str, new: CodeType) -> bool:
    """Put the new value of a constant, or of a class, wherever the old one is known by the same name."""
    module = sys.modules["qoder_cli." + file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")]
    scratch: dict[str, Any] = {"__name__": module.__name__, "__package__": module.__package__, "__file__": file}
    exec(new, scratch)
    *of, name = name.split(".")
    if of:
        owner, other = getattr(module, of[0]), scratch[of[0]]
        old, changed = getattr(owner, name), getattr(other, name)
        if callable(old) or old == changed:
            return False
        if name not in getattr(owner, "_fields", ()):
            setattr(owner, name, changed)
        _put_defaults(owner, other)
        return True
    old = getattr(module, name)
    if isinstance(old, FunctionType) or old == scratch[name]:
        return False
    for each in [*sys.modules.values()]:
        if each.__name__.startswith("qoder_cli") and getattr(each, name, None) is old:
            setattr(each, name, scratch[name])
    return True


def _put_defaults(owner: type, other: type) -> None:
    """Give what makes the things of a class, as of a NamedTuple or a dataclass, the plain defaults of another's."""
    for maker in ("__new__", "__init__"):
        old, new = (getattr(vars(one).get(maker), "__func__", vars(one).get(maker)) for one in (owner, other))
        if isinstance(old, FunctionType) and isinstance(new, FunctionType) and old.__defaults__ and new.__defaults__:
            pairs = zip(old.__defaults__, new.__defaults__, strict=True)
            old.__defaults__ = tuple(two if isinstance(two, bool | int | float) else one for one, two in pairs)
