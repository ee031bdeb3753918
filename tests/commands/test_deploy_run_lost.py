"""`qoder deploy run` when its answer is lost: the run list decides, and nothing is ever started twice by accident."""

import random
from collections.abc import Callable
from contextlib import closing
from email.utils import formatdate
from itertools import pairwise
from typing import Any, NamedTuple

import httpx
import pytest

from qoder_cli.base.times import span
from qoder_cli.local.store import Store
from qoder_cli.runs.lost import ADOPT_WITHIN, RUN_LIST_LOOKS, THOROUGH_LOOKS
from tests.conftest import Qoder
from tests.support.cells import checkerboard
from tests.support.interrupting import interrupted
from tests.support.one_run import CURRENT, DONE, EVENTS, TRIGGER
from tests.support.triggers import (
    ADOPTED,
    CUT,
    ENVELOPED,
    IN_DOUBT,
    LOST,
    NIGHT,
    NOW,
    RUNS,
    STARTED,
    Look,
    at,
    dated,
    fresh,
    killed,
    late,
    listed,
    looks,
    nothing,
    seen,
    shows,
    shows_ours,
)
from tests.support.wire import FakeClock, api_error, page

RUN = ("deploy", "run", "dep_1", "--json")
LOOK, LONG_LOOK = RUN_LIST_LOOKS[-1], THOROUGH_LOOKS[-1]  # seconds
EACH = pytest.mark.parametrize("lost", LOST.values(), ids=LOST.keys())


@EACH
@pytest.mark.few(4)
def test_deploy_run_adopts_the_one_run_that_can_be_its_own(qoder: Qoder, lost: Any) -> None:
    qoder.wire.on(*TRIGGER, lost)
    shows_ours(qoder, fresh(7), fresh(6, trigger="schedule"), fresh(5, created=at(-2)))
    ran = qoder(*RUN)
    assert seen(ran) == ADOPTED
    assert "warning: adopted run drun_7" in ran.err
    assert f"checking the run list for up to {span(LOOK)}" in ran.err
    assert qoder.clock.slept == [after - before for before, after in pairwise((0.0, *RUN_LIST_LOOKS))]


@EACH
@pytest.mark.few(3)
def test_deploy_run_exits_9_with_the_command_that_repeats_it_where_no_run_shows(qoder: Qoder, lost: Any) -> None:
    qoder.wire.on(*TRIGGER, lost)
    shows(qoder)
    ran = qoder(*RUN, "--wait", "--timeout", "5m")
    assert seen(ran) == IN_DOUBT
    key = qoder.wire.requests[0].headers["idempotency-key"]
    repeated = ["qoder", "deploy", "run", "dep_1", "--idempotency-key", key, "--wait", "--timeout", "5m", "-o", "json"]
    assert ran.error["next"] == repeated


def test_deploy_run_adopts_a_run_once_that_two_pages_show(qoder: Qoder) -> None:
    def pages(request: httpx.Request) -> Any:
        shown = page(fresh(8, trigger="schedule"), fresh(7), more=True)
        if "after_id" in request.url.params:
            shown = page(fresh(7), fresh(6, created=at(-100)))
        return dated(shown, at=qoder.clock.time)

    qoder.wire.on(*TRIGGER, LOST["cut"]).on(*RUNS, pages, repeat=True).on(*EVENTS, page())
    assert seen(qoder(*RUN)) == ADOPTED


def told(body: Any) -> Look:
    """Let each look at the run list be answered with this body."""
    return lambda clock: dated(body, at=NOW)


def dated_ahead(seconds: float) -> Look:
    return lambda clock: listed(fresh(7), at=clock.time + seconds)


def dated_as(date: str) -> Look:
    return lambda clock: listed(fresh(7), date=date)


def kept_first(clock: FakeClock) -> Any:
    """Answer the first look from a proxy: by its date our attempt was made before a stranger's run began."""
    return listed(fresh(6, created=at(-100)), date="") if clock.time > NOW + 1 else listed(at=NOW - 300, age=300)


def slow(clock: FakeClock) -> Any:
    clock.time += 0.65
    return listed(fresh(7), at=clock.time)


