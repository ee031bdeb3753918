"""What completion remembers: what commands write down, and what TAB makes of it in the real shells."""

import io
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoder_cli.app import App
from qoder_cli.base.model import Deployment, Run, text
from qoder_cli.help.completion import FILES
from qoder_cli.local import remembered
from qoder_cli.local.remembered import (
    MOST,
    MOST_RUNS,
    remember,
    run_ids_with_prefix,
)
from qoder_cli.local.store import VERSION, Store
from qoder_cli.output.screen import Screen, inert_lines
from qoder_cli.settings.seal import seal
from tests.completions import FOLDER, offered
from tests.conftest import TOKEN
from tests.support.nursery import PATIENCE
from tests.support.programs import need
from tests.support.shells import Session, environment, press_tab

HOST = "api.qoder.com"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def state_in(folder: Path, **env: str) -> App:
    """Return a state whose folder for state this is."""
    base = {"QODER_PAT": TOKEN, "QODER_CONFIG": "/nonexistent/config.toml", "QODER_STATE_DIR": str(folder)}
    if url := env.get("QODER_SANDBOX"):
        folder.mkdir(exist_ok=True)
        seal(folder, url)
    return App(env=base | env, out=Screen(io.BytesIO()), err=Screen(io.BytesIO()))


def day(number: int) -> str:
    return f"2026-06-{number:02}T08:54:06Z"


def deployment(id: str, name: Any = "nightly", created: int | None = None, **fields: Any) -> Deployment:
    at = None if created is None else day(created)
    return Deployment({"id": id, "type": "deployment", "name": name, "archived_at": None, "created_at": at, **fields})


def remember_deployments(app: App, found: Iterable[Deployment], *, whole: bool = False) -> None:
    remember(app.store, app.settings, "deploy", [(each.raw, text(each.raw.get("name"))) for each in found], whole=whole)


def remember_runs(app: App, runs: Iterable[Run]) -> None:
    remembered.remember_runs(app.store, app.settings, runs)


def remember_names(app: App, names: dict[str, str], *, whole: bool = False) -> None:
    remember_deployments(app, [deployment(id, name) for id, name in names.items()], whole=whole)


def run(id: str, deployment_id: str = "dep_1", at: str = "2026-06-14T08:54:06Z") -> Run:
    return Run({"id": id, "type": "deployment_run", "deployment_id": deployment_id, "created_at": at})


def seen(folder: Path, profile: str | None = "default") -> list[tuple[str, str]]:
    """Return the deployments that completion can offer, and what they are known by."""
    with closing(Store({"QODER_STATE_DIR": str(folder)}, warn=pytest.fail, looking=True)) as store:
        return [(each.id, each.name) for each in remembered.seen(store, "deploy", profile=profile)]


def runs_seen(folder: Path, profile: str | None = "default") -> list[tuple[str, str]]:
    """Return the runs that completion can offer, and the names of their deployments, else those ids."""
    with closing(Store({"QODER_STATE_DIR": str(folder)}, warn=pytest.fail, looking=True)) as store:
        return [(each.id, each.name or each.deployment) for each in remembered.seen(store, "run", profile=profile)]


def known(app: App, host: str = HOST, profile: str = "default") -> list[tuple[str, str]]:
    """Return the deployments that were seen on a host with a profile, and what they are known by."""
    return [(each.id, each.name) for each in remembered.seen(app.store, "deploy", profile=profile, host=host)]


# What is written down


def test_deployments_are_remembered_by_name_newest_first(folder: Path) -> None:
    app = state_in(folder)
    remember_deployments(app, [deployment("dep_2", "tidy", 2), deployment("dep_1", None, 1)])
    assert seen(folder) == [("dep_2", "tidy"), ("dep_1", "")]
    found = [deployment("dep_3", "new", 3), deployment("dep_1", "named", 1), deployment("dep_2", "tidy", 2)]
    remember_deployments(app, found)
    assert seen(folder) == [("dep_3", "new"), ("dep_2", "tidy"), ("dep_1", "named")]


def test_what_is_archived_or_no_longer_there_is_forgotten(folder: Path) -> None:
    app = state_in(folder)
    remember_deployments(app, [deployment(f"dep_{n}", created=n) for n in range(1, 5)])
    remember_deployments(app, [deployment("dep_2", archived_at="2026-06-14T08:54:06Z")])
    assert [id for id, _ in seen(folder)] == ["dep_4", "dep_3", "dep_1"]
    remember_deployments(app, [deployment("dep_4", created=4), deployment("dep_5", created=5)], whole=True)
    assert [id for id, _ in seen(folder)] == ["dep_5", "dep_4"]
    remember_names(app, {"dep_4": "nightly"}, whole=True)
    assert [id for id, _ in seen(folder)] == ["dep_4"]


