"""`qoder session`: sessions listed, looked at, started, changed, and ended."""

import io
import math
import re
import signal
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest

from qoder_cli.app import App
from qoder_cli.base.errors import AuthError, Signalled
from qoder_cli.base.outcome import ASKS_FOR, event_time
from qoder_cli.input.editor import Leave
from qoder_cli.output.screen import Screen
from qoder_cli.sandbox.records import AGENT, ENVIRONMENT
from qoder_cli.sessions.asks import Asked
from qoder_cli.sessions.chat import QUIET, Activity, Chat
from qoder_cli.sessions.transcript import ChatPage
from tests.conftest import Qoder
from tests.support.inprocess import at_version
from tests.support.things import Things, each_row, refusal
from tests.support.wire import api_error

NEW = ("session", "new", "--agent", "writer")
WRITER = "agent_writer"


@pytest.fixture
def service(service: Things) -> Things:
    """Return the sandbox with one environment, and things to put into a session."""
    service.thing("env_workers")["archived_at"] = "2026-01-01T00:00:00Z"
    service.keep("vaults", {"id": "vault_1", "display_name": "keys"})
    service.keep("memory_stores", {"id": "memstore_1", "name": "notes"})
    for id in ("file_7", "file_9"):
        service.keep("files", {"id": id, "filename": f"{id}.txt"})
    return service


# Listed and looked at.


def test_session_list_shows_the_newest_first(qoder: Qoder, service: Things) -> None:
    writer = {"id": WRITER, "type": "agent", "version": 1}
    first = service.session(title="June", agent=writer)
    qoder.clock.time += 60
    second = service.session(deployment_id="dep_demo", agent=writer)
    rows = [line.split("\t") for line in qoder("session", "list").out.splitlines()]
    assert [row[:2] for row in rows] == [[second, "-"], [first, "June"]]
    assert rows[0][4:6] == ["dep_demo", ENVIRONMENT]
    assert qoder("session", "list", "--agent", "writer", "-q").out == f"{second}\n{first}\n"
    for _ in range(19):
        service.session()
    assert qoder("session", "list").err.endswith("note: showing 20, more match; use --all to see the rest\n")
    assert qoder("session", "list", "--all", "-q").out.count("\n") == 21
    service.world.skew = -7200
    assert "clock is ahead of the server's" in qoder("session", "list", "--since", "1h").err


def test_session_list_shows_archived_ones_where_asked_for_and_update_changes_none(
    qoder: Qoder, service: Things
) -> None:
    id = service.session()
    qoder("session", "archive", id, "--yes")
    assert qoder("session", "list", "-q").out == ""
    assert qoder("session", "list", "--include-archived").out.split("\t")[:3] == [id, "-", "archived"]
    ran = qoder("session", "update", id, "--title", "x", "--json")
    assert ran.code == 6
    assert "archived" in ran.error["message"]
    assert qoder("session", "update", id).code == 2
    for words in (("--budget", "lots"), ("--budget", "5", "--no-budget")):
        assert qoder("session", "update", id, *words).code == 2


def test_session_get_tells_how_the_latest_turn_ended(qoder: Qoder, service: Things) -> None:
    qoder("deploy", "run", "dep_demo", "--wait")
    ran = qoder("session", "get", "last", "--json")
    assert (ran.code, ran.json["id"][:5], ran.json["turn"]["status"]) == (0, "sess_", "completed")
    fields = dict(line.split("\t", 1) for line in qoder("session", "get", ran.json["id"]).out.splitlines())
    assert (fields["status"], fields["latest_turn"], fields["deployment"]) == ("idle", "completed", "dep_demo")


# Updated, archived and deleted.


def test_session_update_sends_only_what_differs(qoder: Qoder, service: Things) -> None:
    id = service.session(metadata={"team": "core", "old": "1", "kept": "1"})
    words = ("--title", "July", "--metadata", "team=core", "--metadata", "day=1", "--remove-metadata", "old")
    ran = qoder("session", "update", id, *words, "--budget", "12.5", "--json")
    assert (ran.code, ran.json["metadata"]) == (0, {"team": "core", "day": "1", "kept": "1"})
    budget = {"type": "limit", "max_credit_cost": "12.50"}
    sent = {"title": "July", "metadata": {"day": "1", "old": None}, "budget": budget}
    assert (service.writes, service.sent) == ([f"POST /sessions/{id}"], [sent])
    again = qoder("session", "update", id, *words, "--budget", "12.50")
    assert (again.code, len(service.sent), "12.50 credits" in again.out) == (0, 1, True)
    assert qoder("session", "update", id, "--title", "May", "--no-progress").err == ""
    assert "already up to date" in again.err
    assert "budget" not in qoder("session", "update", id, "--no-budget", "--json").json


