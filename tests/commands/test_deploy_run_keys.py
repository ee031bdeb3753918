"""What this machine knows of its starts: idempotency keys, `last`, and what a signal or a timeout leaves behind."""

import io
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.local.store import Store
from qoder_cli.runs.lost import ADOPT_WITHIN, NOT_STARTED_AFTER, THOROUGH_LOOKS
from tests.conftest import Qoder
from tests.support.interrupting import interrupt
from tests.support.one_run import CURRENT, DONE, EVENTS, LEGACY, RUN, SESSION, SHOWN, TRIGGER, WORK, event
from tests.support.triggers import (
    ADOPTED,
    CUT,
    IN_DOUBT,
    NIGHT,
    NOW,
    STARTED,
    at,
    dated,
    fresh,
    killed,
    late,
    listed,
    looks,
    lost_twice,
    nothing,
    seen,
    shows,
    shows_ours,
)
from tests.support.wire import api_error, page

KEY = ("--idempotency-key", "night-1")
NOT_YET_THERE = api_error(404, "not_found_error", "No such run.")
FORBIDDEN = api_error(403, "permission_error", "No.")


@pytest.mark.parametrize(
    ("line", "seconds", "to_connect"),
    [("deploy run dep_1", 60, 10), ("deploy run dep_1 --request-timeout 5", 5, 5), ("run get drun_1", 30, 10)],
)
def test_deploy_run_gives_a_minute_unless_told_otherwise(
    qoder: Qoder, line: str, seconds: float, to_connect: float
) -> None:
    qoder.wire.may(*TRIGGER, DONE).may(*RUN, DONE).may(*SESSION, {})
    assert qoder(*line.split()).code == 0
    limits = qoder.wire.requests[0].extensions["timeout"]
    assert (limits["read"], limits["connect"]) == (seconds, to_connect)


def test_deploy_run_sends_nothing_under_a_key_whose_run_is_known(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LEGACY).on(*RUN, DONE)
    assert qoder(*NIGHT).code == 0
    again = qoder(*NIGHT, "--json", "--no-progress")
    assert (again.code, again.json) == (0, {**SHOWN, "already_started": True})
    assert again.err == "the key 'night-1' already started run drun_1; nothing was sent\n"


def test_deploy_run_says_that_the_run_of_its_key_has_failed(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, CURRENT)
    assert qoder(*NIGHT).code == 0
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(event("status_terminated"))).on(*SESSION, {})
    ran = qoder(*NIGHT, "--json")
    assert (ran.code, ran.json["status"]) == (1, "failed")


FOUND: dict[str, tuple[str, float, list[Any], int]] = {
    # After a start: what is asked for then, after so many seconds, how its run is told, and the exit code.
    **{
        f"{words}, at once": (words, 0, [*[NOT_YET_THERE] * 4, DONE], 0)
        for words in ("run get drun_1", "run get last", "run wait drun_1", "run wait last")
    },
    "run get drun_1, forbidden": ("run get drun_1", 0, [FORBIDDEN], 4),
    "run get drun_1, after 50 s": ("run get drun_1", 50, [NOT_YET_THERE, DONE], 0),
    "run get drun_1, after 61 s": ("run get drun_1", 61, [NOT_YET_THERE], 5),
    "its key, at once": (" ".join(NIGHT), 0, [*[NOT_YET_THERE] * 3, LEGACY], 0),
    "its key, after an hour": (" ".join(NIGHT), 3600, [NOT_YET_THERE], 10),
}


@pytest.mark.parametrize(("words", "after", "answers", "code"), FOUND.values(), ids=FOUND.keys())
def test_run_get_asks_again_for_new_runs(qoder: Qoder, words: str, after: float, answers: list[Any], code: int) -> None:
    qoder.wire.on(*TRIGGER, LEGACY).on(*RUN, *answers)
    assert qoder(*NIGHT).code == 0
    qoder.clock.time += after
    ran = qoder(*words.split(), "--json")
    assert ran.code == code
    if code == 10:
        assert ran.error["run_id"] == "drun_1"


def test_deploy_run_refuses_a_key_of_another_deployment(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LEGACY)
    assert qoder(*NIGHT).code == 0
    assert qoder("deploy", "run", "dep_2", *KEY).code == 2


