"""The trigger protocol: a run is never started twice by accident and never lost."""

import signal
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.base.errors import Signalled
from qoder_cli.local.store import Store
from tests.conftest import Qoder
from tests.support.one_run import CURRENT, DONE, EVENTS, LEGACY, RUN, SESSION, TRIGGER, event, idle
from tests.support.triggers import ENVELOPED, LOST, NOW, RUNS, fresh, listed, shows, shows_ours
from tests.support.wire import api_error, page

EACH = pytest.mark.parametrize("lost", LOST.values(), ids=LOST.keys())


@EACH
def test_the_one_run_that_can_be_it_is_adopted(qoder: Qoder, lost: Any) -> None:
    qoder.wire.on(*TRIGGER, lost)
    shows_ours(qoder, fresh(7), fresh(6, trigger="schedule"), fresh(5, created="2027-01-15T07:59:58Z"))
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, ran.json["id"], ran.json["adopted"]) == (0, "drun_7", True)
    assert "warning: adopted run drun_7" in ran.err
    assert sum(qoder.clock.slept) == 8.0
    assert qoder.wire.asked("POST") == ["/api/v1/cloud/deployments/dep_1/run"]


@pytest.mark.parametrize(("words", "seconds"), [((), 60.0), (("--request-timeout", "5"), 5.0)])
def test_a_server_gets_a_minute_to_start_a_run_unless_told_otherwise(
    qoder: Qoder, words: tuple[str, ...], seconds: float
) -> None:
    qoder.wire.on(*TRIGGER, DONE)
    assert qoder("deploy", "run", "dep_1", *words).code == 0
    assert qoder.wire.requests[0].extensions["timeout"]["read"] == seconds


@EACH
def test_without_a_candidate_it_is_exit_9_with_the_command_that_repeats_it(qoder: Qoder, lost: Any) -> None:
    qoder.wire.on(*TRIGGER, lost)
    shows(qoder)
    ran = qoder("deploy", "run", "dep_1", "--wait", "--timeout", "5m", "--json")
    assert (ran.code, ran.out, ran.error["run_state"]) == (9, "", "unknown")
    key = qoder.wire.requests[0].headers["idempotency-key"]
    repeated = ["qoder", "deploy", "run", "dep_1", "--idempotency-key", key, "--wait", "--timeout", "5m", "-o", "json"]
    assert ran.error["next"] == repeated


def test_several_candidates_are_listed_and_none_is_adopted(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LOST["cut"])
    shows(qoder, fresh(7), fresh(8))
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, ran.out) == (9, "")
    assert ran.error["next"] == ["qoder", "run", "list", "dep_1", "-o", "json"]
    assert "drun_7, drun_8" in ran.error["message"]


def test_a_run_that_shows_late_keeps_an_early_strangers_from_being_adopted(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LOST["cut"])
    qoder.wire.on(*RUNS, *[listed(fresh(7))] * 4, listed(fresh(8), fresh(7)))
    assert qoder("deploy", "run", "dep_1").code == 9


@pytest.mark.parametrize("ahead", [-7 * 3600, -1, 0.4, 90, 86400 * 400])
def test_the_servers_clock_counts_and_not_ours(qoder: Qoder, ahead: float) -> None:
    from datetime import UTC, datetime

    def stamp(moment: float) -> str:
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    qoder.wire.on(*TRIGGER, LOST["cut"])
    ours, older = fresh(7, created=stamp(NOW + ahead)), fresh(6, created=stamp(NOW + ahead - 2))
    shows_ours(qoder, ours, older, ahead=ahead)
    assert qoder("deploy", "run", "dep_1", "--json").json["id"] == "drun_7"


@pytest.mark.parametrize("date", ["", "yesterday", "Tue, 99 Foo 2027 08:00:00 GMT"])
def test_a_server_that_does_not_tell_its_time_leaves_it_open(qoder: Qoder, date: str) -> None:
    qoder.wire.on(*TRIGGER, LOST["cut"]).on(*RUNS, *[listed(fresh(7), date=date)] * 5)
    assert qoder("deploy", "run", "dep_1").code == 9


def test_a_list_that_cannot_be_read_leaves_it_open(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LOST["cut"]).on(*RUNS, *[(503, "")] * 5)
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, ran.error["next"]) == (9, ["qoder", "run", "list", "dep_1", "-o", "json"])
    assert "cannot be read" in ran.error["message"]


