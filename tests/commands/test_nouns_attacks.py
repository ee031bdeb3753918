"""A hostile server, and careless files, against the commands of all nouns."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.sandbox.wire import Generation
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder
from tests.support.inprocess import WorldTransport

PREFIX = "/api/v1/cloud"
Lie = Callable[[Any], Any]


class Liar(WorldTransport):
    """The sandbox, whose JSON answers `lies` change, by method and path; `asked` are the requests."""

    def __init__(self, qoder: Qoder, generation: Generation = "current") -> None:
        world = World(clock=qoder.clock.now, generation=generation, token=TOKEN, seed=5)
        super().__init__(world, sleep=qoder.clock.sleep)
        self.lies: dict[str, Lie] = {}
        self.asked: list[str] = []
        qoder.transport = self

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        asked = f"{request.method} {request.url.path.removeprefix(PREFIX)}"
        self.asked.append(asked)
        answer = super().handle_request(request)
        if asked not in self.lies:
            return answer
        told = self.lies[asked](json.loads(answer.read()))
        return told if isinstance(told, httpx.Response) else httpx.Response(200, json=told)

    @property
    def writes(self) -> list[str]:
        return [each for each in self.asked if not each.startswith("GET")]


@pytest.fixture
def liar(qoder: Qoder) -> Liar:
    return Liar(qoder)


def each_row(change: Lie) -> Lie:
    return lambda page: {**page, "data": [change(row) for row in page["data"]]}


def setting(**fields: Any) -> Lie:
    return lambda raw: {**raw, **fields}


MEMORY = "GET /memory_stores/memstore_project/memories/mem_1"

# Fields of another kind than the API documents.

ODD: list[Any] = [None, 5, True, "x", [], [5], {"x": 1}, 10**30, "9" * 5000]
ODD_FIELDS: list[tuple[str, str, Lie]] = [
    ("agents", "tools", lambda odd: [{"type": "agent_toolset_20260401", "configs": odd}]),
    ("agents", "tools", lambda odd: [{"type": "agent_toolset_20260401", "disallowed_tools": odd}]),
    ("agents", "tools", lambda odd: [{"type": "agent_toolset_20260401", "enabled_tools": odd}]),
    ("agents", "metadata", lambda odd: odd),
    ("environments", "metadata", lambda odd: odd),
    ("environments", "config", lambda odd: {"type": "cloud", "packages": odd}),
    ("environments", "config", lambda odd: {"type": "cloud", "packages": {"pip": odd}}),
    ("environments", "config", lambda odd: {"networking": {"type": "limited", "allowed_hosts": odd}}),
    ("skills", "latest_version", lambda odd: odd),
]
OPTIONS = {
    "agents": ["--ask", "Bash", "--metadata", "a=b"],
    "environments": ["--pip", "pandas", "--allow-host", "a.example", "--metadata", "a=b"],
}


@pytest.mark.parametrize("at", range(len(ODD_FIELDS)))
@pytest.mark.parametrize("odd", ODD, ids=lambda odd: str(odd)[:9])
def test_a_field_of_another_kind_is_no_bug_here(qoder: Qoder, liar: Liar, odd: Any, at: int, tmp_path: Any) -> None:
    plural, field, around = ODD_FIELDS[at]
    noun, name = {"agents": ("agent", "writer"), "environments": ("env", "default")}.get(
        plural, ("skill", "release-notes")
    )
    id = qoder(noun, "get", name, "-q").out.strip()
    liar.lies[f"GET /{plural}"] = each_row(lambda row: {**row, field: around(odd)})
    liar.lies[f"GET /{plural}/{id}"] = lambda raw: {**raw, field: around(odd)}
    assert qoder(noun, "list").code == 0
    assert qoder(noun, "get", id).code == 0
    if plural in OPTIONS:
        assert qoder(noun, "update", id, *OPTIONS[plural], "--dry-run").code in (0, 2)
        return
    assert qoder(noun, "download", id, "-O", str(tmp_path)).code in (0, 5)
    skill = tmp_path / "new"
    skill.mkdir()
    (skill / "SKILL.md").write_text("---\nname: release-notes\ndescription: x\n---\n")
    assert qoder(noun, "upload", str(skill)).code in (0, 5, 9)


# A name, and what it stands for.


def test_what_a_list_shows_twice_is_one_thing(qoder: Qoder, liar: Liar) -> None:
    for path in ("/agents", "/environments", "/vaults/vault_team/credentials"):
        liar.lies[f"GET {path}"] = lambda page: {**page, "data": page["data"] * 2}
    qoder.stdin = "a-secret-of-ours\n"
    assert qoder("agent", "get", "writer").code == 0
    assert qoder("vault", "put", "team-secrets", "GITHUB_TOKEN", "--env").code == 0
    assert liar.writes == ["POST /vaults/vault_team/credentials/vcred_github"]


@pytest.mark.parametrize("verb", ["archive", "delete"])
@pytest.mark.parametrize("id", ["..", ".", "agent_writer", "env_1/../../agents/agent_writer", "env_1\n", "env_?x=1", 7])
def test_an_id_of_a_list_that_cannot_be_one_is_never_written_to(qoder: Qoder, liar: Liar, id: Any, verb: str) -> None:
    liar.lies["GET /environments"] = lambda page: {**page, "data": [{"id": id, "name": "staging"}]}
    ran = qoder("env", verb, "staging", "--yes")
    assert (ran.code, liar.writes) == (5, []), ran.err
    assert "no environment is named 'staging'" in ran.err  # and nothing was asked by such an id


def test_the_digest_of_a_memory_stays_one_value_of_the_query(qoder: Qoder, liar: Liar) -> None:
    for digest in ("a\nb", "0&view=full", "\x1b[31m"):
        liar.lies[MEMORY] = setting(content_sha256=digest)
        assert qoder("memory", "remove", "project", "conventions.md", "--yes").code == 6  # another than the server's


@pytest.mark.parametrize("words", [["get"], ["update", "--description", "x"]])
def test_a_name_that_the_thing_has_no_more_stands_for_nothing(qoder: Qoder, liar: Liar, words: list[str]) -> None:
    liar.lies["GET /agents/agent_writer"] = lambda raw: {**raw, "name": "somebody-else"}
    ran = qoder("agent", words[0], "writer", *words[1:])
    assert (ran.code, ran.out, liar.writes) == (5, "", []), ran.err
    assert "agent_writer is named 'somebody-else' now" in ran.err
    assert qoder("agent", words[0], "agent_writer", *words[1:]).code == 0


@pytest.mark.parametrize("noun", ["agent", "skill"])
def test_a_version_of_another_thing_is_none_of_this(qoder: Qoder, liar: Liar, noun: str) -> None:
    if noun == "agent":
        liar.lies["GET /agents/agent_writer"] = lambda raw: {**raw, "id": "agent_reviewer"}
    else:
        path = "GET /skills/skill_release_notes/versions/1"
        liar.lies[path] = lambda raw: {**raw, "skill_id": "skill_other"}
    id = {"agent": "agent_writer", "skill": "skill_release_notes"}[noun]
    ran = qoder(noun, "get", id, "--version", "1")
    assert (ran.code, ran.out) == (5, ""), ran.err
    if noun == "skill":
        assert qoder(noun, "download", id, "--version", "1").code == 5


def moved(liar: Liar) -> None:
    liar.lies[MEMORY] = lambda raw: {**raw, "path": "other.md"} if raw["path"] == "conventions.md" else raw


def test_a_memory_that_moved_is_neither_overwritten_nor_removed(qoder: Qoder, liar: Liar) -> None:
    moved(liar)
    assert qoder("memory", "cat", "project", "conventions.md").code == 5
    assert qoder("memory", "remove", "project", "conventions.md", "--yes").code == 5
    assert liar.writes == []
    ran = qoder("memory", "write", "project", "conventions.md", "-m", "Ours.")
    assert ran.code == 6, ran.err  # the server knows one of this path
    assert liar.writes == ["POST /memory_stores/memstore_project/memories"]


def test_a_memory_that_only_a_list_still_shows_is_written_anew(qoder: Qoder, liar: Liar) -> None:
    row = json.loads(qoder("memory", "ls", "project", "--json").out)[0]
    path = "/memory_stores/memstore_project/memories"
    liar.lies[f"GET {path}"] = lambda page: {**page, "data": [{**row, "id": "mem_gone", "path": "new.md"}]}
    ran = qoder("memory", "write", "project", "new.md", "-m", "Ours.")
    assert (ran.code, liar.writes) == (0, [f"POST {path}"]), ran.err
    assert qoder("memory", "cat", "project", "new.md").code == 5


# Answers that are not what was asked for.

CREATED = {
    "agent": (["--model", "auto"], "/agents", {"id": "agent_1", "type": "agent"}),
    "env": ([], "/environments", {"id": "env_1", "type": "environment"}),
    "vault": ([], "/vaults", {"id": "vault_1", "type": "vault"}),
    "memory": ([], "/memory_stores", {"id": "memstore_1", "type": "memory_store"}),
}


@pytest.mark.parametrize("fields", [{"metadata": {"qoder_key": "another"}}, {"name": "other", "display_name": "other"}])
@pytest.mark.parametrize("noun", CREATED)
def test_another_new_thing_is_not_taken_for_ours(qoder: Qoder, liar: Liar, noun: str, fields: Any) -> None:
    options, path, other = CREATED[noun]
    liar.lies[f"POST {path}"] = lambda made: {**other, **fields}
    ran = qoder(noun, "create", "--name", "ours", *options, "-q")
    assert (ran.code, liar.writes) == (0, [f"POST {path}"]), ran.err
    assert ran.out.strip() != other["id"]
    assert qoder(noun, "get", "ours", "-q").out == ran.out


def test_another_new_memory_is_not_taken_for_ours(qoder: Qoder, liar: Liar) -> None:
    path = "/memory_stores/memstore_project/memories"
    liar.lies[f"POST {path}"] = lambda made: {"id": "mem_1", "type": "memory", "path": "other.md"}
    ran = qoder("memory", "write", "project", "new.md", "-m", "Ours.", "-q")
    assert (ran.code, liar.writes) == (0, [f"POST {path}"]), ran.err
    assert ran.out.strip() not in ("", "mem_1")


def failed(answer: Any) -> httpx.Response:
    error = {"type": "overloaded_error", "message": "Overloaded."}
    return httpx.Response(503, json={"type": "error", "error": error})


def test_a_replaced_secret_that_the_api_failed_at_is_known_by_our_mark(qoder: Qoder, liar: Liar) -> None:
    credential = "/vaults/vault_team/credentials/vcred_github"
    liar.lies[f"POST {credential}"] = failed
    for code in (0, 9):
        qoder.stdin = "a-secret-of-ours\n"
        ran = qoder("vault", "put", "team-secrets", "GITHUB_TOKEN", "--env")
        assert (ran.code, set(liar.writes)) == (code, {f"POST {credential}"})
        liar.lies[f"GET {credential}"] = setting(metadata={})  # which proves nothing
        liar.asked.clear()


def test_a_heartbeat_that_the_api_failed_at_is_not_known_to_be_taken(qoder: Qoder, liar: Liar) -> None:
    qoder("env", "work", "poll", "workers", "--worker", "w1")
    qoder("env", "work", "ack", "workers", "work_demo")
    liar.lies["POST /environments/env_workers/work/work_demo/heartbeat"] = failed
    ran = qoder("env", "work", "heartbeat", "workers", "work_demo")
    assert ran.code == 9, ran.err
    assert len([each for each in liar.writes if each.endswith("/heartbeat")]) == 1


@pytest.mark.parametrize("answer", [{}, {"id": "env_1", "type": "environment"}, [], "x", 5, False])
def test_a_poll_that_gives_no_work_item_is_no_answer(qoder: Qoder, liar: Liar, answer: Any) -> None:
    liar.lies["GET /environments/env_workers/work/poll"] = lambda found: answer
    for format in ("table", "json", "id"):
        ran = qoder("env", "work", "poll", "workers", "--worker", "w1", "-o", format)
        assert (ran.code, ran.out) == (7, ""), ran.err


@pytest.mark.parametrize("answer", [{}, {"status": 5}, {"type": "vault", "id": "vault_1"}, [], None])
def test_a_check_without_a_status_says_nothing_of_a_credential(qoder: Qoder, liar: Liar, answer: Any) -> None:
    row = {"id": "vcred_1", "display_name": "docs", "auth": {"type": "mcp_oauth"}}
    credentials = "/vaults/vault_team/credentials"
    liar.lies[f"GET {credentials}"] = lambda page: {**page, "data": [row]}
    liar.lies[f"POST {credentials}/vcred_1/mcp_oauth_validate"] = lambda found: httpx.Response(200, json=answer)
    assert qoder("vault", "check", "team-secrets").code == 7


# Careless files and pipes.


@pytest.mark.parametrize(
    "text",
    [
        "type: agent\nname: 5\nmodel: auto\n",
        "type: agent\nname: a\nmodel: [auto]\n",
        "type: agent\nname: a\nmodel: auto\nmetadata: 5\n",
        "type: agent\nname: a\nmodel: auto\nmetadata: {a: 5}\n",
        "type: agent\nname: a\nmodel: auto\ntools: Bash\n",
        "type: subagent\nname: a\nmodel: auto\n",
    ],
)
@pytest.mark.parametrize("verb", ["create", "update"])
def test_an_object_in_a_file_is_checked_as_fields_are(
    qoder: Qoder, liar: Liar, verb: str, text: str, tmp_path: Path
) -> None:
    (tmp_path / "agent.yaml").write_text(text)
    ran = qoder("agent", verb, *(["writer"] if verb == "update" else []), "-f", str(tmp_path / "agent.yaml"))
    assert (ran.code, liar.writes) == (2, []), ran.err


@pytest.mark.parametrize("field", ["tools", "skills", "mcp_servers"])
def test_what_is_no_mapping_in_a_list_of_a_file_is_no_bug_here(
    qoder: Qoder, liar: Liar, field: str, tmp_path: Path
) -> None:
    (tmp_path / "agent.yaml").write_text(f"name: a\nmodel: auto\n{field}: [5]\n")
    for words in (["create"], ["update", "writer"]):
        assert qoder("agent", *words, "-f", str(tmp_path / "agent.yaml"), "--dry-run").code == 0


@pytest.mark.parametrize("words", [[], ["-m", "-"], ["-m", ""]])
def test_a_memory_is_not_emptied_by_a_pipe_that_has_nothing(qoder: Qoder, liar: Liar, words: list[str]) -> None:
    ran = qoder("memory", "write", "project", "conventions.md", *words)
    assert (ran.code, liar.writes) == (2, []), ran.err
    assert "is empty" in ran.err
    assert qoder("memory", "write", "project", "conventions.md", "-m", "@/dev/null").code == 0


def skill(folder: Path, name: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "SKILL.md").write_text(f"---\nname: {name}\ndescription: x\n---\nNew.\n")
    return str(folder)


def test_a_version_that_was_added_is_told_whatever_comes_afterwards(qoder: Qoder, liar: Liar, tmp_path: Path) -> None:
    liar.lies["GET /skills/skill_release_notes"] = lambda raw: failed(raw) if liar.writes else raw
    ran = qoder("skill", "upload", skill(tmp_path / "new", "release-notes"), "--json")
    assert (ran.code, liar.writes) == (0, ["POST /skills/skill_release_notes/versions"]), ran.err
    assert (ran.json["id"], ran.json["latest_version"]) == ("skill_release_notes", "3")


def test_a_skill_is_not_a_version_of_one_that_has_its_name_as_a_title(qoder: Qoder, liar: Liar, tmp_path: Path) -> None:
    liar.lies["GET /skills"] = each_row(setting(name="release-notes", display_title="weekly"))
    assert qoder("skill", "upload", skill(tmp_path / "new", "weekly")).code == 0
    assert liar.writes == ["POST /skills"]
    liar.asked.clear()
    row = json.loads(qoder("skill", "get", "skill_release_notes", "--json").out)
    liar.lies["GET /skills"] = lambda page: {**page, "data": [{**row, "display_title": "monthly"}]}
    assert "name" not in row
    assert qoder("skill", "upload", skill(tmp_path / "new", "monthly")).code == 0
    assert liar.writes == ["POST /skills"]


NOUNS_THERE = ["agent", "env", "env work", "file", "vault", "vault credential", "skill", "memory", "dream", "model"]


@pytest.mark.parametrize("noun", NOUNS_THERE)
def test_help_fits_a_narrow_terminal(qoder: Qoder, noun: str) -> None:
    qoder.env["COLUMNS"] = "80"
    told = qoder(*noun.split(), "--help").out
    verbs = re.findall(r"^  ([a-z]+) +[A-Z]", told, re.MULTILINE)
    assert verbs
    for verb in verbs:
        lines = qoder(*noun.split(), verb, "--help").out.splitlines()
        assert max(map(len, lines)) <= 80, verb


@pytest.mark.parametrize("id", [None, 5, [None], "", "..", "vault_1"])
def test_what_has_our_mark_and_no_id_is_not_known_to_be_ours(qoder: Qoder, liar: Liar, id: Any) -> None:
    liar.lies["POST /agents"] = failed
    liar.lies["GET /agents"] = each_row(setting(id=id))
    ran = qoder("agent", "create", "--name", "ours", "--model", "auto", "-q")
    assert ran.code in (7, 9), ran.out
    assert (ran.out, liar.writes) == ("", ["POST /agents"])


class Storage(Liar):
    """The sandbox, with a storage host of its own that gives `content` for a file."""

    content = b""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "storage.example":
            assert "authorization" not in request.headers
            return httpx.Response(200, content=iter([self.content]))  # of no stated length
        return super().handle_request(request)


@pytest.mark.parametrize("left", [0, 1, 33])
def test_a_file_that_was_cut_is_not_saved(qoder: Qoder, tmp_path: Path, left: int) -> None:
    storage = Storage(qoder)
    storage.content = b"x" * left
    storage.lies["GET /files/file_report/content"] = lambda link: {"url": "https://storage.example/1"}
    ran = qoder("file", "download", "file_report", "-O", str(tmp_path / "new"))
    assert (ran.code, list((tmp_path / "new").iterdir())) == (7, [])
    assert f"{left} of 34 bytes" in ran.err
    storage.content = b"x" * 34
    assert qoder("file", "download", "file_report", "-O", str(tmp_path / "new")).code == 0


@pytest.mark.parametrize("words", [["--name", TOKEN], ["--name", "a", "--metadata", f"key={TOKEN}"]])
@pytest.mark.parametrize("noun", CREATED)
def test_a_token_is_never_what_a_thing_is_called(qoder: Qoder, liar: Liar, noun: str, words: list[str]) -> None:
    ran = qoder(noun, "create", *words, *(["--model", "auto"] if noun == "agent" else []))
    assert (ran.code, liar.writes) == (2, []), ran.err
    if noun in ("agent", "env", "memory"):
        name = {"agent": "writer", "env": "default", "memory": "project"}[noun]
        assert (qoder(noun, "update", name, *words).code, liar.writes) == (2, [])
