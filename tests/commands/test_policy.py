"""Policies: what they decide is sent once, and is on stderr and in the log before; `policy check`, `test`, `log`."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import httpx
import pytest

from qoder_cli.sandbox.world import World
from qoder_cli.sessions import by_policy
from tests.conftest import TOKEN, Qoder
from tests.support.asking import Asking, Event, call
from tests.support.things import ok, refusal
from tests.support.wire import api_error, page

RULES = """\
work: /repo
allow:
  - run: echo 1
deny:
  - run: echo 2
    because: not two
"""
WAIT = ("run", "wait", "drun_1", "--json")
CALL = '--call {"name":"Bash","input":{"command":"ls"}}'


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(RULES)
    file.chmod(0o600)
    return file


def by(policy: Path, *more: str) -> tuple[str, ...]:
    return (*WAIT, "--on-ask", f"policy={policy}", *more)


def reply(number: int, result: str, **more: str) -> Event:
    return {"type": "user.tool_confirmation", "tool_use_id": f"evt_{number}", "result": result, **more}


def logged(qoder: Qoder) -> list[tuple[str, str, str]]:
    return sorted((one["call"], one["answer"], one["state"]) for one in qoder("policy", "log", "--json").json)


def test_run_wait_by_a_policy_sends_only_what_it_decides(qoder: Qoder, server: Asking, policy: Path) -> None:
    server.asks("sess_1", call(1), call(2), call(3))
    ran = qoder(*by(policy, "--no-progress"))  # what a policy answers is always said
    assert (ran.code, ran.error["type"]) == (11, "needs_answer")
    assert ran.error["message"] == "run drun_1 waits for an answer to evt_3"
    assert sum(qoder.clock.slept) < {"legacy": 20, "current": 1}[server.world.generation]  # it has waited before
    assert server.sent == [{"events": [reply(1, "allow"), reply(2, "deny", deny_message="not two")]}]
    assert ran.json["requires_action"] == {"event_ids": ["evt_3"]}
    hash = sha256(policy.read_bytes()).hexdigest()
    assert f"{policy} {hash[:12]} line 3 allows Bash echo 1 (evt_1)\n" in ran.err
    assert f"{policy} {hash[:12]} line 5 denies Bash echo 2 (evt_2)\n" in ran.err
    [denied, allowed] = sorted(qoder("policy", "log", "--json").json, key=lambda one: str(one["answer"] == "allow"))
    wanted = {"run": "drun_1", "session": "sess_1", "call": "evt_1", "rule": "allow run: echo 1", "line": 3}
    wanted |= {"file": str(policy), "policy_sha256": hash, "state": "sent", "input": "echo 1", "name": "Bash"}
    assert {name: allowed[name] for name in wanted} == wanted
    assert (denied["call"], denied["rule"]) == ("evt_2", "deny run: echo 2")
    log, one = qoder("policy", "log"), qoder("policy", "log", "--limit", "1")
    assert "\tdrun_1\tsess_1\tevt_1\tBash\techo 1\tallow\tallow run: echo 1\t3\t" in log.out
    assert (log.err, one.out.count("\n"), one.err) == ("", 1, "1 shown, more match; --all shows them\n")


class Case(NamedTuple):
    """The calls of a session, how a wait by a policy ends, what is sent, and said; `bent` changes the server."""

    calls: list[Event]
    code: int
    sent: list[Event]
    says: str = ""
    rules: str = RULES
    bent: Callable[[Asking], object] = lambda server: None


def undated(server: Asking) -> None:
    server.tells(lambda events: [{**each, "processed_at": None, "created_at": None} for each in events])


def without_a_past(server: Asking) -> None:
    """Let nobody read what the agent did before."""

    def told(request: httpx.Request, answer: Callable[[], httpx.Response]) -> httpx.Response:
        asks_for = request.url.params.get_list("types[]")
        return refusal(500, "api_error", "no") if asks_for == ["agent.tool_use", "user.tool_confirmation"] else answer()

    server.lie = told


ONE, ALLOWED = [call(1)], [reply(1, "allow")]
BESIDE_A_CD = [call(4, input={"command": "cd /tmp && echo 9"}), call(1)]
BESIDE_A_HIDDEN_CD = [call(4, input={"command": f"cd /tmp && echo 9 '{TOKEN}'"}), call(1)]  # a person may allow it
WITH_A_SECRET = [call(1, input={"command": f"echo {TOKEN}"})]
TWO = reply(2, "deny", deny_message="A rule denies this: run: echo 2")
NINE = reply(4, "deny", deny_message="A rule denies this: run: echo 9")
CASES = {
    "a rule without a reason": Case([call(2)], 0, [TWO], "", "deny: [{run: echo 2}]"),
    "asked nobody knows when": Case(ONE, 0, ALLOWED, bent=undated),
    "another deployment": Case(ONE, 11, [], "the policy is for other deployments", f"{RULES}deployments: [dep_2]\n"),
    "its deployment": Case(ONE, 0, ALLOWED, "", f"{RULES}deployments: [dep_1]\n"),
    "asked again": Case(
        *(ONE, 11, ALLOWED, "a policy has answered it before, and it is asked again"),
        bent=lambda server: setattr(server, "asks_again", 1),
    ),
    "cannot be read at once": Case(
        *(ONE, 0, ALLOWED, "what the agent waits for cannot be read: "), bent=Asking.refuses_one_look
    ),
    "a secret that would be shown": Case(WITH_A_SECRET, 11, [], "", "work: /\nallow: [{read: /}]"),
    "a secret in what is denied": Case(WITH_A_SECRET, 11, [], "", "deny: [{tool: Bash}]"),
    "a cd that waits beside": Case(BESIDE_A_CD, 11, []),
    "a cd beside that is denied": Case(BESIDE_A_CD, 0, [NINE, *ALLOWED], "", f"{RULES}  - run: echo 9\n"),
    "a denied cd beside that is left": Case(BESIDE_A_HIDDEN_CD, 11, [], "", f"{RULES}  - run: echo 9\n"),
    "nobody knows where the shell is": Case(ONE, 11, [], "the shell may be in another folder", bent=without_a_past),
}


@pytest.mark.parametrize("name", CASES)
def test_run_wait_by_a_policy_sends_what_its_rules_say_and_no_more(
    qoder: Qoder, server: Asking, policy: Path, name: str
) -> None:
    case = CASES[name]
    policy.write_text(case.rules)
    server.asks("sess_1", *case.calls)
    case.bent(server)
    ran = qoder(*by(policy))
    assert (ran.code, [event for body in server.sent for event in body["events"]]) == (case.code, case.sent), ran.err
    assert (case.says in ran.err, TOKEN in ran.err) == (True, False)


def test_run_logs_follow_and_send_go_on_by_a_policy(qoder: Qoder, server: Asking, policy: Path) -> None:
    server.asks("sess_1", call(1))
    assert qoder("run", "logs", "drun_1", "--follow", "--policy", str(policy)).code == 0
    server.asks("sess_2", call(2))
    sent = qoder("session", "send", "sess_2", "-m", "go on", "--when-idle", "--policy", str(policy), "--json")
    assert (sent.code, server.sent[1:2]) == (0, [{"events": [reply(2, "deny", deny_message="not two")]}])


def test_run_wait_with_on_ask_wait_leaves_the_rest_to_somebody_else(qoder: Qoder, server: Asking, policy: Path) -> None:
    server.asks("sess_1", call(1), call(3))
    server.late.append(lambda: setattr(server, "lag", 40.0))
    ran = qoder(*WAIT, "--on-ask", "wait", "--policy", str(policy), "--timeout", "1m")
    assert (ran.code, len(server.sent), ran.err.count("left for a person: ")) == (124, 1, 1)
    assert ("evt_1 was answered, which" in ran.err, "(evt_3): no `read` covers it\n" in ran.err) == (True, True)
    assert ran.error["next"][-4:] == ["--policy", str(policy), "-o", "json"]


def test_run_wait_reads_the_policy_once(qoder: Qoder, server: Asking, policy: Path) -> None:
    server.asks("sess_1", call(1))
    hash = sha256(policy.read_bytes()).hexdigest()
    server.lie = lambda request, answer: (policy.write_text("deny: [{tool: '*'}]"), answer())[1]
    assert (qoder(*by(policy)).code, server.sent) == (0, [{"events": [reply(1, "allow")]}])
    assert [one["policy_sha256"] for one in qoder("policy", "log", "--json").json] == [hash]


def test_run_wait_takes_no_policy_where_nothing_may_be_written(qoder: Qoder, policy: Path) -> None:
    qoder.env["QODER_READ_ONLY"] = "1"
    ran = qoder(*by(policy))
    assert (ran.code, "QODER_READ_ONLY" in ran.err) == (2, True)


def test_run_wait_sends_nothing_that_it_cannot_store(
    qoder: Qoder, server: Asking, policy: Path, tmp_path: Path
) -> None:
    qoder.env["QODER_STATE_DIR"] = str(policy / "state")  # below a file
    server.asks("sess_1", call(1))
    ran = qoder(*by(policy))
    assert (ran.code, server.sent) == (11, [])
    assert "cannot be stored on this machine" in ran.err


# Once, whatever happens.


def test_run_wait_after_a_lost_decision_never_sends_it_again(qoder: Qoder, server: Asking, policy: Path) -> None:
    server.asks("sess_1", call(1))
    server.faults.add("send:drop-before")
    assert (qoder(*by(policy)).code, logged(qoder)) == (9, [("evt_1", "allow", "sending")])
    began = qoder.clock.time
    ran = qoder(*by(policy))
    assert (ran.code, len(server.sent), logged(qoder)) == (9, 1, [("evt_1", "allow", "sending")])
    assert 30 <= qoder.clock.time - began < 50
    assert ran.error["next"] == ["qoder", "run", "pending", "sess_1", "-o", "json"]
    server.colleague("evt_1")
    assert (qoder(*by(policy)).code, len(server.sent)) == (0, 1)


def test_run_wait_finds_the_decision_of_a_command_that_was_killed(qoder: Qoder, server: Asking, policy: Path) -> None:
    server.asks("sess_1", call(1), call(3))
    server.lag = 20.0
    server.faults.add("send:drop-after")
    assert qoder(*by(policy)).code == 9
    ran = qoder(*by(policy))
    assert (ran.code, ran.json["requires_action"]) == (11, {"event_ids": ["evt_3"]})
    assert (server.taken, logged(qoder)[0][2] in ("sent", "gone")) == ({"evt_1": 1}, True)


def test_run_wait_twice_at_once_sends_each_decision_once(qoder: Qoder, server: Asking, policy: Path) -> None:
    server.asks("sess_1", call(1))
    others: list[int] = []
    server.meanwhile.append(lambda: others.append(qoder(*by(policy)).code))
    assert (qoder(*by(policy)).code, others) == (0, [9])
    assert dict(server.taken) == {"evt_1": 1}


def test_run_wait_sends_no_decision_that_another_command_noted_right_before(
    qoder: Qoder, server: Asking, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.asks("sess_1", call(1))
    server.lenient = True
    server.late.append(lambda: setattr(server, "lag", 20.0))
    noted, others = by_policy.kept_decisions, [by(policy)]

    def noted_before(*about: Any, **where: Any) -> Any:
        """Return what is noted, and let the other command run right after that."""
        rows = noted(*about, **where)
        if others:
            qoder(*others.pop())
        return rows

    monkeypatch.setattr(by_policy, "kept_decisions", noted_before)
    assert (qoder(*by(policy)).code, others, server.taken) == (0, [], {"evt_1": 1})


@pytest.mark.parametrize("at", range(8))
@pytest.mark.few(3)
def test_run_wait_sends_a_decision_only_about_the_call_as_it_was_last_shown(
    qoder: Qoder, server: Asking, policy: Path, at: int
) -> None:
    server.asks("sess_1", call(1))
    shown: list[str] = []

    def told(events: list[Event]) -> list[Event]:
        if any(event["id"] == "evt_1" for event in events) and not server.sent:
            shown.append("echo 1" if len(shown) < at else "echo 9")
        other = {"input": {"command": (shown or ["echo 9"])[-1]}}
        return [{**event, **other} if event["id"] == "evt_1" else event for event in events]

    server.tells(told)
    code = qoder(*by(policy)).code
    assert (code, bool(server.sent)) in ((11, False), (0, True))
    assert shown[-1] == "echo 1" if server.sent else "echo 9" in shown


def asks_again(server: Asking, *calls: Event) -> None:
    """Let the agent of a session stop once more, for these calls."""
    stop = {"type": "requires_action", "event_ids": [each["id"] for each in calls]}
    idle = {"type": "session.status_idle", "stop_reason": stop}
    server.tell(server.sessions["sess_1"], server.world.now() - 0.001, {"type": "session.status_running"}, *calls, idle)


@pytest.mark.parametrize("later", [1, 61])
def test_run_wait_looks_for_no_decision_on_what_was_asked_before(
    qoder: Qoder, server: Asking, policy: Path, later: float
) -> None:
    """However long ago: the call is asked about again, beside one that another command has not seen."""
    server.asks("sess_1", call(1), call(3))
    assert (qoder(*by(policy)).code, server.taken) == (11, {"evt_1": 1})
    qoder.clock.time += later
    asks_again(server, call(1), call(2))
    ran = qoder(*by(policy))
    assert (ran.code, server.taken) == (11, {"evt_1": 1, "evt_2": 1})
    assert "it is asked again" in ran.err
    assert "does not show; looking for it" not in ran.err
    assert (qoder(*by(policy)).code, logged(qoder)[1]) == (11, ("evt_2", "deny", "sent"))


def test_run_wait_approves_nothing_beside_a_cd_that_it_denied_and_that_is_asked_again(
    qoder: Qoder, server: Asking, policy: Path
) -> None:
    policy.write_text(f"{RULES}  - run: echo 9\n")
    cd, relative = BESIDE_A_CD
    server.asks("sess_1", cd, call(3))
    assert (qoder(*by(policy)).code, server.taken) == (11, {"evt_4": 1})
    qoder.clock.time += 1
    asks_again(server, cd, relative)
    ran = qoder(*by(policy))
    assert (ran.code, server.taken, "it is asked again" in ran.err) == (11, {"evt_4": 1}, True)


@pytest.mark.parametrize(("later", "is_looked_for"), [(60.0, False), (60.1, True)])
def test_run_wait_looks_after_a_minute_for_a_decision_that_does_not_show(
    qoder: Qoder, policy: Path, later: float, is_looked_for: bool
) -> None:
    server, qoder.clock.time = Asking(qoder), 1_800_000_000.0
    before = {moment.beat.fields["id"] for moment in server.asks("sess_1", call(1), call(3)).moments}
    assert qoder(*by(policy)).code == 11
    server.tells(lambda events: [each for each in events if each["id"] in before])
    qoder.clock.time += later
    qoder.clock.at_sleep = server.lies.clear
    policy.write_text(RULES.replace("echo 1", "echo 7"))
    ran = qoder(*by(policy))
    assert (ran.code, "does not show; looking for it" in ran.err) == (11, is_looked_for)
    assert "left for a person: Bash (evt_3)" in ran.err
    assert "left for a person: Bash (evt_1)" not in ran.err


def test_run_wait_looks_for_a_decision_that_was_thought_to_be_over(qoder: Qoder, server: Asking, policy: Path) -> None:
    server.asks("sess_1", call(1), call(3))
    server.faults.add("send:drop-before")
    assert (qoder(*by(policy)).code, logged(qoder)) == (9, [("evt_1", "allow", "sending")])
    server.stops({"type": "requires_action", "event_ids": ["evt_3"]})
    assert (qoder(*by(policy)).code, logged(qoder)) == (11, [("evt_1", "allow", "gone")])
    server.lies.clear()
    assert (qoder(*by(policy)).code, len(server.sent)) == (9, 1)


def test_run_wait_leaves_to_a_person_what_was_refused_twice(qoder: Qoder, server: Asking, policy: Path) -> None:
    server.asks("sess_1", call(1))
    server.faults.add("send:400*9")
    ran = qoder(*by(policy))
    assert (ran.code, len(server.sent), logged(qoder)) == (11, 2, [])
    assert "Bash (evt_1): the answer to it was refused" in ran.err
    assert ran.err.count("warning: HTTP 400 from api.qoder.com: ") == 2


def test_run_wait_leaves_what_cannot_be_read_to_a_person(qoder: Qoder, server: Asking, policy: Path) -> None:
    server.asks("sess_1", call(1, session_thread_id=5))
    assert (qoder(*by(policy)).code, server.sent) == (11, [])
    pending = ("session", "pending", "sess_1", "--policy", str(policy), "--json")
    [row] = qoder(*pending).json
    assert (row["policy"]["answer"], row["policy"]["why"]) == ("ask", "it cannot be read in full")
    server.asks("sess_1", call(1, session_thread_id=5), call(2))
    answers = {row["call"]: (row["policy"]["answer"], row["policy"]["why"]) for row in qoder(*pending).json}
    assert answers == {"evt_1": ("ask", "it cannot be read in full"), "evt_2": ("deny", None)}


@pytest.mark.parametrize(
    ("how", "ids", "sent"), [("policy", None, 0), ("prompt", None, 0), ("policy", ["evt_1", {"id": "evt_3"}], 1)]
)
def test_run_wait_exits_11_where_nobody_can_see_which_call_waits(
    qoder: Qoder, server: Asking, policy: Path, types: Callable[[str], None], how: str, ids: Any, sent: int
) -> None:
    types("y")
    server.asks("sess_1", call(1, evaluated_permission=None), call(3, evaluated_permission=None))
    server.stops({"type": "requires_action", "event_ids": ids})
    ran = qoder(*(by(policy) if how == "policy" else (*WAIT, "--on-ask", "prompt")), "--timeout", "10m")
    assert (ran.code, len(server.sent)) == (11, sent), ran.err


@pytest.mark.parametrize("theirs", ["deny", "allow"])
def test_run_wait_by_a_policy_sends_the_rest_where_a_colleague_was_faster_with_one_of_two(
    qoder: Qoder, server: Asking, policy: Path, theirs: str
) -> None:
    server.asks("sess_1", call(1), call(2))
    server.faults.add("send:400")
    server.meanwhile.append(lambda: server.colleague("evt_1", theirs))
    ran = qoder(*by(policy))
    assert (ran.code, "evt_1 no longer waits: it was" in ran.err) == (0, True), ran.err
    assert server.ours == {"evt_2": 1}
    states = {row["call"]: row["state"] for row in qoder("policy", "log", "--json").json}
    assert states == {"evt_1": "gone", "evt_2": "sent"}


def test_run_wait_by_a_policy_approves_nothing_beside_a_cd_that_a_colleague_allowed_meanwhile(
    qoder: Qoder, server: Asking, policy: Path
) -> None:
    policy.write_text(f"{RULES}  - run: echo 9\n")
    server.asks("sess_1", *BESIDE_A_CD)
    server.faults.add("send:400")
    server.meanwhile.append(lambda: server.colleague("evt_4", "allow"))
    assert (qoder(*by(policy)).code, server.ours) == (11, {})


# Whose call it is, and what it hides.


@pytest.mark.parametrize(
    ("of_call", "of_tools", "tool", "field", "code"),
    [
        *(("git", "git", "Frob", "n", 0), ("git", "git", "Frob", "m", 11), ("git", "git", "Grab", "n", 11)),
        *(("git", "hub", "Frob", "n", 11), ("git", None, "Frob", "n", 11), (None, None, "Frob", "n", 11)),
    ],
)
@pytest.mark.few(3)
def test_run_wait_by_a_policy_allows_the_fields_that_the_agent_says_of_a_servers_tool(
    qoder: Qoder,
    server: Asking,
    policy: Path,
    of_call: str | None,
    of_tools: str | None,
    tool: str,
    field: str,
    code: int,
) -> None:
    policy.write_text("allow: [{tool: mcp__git__Frob}]")
    kind = "agent.mcp_tool_use" if of_call else "agent.tool_use"
    server.asks("sess_1", call(1, "Frob", kind, mcp_server_name=of_call, input={"n": 1}))
    configs = [{"name": tool, "input_schema": {"properties": {field: {}}}}]
    agent = {"tools": [{"type": "mcp_toolset", "mcp_server_name": of_tools, "configs": configs}]}
    server.lies["GET /sessions/sess_1"] = lambda session: session | {"agent": agent}
    assert qoder(*by(policy)).code == code


@pytest.mark.parametrize(
    ("threads", "code"),
    [
        (None, 11),
        ([], 11),
        ([{"id": "sthr_1", "parent_thread_id": "sthr_0"}], 11),
        ([{"id": "sthr_1", "parent_thread_id": None}], 0),
        ([{"id": "sthr_1"}, {"id": "sthr_2", "parent_thread_id": "sthr_1"}], 0),
        ([{"id": "sthr_1"}, {"id": "sthr_2"}], 11),
    ],
)
@pytest.mark.few(3)
def test_run_wait_by_a_policy_allows_only_what_is_certainly_the_main_agents(
    qoder: Qoder, server: Asking, policy: Path, threads: list[Any] | None, code: int
) -> None:
    server.asks("sess_1", call(1, session_thread_id="sthr_1"))
    response = refusal(501, "feature_not_available", "No threads here.") if threads is None else ok(page(*threads))
    server.instead["GET /sessions/sess_1/threads"] = [response] * 9
    assert qoder(*by(policy)).code == code


@pytest.mark.parametrize("is_behind", [True, False])
@pytest.mark.parametrize(("thread", "answer"), [("sthr_1", "allow"), ("sthr_2", "ask")])
def test_run_pending_by_a_policy_finds_the_thread_of_a_call_that_names_none(
    qoder: Qoder, server: Asking, policy: Path, thread: str, answer: str, is_behind: bool
) -> None:
    session = server.asks("sess_1", call(1))
    stop = {"stop_reason": {"type": "requires_action", "event_ids": ["evt_1"]}, "session_thread_id": thread}
    server.tell(session, server.world.now() - 52, {"type": "session.thread_status_idle", **stop})
    if is_behind:
        server.tell(session, server.world.now() - 20, {"type": "session.status_running"})
    main = {"id": "sthr_1", "status": "running", "parent_thread_id": None}
    sub = {"id": "sthr_2", "status": "running", "parent_thread_id": "sthr_1"}
    server.instead["GET /sessions/sess_1/threads"] = [ok(page(main, sub))] * 2
    [row] = qoder("session", "pending", "sess_1", "--policy", str(policy), "--json").json
    assert row["policy"]["answer"] == answer


@pytest.mark.parametrize("how", ["policy", "prompt"])
def test_run_wait_exits_11_for_a_sub_agent_though_threads_may_not_be_listed(
    qoder: Qoder, server: Asking, policy: Path, types: Callable[[str], None], how: str
) -> None:
    types("y")
    session = server.sub_agent_asks("sess_1", call(1, session_thread_id="sthr_2"), calls=0)
    ended = next(moment for moment in session.moments if moment.beat.fields.get("stop_reason") == {"type": "end_turn"})
    session.moments.remove(ended)
    server.lie = lambda asked, answer: (
        refusal(403, "permission_error", "No.") if asked.url.path.endswith("/threads") else answer()
    )
    ran = qoder(*(by(policy) if how == "policy" else (*WAIT, "--on-ask", "prompt")), "--timeout", "10m")
    assert (ran.code, server.sent) == (11, []), ran.err


# Beforehand, and afterwards.


def test_deploy_run_by_a_policy_completes_with_nobody_there(qoder: Qoder, world: World, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    rules = "work: /repo\nallow: [{run: git status}]\ndeny: [{run: git push, because: no}, {run: rm}]"
    policy.write_text(f"{rules}\ndeployments: [askmany]")
    ran = qoder("deploy", "run", "dep_askmany", "--wait", "--result", "--on-ask", f"policy={policy}")
    assert (ran.code, ran.out.splitlines()[:2]) == (
        0,
        ["I ran 'git status'.", "I did not run 'git push origin main': no"],
    )
    for deployment, calls in (("askmany", [(2, "allow", 1), (3, "deny", 1), (3, "deny", 1)]), ("demo", [])):
        policy.write_text(f"{rules}\ndeployments: [{deployment}]")
        tested = qoder("policy", "test", str(policy), "--since", "1d", "--json").json
        assert [(row["line"], row["answer"], row["calls"]) for row in tested] == calls


def test_policy_test_counts_an_age_by_the_servers_clock(qoder: Qoder, server: Asking, policy: Path) -> None:
    server.asks("sess_1", call(1))
    qoder.clock.time, server.world.skew = qoder.clock.time + 7200, -7200
    assert len(qoder("policy", "test", str(policy), "--since", "1h", "--json").json) == 1


def test_policy_test_counts_what_is_left_for_a_person_by_command(qoder: Qoder, server: Asking, policy: Path) -> None:
    log = [call(number, input={"command": f"git log -{number}"}) for number in (4, 5)]
    odd = [call(6, input={"command": "a $b"}), call(7, kind="agent.custom_tool_use", name="lookup")]
    tool = call(8, "get_x", kind="agent.mcp_tool_use", mcp_server_name="hub", input={"a": 1})
    server.asks("sess_1", call(1), *log, *odd, tool, {**call(9), "name": 7})
    for words in (("drun_1",), ("sess_1",), ("--since", "1d", "dep_1")):
        rows = qoder("policy", "test", str(policy), *words, "--json").json
        found = {row["example"]: (row["answer"], row["line"], row["calls"], row["group"]) for row in rows}
        assert found == {
            "Bash: echo 1": ("allow", 3, 1, None),
            "Bash: a $b": ("ask", None, 1, "a command that cannot be read"),
            "Bash: git log -4": ("ask", None, 2, "git log"),
            "lookup: echo 7": ("ask", None, 1, "lookup"),
            None: ("ask", None, 1, None),  # what cannot be read
            'hub/get_x: {"a":1}': ("ask", None, 1, "hub/get_x"),
        }
    assert server.sent == []


def test_policy_test_says_that_what_was_typed_cannot_be_read(qoder: Qoder, policy: Path) -> None:
    qoder.wire.on("GET", "/deployment_runs/drun_1", {})
    ran = qoder("policy", "test", str(policy), "drun_1")
    assert (ran.code, "the response is not run drun_1" in ran.err) == (7, True)
    qoder.wire.on("GET", "/sessions/sess_1", api_error(404, "not_found_error", "No."))
    assert qoder("policy", "test", str(policy), "sess_1").code == 5


def test_policy_test_expects_decisions_and_exits_8_where_one_differs(qoder: Qoder, policy: Path) -> None:
    cases = policy.with_name("cases.yaml")
    cases.write_text("- {command: echo 1, answer: allow}\n- {name: Read, input: {path: /x}, answer: ask}\n")
    assert qoder("policy", "test", str(policy), "--expect", str(cases)).code == 0
    cases.write_text(f"{cases.read_text()}- {{command: echo 2, answer: allow}}\n")
    ran = qoder("policy", "test", str(policy), "--expect", str(cases), "--json")
    assert (ran.code, ran.json[2]["answer"], ran.json[2]["line"]) == (8, "deny", 5)
    given = json.dumps({"name": "Bash", "input": {"command": "echo 1"}})
    [row] = qoder("policy", "test", str(policy), "--call", given, "--json").json
    assert row["answer"] == "allow"
    twice = '{"name": "Bash", "input": {"command": "echo 2", "command": "echo 1"}}'
    assert qoder("policy", "test", str(policy), "--call", twice, "--json").json[0]["answer"] == "ask"


NO_CALLS = {
    "twice": '{"name": "Bash", "name": "Read", "input": {"command": "echo 1"}}',
    "unknown": '{"name": "Bash", "input": {"command": "echo 1"}, "nmae": "x"}',
    "no kind": '{"name": "Bash", "input": {"command": "echo 1"}, "kind": ""}',
    "no type": '{"name": "Bash", "input": {"command": "echo 1"}, "type": "agent.message"}',
    "two kinds": '{"name": "Bash", "input": {"command": "echo 1"}, "type": "agent.custom_tool_use", "kind": "tool"}',
}


def test_policy_test_reads_a_call_as_it_is_decided(qoder: Qoder, server: Asking, policy: Path) -> None:
    server.asks("sess_1", call(1))
    [pending] = qoder("run", "pending", "drun_1", "--policy", str(policy), "--json").json
    events = {"allow": pending, "ask": call(1, session_thread_id="sthr_1"), "deny": call(2)}
    for answer, given in {**events, "": call(1, kind="agent.custom_tool_use")}.items():
        [row] = qoder("policy", "test", str(policy), "--call", json.dumps(given), "--json").json
        assert row["answer"] == (answer or "ask")
    codes = {name: qoder("policy", "test", str(policy), "--call", given).code for name, given in NO_CALLS.items()}
    assert codes == dict.fromkeys(NO_CALLS, 2)


WRONG_CASES = {
    "{}": "1: must be a list of calls",
    "[x]": "1: [0]: must be a call with `answer`",
    "[{command: ls}]": "1: [0].answer: must be one of allow, deny, ask",
    "[{command: ls, name: x, answer: ask}]": "1: [0]: must have either `command`, or `name` and `input`",
    "[{comand: ls, answer: ask}]": "1: [0].comand: unknown field",
    "[{name: x, kind: y, answer: ask}]": "1: [0]: a call must have a `name`",
}


@pytest.mark.parametrize("text", WRONG_CASES)
def test_policy_test_refuses_wrong_expectations_with_the_line(qoder: Qoder, policy: Path, text: str) -> None:
    cases = policy.with_name("cases.yaml")
    cases.write_text(text)
    ran = qoder("policy", "test", str(policy), "--expect", str(cases))
    assert (ran.code, f"cases.yaml:{WRONG_CASES[text]}" in ran.err) == (2, True), ran.err


@pytest.mark.parametrize("words", ["", f"--since 1d {CALL}", f"drun_1 {CALL}", "--call x", "--call []"])
def test_policy_test_refuses_what_does_not_go_together(qoder: Qoder, policy: Path, words: str) -> None:
    assert qoder("policy", "test", str(policy), *words.split()).code == 2
    assert qoder("policy", "test", str(policy), *CALL.split()).code == 0


def test_run_pending_shows_what_a_policy_would_decide(qoder: Qoder, server: Asking, policy: Path) -> None:
    server.asks("sess_1", call(1), call(2), call(3))
    shown = qoder("run", "pending", "drun_1", "--policy", str(policy))
    assert [line.split("\t")[-1] for line in shown.out.splitlines()] == ["allow (line 3)", "deny (line 5)", "ask"]
    rows = qoder("run", "pending", "--policy", str(policy), "--json").json
    assert [(row["policy"]["answer"], row["policy"]["line"]) for row in rows] == [
        ("allow", 3),
        ("deny", 5),
        ("ask", None),
    ]
    assert "policy" not in qoder("run", "pending", "--json").json[0]


@pytest.mark.parametrize(
    ("name", "members", "mode", "is_trusted"),
    [
        *(("me", [], 0o620, True), ("me", ["me"], 0o620, True), ("me", ["me", "you"], 0o620, False)),
        *(("us", [], 0o620, False), ("us", [], 0o640, True), ("", [], 0o620, False)),
    ],
)
def test_policy_check_trusts_a_group_that_is_its_owners_own(
    qoder: Qoder,
    policy: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    members: list[str],
    mode: int,
    is_trusted: bool,
) -> None:
    groups = {policy.stat().st_gid: SimpleNamespace(gr_name=name, gr_mem=members)} if name else {}
    monkeypatch.setattr("pwd.getpwuid", lambda uid: SimpleNamespace(pw_name="me"))
    monkeypatch.setattr("grp.getgrgid", groups.__getitem__)
    policy.chmod(mode)
    assert (f"others may write {policy}" in qoder("policy", "check", str(policy)).err) != is_trusted


def test_policy_check_reads_each_rule_aloud(qoder: Qoder, policy: Path) -> None:
    policy.write_text(f"{RULES}deployments: [nightly]\n")
    checked = qoder("policy", "check", str(policy), "--json").json
    assert [(rule["line"], rule["rule"]) for rule in checked["rules"]] == [
        (3, "allow run: echo 1"),
        (5, "deny run: echo 2"),
    ]
    assert checked["deployments"] == ["nightly"]
    says = f"line 3: allow run: echo 1: {checked['rules'][0]['says']}"
    assert says in qoder("policy", "check", str(policy)).out
    assert checked["sha256"] == sha256(policy.read_bytes()).hexdigest()
    policy.chmod(0o622)
    assert "others may write" in qoder("policy", "check", str(policy)).err
    policy.write_text("allow: [{reed: /x}]")
    ran = qoder("policy", "check", str(policy))
    assert (ran.code, "policy.yaml:1: allow[0].reed: unknown field; did you mean read?" in ran.err) == (2, True)


LINKS = "and below, and where a link there leads"
GIT = "git shows what /repo, which is taken for the top of its repository, and its history hold, and starts what its"
LEFT = "is left for a person"
TOO = "behind `python -m`, `uv run` or `poetry run`, too, which run and install what work says"
LOADS = "so the agent can change what this runs"
NEVER = "never allows anything"
# What the first rule of some says at its end, and what it opens besides.
ALOUD: dict[str, tuple[str, str]] = {
    "allow: [{read: /}]": (f" in / {LINKS}; {GIT} config names", "covers /proc, where other programs show their"),
    "allow: [{read: /proc/1}]": (f" in /proc/1 {LINKS}", "covers /proc, where other programs show their"),
    "allow: [{read: /repo}]\ndeny: [{path: /x}]": (f" in /repo {LINKS}; {GIT} config names", ""),
    "allow: [{read: /repo}, {write: /repo/a}]\ndeny: [{path: /repo/b}]": (
        f" in /repo {LINKS}; what looks through folders above /repo/b (Grep, grep -r, find) {LEFT};"
        f" what prints the repository (git diff, git show) {LEFT}; {GIT} config names;"
        " if that is in /repo/a, which line 2 covers, the agent can change it",
        "",
    ),
    "allow: [{read: /repo/a}]\ndeny: [{path: /repo}]": ("allows nothing", f"{NEVER}: line 3 denies /repo"),
    "allow: [{write: /usr/x}]": (
        "; a link there leads out of it",
        "covers /usr, or a part: there are programs and their",
    ),
    "allow: [{write: /repo/.git}]": ("of it", "covers git's config, so no command of git is allowed"),
    "allow: [{write: /repo/.x}]": ("of it", "covers a hidden folder, where programs keep their configs"),
    "allow: [{write: /repo}]": ("of it", ""),
    "allow: [{fetch: '*.com'}]": (
        "https://com and of the hosts below it; a page may lead elsewhere",
        "every host in .com",
    ),
    "allow: [{fetch: '*.example.com'}]": (
        "https://example.com and of the hosts below it; a page may lead elsewhere",
        "",
    ),
    "allow: [{fetch: com}]": ("allows WebFetch of https://com; a page may lead elsewhere", ""),
    "allow: [{search: web}]": ("allows WebSearch, which sends what is searched for", ""),
    "allow: [{tool: mcp__hub__*}]": ("with the fields of its input_schema", "every tool that hub has, or will have"),
    "allow: [{tool: mcp__hub__get_*, fields: [b, a]}]": (
        "allows get_* of the MCP server hub, with the fields a, b",
        "",
    ),
    "allow: [{run: make all}]\ndeny: [{path: /x}]": (
        "in /repo; `qoder` does not know what it does; it may open /x by itself, whatever line 3 denies",
        "",
    ),
    "allow: [{run: cat a}]\ndeny: [{path: /x}]": ("allows exactly this command, in /repo", ""),
    "allow: [{run: cat *}]": ("options", f"{NEVER}: its operands must be inside `read`, and there is none"),
    "allow: [{run: cat *}, {read: /repo}]": ("allows cat, operands inside `read`, and harmless options", ""),
    "allow: [{run: pytest *}, {write: /repo/a}]": (f"with --cov, .coverage; {TOO}", f"files in /repo/a, {LOADS}"),
    "allow: [{run: git push}]\ndeny: [{run: git}]": ("not know what it does", f"{NEVER}: deny run: git"),
    "allow: [{run: /opt/x/go y}, {write: /opt/x}]": (
        "not know what it does",
        f"line 2 covers files in /opt/x, {LOADS}",
    ),
    "allow: [{run: /opt/x/go y}, {write: /repo}]": ("not know what it does", f"line 2 covers files in /repo, {LOADS}"),
    "allow: [{run: cat a}, {write: /repo}]": ("allows exactly this command, in /repo", ""),
    "deny: [{run: git push}]": (f"that begins with `git push`; one with these words elsewhere {LEFT}", ""),
    "deny: [{path: /x}]": (f"denies what names /x or what is below it; what may reach it {LEFT}", ""),
    "deny: [{fetch: x.com}]": (f"denies WebFetch of x.com and below; any other call that has it {LEFT}", ""),
    "deny: [{tool: 'a*'}]": (f"denies tools called a*, built in or of a server; one in other capitals {LEFT}", ""),
    "deny: [{text: abc}]": (f"denies a call with this in a value; one that has it written otherwise {LEFT}", ""),
}


@pytest.mark.parametrize("rules", ALOUD)
@pytest.mark.few(15)
def test_policy_check_says_what_a_rule_means_and_opens(qoder: Qoder, policy: Path, rules: str) -> None:
    policy.write_text(f"work: /repo\n{rules}")
    rule = qoder("policy", "check", str(policy), "--json").json["rules"][0]
    says, warning = ALOUD[rules]
    assert rule["says"].endswith(says)
    assert [warning in told for told in rule["warnings"]] == [True] * (warning != "")


def test_policy_check_strict_exits_8_where_a_rule_opens_more(qoder: Qoder, policy: Path) -> None:
    assert qoder("policy", "check", str(policy), "--strict").code == 0
    policy.write_text("work: /repo\nallow: [{run: npm test}, {write: /repo}]")
    ran = qoder("policy", "check", str(policy), "--strict", "--json")
    [npm, write] = ran.json["rules"]
    assert (ran.code, len(npm["warnings"]), write["warnings"]) == (8, 1, [])
    assert "runs the scripts of package.json" in npm["says"]
    assert qoder("policy", "check", str(policy)).code == 0


@pytest.fixture
def types(monkeypatch: pytest.MonkeyPatch, questions: Callable[..., list[str]]) -> Callable[[str], None]:
    """Return what lets a person answer the questions to come with these letters."""
    questions()

    def answers(letters: str) -> None:
        left = iter(letters)
        monkeypatch.setattr("qoder_cli.sessions.question.ask", lambda *_, **__: next(left))

    return answers


def test_run_wait_prompts_about_what_a_policy_leaves(
    qoder: Qoder, server: Asking, policy: Path, types: Callable[[str], None]
) -> None:
    types("y")
    server.asks("sess_1", call(1), call(3))
    assert qoder(*WAIT, "--on-ask", "prompt", "--policy", str(policy)).code == 0
    assert server.sent == [{"events": [reply(1, "allow")]}, {"events": [reply(3, "allow")]}]


# Where the shell is.


@pytest.mark.parametrize(
    ("command", "answers", "code"),  # what the agent asked for a while ago, and what was said to it
    [
        *(("cd /tmp", ["allow"], 11), ("x; c'd' y", ["allow"], 11), ("$X y", ["allow"], 11)),
        *(("cd /tmp", ["deny"], 0), ("cd /repo && ls", ["allow"], 0)),
        *(("cd /tmp", ["allow", "deny"], 11), ("cd /tmp", ["deny", "allow"], 11)),  # somebody allowed it
    ],
)
@pytest.mark.few(6)
def test_run_wait_by_a_policy_allows_no_command_where_the_shell_may_be_elsewhere(
    qoder: Qoder, server: Asking, policy: Path, command: str, answers: list[str], code: int
) -> None:
    session, before = server.asks("sess_1", call(1)), call(90, input={"command": command})
    server.tell(session, server.world.now() - 58, before, *(reply(90, answer) for answer in answers), apart=0.5)
    ran = qoder(*by(policy))
    assert (ran.code, bool(server.sent)) == (code, code == 0), ran.err
    assert ("the shell may be in another folder since an earlier call" in ran.err) == (code == 11)


def test_policy_test_knows_where_the_shell_was(qoder: Qoder, server: Asking, policy: Path) -> None:
    server.asks("sess_1", call(1), call(4, input={"command": "cd /tmp"}), call(1, id="evt_5"))
    rows = qoder("policy", "test", str(policy), "drun_1", "--json").json
    assert sorted((row["answer"], row["calls"]) for row in rows) == [("allow", 1), ("ask", 1), ("ask", 1)]


# The policy of a profile.


@pytest.fixture
def guard(qoder: Qoder, tmp_path: Path) -> Path:
    """A policy that the profile names."""
    file, config = tmp_path / "guard.yaml", tmp_path / "guarded.toml"
    file.write_text("deny: [{run: echo 2}, {path: /secrets}, {tool: lookup}]\n")
    file.chmod(0o600)
    config.write_text(f'[profiles.default]\npolicy = "{file}"\n')
    config.chmod(0o600)
    qoder.env["QODER_CONFIG"] = str(config)
    return file


REFUSED_BY_GUARD: dict[str, Event] = {
    "denied": call(2),
    "perhaps": call(1, input={"command": "sh -c 'echo 2'"}),
    "unreadable": call(1, input={"command": "cat $X /secrets/key"}),
    "another tool": call(1, "Read", input={"path": "/Secrets/key"}),
    "a custom tool": call(1, "lookup", kind="agent.custom_tool_use"),
}


@pytest.mark.parametrize("name", REFUSED_BY_GUARD)
def test_run_approve_refuses_what_the_policy_of_the_profile_denies(
    qoder: Qoder, server: Asking, guard: Path, name: str
) -> None:
    asked = REFUSED_BY_GUARD[name]
    server.asks("sess_1", asked)
    words: tuple[str, ...] = ("approve", "drun_1", asked["id"], "--yes")
    if name == "a custom tool":
        words = ("answer", "drun_1", asked["id"], "--with", "x")
    ran = qoder("run", *words, "--json")
    assert (ran.code, server.sent, str(guard) in ran.error["message"]) == (6, [], True), ran.err
    assert "line 1 " in ran.error["message"]
    if name != "a custom tool":
        assert qoder("run", "deny", "drun_1", asked["id"], "--yes").code == 0


def test_a_policy_of_a_profile_is_for_the_deployments_that_it_names(qoder: Qoder, server: Asking, guard: Path) -> None:
    server.asks("sess_1", call(2))
    text = guard.read_text()
    guard.write_text(f"{text}deployments: [dep_1]\n")
    assert qoder("run", "approve", "drun_1", "--all", "--yes").code == 6
    guard.write_text(f"{text}deployments: [dep_2]\n")
    server.lies["GET /sessions/sess_1"] = lambda session: {k: session[k] for k in session if k != "deployment_id"}
    assert qoder("run", "approve", "drun_1", "--all", "--yes").code == 6
    server.lies.clear()
    assert qoder("run", "approve", "drun_1", "--all", "--yes").code == 0


def test_run_wait_by_a_policy_allows_nothing_that_the_profiles_denies(
    qoder: Qoder, server: Asking, policy: Path, guard: Path
) -> None:
    policy.write_text("work: /repo\nallow: [{run: echo 1}, {run: echo 2}]")
    server.asks("sess_1", call(1), call(2))
    ran = qoder(*by(policy))
    assert (ran.code, server.sent) == (11, [{"events": [reply(1, "allow")]}])
    assert "in the profile's policy, line 1 denies it: deny run: echo 2" in ran.err


def test_a_missing_or_broken_policy_of_a_profile_stops_what_it_guards(
    qoder: Qoder, server: Asking, policy: Path, guard: Path
) -> None:
    server.asks("sess_1", call(1))
    guarded = (
        ("run", "approve", "drun_1", "--all", "--yes"),
        ("run", "answer", "drun_1", "evt_1", "--with", "x"),
        by(policy),
    )
    for break_it in (lambda: guard.write_text("rules: []"), guard.unlink):
        break_it()
        assert [qoder(*words).code for words in guarded] == [2, 2, 2]
        assert server.requests == []
    assert qoder("run", "deny", "drun_1", "--all", "--yes").code == 0


def test_run_wait_prompts_again_where_the_policy_of_the_profile_refuses(
    qoder: Qoder, server: Asking, guard: Path, types: Callable[[str], None]
) -> None:
    types("yn")
    server.asks("sess_1", call(2))
    ran = qoder(*WAIT, "--on-ask", "prompt")
    assert (ran.code, server.sent) == (0, [{"events": [reply(2, "deny")]}])
    assert f"warning: evt_2: in the profile's policy ({guard}), line 1 denies it: deny run: echo 2" in ran.err