def test_deploy_run_repeats_a_key_that_looks_like_an_option(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, CUT, CURRENT)
    shows(qoder)
    ran = qoder("deploy", "run", "dep_1", "--idempotency-key=--night", "--json")
    assert "--idempotency-key=--night" in ran.error["next"]
    assert qoder(*ran.error["next"][1:]).code == 0


# Seconds after a start in doubt, what answers the start if it is sent again, what the list shows, what the user sees.
DOUBTS: dict[str, tuple[float, list[Any], Any, dict[str, Any]]] = {
    "a run without a time may be the first's": (0, [], [{**fresh(7), "created_at": None}], IN_DOUBT),
    "the first's shows": (3600, [], [fresh(7, created=at(30))], ADOPTED),
    "nothing shows": (0, [fresh(7)], [], STARTED),
    "nothing shows, and long ago": (NOT_STARTED_AFTER + 1, [FORBIDDEN], [], nothing(4)),
    "nothing shows, and not long ago": (NOT_STARTED_AFTER - THOROUGH_LOOKS[-1] - 1, [FORBIDDEN], [], IN_DOUBT),
    "the whole look before a key of long ago": (3600, [], late(3620, fresh(7, created=at(1))), ADOPTED),
    "an attempt of now is looked for, too": (300, [CUT], late(335, fresh(7, created=at(330))), ADOPTED),
    "the clock was set back since": (-3600, [], [fresh(7, created=at(-3600))], IN_DOUBT),
    **{
        f"a run of {s:.0f} s later may be the first's": (s, [], [fresh(7, created=at(s))], IN_DOUBT)
        for s in (ADOPT_WITHIN + 1, 3600)
    },
}


@pytest.mark.parametrize(("after", "answers", "shown", "sees"), DOUBTS.values(), ids=DOUBTS.keys())
def test_deploy_run_settles_the_doubt_of_its_key_first(
    qoder: Qoder, after: float, answers: list[Any], shown: Any, sees: dict[str, Any]
) -> None:
    killed(qoder, *KEY)
    qoder.clock.time += after
    qoder.wire.on(*TRIGGER, *answers)
    looks(qoder, shown)
    if sees["adopted"]:
        qoder.wire.on(*EVENTS, page())
    ran = qoder(*NIGHT, "--json")
    assert seen(ran) == sees
    assert ran.code != 9 or answers or "qoder key free night-1" in ran.error["hint"]


# Seconds until a third start, what answers it, what the list shows, what the user sees.
THIRDS: dict[str, tuple[float, Any, Any, dict[str, Any]]] = {
    "the second's shows": (138, CUT, late(169, fresh(7, created=at(140))), ADOPTED),
    "the second was not long ago": (NOT_STARTED_AFTER + 10 - THOROUGH_LOOKS[-1], FORBIDDEN, [], IN_DOUBT),
}


@pytest.mark.parametrize(("when", "answer", "shown", "sees"), THIRDS.values(), ids=THIRDS.keys())
def test_deploy_run_settles_each_doubt_of_its_key(
    qoder: Qoder, when: float, answer: Any, shown: Any, sees: dict[str, Any]
) -> None:
    lost_twice(qoder)
    qoder.clock.time = NOW + when
    qoder.wire.on(*TRIGGER, answer)
    looks(qoder, shown)
    if sees["adopted"]:
        qoder.wire.on(*EVENTS, page())
    assert seen(qoder(*NIGHT, "--json")) == sees


def test_deploy_run_that_fails_beside_an_attempt_in_doubt_says_how_the_first_of_this_command_did(qoder: Qoder) -> None:
    killed(qoder, *KEY)
    oops = api_error(500, "api_error", "Oops.")
    for answers, why in (([oops] * 3, "HTTP 500"), ([CUT, oops, oops], "the connection")):
        qoder.clock.time += NOT_STARTED_AFTER / 2
        qoder.wire.on(*TRIGGER, *answers)
        shows(qoder)
        ran = qoder(*NIGHT, "--on-lost", "resend", "--json")
        assert (ran.code, why in ran.error["message"]) == (9, True), ran.error


def test_deploy_run_on_lost_fail_settles_no_earlier_attempt_either(qoder: Qoder) -> None:
    killed(qoder, *KEY)
    assert qoder(*NIGHT, "--on-lost", "fail").code == 9


