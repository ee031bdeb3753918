"""What the run list permits after a lost answer, on servers whose clocks, lists and words are not as documented."""

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Qoder
from tests.support.one_run import CURRENT, DONE, EVENTS, LEGACY, RUN, TRIGGER
from tests.support.triggers import ENVELOPED, LOST, NOW, RUNS, fresh, listed, shows, shows_ours
from tests.support.wire import FakeClock, page

CUT = LOST["cut"]
SENT = "/api/v1/cloud/deployments/dep_1/run"


class TwoClocks(FakeClock):
    """A clock on which the machine's time can be set while its monotonic clock goes on."""

    def __init__(self) -> None:
        super().__init__(NOW + 0.37)
        self.step = 0.0

    def now(self) -> float:
        return self.time + self.step


def stamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def at(seconds: float) -> str:
    """Return the timestamp of a run created so long after the command began."""
    return stamp(NOW + seconds)


def shows_after(qoder: Qoder, seconds: float, *runs: dict[str, Any], ahead: float = 0.0) -> None:
    """Let the run list show these runs only so many seconds from now."""
    until = qoder.clock.time + seconds

    def answer(request: httpx.Request) -> Any:
        late = qoder.clock.time >= until
        return listed(*(runs if late else ()), at=qoder.clock.time + ahead)

    qoder.wire.on(*RUNS, answer, repeat=True)


def paged(qoder: Qoder, runs: list[dict[str, Any]]) -> None:
    """Let the run list show these in this order, 100 a page, by `after_id`."""

    def answer(request: httpx.Request) -> Any:
        after = request.url.params.get("after_id")
        first = next((n + 1 for n, run in enumerate(runs) if run["id"] == after), 0)
        part = runs[first : first + 100]
        more = first + 100 < len(runs)
        headers = {"date": formatdate(qoder.clock.time, usegmt=True)}
        return httpx.Response(200, json=page(*part, more=more), headers=headers)

    qoder.wire.on(*RUNS, answer, repeat=True)


def late_by(qoder: Qoder, seconds: float, answer: Any) -> Callable[[httpx.Request], Any]:
    """Return what answers after so many seconds."""

    def respond(request: httpx.Request) -> Any:
        qoder.clock.time += seconds
        if isinstance(answer, Exception):
            raise answer
        return answer

    return respond


def sent_once(qoder: Qoder) -> bool:
    return qoder.wire.asked("POST") == [SENT]


ODD_RUNS = {
    "created_at is null": {"created_at": None},
    "created_at is a number": {"created_at": 1_800_000_000},
    "created_at is a word": {"created_at": "today"},
    "trigger_context is null": {"trigger_context": None},
    "trigger_context is a string": {"trigger_context": "manual"},
    "trigger_context is of another type": {"trigger_context": {"type": "api"}},
    "trigger_context is a retry": {"trigger_context": {"type": "retry"}},
    "trigger_context has no type": {"trigger_context": {}},
}


@pytest.mark.parametrize("odd", ODD_RUNS.values(), ids=ODD_RUNS.keys())
def test_a_5xx_is_not_sent_again_while_a_run_cannot_be_ruled_out(qoder: Qoder, odd: dict[str, Any]) -> None:
    qoder.wire.on(*TRIGGER, ENVELOPED)
    shows(qoder, {**fresh(7), **odd})
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, sent_once(qoder)) == (9, True)
    assert "drun_7" in ran.error["message"]


@pytest.mark.parametrize("absent", ["created_at", "trigger_context"])
def test_nor_while_a_run_does_not_say_what_would_rule_it_out(qoder: Qoder, absent: str) -> None:
    qoder.wire.on(*TRIGGER, ENVELOPED)
    shows(qoder, {name: value for name, value in fresh(7).items() if name != absent})
    assert (qoder("deploy", "run", "dep_1").code, sent_once(qoder)) == (9, True)


