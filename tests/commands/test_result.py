"""`run result`, `run cancel`, `--result` and `--require-satisfied`, in the user's words."""

import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.app import App
from qoder_cli.base.errors import Signalled
from qoder_cli.local.store import Store
from tests.conftest import TOKEN, Qoder
from tests.support.one_run import CURRENT, DONE, EVENTS, LEGACY, RUN, SESSION, TRIGGER, WORK, idle
from tests.support.result import END, delivers, says
from tests.support.wire import Wire, api_error, page


def completed(qoder: Qoder, *messages: dict[str, Any], after: tuple[dict[str, Any], ...] = ()) -> None:
    """Let the wire tell of a completed run with these messages before its ending, and others after it."""
    qoder.wire.on(*RUN, DONE).on(*EVENTS, page(*WORK, END), page(*reversed([*messages, END, *after])))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("All done.\nTwo files changed.", "All done.\nTwo files changed.\n"),
        ([{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}], "ab\n"),
        ("tab\tand \x1b[31mcolour", "tab\tand \\u001b[31mcolour\n"),
        ([], ""),
        (None, ""),
        ([None, 3, {"text": 7}], ""),
    ],
)
def test_the_final_message_is_plain_text(qoder: Qoder, content: Any, text: str) -> None:
    completed(qoder, says("first", 1), says(content, 2))
    ran = qoder("run", "result", "drun_1")
    assert (ran.code, ran.out) == (0, text)


def test_a_plain_string_as_content_is_understood(qoder: Qoder) -> None:
    completed(qoder, {**says("x"), "content": "All done."})
    assert qoder("run", "result", "drun_1").out == "All done.\n"


def test_what_is_said_after_the_ending_belongs_to_no_run(qoder: Qoder) -> None:
    completed(qoder, says("the result", 1), after=(says("chat", 20), idle("end_turn", 40)))
    assert qoder("run", "result", "drun_1").out == "the result\n"


def test_other_threads_do_not_speak_for_the_run(qoder: Qoder) -> None:
    completed(qoder, says("main", 1, session_thread_id="sthr_1"), says("helper", 2, session_thread_id="sthr_2"))
    threads = page({"id": "sthr_2", "parent_thread_id": "sthr_1"}, {"id": "sthr_1", "parent_thread_id": None})
    qoder.wire.on("GET", "/sessions/sess_1/threads", threads)
    assert qoder("run", "result", "drun_1").out == "main\n"


def test_json_is_the_run_with_the_result(qoder: Qoder) -> None:
    completed(qoder, says("All done."))
    assert qoder("run", "result", "drun_1", "--json").json == {**DONE, "result": "All done."}
    completed(qoder)
    assert qoder("run", "result", "drun_1", "--json").json == {**DONE, "result": None}


def test_a_completed_run_without_a_message_is_told_on_stderr(qoder: Qoder) -> None:
    completed(qoder)
    ran = qoder("run", "result", "drun_1")
    assert (ran.code, ran.out, ran.err) == (0, "", "run drun_1 left no final message\n")
    completed(qoder)
    assert qoder("run", "result", "drun_1", "--no-progress").err == ""


def test_a_run_still_going_is_exit_8(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, LEGACY)
    ran = qoder("run", "result", "drun_1", "--json")
    assert (ran.code, ran.json["id"], ran.error["type"], ran.error["run_state"]) == (8, "drun_1", "not_yet", "going")
    qoder.wire.on(*RUN, LEGACY)
    assert qoder("run", "result", "drun_1").out == ""


def test_the_result_of_a_run_whose_session_was_deleted_is_exit_9(qoder: Qoder) -> None:
    gone = api_error(404, "not_found_error", "No such session.")
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, gone, repeat=True)
    ran = qoder("run", "result", "drun_1", "--json")
    assert (ran.code, ran.json["result"], ran.json["error"]["type"]) == (9, None, "session_deleted")


def interrupted(request: httpx.Request) -> Any:
    raise Signalled(signal.SIGINT)


