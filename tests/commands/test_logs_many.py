"""`qoder run logs` of several runs: in order, each whole, and what becomes of those that cannot be read."""

import json
from typing import Any

import httpx
import pytest

from qoder_cli.runs.logs.log_many import AT_A_TIME
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder
from tests.support.inprocess import WorldTransport
from tests.support.logs import GONE, Many, lines_of, says
from tests.support.one_run import CURRENT, DONE, WORK, idle
from tests.support.wire import api_error, page

USAGE = {"usage": {"total_credits": 0.42}}


def has_run(qoder: Qoder, number: int, *events: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Let the wire know a run on an older server, with these events in its session; and return it."""
    run = {**DONE, "id": f"drun_{number}", "session_id": f"sess_{number}", "deployment_id": f"dep_{number}", **fields}
    qoder.wire.on("GET", f"/deployment_runs/drun_{number}", run)
    if events:
        qoder.wire.on("GET", f"/sessions/sess_{number}/events", page(*events))
    return run


def has_cost(qoder: Qoder, *numbers: int) -> None:
    for number in numbers:
        qoder.wire.on("GET", f"/sessions/sess_{number}", USAGE)


def test_each_log_stands_below_a_line_that_names_its_run(qoder: Qoder) -> None:
    has_run(qoder, 2, says("Second.", 2))
    has_run(qoder, 1, says("First.", 1), status="failed")
    has_cost(qoder, 1, 2)
    ran = qoder("run", "logs", "drun_2", "drun_1")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "==> drun_2 (dep_2, completed) <==\n"
        "2026-06-14T08:54:02Z\tagent\tSecond.\n"
        "-\tcredits\t0.42\n"
        "\n"
        "==> drun_1 (dep_1, failed) <==\n"
        "2026-06-14T08:54:01Z\tagent\tFirst.\n"
        "-\tcredits\t0.42\n"
    )


def test_json_is_one_array_of_the_runs_with_their_events(qoder: Qoder) -> None:
    events = [says("a, [b]", 1), says("c\n", 2)]
    first, second = has_run(qoder, 1, *events), has_run(qoder, 2, says("d", 3))
    ran = qoder("run", "logs", "drun_1", "drun_2", "--json")
    assert ran.json == [
        {**first, "events": events, "input": "drun_1", "exit_code": 0},
        {**second, "events": [says("d", 3)], "input": "drun_2", "exit_code": 0},
    ]
    assert ran.out.count("\n") == 1


def test_json_on_a_terminal_is_indented_as_one_document(qoder: Qoder) -> None:
    expected = []
    for _ in range(2):
        run, empty = has_run(qoder, 1, says("a\nb", 1), says("c", 2)), has_run(qoder, 2, session_id=None)
        expected = [
            {**run, "events": [says("a\nb", 1), says("c", 2)], "input": "drun_1", "exit_code": 0},
            {**empty, "events": [], "input": "drun_2", "exit_code": 5},
        ]
    piped = qoder("run", "logs", "drun_1", "drun_2", "--json")
    qoder.terminal = True
    ran = qoder("run", "logs", "drun_1", "drun_2", "--json")
    assert ran.json == piped.json == expected
    assert ran.out == json.dumps(expected, indent=2) + "\n"


def test_json_lines_name_the_run_of_each_event(qoder: Qoder) -> None:
    for number in (1, 2):
        has_run(qoder, number, says("Hello.", number, run_id="of the server"))
    ran = qoder("run", "logs", "drun_1", "drun_2", "-o", "jsonl")
    assert lines_of(ran) == [{**says("Hello.", n), "run_id": f"drun_{n}"} for n in (1, 2)]


def test_ids_are_those_of_the_events(qoder: Qoder) -> None:
    for number in (1, 2):
        has_run(qoder, number, says("Hello.", number))
    assert qoder("run", "logs", "drun_2", "drun_1", "-q").out == "evt_2\nevt_1\n"


def test_a_dash_reads_ids_and_is_several_also_with_one(qoder: Qoder) -> None:
    for _ in range(2):
        has_run(qoder, 1, says("Hello.", 1))
    qoder.stdin = "# those that failed\n\ndrun_1\r\n"
    assert len(qoder("run", "logs", "-", "--json").json) == 1
    has_cost(qoder, 1)
    assert qoder("run", "logs", "-", "--tail", "5").out.startswith("==> drun_1 (dep_1, completed) <==\n")


def test_the_same_run_twice_is_shown_twice(qoder: Qoder) -> None:
    for _ in range(2):
        has_run(qoder, 1, says("Hello.", 1))
    assert [item["input"] for item in qoder("run", "logs", "drun_1", "drun_1", "--json").json] == ["drun_1"] * 2


def test_where_only_the_session_knows_the_status_it_is_asked(qoder: Qoder) -> None:
    run = {**CURRENT, "id": "drun_1"}
    ending = page(*WORK, idle("end_turn"))
    qoder.wire.on("GET", "/deployment_runs/drun_1", run, run)
    qoder.wire.on("GET", "/sessions/sess_1/events", ending, page(says("Hello.")), ending, page(says("Hello.")))
    qoder.wire.on("GET", "/sessions/sess_1", USAGE, USAGE)
    qoder.stdin = "drun_1\n"
    assert qoder("run", "logs", "-").out.splitlines()[::2] == ["==> drun_1 (dep_1, completed) <==", "-\tcredits\t0.42"]
    [item] = qoder("run", "logs", "-", "--json").json
    assert (item["status"], item["usage"]) == ("completed", USAGE["usage"])


# Those that cannot be read


def broken(qoder: Qoder) -> None:
    """Let the wire know a run that is whole, one that is not there, one without a session, and one whose is gone."""
    has_run(qoder, 1, says("Hello.", 1))
    qoder.wire.on("GET", "/deployment_runs/drun_2", GONE)
    has_run(qoder, 3, session_id=None, status="failed", error={"type": "odd", "message": "No room."})
    has_run(qoder, 4)
    qoder.wire.on("GET", "/sessions/sess_4/events", GONE)
    has_run(qoder, 5, says("Bye.", 5))


ALL = [f"drun_{number}" for number in range(1, 6)]


def test_a_run_that_cannot_be_read_leaves_the_others_shown(qoder: Qoder) -> None:
    broken(qoder)
    has_cost(qoder, 1, 5)
    ran = qoder("run", "logs", *ALL)
    assert [line for line in ran.out.splitlines() if line.startswith("==>")] == [
        "==> drun_1 (dep_1, completed) <==",
        "==> drun_5 (dep_5, completed) <==",
    ]
    *warnings, error, _hint, _request = ran.err.splitlines()
    assert (ran.code, len(warnings)) == (5, 3)
    for line, told in zip(warnings, ["drun_2", "drun_3 has no session", "sess_4 of run drun_4"], strict=True):
        assert line.startswith("warning: ")
        assert told in line
    assert error.startswith("error: 3 of 5 logs are incomplete: run drun_2")


def test_in_json_an_item_stands_for_each(qoder: Qoder) -> None:
    broken(qoder)
    items = qoder("run", "logs", *ALL, "--json").json
    assert [(item["id"], item["input"], item["exit_code"], len(item["events"])) for item in items] == [
        ("drun_1", "drun_1", 0, 1),
        (None, "drun_2", 5, 0),
        ("drun_3", "drun_3", 5, 0),
        ("drun_4", "drun_4", 5, 0),
        ("drun_5", "drun_5", 0, 1),
    ]
    assert items[1]["error"]["type"] == "not_found"
    assert items[2]["error"] == {"type": "odd", "message": "No room."}


def test_in_json_lines_a_line_stands_for_what_could_not_be_read(qoder: Qoder) -> None:
    broken(qoder)
    ran = qoder("run", "logs", *ALL, "-o", "jsonl")
    assert [(line["run_id"], line.get("exit_code")) for line in lines_of(ran)] == [
        ("drun_1", None),
        (None, 5),
        ("drun_3", 5),
        ("drun_4", 5),
        ("drun_5", None),
    ]
    assert [line["input"] for line in lines_of(ran) if "input" in line] == ["drun_2", "drun_3", "drun_4"]
    assert ran.error["exit_code"] == 5


def test_a_log_that_breaks_off_is_closed_and_the_next_one_follows(qoder: Qoder) -> None:
    run = has_run(qoder, 1)
    qoder.wire.on("GET", "/sessions/sess_1/events", {**page(says("a", 1), more=True), "next_page": "p"})
    qoder.wire.on("GET", "/sessions/sess_1/events", *[(502, "")] * 5)
    has_run(qoder, 2, says("b", 2))
    ran = qoder("run", "logs", "drun_1", "drun_2", "--json")
    assert ran.code == 7
    assert ran.json[0] == {**run, "events": [says("a", 1)], "input": "drun_1", "exit_code": 7}
    assert ran.json[1]["exit_code"] == 0
    assert "1 of 2 logs" in ran.error["message"]


def test_a_pending_run_says_how_to_follow_it(qoder: Qoder) -> None:
    has_run(qoder, 1, says("a", 1))
    has_run(qoder, 2, session_id=None, status="pending", completed_at=None)
    ran = qoder("run", "logs", "drun_1", "drun_2", "--json")
    assert (ran.code, ran.json[1]["status"], ran.json[1]["exit_code"]) == (8, "pending", 8)
    assert ran.error["next"] == ["qoder", "run", "logs", "drun_2", "--follow", "-o", "json"]


def test_a_run_without_events_is_said_to_have_none(qoder: Qoder) -> None:
    has_run(qoder, 1, says("a", 1))
    has_run(qoder, 2)
    qoder.wire.on("GET", "/sessions/sess_2/events", page())
    ran = qoder("run", "logs", "drun_1", "drun_2", "--json")
    assert (ran.code, ran.json[1]["events"]) == (0, [])
    assert ran.err == "run drun_2 has no events yet\n"


def test_it_gives_up_on_a_server_that_is_away(qoder: Qoder) -> None:
    """Every one is tried for 30 seconds: fifty of them would take minutes, and say the same."""
    for number in range(1, 51):
        qoder.wire.on("GET", f"/deployment_runs/drun_{number}", (502, ""), repeat=True)
    ran = qoder("run", "logs", *[f"drun_{number}" for number in range(1, 51)], "--json")
    assert ran.code == 7
    assert "gave up" in ran.error["message"]
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(ran.out)
    qoder.wire.expected.clear()


def test_a_token_that_is_not_accepted_ends_it_at_once(qoder: Qoder) -> None:
    expired = api_error(401, "authentication_error", "Expired.")
    for number in range(1, 51):
        qoder.wire.on("GET", f"/deployment_runs/drun_{number}", expired, repeat=True)
    ran = qoder("run", "logs", *[f"drun_{number}" for number in range(1, 51)], "-o", "jsonl")
    assert (ran.code, len(lines_of(ran))) == (4, 1)
    assert len(qoder.wire.requests) < 15
    qoder.wire.expected.clear()


def test_without_a_token_nothing_is_printed(qoder: Qoder) -> None:
    del qoder.env["QODER_PAT"]
    ran = qoder("run", "logs", "drun_1", "last", "--json")
    assert (ran.code, ran.out) == (4, "")
    assert len(ran.err.splitlines()) == 1


def test_a_run_of_somebody_else_is_no_reason_to_stop(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/deployment_runs/drun_1", api_error(403, "permission_error", "Not yours."))
    has_run(qoder, 2, says("b", 2))
    ran = qoder("run", "logs", "drun_1", "drun_2", "-q")
    assert (ran.code, ran.out) == (4, "evt_2\n")


# Names


def test_runs_may_be_named_in_every_way(qoder: Qoder) -> None:
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


def test_a_name_that_several_deployments_have_is_told_before_anything_is_printed(qoder: Qoder) -> None:
    same = [{"id": f"dep_{n}", "type": "deployment", "name": "nightly", "archived_at": None} for n in (1, 2)]
    qoder.wire.on("GET", "/deployments", page(*same))
    ran = qoder("run", "logs", "drun_1", "nightly@last", "--json")
    assert (ran.code, ran.out) == (2, "")


@pytest.mark.parametrize("words", [["drun_1", "dep_1"], ["drun_1", ""], ["-"], ["drun_1", "--tail", "-1", "drun_2"]])
def test_bad_usage_is_exit_2(qoder: Qoder, words: list[str]) -> None:
    qoder.stdin = "\n# nothing\n"
    ran = qoder("run", "logs", *words)
    assert (ran.code, ran.out, qoder.wire.requests) == (2, "", [])


@pytest.mark.parametrize("words", [["drun_1", "drun_2"], ["-"]])
def test_following_several_is_done_by_another_command(qoder: Qoder, words: list[str]) -> None:
    ran = qoder("run", "logs", *words, "--follow", "--json")
    assert (ran.code, ran.out, qoder.wire.requests) == (2, "", [])
    assert ran.error["next"] == ["qoder", "run", "wait", *words, "--follow", "-o", "json"]


# Many


@pytest.mark.parametrize("generation", GENERATIONS)
def test_what_a_list_prints_the_logs_take(qoder: Qoder, generation: Generation) -> None:
    world = World(clock=qoder.clock.now, generation=generation, seed=1, token=TOKEN)
    qoder.transport = WorldTransport(world, sleep=qoder.clock.sleep)
    for deployment in ("dep_demo", "dep_fail", "dep_budget", "dep_terminated"):
        qoder("deploy", "run", deployment)
    qoder.clock.sleep(100)
    qoder.stdin = qoder("run", "list", "--status", "failed", "--since", "1d", "-q").out
    runs = qoder.stdin.split()
    assert len(runs) == 3
    ran = qoder("run", "logs", "-", "--tail", "2")
    heads = [line for line in ran.out.splitlines() if line.startswith("==>")]
    assert [head.split()[1] for head in heads] == runs
    assert all(head.endswith(", failed) <==") for head in heads)
    assert [item["status"] for item in qoder("run", "logs", "-", "--json").json] == ["failed"] * 3


class Counting(Many):
    """A server with long logs, which counts how many runs were asked for whenever a second page is."""

    def __init__(self) -> None:
        super().__init__(150, streamed=False)
        self.begun: set[str] = set()
        self.ahead: list[int] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        run_id = request.url.path.rpartition("/")[2]
        if run_id.startswith("drun_"):
            self.begun.add(run_id)
            return httpx.Response(200, json={**DONE, "id": run_id})
        if "page" in request.url.params:
            self.ahead.append(len(self.begun))
        return super().handle_request(request)


def test_runs_are_read_ahead_but_not_far_ahead(qoder: Qoder) -> None:
    """Only what is being shown is read beyond its first page."""
    qoder.transport = server = Counting()
    qoder.stdin = "\n".join(f"drun_{number}" for number in range(40))
    assert qoder("run", "logs", "-", "-q").out.count("\n") == 40 * 150
    assert all(begun <= shown + AT_A_TIME for shown, begun in enumerate(server.ahead, start=1))
    assert any(begun > shown for shown, begun in enumerate(server.ahead, start=1))


def test_a_long_tail_is_not_read_ahead(qoder: Qoder) -> None:
    qoder.transport = server = Counting()
    qoder.stdin = "\n".join(f"drun_{number}" for number in range(5))
    assert qoder("run", "logs", "-", "-q", "--tail", "10000").out.count("\n") == 5 * 150
    assert server.ahead == [1, 2, 3, 4, 5]