def test_a_complete_5xx_of_the_api_is_sent_again_twice_and_is_then_exit_7(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, ENVELOPED, ENVELOPED, ENVELOPED)
    shows(qoder)
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, ran.error["run_state"]) == (7, "none")
    posts = [request for request in qoder.wire.requests if request.method == "POST"]
    assert len({request.headers["idempotency-key"] for request in posts}) == 1


def test_a_complete_5xx_that_started_a_run_all_the_same_is_not_sent_again(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, ENVELOPED)
    shows_ours(qoder, fresh(7))
    assert qoder("deploy", "run", "dep_1", "--json").json["id"] == "drun_7"


def test_a_conflict_after_sending_again_is_not_taken_for_a_refusal(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, ENVELOPED, api_error(409, "conflict_error", "Key in use."))
    shows(qoder)
    assert qoder("deploy", "run", "dep_1").code == 9


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
def test_a_refusal_after_a_lost_attempt_does_not_say_that_nothing_was_started(qoder: Qoder, refused: Any) -> None:
    qoder.wire.on(*TRIGGER, LOST["cut"], *[refused] * (2 if refused is ENVELOPED else 1))
    shows(qoder)
    ran = qoder("deploy", "run", "dep_1", "--on-lost", "resend", "--json")
    assert (ran.code, ran.error["run_state"]) == (9, "unknown")


@AFTER
def test_a_refusal_does_not_settle_an_earlier_attempt_under_the_same_key(qoder: Qoder, refused: Any) -> None:
    command = ("deploy", "run", "dep_1", "--idempotency-key", "night-1", "--json")
    qoder.wire.on(*TRIGGER, LOST["cut"], *[refused] * (3 if refused is ENVELOPED else 1))
    shows(qoder)
    assert qoder(*command).code == 9
    ran = qoder(*command)
    assert (ran.code, ran.error["run_state"]) == (9, "unknown")
    qoder.wire.expected = [one for one in qoder.wire.expected if one.path != RUNS[1]]
    shows_ours(qoder, fresh(7, created="2027-01-15T08:00:30Z"))  # the first attempt was acted on late
    ran = qoder(*command)
    assert (ran.code, ran.json["id"], ran.json["adopted"]) == (0, "drun_7", True)


@pytest.mark.parametrize("status", [502, 504])
def test_a_gateways_answer_is_a_lost_one_whatever_its_envelope(qoder: Qoder, status: int) -> None:
    qoder.wire.on(*TRIGGER, api_error(status, "api_error", "Upstream."))
    shows(qoder)
    assert qoder("deploy", "run", "dep_1").code == 9


@pytest.mark.parametrize(("seconds", "waited", "code"), [("40", 40.0, 0), ("3", 30.0, 0), ("120", 30.0, 7)])
def test_the_pause_that_a_5xx_asks_for_is_kept(qoder: Qoder, seconds: str, waited: float, code: int) -> None:
    busy = httpx.Response(503, json=ENVELOPED[1], headers={"retry-after": seconds})
    qoder.wire.on(*TRIGGER, busy, *([fresh(7)] if code == 0 else []))
    shows(qoder)
    assert qoder("deploy", "run", "dep_1").code == code
    assert sum(qoder.clock.slept) == waited


def test_on_lost_fail_neither_looks_nor_sends(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LOST["cut"])
    assert qoder("deploy", "run", "dep_1", "--on-lost", "fail").code == 9


def test_on_lost_resend_sends_again_where_there_is_no_candidate(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LOST["cut"], fresh(7))
    shows(qoder)
    assert qoder("deploy", "run", "dep_1", "--on-lost", "resend").code == 0


def test_on_lost_resend_still_adopts(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LOST["cut"])
    shows_ours(qoder, fresh(7))
    assert qoder("deploy", "run", "dep_1", "--on-lost", "resend", "--json").json["adopted"] is True


def test_on_lost_resend_gives_up_after_two(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, *[LOST["cut"]] * 3)
    shows(qoder)
    assert qoder("deploy", "run", "dep_1", "--on-lost", "resend").code == 9


def test_an_answer_for_another_deployment_is_exit_9(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, {**CURRENT, "deployment_id": "dep_2"})
    assert qoder("deploy", "run", "dep_1").code == 9