@pytest.mark.parametrize(("verb", "title", "done"), [("archive", "June", "archived"), ("delete", "-", "deleted")])
def test_session_archive_and_delete_ask_about_each_and_show_a_row(
    qoder: Qoder, service: Things, questions: Callable[..., list[str]], verb: str, title: str, done: str
) -> None:
    ids, asked = [service.session(), service.session(title="June")], questions(True, True)
    service.lies[f"GET /sessions/{ids[1]}"] = lambda raw: {**raw, "status": "running"}
    ran = qoder("session", verb, *ids)
    names = [f"session {ids[0]}", f"session 'June' ({ids[1]})"]
    assert [one.partition("?")[0] for one in asked] == [f"{verb.capitalize()} {name}" for name in names]
    assert ["It is running." in one for one in asked] == [False, True]
    rows = [line.split("\t")[:3] for line in ran.out.splitlines()]
    assert rows == [[ids[0], "-", done], [ids[1], title, done]]


def test_session_update_and_archive_take_a_run_for_its_session(qoder: Qoder, service: Things) -> None:
    run = qoder("deploy", "run", "dep_demo", "-q").out.strip()
    assert qoder("session", "update", run, "--title", "June", "--json").json["title"] == "June"
    assert qoder("session", "update", "drun_404", "--title", "June").code == 5
    ran = qoder("session", "archive", run, "--yes", "--json")
    assert (ran.code, bool(ran.json["archived_at"])) == (0, True)
    assert qoder("session", "archive", "last", "--yes").code == 0  # it is so already


# Started.


def body_of(service: Things) -> dict[str, Any]:
    """Return the body of the newest create, without the key of ours in it."""
    made = [body for asked, body in zip(service.writes, service.sent, strict=True) if asked == "POST /sessions"]
    body: dict[str, Any] = made[-1]
    assert body["metadata"].pop("qoder_key")
    return {name: value for name, value in body.items() if value}


def first_message(text: str) -> list[dict[str, Any]]:
    return [{"type": "user.message", "content": [{"type": "text", "text": text}]}]


def test_session_new_starts_a_session_and_awaits_its_first_turn(qoder: Qoder, service: Things) -> None:
    ran = qoder(*NEW, "-m", "Report.", "--result")
    assert (ran.code, ran.out[:10]) == (0, "You said: "), ran.err
    body = {"agent": WRITER, "environment_id": ENVIRONMENT, "initial_events": first_message("Report.")}
    assert body_of(service) == body
    assert "environment: default" in ran.err
    idle = qoder("session", "new", "--agent", AGENT, "--env", ENVIRONMENT, "--json")
    assert (idle.code, idle.json["type"]) == (0, "session")
    assert f"session {idle.json['id']} was created" in idle.err
    told = qoder("session", "new", "--agent", "agent_ask", "-m", "Push.", "--wait", "--json")
    assert (told.code, told.error["next"][:3]) == (11, ["qoder", "run", "pending"])
    assert told.json["turn"]["requires_action"]


def test_session_new_names_no_token_where_there_is_none(qoder: Qoder, service: Things) -> None:
    qoder("session", "new", "--agent", "writer", "--env", "default", "--repo", "https://github.com/org/repo")
    assert body_of(service)["resources"] == [{"type": "github_repository", "url": "https://github.com/org/repo"}]


def test_session_new_sends_everything_that_can_be_said(qoder: Qoder, service: Things, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    qoder.env["QODER_REPO_TOKEN"] = "ghp_" + "s" * 30
    words = ["--agent", "writer@3", "--env", "default", "--title", "June", "--vault", "keys", "--memory", "notes:ro"]
    words += ["--file", f"{tmp_path / 'notes.txt'}:/data/notes.txt", "--file", "file_7", "--budget", "5"]
    words += ["--repo", "https://github.com/org/repo@main:/data/repo", "--repo", f"https://git.example/a/b@{'a' * 40}"]
    words += ["--var", "DAY=1", "--var", "PATHS=a;b", "--model", "ultimate"]
    before = set(service.world.things["files"])
    ran = qoder("session", "new", *words, "--json", "--debug")
    assert ran.code == 0, ran.err
    assert qoder.env["QODER_REPO_TOKEN"] not in ran.out + ran.err
    uploaded = service.sent[service.writes.index("POST /files")]
    assert b"notes" in uploaded
    assert b"qoder_key" in uploaded
    [file] = (id for id in service.world.things["files"] if id not in before)
    sent = body_of(service)
    assert sent.pop("environment_variables") == {"DAY": "1", "PATHS": "a;b"}
    token = qoder.env["QODER_REPO_TOKEN"]
    assert sent == {
        "agent": {"id": WRITER, "type": "agent_with_overrides", "version": 3, "model": "ultimate"},
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
            {"type": "file", "file_id": file, "mount_path": "/data/notes.txt"},
            {"type": "file", "file_id": "file_7"},
        ],
    }


def knows_no_first_messages(service: Things) -> None:
    service.instead["POST /sessions"] = [refusal(400, "invalid_request_error", "unknown field initial_events")]


def test_session_new_warns_of_a_session_without_its_budget(qoder: Qoder, service: Things) -> None:
    shown: dict[str, Any] = {}
    service.lies["POST /sessions"] = lambda raw: raw | shown
    for shown["budget"], is_other in (None, True), ({"type": "limit", "max_credit_cost": "5"}, False):
        ran = qoder("session", "new", "--agent", AGENT, "--budget", "5", "-q")
        assert (ran.code, "the server does not show budget as it was sent" in ran.err) == (0, is_other)
    assert "as it was sent" not in qoder("session", "new", "--agent", AGENT, "-q").err


