"""The servers, the person and the time zone that tests of commands share."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qoder_cli.app import App
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder
from tests.support.asking import Asking
from tests.support.desk import HOST, Desk
from tests.support.inprocess import WorldTransport
from tests.support.machines import MEMORY_STORE, STORES, Machines, lacks_postgres, postgres
from tests.support.one_night import after_a_night
from tests.support.team import Team
from tests.support.things import Things


@pytest.fixture(params=GENERATIONS)
def world(request: pytest.FixtureRequest, qoder: Qoder) -> World:
    made = World(clock=qoder.clock.now, generation=request.param, token=TOKEN, seed=7)
    qoder.transport = WorldTransport(made, sleep=qoder.clock.sleep)
    return made


@pytest.fixture(params=GENERATIONS)
def server(request: pytest.FixtureRequest, qoder: Qoder) -> Asking:
    return Asking(qoder, request.param)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Serve both generations, and keep keys in both stores, or what a module or a test names."""
    names = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    named = {name for each in names for name in ([each] if isinstance(each, str) else each)}
    if "served_by" in metafunc.fixturenames and "served_by" not in named:
        metafunc.parametrize("served_by", getattr(metafunc.module, "SERVED_BY", GENERATIONS))
    if "machines" in metafunc.fixturenames and "machines" not in named:
        metafunc.parametrize("machines", getattr(metafunc.module, "STORES", STORES), indirect=True)


@pytest.fixture
def service(qoder: Qoder, served_by: Generation) -> Things:
    """Return the sandbox with hooks, which the user is led to."""
    return Things(qoder, served_by)


@pytest.fixture
def night(world: World) -> World:
    return after_a_night(world)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder of one's own."""
    folder = tmp_path / "My stack"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def plain_http(qoder: Qoder) -> None:
    """Spare each command reading the certificates."""
    qoder.env["QODER_BASE_URL"] = f"http://{HOST}"


@pytest.fixture
def team(qoder: Qoder, service: Things, tmp_path: Path) -> Team:
    """Return someone with a folder, at the sandbox with hooks."""
    made = Team(qoder, service, tmp_path / "folder")
    made.folder.mkdir()
    return made


@pytest.fixture
def desk(qoder: Qoder, tmp_path: Path) -> Desk:
    """Return someone with deployments in files, at a current sandbox with hooks; clauses play writes on both."""
    return Desk(qoder, tmp_path, "current")


@pytest.fixture(params=GENERATIONS)
def either(request: pytest.FixtureRequest, qoder: Qoder, tmp_path: Path) -> Desk:
    """Return the same at a server of each generation."""
    return Desk(qoder, tmp_path, request.param)


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Sit at the terminal: return what answers the questions to come, which gives the list of those asked.

    An answer is yes or no, what is raised instead, or what happens before a yes.
    """
    asked: list[str] = []

    def answering(*answers: Any) -> list[str]:
        left = list(answers)

        def choice_of(stdin: Any, screen: Any, text: str, choices: str, **_: Any) -> str:
            asked.append(text.removesuffix(" [y/N]:"))
            answer = left.pop(0)
            if isinstance(answer, BaseException):
                raise answer
            if callable(answer):
                answer()
            return "y" if answer else "n"

        monkeypatch.setattr(App, "may_ask", True)
        monkeypatch.setattr("qoder_cli.input.prompt.choice_of", choice_of)
        return asked

    return answering


@pytest.fixture(scope="session")
def database() -> Iterator[str]:
    if (missing := lacks_postgres()) is not None:
        pytest.skip(f"{missing} is not installed")
    pytest.importorskip("psycopg")
    with postgres() as url:
        yield url


@pytest.fixture
def shared(tmp_path: Path) -> Machines:
    """Machines with an empty memory store, where the kind of store does not matter."""
    return Machines(tmp_path, MEMORY_STORE)


@pytest.fixture
def machines(request: pytest.FixtureRequest, tmp_path: Path) -> Machines:
    """Machines with an empty store of each kind."""
    if request.param == "memory store":
        return Machines(tmp_path, MEMORY_STORE)
    url = request.getfixturevalue("database")
    made = Machines(tmp_path, url)
    ran = made.machine("admin")("key", "init", "--store", url)
    assert ran.code == 0, ran.err
    keys = made.store()
    for row in keys.entries():
        keys.put(row, None)
    return made


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let local time be UTC, wherever this runs."""
    monkeypatch.setenv("TZ", "UTC")
    if hasattr(time, "tzset"):
        time.tzset()
    yield
    monkeypatch.undo()
    if hasattr(time, "tzset"):
        time.tzset()