def test_a_whole_list_says_nothing_about_other_hosts(folder: Path) -> None:
    remember_names(state_in(folder), {"dep_1": "here"})
    remember_names(state_in(folder, QODER_REGION="cn"), {"dep_2": "there"}, whole=True)
    assert seen(folder) == [("dep_2", "there"), ("dep_1", "here")]
    remember_names(state_in(folder), {}, whole=True)
    assert seen(folder) == [("dep_2", "there")]


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    """Return a config file with a profile besides the default one."""
    config = tmp_path / "config.toml"
    config.write_text(f'[profiles.work]\ntoken = "{TOKEN}"\n')
    config.chmod(0o600)
    return config


def at_work(folder: Path, profiles: Path, **env: str) -> App:
    """Return a state with --profile work."""
    app = state_in(folder, QODER_CONFIG=str(profiles), **env)
    app.flags.profile = "work"
    return app


def test_each_is_of_its_profile(folder: Path, profiles: Path) -> None:
    for app, number in ((state_in(folder), 1), (at_work(folder, profiles), 2)):
        remember_names(app, {f"dep_{number}": "nightly"})
        remember_runs(app, [run(f"drun_{number}", f"dep_{number}")])
    assert (seen(folder), seen(folder, "work")) == ([("dep_1", "nightly")], [("dep_2", "nightly")])
    assert (runs_seen(folder), runs_seen(folder, "work")) == ([("drun_1", "nightly")], [("drun_2", "nightly")])


def test_across_lists_the_newest_are_first(folder: Path) -> None:
    app = state_in(folder)
    remember_deployments(app, [deployment(f"dep_{n}", created=n) for n in (9, 8)])
    remember_deployments(app, [deployment(f"dep_{n}", created=n) for n in (7, 6)])
    remember_deployments(app, [deployment("dep_10", created=10)])
    remember_deployments(app, [deployment("dep_7", "named again", 7), deployment("dep_6", created=6)])
    assert [id for id, _ in seen(folder)] == ["dep_10", "dep_9", "dep_8", "dep_7", "dep_6"]


def test_runs_are_remembered_by_deployment_and_time_newest_first(folder: Path) -> None:
    app = state_in(folder)
    remember_names(app, {"dep_1": "nightly"})
    remember_runs(app, [run("drun_1", at="2026-06-14T08:54:06Z")])
    remember_runs(app, [run("drun_3", at="2026-06-16T08:54:06Z"), run("drun_2", "dep_9", at="2026-06-15T08:54:06Z")])
    remember_runs(app, [run("drun_0", "dep_1", at="")])
    assert runs_seen(folder) == [
        ("drun_3", "nightly"),
        ("drun_2", "dep_9"),
        ("drun_1", "nightly"),
        ("drun_0", "nightly"),
    ]


def test_no_more_is_offered_than_is_of_use(folder: Path) -> None:
    app = state_in(folder)
    for begin in (0, 1000):
        numbers = range(begin, begin + 1000)
        at = "2026-06-14T08:54:06.{:04}Z".format
        remember_deployments(app, [deployment(f"dep_{n}", "x" * 256, created_at=at(n)) for n in numbers])
        remember_runs(app, [run(f"drun_{n}", at=at(n)) for n in numbers])
    assert [id for id, _ in seen(folder)] == [f"dep_{n}" for n in range(999 + MOST, 999, -1)]
    assert [id for id, _ in runs_seen(folder)] == [f"drun_{n}" for n in range(1049, 999, -1)]
    assert len(runs_seen(folder)) == MOST_RUNS
    for number in range(3):
        remember_names(state_in(folder, QODER_BASE_URL=f"https://h{number}"), {f"dep_{n}": "" for n in range(300)})
    assert len(seen(folder)) == MOST


