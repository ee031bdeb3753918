"""A machine that mixes up faults at the trigger and while waiting."""

import json
import tempfile
from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from qoder_cli.sandbox.world import World
from tests.conftest import examples
from tests.support.inprocess import WithoutStreams
from tests.support.lies import Lies
from tests.support.typed import TOKEN, Killed, typed_in
from tests.support.wire import FakeClock


class MortalTransport(WithoutStreams):
    """A transport whose process dies at a chosen request, before or after the server acts on it."""

    die_at: int | None = None
    die_after_acting = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.die_at is not None and not request.url.path.endswith("/events/stream"):
            self.die_at -= 1
            if self.die_at < 0:
                if self.die_after_acting:
                    super().handle_request(request)
                raise Killed
        return super().handle_request(request)


LOSSES = st.sampled_from(
    [
        "trigger:drop-before", "trigger:drop-after", "trigger:late=1", "trigger:late=3", "trigger:late=6",
        "trigger:hang-after", "trigger:truncated", "trigger:garbage", "trigger:not-a-run", "trigger:html",
        "trigger:act-html", "trigger:503", "trigger:503*2", "trigger:503*3", "trigger:act-503", "trigger:503-bare",
        "trigger:act-503-bare", "trigger:429=1", "trigger:refused", "trigger:stranger", "list:503-bare*2",
        "list:garbage", "list:hang-before", "run:503*2", "events:503*2", "run:drop-before", "events:garbage",
    ]
)  # fmt: skip


class Machine(RuleBasedStateMachine):
    """Triggers with faults, strangers' and scheduled runs, and kills, in any order, on one store."""

    @initialize(
        generation=st.sampled_from(["legacy", "current"]),
        honours_key=st.booleans(),
        skew=st.sampled_from([0.0, -7200.0, 90000.0]),
    )
    def begin(self, generation: Any, honours_key: bool, skew: float) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.world = World(
            clock=self.clock.now, generation=generation, honour_key=honours_key, skew=skew, token=TOKEN, seed=3
        )
        self.faults = Lies()
        self.transport = MortalTransport(self.world, faults=self.faults, sleep=self.clock.sleep)
        self.ended: list[tuple[str, int, str | None]] = []  # key, exit code, reported run
        self.keys = 0

    @rule(faults=st.lists(LOSSES, max_size=3), wait=st.booleans(), stranger_in=st.none() | st.floats(0, 10))
    def trigger(self, faults: list[str], wait: bool, stranger_in: float | None) -> None:
        self.faults.on_order.clear()
        for fault in faults:
            self.faults.add(fault)
        if stranger_in is not None:
            self.world.postpone(stranger_in, lambda due: self.world.start("dep_demo", at=due))
        code, out = self.run(*(["--wait"] if wait else []))
        self.ended.append((self.key, code, json.loads(out)["id"] if out else None))

    @rule(faults=st.lists(LOSSES, max_size=2), die_at=st.integers(0, 6), acting=st.booleans())
    def trigger_and_be_killed(self, faults: list[str], die_at: int, acting: bool) -> None:
        self.faults.on_order.clear()
        for fault in faults:
            self.faults.add(fault)
        self.transport.die_at, self.transport.die_after_acting = die_at, acting
        try:
            code, out = self.run("--wait")
        except Killed:
            return
        finally:
            self.transport.die_at = None
        self.ended.append((self.key, code, json.loads(out)["id"] if out else None))

    def run(self, *options: str) -> tuple[int, str]:
        self.keys += 1
        words = ["deploy", "run", "dep_demo", "--json", "--idempotency-key", self.key, *options]
        said = typed_in(Path(self.folder.name), self.clock, self.transport, *words)
        assert "Traceback" not in said.err
        assert said.code != 70, said.err
        return said.code, said.out

    @property
    def key(self) -> str:
        return f"key-{self.keys}"

    @rule()
    def a_stranger_starts_a_run(self) -> None:
        with self.world.lock:
            self.world.start("dep_demo")

    @rule()
    def the_schedule_starts_a_run(self) -> None:
        with self.world.lock:
            self.world.start("dep_demo", trigger="schedule")

    @rule(seconds=st.sampled_from([0.3, 1.0, 5.0, 130.0, 4000.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.time += seconds

    @rule()
    def last_is_settled(self) -> None:
        self.faults.on_order.clear()
        words = ["run", "wait", "last", "--json", "--timeout", "5m"]
        said = typed_in(Path(self.folder.name), self.clock, self.transport, *words)
        assert said.code in (0, 1, 3, 5, 9, 124), said.err
        if said.out:
            assert said.json["id"] in self.world.runs

    @invariant()
    def nothing_was_started_twice_or_lost(self) -> None:
        if not hasattr(self, "world"):
            return
        with self.world.lock:
            self.world.settle()
        started = self.started_by_key()
        assert all(len(runs) <= 1 for runs in started.values()), started
        for key, code, reported in self.ended:
            assert code == 9 or started[key] <= {reported}, f"{key} ended in {code} and lost {started[key]}"
            if code == 0 and reported:
                ending = self.world.ending(reported)
                assert ending is None or ending.status == "completed"

    def started_by_key(self) -> dict[str, set[str]]:
        started: dict[str, set[str]] = defaultdict(set)
        for seen in self.world.requests:
            if seen.runs and (key := seen.headers.get("idempotency-key")):
                started[key] |= set(seen.runs)
        return started

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.clock.time += 7200
            self.nothing_was_started_twice_or_lost()
            self.folder.cleanup()


TestMachine = Machine.TestCase
TestMachine.settings = settings(examples(Fraction(1, 3)), stateful_step_count=12)