def test_session_new_sends_the_message_afterwards_to_a_server_that_knows_no_first_messages(
    qoder: Qoder, service: Things
) -> None:
    knows_no_first_messages(service)
    ran = qoder(*NEW, "-m", "Report.", "--result")
    assert (ran.code, ran.out[:10]) == (0, "You said: "), ran.err
    assert [path.rpartition("/")[2] for path in service.writes] == ["sessions", "sessions", "events"]


@pytest.mark.parametrize("fault", ["403", "409", "400", "drop-before"])
def test_session_new_names_the_session_whose_message_is_refused(qoder: Qoder, service: Things, fault: str) -> None:
    knows_no_first_messages(service)
    service.faults.add(f"send:{fault}*inf")
    ran = qoder(*NEW, "-m", "Report.", "--wait", "--json")
    made = list(service.world.sessions)[-1]
    lost = fault == "drop-before"
    assert (ran.code, ran.error["run_state"]) == ((9, "unknown") if lost else (1, "ended")), ran.err
    assert (ran.error["session_id"], ran.json["id"]) == (made, made)
    assert ran.error["message"].startswith(f"session {made} was created")
    assert ("unknown whether the message" if lost else "but its message was not sent: ") in ran.error["message"]
    assert lost or ran.error["next"] == ["qoder", "session", "send", made, "-m", "TEXT", "-o", "json"]


def test_session_new_that_is_interrupted_before_its_message_names_the_session(qoder: Qoder, service: Things) -> None:
    def stop(request: httpx.Request, answer: Any) -> httpx.Response:
        if request.method == "GET" and request.url.path.endswith("/events"):  # right before it is sent
            raise Signalled(signal.SIGINT)
        told: httpx.Response = answer()
        return told

    knows_no_first_messages(service)
    service.lie = stop
    ran = qoder(*NEW, "-m", "Report.", "--json")
    made = list(service.world.sessions)[-1]
    assert (ran.code, ran.error["session_id"], ran.json["id"]) == (130, made, made)
    assert ran.error["message"] == f"interrupted; session {made} was created, but its message was not sent"


def test_session_new_asks_for_an_environment_where_there_are_several(qoder: Qoder, service: Things) -> None:
    other = service.keep("environments", {"id": "env_2", "name": "other", "archived_at": None})
    ran = qoder(*NEW, "-m", "x")
    assert (ran.code, service.sent) == (2, [])
    assert "other (env_2)" in ran.err
    service.lies["GET /environments"] = lambda page: {"data": page["data"][:1]}  # there may be more
    assert (qoder(*NEW, "-m", "x").code, service.sent) == (7, [])
    del service.lies["GET /environments"]
    other["archived_at"] = "2026-01-01T00:00:00Z"
    assert qoder(*NEW, "-m", "x").code == 0


@pytest.mark.parametrize("hidden", [(), ("metadata",)], ids=["with metadata", "without"])
@pytest.mark.parametrize("fault", ["drop-after", "act-html", "drop-before"])
def test_session_new_finds_a_session_whose_answer_was_lost_and_makes_none_twice(
    qoder: Qoder, service: Things, fault: str, hidden: tuple[str, ...]
) -> None:
    service.session(metadata={"qoder_key": "another"})
    service.faults.add(f"session-write:{fault}")
    service.lies["GET /sessions"] = each_row(lambda row: {k: v for k, v in row.items() if k not in hidden})
    ran = qoder(*NEW, "-m", "Report.", "--json")
    made = [each.id for each in service.world.sessions.values() if each.initial_events]
    if fault == "drop-before":
        assert (ran.code, made, ran.error["next"][:3]) == (9, [], ["qoder", "session", "list"])
    else:
        assert (ran.code, made) == (0, [ran.json["id"]]), ran.err


@pytest.mark.parametrize("hidden", ["nothing", "agent.", "session."])
def test_session_new_like_another_begins_as_that_did(qoder: Qoder, service: Things, hidden: str) -> None:
    resource = {"type": "file", "file_id": "file_notes", "mount_path": "/a"}
    at_version(service.world, AGENT, 4)
    same: dict[str, Any] = {
        "agent": {"id": AGENT, "type": "agent", "version": 4},
        "budget": {"type": "limit", "max_credit_cost": "2.00"},
        "initial_events": first_message("Report."),
    }
    resources = [{"id": "sesr_1", "created_at": "x", **resource}]
    id = service.session(**same, environment_variables={"DAY": "1"}, resources=resources)
    qoder.clock.time += 10
    qoder("session", "send", id, "-m", "And now July.", "--wait")
    qoder.env["QODER_REPO_TOKEN"] = "ghp_" + "s" * 30  # for none of these resources
    service.lies[f"GET /sessions/{id}/events"] = lambda page: {
        **page, "data": [event for event in page["data"] if not event["type"].startswith(hidden)]
    }  # fmt: skip
    more = ("--var", "MONTH=6", "--budget", "5", "--model", "ultimate")
    assert qoder("session", "new", "--like", id, "--title", "again", *more).code == 0
    sent = body_of(service)
    assert sent.pop("environment_variables") == {"DAY": "1", "MONTH": "6"}
    same["agent"] |= {"type": "agent_with_overrides", "model": "ultimate"}
    same["budget"]["max_credit_cost"] = "5.00"
    assert sent == {**same, "environment_id": ENVIRONMENT, "title": "again", "resources": [resource]}


