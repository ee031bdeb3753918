"""`qoder session`, in the user's words: sessions listed, looked at, changed, and ended."""

import io
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.base.errors import Signalled
from qoder_cli.output.screen import Screen
from qoder_cli.runs.chat import Page
from qoder_cli.sandbox.records import AGENT
from qoder_cli.sandbox.wire import GENERATIONS
from tests.conftest import Qoder
from tests.support.sessions import ENVIRONMENT, Service

LOST = ("drop-after", "hang-after", "truncated", "garbage", "act-503-bare", "act-html", "drop-before", "503-bare")


@pytest.fixture(params=GENERATIONS)
def service(qoder: Qoder, request: pytest.FixtureRequest) -> Service:
    return Service(qoder, request.param)


# Listed and looked at.


def test_sessions_are_listed_newest_first(qoder: Qoder, service: Service) -> None:
    first = service.session(title="June")
    qoder.clock.time += 60
    second = service.session(deployment_id="dep_demo")
    ran = qoder("session", "list")
    rows = [line.split("\t") for line in ran.out.splitlines()]
    assert [row[0] for row in rows] == [second, first]
    assert rows[1][1] == "June"
    assert rows[0][4] == "dep_demo"
    assert rows[0][5] == ENVIRONMENT
    assert qoder("session", "list", "--deployment", "dep_demo", "-q").out == f"{second}\n"
    assert qoder("session", "list", "--until", "30s", "-q").out == f"{first}\n"
    assert qoder("session", "list", "--agent", "writer", "-q").out == f"{second}\n{first}\n"
    assert qoder("session", "list", "--status", "terminated", "--json").json == []


def test_a_list_that_is_cut_says_so(qoder: Qoder, service: Service) -> None:
    for _ in range(21):
        service.session()
    assert qoder("session", "list").err.endswith("note: 20 shown, more match; --all shows them\n")
    assert len(qoder("session", "list", "--all", "-q").out.splitlines()) == 21


def test_an_archived_session_is_listed_where_asked_for(qoder: Qoder, service: Service) -> None:
    id = service.session()
    qoder("session", "archive", id, "--yes")
    assert qoder("session", "list", "-q").out == ""
    assert qoder("session", "list", "--include-archived").out.split("\t")[:3] == [id, "-", "archived"]


def test_a_session_tells_how_its_latest_turn_ended(qoder: Qoder, service: Service) -> None:
    qoder("deploy", "run", "dep_demo", "--wait")
    ran = qoder("session", "get", "last", "--json")
    assert ran.code == 0
    assert ran.json["id"].startswith("sess_")
    assert ran.json["turn"]["status"] == "completed"
    fields = dict(line.split("\t", 1) for line in qoder("session", "get", ran.json["id"]).out.splitlines())
    assert (fields["status"], fields["latest_turn"], fields["deployment"]) == ("idle", "completed", "dep_demo")


def test_what_is_no_session_is_refused_before_anything_is_asked(qoder: Qoder, service: Service) -> None:
    for words in (("get", "env_1"), ("update", "agent_1", "--title", "x"), ("delete", "file_1", "--yes")):
        assert qoder("session", *words).code == 2
    assert service.asked == []
    gone = qoder("session", "get", "sess_gone", "--json")
    assert (gone.code, "sess_gone" in gone.error["message"]) == (5, True)


def test_a_name_that_two_agents_have_is_refused_with_both_ids(qoder: Qoder, service: Service) -> None:
    service.things["/agents"] += [{"id": "agent_2", "name": "writer"}, {"id": "agent_3", "name": "reader"}]
    ran = qoder("session", "list", "--agent", "writer")
    assert ran.code == 2
    assert "agent_2" in ran.err
    near = qoder("session", "list", "--agent", "readr")
    assert (near.code, "'reader'" in near.err) == (5, True)


# Updated.


def test_only_what_differs_is_sent(qoder: Qoder, service: Service) -> None:
    id = service.session(metadata={"team": "core", "old": "1"})
    words = ("--title", "July", "--metadata", "team=core", "--metadata", "day=1", "--remove-metadata", "old")
    ran = qoder("session", "update", id, *words, "--budget", "12.5", "--json")
    assert ran.code == 0
    assert ran.json["metadata"] == {"team": "core", "day": "1"}
    assert service.sent == [
        (
            "POST",
            f"/sessions/{id}",
            {
                "title": "July",
                "metadata": {"day": "1", "old": None},
                "budget": {"type": "limit", "max_credit_cost": "12.50"},
            },
        )
    ]
    again = qoder("session", "update", id, *words, "--budget", "12.50")
    assert (again.code, len(service.sent), "already up to date" in again.err) == (0, 1, True)
    assert "budget" not in qoder("session", "update", id, "--no-budget", "--json").json


