"""A write that must not happen twice, as creating a deployment is: what settles it, and what ends in exit 9."""

import io
import signal
from typing import Any

import pytest

from qoder_cli.app import App
from qoder_cli.base.errors import (
    Exit,
    Interrupted,
    OutcomeUnknown,
    QoderError,
    Rejected,
    Signalled,
    Unavailable,
    UsageError,
)
from qoder_cli.base.model import Deployment
from qoder_cli.http.change import ObjectWrite
from qoder_cli.http.pace import Closed, Pace, next_try
from qoder_cli.output.screen import Screen
from qoder_cli.runs.names import deployments
from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.wire import GENERATIONS
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder
from tests.support.inprocess import WorldTransport

NAME = "report"
BODY = {
    "name": NAME,
    "agent": "agent_019eb4d4a06d747c865d5800b9c57ae2",
    "environment_id": "env_019e64e01a137caf953ac2ac7b42ec5c",
    "initial_events": [{"type": "user.message", "content": [{"type": "text", "text": "Report."}]}],
}
NOTHING = ("drop-before", "hang-before", "html", "503-bare")
ACTED = ("drop-after", "hang-after", "truncated", "garbage", "list", "not-a-run", "act-html", "act-503", "act-503-bare")


class Desk:
    """Someone who creates a deployment, in a world where this goes wrong."""

    def __init__(self, qoder: Qoder, generation: Any, *faults: str, **settings: Any) -> None:
        self.clock = qoder.clock
        self.world = World(clock=qoder.clock.now, generation=generation, token=TOKEN, seed=7, **settings)
        self.err = io.BytesIO()
        transport = WorldTransport(self.world, faults=Faults(*faults), sleep=qoder.clock.sleep)
        nowhere = Screen(io.BytesIO())
        self.app = App(env=qoder.env, out=nowhere, err=Screen(self.err), clock=qoder.clock, transport=transport)

    def write(self, **more: Any) -> ObjectWrite[Deployment]:
        """Return the creation of a deployment, as a command would order it."""
        return ObjectWrite(
            self.app.client,
            "/deployments",
            BODY,
            parse=Deployment.read,
            what="creating report",
            shows=lambda found: True,
            settle=self.only_one,
            look=["qoder", "deploy", "list"],
            **more,
        )

    def only_one(self) -> Deployment | None:
        """Read back whether there is exactly one."""
        [found] = deployments([NAME], self.app)
        if isinstance(found, UsageError):
            raise OutcomeUnknown(found.message)
        return None if isinstance(found, QoderError) else Deployment({"id": found})

    @property
    def made(self) -> list[str]:
        """The deployments that there truly are."""
        with self.world.lock:
            self.world.settle()
        return [one.id for one in self.world.deployments.values() if one.name == NAME]

    @property
    def posts(self) -> int:
        return sum(seen.method == "POST" for seen in self.world.requests)

    @property
    def looks(self) -> list[float]:
        """When it was looked for, in seconds since the loss."""
        looked = [seen.at for seen in self.world.requests if seen.method == "GET"]
        return [at - looked[0] + 0.5 for at in looked]

    @property
    def said(self) -> str:
        return self.err.getvalue().decode()


@pytest.fixture(params=GENERATIONS)
def generation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_an_answer_settles_it(qoder: Qoder, generation: str) -> None:
    desk = Desk(qoder, generation)
    write = desk.write()
    written = write.send()
    assert ([written.value.id], written.how) == (desk.made, "answered")
    assert write.result == written
    [seen] = desk.world.requests
    assert len(seen.key or "") == 36


@pytest.mark.parametrize("fault", ACTED)
def test_a_lost_answer_is_settled_by_the_first_look_that_shows_it(qoder: Qoder, generation: str, fault: str) -> None:
    desk = Desk(qoder, generation, f"create:{fault}")
    written = desk.write().send()
    assert ([written.value.id], written.how, desk.posts) == (desk.made, "settled", 1)
    assert desk.looks == [0.5]


def test_a_signal_before_it_is_confirmed_ends_it_as_unknown(qoder: Qoder, generation: str) -> None:
    desk = Desk(qoder, generation, "create:drop-after")

    def stop() -> None:
        raise Signalled(signal.SIGINT)

    desk.only_one = stop  # type: ignore[method-assign]
    with pytest.raises(Interrupted, match="unknown whether creating report succeeded; interrupted") as caught:
        desk.write().deliver()
    assert (caught.value.exit, caught.value.type_name) == (130, "outcome_unknown")
    assert caught.value.next == ["qoder", "deploy", "list"]


@pytest.mark.parametrize("fault", NOTHING)
def test_what_does_not_show_is_not_sent_again_but_exit_9(qoder: Qoder, generation: str, fault: str) -> None:
    desk = Desk(qoder, generation, f"create:{fault}")
    write = desk.write()
    with pytest.raises(OutcomeUnknown, match="unknown whether creating report succeeded") as caught:
        write.send()
    assert (caught.value.next, desk.posts, write.may_have_acted) == (["qoder", "deploy", "list"], 1, True)
    assert desk.looks == [0.5, 1, 2, 4, 8, 16, 30]
    assert caught.value.hint == "check before doing it again"


def test_a_server_that_acts_later_than_anyone_looks_is_exit_9_and_makes_one(qoder: Qoder, generation: str) -> None:
    desk = Desk(qoder, generation, "create:late=40")
    with pytest.raises(OutcomeUnknown):
        desk.write().send()
    desk.clock.time += 60
    assert len(desk.made) == 1


