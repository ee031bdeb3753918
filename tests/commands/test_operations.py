"""Every operation of the API has a command that sends it, with the query and the body that it takes."""

import json
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from qoder_cli.base.errors import Exit
from qoder_cli.nouns.edits.thing import target_of
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.table import NOUNS, Operation, all_operations, find, of_path, operation, words_of
from qoder_cli.sandbox.wire import BASE_PATH, GENERATIONS
from tests.conftest import Qoder
from tests.contract.scene import playing
from tests.support.cells import checkerboard
from tests.support.desk import unmarked
from tests.support.staged import put_files
from tests.support.things import Things, refusal


class Case(NamedTuple):
    """A command line, and the query or the body that it sends for its operation; `before` are lines to run first.

    `{session}` and the like are filled in. The body ... is for a form.
    """

    words: str
    query: dict[str, str] | None = None
    body: Any = None
    before: tuple[str, ...] = ()


LIST = {"limit": "20"}
OAUTH = (
    "api POST /vaults/vault_team/credentials -f display_name=mcp -f auth[type]=mcp_oauth -f auth[access_token]=secret"
    " -f auth[mcp_server_url]=https://mcp.example.com"
)
ADDED = {"type": "file", "file_id": "file_notes", "mount_path": "/data/notes.md"}
# Operations that the line of their command in the table of clauses does not send, or not with all that they take.
CASES = {
    "agents.list": Case("agent list --include-archived", query={**LIST, "include_archived": "true"}),
    "agents.retrieve": Case("agent get writer --version 1", query={"version": "1"}),
    "agents.versions.list": Case("agent versions writer -n 3", query={"limit": "3"}),
    "deployment_runs.list": Case("run list --no-resolve", query=LIST),
    "deployments.runs.list": Case("run list dep_demo --no-resolve", query=LIST),
    "deployments.runs.retrieve": Case("run get {run} --deployment dep_demo"),
    "dreams.list": Case("dream list --status running", query={**LIST, "statuses[]": "running"}),
    "environments.work.heartbeat": Case(
        "env work heartbeat workers work_demo --ttl 60",
        query={"desired_ttl_seconds": "60", "expected_last_heartbeat": "NO_HEARTBEAT"},
        before=("env work ack workers work_demo",),
    ),
    "files.list": Case("file list --name notes", query={**LIST, "name": "notes"}),
    "memory_stores.create": Case("memory create --name ideas", body={"name": "ideas"}),
    "memory_stores.list": Case("memory list --name project", query={**LIST, "name": "project"}),
    "memory_stores.memories.create": Case("memory write project new.md -m x", body={"path": "new.md", "content": "x"}),
    "memory_stores.memory_versions.retrieve": Case("memory history project --version memver_1"),
    "models.list": Case("model list", query={}),
    "sessions.cancel": Case("run cancel {run} --yes"),
    "sessions.events.list": Case("session logs {session}", query={"limit": "100", "order": "asc"}),
    "sessions.events.stream": Case("run logs {run} --follow"),
    "sessions.list": Case("session list --status idle", query={**LIST, "statuses[]": "idle"}),
    "sessions.resources.add": Case("session files {session} --add file_notes:/data/notes.md", body=ADDED),
    "sessions.resources.delete": Case("session files {mounted} --remove {file} --yes"),
    "sessions.resources.retrieve": Case("session files {mounted} --renew {repository}"),
    "sessions.resources.update": Case(
        "session files {mounted} --renew {repository}", body={"authorization_token": "ghp-secret"}
    ),
    "sessions.threads.events.list": Case("session logs {session} --thread {thread}", query={"limit": "100"}),
    "sessions.threads.events.stream": Case("run logs {run} --thread {thread_of_run} --follow"),
    "skills.create": Case("skill upload mine", body=...),
    "skills.list": Case("skill list --source custom", query={**LIST, "source": "custom"}),
    "skills.versions.create": Case("skill upload release-notes", body=...),
    "skills.versions.delete": Case("skill delete release-notes --version 1 --yes"),
    "skills.versions.retrieve": Case("skill get release-notes --version 1"),
    "vaults.create": Case("vault create --name spare", body={"display_name": "spare"}),
    "vaults.credentials.create": Case("vault put team-secrets API_KEY --variable"),
    "vaults.credentials.mcp_oauth_validate": Case("vault check team-secrets", before=(OAUTH,)),
}


@cache
def sent_by(name: str) -> list[str]:
    """Return the operations that the line of a command sends, in the table of clauses."""
    with playing(name) as scene:
        scene.run()
        return [operation.id for one in scene.sent if (operation := find(one.method, one.path))]


