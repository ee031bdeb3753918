"""The store of starts: what it knows, and that nothing that is done to it loses a run or is in the way."""

import errno
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from qoder_cli.base.errors import Signalled, UsageError
from qoder_cli.cli import options
from qoder_cli.local import store as module
from qoder_cli.local.store import Attempt, Store, StoredAttempt, state_folder
from qoder_cli.sandbox.world import World
from qoder_cli.settings import configfile
from qoder_cli.settings.configfile import change, load
from tests.conftest import Qoder, examples
from tests.support import stored
from tests.support.nursery import nursery
from tests.support.one_run import DONE, RUN, TRIGGER
from tests.support.processes import Going, until
from tests.support.stored import GARBAGE, entries_in
from tests.support.wire import api_error, page

HOST = "api.qoder.com"
LINUX = sys.platform == "linux"
posix = pytest.mark.skipif(os.name != "posix", reason="as POSIX has it")


def store_in(folder: Path, warn: Callable[[str], None] = pytest.fail) -> Store:
    return Store({"QODER_STATE_DIR": str(folder)}, warn=warn)


def begin(store: Store, key: str = "k", *, at: float = 1.0, profile: str = "p", host: str = HOST) -> Attempt:
    return store.begin(at=at, ahead=None, profile=profile, host=host, deployment="dep_1", key=key)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Return a store in a folder that is yet to be made; it may warn of nothing."""
    with closing(store_in(tmp_path / "state")) as store:
        yield store


HEAD = """
import sys
from qoder_cli.local.store import Store, state_folder
def warn(text): print('warning:', text, flush=True)
store = Store({'QODER_STATE_DIR': sys.argv[1]}, warn=warn)
def begin(key):
    return store.begin(at=1.0, ahead=None, profile='p', host='api.qoder.com', deployment='dep_1', key=key)