@pytest.mark.parametrize("told", ["idle at first", "newest first"])
def test_session_new_like_another_finds_its_first_message_however_its_log_is_told(
    qoder: Qoder, service: Things, told: str
) -> None:
    id = service.session(agent={"id": AGENT, "type": "agent", "version": 1}, initial_events=first_message("Report."))
    qoder.clock.time += 10
    qoder("session", "send", id, "-m", "No, stop.", "--wait")
    idle = {"id": "evt_0", "type": "session.status_idle", "processed_at": "2026-01-01T00:00:00Z"}
    tell: dict[str, Callable[[Any], Any]] = {
        "idle at first": lambda page: {**page, "data": [idle, *page["data"]]},
        "newest first": lambda page: {
            **page,
            "data": sorted(page["data"], key=lambda event: event_time(event) or "", reverse=True),
        },
    }
    service.lies[f"GET /sessions/{id}/events"] = tell[told]
    ran = qoder("session", "new", "--like", id, "--wait")
    assert (ran.code, body_of(service).get("initial_events")) == (0, first_message("Report.")), ran.err


def test_session_new_waits_for_no_message_that_another_never_had(
    qoder: Qoder, service: Things, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    id = service.session(agent={"id": AGENT, "type": "agent", "version": 1})
    Path("notes.txt").write_text("notes")
    ran = qoder("session", "new", "--like", id, "--wait", "--file", "notes.txt")
    assert (ran.code, ran.out, service.writes) == (2, "", []), ran.err
    assert ran.errors[0] == "error: --wait, --follow and --result need a message"


@pytest.mark.parametrize(
    ("typed", "text"),
    [(("A=1", "B=2"), "A=1;B=2"), (("A=1;2", "B=2"), "A=1;2\nB=2"), (("A=1\r",), 6), (("A=1\n2",), 6)],
)
def test_session_new_sends_variables_as_text_where_a_server_wants_that(
    qoder: Qoder, service: Things, typed: tuple[str, ...], text: str | int
) -> None:
    service.never = [refusal(400, "invalid_request_error", "environment_variables: must be a text.")]
    ran = qoder(*NEW, "--env", "default", *(word for one in typed for word in ("--var", one)))
    sent = service.sent[-1]["environment_variables"]
    assert (sent if ran.code == 0 else ran.code, len(service.writes)) == (text, 1 if text == 6 else 2)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        *((400, f"{name}: odd.") for name in ("agent", "initial_events_2", "my_environment_variables")),
        *((409, f"{name}: odd.") for name in ("initial_events", "environment_variables")),
    ],
)
def test_session_new_is_refused_once_for_what_it_cannot_send_otherwise(
    qoder: Qoder, service: Things, status: int, message: str
) -> None:
    service.never = [refusal(status, "invalid_request_error", message)] * 2
    ran = qoder(*NEW, "--env", "default", "--var", "A=1", "-m", "Report.")
    assert (ran.code, service.writes) == (6, ["POST /sessions"]), ran.err


