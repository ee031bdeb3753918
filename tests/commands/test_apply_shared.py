"""`qoder apply` with a store of keys that machines share: one apply of a stack at a time."""

import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from qoder_cli.base.errors import Signalled
from qoder_cli.keys.protocol import ABANDONED
from qoder_cli.keys.record import KeyRecord, StoredKey
from tests.conftest import Qoder, Ran
from tests.support import stacks
from tests.support.cells import MORE
from tests.support.inprocess import WorldTransport
from tests.support.interrupting import interrupt
from tests.support.machines import Machines

# What a store of each kind keeps is tested where runs are started under keys; to start a server takes long.
STORES = ("memory store", pytest.param("PostgreSQL", marks=MORE))

FILES = {
    "qoder.yaml": "stack: reports\n",
    "environments/build.yaml": {"name": "build", "config": {"type": "cloud"}},
    "deployments/weekly.yaml": {
        "name": "weekly",
        "agent": "agent_writer",
        "environment": "build",
        "message": "Report.",
    },
}
TURN = "stack reports"
WHO = "build-7 (process 12)"
THEIRS = KeyRecord("applying", "them", TURN, "", "api.qoder.com", at="2027-01-15T08:00:00Z", machine=WHO)
Meanwhile = Callable[[], object]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    stacks.write(tmp_path / "folder", FILES)
    return str(tmp_path / "folder")


def applier(machines: Machines, at_create: Meanwhile = lambda: None) -> Qoder:
    """Return a machine; something happens when it creates the environment, then the deployment that needs it."""
    machines.clock.patience = 20.0

    def lie(request: httpx.Request, answer: Callable[[], httpx.Response]) -> httpx.Response:
        response = answer()
        if request.method == "POST" and request.url.path.endswith(("/environments", "/deployments")):
            at_create()
        return response

    return machines.machine("a", lie=lie)


def made(machines: Machines) -> list[str]:
    """Return what was created, in order."""
    writes = [each.removeprefix("POST /") for each in machines.sent if each.startswith("POST")]
    return [each for each in writes if "memory_stores" not in each]


def turn(machines: Machines) -> StoredKey | None:
    keys = machines.store()
    found = keys.read(THEIRS.name)
    return found


def they_take_it(machines: Machines) -> StoredKey:
    keys = machines.store()
    if (ours := keys.read(THEIRS.name)) is not None:
        assert keys.put(ours, None)
    found = keys.put(None, THEIRS)
    assert found is not None
    return found


def test_apply_waits_while_another_machine_applies_the_stack_and_says_which(machines: Machines, folder: str) -> None:
    began, found, sent = machines.clock.time, [they_take_it(machines)], list[int]()
    keys = machines.store()

    def meanwhile() -> None:
        spent = machines.clock.time - began
        if spent < 1.5 * ABANDONED:  # they are slow, and heard of
            moved = keys.put(found[-1], THEIRS._replace(beat=len(found)))
            assert moved is not None
            found.append(moved)
        elif not sent:
            machines.clock.patience = 20.0
            sent.append(len([each for each in machines.sent if "memory_stores" not in each]))
            assert keys.put(found[-1], None)

    machines.clock.at_sleep = meanwhile
    ran = machines.machine("a")("apply", folder, "--yes")
    assert (ran.code, sent, made(machines)) == (0, [0], ["environments", "deployments"])
    assert f"{WHO} has been applying the stack reports since 2027-01-15T08:00:00Z; waiting for it" in ran.err
    assert "qoder key free 'stack reports'" in ran.err


def test_apply_takes_the_turn_of_a_machine_that_is_not_heard_of(machines: Machines, folder: str) -> None:
    they_take_it(machines)
    began = machines.clock.time
    ran = applier(machines)("apply", folder, "--yes")
    assert (ran.code, machines.clock.time - began >= ABANDONED) == (0, True)
    assert f"{WHO} has not reported for 3m 00s; its turn is over" in ran.err


def test_apply_goes_on_once_a_person_ended_the_turn_of_another(machines: Machines, folder: str) -> None:
    they_take_it(machines)
    said: list[Ran] = []

    def meanwhile() -> None:
        if not said:
            admin = machines.machine("admin")
            said.extend(admin(*line) for line in (("key", "list"), ("key", "free", TURN, "--yes")))
            machines.clock.patience = 20.0

    machines.clock.at_sleep = meanwhile
    began = machines.clock.time
    assert machines.machine("a")("apply", folder, "--yes").code == 0
    assert machines.clock.time - began < 20
    assert said[0].out.strip().split("\t") == [TURN, "applying", "-", "-", "no", THEIRS.at, WHO]
    assert f"{WHO} has been applying the stack since" in said[1].err


def refuse() -> None:
    raise httpx.ReadError("cut")


def test_apply_that_waits_for_another_machine_is_ended_by_a_signal(machines: Machines, folder: str) -> None:
    theirs = they_take_it(machines)
    machines.clock.at_sleep = interrupt
    ran = machines.machine("a")("apply", folder, "--yes", "--json")
    assert (ran.code, made(machines), turn(machines)) == (130, [], theirs)
    assert ran.error["message"] == "interrupted; nothing was started"