"""


def in_python(script: str, *words: object, stdin: int = subprocess.DEVNULL) -> Going:
    """Start a process that runs this, with `store` in the folder that is its first word."""
    given = [str(word) for word in words]
    script = f"{HEAD}{script}\nraise SystemExit"
    streams: dict[str, Any] = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return Going(nursery().start(given, env={}, cwd=Path.cwd(), prologue=script, **streams))


def first_of(process: Going, count: int) -> list[str]:
    """Return the first lines of a process, once there are so many."""
    until(lambda: process.out.count("\n") >= count, f"{count} lines")
    return process.out.splitlines()[:count]


def said_by(process: Going) -> list[str]:
    """Return the lines of a process that has to end well."""
    assert process.last() == (0, "")
    return process.out.splitlines()


class SilentInput(NamedTuple):
    """A standard input that stays silent until it ends."""

    stdin: int
    end: Callable[[], None]


@pytest.fixture
def silent() -> Iterator[SilentInput]:
    reading, writing = os.pipe()
    with open(reading) as stdin, open(writing, "w") as other_end:
        yield SilentInput(stdin.fileno(), other_end.close)


def known(folder: Path) -> list[tuple[str, str | None]]:
    """Return what a store in this folder knows: keys and their runs."""
    return [(entry.attempt.key, entry.run) for entry in entries_in(folder)]


# What it knows.

HOSTS = (HOST, "elsewhere")
STEPS = st.tuples(
    st.sampled_from(["record_run", "record_nothing", "claim"]), st.integers(0, 3), st.sampled_from(["drun_1", "drun_2"])
)


@examples(Fraction(2, 3))
@given(st.lists(STEPS, max_size=8))
def test_store_knows_what_became_of_each_attempt(steps: list[tuple[str, int, str]]) -> None:
    """An answer beats everything, a run is claimed once, and that nothing was started is never said over a run."""
    with tempfile.TemporaryDirectory() as folder, closing(store_in(Path(folder))) as store:
        attempts = [begin(store, host=HOSTS[number // 3]) for number in range(4)]
        entries = [StoredAttempt(attempt) for attempt in attempts]
        for what, number, run in steps:
            attempt, entry = attempts[number], entries[number]
            beside = [n for n, each in enumerate(entries) if each.attempt.host == attempt.host and n != number]
            owner = [n for n in beside if entries[n].run == run]
            match what:
                case "record_run":
                    store.record_run(attempt, run)
                    entries[number] = StoredAttempt(attempt, run)
                    for n in owner:
                        if entries[n].adopted:  # wrongly: it is open again
                            entries[n] = StoredAttempt(attempts[n])
                case "record_nothing":
                    store.record_nothing(attempt)
                    if entry.run is None:
                        entries[number] = StoredAttempt(attempt, nothing=True)
                case "claim":
                    is_free = entry.run is None and not owner
                    assert store.claim(attempt, run) == (is_free or entry.run == run)
                    if is_free:
                        entries[number] = StoredAttempt(attempt, run, adopted=True)
        for host in HOSTS:
            mine = [entry for entry in entries if entry.attempt.host == host]
            assert store.entries(host) == store.of_key("k", host=host) == mine
            assert store.adopted(host) == {entry.run for entry in mine if entry.adopted}
            assert store.owners(host) == {entry.run: entry for entry in reversed(mine) if entry.run}
            assert [entry.open for entry in mine] == [not (entry.run or entry.nothing) for entry in mine]
        store.close()
        assert sorted(entries_in(Path(folder)), key=str) == sorted(entries, key=str)


def test_store_last_is_the_newest_that_may_have_started_something_or_what_its_key_did(store: Store) -> None:
    assert store.last(profile="p", host=HOST) is None
    mine, later = begin(store, at=9.0), begin(store, at=8.0)  # the clock was set back
    assert store.last(profile="p", host=HOST) == StoredAttempt(later)
    store.record_nothing(later)
    for _ in range(30):
        begin(store, profile="other")
        begin(store, host="elsewhere")
    assert store.last(profile="p", host=HOST) == StoredAttempt(mine)
    lost = begin(store, "other key")
    assert store.last(profile="p", host=HOST) == StoredAttempt(lost)
    again = begin(store)
    store.claim(mine, "drun_1")
    assert store.last(profile="p", host=HOST) == StoredAttempt(mine, "drun_1", adopted=True)
    assert again.key == mine.key


def test_store_lets_go_of_the_oldest_beyond_one_commands_most(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert module.MOST_ATTEMPTS >= 2 * options.MOST
    monkeypatch.setattr(module, "MOST_ATTEMPTS", 500)
    attempts = [begin(store, str(number)) for number in range(2100)]
    assert [entry.attempt for entry in store.entries(HOST)] == attempts[1500:]


def test_store_writes_words_that_no_file_takes(store: Store) -> None:
    attempt = begin(store, "k\ud800")
    store.record_run(attempt, "drun_\udfff")
    assert store.last(profile="p", host=HOST) == StoredAttempt(attempt, "drun_\\udfff")
    assert store.claim(attempt, "drun_\udfff")


def test_store_makes_nothing_to_be_read(store: Store, tmp_path: Path) -> None:
    assert (store.entries(HOST), store.of_key("k", host=HOST), store.owners(HOST)) == ([], [], {})
    assert list(tmp_path.iterdir()) == []


@posix
def test_store_is_for_its_owner_alone(tmp_path: Path, silent: SilentInput) -> None:
    script = "import os; os.umask(0); begin('k'); store.hold('k', host='h')\n"
    script += "print('done', flush=True); sys.stdin.read()"
    process = in_python(script, tmp_path / "a/state", stdin=silent.stdin)
    assert first_of(process, 1) == ["done"]
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "a").rglob("*")}
    silent.end()
    assert said_by(process) == ["done"]
    files = ("state.db", "state.db-wal", "state.db-shm", "keys.lock")
    assert modes == {"state": 0o700, **dict.fromkeys(files, 0o600)}


class _Plain(sqlite3.Connection):
    """A connection as of an SQLite that was built without `serialize`."""

    serialize = property()


@pytest.mark.parametrize("by_another", [False, True])
def test_store_is_made_where_there_are_no_links_and_sqlite_has_the_least(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_another: bool
) -> None:
    def link(part: Path, path: Path) -> None:
        if by_another:  # at the same moment
            shutil.copy(part, path)
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=_Plain))
    monkeypatch.setattr(module, "_connect", stored._connect)
    begin(store)
    assert len(store.entries(HOST)) == 1
    assert not [path for path in (tmp_path / "state").iterdir() if path.name.count(".") > 1]


PLACES = [
    ({"STATE_DIRECTORY": "/var/lib/nightly"}, "/var/lib/nightly"),
    ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, "/var/lib/a"),
    ({"STATE_DIRECTORY": "/var/lib/a", "QODER_STATE_DIR": "/own"}, "/own"),
    ({"STATE_DIRECTORY": "/var/lib/a", "QODER_STATE_DIR": ""}, "/var/lib/a"),
    ({"STATE_DIRECTORY": "relative"}, "/xdg/qoder"),
    ({}, "/xdg/qoder"),
]


@pytest.mark.parametrize(("env", "folder"), PLACES)
@pytest.mark.skipif(not LINUX, reason="folders as Linux has them")
def test_store_is_where_the_environment_says(env: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg")
    assert state_folder(env) == Path(folder)


# Many at once.


def test_store_lets_one_of_many_processes_claim_a_run(tmp_path: Path, silent: SilentInput) -> None:
    script = "store._patience = 60.0; a = begin('k'); print('begun', flush=True)\n"
    script += "sys.stdin.readline(); print(store.claim(a, 'drun_1'))"
    processes = [in_python(script, tmp_path, stdin=silent.stdin) for _ in range(8)]
    assert [first_of(process, 1) for process in processes] == [["begun"]] * 8
    silent.end()
    assert sorted(said_by(process)[1] for process in processes) == ["False"] * 7 + ["True"]
    assert [run for _, run in known(tmp_path) if run] == ["drun_1"]


# Killed.


def interrupted_once() -> Callable[..., Any]:
    """Return what writes an attempt down, but for the first time, when a signal comes."""
    change, signals = module._change, [signal.SIGINT]

    def written(*given: Any, **more: Any) -> Any:
        work = change(*given, **more)

        def done(connection: Any) -> bool:
            if signals:
                raise Signalled(signals.pop())
            return work(connection)

        return done

    return written


def test_store_knows_all_that_was_said_after_kill_9_at_any_moment(tmp_path: Path) -> None:
    moments = random.Random(11)
    script = r"""
