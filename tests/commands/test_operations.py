"""Every operation of the API has a command, which sends exactly what the operation takes."""

import json
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from qoder_cli.nouns.table import Operation, all_operations, of_path
from qoder_cli.sandbox.records import ENVIRONMENT
from qoder_cli.sandbox.samples import WRITER
from qoder_cli.sandbox.wire import BASE_PATH, GENERATIONS, Generation
from tests.conftest import Qoder
from tests.support.desk import unmarked
from tests.support.things import Things


class Case(NamedTuple):
    """A command line, and what it sends for its operation: query and body; `before` are command lines to run first.

    `{session}` and the like are filled in. Without a `body`, `{}` is sent by a POST; ... is for one that is no JSON.
    """

    words: str
    query: dict[str, str] | None = None
    body: Any = None
    before: tuple[str, ...] = ()
    stdin: str | None = None
    code: int = 0


LIST = {"limit": "20"}
SAID = [{"type": "user.message", "content": [{"type": "text", "text": "Go on."}]}]
TOOLS = [{"type": "agent_toolset_20260401"}]
NETWORK = {"type": "cloud", "networking": {"type": "unrestricted"}}
DEPLOYMENT = {
    "name": "nightly",
    "agent": "{agent}",
    "environment_id": "{env}",
    "initial_events": [{"type": "user.message", "content": [{"type": "text", "text": "Report."}]}],
}

OAUTH = (
    "api POST /vaults/vault_team/credentials -f display_name=mcp -f auth[type]=mcp_oauth -f auth[access_token]=secret"
    " -f auth[mcp_server_url]=https://mcp.example.com"
)