def test_a_key_whose_run_is_known_sends_nothing(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LEGACY).on(*RUN, DONE)
    assert qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1").code == 0
    again = qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1", "--json")
    assert (again.code, again.json) == (0, DONE)
    assert "nothing was sent" in again.err


ENDED_BADLY = {
    "legacy": (LEGACY, [(*RUN, {**DONE, "status": "failed"})]),
    "current": (CURRENT, [(*RUN, CURRENT), (*EVENTS, page(event("status_terminated"))), (*SESSION, {})]),
}


@pytest.mark.parametrize("generation", ENDED_BADLY)
def test_a_key_whose_run_has_failed_says_so_on_either_generation(qoder: Qoder, generation: str) -> None:
    started, reads = ENDED_BADLY[generation]
    qoder.wire.on(*TRIGGER, started)
    assert qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1").code == 0
    for method, path, answer in reads:
        qoder.wire.on(method, path, answer)
    ran = qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1", "--json")
    assert (ran.code, ran.json["status"]) == (1, "failed")


def test_an_adopted_run_that_has_failed_says_so(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LOST["cut"])
    shows(qoder, fresh(7))
    begun, over = ({**one, "processed_at": None} for one in (event("status_running", 7), idle("budget_reached")))
    qoder.wire.on(*EVENTS, page(begun, over)).on(*SESSION, {})
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, ran.json["status"], ran.json["adopted"]) == (1, "failed", True)


NOT_YET_THERE = api_error(404, "not_found_error", "No such run.")


def test_a_key_whose_run_no_replica_shows_yet_is_asked_for_again(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LEGACY).on(*RUN, *[NOT_YET_THERE] * 3, LEGACY)
    assert qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1").code == 0
    assert qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1", "-q").out == "drun_1\n"


def test_a_key_whose_run_is_gone_sends_nothing(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LEGACY).on(*RUN, NOT_YET_THERE)
    assert qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1").code == 0
    qoder.clock.time += 3600
    ran = qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1", "--json")
    assert (ran.code, ran.error["run_id"]) == (10, "drun_1")


@pytest.mark.parametrize("words", [("run", "get"), ("run", "wait")], ids=" ".join)
@pytest.mark.parametrize("name", ["drun_1", "last"])
def test_a_run_triggered_just_now_may_not_be_found_yet(qoder: Qoder, words: tuple[str, ...], name: str) -> None:
    qoder.wire.on(*TRIGGER, LEGACY).on(*RUN, *[NOT_YET_THERE] * 4, DONE)
    assert qoder("deploy", "run", "dep_1").code == 0
    assert qoder(*words, name, "--json").json["status"] == "completed"


def test_a_run_triggered_within_a_minute_may_not_be_found_yet_either(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LEGACY).on(*RUN, NOT_YET_THERE, DONE)
    assert qoder("deploy", "run", "dep_1").code == 0
    qoder.clock.time += 50
    assert qoder("run", "get", "drun_1", "--json").json["status"] == "completed"


def test_a_run_triggered_long_ago_that_is_not_found_is_exit_5(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LEGACY).on(*RUN, NOT_YET_THERE)
    assert qoder("deploy", "run", "dep_1").code == 0
    qoder.clock.time += 61
    assert qoder("run", "get", "drun_1").code == 5


def test_a_key_of_another_deployment_is_exit_2(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LEGACY)
    qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1")
    assert qoder("deploy", "run", "dep_2", "--idempotency-key", "night-1").code == 2


def test_a_key_whose_trigger_was_refused_is_free_again(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, api_error(401, "authentication_error", "Bad."), LEGACY)
    assert qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1").code == 4
    assert qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1").code == 0


def test_repeating_under_the_same_key_finds_what_the_lost_trigger_started(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LOST["cut"]).on(*RUNS, *[listed()] * 5)
    assert qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1").code == 9
    qoder.clock.time += 3600
    shows_ours(qoder, fresh(7, created="2027-01-15T08:00:30Z"))
    ran = qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1", "--json")
    assert (ran.code, ran.json["id"], ran.json["adopted"]) == (0, "drun_7", True)


def test_repeating_under_the_same_key_sends_when_nothing_was_started(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LOST["cut"], LEGACY)
    shows(qoder)
    assert qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1").code == 9
    assert qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1").code == 0