def test_the_same_again_writes_nothing(folder: Path) -> None:
    app = state_in(folder)
    seen = [deployment("dep_2"), deployment("dep_1")]
    runs = [run("drun_2"), run("drun_1")]

    def remember() -> list[tuple[int, int]]:
        remember_deployments(app, seen, whole=True)
        remember_runs(app, runs)
        remember_names(app, {"dep_1": "nightly"})
        remember_runs(app, [runs[1]])
        found = [file.stat() for file in sorted(folder.iterdir())]
        return [(stat.st_ino, stat.st_size) for stat in found]  # each writing makes the log longer

    assert remember() == remember()
    app.close()
    assert [file.name for file in sorted(folder.iterdir())] == ["state.db"]


def test_what_is_rehearsed_stays_in_the_sandbox(folder: Path) -> None:
    remember_names(state_in(folder), {"dep_1": "real"})
    for port in (8001, 8002):  # the second is another sandbox, and the first is over
        remember_names(state_in(folder, QODER_SANDBOX=f"http://127.0.0.1:{port}"), {f"dep_{port}": "rehearsed"})
    assert seen(folder) == [("dep_1", "real")]
    assert seen(folder, None) == [("dep_8002", "rehearsed")]


def test_a_name_longer_than_any_is_cut_and_shows_it(folder: Path) -> None:
    remember_names(state_in(folder), {"dep_3": "x" * 256, "dep_2": "x" * 257, "dep_1": "\x1b" * 250})
    assert [name[-2:] for _, name in seen(folder)] == ["xx", "x…", "0…"]
    assert [len(name) for _, name in seen(folder)] == [256, 257, 257]


ODD_IDS = [
    "dep_$(touch x)",
    "dep_ ",
    "dep_a b",
    "dep_\t",
    "dep_\n",
    "dep_é",
    "dep_",
    "dep_" + "x" * 200,
    "-dep_1",
    "",
    7,
]


def test_what_is_no_plain_id_is_not_remembered(folder: Path) -> None:
    remember_deployments(state_in(folder), [deployment("dep_1"), *(Deployment({"id": id}) for id in ODD_IDS)])
    assert seen(folder) == [("dep_1", "nightly")]
    remember_runs(
        state_in(folder), [Run({}), Run({"id": "drun_`x`"}), Run({"id": 7}), Run({"id": "drun_1", "created_at": 7})]
    )
    assert runs_seen(folder) == [("drun_1", "")]


@given(st.lists(st.text() | st.none(), max_size=5))
def test_whatever_the_names_are_they_only_show(
    tmp_path_factory: pytest.TempPathFactory, names: list[str | None]
) -> None:
    folder = tmp_path_factory.mktemp("state")
    remember_deployments(state_in(folder), [deployment(f"dep_{n}", name) for n, name in enumerate(names)])
    found = sorted(seen(folder))
    assert [id for id, _ in found] == [f"dep_{n}" for n in range(len(names))]
    assert all(inert_lines(name) == name and "\n" not in name for _, name in found)


# What is there already may be anything


def of_another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE deployments (id, name)")


def newer(path: Path) -> None:
    remember_names(state_in(path.parent), {"dep_1": "nightly"})
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")


def half_a_file(path: Path) -> None:
    app = state_in(path.parent)
    remember_names(app, {f"dep_{n}": "nightly" for n in range(300)})
    app.close()
    os.truncate(path, 6000)


def rows_of_another(path: Path) -> None:
    """Write what no command of ours would: ids that are commands, numbers, bytes that are not text."""
    remember_names(state_in(path.parent), {"dep_1": "nightly"})
    commands = ["dep_$(touch started)", "dep_`touch started`", "';touch started'"]
    hostile = [*commands, "dep_a b", "dep_\n", 7, b"\xff\xfe", ""]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM seen")
        for number, id in enumerate(hostile):
            told = {"deploy": ("$(touch started)", None), "run": (None, b"\xff")}
            rows = [(HOST, "default", noun, id, *columns, number) for noun, columns in told.items()]
            connection.executemany("INSERT INTO seen VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def names_that_are_no_text(path: Path) -> None:
    remember_names(state_in(path.parent), {"dep_1": "nightly"})
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE seen SET name = CAST(x'fffe' AS TEXT)")


def a_file_for_a_folder(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text("a file")


GARBAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.touch(),
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 1000),
    "huge": lambda path: path.write_bytes(b"x" * 3_000_000),
    "many lines": lambda path: path.write_bytes(b"dep_x\t\n" * 40_000),
    "another program's": of_another_program,
    "newer": newer,
    "half": half_a_file,
    "commands": rows_of_another,
    "no utf-8": names_that_are_no_text,
}
if os.name == "posix":
    GARBAGE |= {
        "a folder": lambda path: path.mkdir(),
        "a pipe": lambda path: os.mkfifo(path),
        "a pipe beside": lambda path: os.mkfifo(f"{path}-wal"),
        "a link to nothing": lambda path: path.symlink_to(path.parent / "no/where"),
        "a file for a folder": a_file_for_a_folder,
    }