@pytest.mark.parametrize("ahead", [2.0, 10.0, 59.0, 7200.0])
def test_nor_where_the_servers_date_is_ahead_of_what_it_writes(qoder: Qoder, ahead: float) -> None:
    qoder.wire.on(*TRIGGER, ENVELOPED)
    shows(qoder, fresh(7), ahead=ahead)
    assert (qoder("deploy", "run", "dep_1").code, sent_once(qoder)) == (9, True)


@pytest.mark.parametrize("step", [-10.0, 10.0, -7200.0, 7200.0])
@pytest.mark.parametrize("when", ["at the trigger", "later"])
def test_a_clock_that_is_set_meanwhile_neither_starts_twice_nor_adopts_wrongly(
    qoder: Qoder, step: float, when: str
) -> None:
    clock = qoder.clock = TwoClocks()

    def trigger(request: httpx.Request) -> Any:
        if when == "at the trigger":
            clock.step = step
        return ENVELOPED

    def set_clock() -> None:
        clock.step = step

    clock.at_sleep = set_clock
    qoder.wire.on(*TRIGGER, trigger)
    shows_ours(qoder, fresh(7), fresh(6, created=at(-2)))
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, ran.json["id"], sent_once(qoder)) == (0, "drun_7", True)


@pytest.mark.parametrize("lag", [10.0, 20.0, 29.0])
def test_a_list_that_lags_is_waited_for_before_a_5xx_is_sent_again(qoder: Qoder, lag: float) -> None:
    qoder.wire.on(*TRIGGER, ENVELOPED)
    shows_after(qoder, lag, fresh(7))
    qoder.wire.on(*EVENTS, page())
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, ran.json["id"], sent_once(qoder)) == (0, "drun_7", True)


def test_a_5xx_that_started_nothing_is_sent_again_after_30_seconds(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, ENVELOPED, fresh(7))
    shows(qoder, fresh(6, created=at(-61)), fresh(5, trigger="schedule"))
    assert qoder("deploy", "run", "dep_1").code == 0
    assert sum(qoder.clock.slept) == 30.0


def test_a_run_of_the_minute_before_keeps_a_5xx_from_being_sent_again(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, ENVELOPED)
    shows(qoder, fresh(6, created=at(-59)))
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, sent_once(qoder)) == (9, True)
    assert "not certainly enough" in ran.error["message"]


def test_the_run_of_another_trigger_here_does_not(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, fresh(6), ENVELOPED, fresh(7))
    assert qoder("deploy", "run", "dep_1").code == 0
    shows(qoder, fresh(6))
    assert qoder("deploy", "run", "dep_1", "-q").out == "drun_7\n"


def test_but_one_that_another_trigger_here_only_adopted_does(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, CUT, ENVELOPED)
    shows_ours(qoder, fresh(7))
    assert qoder("deploy", "run", "dep_1").code == 0
    ran = qoder("deploy", "run", "dep_1")
    assert (ran.code, len(qoder.wire.asked("POST"))) == (9, 2)


OLD = [fresh(1000 + number, created=at(-3600 - number)) for number in range(250)]


