"""`qoder deploy backfill`: missed fires are made up once, whoever does it."""

import random
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.base.times import utc_text
from qoder_cli.fleet.queue import OwnSlots
from qoder_cli.keys.patience import Patience
from qoder_cli.keys.record import KeyRecord, StoreAway, StoredKey
from tests.conftest import TOKEN, Ran
from tests.support.hasty import HastyClock
from tests.support.nights import DAY, HOUR, Account, Service, Started
from tests.support.typed import typed

NIGHTS = 40


class Backfilled(Service):
    """The account of some nights, in which runs can be started; machines share one store of keys."""

    def __init__(self, seed: int, folder: Path) -> None:
        account = Account(seed, deployments=3)
        super().__init__(account, "current", account.end - 1)
        self.clock = HastyClock(20, now=self.now)
        self.keys = OwnSlots(Patience(self.clock))
        self.started: list[str] = []  # the key of each run
        self._folder = folder
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self._listed.clear()
            self.now = self.clock.now()
            if request.method != "POST":
                return super().handle_request(request)
            deployment = request.url.path.split("/")[-2]
            one = next(each for each in self.account.deployments if each.id == deployment)
            id = f"drun_made{len(self.started)}"
            run = Started(id, one, None, float(int(self.now)), "done", None, "1.00")
            self.account.runs.append(run)
            self.account.__dict__.pop("by_session", None)
            self.account.__dict__.pop("by_id", None)
            self.started.append(request.headers["idempotency-key"])
            return httpx.Response(200, json=run.row("current", self.now))

    def machine(self, name: str, *words: str, keys: bool = True) -> Ran:
        env = {"QODER_PAT": TOKEN, "QODER_CONFIG": str(self._folder / "config"), "NO_COLOR": "1"}
        env |= {"QODER_STATE_DIR": str(self._folder / name)} | ({"QODER_KEYS": "memstore_x"} if keys else {})
        return typed(words, env, clock=self.clock, transport=self, keys=self.keys if keys else None)

    @property
    def since(self) -> str:
        return utc_text(datetime.fromtimestamp(self.account.begin, UTC))

    def missed(self) -> list[dict[str, Any]]:
        """Return what a report calls missed and is over an hour old."""
        report = self.machine("reader", "report", "--since", self.since, "--all", "--json").json
        last = utc_text(datetime.fromtimestamp(self.now - HOUR - 60, UTC))
        missed = [each for each in report["did_not_happen"] if each["kind"] == "missed"]
        return [each for each in missed if self.since <= each["due"] <= last]


class GoingAway:
    """The writing of a store of keys that is away for good after some writes."""

    def __init__(self, keys: OwnSlots, *, after: int) -> None:
        self._put = keys.put
        self._left = after

    def __call__(self, found: StoredKey | None, record: KeyRecord | None) -> StoredKey | None:
        if self._left == 0:
            raise StoreAway("the store is away")
        self._left -= 1
        return self._put(found, record)


def drawn(seed: int, folder: Path) -> Backfilled:
    """Return some nights; of a third all fires of the last day were missed."""
    service = Backfilled(seed, folder)
    if random.Random(seed).random() < 0.3:
        end = service.account.end - DAY
        service.account.runs = [run for run in service.account.runs if run.due is None or run.came < end]
    return service


@pytest.mark.parametrize("seed", range(NIGHTS))
@pytest.mark.few(3)
def test_deploy_backfill_on_three_machines_at_once_makes_up_each_missed_fire_once(seed: int, tmp_path: Path) -> None:
    service = drawn(seed, tmp_path)
    deployments = [one.id for one in service.account.deployments if one.created + 60 < service.now]
    missed = {f"fire-{each['deployment']}-{each['due']}" for each in service.missed()}
    once = ["--once"] * (seed % 3 == 2)
    words = ["deploy", "backfill", *deployments, "--since", service.since, "--yes", "--json", *once]
    ran: dict[str, Ran] = {}
    machines = [
        threading.Thread(target=lambda name=name: ran.update({name: service.machine(name, *words)})) for name in "abc"
    ]
    for machine in machines:
        machine.start()
    for machine in machines:
        machine.join()
    assert {each.code for each in ran.values()} <= {0, 6, 7}, [each.err[-900:] for each in ran.values()]
    if not once:
        assert Counter(service.started) == dict.fromkeys(missed, 1)
    named = {f"fire-{each['deployment']}-{each['due']}": each["made_up_by"] for each in service.missed()}
    assert set(named) == missed
    assert None not in named.values(), [each.err[-900:] for each in ran.values()]
    count = len(service.started)
    assert service.machine("d", *words).code in (0, 6, 7)
    assert len(service.started) == count