@pytest.mark.parametrize("words", [("deploy", "run", "dep_1"), ("run", "wait", "drun_1")], ids=" ".join)
def test_a_signal_while_the_result_is_read_does_not_deny_the_ending(qoder: Qoder, words: tuple[str, ...]) -> None:
    if words[0] == "deploy":
        qoder.wire.on(*TRIGGER, LEGACY)
        words += ("--on-leave", "cancel")
    qoder.wire.on(*RUN, DONE).on(*EVENTS, interrupted)
    ran = qoder(*words, "--result", "--json")
    assert (ran.code, ran.json["status"]) == (130, "completed")
    assert (ran.error["run_id"], ran.error["run_state"], ran.error["next"]) == ("drun_1", "ended", None)
    assert [request.method for request in qoder.wire.requests if "cancel" in request.url.path] == []


UNREADABLE = api_error(403, "permission_error", "Not yours.")


@pytest.mark.parametrize(
    ("words", "first", "state"),
    [
        (("run", "get"), CURRENT, "unknown"),
        (("run", "result"), DONE, "ended"),
        (("run", "result"), CURRENT, "unknown"),
        (("run", "cancel", "--yes"), LEGACY, "unknown"),
    ],
)
def test_a_run_that_is_known_is_printed_whatever_cannot_be_read(
    qoder: Qoder, words: tuple[str, ...], first: dict[str, Any], state: str
) -> None:
    qoder.wire.on(*RUN, first).on(*(CANCEL if "cancel" in words else EVENTS), UNREADABLE)
    ran = qoder(*words, "drun_1", "--json")
    assert (ran.code, ran.json["id"]) == (4, "drun_1")
    assert (ran.error["run_id"], ran.error["session_id"], ran.error["run_state"]) == ("drun_1", "sess_1", state)


def test_a_failed_run_still_shows_what_was_said_and_is_exit_1(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, {**DONE, "status": "failed"}).on(*EVENTS, page(*WORK), page(says("half of it")))
    ran = qoder("run", "result", "drun_1")
    assert (ran.code, ran.out) == (1, "half of it\n")


NAMES = {
    "report.txt": "report.txt",
    "../../etc/passwd": "passwd",
    "/etc/passwd": "passwd",
    "C:\\x\\evil.exe": "evil.exe",
    "..": "file",
    "a\nb\x1b.txt": "a_b_.txt",
    "": "file_1",
    ".hidden": "hidden",
}


@pytest.mark.parametrize(("name", "saved"), NAMES.items())
def test_delivered_files_stay_in_the_folder_and_the_token_stays_here(
    qoder: Qoder, tmp_path: Path, name: str, saved: str
) -> None:
    folder = tmp_path / "out"
    qoder.wire.on(*RUN, DONE)
    qoder.wire.on(*EVENTS, page(*WORK, END), page(END, delivers(name)), page(*WORK, END), page(END, says("Done.")))
    qoder.wire.on("GET", "/files/file_1/content", {"url": "https://storage.example/x?sig=1", "expires_at": "x"})
    qoder.transport = Storage(qoder.wire)
    ran = qoder("run", "result", "drun_1", "--output-dir", str(folder))
    assert (ran.code, ran.out) == (0, "Done.\n")
    assert [path.name for path in folder.iterdir()] == [saved]
    assert (folder / saved).read_bytes() == b"delivered"
    assert "sig=1" not in ran.err