def shuffled(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return random.Random(3).sample(runs, len(runs))


ORDERS: dict[str, Callable[[list[dict[str, Any]]], list[dict[str, Any]]]] = {
    "newest first": lambda runs: sorted(runs, key=lambda run: run["created_at"], reverse=True),
    "oldest first": lambda runs: sorted(runs, key=lambda run: run["created_at"]),
    "shuffled": shuffled,
    "ours last of a shuffled list": lambda runs: [*shuffled(runs[1:]), runs[0]],
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
@pytest.mark.parametrize("answer", [ENVELOPED, CUT], ids=["500", "cut"])
def test_the_list_is_read_back_to_the_attempt_whatever_its_order(qoder: Qoder, order: Any, answer: Any) -> None:
    qoder.wire.on(*TRIGGER, answer)
    paged(qoder, order([fresh(7), *OLD]))
    qoder.wire.on(*EVENTS, page())
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, ran.json["id"], sent_once(qoder)) == (0, "drun_7", True)


def test_newest_first_costs_one_page_a_look(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, CUT)
    paged(qoder, ORDERS["newest first"]([fresh(7), *OLD]))
    qoder.wire.on(*EVENTS, page())
    assert qoder("deploy", "run", "dep_1").code == 0
    assert sum(request.url.path.endswith("/runs") for request in qoder.wire.requests) == 5


def test_a_list_whose_cursor_does_not_move_permits_nothing(qoder: Qoder) -> None:
    first = [fresh(2000 + number, created=at(600), trigger="schedule") for number in range(100)]
    qoder.wire.on(*TRIGGER, ENVELOPED)
    qoder.wire.on(
        *RUNS,
        lambda request: (
            listed(*first)
            if False
            else httpx.Response(
                200, json=page(*first, more=True), headers={"date": formatdate(qoder.clock.time, usegmt=True)}
            )
        ),
        repeat=True,
    )
    assert (qoder("deploy", "run", "dep_1").code, sent_once(qoder)) == (9, True)


@pytest.mark.parametrize("shown", [20, 100])
def test_a_full_page_that_does_not_say_whether_more_follow_permits_nothing(qoder: Qoder, shown: int) -> None:
    newer = [fresh(2000 + number, created=at(0), trigger="schedule") for number in range(shown)]
    body = {"data": newer}
    qoder.wire.on(*TRIGGER, ENVELOPED)
    date = {"date": formatdate(NOW, usegmt=True)}
    qoder.wire.on(*RUNS, lambda request: httpx.Response(200, json=body, headers=date), repeat=True)
    assert (qoder("deploy", "run", "dep_1").code, sent_once(qoder)) == (9, True)


def test_the_date_of_what_a_proxy_has_kept_makes_no_run_ours(qoder: Qoder) -> None:
    """By that date our attempt was made long ago, before somebody else's run began."""

    def shown(request: httpx.Request) -> Any:
        if qoder.clock.time > NOW + 1:
            return listed(fresh(6, created=at(-100)), date="")
        kept = listed(at=NOW - 300)
        kept.headers["age"] = "300"
        return kept

    qoder.wire.on(*TRIGGER, LOST["cut"]).on(*RUNS, shown, repeat=True)
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, "sent no Date header" in ran.error["message"]) == (9, True)


def test_a_list_that_a_proxy_has_kept_permits_nothing_and_tells_no_time(qoder: Qoder) -> None:
    def kept(request: httpx.Request) -> Any:
        assert request.headers["cache-control"] == "no-cache"
        answer = listed(fresh(6, created=at(-3600)), at=NOW - 3600)
        answer.headers["age"] = "3600"
        return answer

    qoder.wire.on(*TRIGGER, ENVELOPED)
    qoder.wire.on(*RUNS, kept, repeat=True)
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, sent_once(qoder), "has kept" in ran.error["message"]) == (9, True, True)


def test_a_list_of_something_else_permits_nothing(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, ENVELOPED)
    shows(qoder, {"id": 7, "created_at": at(0)})
    assert (qoder("deploy", "run", "dep_1").code, sent_once(qoder)) == (9, True)


def test_without_the_servers_clock_nothing_is_ruled_out_by_its_time(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, ENVELOPED)
    qoder.wire.on(*RUNS, lambda request: listed(fresh(6, created=at(-86400)), date=""), repeat=True)
    assert (qoder("deploy", "run", "dep_1").code, sent_once(qoder)) == (9, True)


@pytest.mark.parametrize(("created", "code"), [(0, 0), (120, 0), (121, 9), (-1, 9)])
def test_only_what_was_created_within_two_minutes_is_adopted(qoder: Qoder, created: float, code: int) -> None:
    qoder.wire.on(*TRIGGER, late_by(qoder, 119, CUT))
    shows(qoder, fresh(7, created=at(created)))
    if code == 0:
        qoder.wire.on(*EVENTS, page())
    assert qoder("deploy", "run", "dep_1").code == code


def test_a_run_that_may_be_ours_keeps_another_from_being_adopted(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, CUT)
    shows(qoder, fresh(7), {**fresh(8), "trigger_context": None})
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert ran.code == 9
    assert "2 runs may be it: drun_7, drun_8" in ran.error["message"]