def test_session_new_like_what_shows_no_agent_needs_one_for_a_model(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/deployments/dep_1", {"id": "dep_1", "name": "nightly", "vault_ids": [], "resources": []})
    ran = qoder("session", "new", "--like", "dep_1", "--model", "auto", "--json")
    assert (ran.code, ran.error["message"]) == (2, "--model needs to know the agent")


@pytest.mark.parametrize("like", ["dep_demo", "demo", "last", "demo@last"])
@pytest.mark.few(3)
def test_session_new_like_a_deployment_begins_as_its_runs(qoder: Qoder, service: Things, like: str) -> None:
    qoder("deploy", "run", "dep_demo", "--wait")
    others = [{"type": "system.message", "content": "No message of a person."}]
    service.lies["GET /deployments/dep_demo"] = lambda raw: {**raw, "initial_events": raw["initial_events"] + others}
    ran = qoder("session", "new", "--like", like, "--result")
    assert (ran.code, ran.out[:10]) == (0, "You said: "), ran.err
    assert body_of(service)["agent"] == {"id": AGENT, "type": "agent", "version": 1}
    service.lies["GET /deployments/dep_demo"] = lambda raw: {**raw, "initial_events": None, "environment_id": None}
    assert qoder("session", "new", "--like", "dep_demo").code == 0  # where there is one environment


WRITE = ["session cancel", "session delete", "session archive", "session update", "session files", "run cancel"]
WRITE += ["run send", "run approve", "run deny", "run answer", "session send"]
MORE = {"update": "--title New", "files": "--remove sesr_1 --yes", "send": "-m Hi", "answer": "evt_1 --with Hi"}
MORE |= {"approve": "--all --yes", "deny": "--all --yes"}


@pytest.mark.parametrize("command", WRITE)
def test_session_of_an_adopted_run_is_not_changed_as_the_last(qoder: Qoder, service: Things, command: str) -> None:
    service.faults.add("trigger:drop-after")
    run = qoder("deploy", "run", "dep_ask", "-q").out.strip()
    sent = list(service.writes)
    for word in ("last", "dep_ask@last"):
        ran = qoder(*command.split(), word, *MORE.get(command.split()[1], "--yes").split(), "--json")
        assert (ran.code, service.writes) == (2, sent), ran.err
        assert f"run {run} was adopted, so it may be someone else's; nothing was sent" in ran.err
    assert qoder("session", "thread", "list", "last").code == 0


# What is in a session.


@pytest.mark.parametrize("fault", ["", "drop-after"])
def test_session_files_are_put_in_and_taken_out(
    qoder: Qoder, service: Things, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file_notes.txt").write_text("notes")
    id = service.session()

    def files(*words: str) -> Any:
        if fault and words[-1] == "--json":
            service.faults.add(f"session-write:{fault}")
        return qoder("session", "files", id, *words)

    added = files("--add", "file_notes.txt:/data/notes.txt", "--json")
    assert (added.code, [each["mount_path"] for each in added.json]) == (0, ["/data/notes.txt"]), added.err
    assert "uploaded file_notes.txt as file_" in added.err
    resource = added.json[0]["id"]
    assert files("--remove", resource).code == 2
    removed = files("--remove", resource, "--yes", "--json")
    assert (removed.code, removed.json) == (0, []), removed.err
    assert files("--remove", resource, "--yes").code == 5
    assert files("--add", "/no/such/file").code == 2


def test_session_files_deny_no_file_that_was_added_where_the_list_cannot_be_read(
    qoder: Qoder, service: Things, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    id = service.session()
    service.lies[f"GET /sessions/{id}/resources"] = lambda page: {**page, "has_more": {}}
    assert qoder("session", "files", id).code == 7
    ran = qoder("session", "files", id, "--add", str(tmp_path / "notes.txt"), "--json")
    assert (ran.code, ran.error["next"]) == (9, ["qoder", "session", "files", id, "-o", "json"])
    assert f"session {id} was changed" in ran.error["message"]


@pytest.mark.parametrize(("file", "mount", "code"), [("file_9", "/b", 9), ("file_7", "/a", 9), ("file_7", "/b", 0)])
def test_session_files_take_no_other_file_for_one_whose_answer_was_lost(
    qoder: Qoder, service: Things, file: str, mount: str, code: int
) -> None:
    id = service.session(resources=[{"id": "sesr_1", "type": "file", "file_id": file, "mount_path": mount}])
    service.faults.add("session-write:drop-before*inf")
    assert qoder("session", "files", id, "--add", "file_7:/b").code == code


def test_session_files_add_no_file_twice(qoder: Qoder, service: Things) -> None:
    id = service.session()
    service.lies[f"GET /sessions/{id}/resources"] = lambda page: {**page, "data": []}
    service.loses("reset")
    assert qoder("session", "files", id, "--add", "file_notes:/b").code == 9
    assert service.writes == [f"POST /sessions/{id}/resources"]
    service.loses("503", done=False)
    service.lies[f"GET /sessions/{id}/resources"] = lambda page: {"data": []}
    assert qoder("session", "files", id, "--add", "file_notes:/c").code == 9


def test_session_files_add_no_other_file_than_was_named(qoder: Qoder, service: Things) -> None:
    id = service.session()
    service.instead[f"POST /sessions/{id}/resources"] = [
        httpx.Response(200, json={"id": "sesr_9", "type": "file", "file_id": "file_9"})
    ]
    assert qoder("session", "files", id, "--add", "file_7").code == 9


def test_session_files_renew_the_token_of_a_repository(qoder: Qoder, service: Things) -> None:
    url = "https://github.com/org/repo"
    file = {"id": "sesr_2", "type": "file", "file_id": "file_7"}
    id = service.session(resources=[{"id": "sesr_1", "type": "github_repository", "url": url}, file])
    assert qoder("session", "files", id, "--renew", "sesr_1").code == 2
    qoder.env["QODER_REPO_TOKEN"] = "ghp_" + "s" * 30
    service.instead[f"GET /sessions/{id}/resources/sesr_1"] = [httpx.Response(200, json={}, headers={"age": "60"})]
    ran = qoder("session", "files", id, "--renew", "sesr_1")
    assert (ran.code, ran.out.split("\t")[:3]) == (0, ["sesr_1", "github_repository", url])
    assert service.sent[-1] == {"authorization_token": qoder.env["QODER_REPO_TOKEN"]}
    ran = qoder("session", "files", id, "--renew", "sesr_2", "--json")
    assert (ran.code, ran.error["message"]) == (2, "sesr_2 is a file, which has no token")


@pytest.mark.parametrize("options", ["", "--tail 3", "--follow"])
def test_session_logs_shows_one_thread(qoder: Qoder, service: Things, options: str) -> None:
    qoder("deploy", "run", "dep_demo", "--wait")
    [thread] = qoder("session", "threads", "last", "--json").json
    ran = qoder("session", "logs", "last", "--thread", thread["id"], *options.split())
    assert ran.code == 0, ran.err
    assert "tail" in options or "\tagent\tStatus report" in ran.out
    assert [qoder("run", "logs", "last", "--thread", id).code for id in ("sthr_gone", "evt_1")] == [5, 2]


def test_model_list_shows_what_they_cost(qoder: Qoder, service: Things) -> None:
    assert qoder("model", "list", "-q").out == "auto\nultimate\n"
    assert qoder("model", "list").out.splitlines()[1].split("\t")[3:5] == ["1.6", "low, medium, high"]


# Talked with; tests/process/test_chat.py has what needs a terminal.


@pytest.mark.parametrize("words", [("chat", "sess_1"), ("new", "--agent", "writer", "-m", "x", "--chat")])
@pytest.mark.parametrize(("types", "sees"), [(False, False), (False, True), (True, False)])
def test_session_chat_requires_a_terminal(
    qoder: Qoder, service: Things, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], types: bool, sees: bool
) -> None:
    monkeypatch.setattr(App, "may_ask", types)
    qoder.terminal = sees
    ran = qoder("session", *words)
    assert (ran.code, service.asked) == (2, [])
    assert "a chat requires a terminal\n" in ran.err
    assert "session send" in ran.err


NOT_THERE = {
    "deleted": (refusal(404, "not_found_error", "Session not found."), 5),
    "not found, says a proxy": (httpx.Response(404, html="<h1>Not found</h1>"), 10),
    "forbidden": (refusal(403, "permission_error", "No."), 10),
}


@pytest.mark.parametrize("name", NOT_THERE)
def test_session_chat_says_how_to_come_back_unless_the_session_is_gone(
    qoder: Qoder, service: Things, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    response, code = NOT_THERE[name]
    monkeypatch.setattr(App, "may_ask", True)
    qoder.terminal = True
    session = service.session()
    service.instead[f"GET /sessions/{session}/events"] = [response] * 9
    ran = qoder("session", "chat", session)
    assert (ran.code, f"to come back: qoder session chat {session}" in ran.err) == (code, code != 5)
    assert f"{session}: Enter sends" in ran.err


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_session_chat_is_left_by_ctrl_c_and_ended_by_other_signals(
    qoder: Qoder, service: Things, monkeypatch: pytest.MonkeyPatch, signum: signal.Signals, code: int
) -> None:
    def stop(page: Any) -> Any:
        raise Signalled(signum)

    monkeypatch.setattr(App, "may_ask", True)
    qoder.terminal = True
    session = service.session()
    service.lies[f"GET /sessions/{session}/events"] = stop
    ran = qoder("session", "chat", session, "--no-progress")
    assert (ran.code, f"left session {session}\nto come back: qoder session chat" in ran.err) == (code, code == 0)


def delta(said: str) -> dict[str, Any]:
    content = {"type": "text", "text": said}
    return {"type": "event_delta", "event_id": "evt_1", "delta": {"type": "content_delta", "content": content}}


def message(said: str) -> dict[str, Any]:
    return {"id": "evt_1", "type": "agent.message", "content": [{"type": "text", "text": said}]}


START = {"type": "event_start", "event": {"id": "evt_1", "type": "agent.message"}}
RESTS = {"id": "evt_3", "type": "session.status_idle", "stop_reason": {"type": "end_turn"}}
USED = {"id": "evt_2", "type": "agent.tool_use", "name": "Bash", "input": {"command": "l\x1bs" * 90}}
USED_LINE = "  tool Bash " + "l\\u001bs" * 8 + "l\\…"
CHATS: list[tuple[tuple[dict[str, Any], ...], str]] = [
    ((START, delta("One "), delta("two."), message("One two.")), "One two.\n"),
    ((START, delta("One "), START, delta("One "), delta("two."), message("One two.")), "One two.\n"),
    ((START, delta("One "), message("One two.")), "One two.\n"),
    ((START, delta("One "), delta("One "), delta("two."), message("One two.")), "One two.\n"),
    ((START, delta("One "), message("Another.")), "Another.\n"),
    ((START, delta("One"), RESTS, message("One")), "One\n"),
    ((message("One two."), RESTS, START, delta("One "), delta("two.")), "One two.\n"),  # the list was faster
    ((START, delta("One "), message("One two."), START, delta("One "), RESTS), "One two.\n"),
    ((message("One."), message("Two.")), "One.\nTwo.\n"),
    ((delta("lost"), message("One.")), "One.\n"),
    ((START, delta("a\x1b[2Jb\u202e")), "a\\u001b[2Jb\\u202e\n"),
    ((START, delta("One "), delta("two.")), "One two.\n"),
    ((START, delta("One "), START, delta("One "), delta("two.")), "One two.\n"),
    ((START, *[delta("One ")] * 2, *[delta("two.")] * 2), "One two.\n"),
    ((message("a\r\n\tb\n\n界"),), "a\n    b\n\n界\n"),
    ((message("word " * 20),), ("word " * 15 + "word\n") + "word " * 4 + "\n"),
    ((message("界" * 50),), "界" * 39 + "\n" + "界" * 11 + "\n"),
    ((START, delta("One"), USED), f"{USED_LINE}\nOne\n"),
    ((START, delta("")), ""),
    ((START, {**delta("lost"), "event_id": "evt_2"}), ""),
    (({"type": "event_delta", "delta": delta("lost")["delta"]},), ""),
    ((message("x" * 159),), ("x" * 79 + "\n") * 2 + "x\n"),
    (({**message("x" * 78), "type": "user.message"},), "> " + "x" * 77 + "\n> x\n"),
    ((RESTS, {"type": "session.status_running"}), ""),
    (({"type": "session.error", "error": "one\ntwo"},), "  error one\n"),
    (({**RESTS, "stop_reason": {"type": "cancelled"}},), "  session idle: cancelled\n"),
]


@pytest.mark.parametrize(("events", "shown"), CHATS)
def test_session_chat_shows_a_message_as_it_is_made_and_never_twice(
    events: tuple[dict[str, Any], ...], shown: str
) -> None:
    page = ChatPage(Screen(io.BytesIO(), is_terminal=True))
    assert "".join(map(page.show, events)) + page.preview(10) == shown


@pytest.mark.parametrize("quote", ["> mine", "  > mine", "\u203a mine", "\uff1e mine"])
def test_session_chat_shows_no_quote_of_the_agent_as_what_a_person_says(quote: str) -> None:
    page = ChatPage(Screen(io.BytesIO(), is_terminal=True))
    [shown] = page.show(message(quote)).splitlines()
    assert shown == f"{quote[: len(quote) - 6]}│ mine"
    begun = {"type": "event_start", "event": {"id": "evt_2"}}
    assert page.show(begun) + page.show({**delta(quote), "event_id": "evt_2"}) == ""
    assert page.preview(10).startswith(shown)
    assert page.quoted("mine") == "> mine\n"


RUNS = {"id": "evt_4", "type": "session.status_running"}
OURS = {"id": "evt_5", "type": "user.message"}
ASKS = {**RESTS, "stop_reason": {"type": "requires_action"}}
GONE = {"id": "evt_6", "type": "session.status_terminated"}


@pytest.mark.parametrize(
    ("events", "is_busy"),
    [
        ([], True),
        ([RESTS], True),  # of a colleague's message, heard late
        ([RUNS, RESTS], True),
        ([RUNS, RESTS, RUNS, OURS], True),
        ([OURS, RUNS, RESTS], False),
        ([RUNS, OURS, USED, RESTS], False),
        ([RUNS, USED, RESTS], False),  # a server that does not show our message
        ([OURS, RUNS, ASKS], True),
        ([GONE], False),
    ],
)
def test_session_chat_takes_no_earlier_end_for_that_of_my_message(events: list[dict[str, Any]], is_busy: bool) -> None:
    activity = Activity()
    activity.send({"evt_5"}, 0.0)
    for event in events:
        activity.see(event, 1.0)
    assert activity.is_busy == is_busy


def at(second: int, event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "processed_at": f"2027-01-15T08:00:0{second}Z"}


@pytest.mark.parametrize(
    ("events", "is_busy", "is_over"),
    [
        ([at(5, RESTS), at(3, RUNS)], False, False),
        ([at(5, RUNS), at(3, RESTS)], True, False),
        ([at(5, RUNS), at(3, ASKS)], True, False),
        ([at(3, RESTS), at(3, RUNS)], True, False),
        ([at(3, RESTS), RUNS], True, False),
        ([at(5, GONE), at(3, RESTS)], False, True),
        ([GONE, RESTS], False, True),
        ([at(5, RUNS), at(3, GONE)], False, True),  # an end is one, whatever its time
    ],
)
def test_session_chat_is_not_taken_back_by_what_it_hears_late(
    events: list[dict[str, Any]], is_busy: bool, is_over: bool
) -> None:
    """A list may tell what a stream has missed, once that has told what came after."""
    activity = Activity()
    for event in events:
        activity.see(event, 1.0)
    assert (activity.is_busy, activity.is_over, activity.asks_at) == (is_busy, is_over, math.inf)
    settled = Activity()
    settled.settle(Asked("sess_1", events=[at(5, RESTS)]), 1.0)
    settled.see(at(3, RUNS), 2.0)
    assert not settled.is_busy


CALL = {"id": "evt_2", "type": "agent.tool_use"}
MAY_ASK = {**CALL, "evaluated_permission": "ask"}
CUSTOM = {**CALL, "type": "agent.custom_tool_use"}
OF_A_THREAD = {**ASKS, "type": "session.thread_status_idle"}


@pytest.mark.parametrize(
    ("events", "asks_at"),
    [
        ([RUNS, MAY_ASK, ASKS], 5.0),
        ([RUNS, CUSTOM, ASKS], 5.0),
        *((events, 5.0 + ASKS_FOR) for events in ([ASKS], [RUNS, CALL, ASKS])),
        ([RUNS, MAY_ASK, CALL, ASKS], 5.0 + ASKS_FOR),
        ([RUNS, MAY_ASK, OF_A_THREAD], 5.0),
        ([RUNS, MAY_ASK, OF_A_THREAD, RUNS], 5.0 + ASKS_FOR),  # the main agent works on
        ([RUNS, MAY_ASK, OF_A_THREAD, {"type": "session.thread_status_running"}, RUNS], math.inf),
        ([RUNS, MAY_ASK, RESTS], math.inf),
        ([RUNS, MAY_ASK, ASKS, RUNS], math.inf),
        ([RUNS, MAY_ASK, ASKS, {"type": "user.tool_confirmation"}], math.inf),
    ],
)
def test_session_chat_asks_at_once_about_what_says_that_it_waits(events: list[dict[str, Any]], asks_at: float) -> None:
    activity = Activity()
    for event in events:
        activity.see(event, 5.0)
    assert activity.asks_at == asks_at


@pytest.mark.parametrize(
    ("key", "is_left_open", "asks_at"), [("evt_3", False, 5.0), ("evt_3", True, math.inf), (None, False, math.inf)]
)
def test_session_chat_asks_nobody_again_about_what_was_left_open(
    key: str | None, is_left_open: bool, asks_at: float
) -> None:
    activity = Activity()
    activity.is_left_open |= is_left_open
    activity.settle(Asked("sess_1", key=key), 5.0)
    assert (activity.asks_at, activity.is_busy) == (asks_at, key is not None)
    activity.see(RUNS, 6.0)
    activity.settle(Asked("sess_1", key="evt_9"), 7.0)
    assert activity.asks_at == 7.0


def test_session_chat_interrupts_who_works_and_once_at_a_time(qoder: Qoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qoder_cli.sessions.chat.DELIVERED_WITHIN", 0.0)
    err, may_answer = io.BytesIO(), Event()
    out = io.BytesIO()
    here = Chat(
        App(qoder.env, Screen(out, is_terminal=True), Screen(err), clock=qoder.clock, transport=qoder.wire), "sess_1"
    )
    here.interrupt()
    here.leave()
    assert here.leave_now is None
    here.activity.is_busy, here.activity.asks_at = True, qoder.clock.time
    assert here.leave_now is Leave.TO_ASK
    accepted, refused = {"data": [{"id": "evt_i", "type": "user.interrupt"}]}, api_error(403, "permission_error", "No.")
    answers = [lambda _: accepted if may_answer.wait(9) else {}, accepted, refused]
    qoder.wire.on("POST", "/sessions/sess_1/events", *answers)
    here.interrupt()
    here.interrupt()
    assert here.catch_up() == "interrupting\n"
    here.leave()
    may_answer.set()
    assert here._interruption is not None
    assert here._interruption.wait(9)
    for _ in ("accepted", "refused"):
        here.interrupt()
        assert here._interruption.wait(9)
    here._editor.draft = "half a mes"
    here.leave()
    unconfirmed, refused, unsent = err.getvalue().decode().splitlines()
    assert (unconfirmed, unsent) == ("warning: the interruption was not confirmed yet", "this message was not sent")
    assert refused.startswith("warning: not interrupted: ")
    assert out.getvalue().endswith(b"> half a mes\n")
    here.activity.see(GONE, qoder.clock.time)
    assert here.leave_now is Leave.FOR_GOOD


@pytest.mark.parametrize(("quiet", "is_busy"), [(QUIET, True), (QUIET + 0.5, False)])
def test_session_chat_looks_after_a_while_whether_the_agent_still_works(
    qoder: Qoder, monkeypatch: pytest.MonkeyPatch, quiet: float, is_busy: bool
) -> None:
    monkeypatch.setattr("qoder_cli.sessions.chat.followed", lambda log, preview: [[]])
    monkeypatch.setattr("qoder_cli.sessions.chat.look", lambda client, id: Asked(id))
    here = Chat(App(qoder.env, Screen(None), Screen(None), clock=qoder.clock, transport=qoder.wire), "sess_1")
    here.activity.send({"evt_1"}, qoder.clock.monotonic() - quiet)
    here._follow()
    assert (here.catch_up(), here.is_busy) == ("", is_busy)


def test_session_chat_ends_where_its_session_may_no_longer_be_read(qoder: Qoder) -> None:
    here = Chat(App(qoder.env, Screen(None), Screen(None), clock=qoder.clock, transport=qoder.wire), "sess_1")
    qoder.wire.on("GET", "/sessions/sess_1/events", api_error(403, "permission_error", "Not yours."))
    here._follow()
    with pytest.raises(AuthError):
        here.catch_up()


def test_session_help_speaks_of_sessions(qoder: Qoder) -> None:
    for command in qoder("help", "session", "--json").json["commands"]:
        help = qoder(*command["path"], "--help").out
        assert command["path"][1] == "new" or "RUN" not in help, help
        assert not re.search(r"qoder run (?!list)", re.sub(r"see\s+qoder run [a-z]+\s+--help", "", help)), help
    for words in ("get", "wait", "logs", "result"):
        assert qoder("session", words, "--json").error["message"] == "missing argument SESSION"
    assert "list them: qoder session list" in qoder("session", "archive").err