from itertools import count
store._patience = 60.0
for n in count():
    store.record_run(begin(sys.argv[2]), f'drun_{sys.argv[2]}_{n}')
    print(f'{n}\n', end='', flush=True)  # in one piece, however the streams are buffered
"""
    said = set()
    for number in range(6):
        process = in_python(script, tmp_path, number)
        # Every third may be killed while it makes the tables.
        lines = first_of(process, moments.randrange(15, 35) if number % 3 else 0)
        time.sleep(moments.random() * (0.01 if lines else 0.05))
        process.process.kill()
        assert process.last() == (-signal.SIGKILL, "")
        said |= {f"drun_{number}_{int(each)}" for each in process.out.splitlines()}
        with closing(store_in(tmp_path)) as store:
            assert said <= store.owners(HOST).keys()
            open_ones = [entry for entry in store.entries(HOST) if entry.open]
            assert len(open_ones) <= number + 1  # what was under way, of each
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert len(said) >= 50


@pytest.mark.parametrize("begun", [True, False])
def test_store_loses_no_run_to_a_signal_while_it_is_written_down(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    attempt = begin(store) if begun else None
    monkeypatch.setattr(module, "_change", interrupted_once())
    with pytest.raises(Signalled):
        store.record_run(attempt, "drun_1") if attempt else begin(store)
    if attempt:
        with closing(sqlite3.connect(tmp_path / "state/state.db", timeout=0, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # nobody has to wait for what was left undone
            other.execute("ROLLBACK")
        assert store.last(profile="p", host=HOST) == StoredAttempt(attempt, "drun_1")
    store.close()
    assert known(tmp_path / "state") == ([("k", "drun_1")] if begun else [])


# In the way.


def filled(path: Path, count: int = 100) -> Path:
    """Make a store of so many attempts at this path of its file, and return that."""
    with closing(store_in(path.parent)) as store:
        for number in range(count):
            begin(store, f"{number}")
    return path


def changed(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(sql)


def garbage_in_the_middle(path: Path) -> None:
    whole = filled(path).read_bytes()
    path.write_bytes(whole[:4096] + b"\xab" * (len(whole) - 4096))


def not_even_text(path: Path) -> None:
    """Damage the tables' columns, which SQLite repeats in what it says is wrong."""
    path.write_bytes(filled(path, 1).read_bytes().replace(b"at REAL NOT NULL", b"at REAL NOT \xffULL"))