FOREIGN = {
    "HTML 400": (400, "<html>"),
    "HTML 401": (401, "<html>"),
    "HTML 403": (403, "<html>"),
    "HTML 404": (404, "<html>"),
    "HTML 407": (407, "<html>"),
    "HTML 413": (413, "<html>"),
    "another 409": (409, '{"error": "busy"}'),
    "302": httpx.Response(302, headers={"location": "https://elsewhere.example/"}),
}
FOREIGNERS = pytest.mark.parametrize("answer", FOREIGN.values(), ids=FOREIGN.keys())


@FOREIGNERS
def test_a_refusal_that_is_not_the_apis_is_not_believed_while_a_run_shows(qoder: Qoder, answer: Any) -> None:
    qoder.wire.on(*TRIGGER, answer)
    shows_ours(qoder, fresh(7))
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, ran.json["id"], ran.json["adopted"], sent_once(qoder)) == (0, "drun_7", True, True)


@FOREIGNERS
def test_and_stands_where_none_shows(qoder: Qoder, answer: Any) -> None:
    qoder.wire.on(*TRIGGER, answer)
    if answer == FOREIGN["another 409"]:  # which reading the deployment may explain
        qoder.wire.on("GET", "/deployments/dep_1", {"id": "dep_1", "status": "active"})
    if answer == FOREIGN["HTML 404"]:  # the same, the names that there are
        qoder.wire.on("GET", "/deployments", page())
    shows(qoder)
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert ran.code in (4, 5, 6, 7)
    assert (ran.error["run_state"], sent_once(qoder)) == ("none", True)


@pytest.mark.parametrize("status", [408, 499])
def test_a_timeout_that_somebody_answers_is_no_answer(qoder: Qoder, status: int) -> None:
    qoder.wire.on(*TRIGGER, (status, {"type": "error", "error": {"type": "timeout_error", "message": "Late."}}))
    shows(qoder)
    assert qoder("deploy", "run", "dep_1").code == 9


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ReadError("tlsv13 alert certificate required"),
        httpx.RemoteProtocolError("the certificate page of a proxy"),
        httpx.WriteError("certificate"),
    ],
)
def test_the_word_certificate_does_not_mean_that_nothing_was_sent(qoder: Qoder, failure: Exception) -> None:
    qoder.wire.on(*TRIGGER, failure)
    shows_ours(qoder, fresh(7))
    assert qoder("deploy", "run", "dep_1", "-q").out == "drun_7\n"


def test_a_certificate_that_is_not_trusted_does(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED]"))
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, ran.error["run_state"]) == (7, "none")


def test_a_run_dated_in_whole_seconds_is_ours_whenever_in_a_second_the_list_answers(qoder: Qoder) -> None:
    def slow(request: httpx.Request) -> Any:
        qoder.clock.time += 0.65
        return listed(fresh(7), at=qoder.clock.time)

    qoder.wire.on(*TRIGGER, CUT).on(*RUNS, slow, repeat=True).on(*EVENTS, page())
    assert qoder("deploy", "run", "dep_1", "--json").json["id"] == "drun_7"


def forget_list(qoder: Qoder) -> None:
    """Let the run list show something else from now on."""
    qoder.wire.expected = [one for one in qoder.wire.expected if one.path != RUNS[1]]


def test_on_lost_resend_waits_for_a_list_that_lags_as_long_as_after_a_5xx(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, CUT)
    shows_after(qoder, 20.0, fresh(7))
    qoder.wire.on(*EVENTS, page())
    ran = qoder("deploy", "run", "dep_1", "--on-lost", "resend", "--json")
    assert (ran.code, ran.json["id"], sent_once(qoder)) == (0, "drun_7", True)


def test_what_is_told_of_several_losses_is_the_first(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, CUT, LOST["502 in HTML"], LOST["502 in HTML"])
    shows(qoder)
    ran = qoder("deploy", "run", "dep_1", "--on-lost", "resend", "--json")
    assert (ran.code, "peer closed connection" in ran.error["message"]) == (9, True)


