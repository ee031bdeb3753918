"""The pace of writes: held where the server asks for it, closed by a signal, and how long to wait before a retry."""

import io
import random
import signal
from contextlib import suppress
from functools import partial

import pytest

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, AuthError, OutcomeUnknown, Signalled, Unavailable
from qoder_cli.base.model import Resource
from qoder_cli.base.pool import throw
from qoder_cli.base.times import Clock
from qoder_cli.http.pace import WRITES_PER_SECOND, Closed, Pace, next_try
from qoder_cli.http.readback import Sent, object_write
from qoder_cli.http.write import Write, cancelling
from qoder_cli.output.screen import Screen
from tests.conftest import Qoder
from tests.support.desk import BODY
from tests.support.inprocess import with_known
from tests.support.things import FAILED, Things, refusal
from tests.support.wire import FakeClock


def app_of(qoder: Qoder) -> App:
    screen = Screen(io.BytesIO())
    return App(env=qoder.env, out=screen, err=screen, clock=qoder.clock, transport=qoder.transport)


def creation(qoder: Qoder, pace: Pace, *, repeatable: bool = False) -> Write[Resource]:
    """Return the creation of a deployment, as `apply` orders it."""
    return object_write(
        app_of(qoder).client,
        Sent("POST", "/deployments", BODY),
        what="creating weekly",
        shows=lambda found: True,
        find=lambda: None,
        look=["qoder", "deploy", "list"],
        pace=pace,
        repeatable=repeatable,
    )


def test_pace_gives_turns_evenly_and_looks_around_while_it_waits() -> None:
    clock, turns = FakeClock(0.0), list[float]()
    pace = Pace(clock, per_second=WRITES_PER_SECOND)
    for pause in (0, 0, 7):
        pace.hold(pause)
        pace.wait_turn(lambda: turns.append(clock.time))
    pace.wait_turn()
    assert turns == pytest.approx([0, 0.051, 7.051])
    assert (clock.time, max(clock.slept)) == pytest.approx((7.102, 0.1))
    with pytest.raises(Closed):
        Pace(clock, per_second=20, is_over=lambda: True).wait_turn()


def test_pace_that_is_closed_sends_nothing(qoder: Qoder) -> None:
    service, pace = Things(qoder), Pace(qoder.clock, per_second=20)
    pace.close()
    write = creation(qoder, pace)
    with pytest.raises(Closed):
        write.send()
    assert (service.writes, write.may_have_acted) == ([], False)


@pytest.mark.parametrize("why", ["it was stopped before it could be sent again", "No token"])
def test_write_that_cannot_be_sent_again_leaves_it_unknown(qoder: Qoder, why: str) -> None:
    service, pace = Things(qoder, "current", "create:drop-before"), Pace(qoder.clock, per_second=20)
    write = creation(qoder, pace, repeatable=True)
    refuse = partial(throw, AuthError("No token."))
    qoder.clock.at_sleep = pace.close if "stopped" in why else lambda: setattr(write, "request", refuse)
    with pytest.raises(OutcomeUnknown, match=why):
        write.send()
    assert (len(service.writes), write.may_have_acted) == (1, True)


def test_write_that_was_done_says_so_at_a_late_signal(qoder: Qoder) -> None:
    qoder.wire.on("POST", "/sessions/sess_1/cancel", {}).on("POST", "/deployments", {"id": "dep_1"})
    for write, so in (
        (cancelling(app_of(qoder).client, lambda: "sess_1"), "interrupted; the cancellation was requested"),
        (creation(qoder, Pace(qoder.clock, per_second=20)), "stopped by a signal; creating weekly succeeded (dep_1)"),
    ):
        write.send()
        assert write.stopped(Signalled(signal.SIGINT)).message == so


def test_run_logs_of_very_many_opens_streams_no_faster_than_it_reads(qoder: Qoder) -> None:
    app = app_of(qoder)
    app.pace_reads()
    began = qoder.clock.time
    for _ in range(23):
        app.client.prepare("GET", "/sessions/sess_1")
        with suppress(ApiError), app.client.open_stream("/sessions/sess_1/events/stream"):
            pass
    assert qoder.clock.time - began >= 1.0


def test_write_that_cannot_be_so_already_is_refused_at_once(qoder: Qoder) -> None:
    service = Things(qoder)
    service.never = [refusal(409, "conflict_error", "No.")]
    with pytest.raises(ApiError, match="No"):
        creation(qoder, Pace(qoder.clock, per_second=20)).send()
    assert (service.asked, qoder.clock.slept) == (["POST /deployments"], [])
    service.never, write = [FAILED], creation(qoder, Pace(qoder.clock, per_second=20))
    with pytest.raises(ApiError, match="It failed"):
        write.send()
    assert (len(service.writes), write.may_have_acted) == (2, False)


@pytest.mark.parametrize(("fault", "paused"), [("429=7", 7), ("refused", 0)])
def test_pace_is_held_when_the_server_asks_for_it(
    qoder: Qoder, monkeypatch: pytest.MonkeyPatch, fault: str, paused: float
) -> None:
    with_known(Things(qoder, "current", f"create:{fault}").world)
    pace, held = Pace(qoder.clock, per_second=20), list[float]()
    monkeypatch.setattr(pace, "hold", held.append)
    creation(qoder, pace).send()
    assert sum(held) == paused


def test_pace_of_retries_doubles_and_ends_after_30_seconds() -> None:
    busy = Unavailable("busy", http_status=429)
    assert [next_try(busy, tries=n, spent=0, jitter=1) for n in (1, 2, 3, 4, 5)] == [0.5, 1.0, 2.0, 4.0, None]
    assert next_try(busy, tries=4, spent=29, jitter=1) is None
    assert next_try(busy.with_(retryable=False), tries=1, spent=0, jitter=1) is None
    random.seed(5)
    factors = [Clock().jitter() for _ in range(999)]
    assert (round(min(factors), 2), round(max(factors), 2)) == (0.75, 1.0)
    assert next_try(busy.with_(retry_after=40), tries=1, spent=0, jitter=1) == 40


def test_clock_sleeps() -> None:
    before = Clock().monotonic()
    Clock().sleep(0.02)
    assert Clock().monotonic() - before >= 0.02
