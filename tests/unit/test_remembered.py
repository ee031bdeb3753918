"""What commands remember for completion and short ids: a few plain rows, and never in the way."""

import io
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from qoder_cli.app import App
from qoder_cli.base.model import Run
from qoder_cli.base.plainfile import seal
from qoder_cli.local import remembered, tables
from qoder_cli.local.remembered import MOST, MOST_RUNS, ids_with_prefix, remember
from qoder_cli.local.store import Store
from qoder_cli.local.tables import LATEST, OUTCOMES, TABLES, Row, Table
from qoder_cli.output.screen import Screen
from tests.conftest import TOKEN
from tests.support.completions import offered
from tests.support.stored import GARBAGE, put_in_the_way

HOST = "api.qoder.com"
AT = "2026-06-14T08:54:06Z"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def state_in(folder: Path, *, profile: str | None = None, **env: str) -> App:
    """Return a state whose folder for state this is."""
    config = folder.parent / "config.toml"
    if profile:
        config.write_text(f'[profiles.{profile}]\ntoken = "{TOKEN}"\n')
        config.chmod(0o600)
    if url := env.get("QODER_SANDBOX"):
        folder.mkdir(exist_ok=True)
        seal(folder, url)
    base = {"QODER_PAT": TOKEN, "QODER_CONFIG": str(config), "QODER_STATE_DIR": str(folder)}
    app = App(env=base | env, out=Screen(io.BytesIO()), err=Screen(io.BytesIO()))
    app.flags.profile = profile
    _apps.append(app)
    return app


_apps: list[App] = []


@pytest.fixture(autouse=True)
def _apps_are_closed() -> Iterator[None]:
    yield
    while _apps:
        _apps.pop().close()


def deployments(app: App, *found: tuple[Any, Any, Any], whole: bool = False, **fields: Any) -> None:
    """Remember deployments by id, name and the day of their creation."""
    things = [
        ({"id": id, "created_at": day and f"2026-06-{day:02}T08:54:06Z", **fields}, name) for id, name, day in found
    ]
    remember(app.store, app.settings, "deploy", things, whole=whole)


def runs(app: App, *found: tuple[Any, Any, Any]) -> None:
    """Remember runs by id, deployment and time."""
    each = ({"id": id, "deployment_id": deployment, "created_at": at} for id, deployment, at in found)
    remembered.remember_runs(app.store, app.settings, map(Run, each))


def seen(folder: Path, noun: str = "deploy", profile: str | None = "default", **where: str) -> list[tuple[str, str]]:
    """Return what completion can offer, and what it is known by: its name, or its deployment's."""
    with closing(Store({"QODER_STATE_DIR": str(folder)}, warn=pytest.fail, looking=True)) as store:
        found = remembered.seen(store, noun, profile=profile, **where)
        return [(each.id, each.name or each.deployment) for each in found]


def test_remembered_deployments_are_the_newest_first_until_they_are_gone(folder: Path) -> None:
    app = state_in(folder)
    deployments(app, ("dep_9", "nine", 9), ("dep_8", None, 8))
    deployments(app, ("dep_10", "ten", 10))
    deployments(app, ("dep_9", "named again", 9), ("dep_x y", "no id", 11))
    assert seen(folder) == [("dep_10", "ten"), ("dep_9", "named again"), ("dep_8", "")]
    deployments(app, ("dep_9", "nine", 9), archived_at=AT)
    assert seen(folder) == [("dep_10", "ten"), ("dep_8", "")]
    deployments(app, ("dep_8", "eight", 8), whole=True)
    assert seen(folder) == [("dep_8", "eight")]