@pytest.mark.parametrize("key", ["", " ", "a\nb", "a\x00", "é", "k" * 256, " k", "k "])
def test_a_key_that_no_header_can_carry_is_exit_2(qoder: Qoder, key: str) -> None:
    assert qoder("deploy", "run", "dep_1", "--idempotency-key", key).code == 2


def test_a_run_that_another_trigger_of_this_machine_claimed_is_never_adopted(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, fresh(7), LOST["cut"])
    assert qoder("deploy", "run", "dep_1").code == 0
    shows(qoder, fresh(7))
    assert qoder("deploy", "run", "dep_1").code == 9


def test_what_another_trigger_claimed_does_not_keep_ours_from_being_adopted(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, fresh(7), LOST["cut"])
    assert qoder("deploy", "run", "dep_1").code == 0
    shows_ours(qoder, fresh(8), fresh(7))
    assert qoder("deploy", "run", "dep_1", "--json").json["id"] == "drun_8"


def test_a_run_that_may_belong_to_a_trigger_still_under_way_is_not_adopted(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LOST["cut"], LOST["cut"]).on(*RUNS, *[listed()] * 5)
    assert qoder("deploy", "run", "dep_1").code == 9  # it stays unsettled
    shows(qoder, fresh(7, created="2027-01-15T08:00:20Z"))
    assert qoder("deploy", "run", "dep_1").code == 9


@pytest.mark.parametrize("word", ["last", "@last"])
def test_last_is_the_newest_run_triggered_here(qoder: Qoder, word: str) -> None:
    qoder.wire.on(*TRIGGER, fresh(7), LEGACY).on(*RUN, DONE)
    qoder("deploy", "run", "dep_1")
    qoder("deploy", "run", "dep_1")
    assert qoder("run", "get", word, "--json").json == DONE


def test_last_is_per_host(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LEGACY, fresh(7)).on(*RUN, DONE)
    qoder("deploy", "run", "dep_1")
    qoder("deploy", "run", "dep_1", "--base-url", "https://elsewhere.example")
    assert qoder("run", "get", "last", "-q").out == "drun_1\n"


def test_last_with_nothing_remembered_is_exit_5(qoder: Qoder) -> None:
    ran = qoder("run", "get", "last")
    assert ran.code == 5
    assert "profile default" in ran.errors[0]


def test_last_passes_over_a_trigger_that_started_nothing(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LEGACY, api_error(409, "conflict_error", "No.")).on(*RUN, DONE)
    qoder.wire.on("GET", "/deployments/dep_1", {"id": "dep_1", "status": "paused"})
    qoder("deploy", "run", "dep_1")
    assert qoder("deploy", "run", "dep_1").code == 6
    assert qoder("run", "get", "last", "-q").out == "drun_1\n"


def test_last_resolves_a_trigger_whose_process_was_killed(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LOST["cut"]).on(*RUNS, *[listed()] * 5)
    assert qoder("deploy", "run", "dep_1").code == 9
    qoder.wire.on(*RUNS, *[listed(fresh(1, created="2027-01-15T08:00:05Z"))] * 5).on(*RUN, DONE, DONE)
    assert qoder("run", "wait", "last", "--json").json["id"] == "drun_1"
    assert qoder("run", "wait", "last", "--json").json["id"] == "drun_1"


def test_last_says_that_nothing_was_started_once_enough_time_has_passed(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LOST["cut"])
    shows(qoder)
    qoder("deploy", "run", "dep_1")
    assert qoder("run", "wait", "last").code == 9
    qoder.clock.time += 3600
    ran = qoder("run", "wait", "last")
    assert ran.code == 5
    assert "did not start a run" in ran.errors[0]