def sent_again(qoder: Qoder) -> None:
    """Lose an answer, and start a run by sending again: at 0 s and at 30 s."""
    qoder.wire.on(*TRIGGER, CUT, fresh(6))
    shows(qoder)
    assert qoder("deploy", "run", "dep_1", "--on-lost", "resend").code == 0
    forget_list(qoder)


def test_what_was_lost_stays_open_when_the_next_attempt_is_answered(qoder: Qoder) -> None:
    sent_again(qoder)
    qoder.wire.on(*TRIGGER, CUT)
    shows(qoder, fresh(7, created=at(31)), fresh(6, created=at(30)))  # what the first attempt started, very late
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, "may belong to another command" in ran.error["message"]) == (9, True)


def test_the_attempt_that_was_answered_claims_no_later_run(qoder: Qoder) -> None:
    sent_again(qoder)
    qoder.clock.time += 110
    qoder.wire.on(*TRIGGER, CUT)
    shows_ours(qoder, fresh(7, created=at(141)), fresh(6, created=at(30)))
    assert qoder("deploy", "run", "dep_1", "--json").json["id"] == "drun_7"


# `last` and keys.


def killed(qoder: Qoder, *words: str) -> None:
    """Leave a trigger behind of which nothing is known, as a process that was killed does."""
    qoder.wire.on(*TRIGGER, CUT)
    assert qoder("deploy", "run", "dep_1", "--on-lost", "fail", *words).code == 9


def test_last_reads_past_the_runs_that_were_started_since(qoder: Qoder) -> None:
    killed(qoder)
    qoder.clock.time += 3600
    newer = [fresh(2000 + number, created=at(3000 - number)) for number in range(100)]
    paged(qoder, [*newer, fresh(7, created=at(1)), *OLD])
    qoder.wire.on(*RUN[:1], "/deployment_runs/drun_7", DONE | {"id": "drun_7"})
    ran = qoder("run", "wait", "last", "--json")
    assert (ran.code, ran.json["id"]) == (0, "drun_7")


def test_the_time_to_find_the_last_run_counts_in_the_time_to_wait(qoder: Qoder) -> None:
    killed(qoder)
    shows(qoder, fresh(7, created=at(1)))
    qoder.wire.on(*RUN[:1], "/deployment_runs/drun_7", LEGACY | {"id": "drun_7"}, repeat=True)
    began = qoder.clock.time
    assert qoder("run", "wait", "last", "--timeout", "20").code == 124
    assert qoder.clock.time - began == pytest.approx(20)


@pytest.mark.parametrize("step", [-10.0, 3600.0])
def test_last_says_nothing_was_started_by_no_clock_that_was_set(qoder: Qoder, step: float) -> None:
    clock = qoder.clock = TwoClocks()
    qoder.wire.on("GET", "/deployments", lambda request: listed({"id": "dep_1", "name": "nightly"}, at=clock.time))
    qoder.wire.on(*TRIGGER, CUT)
    assert qoder("deploy", "run", "nightly", "--on-lost", "fail").code == 9
    clock.step = step
    shows(qoder)
    ran = qoder("run", "wait", "last", "--json")
    assert (ran.code, ran.error["run_state"]) == (9, "unknown")


def test_last_says_nothing_of_a_list_that_it_cannot_rule_anything_out_by(qoder: Qoder) -> None:
    killed(qoder)
    qoder.clock.time += 3600
    shows(qoder, {**fresh(7), "trigger_context": "manual"})
    ran = qoder("run", "get", "last", "--json")
    assert (ran.code, ran.error["next"]) == (9, ["qoder", "run", "list", "dep_1", "-o", "json"])
    assert "drun_7" in ran.error["message"]