def test_deploy_run_keeps_the_attempt_in_doubt_that_was_not_adopted(qoder: Qoder) -> None:
    killed(qoder, *KEY)
    qoder.clock.time += 300
    qoder.wire.on(*TRIGGER, CUT)
    shows(qoder)
    assert qoder(*NIGHT).code == 9
    qoder.clock.time += 600
    shows_ours(qoder, fresh(7, created=at(331)), fresh(8, created=at(700)))
    assert seen(qoder(*NIGHT, "--json")) == ADOPTED
    with closing(sqlite3.connect(Path(qoder.env["QODER_STATE_DIR"]) / "state.db")) as store:
        kept = store.execute("SELECT run, is_nothing FROM attempts ORDER BY number").fetchall()
    assert kept == [(None, 0), ("drun_7", 0)]


@pytest.mark.parametrize("shown", [[], [fresh(8)]], ids=["nothing", "a stranger's"])
def test_deploy_run_does_not_deny_a_run_that_was_listed_once(qoder: Qoder, shown: list[dict[str, Any]]) -> None:
    qoder.wire.on(*TRIGGER, CUT)
    shows(qoder, fresh(7), fresh(8))
    assert qoder(*NIGHT).code == 9
    shows(qoder, *shown)
    for words in (NIGHT, ("run", "wait", "last")):
        ran = qoder(*words, "--json")
        assert seen(ran) == IN_DOUBT
        assert "drun_7" in ran.error["message"]


LASTS: dict[str, tuple[list[Any], tuple[str, ...]]] = {  # the answers to two starts, and more words of the second
    "newest": ([fresh(7), LEGACY], ()),
    "of this host": ([LEGACY, fresh(7)], ("--base-url", "https://elsewhere.example")),
    "not refused": ([LEGACY, api_error(409, "conflict_error", "No.")], ()),
}


@pytest.mark.parametrize("which", LASTS)
def test_run_get_last_is_the_newest_that_was_started_here(qoder: Qoder, which: str) -> None:
    answers, more = LASTS[which]
    qoder.wire.on(*TRIGGER, *answers).on(*RUN, DONE, DONE)
    qoder.wire.may("GET", "/deployments/dep_1", {"id": "dep_1", "status": "paused"})
    codes = [qoder("deploy", "run", "dep_1", *words).code for words in ((), more)]
    assert codes == [0, 6 if which == "not refused" else 0]
    assert [qoder("run", "get", word, "--json").json for word in ("last", "@last")] == [SHOWN] * 2


def test_run_get_last_exits_5_where_nothing_was_started(qoder: Qoder) -> None:
    ran = qoder("run", "get", "last")
    assert ran.code == 5
    assert "profile default" in ran.errors[0]


def test_run_wait_last_finds_the_run_of_a_start_that_was_killed(qoder: Qoder) -> None:
    killed(qoder)
    shows(qoder, fresh(1, created=at(5)))
    qoder.wire.on(*RUN, DONE, DONE)
    assert [qoder("run", "wait", "last", "--json").json["id"] for _ in range(2)] == ["drun_1"] * 2


def test_run_wait_last_finds_the_run_of_any_start_under_its_key(qoder: Qoder) -> None:
    lost_twice(qoder)
    shows(qoder, fresh(7, created=at(31)))
    qoder.wire.on("GET", "/deployment_runs/drun_7", {**DONE, "id": "drun_7"})
    ran = qoder("run", "wait", "last", "--json")
    assert (seen(ran), "(and 1 before it under its key)" in ran.err) == (ADOPTED, True)


def test_run_wait_last_counts_the_time_to_find_it(qoder: Qoder) -> None:
    killed(qoder)
    shows(qoder, fresh(7, created=at(1)))
    qoder.wire.on("GET", "/deployment_runs/drun_7", LEGACY | {"id": "drun_7"}, repeat=True)
    began = qoder.clock.time
    assert qoder("run", "wait", "last", "--timeout", "20").code == 124
    assert qoder.clock.time - began == pytest.approx(20)


@pytest.mark.parametrize("words", ["dep_1", "dep_1 dep_2"])
def test_deploy_run_waits_for_another_with_its_key_and_not_without_end(qoder: Qoder, words: str) -> None:
    keys = ["k"] if words == "dep_1" else ["k:dep_1", "k:dep_2"]
    with closing(Store(qoder.env, warn=pytest.fail)) as other:
        assert all(other.hold(f"key {key}", host="api.qoder.com") for key in keys)
        ran = qoder("deploy", "run", *words.split(), "--idempotency-key", "k", "--json", "--no-progress")
        for key in keys:
            other.let_go(f"key {key}", host="api.qoder.com")
    assert (ran.code, qoder.wire.requests) == (7, [])
    assert f"warning: another command of this machine is using the key {keys[0]!r}; waiting for it" in ran.err
    assert "for 10m 00s now; nothing was sent" in ran.err