def test_a_store_that_cannot_be_written_is_a_warning(qoder: Qoder, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    qoder.wire.on(*TRIGGER, LEGACY)
    ran = qoder("deploy", "run", "dep_1")
    assert ran.code == 0
    assert "warning: the store of triggers cannot be" in ran.err


def test_the_store_has_the_attempt_before_the_request_for_its_owner_alone(qoder: Qoder, tmp_path: Path) -> None:
    def look(request: httpx.Request) -> Any:
        [entry] = Store(qoder.env, warn=pytest.fail, looking=True).entries("api.qoder.com")
        assert (entry.open, entry.attempt.deployment) == (True, "dep_1")
        assert entry.attempt.key == request.headers["idempotency-key"]
        files = list((tmp_path / "state").glob("state.db*"))
        assert len(files) == 3
        assert [file for file in files if file.stat().st_mode & 0o077] == []
        assert (tmp_path / "state").stat().st_mode & 0o077 == 0
        return LEGACY

    qoder.wire.on(*TRIGGER, look)
    assert qoder("deploy", "run", "dep_1").code == 0


def interrupt(*_: object) -> None:
    raise Signalled(signal.SIGINT)


def test_a_signal_while_the_run_is_looked_for_leaves_it_open_and_names_the_way_on(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LOST["cut"])
    qoder.clock.at_sleep = interrupt
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, ran.error["type"], ran.error["run_state"]) == (130, "outcome_unknown", "unknown")
    assert ran.error["next"] == ["qoder", "run", "wait", "last", "-o", "json"]


def test_a_signal_before_anything_can_have_started_says_so(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, (429, ""), LEGACY).on(*RUN, DONE)
    qoder.clock.at_sleep = interrupt
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, ran.error["run_state"]) == (130, "none")
    assert "nothing was started" in ran.error["message"]
    qoder.clock.at_sleep = lambda: None
    assert qoder("deploy", "run", "dep_1").code == 0
    assert qoder("run", "get", "last", "-q").out == "drun_1\n"


def test_how_a_run_stands_of_which_nothing_was_heard_is_unknown_after_a_signal(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, (502, ""))
    qoder.clock.at_sleep = interrupt
    ran = qoder("run", "wait", "drun_1", "--json")
    assert (ran.code, ran.error["run_id"], ran.error["run_state"]) == (130, "drun_1", "unknown")


@pytest.mark.parametrize("how", ["timeout", "signal"])
def test_on_leave_cancel_cancels_the_session_first(qoder: Qoder, how: str) -> None:
    qoder.wire.on(*TRIGGER, LEGACY).on(*RUN, LEGACY, repeat=True)
    qoder.wire.on("POST", "/sessions/sess_1/cancel", (202, {"id": "sess_1", "status": "canceling"}))
    words = ["deploy", "run", "dep_1", "--wait", "--on-leave", "cancel", "--json"]
    if how == "signal":
        qoder.clock.at_sleep = interrupt
    ran = qoder(*words, *(["--timeout", "3"] if how == "timeout" else []))
    assert (ran.code, ran.json["id"]) == (124 if how == "timeout" else 130, "drun_1")
    assert "cancellation was requested" in ran.error["message"]


def test_a_run_that_has_ended_is_not_cancelled_by_a_signal_that_comes_afterwards(qoder: Qoder) -> None:
    def failing(request: httpx.Request) -> Any:
        qoder.clock.at_sleep = interrupt
        return 502, ""

    qoder.wire.on(*TRIGGER, LEGACY).on(*RUN, DONE).on(*SESSION, failing)
    assert qoder("deploy", "run", "dep_1", "--wait", "--require-satisfied", "--on-leave", "cancel").code == 130
    assert len(qoder.wire.asked("POST")) == 1


def test_a_cancellation_that_the_server_has_no_time_for_holds_up_no_end(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LEGACY).on(*RUN, LEGACY, repeat=True)
    qoder.wire.on("POST", "/sessions/sess_1/cancel", (429, ""))
    ran = qoder("deploy", "run", "dep_1", "--wait", "--on-leave", "cancel", "--timeout", "3")
    assert (ran.code, "could not be cancelled" in ran.err, sum(qoder.clock.slept)) == (124, True, 3.0)


def test_an_adopted_run_is_never_cancelled(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LOST["cut"]).on("GET", "/sessions/sess_1/events", page(), repeat=True)
    shows(qoder, fresh(7))
    ran = qoder("deploy", "run", "dep_1", "--wait", "--timeout", "3", "--on-leave", "cancel")
    assert ran.code == 124
    assert "was not cancelled: it was adopted" in ran.err