def test_a_repeated_key_gets_the_whole_look_and_the_window_of_each_attempt(qoder: Qoder) -> None:
    killed(qoder, "--idempotency-key", "night-1")
    qoder.clock.time += 60
    qoder.wire.on(*TRIGGER, CUT)
    shows(qoder)
    assert qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1").code == 9
    assert sum(qoder.clock.slept) == 30.0 + 8.0
    qoder.wire.expected = [one for one in qoder.wire.expected if one.path != RUNS[1]]
    qoder.clock.time += 60
    shows_ours(qoder, fresh(7, created=at(95)))  # what the second attempt started
    ran = qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1", "--json")
    assert (ran.code, ran.json["id"], len(qoder.wire.asked("POST"))) == (0, "drun_7", 2)


def test_a_repeated_key_is_not_sent_while_its_earlier_attempt_may_have_started_a_run(qoder: Qoder) -> None:
    killed(qoder, "--idempotency-key", "night-1")
    shows(qoder, {**fresh(7), "created_at": None})
    assert qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1").code == 9
    assert sent_once(qoder)


def test_on_lost_fail_settles_no_earlier_attempt_either(qoder: Qoder) -> None:
    killed(qoder, "--idempotency-key", "night-1")
    assert qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1", "--on-lost", "fail").code == 9
    assert sent_once(qoder)


def test_an_unsettled_attempt_that_is_old_enough_does_not_hold_up_its_key_for_ever(qoder: Qoder) -> None:
    killed(qoder, "--idempotency-key", "night-1")
    qoder.clock.time += 601
    shows(qoder)
    qoder.wire.on(*TRIGGER, (403, {"type": "error", "error": {"type": "permission_error", "message": "No."}}))
    ran = qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1", "--json")
    assert (ran.code, ran.error["run_state"]) == (4, "none")


def test_one_that_is_not_old_enough_leaves_it_open_whether_something_was_started(qoder: Qoder) -> None:
    killed(qoder, "--idempotency-key", "night-1")
    qoder.clock.time += 569
    shows(qoder)
    qoder.wire.on(*TRIGGER, (403, {"type": "error", "error": {"type": "permission_error", "message": "No."}}))
    ran = qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1", "--json")
    assert (ran.code, ran.error["run_state"]) == (9, "unknown")


def test_an_attempt_of_now_is_looked_for_long_enough_whatever_its_key_began_with(qoder: Qoder) -> None:
    killed(qoder, "--idempotency-key", "night-1")
    qoder.clock.time += 300
    qoder.wire.on(*TRIGGER, CUT)
    shows_after(qoder, 35.0, fresh(7, created=at(330)))  # it was sent again after 30 s
    qoder.wire.on(*EVENTS, page())
    ran = qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1", "--json")
    assert (ran.code, ran.json["id"], len(qoder.wire.asked("POST"))) == (0, "drun_7", 2)


def test_a_run_is_adopted_for_the_newest_attempt_which_is_then_no_other_commands_rival(qoder: Qoder) -> None:
    killed(qoder, "--idempotency-key", "night-1")
    qoder.clock.time += 60
    qoder.wire.on(*TRIGGER, CUT, CUT)
    shows_after(qoder, 35.0, fresh(7, created=at(91)))  # it was sent again after 90 s
    qoder.wire.on(*EVENTS, page(), page())
    assert qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1", "--json").json["id"] == "drun_7"
    forget_list(qoder)
    qoder.clock.time += 60  # the first attempt is too long ago to have started what starts now
    shows(qoder, fresh(8, created=at(159)), fresh(7, created=at(91)))
    assert qoder("deploy", "run", "dep_1", "--json").json["id"] == "drun_8"


def test_a_key_that_looks_like_an_option_can_be_repeated(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, CUT)
    shows(qoder)
    ran = qoder("deploy", "run", "dep_1", "--idempotency-key=--night", "--json")
    assert "--idempotency-key=--night" in ran.error["next"]
    qoder.wire.on(*TRIGGER, CURRENT)
    assert qoder(*ran.error["next"][1:]).code == 0


# What was adopted stays marked, for it may be someone else's.