@pytest.mark.parametrize("step", [-10.0, 3600.0])
def test_run_wait_last_says_so_by_no_clock_that_was_set(qoder: Qoder, step: float) -> None:
    began, now = qoder.clock.time, qoder.clock.now
    qoder.wire.on("GET", "/deployments", lambda request: listed({"id": "dep_1", "name": "nightly"}, at=began))
    qoder.wire.on(*TRIGGER, CUT)
    assert qoder("deploy", "run", "nightly", "--on-lost", "fail").code == 9
    qoder.clock.now = lambda: now() + step  # type: ignore[method-assign]  # the monotonic clock goes on
    shows(qoder)
    assert seen(qoder("run", "wait", "last", "--json")) == IN_DOUBT


def test_run_wait_last_does_not_deny_a_run_that_was_started_late(qoder: Qoder) -> None:
    killed(qoder)
    qoder.clock.time += NOT_STARTED_AFTER + 60
    shows(qoder, fresh(7, created=at(ADOPT_WITHIN + 30)))
    for _ in range(2):  # it is not written down either
        ran = qoder("run", "wait", "last", "--json")
        assert seen(ran) == IN_DOUBT
        assert "qoder run wait last --forget" in ran.error["hint"]


def test_deploy_run_writes_its_attempt_down_before_it_is_sent_for_its_owner_alone(qoder: Qoder, tmp_path: Path) -> None:
    def look(request: httpx.Request) -> Any:
        with closing(Store(qoder.env, warn=pytest.fail, looking=True)) as store:
            [entry] = store.entries("api.qoder.com")
        assert (entry.open, entry.attempt.deployment) == (True, "dep_1")
        assert entry.attempt.key == request.headers["idempotency-key"]
        files = [tmp_path / "state", *(tmp_path / "state").glob("state.db*")]
        assert {file.stat().st_mode & 0o077 for file in files} == {0}
        assert len(files) == 4
        return LEGACY

    qoder.wire.on(*TRIGGER, look)
    assert qoder("deploy", "run", "dep_1").code == 0


def test_deploy_run_that_is_interrupted_while_it_looks_names_the_way_on(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, CUT)
    qoder.clock.at_sleep = interrupt
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, ran.error["type"], ran.error["run_state"]) == (130, "outcome_unknown", "unknown")
    assert ran.error["next"] == ["qoder", "run", "wait", "last", "-o", "json"]


def test_deploy_run_that_is_interrupted_before_anything_can_have_started_says_so(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, (429, ""), LEGACY).on(*RUN, DONE)
    qoder.clock.at_sleep = interrupt
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert seen(ran) == nothing(130)
    assert "nothing was started" in ran.error["message"]
    qoder.clock.at_sleep = lambda: None
    assert qoder("deploy", "run", "dep_1").code == 0
    assert qoder("run", "get", "last", "-q").out == "drun_1\n"


def test_run_wait_that_is_interrupted_before_it_heard_anything_calls_the_run_unknown(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, (502, ""))
    qoder.clock.at_sleep = interrupt
    ran = qoder("run", "wait", "drun_1", "--json")
    assert (ran.code, ran.error["run_id"], ran.error["run_state"]) == (130, "drun_1", "unknown")


class InterruptedAt(io.BytesIO):
    """Standard error of somebody who presses Ctrl-C once a word is written."""

    def __init__(self, word: bytes) -> None:
        super().__init__()
        self._word = word

    def write(self, data: Any) -> int:
        written = super().write(data)
        if self._word and self._word in self.getvalue():
            self._word = b""
            interrupt()
        return written


CANCEL = ("POST", "/sessions/sess_1/cancel")
LEAVES = ("deploy", "run", "dep_1", "--wait", "--on-leave", "cancel")


