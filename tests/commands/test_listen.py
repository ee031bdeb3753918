"""Hearing the end of a run: what a stream says, and what is done about it."""

import math
import queue
from types import SimpleNamespace
from typing import Any

import pytest

from qoder_cli.base.errors import NoAnswer
from qoder_cli.base.model import Run
from qoder_cli.runs import listen
from qoder_cli.runs.listen import Listener
from qoder_cli.runs.observe import Observer
from qoder_cli.runs.watch import Watch
from qoder_cli.sessions.feed import News
from tests.conftest import Qoder
from tests.support.listen import FakeFeed
from tests.support.one_run import CURRENT, DONE, EVENTS, LEGACY, RUN, SESSION, TRIGGER, WORK, event, idle
from tests.support.processes import until
from tests.support.wire import FakeClock, page


@pytest.fixture
def feeds(monkeypatch: pytest.MonkeyPatch) -> list[FakeFeed]:
    FakeFeed.made = []
    monkeypatch.setattr(listen, "Feed", FakeFeed)
    return FakeFeed.made


def watching(clock: FakeClock, number: int = 1, **fields: Any) -> Watch:
    run = Run({**CURRENT, "id": f"drun_{number}", "session_id": f"sess_{number}", **fields})
    client: Any = SimpleNamespace(server_now=clock.now, clock=clock)  # nothing is asked of it
    return Watch(Observer(client, run.id, run=run))


def heard(listener: Listener) -> tuple[str | None, bool]:
    """Return what the listener makes of what a feed has put into the inbox."""
    return listener.take(listener.inbox.get_nowait())


def test_what_is_said_while_a_run_is_looked_at_is_a_reason_to_look_again_at_once(
    qoder: Qoder, feeds: list[FakeFeed]
) -> None:
    looks: list[float] = []

    def look(request: Any) -> Any:
        looks.append(qoder.clock.time)
        if len(looks) == 2:  # the stream opens after the server has read the run, and before we have its answer
            feeds[0].inbox.put(News("up", "sess_1"))
            until(feeds[0].inbox.empty, "what came is heard while an answer is waited for")
        return DONE if len(looks) > 2 else LEGACY

    qoder.wire.on("GET", "/deployment_runs/drun_1", look, look, look)
    assert qoder("run", "wait", "drun_1").code == 0
    assert looks[2] - looks[1] < 1  # and not when no news came for half a minute


def test_what_is_said_makes_a_run_the_next_to_look_at(feeds: list[FakeFeed]) -> None:
    clock = FakeClock()
    client: Any = SimpleNamespace(clock=clock)  # the feed is a fake
    listener = Listener(client, inbox=queue.SimpleQueue())
    watch = watching(clock)
    listener.attend(watch)
    [feed] = feeds
    said: list[tuple[Any, tuple[str | None, bool]]] = [
        (News("up", "sess_1"), ("sess_1", False)),
        (News("heard", "sess_1", WORK[0]), ("sess_1", False)),  # idle before any work: worth a look, but no ending
        (News("alive", "sess_1"), (None, False)),
        (News("heard", "sess_1", event("status_running")), (None, False)),
        (News("heard", "sess_1", {"type": "agent.message"}), (None, False)),
        (News("gap", "sess_1"), ("sess_1", False)),
        (News("heard", "sess_1", idle("end_turn")), ("sess_1", True)),
        (News("down", "sess_1"), ("sess_1", False)),
        (News("down", "sess_1", error=NoAnswer("broken")), (None, False)),  # it was down already
    ]
    for news, answer in said:
        feed.inbox.put(news)
        assert heard(listener) == answer, news


def test_a_silent_stream_is_not_relied_on(feeds: list[FakeFeed]) -> None:
    clock = FakeClock()
    client: Any = SimpleNamespace(clock=clock)  # the feed is a fake
    listener = Listener(client, inbox=queue.SimpleQueue())
    watch = watching(clock)
    listener.attend(watch)
    assert not listener.hears(watch)
    feeds[0].inbox.put(News("up", "sess_1"))
    heard(listener)
    assert not listener.hears(watch)  # a proxy may hold back all but the heartbeats
    feeds[0].inbox.put(News("alive", "sess_1"))
    heard(listener)
    assert not listener.hears(watch)
    feeds[0].inbox.put(News("heard", "sess_1", {**event("status_running", 8), "session_id": "sess_2"}))
    heard(listener)
    assert not listener.hears(watch)  # an event of another session
    feeds[0].inbox.put(News("heard", "sess_1", event("status_running")))
    heard(listener)
    assert listener.hears(watch)
    clock.time += 61
    assert not listener.hears(watch)
    feeds[0].inbox.put(News("alive", "sess_1"))
    heard(listener)
    assert listener.hears(watch)
    feeds[0].inbox.put(News("down", "sess_1"))
    feeds[0].inbox.put(News("up", "sess_1"))
    heard(listener)
    heard(listener)
    assert not listener.hears(watch)  # the next connection has to tell of something first