class Storage(httpx.BaseTransport):
    """The API on our wire, and a storage host beside it that must never see our token."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host != "storage.example":
            return self.wire.handle_request(request)
        assert TOKEN not in str(request.headers)
        assert "authorization" not in request.headers
        return httpx.Response(200, content=b"delivered")


def test_files_of_one_name_are_numbered(qoder: Qoder, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").write_text("mine")
    qoder.wire.on(*RUN, DONE)
    qoder.wire.on(*EVENTS, page(*WORK, END), page(END, delivers("a.txt")), page(*WORK, END), page())
    qoder.wire.on("GET", "/files/file_1/content", {"url": "https://storage.example/x"})
    qoder.transport = Storage(qoder.wire)
    ran = qoder("run", "result", "drun_1", "--output-dir", str(tmp_path / "out"), "--json")
    assert ran.json["files"] == [str(tmp_path / "out" / "a-2.txt")]
    assert (tmp_path / "out" / "a.txt").read_text() == "mine"


@pytest.mark.parametrize("url", ["http://storage.example/x", "ftp://x/y", "nonsense", "https://sto[rage/x", ""])
def test_a_link_that_is_not_https_is_not_followed(qoder: Qoder, tmp_path: Path, url: str) -> None:
    qoder.wire.on(*RUN, DONE).on(*EVENTS, page(*WORK, END), page(END, delivers("a.txt")))
    qoder.wire.on("GET", "/files/file_1/content", {"url": url})
    assert qoder("run", "result", "drun_1", "--output-dir", str(tmp_path / "out")).code == 7
    assert not list((tmp_path / "out").iterdir())


def test_a_folder_that_is_a_file_is_exit_2_before_any_request(qoder: Qoder, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    assert qoder("run", "result", "drun_1", "--output-dir", str(tmp_path / "out")).code == 2


CANCEL = ("POST", "/sessions/sess_1/cancel")


def test_cancel_waits_until_it_is_true(qoder: Qoder) -> None:
    cancelled = {**DONE, "status": "failed", "error": {"type": "cancelled", "message": "Cancelled."}}
    qoder.wire.on(*RUN, LEGACY, LEGACY, cancelled).on(*CANCEL, (202, {"id": "sess_1", "status": "canceling"}))
    ran = qoder("run", "cancel", "drun_1", "--yes", "--json")
    assert (ran.code, ran.json) == (0, cancelled)


def test_cancelling_what_is_over_is_exit_0_and_sends_nothing(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, DONE)
    assert qoder("run", "cancel", "drun_1", "--yes").code == 0


def test_cancel_asks_and_without_anyone_to_ask_is_exit_2(qoder: Qoder) -> None:
    ran = qoder("run", "cancel", "drun_1")
    assert ran.code == 2
    assert "--yes" in ran.err


def test_a_lost_answer_to_a_cancel_is_settled_by_reading(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, LEGACY, DONE).on(*CANCEL, httpx.ReadError("reset"))
    assert qoder("run", "cancel", "drun_1", "--yes").code == 0


def test_a_cancel_that_does_not_come_true_is_exit_9(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, LEGACY, repeat=True).on(*CANCEL, (200, {})).on(*EVENTS, page(*WORK))
    ran = qoder("run", "cancel", "drun_1", "--yes", "--json")
    assert (ran.code, ran.error["next"]) == (9, ["qoder", "run", "wait", "drun_1", "-o", "json"])


def test_result_waits_and_prints_the_message(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, CURRENT).on(*EVENTS, page(*WORK, END)).on(*SESSION, {})
    qoder.wire.on(*EVENTS, page(*WORK, END), page(END, says("All done.")))
    ran = qoder("deploy", "run", "dep_1", "--result")
    assert (ran.code, ran.out) == (0, "All done.\n")


def test_result_with_json_while_the_run_goes_on_is_the_run(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, LEGACY, repeat=True)
    ran = qoder("run", "wait", "drun_1", "--result", "--timeout", "0", "--json")
    assert (ran.code, ran.json) == (124, LEGACY)


@pytest.mark.parametrize(
    ("evaluations", "code"),
    [
        ([{"outcome_id": "outc_1", "result": "satisfied"}], 0),
        ([{"outcome_id": "a", "result": "needs_revision"}, {"outcome_id": "a", "result": "satisfied"}], 0),
        ([{"outcome_id": "a", "result": "satisfied"}, {"outcome_id": "b", "result": "failed"}], 1),
        ([{"outcome_id": "a", "result": "max_iterations_reached"}], 1),
        ([{}], 1),
        ([], 1),
        (None, 1),
    ],
)
def test_require_satisfied_makes_anything_but_satisfied_exit_1(qoder: Qoder, evaluations: Any, code: int) -> None:
    qoder.wire.on(*RUN, DONE).on(*SESSION, {"outcome_evaluations": evaluations})
    assert qoder("run", "wait", "drun_1", "--require-satisfied").code == code


def test_require_satisfied_is_for_waiting(qoder: Qoder) -> None:
    assert qoder("deploy", "run", "dep_1", "--require-satisfied").code == 2


def test_last_is_told_as_typed(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LEGACY).on(*RUN, DONE)
    qoder("deploy", "run", "dep_1")
    ran = qoder("run", "wait", "last", "drun_1", "--json", "--no-progress")
    assert [item["input"] for item in ran.json] == ["last", "drun_1"]


def test_get_shows_how_the_outcomes_were_evaluated(qoder: Qoder) -> None:
    evaluations = [
        {"outcome_id": "a", "result": "needs_revision"},
        {"outcome_id": "a", "result": "satisfied", "explanation": "All tests pass."},
        {"outcome_id": "b", "result": "failed", "description": "Docs are current"},
    ]
    qoder.wire.on(*RUN, DONE, DONE).on(*SESSION, {"outcome_evaluations": evaluations})
    out = qoder("run", "get", "drun_1").out
    assert "outcome\tsatisfied: All tests pass.\n" in out
    assert "failed: Docs are current\n" in out
    assert qoder("run", "get", "drun_1", "--json").json == DONE


# Several to cancel, and a RUN that is not given.

OTHER = {**LEGACY, "id": "drun_2", "session_id": "sess_2"}
CANCELLED = {"status": "failed", "error": {"type": "cancelled", "message": "Cancelled."}}


def test_several_are_cancelled_and_each_is_told(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, LEGACY, LEGACY, {**LEGACY, **CANCELLED}).on(*CANCEL, (202, {}))
    qoder.wire.on("GET", "/deployment_runs/drun_2", OTHER, OTHER, {**OTHER, **CANCELLED})
    qoder.wire.on("POST", "/sessions/sess_2/cancel", (202, {}))
    qoder.stdin = "drun_1\ndrun_2\n"
    ran = qoder("run", "cancel", "-", "--yes", "--json")
    assert [(item["input"], item["status"], item["exit_code"]) for item in ran.json] == [
        ("drun_1", "failed", 0),
        ("drun_2", "failed", 0),
    ]
    assert ran.code == 0


def test_one_that_cannot_be_cancelled_does_not_stop_the_others(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, LEGACY, LEGACY, {**LEGACY, **CANCELLED}).on(*CANCEL, (202, {}))
    qoder.wire.on("GET", "/deployment_runs/drun_2", api_error(404, "not_found_error", "No such run."))
    ran = qoder("run", "cancel", "drun_2", "drun_1", "--yes", "--json")
    assert [(item["id"], item["exit_code"]) for item in ran.json] == [(None, 5), ("drun_1", 0)]
    assert (ran.code, ran.error["type"]) == (5, "not_found")


def test_ctrl_c_at_the_second_question_asks_no_third_and_says_what_was_done(
    qoder: Qoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies = ["y"]

    def choice_of(*_: Any, **__: Any) -> str:
        if not replies:
            raise Signalled(signal.SIGINT)
        return replies.pop()

    monkeypatch.setattr(App, "may_ask", True)
    monkeypatch.setattr("qoder_cli.cli.options.choice_of", choice_of)
    qoder.wire.on(*RUN, LEGACY, LEGACY).on(*CANCEL, (202, {})).on("GET", "/deployment_runs/drun_2", OTHER)
    ran = qoder("run", "cancel", "drun_1", "drun_2", "drun_3", "--json")
    message = "interrupted; run drun_2 was not cancelled; the cancellation of 1 was requested before"
    assert (ran.code, ran.error["message"]) == (130, message)


def test_a_run_that_several_words_mean_is_cancelled_once(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LEGACY)
    qoder("deploy", "run", "dep_1")
    qoder.wire.on(*RUN, LEGACY, LEGACY, {**LEGACY, **CANCELLED}).on(*CANCEL, (202, {}))
    ran = qoder("run", "cancel", "last", "drun_1", "--yes", "--json")
    assert [item["input"] for item in ran.json] == ["last", "drun_1"]
    assert (ran.code, len([each for each in qoder.wire.requests if each.url.path.endswith("/cancel")])) == (0, 1)


def test_several_need_a_confirmation_too(qoder: Qoder) -> None:
    ran = qoder("run", "cancel", "drun_1", "drun_2")
    assert (ran.code, ran.out, qoder.wire.requests) == (2, "", [])


READS = ["get", "wait", "logs", "result"]


@pytest.mark.parametrize("verb", READS)
def test_without_a_run_a_script_gets_an_error(qoder: Qoder, verb: str) -> None:
    ran = qoder("run", verb)
    assert (ran.code, ran.out) == (2, "")
    assert "missing argument RUN" in ran.err


@pytest.mark.parametrize("verb", READS)
def test_an_empty_run_is_never_last(qoder: Qoder, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    monkeypatch.setattr(App, "may_ask", True)
    ran = qoder("run", verb, "")
    assert (ran.code, ran.out) == (2, "")


@pytest.mark.parametrize("verb", READS)
def test_without_a_run_a_person_gets_the_last_and_is_told(
    qoder: Qoder, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    qoder.wire.on(*TRIGGER, DONE)
    qoder("deploy", "run", "dep_1")
    monkeypatch.setattr(App, "may_ask", True)
    qoder.wire.on(*RUN, DONE).on(*EVENTS, page(*WORK, says("All done."), END), repeat=True)
    qoder.wire.on(*SESSION, {})
    ran = qoder("run", verb)
    qoder.wire.expected.clear()  # each reads as much as it needs
    assert ran.code == 0
    assert ran.err.startswith("no RUN given; using last (drun_1)\n")


LONG = "drun_019ec55694c07f2a9b402ffb4448ec18"


def test_the_beginning_of_an_id_that_was_seen_is_that_id(qoder: Qoder) -> None:
    run = {**DONE, "id": LONG}
    qoder.wire.on("GET", f"/deployment_runs/{LONG}", run, run).on(*SESSION, {})
    qoder("run", "get", LONG)
    ran = qoder("run", "get", "drun_019ec556", "--json")
    assert (ran.code, ran.json["id"]) == (0, LONG)
    assert f"drun_019ec556 is {LONG}" in ran.err


def test_a_beginning_of_several_ids_is_an_error_that_lists_them(qoder: Qoder) -> None:
    others = [LONG, LONG[:-1] + "9"]
    for id in others:
        qoder.wire.on("GET", f"/deployment_runs/{id}", {**DONE, "id": id}).on(*SESSION, {})
        qoder("run", "get", id)
    ran = qoder("run", "cancel", "drun_019ec556", "--yes", "--json")
    assert (ran.code, ran.error["type"]) == (2, "usage")
    assert all(id in ran.error["message"] for id in others)


def test_the_beginning_of_an_adopted_runs_id_is_not_enough_to_cancel_it(
    qoder: Qoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = {**LEGACY, "id": LONG}
    qoder.wire.on("GET", f"/deployment_runs/{LONG}", run, run)
    qoder("run", "get", LONG)
    monkeypatch.setattr(Store, "adopted", lambda *those: frozenset({LONG}))
    ran = qoder("run", "cancel", "drun_019ec556", "--yes", "--json")
    assert (ran.code, qoder.wire.asked("POST")) == (2, [])
    assert f"qoder run cancel {LONG}" in ran.error["hint"]


def test_a_beginning_that_is_too_short_or_was_not_seen_is_taken_as_it_is(qoder: Qoder) -> None:
    qoder.wire.on("GET", f"/deployment_runs/{LONG}", {**DONE, "id": LONG}).on(*SESSION, {})
    qoder("run", "get", LONG)
    gone = api_error(404, "not_found_error", "No such run.")
    for typed in ("drun_019", "drun_019ec557"):
        qoder.wire.on("GET", f"/deployment_runs/{typed}", gone)
        assert qoder("run", "get", typed).code == 5