@pytest.mark.parametrize("how", ["timeout", "signal", "signal as the wait begins"])
def test_deploy_run_on_leave_cancels_the_session_first(qoder: Qoder, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    qoder.wire.on(*TRIGGER, LEGACY).on(*RUN, LEGACY, repeat=True)
    qoder.wire.on(*CANCEL, (202, {"id": "sess_1", "status": "canceling"}))
    if how == "signal":
        qoder.clock.at_sleep = interrupt
    elif how != "timeout":
        monkeypatch.setattr("qoder_cli.fleet.wait.Wait.until_reported", interrupt)
    ran = qoder(*LEAVES, "--json", *(["--timeout", "3"] if how == "timeout" else []))
    assert (ran.code, ran.json["id"]) == (124 if how == "timeout" else 130, "drun_1")
    assert "cancellation was requested" in ran.error["message"]
    assert qoder.wire.requests[-1].extensions["timeout"]["read"] == 1  # second: nobody waits long


@pytest.mark.parametrize(("words", "code"), [((), 0), (("--require-satisfied",), 130)])
def test_deploy_run_on_leave_cancels_no_run_that_has_ended(qoder: Qoder, words: tuple[str, ...], code: int) -> None:
    qoder.wire.on(*TRIGGER, LEGACY).on(*RUN, DONE)
    qoder.err = InterruptedAt(b"drun_1 completed")
    ran = qoder(*LEAVES, *words, "--json")
    assert (ran.code, ran.json["status"]) == (code, "completed")


def test_deploy_run_on_leave_cancels_no_run_that_asks(qoder: Qoder) -> None:
    asks = event("status_idle", 20, stop_reason={"type": "requires_action", "event_ids": ["evt_call"]})
    qoder.wire.on(*TRIGGER, CURRENT).on(*EVENTS, page(*WORK, asks), repeat=True)
    assert (qoder(*LEAVES).code, len(qoder.wire.asked("POST"))) == (11, 1)


@pytest.mark.parametrize("session", ["sess_1", None])
def test_deploy_run_on_leave_is_held_up_by_no_cancellation_that_fails(qoder: Qoder, session: str | None) -> None:
    run = {**LEGACY, "session_id": session}
    qoder.wire.on(*TRIGGER, run).on(*RUN, run, repeat=True)
    if session:
        qoder.wire.on(*CANCEL, (429, ""))
    ran = qoder(*LEAVES, "--timeout", "3")
    assert (ran.code, sum(qoder.clock.slept)) == (124, 3.0)
    assert "could not be cancelled" in ran.err


def test_deploy_run_on_leave_never_cancels_a_run_that_was_adopted_just_now(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, CUT)
    shows(qoder, fresh(7))
    qoder.err = InterruptedAt(b"adopted run drun_7")
    ran = qoder(*LEAVES, "--json")
    assert (ran.code, ran.json["id"], ran.json.get("adopted")) == (130, "drun_7", True)
    assert "was not cancelled: it was adopted" in ran.err


@pytest.mark.parametrize("wait", [[], ["--wait"]])
def test_deploy_run_exits_3_when_it_is_skipped_or_0_where_that_is_ok(qoder: Qoder, wait: list[str]) -> None:
    skipped = {**LEGACY, "status": "skipped", "session_id": None}
    qoder.wire.on(*TRIGGER, skipped, {**skipped, "id": "drun_2"})
    ran = qoder("deploy", "run", "dep_1", "--json", *wait)
    assert (ran.code, ran.json["status"], ran.error["type"], ran.error["next"]) == (3, "skipped", "run_skipped", None)
    assert ran.error["hint"].startswith("start it once more when another one has finished: qoder run retry drun_1")
    assert qoder("deploy", "run", "dep_1", "--on-skip", "ok", *wait).code == 0


@pytest.mark.parametrize(("after", "created", "code"), [(0, -600, 9), (601, -600, 9), (601, 1, 0)])
def test_deploy_run_repeated_under_its_own_key_takes_no_run_from_before_for_its_answer(
    qoder: Qoder, after: float, created: float, code: int
) -> None:
    """Also not once the first attempt counts as one that started nothing; what that one started is an answer."""
    qoder.wire.on(*TRIGGER, CUT)
    shows(qoder)
    lost = qoder("deploy", "run", "dep_1", "--json")
    qoder.clock.time += after
    qoder.wire.on(*TRIGGER, lambda _: dated(fresh(0, created=at(created)), at=qoder.clock.time))
    again = qoder(*lost.error["next"][1:])
    assert (lost.code, again.code) == (9, code)