SCHEDULED = [fresh(2000 + number, created=at(600), trigger="schedule") for number in range(100)]
NO_DATES = ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2019-12-31T23:59:59Z", "2199-01-01T00:00:00Z"]
ODD_VALUES: dict[str, list[Any]] = {
    "created_at": [None, 1_800_000_000, "today", *NO_DATES],
    "trigger_context": [None, "manual", {"type": "api"}, {"type": "retry"}, {}],
}
Shown = list[dict[str, Any]] | Look
# What the run list shows after a complete 5xx of the API, by which no run can be ruled out.
UNSURE: dict[str, Shown] = {
    "a run of the minute before": [fresh(6, created=at(-59))],
    **{f"{key} is {odd!r}": [{**fresh(7), key: odd}] for key, values in ODD_VALUES.items() for odd in values},
    **{f"no {key}": [{name: each for name, each in fresh(7).items() if name != key}] for key in ODD_VALUES},
    **{f"its date is {ahead} s ahead": dated_ahead(ahead) for ahead in (2.0, 10.0, 59.0, 7200.0)},
    "something else": [{"id": 7, "created_at": at(0)}],
    "a row of another deployment": [{**fresh(8), "deployment_id": "dep_2"}],
    "no clock of the server": lambda clock: listed(fresh(6, created=at(-86400)), date=""),
    "a list that a proxy has kept": lambda clock: listed(fresh(6, created=at(-3600)), at=NOW - 3600, age=3600),
    "a cursor that does not move": told(page(*SCHEDULED, more=True)),
    "a page of 20 of how many?": told({"data": SCHEDULED[:20]}),
    "a page of 100 of how many?": told({"data": SCHEDULED}),
    "an empty page of how many?": told({"data": []}),
    **{f"has_more is {more!r}": told({**page(), "has_more": more}) for more in ("false", None, 0)},
    "next_page is a number": told({**page(), "next_page": 0}),
}
SAID = {
    "a run of the minute before": "not certain enough",
    "a list that a proxy has kept": "has kept",
    **{f"{key} is {odd!r}": "drun_7" for key, values in ODD_VALUES.items() for odd in values},
}


@pytest.mark.parametrize("shown", UNSURE)
@pytest.mark.few(8)
def test_deploy_run_sends_no_5xx_again_while_a_run_cannot_be_ruled_out(qoder: Qoder, shown: str) -> None:
    qoder.wire.on(*TRIGGER, ENVELOPED)
    looks(qoder, UNSURE[shown])
    ran = qoder(*RUN)
    assert seen(ran) == IN_DOUBT
    assert SAID.get(shown, "") in ran.error["message"]
    assert {each.headers["cache-control"] for each in qoder.wire.requests[1:]} == {"no-cache"}


class Start(NamedTuple):
    """The answers to the trigger in turn, what the run list shows then, and what the user sees."""

    answers: list[Any]
    shown: Shown | None  # None: nobody may look
    sees: dict[str, Any]
    says: str = ""
    words: str = ""


