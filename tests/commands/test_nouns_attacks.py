"""A hostile server, and careless files, against the commands of all nouns."""

import json
from collections.abc import Callable
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


def test_the_digest_of_a_memory_stays_one_value_of_the_query(qoder: Qoder, liar: Liar) -> None:
    for digest in ("a\nb", "0&view=full", "\x1b[31m"):
        liar.lies["GET /memory_stores/memstore_project/memories/mem_1"] = lambda raw, digest=digest: {
            **raw,
            "content_sha256": digest,
        }
        assert qoder("memory", "remove", "project", "conventions.md", "--yes").code == 6  # another than the server's