@pytest.mark.parametrize(("words", "code"), [([], 3), (["--on-skip", "ok"], 0)])
def test_if_idle_prints_the_run_that_is_going(qoder: Qoder, words: list[str], code: int) -> None:
    qoder.wire.on(*RUNS, page(DONE, {**LEGACY, "id": "drun_9", "trigger_context": {"type": "schedule"}}))
    ran = qoder("deploy", "run", "dep_1", "--if-idle", "--json", *words)
    assert (ran.code, ran.json["id"]) == (code, "drun_9")


def test_if_idle_starts_when_all_have_ended(qoder: Qoder) -> None:
    from tests.support.one_run import EVENTS, WORK, idle

    qoder.wire.on(*RUNS, page(CURRENT, DONE)).on("GET", "/sessions", page()).on(*EVENTS, page(*WORK, idle("end_turn")))
    qoder.wire.on(*TRIGGER, LEGACY)
    assert qoder("deploy", "run", "dep_1", "--if-idle").code == 0


@pytest.mark.parametrize("wait", [[], ["--wait"]])
def test_on_skip_ok_makes_a_skipped_run_exit_0(qoder: Qoder, wait: list[str]) -> None:
    qoder.wire.on(*TRIGGER, {**LEGACY, "status": "skipped", "session_id": None})
    assert qoder("deploy", "run", "dep_1", "--on-skip", "ok", *wait).code == 0


# What answers a trigger, and is not the run that it started.


def kept(run: dict[str, Any]) -> httpx.Response:
    """Return an answer that a proxy has kept for half a minute."""
    return httpx.Response(200, json=run, headers={"age": "30"})


def dated(run: dict[str, Any]) -> httpx.Response:
    return httpx.Response(200, json=run, headers={"date": formatdate(NOW, usegmt=True)})


NOT_OURS = {
    "a run from 61 seconds before": dated(fresh(6, created="2027-01-15T07:58:59Z")),
    "one that a proxy has kept": kept(fresh(6)),
    "the run of a schedule": dated(fresh(6, trigger="schedule")),
    "the run of a schedule, as a word": dated({**fresh(6), "trigger_context": "schedule"}),
}


@pytest.mark.parametrize("answer", NOT_OURS.values(), ids=NOT_OURS.keys())
@pytest.mark.parametrize("is_listed", [False, True], ids=["nothing started", "ours is listed"])
def test_deploy_run_believes_no_answer_with_somebody_elses_run(qoder: Qoder, answer: Any, is_listed: bool) -> None:
    qoder.wire.on(*TRIGGER, answer)
    if is_listed:
        shows_ours(qoder, fresh(7), fresh(6, created="2027-01-15T07:58:59Z"))
        ran = qoder("deploy", "run", "dep_1", "--json")
        assert (ran.code, ran.json["id"], ran.json["adopted"]) == (0, "drun_7", True)
    else:
        shows(qoder, fresh(6, created="2027-01-15T07:58:59Z"))
        assert qoder("deploy", "run", "dep_1", "--json").code == 9
    assert len(qoder.wire.asked("POST")) == 1


@pytest.mark.parametrize("key", [(), ("--idempotency-key", "night-1")], ids=["own key", "typed key"])
def test_deploy_run_does_not_take_the_run_that_another_command_started(qoder: Qoder, key: tuple[str, ...]) -> None:
    qoder.wire.on(*TRIGGER, fresh(6), fresh(6))
    assert qoder("deploy", "run", "dep_1").code == 0
    shows(qoder, fresh(6))
    assert qoder("deploy", "run", "dep_1", *key).code == 9


@pytest.mark.parametrize("answer", [fresh(6, created="2027-01-15T07:00:00Z"), {**fresh(6), "created_at": None}])
def test_deploy_run_takes_the_old_run_that_a_typed_key_started(qoder: Qoder, answer: dict[str, Any]) -> None:
    """Elsewhere, or before this machine lost its state: the server keeps keys (help/pages/api.md#idempotency)."""
    qoder.wire.on(*TRIGGER, dated(answer))
    assert qoder("deploy", "run", "dep_1", "--idempotency-key", "night-1", "-q").out == "drun_6\n"


def test_deploy_run_takes_the_first_attempts_run_when_it_was_sent_again_a_minute_later(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LOST["cut"], lambda request: fresh(6, created="2027-01-15T07:59:01Z"))
    shows(qoder)
    assert qoder("deploy", "run", "dep_1", "--on-lost", "resend", "-q").out == "drun_6\n"