@pytest.mark.parametrize(("how", "code"), [(lambda: None, 0), (interrupt, 130), (refuse, 0)])
def test_apply_gives_the_turn_back_however_it_ends(machines: Machines, folder: str, how: Meanwhile, code: int) -> None:
    held: list[StoredKey | None] = []

    def at_create() -> None:
        held.append(turn(machines))
        how()

    assert applier(machines, at_create)("apply", folder, "--yes").code == code
    assert held[0] is not None
    assert turn(machines) is None


def test_apply_stays_heard_of_however_long_it_takes(machines: Machines, folder: str) -> None:
    held: list[StoredKey | None] = []

    def at_create() -> None:
        held.append(turn(machines))
        machines.clock.time += 90

    assert applier(machines, at_create)("apply", folder, "--yes").code == 0
    assert [each and (each.record.owner == held[0].record.owner, each.record.beat) for each in held if held[0]] == [
        (True, 0), (True, 1),
    ]  # fmt: skip


LOSSES: dict[str, tuple[Callable[[Machines], object], str]] = {
    "another has it": (they_take_it, f"{WHO} took it over"),
    "a person freed it": (lambda machines: machines.machine("x")("key", "free", TURN, "--yes"), "somebody ended it"),
}


@pytest.mark.parametrize("what", LOSSES)
def test_apply_writes_no_more_once_its_turn_is_lost(machines: Machines, folder: str, what: str) -> None:
    happens, why = LOSSES[what]

    def at_create() -> None:
        happens(machines)
        machines.clock.time += 30

    ran = applier(machines, at_create)("apply", folder, "--yes", "--json")
    assert (ran.code, made(machines)) == (6, ["environments"])
    assert ran.error["message"] == f"1 created, 1 not attempted; the turn of the stack reports was lost: {why}"


def test_apply_writes_no_more_once_others_may_hold_it_for_abandoned(shared: Machines, folder: str) -> None:
    def at_create() -> None:
        shared.clock.time += 150
        assert isinstance(runner.transport, WorldTransport)
        runner.transport.faults.add("any:503*inf")

    runner = applier(shared, at_create)
    ran = runner("apply", folder, "--yes", "--json")
    assert (ran.code, made(shared)) == (6, ["environments"])
    assert "lost: the store of keys could not be told that this goes on" in ran.error["message"]
    assert "others wait for 3m 00s" in ran.err


NOT_TAKEN = "does not take the turn of the stack reports; nothing was applied"
NOT_ENDED = "the turn of the stack reports could not be ended: others wait for 3m 00s, or until: qoder key free"
LOST: dict[str, tuple[str, bool, Exception | Signalled, int, int, str]] = {
    "each taking": ("POST", False, httpx.ReadError("cut"), 99, 7, NOT_TAKEN),
    "the answer to the taking": ("POST", True, httpx.ReadError("cut"), 1, 0, ""),
    "each end": ("DELETE", False, httpx.ReadError("cut"), 99, 0, NOT_ENDED),
    "the answer to the end": ("DELETE", True, httpx.ReadError("cut"), 1, 0, ""),
    "the taking, at a signal": ("POST", True, Signalled(signal.SIGTERM), 1, 143, ""),
    "the end, at a signal": ("DELETE", False, Signalled(signal.SIGTERM), 1, 143, ""),
}


@pytest.mark.parametrize("what", LOST)
def test_apply_takes_and_ends_its_turn_though_requests_are_lost(shared: Machines, folder: str, what: str) -> None:
    method, acts, failure, times, code, said = LOST[what]
    left = [failure] * times

    def lie(request: httpx.Request, answer: Callable[[], httpx.Response]) -> httpx.Response:
        if not (left and request.method == method and "/memories" in request.url.path):
            return answer()
        if acts:
            answer()
        raise left.pop()

    shared.clock.patience, began = 20.0, shared.clock.time
    ran = shared.machine("a", lie=lie)("apply", folder, "--yes")
    assert (ran.code, said in ran.err) == (code, True), ran.err
    assert made(shared) == ([] if method == "POST" and code else ["environments", "deployments"])
    assert (turn(shared) is None) == (said != NOT_ENDED)
    assert (shared.clock.time - began > 30) == (said == NOT_TAKEN)


def test_apply_takes_no_turn_in_the_place_of_a_run(machines: Machines, folder: str) -> None:
    assert machines.store().put(None, THEIRS._replace(state="started", deployment="dep_1", run="drun_1"))
    ran = machines.machine("a")("apply", folder, "--yes")
    assert (ran.code, made(machines)) == (2, []), ran.err
    assert "the key 'stack reports' is that of a run; nothing was applied" in ran.err


def test_apply_writes_nothing_without_its_shared_store(tmp_path: Path, folder: str) -> None:
    machines = Machines(tmp_path, "memstore_gone")
    ran = machines.machine("a")("apply", folder, "--yes", "--json")
    assert (ran.code, made(machines), "nothing was applied" in ran.error["message"]) == (7, [], True)
    assert machines.machine("a")("diff", folder).code == 8


def test_apply_without_a_stack_asks_no_shared_store(shared: Machines, folder: str) -> None:
    (Path(folder) / "qoder.yaml").unlink()
    shared.clock.patience = 20.0
    assert shared.machine("a")("apply", folder, "--yes").code == 0
    assert not [each for each in shared.sent if "/memories" in each]