def test_only_a_few_streams_are_followed_and_each_is_left_when_its_run_is_over(feeds: list[FakeFeed]) -> None:
    clock = FakeClock()
    client: Any = SimpleNamespace(clock=clock)  # the feed is a fake
    listener = Listener(client, inbox=queue.SimpleQueue())
    watches = [watching(clock, number) for number in range(20)]
    for watch in watches:
        listener.attend(watch)
    assert len(feeds) == listen.MOST_FEEDS
    listener.attend(watching(clock, 3, status="completed"))
    assert [feed.session_id for feed in feeds if feed.stopped] == ["sess_3"]
    listener.attend(watches[19])
    assert feeds[-1].session_id == "sess_19"
    listener.stop()
    assert all(feed.stopped for feed in feeds)


def test_a_run_without_a_session_has_nothing_to_listen_to(feeds: list[FakeFeed]) -> None:
    clock = FakeClock()
    client: Any = SimpleNamespace(clock=clock)  # the feed is a fake
    listener = Listener(client, inbox=queue.SimpleQueue())
    listener.attend(watching(clock, session_id=None))
    assert feeds == []


@pytest.mark.parametrize("started", [LEGACY, CURRENT], ids=["legacy", "current"])
def test_an_end_that_is_heard_is_confirmed_at_once_and_reading_is_rare(
    qoder: Qoder, monkeypatch: pytest.MonkeyPatch, started: dict[str, Any]
) -> None:
    class Telling(FakeFeed):
        """Says that it is up at once, and that the run ended after 50 seconds."""

        made: list[FakeFeed] = []  # noqa: RUF012  (what FakeFeed declares)

        def start(self) -> None:
            self.inbox.put(News("up", self.session_id))
            self.inbox.put(News("heard", self.session_id, {"type": "span.model_request_start"}))
            qoder.clock.at_sleep = self.tell

        def tell(self) -> None:
            if qoder.clock.time - began >= 50:
                qoder.clock.at_sleep = lambda: None
                self.inbox.put(News("heard", self.session_id, event("status_running")))
                self.inbox.put(News("heard", self.session_id, idle("end_turn")))

    began = qoder.clock.time
    monkeypatch.setattr(listen, "Feed", Telling)
    qoder.wire.on(*TRIGGER, started)
    if started is LEGACY:
        qoder.wire.on(*RUN, LEGACY, LEGACY, LEGACY, DONE)
    else:
        qoder.wire.on(*EVENTS, page(*WORK), page(), page(), page(idle("end_turn"))).on(*SESSION, {})
    assert qoder("deploy", "run", "dep_1", "--wait").code == 0
    assert qoder.clock.time - began <= 62


def test_an_end_that_was_heard_is_looked_for_quickly_where_the_run_lags_behind(
    qoder: Qoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Telling(FakeFeed):
        """Says at once that the run has ended."""

        made: list[FakeFeed] = []  # noqa: RUF012  (what FakeFeed declares)

        def start(self) -> None:
            for said in (event("status_running"), idle("end_turn")):
                self.inbox.put(News("heard", self.session_id, said))

    monkeypatch.setattr(listen, "Feed", Telling)
    qoder.wire.on(*TRIGGER, LEGACY).on(*RUN, *[LEGACY] * 4, DONE)
    assert qoder("deploy", "run", "dep_1", "--wait").code == 0
    assert sum(qoder.clock.slept) < 5


def test_an_end_that_is_heard_again_and_again_is_looked_for_ever_more_rarely() -> None:
    clock, polls = FakeClock(), 0
    watch = watching(clock)
    watch.begin(clock.time, 0.5)
    for _ in range(1000):  # a hundred times a second
        watch.call(clock.time, is_quick=True)
        if watch.due <= clock.time:
            polls, watch.due = polls + 1, math.inf
        clock.time += 0.01
    assert polls < 20