AS_FOR_NAMES = ("empty", "huge", "half", "newer", "a folder", "a pipe", "a link to nothing", "a file for a folder")
IN_THE_WAY: dict[str, Callable[[Path], object]] = {
    **{name: make for name, make in GARBAGE.items() if name in AS_FOR_NAMES},
    "garbage in the middle": garbage_in_the_middle,
    "not even text": not_even_text,
    "another's": lambda path: changed(path, "CREATE TABLE attempts (number)"),
    "pipe beside": lambda path: os.mkfifo(f"{path}-journal"),
    "folder beside": lambda path: Path(f"{path}-wal").mkdir(),
}


# A store that is in somebody's way would do this; each of its answers is as if it worked, within its process.
ALL_OF_IT = """
host = 'api.qoder.com'
a, b, c = (begin(key) for key in 'abc')
store.record_run(a, 'drun_1')
assert store.claim(b, 'drun_2') and not store.claim(c, 'drun_1') and not store.claim(c, 'drun_2')
store.record_nothing(a), store.record_nothing(c)
c = store.know_offset(c, 2.0)
assert [(e.run, e.nothing, e.adopted) for e in store.entries(host)[-3:]] == [
    ('drun_1', False, False), ('drun_2', False, True), (None, True, False)]
assert store.last(profile='p', host=host).run == 'drun_2'
assert store.of_key('c', host=host)[-1].attempt.ahead == 2.0
assert 'drun_2' in store.adopted(host)
store.close()
print('done')
"""