def test_an_archived_session_is_not_changed(qoder: Qoder, service: Service) -> None:
    id = service.session()
    qoder("session", "archive", id, "--yes")
    ran = qoder("session", "update", id, "--title", "x", "--json")
    assert (ran.code, "archived" in ran.error["message"]) == (6, True)
    assert qoder("session", "update", id).code == 2
    assert qoder("session", "update", id, "--budget", "lots").code == 2


# Archived and deleted.


def test_ending_a_session_requires_confirmation(qoder: Qoder, service: Service) -> None:
    id = service.session()
    for verb in ("archive", "delete"):
        ran = qoder("session", verb, id)
        assert (ran.code, "--yes" in ran.err, service.sent) == (2, True, [])


def test_several_are_deleted_one_after_the_other(qoder: Qoder, service: Service) -> None:
    ids = [service.session() for _ in range(2)]
    qoder.stdin = "\n".join(ids)
    ran = qoder("session", "delete", "-", "sess_gone", "--yes", "--json")
    assert ran.code == 5
    assert [(item["id"], item["exit_code"]) for item in ran.json] == [(ids[0], 0), (ids[1], 0), (None, 5)]
    assert ran.error["message"].startswith("2 of 3 are deleted; ")
    assert qoder("session", "get", ids[0]).code == 5


def test_a_session_is_meant_by_its_run(qoder: Qoder, service: Service) -> None:
    run = qoder("deploy", "run", "dep_demo", "-q").out.strip()
    ran = qoder("session", "archive", run, "--yes", "--json")
    assert (ran.code, bool(ran.json["archived_at"])) == (0, True)
    assert qoder("session", "archive", "last", "--yes").code == 0  # it is so already


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize("words", [("update", "--title", "x"), ("archive", "--yes"), ("delete", "--yes")])
def test_a_lost_response_is_settled(qoder: Qoder, service: Service, words: tuple[str, ...], fault: str) -> None:
    id = service.session()
    service.faults.add(f"session-write:{fault}")
    ran = qoder("session", words[0], id, *words[1:])
    assert (ran.code, ran.errors) == (0, [])
    assert len(service.sent) <= 2


def test_what_cannot_be_read_back_is_unknown(qoder: Qoder, service: Service) -> None:
    id = service.session()
    service.faults.add("session:drop-after*inf")
    ran = qoder("session", "delete", id, "--yes", "--json")
    assert (ran.code, ran.error["next"][:4]) == (9, ["qoder", "session", "get", id])
    assert len(service.sent) == 1


@pytest.mark.parametrize(("verb", "hint"), [("archive", None), ("delete", "archive it instead")])
def test_a_refusal_says_nothing_that_is_not_so(qoder: Qoder, service: Service, verb: str, hint: str | None) -> None:
    id = service.session()
    service.faults.add("session-write:409")
    ran = qoder("session", verb, id, "--yes", "--json")
    assert (ran.code, ran.error["hint"]) == (6, hint)


def test_another_who_was_faster_is_no_failure(qoder: Qoder, service: Service) -> None:
    id = service.session()
    service.before[f"POST /sessions/{id}/archive"] = [httpx.ReadError("reset")]
    service.world.sessions[id].change(service.world.now(), archived_at="2026-06-14T08:54:06Z")
    assert qoder("session", "archive", id, "--yes").code == 0


# Started.


def body_of(service: Service) -> dict[str, Any]:
    """Return the body of the newest create, without the key of ours in it."""
    body: dict[str, Any] = [body for method, path, body in service.sent if (method, path) == ("POST", "/sessions")][-1]
    assert body["metadata"].pop("qoder_key")
    return {name: value for name, value in body.items() if value}