def test_remembered_things_are_of_their_host_and_profile(folder: Path) -> None:
    work, cn = state_in(folder, profile="work"), state_in(folder, QODER_REGION="cn")
    for app, number in ((state_in(folder), 1), (work, 2)):
        deployments(app, (f"dep_{number}", "nightly", None))
        runs(app, (f"drun_{number}", f"dep_{number}", AT))
    deployments(cn, ("dep_3", "there", None), whole=True)
    assert seen(folder) == [("dep_3", "there"), ("dep_1", "nightly")]
    told = {"dep_1": "nightly, api.qoder.com", "dep_3": "there, api.qoder.com.cn"}
    told |= {"nightly": "dep_1, api.qoder.com", "there": "dep_3, api.qoder.com.cn"}
    assert offered("qoder deploy run ", {"QODER_STATE_DIR": str(folder)}) == told
    assert seen(folder, host=HOST) == [("dep_1", "nightly")]
    assert seen(folder, host="elsewhere") == []
    assert seen(folder, profile="work") == [("dep_2", "nightly")]
    assert seen(folder, "run", "work") == [("drun_2", "nightly")]
    deployments(state_in(folder), whole=True)
    assert seen(folder) == [("dep_3", "there")]


def test_remembered_runs_are_the_newest_first_with_the_names_of_their_deployments(folder: Path) -> None:
    app = state_in(folder)
    deployments(app, ("dep_1", "night\x1bly\ud800", None))
    runs(app, ("drun_1", "dep_1", AT), ("drun_2", "dep_9", "2026-06-15T08:54:06Z"))
    runs(app, ("drun_0", "dep_1", ""), ("no run", "dep_1", AT))
    assert [tuple(each) for each in remembered.seen(app.store, "run", profile="default")] == [
        ("drun_2", "", "dep_9", "2026-06-15T08:54:06Z", HOST),
        ("drun_1", "night\\u001bly\\ud800", "dep_1", AT, HOST),
        ("drun_0", "night\\u001bly\\ud800", "dep_1", "", HOST),
    ]