@posix
@pytest.mark.parametrize("what", IN_THE_WAY)
@pytest.mark.few(5)
def test_store_warns_once_of_whatever_is_in_its_place_and_leaves_it(what: str, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    IN_THE_WAY[what](folder / "state.db")
    before = {path: path.read_bytes() if path.is_file() else b"" for path in tmp_path.rglob("*")}
    [warning, done] = said_by(in_python(ALL_OF_IT, folder))
    assert done == "done"
    assert warning.startswith("warning: this machine's history of runs cannot be written (")
    assert warning.endswith("`last` and --idempotency-key will not know of this run")
    after = {path: path.read_bytes() if path.is_file() else b"" for path in tmp_path.rglob("*")}
    assert after == before


@pytest.mark.parametrize(
    ("damage", "last"), [("at = -1e300, ahead = 'much'", 5), ("run = x'00ff'", 7), ("deployment = x'00ff'", 7)]
)
@pytest.mark.few(2)
def test_run_wait_and_deploy_run_have_no_bug_where_a_row_is_damaged(
    qoder: Qoder, tmp_path: Path, damage: str, last: int
) -> None:
    """A flipped bit can make a text of a number, or bytes of a text."""
    with closing(store_in(tmp_path)) as store:
        store.record_run(begin(store, profile="default"), "drun_1")
    changed(tmp_path / "state.db", f"UPDATE attempts SET {damage}")
    qoder.env["QODER_STATE_DIR"] = str(tmp_path)
    qoder.wire.on(*RUN, api_error(404, "not_found_error", "None."), repeat=True)
    assert [qoder("run", "wait", typed, "--json").code for typed in ("drun_1", "last")] == [5, last]
    assert qoder("key", "list").code == (0 if last == 5 else 7)
    qoder.wire.on(*TRIGGER, {**DONE, "id": "drun_2"})
    assert qoder("deploy", "run", "dep_1", "--json").code == 0


@pytest.mark.skipif(not LINUX, reason="where a name may have any bytes")
@pytest.mark.parametrize("name", ["{}/caf\udce9", "/{}", "{}/50%#?"])
def test_store_may_be_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    folder = Path(name.format(tmp_path))
    filled(folder / "state.db", 1)
    assert len(entries_in(folder)) == 1


UNPRIVILEGED = """
import os, json, sqlite3, qoder_cli.local.store
if os.getuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """Return a folder that every user can reach."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@posix
@pytest.mark.parametrize(
    ("modes", "why", "known"),
    [
        ((0o444, 0o555), "written (attempt to write a readonly database)", ["drun_0"]),
        ((0, 0o777), "read (unable to open database file)", []),
    ],
    ids=["read-only", "another user's"],
)
def test_store_that_cannot_be_written_is_one_warning(
    shared: Path, modes: tuple[int, int], why: str, known: list[str]
) -> None:
    with closing(store_in(shared)) as store:
        store.record_run(begin(store, "earlier"), "drun_0")
    for path, mode in zip((shared / "state.db", shared), modes, strict=True):
        path.chmod(mode)
    runs = "[entry.run for entry in store.of_key('earlier', host='api.qoder.com')]"
    script = f"{UNPRIVILEGED}earlier = {runs}\n{ALL_OF_IT}\nprint(earlier)"
    [warning, done, earlier] = said_by(in_python(script, shared))
    assert (done, earlier) == ("done", str(known))
    assert f"cannot be {why}" in warning
    assert [path.name for path in shared.iterdir()] == ["state.db"]


@pytest.mark.parametrize("for_readers_too", [False, True])
def test_store_that_is_locked_is_waited_for_once_and_not_by_each_thread(tmp_path: Path, for_readers_too: bool) -> None:
    assert module.PATIENCE + module.LAST_PATIENCE <= 2.0
    filled(tmp_path / "state.db", 1)
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as other:
        if for_readers_too:
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        script = f"""
import threading, time
from qoder_cli.local import store as module
store._patience, module.LAST_PATIENCE = 0.2, 0.1
began = time.monotonic()
store.owners('api.qoder.com')
{ALL_OF_IT}
threads = [threading.Thread(target=begin, args=(str(n),)) for n in range(100)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert 0.15 < time.monotonic() - began < 6, 'each waited by itself'
assert len(store.entries('api.qoder.com')) >= 103
"""
        [warning, done] = said_by(in_python(script, tmp_path))
        other.execute("ROLLBACK")
    assert done == "done"
    assert "(database is locked)" in warning


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("at_the_end", [False, True])
def test_store_writes_what_it_could_not_once_it_can(
    tmp_path: Path, opened: bool, at_the_end: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    warnings: list[str] = []
    store = store_in(tmp_path, warnings.append)
    begin(store, "earlier")
    if not opened:
        store.close()
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as other:
        if not opened:  # which keeps others from reading too
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        first = begin(store, "first")
        assert store.claim(first, "drun_1")
        assert [entry.attempt.key for entry in store.entries(HOST)][-1] == "first"
        other.execute("ROLLBACK")
    told: list[tuple[str, str | None]] = [("earlier", None), ("first", "drun_1")]
    assert known(tmp_path) == told[:1]
    if not at_the_end:
        store.record_run(begin(store, "second"), "drun_2")
        told.append(("second", "drun_2"))
        assert known(tmp_path) == told
    store.close()
    assert known(tmp_path) == told
    assert len(warnings) == 1


def test_store_knows_a_freed_key_where_it_cannot_be_written(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server must get another key than before (`runs/trigger.py`)."""
    monkeypatch.setattr(module, "LAST_PATIENCE", 0.0)
    store.record_run(begin(store), "drun_1")
    store.free_key("k", host=HOST)
    with (
        closing(sqlite3.connect(tmp_path / "state/state.db", isolation_level=None)) as other,
        closing(store_in(tmp_path / "state", lambda warning: None)) as blocked,
    ):
        other.execute("BEGIN IMMEDIATE")
        blocked._patience = 0.0
        begin(blocked, "another")
        assert blocked.freed_after("k", host=HOST) == "drun_1"


def test_store_warns_once_where_nothing_can_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def lockf(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", lockf)
    warnings: list[str] = []
    with closing(store_in(tmp_path, warnings.append)) as store:
        assert store.hold("k", host=HOST)
        store.let_go("k", host=HOST)
        begin(store)
    assert ["another command that does the same may go unnoticed" in warning for warning in warnings] == [True]


def test_deploy_run_starts_with_one_warning_where_there_is_no_home_folder(
    qoder: Qoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pwd

    def unknown(uid: int) -> Any:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    qoder.env = {"QODER_PAT": qoder.env["QODER_PAT"]}
    qoder.wire.on("POST", "/deployments/dep_1/run", {"id": "drun_1", "type": "deployment_run", "session_id": "sess_1"})
    ran = qoder("deploy", "run", "dep_1", "--idempotency-key", "k", "-q")
    assert (ran.code, ran.out) == (0, "drun_1\n")
    [warning] = [line for line in ran.err.splitlines() if line.startswith("warning:")]
    assert "no home folder was found; set HOME or QODER_STATE_DIR" in warning
    assert "will not know of this run" in warning
    assert list(tmp_path.iterdir()) == []


# Keys.


def test_store_lets_one_process_and_one_thread_hold_a_key(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    take = "print(store.hold('k', host='h'), store.hold('other', host='h'), store.hold('k', host='i'))"
    assert store.hold("k", host="h")
    store.let_go("another", host="h")
    assert not store.hold("k", host="h")  # the same process, so perhaps another thread
    assert not store_in(folder).hold("k", host="h")
    assert said_by(in_python(take, folder)) == ["False True True"]
    assert not store.hold("k", host="h")
    store.let_go("k", host="h")
    assert said_by(in_python(take, folder)) == ["True True True"]
    assert store.hold("k", host="h")
    store.let_go("k", host="h")
    assert [path.name for path in folder.iterdir()] == ["keys.lock"]


@posix
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_store_warns_once_of_what_is_in_the_place_of_the_locks(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "keys.lock")
    script = "print(store.hold('k', host='h')); store.let_go('k', host='h'); begin('k'); print('done')"
    [warning, taken, done] = said_by(in_python(script, tmp_path))
    assert (taken, done) == ("True", "done")
    assert "cannot be locked" in warning


@pytest.mark.parametrize(
    "line",
    [
        "key list",
        "key get night-1",
        "key free night-1 --yes",
        "run wait last",
        "run get last",
        "run wait last --forget",
    ],
)
def test_commands_deny_no_start_where_the_history_cannot_be_read(qoder: Qoder, tmp_path: Path, line: str) -> None:
    qoder.env["QODER_STATE_DIR"] = str(tmp_path)
    (tmp_path / "state.db").write_bytes(b"SQLite format 3\0" + b"x" * 4000)
    ran = qoder(*line.split(), "--json")
    assert (ran.code, "history of runs cannot be read" in ran.error["message"]) == (7, True), ran


@posix
@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("not-mounted")])
def test_run_wait_last_denies_no_start_where_the_state_folder_is_none(
    qoder: Qoder, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "state")
    qoder.env["QODER_STATE_DIR"] = str(tmp_path / "state")
    ran = qoder("run", "wait", "last", "--json")
    assert (ran.code, "history of runs cannot be read" in ran.error["message"]) == (7, True), ran


def test_run_wait_of_several_fails_only_for_the_run_that_the_history_was_to_name(qoder: Qoder, tmp_path: Path) -> None:
    qoder.env["QODER_STATE_DIR"] = str(tmp_path)
    (tmp_path / "state.db").write_bytes(b"SQLite format 3\0" + b"x" * 4000)
    qoder.wire.on("GET", "/deployments/dep_1/runs", page(DONE)).on(*RUN, DONE, repeat=True)
    ran = qoder("run", "wait", "last", "dep_1@last", "--json")
    assert [item["exit_code"] for item in ran.json] == [7, 0], ran.err


def test_run_retry_all_failed_starts_nothing_where_it_cannot_remember(
    qoder: Qoder, world: World, tmp_path: Path
) -> None:
    qoder.env["QODER_STATE_DIR"] = str(tmp_path / "file")
    (tmp_path / "file").write_text("no folder")
    world.start("dep_fail", at=world.now() - 3600)
    ran = qoder("run", "retry", "--all-failed", "--all", "--since", "1d", "--yes", "--json")
    assert (ran.code, "what was retried before" in ran.error["message"], world.started()) == (7, True, [])


# The config file is changed by one at a time: two changes at once both count, or one fails.


@pytest.fixture
def config(tmp_path: Path) -> Path:
    made = tmp_path / "qoder" / "config.toml"
    made.parent.mkdir()
    return made


def lock_of(config: Path) -> Path:
    return config.with_name(f".{config.name}.lock")


def test_config_set_loses_no_change_made_while_another_reads(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited = configfile._changed

    def slow(text: str, profile: str, values: dict[str, str | None]) -> str | None:
        if profile == "a" and not other.is_alive() and not done:
            other.start()
            other.join(0.2)  # with no lock it is through by now, and what it wrote is lost
        return edited(text, profile, values)

    done: list[int] = []

    def change_b() -> None:
        change(config, "b", {"region": "cn"}, env={})
        done.append(1)

    other = threading.Thread(target=change_b)
    monkeypatch.setattr(configfile, "_changed", slow)
    change(config, "a", {"region": "cn"}, env={})
    other.join()
    assert set(load(config).profiles) == {"a", "b"}


def test_config_set_says_who_holds_the_lock(qoder: Qoder, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configfile, "LONGEST_WAIT", 0.05)
    qoder.env["QODER_CONFIG"] = str(config)
    with FileLock(lock_of(config), mode=0o600):
        for words in (["set", "region", "cn"], ["unset", "region"]):
            config.write_text('[profiles.default]\nregion = "global"\n')
            ran = qoder("config", *words, "--json")
            assert (ran.code, "another qoder" in ran.error["message"]) == (2, True)
            assert load(config).profile("default") == {"region": "global"}
        assert qoder("config", "get", "region").out == "global\n"  # who only reads waits for nobody
    assert configfile.LONGEST_WAIT < 1


@pytest.mark.skipif(os.name != "posix", reason="symbolic links need rights on Windows")
def test_config_set_locks_two_paths_of_one_file_as_one(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configfile, "LONGEST_WAIT", 0.05)
    link = config.parent.parent / "link.toml"
    link.symlink_to(config)
    with FileLock(lock_of(config), mode=0o600), pytest.raises(UsageError, match="another qoder"):
        change(link, "default", {"region": "cn"}, env={})
    change(link, "default", {"region": "cn"}, env={})
    assert (link.is_symlink(), load(config).profile("default")) == (True, {"region": "cn"})


def test_config_set_says_that_nobody_may_write_to_the_folder(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text('[profiles.default]\nregion = "global"\n')
    opened = os.open

    def denied(path: str, flags: int, *args: int, **kwargs: int) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, flags, *args, **kwargs)

    monkeypatch.setattr("os.open", denied)  # root may write anywhere
    with pytest.raises(UsageError, match=r"cannot write the config file .*: Permission denied; nothing was changed"):
        change(config, "default", {"region": "cn"}, env={})
    monkeypatch.undo()
    assert load(config).profile("default") == {"region": "global"}