def a_night_missed(folder: Path) -> Backfilled:
    """Return some nights in which one deployment missed all fires of a day, and can be told so."""
    for seed in range(100):
        service = Backfilled(seed, folder)
        one = service.account.deployments[0]
        if len(one.changes) == 1 and one.names and one.changes[0].schedule and len(one.due) > 4:
            service.account.runs = [run for run in service.account.runs if run.due is None]
            return service
    raise AssertionError("no such night was drawn")


def test_deploy_backfill_once_starts_one_run_and_writes_it_under_every_key(tmp_path: Path) -> None:
    service = a_night_missed(tmp_path)
    missed = [each for each in service.missed() if each["deployment"] == "dep_0"]
    words = ["deploy", "backfill", "dep_0", "--since", service.since, "--once"]
    dry = service.machine("a", *words, "--dry-run", "--json")
    assert (dry.code, len(dry.json), len(service.started), len(missed) > 3) == (0, 1, 0, True)
    refused = service.machine("a", *words)
    assert (refused.code, service.started, "--yes" in refused.err) == (2, [], True)
    ran = service.machine("a", *words, "--yes", "--json")
    assert (ran.code, len(service.started)) == (0, 1)
    assert {each["made_up_by"] for each in service.missed() if each["deployment"] == "dep_0"} == {"drun_made0"}
    again = service.machine("b", "deploy", "backfill", "dep_0", "--since", service.since, "--yes", "--json")
    assert (again.code, again.json, len(service.started), "made up before" in again.err) == (0, [], 1, True)
    page = service.machine("reader", "report", "dep_0", "--since", service.since)
    assert "made up by drun_made0" in page.out
    assert service.machine("b", "key", "free", service.started[0], "--yes").code == 0
    [freed] = [entry.record for entry in service.keys.entries() if entry.record.key == service.started[0]]
    service.keys.put(None, freed._replace(state="started", workspace="another"))
    made_up = [each["made_up_by"] for each in service.missed() if each["deployment"] == "dep_0"]
    assert made_up.count(None) == 1


def test_deploy_backfill_is_not_content_with_keys_that_wait_for_a_run_nobody_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = a_night_missed(tmp_path)
    due = [each["due"] for each in service.missed() if each["deployment"] == "dep_0"][-3:]
    service.clock.speed *= 10  # nothing is awaited but the time after which keys are held for abandoned
    words = ["deploy", "backfill", "dep_0", "--since", due[0], "--yes", "--json"]
    with monkeypatch.context() as patch:
        patch.setattr(service.keys, "put", GoingAway(service.keys, after=2))  # two keys point at the third
        assert service.machine("a", *words, "--once").code == 7
    assert service.started == []
    ran = service.machine("b", *words)
    assert (ran.code, len(service.started)) == (9, 1)
    assert [item["exit_code"] for item in ran.json] == [9, 9, 0]
    made_up = {each["due"]: each["made_up_by"] for each in service.missed() if each["deployment"] == "dep_0"}
    assert [made_up[at] for at in due] == [None, None, "drun_made0"]


def test_deploy_backfill_this_machine_remembers_without_a_store(tmp_path: Path) -> None:
    service = a_night_missed(tmp_path)
    words = ["deploy", "backfill", "dep_0", "--since", service.since, "--this-machine", "--yes", "--json"]
    missed = [each for each in service.missed() if each["deployment"] == "dep_0"]
    once = service.machine("a", *words, "--once", keys=False)
    assert (once.code, "--once needs a store of keys" in once.error["message"], service.started) == (2, True, [])
    ran = [service.machine("a", *words, keys=False) for _ in range(2)]
    assert ([each.code for each in ran], len(service.started)) == ([0, 0], len(missed))
    assert [len(each.json) for each in ran] == [len(missed), 0]


def test_deploy_backfill_this_machine_starts_nothing_where_it_cannot_remember(tmp_path: Path) -> None:
    service = a_night_missed(tmp_path)
    (tmp_path / "a").write_text("no folder")
    words = ["deploy", "backfill", "dep_0", "--since", service.since, "--this-machine", "--yes", "--json"]
    ran = service.machine("a", *words, keys=False)
    assert (ran.code, ran.out, service.started) == (7, "", [])
    assert "what was made up before; nothing was started" in ran.error["message"]


def test_deploy_backfill_says_from_when_a_deployment_exists_and_names_what_may_still_come(tmp_path: Path) -> None:
    service = a_night_missed(tmp_path)
    words = ["deploy", "backfill", "dep_0", "--since", "2026-01-01", "--dry-run", "--json"]
    assert "exists since" in service.machine("a", *words).err
    last = max(due for due, _ in service.account.deployments[0].due)
    with service.clock._lock:
        service.clock._now = last + 20 * 60
    service.account.end = service.now = last + 20 * 60
    assert "may still come" in service.machine("a", *words).err
