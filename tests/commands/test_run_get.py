"""`qoder run get`: how a run ended, by its own word or by its session's (api.md#stop-reasons)."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.base.outcome import SESSION_DELETED
from tests.conftest import Qoder
from tests.support import cells
from tests.support.one_run import (
    CURRENT,
    DELETED,
    DONE,
    EVENTS,
    LEGACY,
    MESSAGE,
    RUN,
    RUNNING,
    SESSION,
    SHOWN,
    TERMINATED,
    event,
    fails,
    idle,
    rests,
    story,
)
from tests.support.wire import GONE, api_error, page

Events = list[dict[str, Any]]
CODES = {"completed": 0, "failed": 1, "skipped": 3, "running": 8, "pending": 8, None: 9}
GET = ("run", "get", "drun_1", "--exit-status", "--json")

# What the run itself says.

UNTOLD = {name: value for name, value in LEGACY.items() if name not in ("status", "session_id")}
ERROR = {"type": "x", "message": "y"}
NO_ERRORS: list[Any] = [None, {}, " ", [], 0, {"type": "", "message": ""}, {"code": 7}, 5, [1], True]
ERRORS: list[Any] = [{"type": "x"}, {"message": "No."}, "No.", {"type": 7}]
# Fields of a run, the status that is shown, and the exit code; "session" stands for one that its session knows.
RUNS: dict[str, tuple[dict[str, Any], str, int]] = {
    "completed": ({"status": "completed"}, "completed", 0),
    "failed": ({"status": "failed", "error": ERROR}, "failed", 1),
    "skipped": ({"status": "skipped"}, "skipped", 3),
    "pending": ({"status": "pending"}, "pending", 8),
    "running": ({"status": "running", "session_id": "sess_1"}, "running", 8),
    "unknown": ({"status": "paused?"}, "paused?", 8),
    "unknown and ended": ({"status": "odd", "completed_at": "2026-06-14T08:55:00Z"}, "odd", 1),
    "never started": ({"error": {"type": "x"}, "session_id": None}, "failed", 1),
    "half-written": ({"session_id": None, "error": None}, "pending", 8),
    "null status": ({"status": None, "session_id": "sess_1"}, "session", 8),
    "status of a wrong type": ({"status": 7, "session_id": "sess_1"}, "session", 8),
    **{
        f"the error {error!r}, {name}": ({**fields, "error": error}, status, code)
        for error in NO_ERRORS
        for name, fields, status, code in (
            ("a session", {"session_id": "sess_1"}, "session", 8),
            ("no session", {}, "pending", 8),
            ("running", {"status": "running"}, "running", 8),
        )
    },
    **{
        f"the error {error!r}, {name}": ({**fields, "error": error}, "failed", 1)
        for error in ERRORS
        for name, fields in (("a session", {"session_id": "sess_1"}), ("no session", {}))
    },
}


@pytest.mark.parametrize(("fields", "status", "code"), RUNS.values(), ids=RUNS.keys())
@pytest.mark.few(15)
def test_run_get_says_how_a_run_stands(qoder: Qoder, fields: dict[str, Any], status: str, code: int) -> None:
    run = {**UNTOLD, **fields}
    qoder.wire.on(*RUN, run, repeat=True)
    if status == "session":
        qoder.wire.on(*EVENTS, page(*story(RUNNING)), repeat=True)
    plain, judged = qoder(*GET[:3], "--json"), qoder(*GET)
    assert (plain.code, judged.code) == (0, code)
    assert judged.json == plain.json
    assert plain.json["status"] == ("running" if status == "session" else status)
    derived = {"derived", *plain.json.get("derived", ())}
    assert {name: value for name, value in plain.json.items() if name not in derived} == {
        name: value for name, value in run.items() if name not in derived
    }
    assert bool(derived - {"derived", "elapsed_ms"}) == (fields.get("status") != status)
    assert ("warning" in plain.err) == (status in ("odd", "paused?"))


def test_run_get_calls_an_error_without_a_type_unknown(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, {**UNTOLD, "error": {"message": "No."}}, repeat=True)
    assert qoder(*GET).error["api_type"] == "unknown_error"


AGENTS = [({"version": 3}, []), ({"id": "agent_1"}, ["agent_1"]), ({"id": "agent_1", "version": 3}, ["agent_1@3"])]


@pytest.mark.parametrize(("agent", "shown"), AGENTS)
def test_run_get_shows_an_agent_with_its_version_where_its_id_is_sent(qoder: Qoder, agent: Any, shown: Any) -> None:
    qoder.wire.on(*RUN, {**UNTOLD, "status": "completed", "agent": agent})
    rows = [line.split() for line in qoder(*GET[:3]).out.splitlines()]
    assert [value for name, value, *_ in rows if name == "agent"] == shown


EXAMPLES = [
    each
    for line in (Path(__file__).parents[1] / "support" / "examples.jsonl").read_text().splitlines()
    if (each := json.loads(line))["variant"].startswith("run")
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["variant"])
@pytest.mark.few(7)
def test_run_get_reads_the_example(qoder: Qoder, example: dict[str, Any]) -> None:
    run, variant = example["json"], example["variant"]
    status = next((word for word in ("completed", "failed", "skipped") if word in variant), "running")
    qoder.wire.on("GET", f"/deployment_runs/{run['id']}", run, repeat=True)
    if "status" not in run and not run["error"]:
        qoder.wire.on("GET", f"/sessions/{run['session_id']}/events", page(*story(RUNNING)))
    assert qoder("run", "get", run["id"], "--exit-status", "--json").code == CODES[status]


# What its session tells.

ASKS = rests("requires_action")
AT_9 = {"processed_at": "2026-06-14T08:54:09Z"}
OLDER = {"processed_at": "2026-06-14T07:54:07Z"}
UNTIMED = {"processed_at": None}
NAMELESS = {"type": "session.error", "error": {"retry_status": "exhausted"}}
ODD: list[Any] = [7, None, [7], {"type": 7, "retry_status": 7}, {"retry_status": {"type": [7]}}]
ODD_ERRORS = [{"type": "session.error", "error": odd} for odd in ODD]
UNREADABLE: list[Any] = [7, 0, False, ["end_turn"], [], {"kind": "end_turn"}, {"type": 7}, {"type": ["end_turn"]}]
UNREADABLE += [{"type": kind, "event_ids": ["evt_1"]} for kind in ("", None)]  # names calls, but not why it stopped
# What happened in the session, oldest first; the status of the run, and the type of its error.
STORIES: dict[str, tuple[Sequence[dict[str, Any]], str | None, str | None]] = {
    "nothing yet": ([], "running", None),
    "running": ([RUNNING], "running", None),
    "idle before work": ([rests()], "running", None),
    "idle before work, no reason": ([rests(None)], "running", None),
    "initial idle, then running": ([rests(), RUNNING], "running", None),
    "initial idle, work, idle": ([rests(), RUNNING, rests()], "completed", None),
    "plain string reason": ([RUNNING, {**rests(), "stop_reason": "end_turn"}], "completed", None),
    "stop_sequence after work": ([RUNNING, rests("stop_sequence")], "completed", None),
    "an agent event is work": ([MESSAGE, rests()], "completed", None),
    "no reason after work": ([RUNNING, rests(None)], "completed", None),
    "empty object as reason": ([RUNNING, rests({})], "completed", None),
    "no reason, exhausted": ([RUNNING, fails({"type": "exhausted"}), rests(None)], "failed", "billing_error"),
    "no reason, terminal as text": ([RUNNING, fails("terminal"), rests("")], "failed", "billing_error"),
    "no reason, retrying": ([RUNNING, fails({"type": "retrying"}), rests(None)], "completed", None),
    "exhausted before the last running": ([RUNNING, fails("exhausted"), RUNNING, rests(None)], "completed", None),
    "end_turn beats an exhausted error": ([RUNNING, fails("exhausted"), rests()], "completed", None),
    "budget": ([RUNNING, rests("budget_reached")], "failed", "budget_reached"),
    "budget before work": ([rests("budget_reached")], "failed", "budget_reached"),
    "retries": ([RUNNING, rests("retries_exhausted")], "failed", "retries_exhausted"),
    "cancelled": ([RUNNING, rests("cancelled")], "failed", "cancelled"),
    "an unknown reason": ([RUNNING, rests("moon_phase")], "failed", "moon_phase"),
    "asks last": ([RUNNING, ASKS], "running", None),
    "asks, answered": ([RUNNING, ASKS, RUNNING], "running", None),
    "asks, answered, done": ([RUNNING, ASKS, RUNNING, rests()], "completed", None),
    "asks, then cancelled": ([RUNNING, ASKS, rests("cancelled")], "failed", "cancelled"),
    "asks before any running": ([ASKS], "running", None),
    **{
        f"a reason that cannot be read: {reason}": ([RUNNING, rests(reason)], "failed", "unreadable_stop_reason")
        for reason in UNREADABLE
    },
    "retrying ends nothing": ([RUNNING, fails("retrying")], "running", None),
    "an exhausted error alone": ([RUNNING, fails("exhausted")], "running", None),
    "terminated": ([RUNNING, TERMINATED], "failed", "session_terminated"),
    "terminated before work": ([TERMINATED], "failed", "session_terminated"),
    "deleted before an ending": ([RUNNING, DELETED], None, "session_deleted"),
    "deleted after the ending": ([RUNNING, rests(), DELETED], "completed", None),
    "chats on afterwards": ([RUNNING, rests(), RUNNING, rests("budget_reached")], "completed", None),
    "terminated afterwards": ([RUNNING, rests("budget_reached"), TERMINATED], "failed", "budget_reached"),
    "other events say nothing": ([{"type": "span.model_request_start"}, {"type": None}, {}], "running", None),
    "an error of no kind": ([RUNNING, NAMELESS, rests(None)], "failed", "unknown_error"),
    "an old error": ([RUNNING, {"type": "session.error", "error": "boom"}, rests(None)], "completed", None),
    "errors that cannot be read": ([RUNNING, *ODD_ERRORS, rests(None)], "completed", None),
    # Times.
    "older than the run": ([RUNNING | OLDER, rests()], "running", None),
    "a failure after what is older": ([RUNNING | OLDER, rests() | OLDER, RUNNING, rests("x")], "failed", "x"),
    "five seconds older than the run": ([event("status_running", 1), idle("end_turn", 5)], "completed", None),
    "six seconds older than the run": ([event("status_running", 0), idle("end_turn", 5)], "running", None),
    "no times": ([each | UNTIMED for each in (rests(), RUNNING, rests("cancelled"), RUNNING)], "failed", "cancelled"),
    "all in one second": ([event("status_running", 7), idle("end_turn", 7)], "completed", None),
    "error and idle in one second": ([rests(), RUNNING, fails("exhausted", "x"), rests(None) | AT_9], "failed", "x"),
    # Turns that no status begins, of which only the agent's own events tell that it worked.
    "no start, then another turn": ([MESSAGE, rests(), rests(), RUNNING, rests("cancelled")], "completed", None),
    "no start, exhausted": ([MESSAGE, fails("exhausted"), rests(None), RUNNING, rests()], "failed", "billing_error"),
    "no start, terminated afterwards": ([MESSAGE, rests(), TERMINATED], "completed", None),
    "no start, no times": ([each | UNTIMED for each in (rests(), MESSAGE, rests())], "completed", None),
}


@dataclass(frozen=True)
class Teller:
    """How a server lists the events of a session."""

    size: int = 100
    heeds_types: bool = True
    order: str | None = None  # the only one that it knows
    has_ids: bool = True
    cursors: str = "kept"  # or "ignored", "refused" (some of them), "overlapping"

    def __call__(self, request: httpx.Request, events: Events) -> Any:
        query = request.url.params
        types, cursor = query.get_list("types[]"), query.get("after_id", "")
        if types and self.heeds_types:
            events = [one for one in events if one.get("type") in types]
        if "desc" in (self.order or query["order"]):
            events = events[::-1]
        if self.order == "mixed":
            events = [*events[:1], *events[:0:-1]]
        if self.cursors == "ignored" or not self.has_ids:
            hidden = () if self.has_ids else ("id",)
            shown = [{name: value for name, value in one.items() if name not in hidden} for one in events]
            return {**page(*shown), "last_id": None}
        if "running" in cursor and self.cursors == "refused":
            return api_error(400, "invalid_request_error", "after_id is not in this list.")
        begin = next((n + 1 for n, one in enumerate(events) if one["id"] == cursor), 0)
        again = [one for one in events if one["id"] == cursor] * 2 * (self.cursors == "overlapping")
        rest = events[begin:]
        return {**page(*rest[: self.size], more=len(rest) > self.size), "data": [*again, *rest[: self.size]]}


@pytest.mark.parametrize(
    ("name", "order"),
    [
        *((name, "asc") for name in STORIES),
        *(
            pytest.param(name, "desc", marks=cells.MORE)
            for name in STORIES
            if not re.search("no times|one second", name)  # which tell no order
        ),
    ],
)
def test_run_get_reads_the_first_ending_of_its_session(qoder: Qoder, name: str, order: str) -> None:
    events, status, kind = STORIES[name]
    listed = story(*events)
    tell = Teller(order=order)
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, lambda request: tell(request, listed), repeat=True)
    if status in ("completed", "failed"):
        qoder.wire.on(*SESSION, {})
    ran = qoder(*GET)
    assert ran.code == CODES[status]
    shown = ran.json
    assert (shown.get("status"), (shown["error"] or {}).get("type")) == (status, kind)
    assert set(shown["derived"]) >= ({"status"} if status else {"error"})


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([fails("retrying"), rests("retries_exhausted")], "The session ran out of retries. No."),
        ([rests("retries_exhausted")], "The session ran out of retries."),
        ([fails("retrying"), rests("budget_reached")], "The credit budget was used up."),
        ([rests("odd")], "The session stopped: odd."),
        ([NAMELESS, rests(None)], "The session reported an error."),
    ],
)
def test_run_get_says_why_a_session_stopped(qoder: Qoder, events: list[dict[str, Any]], message: str) -> None:
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(*story(RUNNING, *events))).on(*SESSION, {})
    assert qoder(*GET).json["error"]["message"] == message


WAIT, RESULT = ("run", "wait", "drun_1", "--timeout", "3m", "--json"), ("run", "result", "drun_1", "--json")
LISTED = [
    *((Teller(size=1, order="desc"), GET), (Teller(size=1, order="desc"), WAIT)),
    *((Teller(size=3, cursors="refused"), WAIT), (Teller(size=3, cursors="overlapping"), RESULT)),
    *((Teller(heeds_types=False, has_ids=False), GET), (Teller(cursors="ignored"), WAIT)),
]
# Turns that fail late: in between one asks, and goes on by itself; the other's session is deleted afterwards.
LATE = [rests(), RUNNING, MESSAGE, ASKS, RUNNING, fails("retrying"), MESSAGE, rests("cancelled"), RUNNING, rests()]
GONE_BY_NOW = [rests(), MESSAGE, RUNNING, fails("exhausted"), rests(None), RUNNING, TERMINATED, DELETED]


@pytest.mark.parametrize("kinds", [LATE, GONE_BY_NOW], ids=["late", "gone by now"])
@pytest.mark.parametrize(("tell", "command"), LISTED)
def test_run_commands_say_the_same_however_a_session_is_listed(
    qoder: Qoder, kinds: Events, tell: Teller, command: tuple[str, ...]
) -> None:
    """Those that wait are told at each moment as far as it has come."""
    told = story(*({**each, "id": f"evt_{n}_{each['type']}"} for n, each in enumerate(kinds)))

    def answers(teller: Teller) -> tuple[int, Any]:
        began = qoder.clock.time

        def listed(request: httpx.Request) -> Any:
            seen = 1 + int(qoder.clock.time - began) // 7 if "wait" in command else len(told)
            return teller(request, told[:seen])

        qoder.wire.on(*RUN, CURRENT, repeat=True).on(*EVENTS, listed, repeat=True).on(*SESSION, {}, repeat=True)
        ran = qoder(*command)
        qoder.wire.expected.clear()
        return ran.code, ran.json

    assert answers(tell) == answers(Teller())


def test_run_get_reads_on_where_events_come_in_no_order(qoder: Qoder) -> None:
    events, tell = story(RUNNING, rests("x"), RUNNING, rests()), Teller(size=3, order="mixed")
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, lambda request: tell(request, events), repeat=True).on(*SESSION, {})
    assert qoder(*GET).json["error"]["type"] == "x"


# What is filled in, and named.

WAITS = {"type": "session.status_idle", "stop_reason": {"type": "requires_action", "event_ids": ["evt_a", 7, "evt_b"]}}


@pytest.mark.parametrize(
    ("events", "filled"),
    [
        (
            [RUNNING, rests()],
            {"status": "completed", "completed_at": "2026-06-14T08:54:08Z", "duration_ms": 2000, "usage": {"n": 1}}
            | {"elapsed_ms": 2000},
        ),
        ([RUNNING, {**rests(), "processed_at": None}], {"status": "completed", "usage": {"n": 1}}),
        (
            [RUNNING, rests("odd")],
            {"status": "failed", "completed_at": "2026-06-14T08:54:08Z"}
            | {"error": {"type": "odd", "message": "The session stopped: odd."}, "usage": {"n": 1}, "elapsed_ms": 2000},
        ),
        ([RUNNING, DELETED], {"error": SESSION_DELETED.error}),
        ([RUNNING, WAITS, MESSAGE], {"status": "running", "requires_action": {"event_ids": ["evt_a", "evt_b"]}}),
        ([RUNNING, WAITS, RUNNING], {"status": "running"}),
        ([RUNNING, WAITS, RUNNING, ASKS], {"status": "running", "requires_action": {"event_ids": []}}),
    ],
    ids=["completed", "completed some time", "failed", "deleted", "asks", "answered", "asks for nothing that is named"],
)
def test_run_get_names_what_it_fills_in(qoder: Qoder, events: Events, filled: dict[str, Any]) -> None:
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(*story(*events)))
    if "completed_at" in filled or "usage" in filled:
        qoder.wire.on(*SESSION, {"usage": {"n": 1}})
    shown = qoder("run", "get", "drun_1", "--json").json
    assert shown == {**CURRENT, **filled, "derived": list(filled)}


@pytest.mark.parametrize(
    ("fields", "elapsed"),
    [
        ({}, 17228),
        ({"status": "failed", "error": {"type": "odd"}, "duration_ms": None}, 17228),
        ({"status": "skipped"}, 17228),
        ({"triggered_at": None, "created_at": "2026-06-14T08:54:22.5Z"}, 1000),
        ({"triggered_at": None, "created_at": None}, None),
        ({"triggered_at": "yesterday"}, None),
        ({"completed_at": None}, None),
        ({"completed_at": "2026-06-14T08:54:05Z"}, None),
        ({"completed_at": 5}, None),
        ({"status": "running"}, None),
        ({"elapsed_ms": "as sent"}, "as sent"),
    ],
)
def test_run_get_says_how_long_any_run_took_that_ended(qoder: Qoder, fields: dict[str, Any], elapsed: Any) -> None:
    qoder.wire.on(*RUN, {**DONE, **fields}).may(*EVENTS, page(*story(RUNNING)))
    shown = qoder("run", "get", "drun_1", "--json").json
    assert shown.get("elapsed_ms") == elapsed
    assert ("elapsed_ms" in shown.get("derived", [])) == isinstance(elapsed, int)


def test_run_get_tells_of_no_other_sessions_cost(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(*story(RUNNING, rests()))).on(
        *SESSION, {"id": "sess_2", "usage": {"n": 1}}
    )
    shown = qoder("run", "get", "drun_1", "--json").json
    assert (shown["status"], "usage" in shown) == ("completed", False)


def test_run_wait_takes_a_status_away_that_was_not_final_when_the_session_is_deleted(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, LEGACY, repeat=True).on(*EVENTS, page(*story(RUNNING, DELETED)), repeat=True)
    ran = qoder("run", "wait", "drun_1", "--json")
    assert (ran.code, ran.json.get("status"), ran.json["derived"]) == (9, None, ["status", "error"])


def test_run_get_counts_an_error_that_a_later_read_leaves_out(qoder: Qoder) -> None:
    """A replica may lag behind the one that was asked before."""
    exhausted, end = {**fails("exhausted"), "id": "evt_x"}, event("status_idle", 30)
    message = {**MESSAGE, "id": "evt_m", "processed_at": "2026-06-14T08:54:11Z"}
    exhausted["processed_at"] = "2026-06-14T08:54:08Z"
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(exhausted, end), page(message, end)).on(*SESSION, {})
    assert qoder("run", "get", "drun_1", "--json").json["error"]["type"] == "billing_error"


@pytest.mark.parametrize("verb", ["get", "result", "logs"])
def test_run_get_believes_no_events_of_another_session(qoder: Qoder, verb: str) -> None:
    """A proxy may answer with what it kept of another request."""
    others = [{**each, "session_id": "sess_2"} for each in story(RUNNING, MESSAGE, rests())]
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(*others), repeat=True)
    ran = qoder("run", verb, "drun_1", "--json")
    assert (ran.code, "Well." in ran.out) == (7, False)
    assert "another session" in ran.error["message"]


# Answers that are none.


def test_run_get_says_that_a_body_is_too_large(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, lambda _: httpx.Response(200, content=(b" " * 2**20 for _ in range(200))))
    ran = qoder("run", "get", "drun_1")
    assert ran.code == 7
    assert "larger than 64 MiB" in ran.errors[0]


NO_ANSWERS: dict[str, tuple[Any, int, str]] = {
    "not found": (GONE, 5, "api.qoder.com"),
    "501": (
        api_error(501, "feature_not_available", "Not here."),
        7,
        "this server cannot do that; check the profile (default): qoder doctor",
    ),
    "another run": ({**DONE, "id": "drun_2"}, 7, "not run drun_1"),
    "a bad token": (api_error(401, "authentication_error", "Bad."), 4, "Bad."),
    "a login page": ((403, "<html>Log in</html>"), 4, "403"),
    "a page with 200": ("<html>Log in</html>", 7, "the response is not JSON"),
}
RETRIED = ("another run", "501", "a page with 200")
FIRST = [name for name in NO_ANSWERS if name not in RETRIED]  # for which a wait does not try again


@pytest.mark.parametrize(
    ("verb", "name"), [*(("get", name) for name in NO_ANSWERS), *(("wait", name) for name in FIRST)]
)
def test_run_get_and_wait_end_at_once_where_no_run_is_known(qoder: Qoder, verb: str, name: str) -> None:
    answer, code, says = NO_ANSWERS[name]
    qoder.wire.on(*RUN, answer, repeat=True)
    ran = qoder("run", verb, "drun_1", "--json")
    assert (ran.code, ran.out) == (code, "")
    assert says in ran.err
    assert name in ("another run", "a page with 200") or qoder.clock.slept == []


@pytest.mark.parametrize("answer", [DONE, GONE, {**DONE, "id": "drun_2"}, {**DONE, "deployment_id": "dep_2"}])
def test_run_get_checks_that_a_run_is_one_of_the_deployment(qoder: Qoder, answer: Any) -> None:
    qoder.wire.on("GET", "/deployments/dep_1/runs/drun_1", answer)
    if answer is DONE:
        qoder.wire.on(*RUN, DONE)
    ran = qoder("run", "get", "drun_1", "--deployment", "dep_1", "--json")
    if answer is DONE:
        assert (ran.code, ran.json) == (0, SHOWN)
    else:
        assert (ran.code, ran.out) == (5, "")
        assert "of deployment dep_1" in ran.err


USED_UP = {**DONE, "status": "failed", "error": {"type": "budget_reached", "message": "Used up."}}
NEXT: dict[str, tuple[dict[str, Any], int, str]] = {
    "a budget that was reached": (USED_UP, 1, "session get sess_1"),
    "no budget let it begin": ({**USED_UP, "session_id": None}, 1, "deploy check dep_1"),
    "it waits for an answer": (CURRENT, 8, "run pending drun_1"),
}


@pytest.mark.parametrize("what", NEXT)
def test_run_get_names_the_command_that_helps(qoder: Qoder, what: str) -> None:
    run, code, command = NEXT[what]
    qoder.wire.on(*RUN, run).may(*SESSION, {}).may(*EVENTS, page(*story(RUNNING, ASKS)))
    ran = qoder(*GET)
    assert (ran.code, ran.error["next"]) == (code, ["qoder", *command.split(), "-o", "json"])
    assert "session" not in command or "may then go on" in ran.error["hint"]