CASES = {
    "agents.archive": Case("agent archive writer --yes"),
    "agents.create": Case(
        "agent create --name poet --model auto --system Rhyme.",
        body={"name": "poet", "model": "auto", "system": "Rhyme.", "tools": TOOLS},
    ),
    "agents.list": Case("agent list --include-archived", query={**LIST, "include_archived": "true"}),
    "agents.retrieve": Case("agent get writer --version 1", query={"version": "1"}),
    "agents.update": Case("agent update writer --description Drafts.", body={"description": "Drafts.", "version": 3}),
    "agents.versions.list": Case("agent versions writer", query=LIST),
    "deployment_runs.list": Case("run list --no-resolve", query=LIST),
    "deployment_runs.retrieve": Case("run get {run}"),
    "deployments.archive": Case("deploy archive dep_demo --yes"),
    "deployments.create": Case(
        "deploy create --name nightly --agent writer --environment default -m Report.", body=DEPLOYMENT
    ),
    "deployments.list": Case("deploy list", query=LIST),
    "deployments.pause": Case("deploy pause dep_demo"),
    "deployments.retrieve": Case("deploy get dep_demo"),
    "deployments.run": Case("deploy run dep_demo"),
    "deployments.runs.list": Case("run list dep_demo --no-resolve", query=LIST),
    "deployments.runs.retrieve": Case("run get {run} --deployment dep_demo"),
    "deployments.unpause": Case("deploy unpause dep_demo", before=("deploy pause dep_demo",)),
    "deployments.update": Case("deploy update dep_demo --description Reports.", body={"description": "Reports."}),
    "dreams.archive": Case("dream archive drm_demo --yes"),
    "dreams.cancel": Case("dream cancel {dream}", before=("dream create --from project --model auto",)),
    "dreams.create": Case(
        "dream create --from project --model auto --instructions Tidy.",
        body={
            "inputs": [{"type": "memory_store", "memory_store_id": "{memory}"}],
            "model": "auto",
            "instructions": "Tidy.",
        },
    ),
    "dreams.list": Case("dream list --status running", query={**LIST, "statuses[]": "running"}),
    "dreams.retrieve": Case("dream get drm_demo"),
    "environments.archive": Case("env archive default --yes"),
    "environments.create": Case("env create --name build", body={"name": "build", "config": NETWORK}),
    "environments.delete": Case("env delete build --yes", before=("env create --name build",)),
    "environments.list": Case("env list", query=LIST),
    "environments.retrieve": Case("env get default"),
    "environments.update": Case("env update default --description Builds.", body={"description": "Builds."}),
    "environments.work.ack": Case("env work ack workers work_demo"),
    "environments.work.heartbeat": Case(
        "env work heartbeat workers work_demo --ttl 60",
        query={"desired_ttl_seconds": "60", "expected_last_heartbeat": "NO_HEARTBEAT"},
        before=("env work ack workers work_demo",),
    ),
    "environments.work.list": Case("env work list workers", query=LIST),
    "environments.work.poll": Case("env work poll workers --worker w1", query={}),
    "environments.work.retrieve": Case("env work get workers work_demo"),
    "environments.work.stats": Case("env work stats workers"),
    "environments.work.stop": Case("env work stop workers work_demo --force", body={"force": True}),
    "environments.work.update": Case(
        "env work update workers work_demo --metadata team=core", body={"metadata": {"team": "core"}}
    ),
    "files.delete": Case("file delete notes.md --yes"),
    "files.download": Case("file download report.md -O {folder}"),
    "files.list": Case("file list --name notes", query={**LIST, "name": "notes"}),
    "files.retrieve_metadata": Case("file get notes.md"),
    "files.upload": Case("file upload {folder}/plan.md", body=...),
    "memory_stores.archive": Case("memory archive project --yes"),
    "memory_stores.create": Case("memory create --name ideas", body={"name": "ideas"}),
    "memory_stores.delete": Case("memory delete project --yes"),
    "memory_stores.list": Case("memory list --name project", query={**LIST, "name": "project"}),
    "memory_stores.memories.create": Case(
        "memory write project ideas/new.md -m Rest.", body={"path": "ideas/new.md", "content": "Rest."}
    ),
    "memory_stores.memories.delete": Case(
        "memory remove project ideas/old.md --yes", before=("memory write project ideas/old.md -m Rest.",)
    ),
    "memory_stores.memories.list": Case("memory ls project ideas"),
    "memory_stores.memories.retrieve": Case(
        "memory cat project ideas/old.md", before=("memory write project ideas/old.md -m Rest.",)
    ),
    "memory_stores.memories.update": Case(
        "memory write project ideas/old.md -m Work.", before=("memory write project ideas/old.md -m Rest.",)
    ),
    "memory_stores.memory_versions.list": Case("memory history project"),
    "memory_stores.memory_versions.redact": Case("memory redact project {memory_version} --yes"),
    "memory_stores.memory_versions.retrieve": Case("memory history project --version {memory_version}"),
    "memory_stores.retrieve": Case("memory get project"),
    "memory_stores.update": Case("memory update project --description Ours.", body={"description": "Ours."}),
    "models.list": Case("model list", query={}),
    "sessions.archive": Case("session archive {session} --yes"),
    "sessions.cancel": Case("session cancel {going_session} --yes"),
    "sessions.create": Case(
        "session new --agent writer --env default --title Draft",
        body={"agent": "{agent}", "environment_id": "{env}", "title": "Draft"},
    ),
    "sessions.delete": Case("session delete {session} --yes"),
    "sessions.events.list": Case("session logs {session}", query={"limit": "100", "order": "asc"}),
    "sessions.events.send": Case("session send {session} -m 'Go on.'", body={"events": SAID}),
    "sessions.events.stream": Case("run logs {going} --follow"),
    "sessions.list": Case("session list --status idle", query={**LIST, "statuses[]": "idle"}),
    "sessions.resources.add": Case(
        "session files {session} --add {file}:/data/notes.md",
        body={"type": "file", "file_id": "{file}", "mount_path": "/data/notes.md"},
    ),
    "sessions.resources.delete": Case("session files {mounted} --remove {resource} --yes"),
    "sessions.resources.list": Case("session files {session}", query={"limit": "100"}),
    "sessions.resources.retrieve": Case("session files {mounted} --renew {repository}"),
    "sessions.resources.update": Case(
        "session files {mounted} --renew {repository}", body={"authorization_token": "ghp-secret"}
    ),
    "sessions.retrieve": Case("session get {session}"),
    "sessions.threads.archive": Case("session thread archive {session} {thread} --yes", code=6),
    "sessions.threads.events.list": Case("session logs {session} --thread {thread}", query={"limit": "100"}),
    "sessions.threads.events.stream": Case("run logs {going} --thread {going_thread} --follow"),
    "sessions.threads.list": Case("session threads {session}", query=LIST),
    "sessions.threads.retrieve": Case("session thread get {session} {thread}"),
    "sessions.update": Case("session update {session} --title Final", body={"title": "Final"}),
    "skills.create": Case("skill upload {folder}/skill", body=...),
    "skills.delete": Case("skill delete release-notes --yes"),
    "skills.list": Case("skill list --source custom", query={**LIST, "source": "custom"}),
    "skills.retrieve": Case("skill get release-notes"),
    "skills.versions.create": Case("skill upload {folder}/again", body=...),
    "skills.versions.delete": Case("skill delete release-notes --version 1 --yes"),
    "skills.versions.download": Case("skill download release-notes --version 1 -O {folder}/out"),
    "skills.versions.list": Case("skill versions release-notes", query=LIST),
    "skills.versions.retrieve": Case("skill get release-notes --version 1"),
    "vaults.archive": Case("vault archive team-secrets --yes"),
    "vaults.create": Case("vault create --name spare", body={"display_name": "spare"}),
    "vaults.credentials.archive": Case("vault credential archive team-secrets github-token --yes"),
    "vaults.credentials.create": Case("vault put team-secrets API_KEY --env", stdin="secret-value"),
    "vaults.credentials.delete": Case("vault credential delete team-secrets github-token --yes"),
    "vaults.credentials.list": Case("vault credential list team-secrets", query=LIST),
    "vaults.credentials.mcp_oauth_validate": Case("vault check team-secrets", before=(OAUTH,)),
    "vaults.credentials.retrieve": Case("vault credential get team-secrets github-token"),
    "vaults.credentials.update": Case(
        "vault put team-secrets API_KEY --env",
        stdin="other-value",
        before=("vault put team-secrets API_KEY --env",),
    ),
    "vaults.delete": Case("vault delete team-secrets --yes"),
    "vaults.list": Case("vault list", query=LIST),
    "vaults.retrieve": Case("vault get team-secrets"),
}


