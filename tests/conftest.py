"""The fixtures every test shares: `qoder(…)` runs the real main and returns what a user would see."""

import gc
import io
import itertools
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest
from _pytest.runner import runtestprotocol
from _pytest.tmpdir import tmppath_result_key
from hypothesis import HealthCheck, Phase, settings
from hypothesis.internal.conjecture import engine, providers
from hypothesis.internal.constants_ast import Constants

from qoder_cli.local import store
from tests.support import printed, stored
from tests.support.cells import ALL_CELLS, MORE, played
from tests.support.typed import TOKEN, Ran, typed
from tests.support.wire import FakeClock, Wire

__all__ = ["TOKEN", "Qoder", "Ran", "examples"]

# The suite is short, and draws the same each time, so that it fails for what was changed alone. What else there is to
# find, `--hypothesis-profile=thorough` looks for. A busy machine is no failure.
BOTH: dict[str, Any] = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
FOUND = [phase for phase in Phase if phase is not Phase.explain]  # which parts of an example matter takes minutes
settings.register_profile("short", max_examples=30, derandomize=True, phases=FOUND, **BOTH)
settings.register_profile("thorough", max_examples=1000, **BOTH)
settings.load_profile("short")
# Hypothesis also draws constants of the modules that are imported: what was drawn would hang on what ran before.
vars(providers).update(_get_local_constants=Constants)


def examples(times: Fraction | int) -> settings:
    """Return settings with this many times the examples of the profile that is loaded."""
    profile = settings.default
    assert profile is not None  # the short one, at least
    return settings(max_examples=int(profile.max_examples * times))


MEMORY = Path("/dev/shm")
ROOM = 1 << 29  # bytes that must be free there


def pytest_configure(config: pytest.Config) -> None:
    """Make the suite independent of where it is started from."""
    if config.getoption("--hypothesis-profile") != "thorough":
        vars(engine).update(MAX_SHRINKING_SECONDS=10)  # a red run is red at once; it would be 300
    gc.disable()  # until the tests are collected: what is made meanwhile stays
    os.environ.pop("PYTHONUNBUFFERED", None)  # with it a line is written in pieces
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # with it whatever is started compiles all anew
    _write_into_memory()
    _ignore_no_signal()
    vars(store).update(_connect=stored.connect_to_a_copy)


def _write_into_memory() -> None:
    """Keep what tests write in memory, where the system has a place for that: each store waits for the disk."""
    if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


def _ignore_no_signal() -> None:
    """Let no process that a test starts ignore a signal only because we do, as under nohup or behind `&`.

    Here they have no effect as before; but what is caught, unlike what is ignored, is not handed on to a new program.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signum = getattr(signal, name, None)
        if signum is not None and signal.getsignal(signum) == signal.SIG_IGN:
            signal.signal(signum, lambda signum, frame: None)


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Tell of a test that passed in one message between processes, not in six: they cost more than most tests."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return None
    for report in runtestprotocol(item, log=False, nextitem=nextitem):
        if report.when == "call" or not report.passed:
            item.ihook.pytest_runtest_logreport(report=report)
    return True


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write down what was skipped, for `.ci/run`: it tries that again where no program is missing."""
    if report.skipped and "QODER_TEST_SKIPPED" in os.environ and "PYTEST_XDIST_WORKER" not in os.environ:
        with open(os.environ["QODER_TEST_SKIPPED"], "a", encoding="utf-8") as skipped:
            skipped.write(f"{report.nodeid}\n")


def _is_short(config: pytest.Config) -> bool:
    """Return whether a part of the cases is played: whoever names a file plays all of it."""
    return not ALL_CELLS and not all(one.partition("::")[0].endswith(".py") for one in config.args)


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make no case that a short suite does without: there are thousands, and each worker would."""
    calls = [call for call in metafunc._calls if MORE.mark not in call.marks]
    if calls and _is_short(metafunc.config):
        few = metafunc.definition.get_closest_marker("few")
        ids = played(metafunc.definition.nodeid, [call.id for call in calls], few and few.args[0])
        metafunc._calls = [call for call in calls if call.id in ids]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that a short suite does without, then deal what there is among the workers."""
    if _is_short(config):
        items[:] = [item for item in items if not item.get_closest_marker(MORE.name)]
    _deal(items)


# Fixtures, and what they start once in each worker.
SHARED = {"qca": "SDK", "database": "database", "machines": "database", "texts": "texts"}