@pytest.mark.parametrize("operation", all_operations(), ids=lambda operation: operation.id)
@pytest.mark.few(22)
def test_every_operation_has_a_command(operation: Operation) -> None:
    if operation.id in CASES:
        assert operation.command[-1] in CASES[operation.id].words.split()
    else:
        assert operation.id in sent_by(" ".join(operation.command))


@pytest.fixture
def made(qoder: Qoder, service: Things, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the ids that words in braces stand for."""
    monkeypatch.chdir(tmp_path)
    put_files(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "SKILL.md").write_text("---\nname: mine\ndescription: Says it.\n---\nSay it.\n")
    qoder.env["QODER_REPO_TOKEN"] = "ghp-secret"
    qoder.stdin = "a-secret-value"
    words = "session new --agent writer --env default --file file_notes --repo https://github.com/org/repo -q"
    mounted, session = qoder(*words.split()).out.strip(), service.session()
    repository, file = (row["id"] for row in qoder("session", "files", mounted, "--json").json)
    run = qoder("deploy", "run", "dep_demo", "--json").json
    return {
        **{"mounted": mounted, "session": session, "file": file, "repository": repository, "run": run["id"]},
        "thread": session.replace("sess_", "sthr_"),
        "thread_of_run": run["session_id"].replace("sess_", "sthr_"),
    }


@pytest.mark.parametrize(("id", "served_by"), checkerboard(CASES, GENERATIONS))
@pytest.mark.few(5)
def test_every_operation_is_sent_with_its_parts(qoder: Qoder, service: Things, made: dict[str, str], id: str) -> None:
    case, operation = CASES[id], next(each for each in all_operations() if each.id == id)
    for line in case.before:
        assert qoder(*shlex.split(line)).code == 0, line
    service.requests.clear()
    ran = qoder(*re.sub(r"\{(\w+)\}", lambda found: made[found[1]], case.words).split())
    assert ran.code == 0, ran.err
    request = next(
        each
        for each in service.requests
        if each.method == operation.method and operation in of_path(each.url.path.removeprefix(BASE_PATH))
    )
    if case.query is not None:
        assert dict(request.url.params) == case.query
    if case.body is ...:
        assert request.headers["content-type"].startswith("multipart/form-data")
    elif case.body is not None:
        assert unmarked(json.loads(request.content)) == case.body


def test_env_delete_of_what_is_in_use_says_what_can_be_done(qoder: Qoder, service: Things) -> None:
    service.session()
    ran = qoder("env", "delete", "default", "--yes", "--json")
    assert (ran.code, ran.error["http_status"]) == (6, 409)
    assert ran.error["hint"].startswith("archive it instead; the API refuses while any session")
    service.instead["DELETE /skills/skill_release_notes"] = [refusal(409, "x", "In use.")]
    hint = qoder("skill", "delete", "release-notes", "--yes", "--json").error["hint"] or ""
    assert "archive" not in hint  # a skill cannot be


def test_session_list_sends_each_bound_of_a_window_as_one_parameter(qoder: Qoder, service: Things) -> None:
    assert qoder("session", "list", "--since", "1h", "--until", "1m").code == 0
    [request] = service.requests
    assert sorted(name for name in request.url.params if "created" in name) == ["created_at[gte]", "created_at[lte]"]


def _looks(noun: Noun) -> list[tuple[str, ...]]:
    """Return the commands that errors about a noun's things name."""
    above = NOUNS.get(noun.words.rpartition(" ")[0])
    held, id = [f"{above.prefix}1"] if above else [], f"{noun.prefix}1"
    found = [words_of(noun, "list", *held)]
    if (operation(noun, "retrieve") or operation(noun, "retrieve_metadata")) and noun.words != "memory version":
        found.append(target_of(noun, *held, id).look)  # of a version of a memory `redact` says it itself
    if operation(noun, "versions.list"):
        found.append(words_of(noun, "versions", *held, id))
    if operation(noun, "delete"):
        found.append(words_of(noun, "delete", *held, id, "--yes"))
    return found


@pytest.mark.parametrize("noun", NOUNS.values(), ids=lambda noun: noun.words)
@pytest.mark.few(5)
def test_memory_write_names_no_command_that_does_not_exist(qoder: Qoder, noun: Noun) -> None:
    qoder.transport = httpx.MockTransport(lambda request: refusal(404, "not_found_error", "No such thing."))
    for words in _looks(noun):
        ran = qoder(*words)
        assert ran.code == Exit.NOT_FOUND, (words, ran.err)  # it was understood, and a request was sent