def test_every_operation_of_the_api_has_a_case() -> None:
    assert list(CASES) == [operation.id for operation in all_operations()]


class Scene:
    """The sandbox, with the words that name something in it."""

    def __init__(self, qoder: Qoder, generation: Generation, folder: Path) -> None:
        self.qoder = qoder
        self.service = Things(qoder, generation)
        qoder.env["QODER_REPO_TOKEN"] = "ghp-secret"
        (folder / "plan.md").write_text("Plan.\n")
        for name, title in (("skill", "greeting"), ("again", "release-notes")):
            (folder / name).mkdir()
            (folder / name / "SKILL.md").write_text(f"---\nname: {title}\ndescription: Says it.\n---\nSay it.\n")
        self.known = {"folder": str(folder), "agent": WRITER, "env": ENVIRONMENT, "memory": "memstore_project"}
        self.known |= {"file": "file_notes", "memory_version": "memver_1"}

    def of(self, name: str) -> str:
        """Return what a word in braces stands for, made on first use."""
        if name not in self.known:
            self.known[name] = self._made(name)
        return self.known[name]

    def _made(self, name: str) -> str:
        match name:
            case "session":
                return self.service.session()
            case "mounted":
                words = "session new --agent writer --env default --file file_notes --repo https://github.com/org/repo"
                return str(self.qoder(*words.split(), "-q").out.strip())
            case "thread" | "going_thread":
                return "sthr_" + self.of(name.replace("thread", "session")).removeprefix("sess_")
            case "going_session":
                return str(self.qoder("run", "get", self.of("going"), "--json").json["session_id"])
            case "run" | "going":
                return str(self.qoder("deploy", "run", "dep_demo", "-q").out.strip())
            case "repository" | "resource":
                rows = self.qoder("session", "files", self.of("mounted"), "--json").json
                return str(next(row["id"] for row in rows if (row["type"] == "file") == (name == "resource")))
            case "dream":
                rows = self.qoder("dream", "list", "--json").json
                return str(next(row["id"] for row in rows if row["status"] in ("pending", "running")))
        raise KeyError(name)

    def filled(self, value: Any) -> Any:
        """Return words or a body with the words in braces filled in."""
        if isinstance(value, str):
            return re.sub(r"\{(\w+)\}", lambda found: self.of(found[1]), value)
        if isinstance(value, dict):
            return {key: self.filled(each) for key, each in value.items()}
        return [self.filled(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("operation", all_operations(), ids=lambda operation: operation.id)
@pytest.mark.parametrize("generation", GENERATIONS)
def test_every_operation_has_a_command(
    qoder: Qoder, tmp_path: Path, generation: Generation, operation: Operation
) -> None:
    case, scene = CASES[operation.id], Scene(qoder, generation, tmp_path)
    assert operation.command[-1] in shlex.split(case.words)
    for line in case.before:
        qoder.stdin = f"{case.stdin}-before"
        assert qoder(*shlex.split(scene.filled(line))).code == 0, line
    words = shlex.split(scene.filled(case.words))
    scene.service.requests.clear()
    qoder.stdin = case.stdin or ""
    ran = qoder(*words)
    assert ran.code == case.code, (words, ran.err)
    request = next(
        each
        for each in scene.service.requests
        if each.method == operation.method and operation in of_path(each.url.path.removeprefix(BASE_PATH))
    )
    if case.query is not None:
        assert dict(request.url.params) == case.query
    if case.body is ...:
        assert request.headers["content-type"].startswith("multipart/form-data")
    elif operation.method == "POST" and case.body is not None:
        assert unmarked(json.loads(request.content)) == scene.filled(case.body)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_env_delete_of_what_is_in_use_says_what_can_be_done(qoder: Qoder, generation: Generation) -> None:
    Things(qoder, generation).session()
    ran = qoder("env", "delete", "default", "--yes", "--json")
    assert (ran.code, ran.error["http_status"]) == (6, 409)
    assert ran.error["hint"].startswith("archive it instead; the API refuses while any session refers to it")


def test_session_list_sends_each_bound_of_a_window_as_one_parameter(qoder: Qoder) -> None:
    service = Things(qoder)
    assert qoder("session", "list", "--since", "1h", "--until", "1m").code == 0
    [request] = service.requests
    assert sorted(name for name in request.url.params if "created" in name) == ["created_at[gte]", "created_at[lte]"]