NO_DATE = "Tue, 99 Foo 2027 08:00:00 GMT"
RESEND = "--on-lost resend"
LIST_IT = '"next":["qoder","run","list","dep_1","-o","json"]'
LATE = {"type": "error", "error": {"type": "timeout_error", "message": "Late."}}
STRANGER_FIRST: Look = lambda clock: listed(fresh(7), *[fresh(8)] * (clock.time > NOW + 7))  # noqa: E731
BUSY = api_error(429, "rate_limit_error", "Slow down.")
UNNAMED = {**fresh(8), "trigger_context": None}  # who started it?
STARTS = {
    "several": Start([CUT], [fresh(7), fresh(8)], IN_DOUBT, "drun_7, drun_8"),
    "several are listed": Start([CUT], [fresh(7), fresh(8)], IN_DOUBT, LIST_IT),
    "more than five are not listed": Start([CUT], [fresh(n) for n in range(6)], IN_DOUBT, 'drun_3, drun_4"'),
    "ours, or another's": Start([CUT], [fresh(7), UNNAMED], IN_DOUBT, "2 runs may be it: drun_7, drun_8"),
    "ours, or one of a time that cannot be": Start(
        [CUT], [fresh(7), fresh(8, created=at(3600))], IN_DOUBT, "2 runs may be it: drun_7, drun_8"
    ),
    "ours shows after a stranger's": Start([CUT], STRANGER_FIRST, IN_DOUBT),
    **{f"no time but {date!r}": Start([CUT], dated_as(date), IN_DOUBT) for date in ("", "yesterday", NO_DATE)},
    "by nobody knows whom": Start([CUT], [UNNAMED], IN_DOUBT, "run drun_8 may be it, but that is not certain enough"),
    "times in whole seconds": Start([CUT], slow, ADOPTED),
    "no list": Start([CUT], lambda clock: (503, ""), IN_DOUBT, "cannot be read"),
    "no list: how to see it": Start([CUT], lambda clock: (503, ""), IN_DOUBT, LIST_IT),
    "the time of a proxy": Start([CUT], kept_first, IN_DOUBT, "sent no Date header"),
    "5xx three times": Start([ENVELOPED] * 3, [], nothing(7)),
    "5xx that acted": Start([ENVELOPED], [fresh(7)], ADOPTED),
    **{f"5xx that acted, seen after {s} s": Start([ENVELOPED], late(s, fresh(7)), ADOPTED) for s in (10, 20, 29)},
    "no list for 9 s": Start([ENVELOPED], lambda c: listed(fresh(7), at=c.time) if c.time > NOW + 9 else BUSY, ADOPTED),
    "5xx, then a conflict": Start([ENVELOPED, api_error(409, "conflict_error", "Key in use.")], [], IN_DOUBT),
    "5xx, and ours shows late": Start([ENVELOPED, *[BUSY] * 5], late(40, fresh(7)), ADOPTED, "; retrying in 4.0s\n"),
    "5xx, older": Start([ENVELOPED, fresh(7)], [fresh(6, created=at(-61))], STARTED),
    "5xx, a schedule's": Start([ENVELOPED, fresh(7)], [fresh(5, trigger="schedule")], STARTED),
    "fail neither looks nor sends": Start([CUT], None, IN_DOUBT, words="--on-lost fail"),
    "resend": Start([CUT, fresh(7)], [], STARTED, "; sending it again with the same key\n", RESEND),
    "resend, the first's of a minute before": Start([CUT, fresh(7, created=at(-59))], [], STARTED, words=RESEND),
    "resend, ours": Start([CUT], [fresh(7)], ADOPTED, words=RESEND),
    "resend, ours after 20 s": Start([CUT], late(20, fresh(7)), ADOPTED, words=RESEND),
    "resend, lost three times": Start([CUT, (502, "<html>"), (502, "")], [], IN_DOUBT, "peer closed", RESEND),
    **{f"{n} in the envelope": Start([(n, LATE)], [], IN_DOUBT) for n in (408, 499, 502, 504)},
    "reset by a certificate": Start([httpx.ReadError("tlsv13 alert certificate required")], [fresh(7)], ADOPTED),
    "a page about a certificate": Start([httpx.RemoteProtocolError("the certificate page")], [fresh(7)], ADOPTED),
    "a cut write of a certificate": Start([httpx.WriteError("certificate")], [fresh(7)], ADOPTED),
    "an untrusted certificate": Start([httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED]")], None, nothing(7)),
    "another deployment's run": Start([{**CURRENT, "deployment_id": "dep_2"}], None, IN_DOUBT),
    "a run whose id cannot be typed": Start([{**CURRENT, "id": "drun_../../x"}], [], IN_DOUBT),
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS.keys())
def test_deploy_run_settles_a_lost_answer_by_the_run_list(qoder: Qoder, start: Start) -> None:
    """How often the trigger was sent is what `answers` says: the wire complains about one more and one less."""
    qoder.wire.on(*TRIGGER, *start.answers)
    if start.shown is not None:
        looks(qoder, start.shown)
    if start.sees["adopted"]:
        qoder.wire.on(*EVENTS, page())
    ran = qoder(*RUN, *start.words.split())
    assert seen(ran) == start.sees
    assert start.says in ran.err
    assert len({each.headers["idempotency-key"] for each in qoder.wire.requests if each.method == "POST"}) == 1


@pytest.mark.parametrize("ahead", [-7 * 3600, -1, 0.4, 90, 86400 * 400])
def test_deploy_run_adopts_by_the_servers_clock_and_not_by_ours(qoder: Qoder, ahead: float) -> None:
    qoder.wire.on(*TRIGGER, CUT)
    shows_ours(qoder, fresh(7, created=at(ahead)), fresh(6, created=at(ahead - 2)), ahead=ahead)
    assert seen(qoder(*RUN)) == ADOPTED


@pytest.mark.parametrize(
    ("asks_for", "waited", "code"),
    [(None, LONG_LOOK, 0), ("40", 40.0, 0), ("3", LONG_LOOK, 0), ("60", 60.0, 0), ("61", LONG_LOOK, 7)],
)
def test_deploy_run_resends_a_5xx_after_a_pause(qoder: Qoder, asks_for: str | None, waited: float, code: int) -> None:
    busy = httpx.Response(503, json=ENVELOPED[1], headers={"retry-after": asks_for} if asks_for else {})
    qoder.wire.on(*TRIGGER, busy, *([fresh(7)] if code == 0 else []))
    shows(qoder)
    ran = qoder("deploy", "run", "dep_1")
    assert (ran.code, sum(qoder.clock.slept)) == (code, waited)
    again = f" in {waited - LONG_LOOK:.0f}s" if waited > LONG_LOOK else ""
    assert (f"; sending it again{again} with the same key\n" in ran.err) == (code == 0)


@pytest.mark.parametrize(
    ("created", "sees"), [(0, ADOPTED), (ADOPT_WITHIN, ADOPTED), (ADOPT_WITHIN + 1, IN_DOUBT), (-1, IN_DOUBT)]
)
def test_deploy_run_adopts_only_what_began_in_time(qoder: Qoder, created: float, sees: dict[str, Any]) -> None:
    def cut(request: httpx.Request) -> Any:
        qoder.clock.time += ADOPT_WITHIN - 1
        raise CUT

    qoder.wire.on(*TRIGGER, cut)
    shows(qoder, fresh(7, created=at(created)))
    if sees["adopted"]:
        qoder.wire.on(*EVENTS, page())
    assert seen(qoder(*RUN)) == sees


# The answer to the trigger, when the run that is listed, or that it names, was created, and what comes of it.
SECONDS: list[tuple[Any, float, dict[str, Any]]] = [
    *((CUT, LOOK + 60, ADOPTED), (CUT, LOOK + 61, IN_DOUBT)),  # a minute from now, at the last look
    *((ENVELOPED, -60, IN_DOUBT), (ENVELOPED, -61, STARTED)),
    *((None, -60, STARTED), (None, -61, IN_DOUBT)),
]


@pytest.mark.parametrize(("answer", "created", "sees"), SECONDS)
def test_deploy_run_allows_a_minute_for_clocks_that_differ(
    qoder: Qoder, answer: Any, created: float, sees: dict[str, Any]
) -> None:
    qoder.clock.time = NOW
    run = fresh(7, created=at(created))
    qoder.wire.on(*TRIGGER, answer or dated(run, at=NOW), *[fresh(7)] * (answer is ENVELOPED and sees is STARTED))
    if answer or sees is IN_DOUBT:
        (shows_ours if sees is ADOPTED else shows)(qoder, run)
    assert seen(qoder(*RUN)) == sees


class TwoClocks(FakeClock):
    """A clock on which the machine's time can be set while its monotonic clock goes on."""

    def __init__(self) -> None:
        super().__init__(NOW + 0.37)
        self.step = 0.0

    def now(self) -> float:
        return self.time + self.step

    def set_by(self, step: float) -> None:
        self.step = step


@pytest.mark.parametrize(("step", "when"), checkerboard([-10.0, 10.0, -7200.0, 7200.0], ["at the trigger", "later"]))
@pytest.mark.few(3)
def test_deploy_run_adopts_its_own_though_the_clock_is_set_meanwhile(qoder: Qoder, step: float, when: str) -> None:
    clock = qoder.clock = TwoClocks()

    def trigger(request: httpx.Request) -> Any:
        clock.set_by(step if when == "at the trigger" else 0.0)
        return ENVELOPED

    clock.at_sleep = lambda: clock.set_by(step)
    qoder.wire.on(*TRIGGER, trigger)
    shows_ours(qoder, fresh(7), fresh(6, created=at(-2)))
    assert seen(qoder(*RUN)) == ADOPTED


def paged(qoder: Qoder, runs: list[dict[str, Any]]) -> None:
    """Let the run list show these in this order, 100 a page, by `after_id`."""

    def answer(request: httpx.Request) -> Any:
        after = request.url.params.get("after_id")
        first = next((n + 1 for n, run in enumerate(runs) if run["id"] == after), 0)
        return dated(page(*runs[first : first + 100], more=first + 100 < len(runs)), at=qoder.clock.time)

    qoder.wire.on(*RUNS, answer, repeat=True)


OLD = [fresh(1000 + number, created=at(-3600 - number)) for number in range(120)]


def shuffled(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return random.Random(3).sample(runs, len(runs))


ORDERS: dict[str, Callable[[list[dict[str, Any]]], list[dict[str, Any]]]] = {
    "newest first": lambda runs: sorted(runs, key=lambda run: run["created_at"], reverse=True),
    "oldest first": lambda runs: sorted(runs, key=lambda run: run["created_at"]),
    "shuffled": shuffled,
    "ours last of a shuffled list": lambda runs: [*shuffled(runs[1:]), runs[0]],
}


NEWER = [fresh(2000 + number, created=at(60 - number), trigger="schedule") for number in range(99)]
LISTS: dict[str, list[dict[str, Any]]] = {
    **{name: order([fresh(7), *OLD]) for name, order in ORDERS.items()},
    **{
        f"a page ends in {when}": [*NEWER, fresh(9, created=when, trigger="schedule"), fresh(7)]
        for when in NO_DATES[:3]
    },
}


@pytest.mark.parametrize(("order", "answer"), checkerboard(LISTS, ["500", "cut"]))
@pytest.mark.few(5)
def test_deploy_run_reads_to_its_attempt_in_any_order(qoder: Qoder, order: str, answer: str) -> None:
    qoder.wire.on(*TRIGGER, CUT if answer == "cut" else ENVELOPED).on(*EVENTS, page())
    paged(qoder, LISTS[order])
    assert seen(qoder(*RUN)) == ADOPTED


FOREIGN = {
    **{f"HTML {status}": (status, "<html>") for status in (400, 401, 403, 404, 407, 413)},
    "another 409": (409, '{"error": "busy"}'),
    "302": httpx.Response(302, headers={"location": "https://elsewhere.example/"}),
}
STANDS = {"HTML 401": 4, "HTML 403": 4, "HTML 404": 5, "302": 7}


@pytest.mark.parametrize(("refusal", "shown"), checkerboard(FOREIGN, [1, 0]))
@pytest.mark.few(5)
def test_deploy_run_believes_a_refusal_that_is_not_the_apis_only_where_no_run_shows(
    qoder: Qoder, refusal: str, shown: int
) -> None:
    qoder.wire.on(*TRIGGER, FOREIGN[refusal])
    shows(qoder, *[fresh(7)] * shown)
    if shown:
        qoder.wire.on(*EVENTS, page())
    elif refusal == "another 409":  # which reading the deployment may explain
        qoder.wire.on("GET", "/deployments/dep_1", {"id": "dep_1", "status": "active"})
    elif refusal == "HTML 404":  # the same, the names that there are
        qoder.wire.on("GET", "/deployments", page())
    assert seen(qoder(*RUN)) == (ADOPTED if shown else nothing(STANDS.get(refusal, 6)))


REFUSED = {
    "401": api_error(401, "authentication_error", "No."),
    "403": api_error(403, "permission_error", "No."),
    "400": api_error(400, "invalid_request_error", "No."),
    "429": httpx.Response(429, headers={"retry-after": "120"}),
    "302": httpx.Response(302, headers={"location": "https://elsewhere.example/"}),
    "500 of the API": ENVELOPED,
}
AFTER = pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED.keys())


@AFTER
def test_deploy_run_does_not_deny_a_lost_start_because_the_next_is_refused(qoder: Qoder, refused: Any) -> None:
    qoder.wire.on(*TRIGGER, CUT, *[refused] * (2 if refused is ENVELOPED else 1))
    shows(qoder)
    assert seen(qoder(*RUN, "--on-lost", "resend")) == IN_DOUBT


@AFTER
@pytest.mark.few(4)
def test_deploy_run_does_not_deny_its_keys_earlier_start_when_the_next_is_refused(qoder: Qoder, refused: Any) -> None:
    qoder.wire.on(*TRIGGER, CUT, *[refused] * (3 if refused is ENVELOPED else 1))
    shows(qoder)
    for _ in range(2):
        assert seen(qoder(*NIGHT, "--json")) == IN_DOUBT
    shows_ours(qoder, fresh(7, created=at(30)))  # the first attempt was acted on late
    assert seen(qoder(*NIGHT, "--json")) == ADOPTED


def test_deploy_run_looks_under_its_key_for_what_a_start_that_exited_7_started_late(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, *[ENVELOPED] * 3)
    shows(qoder)
    assert seen(qoder(*NIGHT, "--json")) == nothing(7)
    shows_ours(qoder, fresh(7, created=at(91)))
    assert seen(qoder(*NIGHT, "--json")) == ADOPTED


MINUTE_AGO = at(-61)
STRANGERS = {
    "a run from 61 seconds before": lambda: dated(fresh(6, created=MINUTE_AGO), at=NOW),
    "one that a proxy has kept": lambda: dated(fresh(6), at=NOW, age=30),
    "the run of a schedule": lambda: dated(fresh(6, trigger="schedule"), at=NOW),
    "the run of a schedule, as a word": lambda: dated({**fresh(6), "trigger_context": "schedule"}, at=NOW),
}


@pytest.mark.parametrize("answer", STRANGERS.values(), ids=STRANGERS.keys())
@pytest.mark.parametrize("is_listed", [False, True], ids=["nothing started", "ours is listed"])
def test_deploy_run_believes_no_answer_of_other_runs(qoder: Qoder, answer: Callable[[], Any], is_listed: bool) -> None:
    qoder.wire.on(*TRIGGER, answer())
    if is_listed:
        qoder.wire.on(*EVENTS, page())
    shows(qoder, *[fresh(7)] * is_listed, fresh(6, created=MINUTE_AGO))
    assert seen(qoder(*RUN)) == (ADOPTED if is_listed else IN_DOUBT)


def test_deploy_run_exits_9_where_the_run_of_its_key_is_said_to_be_of_another_deployment(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, fresh(6)).on("GET", "/deployment_runs/drun_6", {**fresh(6), "deployment_id": "dep_2"})
    qoder.wire.on(*EVENTS, page())
    assert qoder(*NIGHT).code == 0
    ran = qoder(*NIGHT, "--json")
    assert (ran.code, ran.out, ran.error["run_id"], ran.error["next"][2:4]) == (9, "", "drun_6", ["list", "dep_1"])


@pytest.mark.parametrize("key", [(), ("--idempotency-key", "night-1")], ids=["own key", "typed key"])
def test_deploy_run_does_not_take_the_run_that_another_command_started(qoder: Qoder, key: tuple[str, ...]) -> None:
    qoder.wire.on(*TRIGGER, fresh(6), fresh(6))
    assert qoder("deploy", "run", "dep_1").code == 0
    shows(qoder, fresh(6))
    assert qoder("deploy", "run", "dep_1", *key).code == 9


@pytest.mark.parametrize("answer", [fresh(6, created="2027-01-15T07:00:00Z"), {**fresh(6), "created_at": None}])
@pytest.mark.parametrize("key", ["night-1", "8a7f3c52-90d1-4e6b-a1c4-5d2e8f7b6a90"])
def test_deploy_run_takes_the_old_run_that_a_typed_key_started(qoder: Qoder, answer: dict[str, Any], key: str) -> None:
    """Elsewhere, or before this machine lost its state: the server keeps keys (api.md#idempotency)."""
    qoder.wire.on(*TRIGGER, dated(answer, at=NOW))
    assert qoder("deploy", "run", "dep_1", "--idempotency-key", key, "-q").out == "drun_6\n"


class After(NamedTuple):
    """The answers to two starts here, what the list shows to the second, what comes of it, and how the first went."""

    answers: list[Any]
    shown: list[dict[str, Any]]
    sees: dict[str, Any]
    before: list[dict[str, Any]] | None = None  # what the list showed to the first
    words: str = ""  # of the first
    code: int = 0  # of the first
    later: float = 0.0  # seconds between them
    says: str = ""


AT_20, MUCH_LATER = [fresh(7, created=at(20))], at(LONG_LOOK + ADOPT_WITHIN - 9)
STRANGERS_7 = [fresh(7, created=at(31)), fresh(6, created=at(30))]  # what a first attempt started, very late
OURS_7 = [fresh(7, created=MUCH_LATER), fresh(6, created=at(LONG_LOOK))]
AFTERS = {
    "its run is never adopted": After([fresh(6), CUT], [fresh(6)], IN_DOUBT),
    "its run keeps ours from nothing": After([fresh(6), CUT], [fresh(7), fresh(6)], ADOPTED),
    "its run keeps no 5xx from being sent again": After([fresh(6), ENVELOPED, fresh(7)], [fresh(6)], STARTED),
    "it only adopted the run": After([CUT, ENVELOPED], AT_20, IN_DOUBT, AT_20, says="not certain enough"),
    "it is in doubt, and may own the run": After([CUT, CUT], AT_20, IN_DOUBT, [], code=9),
    "its first attempt may own the run": After(
        [CUT, fresh(6), CUT], STRANGERS_7, IN_DOUBT, [], RESEND, says="may belong to another command"
    ),
    "its attempt that was answered owns no later run": After(
        [CUT, fresh(6), CUT], OURS_7, ADOPTED, [], RESEND, later=ADOPT_WITHIN - 10
    ),
}


@pytest.mark.parametrize("how", AFTERS)
def test_deploy_run_knows_what_another_start_here_did_or_may_have_done(qoder: Qoder, how: str) -> None:
    after = AFTERS[how]
    qoder.wire.on(*TRIGGER, *after.answers).may(*EVENTS, page())
    if after.before is not None:
        shows(qoder, *after.before)
    assert qoder(*RUN, *after.words.split()).code == after.code
    qoder.clock.time += after.later
    shows(qoder, *after.shown)
    ran = qoder(*RUN)
    assert (seen(ran), after.says in ran.err) == (after.sees, True)


def adopted(qoder: Qoder) -> None:
    """Let a start adopt the run drun_7."""
    qoder.wire.on(*TRIGGER, CUT)
    shows_ours(qoder, fresh(7))
    assert seen(qoder(*RUN)) == ADOPTED
    qoder.wire.on("GET", "/deployment_runs/drun_7", {**DONE, "id": "drun_7"}, repeat=True)


@pytest.mark.parametrize(
    ("name", "words"),
    checkerboard(["last", "drun_7", "dep_1@last"], ["run get", "run wait", "run wait drun_7", "run result"]),
)
@pytest.mark.few(4)
def test_run_commands_mark_an_adopted_run_wherever_they_show_it(qoder: Qoder, words: str, name: str) -> None:
    adopted(qoder)
    if words == "run result":
        qoder.wire.on(*EVENTS, page(), repeat=True)
    shown = qoder(*words.split(), name, "--json").json
    runs = shown if isinstance(shown, list) else [shown]
    assert [run["adopted"] for run in runs] == [True] * len(runs)


def test_run_list_marks_an_adopted_run_and_so_does_its_key(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, CUT)
    shows_ours(qoder, fresh(7))
    assert seen(qoder(*NIGHT, "--json")) == ADOPTED
    qoder.wire.on("GET", "/deployment_runs/drun_7", {**DONE, "id": "drun_7"})
    assert seen(qoder(*NIGHT, "--json")) == ADOPTED
    qoder.wire.on("GET", "/deployment_runs", page({**DONE, "id": "drun_7"}, {**DONE, "id": "drun_8"}))
    assert [run.get("adopted") for run in qoder("run", "list", "--json").json] == [True, None]


@pytest.mark.parametrize("name", ["last", "dep_1@last", "drun_7"])
def test_run_cancel_of_an_adopted_run_asks_for_its_id(qoder: Qoder, name: str) -> None:
    adopted(qoder)
    ran = qoder("run", "cancel", name, "--yes", "--json")
    assert ran.code == (0 if name == "drun_7" else 2)
    assert ran.code == 0 or ran.error["hint"].endswith("give its id: drun_7")


def test_deploy_run_takes_a_list_from_before_its_request_for_no_answer(qoder: Qoder) -> None:
    """A proxy may leave out `Age`: the server's own clock shows that the list is old."""
    began = qoder.clock.now()
    busy = httpx.Response(503, json=ENVELOPED[1], headers={"date": formatdate(began, usegmt=True)})
    qoder.wire.on(*TRIGGER, busy).on(*RUNS, lambda _: listed(at=began - 20), repeat=True)
    ran = qoder(*RUN)
    assert ran.code == 9
    assert len(qoder.wire.asked("POST")) == 1


@pytest.mark.parametrize(("refusal", "has_date"), [(401, False), (403, True), (404, False), (429, False), (429, True)])
def test_deploy_run_looks_again_where_a_resend_is_refused(qoder: Qoder, refusal: int, has_date: bool) -> None:
    """The first attempt was answered with a 5xx, and acts while the second is refused."""
    started = fresh(1, created=at(1))
    qoder.wire.on(*TRIGGER, ENVELOPED).on(*TRIGGER, api_error(refusal, "odd_error", "No."), repeat=True)

    def listed(request: httpx.Request) -> Any:
        rows = page(started) if len(qoder.wire.asked("POST")) > 1 else page()
        return dated(rows, at=qoder.clock.now(), date=None if has_date else "")

    qoder.wire.on(*RUNS, listed, repeat=True).may(*EVENTS, page())
    ran = qoder(*RUN)
    assert (ran.code, has_date or ran.error["run_state"]) == ((0, True) if has_date else (9, "unknown"))
    assert "drun_1" in ran.err


@pytest.mark.parametrize(("after", "ahead", "code"), [(600, 0, 9), (601, 0, 5), (601, -3600, 5), (601, 300, 5)])
def test_run_wait_last_counts_a_start_as_none_more_than_ten_minutes_later(
    qoder: Qoder, after: int, ahead: float, code: int
) -> None:
    qoder.clock.time = NOW
    qoder.wire.on(*TRIGGER, CUT)
    shows(qoder, ahead=ahead)
    assert qoder(*RUN).code == 9
    qoder.clock.time = NOW + after - LONG_LOOK
    ran = qoder("run", "wait", "last")
    assert (ran.code, f"start dep_1 {span(after - LONG_LOOK)} ago" in ran.err) == (code, True), ran.err
    if code == 5:  # and that is settled
        assert "did not start a run" in ran.errors[0]
        assert "qoder deploy run dep_1" in ran.err
        assert (qoder("run", "wait", "last").code, sum(qoder.clock.slept)) == (5, LOOK + LONG_LOOK)


def test_run_wait_last_adopts_its_own_though_the_clock_was_set_since(qoder: Qoder) -> None:
    clock = qoder.clock = TwoClocks()
    qoder.wire.on(*TRIGGER, CUT)
    shows(qoder)
    assert seen(qoder(*RUN)) == IN_DOUBT
    clock.set_by(7200)
    shows(qoder, fresh(7))
    qoder.wire.on("GET", "/deployment_runs/drun_7", {**DONE, "id": "drun_7"})
    assert seen(qoder("run", "wait", "last", "--json")) == ADOPTED


def test_deploy_run_adopts_its_own_while_a_start_of_another_deployment_is_in_doubt(qoder: Qoder) -> None:
    qoder.wire.on("POST", "/deployments/dep_2/run", CUT).on(*TRIGGER, CUT)
    assert qoder("deploy", "run", "dep_2", "--on-lost", "fail").code == 9
    shows_ours(qoder, fresh(7))
    assert seen(qoder(*RUN)) == ADOPTED


def test_run_wait_last_takes_the_run_that_its_command_hears_of_meanwhile(qoder: Qoder) -> None:
    killed(qoder)

    def answered(clock: FakeClock) -> Any:
        with closing(Store(qoder.env, warn=pytest.fail)) as store:
            [entry] = store.entries("api.qoder.com")
            store.record_run(entry.attempt, "drun_7")
        return listed(fresh(7), at=clock.time)

    looks(qoder, answered)
    qoder.wire.on("GET", "/deployment_runs/drun_7", {**DONE, "id": "drun_7"})
    ran = qoder("run", "wait", "last", "--json")
    assert (ran.code, ran.json["id"], ran.json.get("adopted")) == (0, "drun_7", None)


def test_deploy_run_at_a_signal_takes_no_other_deployments_run_for_its_own(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, {**STARTED, "deployment_id": "dep_2"})
    with interrupted(qoder, answer_comes=True):
        ran = qoder(*RUN)
    assert (ran.code, ran.error["type"], ran.error["run_id"]) == (143, "outcome_unknown", None)