def test_remembered_are_no_more_than_are_of_use(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app, at = state_in(folder), "2026-06-14T08:54:06.{:04}Z".format
    for numbers in (range(1000), range(1000, 2000)):
        things = [({"id": f"dep_{n}", "created_at": at(n)}, "x" * 256) for n in numbers]
        remember(app.store, app.settings, "deploy", things)
        runs(app, *((f"drun_{n}", "dep_1", at(n)) for n in numbers))
    assert [id for id, _ in seen(folder)] == [f"dep_{n}" for n in range(1999, 1999 - MOST, -1)]
    assert [id for id, _ in seen(folder, "run")] == [f"drun_{n}" for n in range(999 + MOST_RUNS, 999, -1)]
    for number in range(3):
        elsewhere = state_in(folder, QODER_BASE_URL=f"https://h{number}")
        deployments(elsewhere, *((f"dep_{n}", "", None) for n in range(300)))
    assert len(seen(folder)) == MOST
    monkeypatch.setattr(remembered, "MOST_KEPT", 60)
    runs(app, *((f"drun_{n}", "dep_1", at(n)) for n in range(2000, 2040)))
    assert len(ids_with_prefix(app.store, HOST, "drun_", noun="run")) == 60


def test_remembering_the_same_again_writes_nothing(folder: Path) -> None:
    app = state_in(folder)

    def files() -> list[tuple[int, int]]:
        deployments(app, ("dep_2", "nightly", None), ("dep_1", "nightly", None), whole=True)
        runs(app, ("drun_2", "dep_1", AT), ("drun_1", "dep_1", AT))
        deployments(app, ("dep_1", "nightly", None))
        found = [file.stat() for file in sorted(folder.iterdir())]
        return [(stat.st_ino, stat.st_size) for stat in found]  # each writing makes the log longer

    assert files() == files()
    app.close()
    assert [file.name for file in sorted(folder.iterdir())] == ["state.db"]


def test_remembered_runs_are_found_by_a_prefix_with_those_that_were_started(folder: Path) -> None:
    app = state_in(folder)
    runs(app, ("drun_ab1", "dep_1", AT), ("drun_ab2", "dep_1", AT), ("drun_aXc", "dep_1", AT))
    for number in (2, 3):
        attempt = app.store.begin(at=1.0, ahead=None, profile="p", host=HOST, deployment="dep_1", key="k")
        app.store.record_run(attempt, f"drun_ab{number}")
    expected = {"drun_ab": ["drun_ab1", "drun_ab2", "drun_ab3"], "drun_a_": [], "drun_A": []}
    assert {prefix: ids_with_prefix(app.store, HOST, prefix, noun="run") for prefix in expected} == expected
    assert ids_with_prefix(app.store, "elsewhere", "drun_", noun="run") == []


@pytest.mark.parametrize("what", GARBAGE)
@pytest.mark.few(5)
def test_remembering_and_offering_say_nothing_whatever_is_in_the_way(folder: Path, what: str) -> None:
    put_in_the_way(folder, what)
    before = sorted(folder.iterdir()) if folder.is_dir() else []
    env = {"QODER_STATE_DIR": str(folder)}
    assert [set(offered(line, env)) for line in ("qoder deploy run ", "qoder run get ")] == [set(), {"last"}]
    assert (sorted(folder.iterdir()) if folder.is_dir() else []) == before
    app = state_in(folder)
    deployments(app, ("dep_1", "nightly", None))
    runs(app, ("drun_1", "dep_1", AT))
    known = remembered.seen(app.store, "deploy", profile="default", host=HOST)
    assert [each.id for each in known][:1] == ["dep_1"]
    app.close()
    assert not app.err.has_written


# Tables of what this machine remembers: the newest rows are kept, and one row for each key.

NOTES = Table("notes", ("host", "id"), {"host": "TEXT NOT NULL", "id": "TEXT NOT NULL", "at": "REAL NOT NULL"}, most=3)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(tables, "TABLES", (NOTES, *TABLES))
    with closing(Store({"QODER_STATE_DIR": str(tmp_path)}, warn=pytest.fail)) as store:
        yield store


def note(id: str, at: float, host: str = "a") -> Row:
    return {"host": host, "id": id, "at": at}


def test_a_table_keeps_its_newest_rows(store: Store) -> None:
    for at in (5, 1, 4, 2, 3):
        NOTES.save(store, [note(f"n{at}", float(at))])
    assert sorted(NOTES.read(store, {"host": "a"}, "id")) == [("n3",), ("n4",), ("n5",)]


def test_a_table_has_one_row_for_a_key_and_says_which_are_new(store: Store) -> None:
    rows = [note("x", 1.0), note("y", 1.0)]
    assert store.write(lambda of: NOTES.put(of, rows, instead="IGNORE")) == rows
    new = store.write(lambda of: NOTES.put(of, [note("x", 2.0), note("z", 2.0)], instead="IGNORE"))
    assert new == [note("z", 2.0)]
    NOTES.save(store, [note("x", 3.0)])
    store.write(lambda of: NOTES.change(of, {"host": "a", "id": "y"}, at=4.0))
    store.write(lambda of: NOTES.drop(of, {"id": "z"}))
    assert sorted(NOTES.read(store, {}, "id", "at")) == [("x", 3.0), ("y", 4.0)]


def test_a_table_saves_rows_in_place_of_others(store: Store) -> None:
    NOTES.save(store, [note("x", 1.0), note("y", 1.0), note("x", 1.0, "b")])
    assert NOTES.save(store, [note("z", 2.0)], in_place_of={"host": "a"})
    assert sorted(NOTES.read(store, {}, "host", "id")) == [("a", "z"), ("b", "x")]


def test_a_table_is_read_for_very_many_values(store: Store) -> None:
    NOTES.save(store, [note("n7", 1.0), note("n7", 1.0, "b"), note("other", 1.0)])
    ids = [f"n{number}" for number in range(3000)]
    assert list(NOTES.read_of(store, {"host": "a"}, "id", ids, "id", "at")) == [("n7", 1.0)]


@pytest.mark.parametrize(
    ("id", "at", "read"), [("7", "'soon'", ("7", 0.0)), ("NULL", "NULL", ("", 0.0)), ("x''", "9e999", ("", LATEST))]
)
def test_a_damaged_row_is_read_as_what_its_columns_hold(
    store: Store, tmp_path: Path, id: str, at: str, read: tuple[str, float]
) -> None:
    NOTES.save(store, [])
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection, connection:
        connection.execute("DROP TABLE notes")
        connection.execute("CREATE TABLE notes (host, id, at)")
        connection.execute(f"INSERT INTO notes VALUES (x'ff00', {id}, {at})")
    assert NOTES.read(store, {}, "id", "at") == [read]


def test_a_hundred_thousand_outcomes_are_kept() -> None:
    assert OUTCOMES.most == 100_000