def test_a_session_is_started_and_its_first_turn_awaited(qoder: Qoder, service: Service) -> None:
    ran = qoder("session", "new", "--agent", "writer", "-m", "Report.", "--result")
    assert (ran.code, ran.out.startswith("You said: ")) == (0, True), ran.err
    assert body_of(service) == {
        "agent": AGENT,
        "environment_id": ENVIRONMENT,
        "initial_events": [{"type": "user.message", "content": [{"type": "text", "text": "Report."}]}],
    }
    assert "environment: default" in ran.err
    idle = qoder("session", "new", "--agent", AGENT, "--env", ENVIRONMENT, "--json")
    assert (idle.code, idle.json["type"]) == (0, "session")
    told = qoder("session", "new", "--agent", "agent_ask", "-m", "Push.", "--wait", "--json")
    assert (told.code, told.error["next"][:3]) == (11, ["qoder", "session", "pending"])
    assert told.json["turn"]["requires_action"]


def test_everything_that_can_be_said_of_a_session_is_sent(qoder: Qoder, service: Service, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    qoder.env["QODER_REPO_TOKEN"] = "ghp_" + "s" * 30
    words = ["--agent", "writer@3", "--env", "default", "--title", "June", "--vault", "keys", "--memory", "notes:ro"]
    words += ["--file", f"{tmp_path / 'notes.txt'}:/data/notes.txt", "--file", "file_7", "--budget", "5"]
    words += ["--repo", "https://github.com/org/repo@main:/data/repo", "--repo", f"https://git.example/a/b@{'a' * 40}"]
    words += ["--var", "DAY=1", "--var", "PATHS=a;b", "--model", "ultimate"]
    ran = qoder("session", "new", *words, "--json", "--debug")
    assert ran.code == 0, ran.err
    assert qoder.env["QODER_REPO_TOKEN"] not in ran.out + ran.err
    uploaded = next(body for method, path, body in service.sent if path == "/files")
    assert b"notes" in uploaded
    assert b"qoder_key" in uploaded
    sent = body_of(service)
    if service.world.generation == "legacy":
        assert sent.pop("environment_variables") == "DAY=1\nPATHS=a;b"
    else:
        assert sent.pop("environment_variables") == {"DAY": "1", "PATHS": "a;b"}
    token = qoder.env["QODER_REPO_TOKEN"]
    assert sent == {
        "agent": {"id": AGENT, "type": "agent_with_overrides", "version": 3, "model": "ultimate"},
        "environment_id": ENVIRONMENT,
        "title": "June",
        "vault_ids": ["vault_1"],
        "budget": {"type": "limit", "max_credit_cost": "5.00"},
        "resources": [
            {
                "type": "github_repository",
                "url": "https://github.com/org/repo",
                "checkout": {"type": "branch", "name": "main"},
                "mount_path": "/data/repo",
                "authorization_token": token,
            },
            {
                "type": "git_repository",
                "url": "https://git.example/a/b",
                "checkout": {"type": "commit", "sha": "a" * 40},
                "password": token,
            },
            {"type": "memory_store", "memory_store_id": "memstore_1", "access": "read_only"},
            {"type": "file", "file_id": "file_1", "mount_path": "/data/notes.txt"},
            {"type": "file", "file_id": "file_7"},
        ],
    }


def test_a_server_that_does_not_know_first_messages_gets_them_afterwards(qoder: Qoder, service: Service) -> None:
    unknown = {"type": "error", "error": {"type": "invalid_request_error", "message": "unknown field initial_events"}}
    service.before["POST /sessions"] = [httpx.Response(400, json=unknown)]
    ran = qoder("session", "new", "--agent", "writer", "-m", "Report.", "--result")
    assert (ran.code, ran.out.startswith("You said: ")) == (0, True), ran.err
    assert [path.rpartition("/")[2] for _, path, _ in service.sent] == ["sessions", "sessions", "events"]


NO_FIRST_MESSAGES = {"type": "invalid_request_error", "message": "unknown field initial_events"}


@pytest.mark.parametrize(
    ("fault", "code", "state", "says"),
    [
        ("403", 1, "ended", "but its message was not sent: "),
        ("409", 1, "ended", "but its message was not sent: "),
        ("400", 1, "ended", "but its message was not sent: "),
        ("drop-before", 9, "unknown", "unknown whether the message"),
    ],
)
def test_a_session_whose_message_is_refused_is_there_and_named(
    qoder: Qoder, service: Service, fault: str, code: int, state: str, says: str
) -> None:
    service.before["POST /sessions"] = [httpx.Response(400, json={"type": "error", "error": NO_FIRST_MESSAGES})]
    service.faults.add(f"send:{fault}*inf")
    ran = qoder("session", "new", "--agent", "writer", "-m", "Report.", "--wait", "--json")
    made = list(service.world.sessions)[-1]
    assert (ran.code, ran.error["session_id"], ran.error["run_state"]) == (code, made, state), ran.err
    assert ran.error["message"].startswith(f"session {made} was created")
    assert says in ran.error["message"]
    assert ran.json["id"] == made
    if code == 1:
        assert ran.error["next"] == ["qoder", "session", "send", made, "-m", "TEXT", "-o", "json"]


def test_a_signal_between_a_session_and_its_message_names_the_session(qoder: Qoder, service: Service) -> None:
    service.before["POST /sessions"] = [httpx.Response(400, json={"type": "error", "error": NO_FIRST_MESSAGES})]
    handle = service.handle_request

    def stop(request: httpx.Request) -> httpx.Response:
        if request.method == "GET" and request.url.path.endswith("/events"):  # right before it is sent
            raise Signalled(signal.SIGINT)
        return handle(request)

    service.handle_request = stop  # type: ignore[method-assign]  # somebody presses Ctrl-C
    ran = qoder("session", "new", "--agent", "writer", "-m", "Report.", "--json")
    made = list(service.world.sessions)[-1]
    assert (ran.code, ran.error["session_id"], ran.json["id"]) == (130, made, made)
    assert ran.error["message"] == f"interrupted; session {made} was created, but its message was not sent"


def test_the_environment_must_be_chosen_where_there_are_several(qoder: Qoder, service: Service) -> None:
    service.things["/environments"].append({"id": "env_2", "name": "other"})
    ran = qoder("session", "new", "--agent", "writer", "-m", "x")
    assert (ran.code, "other (env_2)" in ran.err, service.sent) == (2, True, [])
    service.things["/environments"][1]["archived_at"] = "2026-01-01T00:00:00Z"
    assert qoder("session", "new", "--agent", "writer", "-m", "x").code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("-m", "x"),
        ("--agent", "writer", "-m", " \n"),
        ("--agent", "writer", "-m", ""),
        ("--agent", "writer", "--wait"),
        ("--agent", "env_1", "-m", "x"),
        ("--agent", "writer", "--env", "agent_1"),
        ("--agent", "writer", "--file", "/no/such/file"),
        ("--agent", "writer", "--file", "BINARY"),
        ("--agent", "writer", "--file", "LARGE"),
        ("--agent", "writer", "--repo", "https://me:secret@github.com/org/repo"),
        ("--agent", "writer", "--repo", "git@github.com:org/repo"),
        ("--agent", "writer", "--var", "QODER_X=1"),
        ("--agent", "writer", "--var", "1A=1"),
        ("--agent", "writer", "--var", "A"),
        ("--agent", "writer", "--budget", "5.001"),
        ("--like", "file_1"),
        ("--agent", "writer", "-m", "-", "--with-repo-token"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_sent(
    qoder: Qoder, service: Service, tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "binary").write_bytes(b"\x00\x01")
    (tmp_path / "large").write_bytes(b"x" * (5 * 2**20 + 1))
    paths = {"BINARY": str(tmp_path / "binary"), "LARGE": str(tmp_path / "large")}
    ran = qoder("session", "new", *(paths.get(word, word) for word in words))
    assert (ran.code, service.sent) == (2, []), ran.err
    assert "secret" not in ran.err


@pytest.mark.parametrize("lists", ["with", "without"])
@pytest.mark.parametrize("fault", LOST)
def test_a_session_whose_answer_was_lost_is_found_and_never_made_twice(
    qoder: Qoder, service: Service, fault: str, lists: str
) -> None:
    service.session(metadata={"qoder_key": "another"})
    service.faults.add(f"session-write:{fault}")
    service.lists_metadata = lists == "with"
    ran = qoder("session", "new", "--agent", "writer", "-m", "Report.", "--json")
    made = [each for each in service.world.sessions.values() if each.initial_events]
    acted = fault not in ("drop-before", "503-bare")
    assert (ran.code, len(made)) == ((0, 1) if acted else (9, 0)), ran.err
    if acted:
        assert ran.json["id"] == made[0].id
    else:
        assert ran.error["next"][:3] == ["qoder", "session", "list"]


def test_a_session_begins_as_another_did(qoder: Qoder, service: Service) -> None:
    resources = [{"id": "sesr_1", "type": "file", "file_id": "file_9", "mount_path": "/a", "created_at": "x"}]
    id = service.session(
        environment_variables={"DAY": "1"},
        resources=resources,
        budget={"type": "limit", "max_credit_cost": "2.00"},
        initial_events=[{"type": "user.message", "content": [{"type": "text", "text": "Report."}]}],
        agent={"id": AGENT, "type": "agent", "version": 4},
    )
    qoder.clock.time += 10
    qoder("session", "send", id, "-m", "And now July.", "--wait")
    assert qoder("session", "new", "--like", id, "--var", "MONTH=6", "--title", "again").code == 0
    sent = body_of(service)
    variables = sent.pop("environment_variables")
    assert variables in ({"DAY": "1", "MONTH": "6"}, "DAY=1;MONTH=6")
    assert sent == {
        "agent": {"id": AGENT, "type": "agent", "version": 4},
        "environment_id": ENVIRONMENT,
        "title": "again",
        "resources": [{"type": "file", "file_id": "file_9", "mount_path": "/a"}],
        "budget": {"type": "limit", "max_credit_cost": "2.00"},
        "initial_events": [{"type": "user.message", "content": [{"type": "text", "text": "Report."}]}],
    }


@pytest.mark.parametrize("like", ["dep_demo", "demo", "last", "demo@last"])
def test_a_session_begins_as_the_runs_of_a_deployment(qoder: Qoder, service: Service, like: str) -> None:
    qoder("deploy", "run", "dep_demo", "--wait")
    ran = qoder("session", "new", "--like", like, "--result")
    assert (ran.code, ran.out.startswith("You said: ")) == (0, True), ran.err
    assert body_of(service)["agent"] == {"id": AGENT, "type": "agent", "version": 1}


# What is in a session.


def test_files_are_put_in_and_taken_out(qoder: Qoder, service: Service, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    id = service.session()
    added = qoder("session", "files", id, "--add", f"{tmp_path / 'notes.txt'}:/data/notes.txt", "--json")
    assert (added.code, added.json[0]["mount_path"]) == (0, "/data/notes.txt"), added.err
    resource = added.json[0]["id"]
    assert qoder("session", "files", id, "--remove", resource).code == 2
    assert qoder("session", "files", id, "--remove", resource, "--yes", "--json").json == []
    assert qoder("session", "files", id, "--remove", resource, "--yes").code == 5
    assert qoder("session", "files", id, "--add", "/no/such/file").code == 2


@pytest.mark.parametrize("fault", LOST)
def test_a_lost_response_to_a_file_is_settled(qoder: Qoder, service: Service, fault: str) -> None:
    id = service.session()
    service.faults.add(f"session-write:{fault}")
    added = qoder("session", "files", id, "--add", "file_1", "--json")
    assert (added.code, len(added.json)) == (0, 1), added.err
    service.faults.add(f"session-write:{fault}")
    removed = qoder("session", "files", id, "--remove", added.json[0]["id"], "--yes", "--json")
    assert (removed.code, removed.json) == (0, []), removed.err


def test_a_token_of_a_repository_is_renewed(qoder: Qoder, service: Service) -> None:
    url = "https://github.com/org/repo"
    id = service.session(resources=[{"id": "sesr_1", "type": "github_repository", "url": url}])
    assert qoder("session", "files", id, "--renew", "sesr_1").code == 2
    qoder.env["QODER_REPO_TOKEN"] = "ghp_" + "s" * 30
    ran = qoder("session", "files", id, "--renew", "sesr_1")
    assert (ran.code, ran.out.split("\t")[:3]) == (0, ["sesr_1", "github_repository", url])
    assert service.sent[-1][2] == {"authorization_token": qoder.env["QODER_REPO_TOKEN"]}


def test_threads_are_listed(qoder: Qoder, service: Service) -> None:
    id = service.session()
    [thread] = qoder("session", "threads", id, "--json").json
    assert qoder("session", "threads", id).out.split("\t")[:2] == [thread["id"], "idle"]


def test_the_log_of_one_thread_is_shown(qoder: Qoder, service: Service) -> None:
    qoder("deploy", "run", "dep_demo", "--wait")
    [thread] = qoder("session", "threads", "last", "--json").json
    ran = qoder("session", "logs", "last", "--thread", thread["id"])
    assert (ran.code, "\tagent\tStatus report" in ran.out) == (0, True), ran.err
    assert qoder("session", "logs", "last", "--thread", thread["id"], "--tail", "3").code == 0
    assert qoder("run", "logs", "last", "--thread", "sthr_gone").code == 5
    ran = qoder("run", "logs", "last", "--thread", thread["id"], "--follow")
    assert (ran.code, "\tagent\tStatus report" in ran.out) == (0, True)
    assert qoder("run", "logs", "last", "--thread", "evt_1").code == 2


def test_a_thread_is_followed_by_its_own_stream(qoder: Qoder, service: Service) -> None:
    run = qoder("deploy", "run", "dep_demo", "--json").json
    session = qoder("run", "get", run["id"], "--json").json["session_id"]
    [thread] = qoder("session", "threads", session, "--json").json
    ran = qoder("session", "logs", session, "--thread", thread["id"], "--follow")
    assert (ran.code, "\tagent\tStatus report" in ran.out) == (0, True), ran.err
    assert f"GET /sessions/{session}/threads/{thread['id']}/stream" in service.asked
    assert f"GET /sessions/{session}/events/stream" not in service.asked


def test_a_thread_is_looked_at_and_archived(qoder: Qoder, service: Service) -> None:
    id = service.session()
    [thread] = qoder("session", "threads", id, "--json").json
    assert qoder("session", "thread", "get", id, thread["id"], "--json").json["id"] == thread["id"]
    ran = qoder("session", "thread", "archive", id, thread["id"], "--yes")
    assert ran.code in (0, 6), ran.err  # the thread of the coordinator cannot be


def test_models_are_listed(qoder: Qoder, service: Service) -> None:
    assert qoder("model", "list", "-q").out == "auto\nultimate\n"
    assert qoder("model", "list").out.splitlines()[1].split("\t")[3:5] == ["1.6", "low, medium, high"]


# Talked with; tests/process/test_chat.py has what needs a terminal.


def test_a_chat_requires_a_terminal(qoder: Qoder, service: Service) -> None:
    id = service.session()
    for words in (("chat", id), ("new", "--agent", "writer", "-m", "x", "--chat")):
        ran = qoder("session", *words)
        assert (ran.code, "session send" in ran.err, service.asked) == (2, True, [])


def delta(said: str) -> dict[str, Any]:
    content = {"type": "text", "text": said}
    return {"type": "event_delta", "event_id": "evt_1", "delta": {"type": "content_delta", "content": content}}


def message(said: str) -> dict[str, Any]:
    return {"id": "evt_1", "type": "agent.message", "content": [{"type": "text", "text": said}]}


START = {"type": "event_start", "event": {"id": "evt_1", "type": "agent.message"}}
USED = {"id": "evt_2", "type": "agent.tool_use", "name": "Bash", "input": {"command": "l\x1bs" * 90}}


@pytest.mark.parametrize(
    ("events", "shown"),
    [
        ((START, delta("One "), delta("two."), message("One two.")), "One two.\n"),
        ((START, delta("One "), START, delta("One "), delta("two."), message("One two.")), "One two.\n"),
        ((START, delta("One "), message("One two.")), "One two.\n"),
        ((START, delta("One "), message("Another.")), "One \nAnother.\n"),
        ((message("One."), message("Two.")), "One.\nTwo.\n"),
        ((delta("lost"), message("One.")), "One.\n"),
        ((START, delta("a\x1b[2Jb\u202e")), "a\\u001b[2Jb\\u202e"),
        ((message("a\r\n\tb\n\n界"),), "a\n    b\n\n界\n"),
        ((message("word " * 20),), "word " * 15 + "word\n" + "word " * 4 + "\n"),
        ((message("界" * 50),), "界" * 39 + "\n" + "界" * 11 + "\n"),
    ],
)
def test_a_message_is_shown_as_it_is_made_and_never_twice(events: tuple[dict[str, Any], ...], shown: str) -> None:
    out = io.BytesIO()
    page = Page(Screen(out, is_terminal=True))
    for event in events:
        page.preview(event) if str(event["type"]).startswith("event_") else page.show(event)
    assert out.getvalue().decode() == shown


def test_all_else_is_a_line_that_fits(qoder: Qoder) -> None:
    out = io.BytesIO()
    page = Page(Screen(out, is_terminal=True))
    page.preview(START)
    page.preview(delta("One"))
    page.show(USED)
    said, used, rest = out.getvalue().decode().split("\n")
    assert (said, rest) == ("One", "")
    assert used.startswith("  tool Bash l\\u001bs")
    assert len(used) <= 80