def _deal(items: list[pytest.Item]) -> None:
    """Deal what waits in real time to half of the workers, first: each starts a nursery, which takes a second.

    Meanwhile the others compute, so that the processor is busy, and what else the waiting ones have is stolen from
    them (`--dist worksteal`). What shares something stays together.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    hands: list[list[pytest.Item]] = [[] for _ in range(workers)]
    tests: dict[str, list[pytest.Item]] = {}
    for item in items:
        tests.setdefault(_shared_by(item), []).append(item)
    for cases in sorted(tests.values(), key=lambda cases: not _starts_processes(cases[0])):
        among = hands[::2] if _starts_processes(cases[0]) else hands
        min(among, key=len).extend(cases)
    items[:] = [item for hand in hands for item in hand]


def pytest_collection_finish() -> None:
    """Let no collection of garbage look through the thousands of tests again, and only few look for any."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    gc.enable()


def pytest_runtest_teardown() -> None:
    """Leave no process behind that a test has not seen to its end, because it failed."""
    if processes := sys.modules.get("tests.support.processes"):
        for going in [*processes.Going.alive]:
            going.kill()


def pytest_unconfigure() -> None:
    """Look for garbage once more, not five times, for what it complains of as it goes."""
    gc.collect()
    gc.freeze()


def _shared_by(item: pytest.Item) -> str:
    """Return what a test shares with others: what a worker starts once, the line of a command, or its other cases."""
    test = item.nodeid.partition("[")[0]
    if not isinstance(item, pytest.Function):
        return test
    if test.startswith("tests/contract/") and hasattr(item, "callspec"):
        return f"the line of {item.callspec.params.get('name')}"
    return next((what for name, what in SHARED.items() if name in item.fixturenames), test)


def _starts_processes(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and not {"Shell", "press_tab", "subprocess"}.isdisjoint(vars(item.module))


class Qoder:
    """Runs the real `main` in process, against a fake wire, on a clock that the test owns."""

    def __init__(self, config: Path) -> None:
        self.env = {"QODER_PAT": TOKEN, "QODER_CONFIG": str(config), "QODER_STATE_DIR": str(config.parent / "state")}
        self.wire = Wire()
        self.transport: httpx.BaseTransport | None = self.wire  # None for real connections
        self.clock = FakeClock()
        self.stdin: Any = ""  # a text, or what is read from
        self.out: io.BytesIO | None = None  # who reads standard output, if it is anybody special
        self.err: io.BytesIO | None = None  # the same for standard error
        self.terminal = False

    def __call__(self, *words: str) -> Ran:
        ran = typed(
            words,
            self.env,
            clock=self.clock,
            transport=self.transport,
            stdin=self.stdin,
            terminals=(self.terminal, False),
            out=self.out,
            err=self.err,
        )
        assert TOKEN not in ran.out + ran.err
        assert "Traceback" not in ran.err
        printed.check(ran, words)
        return ran

    @property
    def config(self) -> Path:
        return Path(self.env["QODER_CONFIG"])

    def configured(self, text: str, *, mode: int = 0o600) -> None:
        """Have this in the config file."""
        self.config.write_text(text, "utf-8")
        self.config.chmod(mode)


_numbers = itertools.count()


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder of the test's own, which stays if the test fails.

    That of pytest looks through those of all other tests for a free number.
    """
    name = re.sub(r"\W", "_", request.node.name)[:30]
    folder = tmp_path_factory.getbasetemp() / f"{name}{next(_numbers)}"
    folder.mkdir(mode=0o700)
    yield folder
    if request.node.stash.get(tmppath_result_key, {}).get("call", True):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def qoder(tmp_path: Path) -> Iterator[Qoder]:
    """Return what runs a command line; the wire is checked afterwards."""
    runner = Qoder(tmp_path / "config.toml")
    yield runner
    runner.wire.check()
    for file in (tmp_path / "state").rglob("*") if (tmp_path / "state").is_dir() else ():
        assert TOKEN.encode() not in file.read_bytes(), f"the token is in {file}"


def pytest_make_parametrize_id(val: object) -> str | None:
    """Spell out what a report cannot print; pytest escapes nothing, for the ids of the clause table."""
    if isinstance(val, bytes):
        return ascii(val)[2:-1]
    return ascii(val)[1:-1] if isinstance(val, str) and not val.isprintable() else None
