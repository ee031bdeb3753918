"""`qoder run logs` of several runs: in order, each whole, and what becomes of those that cannot be read."""

from typing import Any

import pytest

from tests.conftest import Qoder
from tests.support.logs import lines_of, says
from tests.support.one_run import CURRENT, DONE, ELAPSED, WORK, idle
from tests.support.wire import GONE, api_error, page

USAGE = {"usage": {"total_credits": 0.42}}
LOGS = ("run", "logs")
EXPIRED = api_error(401, "authentication_error", "Expired.")


def has_run(qoder: Qoder, number: int, *events: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Let the wire know a run on an older server, with these events in its session; and return it."""
    run = {**DONE, "id": f"drun_{number}", "session_id": f"sess_{number}", "deployment_id": f"dep_{number}", **fields}
    qoder.wire.on("GET", f"/deployment_runs/drun_{number}", run)
    if events:
        qoder.wire.on("GET", f"/sessions/sess_{number}/events", page(*events))
    return run


def test_run_logs_of_several_puts_each_below_a_line_that_names_its_run(qoder: Qoder) -> None:
    has_run(qoder, 2, says("Second.", 2))
    has_run(qoder, 1, says("First.", 1), status="failed")
    ran = qoder(*LOGS, "drun_2", "drun_1")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "==> drun_2 (dep_2, completed) <==\n2026-06-14T08:54:02Z\tagent\tSecond.\n\n"
        "==> drun_1 (dep_1, failed) <==\n2026-06-14T08:54:01Z\tagent\tFirst.\n"
    )


def test_run_logs_reads_ids_from_standard_input_and_is_several_also_with_one(qoder: Qoder) -> None:
    for _ in range(4):
        has_run(qoder, 1, says("Hello.", 1))
    qoder.stdin = "# those that failed\n\ndrun_1\r\n"
    assert len(qoder(*LOGS, "-", "--json").json) == 1
    assert qoder(*LOGS, "-", "--tail", "5").out.startswith("==> drun_1 (dep_1, completed) <==\n")
    assert [item["input"] for item in qoder(*LOGS, "drun_1", "drun_1", "--json").json] == ["drun_1"] * 2


@pytest.mark.parametrize("format", ["json", "yaml"])
def test_run_logs_of_several_filters_again_what_the_server_was_to_filter(qoder: Qoder, format: str) -> None:
    has_run(qoder, 1, says("a", 1), {**says("b", 2), "type": "user.message"})
    qoder.stdin = "drun_1"
    shown = qoder(*LOGS, "-", "--type", "agent.message", "-o", format).out
    assert ("evt_1" in shown, "evt_2" in shown) == (True, False)


def test_run_logs_of_several_asks_the_session_for_a_status_that_only_it_knows(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/deployment_runs/drun_1", CURRENT, CURRENT)
    ending = page(*WORK, idle("end_turn"))
    qoder.wire.on("GET", "/sessions/sess_1/events", *[ending, page(says("Hello."))] * 2)
    qoder.wire.on("GET", "/sessions/sess_1", USAGE, USAGE)
    qoder.stdin = "drun_1\n"
    assert qoder(*LOGS, "-").out.splitlines()[0] == "==> drun_1 (dep_1, completed) <=="
    [item] = qoder(*LOGS, "-", "--json").json
    assert (item["status"], item["usage"]) == ("completed", USAGE["usage"])


# Those that cannot be read.

ALL = [f"drun_{number}" for number in range(1, 6)]


@pytest.mark.parametrize("format", ["table", "json", "jsonl"])
def test_run_logs_of_several_shows_the_others_where_some_cannot_be_read(qoder: Qoder, format: str) -> None:
    """One is whole, one is not there, one is without a session, one's session is gone, and one is whole."""
    has_run(qoder, 1, says("Hello.", 1, run_id="of the server"))
    qoder.wire.on("GET", "/deployment_runs/drun_2", GONE)
    has_run(qoder, 3, session_id=None, status="failed", error={"type": "odd", "message": "No room."})
    has_run(qoder, 4)
    qoder.wire.on("GET", "/sessions/sess_4/events", GONE)
    has_run(qoder, 5, says("Bye.", 5))
    ran = qoder(*LOGS, *ALL, "-o", format)
    assert ran.code == 5
    *warnings, error = [line for line in ran.err.splitlines() if not line.startswith(("hint:", "request"))]
    assert [line[:9] for line in warnings] == ["warning: "] * 3
    for line, told in zip(warnings, ["drun_2", "drun_3 has no session", "sess_4 of run drun_4"], strict=True):
        assert told in line
    assert "3 of 5 logs are incomplete or missing: run drun_2" in error
    whole = [("drun_1", "drun_1", 0, 1), ("drun_5", "drun_5", 0, 1)]
    items = [whole[0], (None, "drun_2", 5, 0), ("drun_3", "drun_3", 5, 0), ("drun_4", "drun_4", 5, 0), whole[1]]
    match format:
        case "table":
            heads = [line for line in ran.out.splitlines() if line.startswith("==>")]
            assert heads == ["==> drun_1 (dep_1, completed) <==", "==> drun_5 (dep_5, completed) <=="]
        case "json":
            assert [(each["id"], each["input"], each["exit_code"], len(each["events"])) for each in ran.json] == items
            assert ran.json[1]["error"]["type"] == "not_found"
            assert ran.json[2]["error"] == {"type": "odd", "message": "No room."}
        case "jsonl":
            shown = [(each["run_id"], each.get("input"), each.get("exit_code")) for each in lines_of(ran)]
            assert shown == [(id, None if n else input, None if n else code) for id, input, code, n in items]


def test_run_logs_of_several_closes_a_log_that_breaks_off_and_goes_on(qoder: Qoder) -> None:
    run = has_run(qoder, 1)
    first = {**page(says("a", 1), more=True), "next_page": "p"}
    qoder.wire.on("GET", "/sessions/sess_1/events", first, *[(502, "")] * 5)
    has_run(qoder, 2, says("b", 2))
    ran = qoder(*LOGS, "drun_1", "drun_2", "--json")
    assert ran.code == 7
    assert ran.json[0] == {**run, **ELAPSED, "events": [says("a", 1)], "input": "drun_1", "exit_code": 7}
    assert ran.json[1]["exit_code"] == 0
    assert "1 of 2 logs" in ran.error["message"]


def test_run_logs_of_several_says_why_one_has_no_events(qoder: Qoder) -> None:
    for number in (1, 1, 1):
        has_run(qoder, number, says("a", 1))
    has_run(qoder, 2, session_id=None, status="pending", completed_at=None)
    ran = qoder(*LOGS, "drun_1", "drun_2", "--json")
    assert (ran.code, ran.json[1]["status"], ran.json[1]["exit_code"]) == (8, "pending", 8)
    assert ran.error["next"] == ["qoder", "run", "logs", "drun_2", "--follow", "-o", "json"]
    has_run(qoder, 3)
    qoder.wire.on("GET", "/sessions/sess_3/events", page())
    ran = qoder(*LOGS, "drun_1", "drun_3", "--json")
    assert (ran.code, ran.json[1]["events"], ran.err) == (0, [], "run drun_3 has no events yet\n")
    qoder.wire.on("GET", "/deployment_runs/drun_4", api_error(403, "permission_error", "Not yours."))
    ran = qoder(*LOGS, "drun_4", "drun_1", "-q")
    assert (ran.code, ran.out) == (4, "evt_1\n")


@pytest.mark.parametrize(("answer", "code"), [((502, ""), 7), (EXPIRED, 4)], ids=["away", "no token"])
def test_run_logs_of_fifty_gives_up_where_none_can_be_read(qoder: Qoder, answer: Any, code: int) -> None:
    """Every one is tried for 30 seconds: fifty of them would take minutes, and say the same."""
    qoder.wire.on("GET", "/deployment_runs/*", answer, repeat=True)
    ran = qoder(*LOGS, *[f"drun_{number}" for number in range(1, 51)], "--json")
    assert ran.code == code
    assert ran.out.count('"exit_code"') < 10
    assert not ran.out.endswith("]\n")
    assert len(qoder.wire.requests) < (15 if code == 4 else 150)
    assert code == 4 or "gave up" in ran.error["message"]


# Names.


def test_run_logs_takes_runs_named_in_every_way(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/deployments/dep_1/runs", page({**DONE, "id": "drun_1"}))
    has_run(qoder, 1, says("a", 1))
    has_run(qoder, 2, says("b", 2))
    ran = qoder("run", "logs", "dep_1@last", "drun_2", "last", "--json")
    assert ran.code == 5
    assert [(item["input"], item["id"]) for item in ran.json] == [
        ("dep_1@last", "drun_1"),
        ("drun_2", "drun_2"),
        ("last", None),
    ]
    assert "warning: last: no run was started from this machine" in ran.err


def test_run_logs_refuses_a_name_of_several_deployments_before_anything_is_printed(qoder: Qoder) -> None:
    same = [{"id": f"dep_{n}", "type": "deployment", "name": "nightly", "archived_at": None} for n in (1, 2)]
    qoder.wire.on("GET", "/deployments", page(*same))
    ran = qoder("run", "logs", "drun_1", "nightly@last", "--json")
    assert (ran.code, ran.out) == (2, "")


@pytest.mark.parametrize("words", [["drun_1", "drun_2"], ["-"]])
def test_run_logs_follow_of_several_names_the_command_that_does_it(qoder: Qoder, words: list[str]) -> None:
    ran = qoder(*LOGS, *words, "--follow", "--json")
    assert (ran.code, ran.out, qoder.wire.requests) == (2, "", [])
    assert ran.error["next"] == ["qoder", "run", "wait", *words, "--follow", "-o", "json"]