def put_in_the_way(folder: Path, what: str) -> None:
    folder.mkdir()
    GARBAGE[what](folder / "state.db")


@pytest.mark.parametrize("what", GARBAGE)
def test_nothing_is_in_the_way_and_nothing_is_said(folder: Path, what: str) -> None:
    put_in_the_way(folder, what)
    app = state_in(folder)
    remember_names(app, {"dep_1": "nightly"})
    remember_runs(app, [run("drun_1")])
    assert known(app)[0][0] == "dep_1"
    app.close()
    assert not app.err.has_written


def test_without_a_home_nothing_is_remembered_or_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(env: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("qoder_cli.local.store.state_folder", no_home)
    remember_names(app := state_in(folder), {"dep_1": "nightly"})
    remember_runs(app, [run("drun_1")])
    assert offered("qoder run get ", {}).keys() == {"last"}
    assert not app.err.has_written


# What the store knows of it


def test_the_store_knows_deployments_newest_first_by_host_and_profile(folder: Path, profiles: Path) -> None:
    app = state_in(folder)
    remember_deployments(app, [deployment("dep_9", "nine", 9), deployment("dep_8", None, 8)])
    remember_deployments(app, [deployment("dep_10", "ten", 10)])
    remember_deployments(app, [deployment("dep_9", "named again", 9), deployment("dep_x y", "no id", 11)])
    remember_names(at_work(folder, profiles), {"dep_work": "work"})
    assert known(app) == [("dep_10", "ten"), ("dep_9", "named again"), ("dep_8", "")]
    assert known(app, profile="work") == [("dep_work", "work")]
    remember_deployments(app, [deployment("dep_9", archived_at=day(12))])
    assert known(app) == [("dep_10", "ten"), ("dep_8", "")]
    remember_deployments(app, [deployment("dep_8", "eight", 8)], whole=True)
    assert known(app) == [("dep_8", "eight")]
    assert known(app, "elsewhere") == []


def test_the_store_knows_runs_newest_first_with_the_names_of_their_deployments(folder: Path) -> None:
    app = state_in(folder)
    remember_names(app, {"dep_1": "night\x1bly\ud800"})
    remember_runs(app, [run("drun_1", at="2026-06-14T08:54:06Z"), run("drun_2", "dep_9", at="2026-06-15T08:54:06Z")])
    remember_runs(app, [run("drun_0", at="")])
    remember_runs(app, [run("no run")])
    assert [tuple(each) for each in remembered.seen(app.store, "run", profile="default")] == [
        ("drun_2", "", "dep_9", "2026-06-15T08:54:06Z", HOST),
        ("drun_1", "night\\u001bly\\ud800", "dep_1", "2026-06-14T08:54:06Z", HOST),
        ("drun_0", "night\\u001bly\\ud800", "dep_1", "", HOST),
    ]


def test_a_prefix_finds_what_was_triggered_and_what_was_seen(folder: Path) -> None:
    app = state_in(folder)
    remember_runs(app, [run("drun_ab1"), run("drun_ab2"), run("drun_aXc")])
    for number in (2, 3):
        attempt = app.store.begin(at=1.0, ahead=None, profile="p", host=HOST, deployment="dep_1", key="k")
        app.store.settle(attempt, f"drun_ab{number}")
    assert run_ids_with_prefix(app.store, HOST, "drun_ab") == ["drun_ab1", "drun_ab2", "drun_ab3"]
    assert run_ids_with_prefix(app.store, HOST, "drun_a_") == []
    assert run_ids_with_prefix(app.store, HOST, "drun_A") == []
    assert run_ids_with_prefix(app.store, "elsewhere", "drun_") == []


def test_the_store_keeps_no_more_runs_than_are_of_use(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "MOST_KEPT", 60)
    app = state_in(folder)
    for begin in (0, 40, 80):
        remember_runs(app, [run(f"drun_{n}", at=f"2026-06-14T08:{n:03}Z") for n in range(begin, begin + 40)])
    assert run_ids_with_prefix(app.store, HOST, "drun_") == sorted(f"drun_{n}" for n in range(60, 120))


def test_of_a_sandbox_that_is_over_the_store_keeps_nothing(folder: Path) -> None:
    remember_names(state_in(folder), {"dep_real": "nightly"})
    for port in (8001, 8002):
        rehearsing = state_in(folder, QODER_SANDBOX=f"http://127.0.0.1:{port}")
        remember_names(rehearsing, {"dep_demo": "nightly"})
        remember_runs(rehearsing, [run("drun_1")])
    app = state_in(folder)
    assert known(app, "127.0.0.1:8001") == []
    assert run_ids_with_prefix(app.store, "127.0.0.1:8001", "drun_") == []
    assert len(known(app, "127.0.0.1:8002")) == 1
    assert len(known(app)) == 1


# What TAB makes of it


NAMES = {
    "dep_1": "nightly-report",
    "dep_2": "Daily report (EMEA)",
    "dep_3": 'it\'s "quoted" \\ twice',
    "dep_4": "$(touch started) `touch started` ; touch started & | > started",
    "dep_5": "two\nlines\tand\x1b[2J escapes",
    "dep_6": "日报",
    "dep_7": "--wait",
    "dep_8": "%F{red}%n [x] {a,b} ~ * ? ! # = : @",
    "dep_9": "nightly-tidy",
}
IDS = set(NAMES)
LINES: dict[str, set[str]] = {
    "qoder deploy run ": IDS,
    "qoder deploy run dep_": IDS,
    "qoder deploy run dep_1": {"dep_1"},
    "qoder deploy get dep_2": {"dep_2"},
    "qoder run list dep_": IDS,
    "qoder deploy run nightly-r": {"nightly-report"},
    "qoder deploy run nightly": {"nightly-report", "nightly-tidy"},
    "qoder deploy run 日": {"日报"},
    "qoder deploy run Dai": set(),
    "qoder deploy run \\$": set(),
    "qoder deploy run --wait dep_9": {"dep_9"},
    "qoder -o json deploy run dep_9": {"dep_9"},
    "qoder deploy run dep_1 --wai": {"--wait"},
    "qoder run get ": {"last", "drun_1", "drun_2"},
    "qoder run wait drun_1 drun_": {"drun_1", "drun_2"},
    "qoder run logs la": {"last"},
    "qoder run logs x drun_2": {"drun_2"},
    "qoder run result drun_1": {"drun_1"},
    "qoder run cancel drun_1": {"drun_1"},
    "qoder run get nightly": set(),
    "qoder sandbox -- qoder run get drun_": {"drun_9"},
    "qoder sandbox --speed 10 -- qoder-cli deploy run ": {"dep_demo"},
    "qoder --profile work deploy run ": {"dep_work"},
    "qoder deploy run --profile work ": {"dep_work"},
    "qoder deploy run --profile=work wor": {"work-report"},
    "qoder --profile default deploy run --profile 'work' ": {"dep_work"},
    "qoder --profile wor deploy run ": set(),
    "qoder --profile work run wait ": {"last", "drun_work"},
    "qoder sandbox -- qoder --profile work run get drun_": {"drun_9"},
}
SHELLS = ["bash", "zsh", "fish"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home where commands have seen deployments and runs, also of another profile and in the sandbox."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "state"
    app = state_in(folder)
    remember_deployments(app, [deployment(id, name) for id, name in NAMES.items()])
    remember_runs(app, [run("drun_1"), run("drun_2", "dep_4")])
    (home / "config.toml").write_text(f'[profiles.work]\ntoken = "{TOKEN}"\n')
    work = at_work(folder, home / "config.toml")
    remember_names(work, {"dep_work": "work-report"})
    remember_runs(work, [run("drun_work")])
    rehearsing = state_in(folder, QODER_SANDBOX="http://127.0.0.1:8001")
    remember_names(rehearsing, {"dep_demo": "nightly"})
    remember_runs(rehearsing, [run("drun_9")])
    return home


@pytest.mark.parametrize("line", LINES)
def test_what_is_remembered_is_offered(home: Path, line: str) -> None:
    assert set(offered(line, {"QODER_STATE_DIR": str(home / "state")})) == LINES[line]


def test_each_says_what_it_is(home: Path) -> None:
    env = {"QODER_STATE_DIR": str(home / "state")}
    assert offered("qoder deploy run ", env) == {id: inert_of(name) for id, name in NAMES.items()}
    assert offered("qoder deploy run nightly-r", env) == {"nightly-report": "dep_1"}
    assert offered("qoder run get drun_1", env)["drun_1"].startswith("nightly-report 2026-06-14 ")


def inert_of(name: str) -> str:
    return name.replace("\n", "\\n").replace("\t", "\\t").replace("\x1b", "\\u001b")


def test_of_several_hosts_each_says_where_it_is(folder: Path) -> None:
    remember_names(state_in(folder), {"dep_1": "here"})
    remember_names(state_in(folder, QODER_REGION="cn"), {"dep_2": "there"})
    told = {"dep_1": "here, api.qoder.com", "dep_2": "there, api.qoder.com.cn"}
    assert offered("qoder deploy run ", {"QODER_STATE_DIR": str(folder)}) == told


NOTHING = {"qoder deploy run ": set[str](), "qoder run get ": {"last"}}


def test_without_the_store_nothing_of_it_is_offered(folder: Path) -> None:
    env = {"QODER_STATE_DIR": str(folder)}
    assert {line: set(offered(line, env)) for line in NOTHING} == NOTHING


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_is_no_offer(folder: Path, what: str) -> None:
    put_in_the_way(folder, what)
    before = sorted(folder.iterdir()) if folder.is_dir() else []
    env = {"QODER_STATE_DIR": str(folder)}
    assert {line: set(offered(line, env)) for line in NOTHING} == NOTHING
    assert (sorted(folder.iterdir()) if folder.is_dir() else []) == before


def test_a_store_that_others_are_writing_to_is_read(folder: Path) -> None:
    remember_names(state_in(folder), {"dep_1": "nightly"})
    with closing(sqlite3.connect(folder / "state.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert set(offered("qoder deploy run ", {"QODER_STATE_DIR": str(folder)})) == {"dep_1"}


def test_tab_changes_nothing_on_the_disk(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(home / "state", folder)
    before = {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "state.db-shm"}
    assert offered("qoder deploy run ", {"QODER_STATE_DIR": str(folder)})
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "state.db-shm"} == before
    assert not offered("qoder deploy run ", {"QODER_STATE_DIR": str(tmp_path / "none")})
    assert not (tmp_path / "none").exists()


def test_inside_the_sandbox_only_what_is_rehearsed_is_offered(folder: Path) -> None:
    url = "http://127.0.0.1:8001"
    remember_names(state_in(folder), {"dep_real": "nightly"})
    remember_names(state_in(folder, QODER_SANDBOX=url), {"dep_demo": "nightly"})
    env = {"QODER_STATE_DIR": str(folder), "QODER_SANDBOX": url}
    assert set(offered("qoder deploy run ", env)) == {"dep_demo"}


def test_a_profile_behind_the_cursor_counts(home: Path) -> None:
    env = {"QODER_STATE_DIR": str(home / "state")}
    assert set(offered("qoder deploy get dep", env, rest=" --profile work")) == {"dep_work"}
    assert set(offered("qoder --profile default deploy get dep", env, rest=" --profile=work")) == {"dep_work"}


# In the real shells


def tab(shell: str, home: Path, lines: list[str], **env: str) -> Session:
    """Press TAB behind each line; nothing may be shown that is an error, and nothing started."""
    session = press_tab(shell, lines, home, LC_ALL="C.UTF-8", **env)
    assert not session.started
    assert not [
        word for word in ("rror", "denied", "not found", "warning", "_qoder", "ignored") if word in session.screen
    ]
    return session


IN_SHELLS = [
    "qoder deploy run ",
    "qoder deploy run nightly",
    "qoder deploy run 日",
    "qoder deploy run \\$",
    "qoder run get ",
    "qoder sandbox -- qoder run get drun_",
    "qoder deploy run --profile=work wor",
]


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_offers(shell: str, home: Path, tmp_path: Path) -> None:
    session = tab(shell, tmp_path, IN_SHELLS, QODER_STATE_DIR=str(home / "state"))
    assert session.offers == {line: LINES[line] for line in IN_SHELLS}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("what", ["commands", "binary"])
def test_garbage_starts_nothing(shell: str, tmp_path: Path, what: str) -> None:
    app = tmp_path / "own place"
    put_in_the_way(app, what)
    assert tab(shell, tmp_path, list(NOTHING), QODER_STATE_DIR=str(app)).offers == NOTHING


def test_things_of_a_noun_are_remembered_the_newest_first_until_they_are_archived(folder: Path) -> None:
    app = state_in(folder)
    writer, gone = {"id": "agent_1"}, {"id": "agent_2"}
    remember(
        app.store, app.settings, "agent", [(writer, "writer"), (gone, "old"), ({"id": "agent_$(x)"}, "odd"), ({}, None)]
    )
    remember(app.store, app.settings, "agent", [({**gone, "archived_at": "2026-06-14T08:54:06Z"}, "old")])
    remember(app.store, app.settings, "model", [({"id": "claude-4.5"}, None)])
    with closing(Store(app.env, warn=lambda complaint: None, looking=True)) as store:
        assert [(each.id, each.name) for each in remembered.seen(store, "agent", profile="default")] == [
            ("agent_1", "writer")
        ]
        assert [each.id for each in remembered.seen(store, "model", profile="default")] == ["claude-4.5"]
        assert remembered.seen(store, "agent", profile="work") == []


def test_a_store_of_an_earlier_program_keeps_what_was_triggered(folder: Path) -> None:
    app = state_in(folder)
    app.store.begin(at=1.0, ahead=None, profile="default", host=HOST, deployment="dep_1", key="k")
    app.store.write(lambda connection: connection.execute("DROP TABLE seen"))
    app.store.write(lambda connection: connection.execute("CREATE TABLE runs (id, host)"))
    app.store.write(lambda connection: connection.execute("PRAGMA user_version = 1"))
    app.close()
    with closing(Store(app.env, warn=pytest.fail, looking=True)) as store:
        assert remembered.seen(store, "agent", profile="default") == []
        assert len(store.entries(HOST)) == 1
    remember((app := state_in(folder)).store, app.settings, "agent", [({"id": "agent_1"}, "writer")])
    assert [each.id for each in remembered.seen(app.store, "agent", profile="default")] == ["agent_1"]
    assert len(app.store.entries(HOST)) == 1
    query = "SELECT count(*) FROM sqlite_master WHERE name IN ('runs', 'deployments', 'things')"
    assert app.store.read(query) == [(0,)]


THINGS = {
    "qoder agent get ": {"agent_1"},
    "qoder agent archive wr": {"writer"},
    "qoder session new --agent wr": {"writer"},
    "qoder deploy create --agent agent_": {"agent_1"},
}


def test_tab_offers_the_things_of_a_noun_by_id_and_name(folder: Path, tmp_path: Path) -> None:
    remember((app := state_in(folder)).store, app.settings, "agent", [({"id": "agent_1"}, "writer")])
    app.close()
    assert tab("bash", tmp_path, list(THINGS), QODER_STATE_DIR=str(folder)).offers == THINGS


@pytest.mark.parametrize("shell", ["bash", "zsh"])  # what stands behind the cursor fish cannot be told in a script
def test_the_shell_tells_what_stands_behind_the_cursor(shell: str, home: Path, tmp_path: Path) -> None:
    line = "qoder deploy get dep --profile work\x1b[D" + "\x1b[D" * len(" --profile wor")
    [typed] = press_tab(shell, [line], tmp_path, WHOLE="yes", QODER_STATE_DIR=str(home / "state")).typed.values()
    assert typed.split() == ["qoder", "deploy", "get", "dep_work", "--profile", "work"]


@pytest.mark.parametrize("shell", SHELLS)
def test_names_are_shown_beside_the_ids(shell: str, home: Path, tmp_path: Path) -> None:
    screen = listed(shell, tmp_path, "qoder deploy run dep_", QODER_STATE_DIR=str(home / "state"))
    for told in (
        "nightly-report",
        "Daily report (EMEA)",
        'it\'s "quoted" \\ twice',
        "$(touch started) `touch",
        "%F{red}",
    ):
        assert told in screen
    assert "\x1b[2J" not in screen
    assert not (tmp_path / "started").exists()


def listed(shell: str, home: Path, line: str, **env: str) -> str:
    """Return what a shell shows when it lists what can follow."""
    need(shell)
    if shell != "fish":
        return press_tab(shell, [line], home, LC_ALL="C.UTF-8", LISTED="yes", **env).screen
    command = ["fish", "--no-config", "-c", "source $argv[1]; complete -C $argv[2]", str(FOLDER / FILES[shell]), line]
    env = environment(home) | env
    return subprocess.run(command, env=env, cwd=home, capture_output=True, text=True, timeout=PATIENCE).stdout