@pytest.mark.parametrize("fault", ["503", "500"])
def test_the_apis_own_5xx_without_a_trace_is_exit_7(qoder: Qoder, generation: str, fault: str) -> None:
    desk = Desk(qoder, generation, f"create:{fault}")
    write = desk.write()
    with pytest.raises(Unavailable) as caught:
        write.send()
    assert (caught.value.exit, desk.posts, desk.made, write.may_have_acted) == (Exit.UNAVAILABLE, 1, [], False)


def test_a_strangers_of_the_same_name_is_not_taken_for_ours(qoder: Qoder, generation: str) -> None:
    desk = Desk(qoder, generation, "create:stranger", "create:drop-after", unique_names=False)
    with pytest.raises(OutcomeUnknown, match="2 deployments are named 'report'"):
        desk.write().send()
    assert len(desk.made) == 2
    assert desk.posts == 1


def test_a_name_that_is_taken_is_refused_at_once(qoder: Qoder, generation: str) -> None:
    desk = Desk(qoder, generation, "create:stranger")
    with pytest.raises(Rejected, match="already exists"):
        desk.write().send()
    assert (desk.posts, sum(desk.clock.slept)) == (1, 0)


@pytest.mark.parametrize("fault", ["429=3*2", "refused*3"])
def test_what_did_nothing_is_sent_again_and_makes_one(qoder: Qoder, generation: str, fault: str) -> None:
    desk = Desk(qoder, generation, f"create:{fault}")
    assert desk.write().send().how == "answered"
    assert len(desk.made) == 1
    assert "nothing was changed" in desk.said


@pytest.mark.parametrize("fault", ["400", "401", "403", "404", "409", "429=99999", "redirect=http://elsewhere/"])
def test_a_refusal_is_certain(qoder: Qoder, generation: str, fault: str) -> None:
    desk = Desk(qoder, generation, f"create:{fault}")
    write = desk.write()
    with pytest.raises(QoderError) as caught:
        write.send()
    assert not isinstance(caught.value, OutcomeUnknown)
    assert (desk.posts, desk.made, write.may_have_acted) == (1, [], False)


def test_a_list_that_cannot_be_read_settles_nothing(qoder: Qoder, generation: str) -> None:
    desk = Desk(qoder, generation, "create:drop-after", "deployment:401*inf")
    with pytest.raises(OutcomeUnknown, match="it could not be read back"):
        desk.write().send()
    assert len(desk.world.requests) == 2  # a token that is not accepted is not accepted the next time either


class Held(Pace):
    """A pace that remembers for how long it was held."""

    held = 0.0

    def hold(self, seconds: float) -> None:
        self.held += seconds


# Stopped in between.


def test_a_closed_pace_sends_nothing(qoder: Qoder, generation: str) -> None:
    desk = Desk(qoder, generation)
    pace = Pace(desk.clock, per_second=20)
    pace.close()
    write = desk.write(pace=pace)
    with pytest.raises(Closed):
        write.send()
    assert (desk.posts, write.may_have_acted) == (0, False)


def test_a_pace_that_is_closed_before_the_second_attempt_leaves_it_unknown(qoder: Qoder, generation: str) -> None:
    desk = Desk(qoder, generation, "create:drop-before")
    pace = Pace(desk.clock, per_second=20)
    desk.clock.at_sleep = pace.close
    write = desk.write(pace=pace, repeatable=True)
    with pytest.raises(OutcomeUnknown, match="stopped before it could be retried"):
        write.send()
    assert (desk.posts, write.may_have_acted) == (1, True)


def test_a_pace_is_held_when_the_server_asks_for_it(qoder: Qoder, generation: str) -> None:
    desk = Desk(qoder, generation, "create:429=7")
    pace = Held(desk.clock, per_second=20)
    desk.write(pace=pace).send()
    assert pace.held == 7


def test_a_connection_that_cannot_be_made_holds_nothing_else(qoder: Qoder, generation: str) -> None:
    desk = Desk(qoder, generation, "create:refused")
    pace = Held(desk.clock, per_second=20)
    desk.write(pace=pace).send()
    assert (pace.held, len(desk.made)) == (0, 1)


@pytest.mark.parametrize(("fault", "known"), [("429", True), ("refused", True), ("drop-after", False)])
def test_whoever_is_stopped_finds_what_is_known(qoder: Qoder, generation: str, fault: str, known: bool) -> None:
    def stop() -> None:
        raise Signalled(signal.SIGINT)

    desk = Desk(qoder, generation, f"create:{fault}")
    desk.clock.at_sleep = stop
    write = desk.write()
    with pytest.raises(Signalled):
        write.send()
    assert (write.result, write.may_have_acted) == (None, not known)
    assert (desk.made == []) == known


def test_a_first_attempt_that_is_open_stays_so_when_the_second_is_refused(qoder: Qoder, generation: str) -> None:
    desk = Desk(qoder, generation, "create:drop-before", "create:401")
    write = desk.write(repeatable=True)
    with pytest.raises(OutcomeUnknown):
        write.send()
    assert (desk.posts, write.may_have_acted) == (2, True)


def test_how_long_to_wait_before_the_next_try() -> None:
    busy = Unavailable("busy", http_status=429)
    assert [next_try(busy, tries=n, spent=0, jitter=1) for n in (1, 2, 3, 4, 5)] == [0.5, 1.0, 2.0, 4.0, None]
    assert next_try(busy, tries=4, spent=29, jitter=1) is None
    assert next_try(busy.with_(retry_after=40), tries=1, spent=0, jitter=1) == 40