def adopted(qoder: Qoder) -> None:
    """Let a trigger adopt the run drun_7."""
    qoder.wire.on(*TRIGGER, CUT)
    shows_ours(qoder, fresh(7))
    assert qoder("deploy", "run", "dep_1", "--json").json["adopted"] is True
    qoder.wire.on("GET", "/deployment_runs/drun_7", {**DONE, "id": "drun_7"}, repeat=True)


@pytest.mark.parametrize("name", ["last", "drun_7", "dep_1@last"])
@pytest.mark.parametrize("words", [("run", "get"), ("run", "wait"), ("run", "wait", "drun_7"), ("run", "result")])
def test_an_adopted_run_is_marked_wherever_it_is_shown(qoder: Qoder, words: tuple[str, ...], name: str) -> None:
    adopted(qoder)
    if len(words) == 3:
        qoder.wire.on("GET", "/sessions", page(), repeat=True)
    if words == ("run", "result"):
        qoder.wire.on("GET", "/sessions/sess_1/events", page(), repeat=True)
    shown = qoder(*words, name, "--json").json
    runs = shown if isinstance(shown, list) else [shown]
    assert [run["adopted"] for run in runs] == [True] * len(runs)


def test_it_is_marked_in_a_list_and_under_its_key(qoder: Qoder) -> None:
    killed(qoder, "--idempotency-key", "night-1")
    shows_ours(qoder, fresh(7))
    key = ("deploy", "run", "dep_1", "--idempotency-key", "night-1", "--json")
    assert qoder(*key).json["adopted"] is True
    qoder.wire.on("GET", "/deployment_runs/drun_7", {**DONE, "id": "drun_7"})
    assert qoder(*key).json["adopted"] is True
    qoder.wire.on("GET", "/deployment_runs", page({**DONE, "id": "drun_7"}, {**DONE, "id": "drun_8"}))
    assert [run.get("adopted") for run in qoder("run", "list", "--json").json] == [True, None]


@pytest.mark.parametrize("name", ["last", "dep_1@last"])
def test_cancelling_an_adopted_run_wants_its_id(qoder: Qoder, name: str) -> None:
    adopted(qoder)
    ran = qoder("run", "cancel", name, "--yes", "--json")
    assert (ran.code, qoder.wire.asked("POST")) == (2, [SENT])
    assert "qoder run cancel drun_7" in ran.error["hint"]


def test_by_its_id_it_is_cancelled(qoder: Qoder) -> None:
    adopted(qoder)
    assert qoder("run", "cancel", "drun_7", "--yes").code == 0


@pytest.mark.parametrize("shown", [[], [fresh(8)]], ids=["nothing", "a stranger's"])
def test_a_run_that_was_listed_once_and_is_not_any_more_may_still_be_ours(
    qoder: Qoder, shown: list[dict[str, Any]]
) -> None:
    key = ("deploy", "run", "dep_1", "--idempotency-key", "night-1", "--json")
    qoder.wire.on(*TRIGGER, CUT)
    shows(qoder, fresh(7), fresh(8))
    assert qoder(*key).code == 9
    qoder.wire.expected = [one for one in qoder.wire.expected if one.path != RUNS[1]]
    shows(qoder, *shown)
    for words in (key, ("run", "wait", "last", "--json")):
        ran = qoder(*words)
        assert (ran.code, ran.error["run_state"]) == (9, "unknown")
        assert "drun_7" in ran.error["message"]


# Wide means wide: a server may act late, and lists may say odd things.


@pytest.mark.parametrize("late", [121, 150, 3600])
def test_deploy_run_repeats_no_lost_start_while_a_later_run_may_be_its(qoder: Qoder, late: float) -> None:
    key = ("deploy", "run", "dep_1", "--idempotency-key", "night-1", "--json")
    qoder.wire.on(*TRIGGER, CUT)
    shows(qoder)
    assert qoder(*key).code == 9
    forget_list(qoder)
    qoder.clock.time += late
    shows(qoder, fresh(7, created=at(late)))
    ran = qoder(*key)
    assert (ran.code, sent_once(qoder), "drun_7" in ran.error["message"]) == (9, True, True)
    assert "qoder key free night-1" in ran.error["hint"]


def test_run_wait_last_does_not_deny_a_run_that_was_started_late(qoder: Qoder) -> None:
    killed(qoder)
    qoder.clock.time += 660
    shows(qoder, fresh(7, created=at(150)))
    for _ in range(2):  # it is not written down either
        ran = qoder("run", "wait", "last", "--json")
        assert (ran.code, ran.error["run_state"]) == (9, "unknown")
        assert "qoder run wait last --forget" in ran.error["hint"]


def test_a_key_of_long_ago_is_sent_again_only_after_the_whole_look(qoder: Qoder) -> None:
    killed(qoder, "--idempotency-key", "night-1")
    qoder.clock.time += 3600
    shows_after(qoder, 20.0, fresh(7, created=at(1)))
    qoder.wire.on(*EVENTS, page())
    ran = qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1", "--json")
    assert (ran.code, ran.json["id"], sent_once(qoder)) == (0, "drun_7", True)


NO_DATES = ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2019-12-31T23:59:59Z", "2199-01-01T00:00:00Z"]


@pytest.mark.parametrize("created", NO_DATES)
def test_a_run_whose_time_cannot_be_true_forbids_a_second_one(qoder: Qoder, created: str) -> None:
    qoder.wire.on(*TRIGGER, ENVELOPED)
    shows(qoder, fresh(7, created=created))
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, sent_once(qoder), "drun_7" in ran.error["message"]) == (9, True, True)


@pytest.mark.parametrize("created", NO_DATES[:3])
def test_a_list_that_ends_a_page_with_such_a_time_was_not_read_back(qoder: Qoder, created: str) -> None:
    """Newer runs fill the first page; ours is on the second."""
    newer = [fresh(2000 + number, created=at(120 - number), trigger="schedule") for number in range(99)]
    odd = fresh(1999, created=created, trigger="schedule")
    qoder.wire.on(*TRIGGER, late_by(qoder, 60, ENVELOPED))
    paged(qoder, [*newer, odd, fresh(7, created=at(0))])
    qoder.wire.on(*EVENTS, page())
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, ran.json["id"], sent_once(qoder)) == (0, "drun_7", True)


UNTOLD = {
    "of another deployment": page({**fresh(8), "deployment_id": "dep_2"}),
    "has_more is a word": {**page(), "has_more": "false"},
    "has_more is null": {**page(), "has_more": None},
    "has_more is a number": {**page(), "has_more": 0},
    "next_page is a number": {**page(), "next_page": 0},
    "nothing of more": {"data": []},
}


@pytest.mark.parametrize("body", UNTOLD.values(), ids=UNTOLD.keys())
def test_a_list_that_does_not_say_that_it_is_whole_permits_nothing(qoder: Qoder, body: dict[str, Any]) -> None:
    qoder.wire.on(*TRIGGER, ENVELOPED)
    date = {"date": formatdate(NOW, usegmt=True)}
    qoder.wire.on(*RUNS, lambda request: httpx.Response(200, json=body, headers=date), repeat=True)
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, ran.error["run_state"], sent_once(qoder)) == (9, "unknown", True)


def test_of_two_attempts_under_a_key_the_one_not_adopted_stays_in_doubt(qoder: Qoder) -> None:
    killed(qoder, "--idempotency-key", "night-1")
    qoder.clock.time += 300
    qoder.wire.on(*TRIGGER, CUT)
    shows(qoder)
    assert qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1").code == 9
    forget_list(qoder)
    qoder.clock.time += 600
    shows_ours(qoder, fresh(7, created=at(331)), fresh(8, created=at(700)))
    assert qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1", "-q").out == "drun_7\n"
    with closing(sqlite3.connect(Path(qoder.env["QODER_STATE_DIR"]) / "state.db")) as store:
        assert store.execute("SELECT run, is_nothing FROM attempts ORDER BY number").fetchall() == [
            (None, 0),
            ("drun_7", 0),
        ]
