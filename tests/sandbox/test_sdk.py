"""The official SDK finds in the sandbox what its own examples look for."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qoder_cli.sandbox.server import Server
from qoder_cli.sandbox.world import World
from tests.conftest import Qoder
from tests.sandbox.desk import said

TOOLSET = [{"type": "agent_toolset_20260401"}]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, qca: Any) -> Iterator[Any]:
    for name in [name for name in os.environ if name.startswith("QODER_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    with (
        Server(World(speed=20)).start() as server,
        qca.Managed(base_url=server.base_url, pat=server.world.token, max_retries=0, timeout=20) as made,
    ):
        yield made


def session(client: Any, *, tools: Any = TOOLSET, **fields: Any) -> str:
    """Create an environment, an agent and a session of both, and return the session's id."""
    environment = client.environments.create(name="env", config={"type": "cloud"})
    agent = client.agents.create(name="agent", model={"id": "ultimate"}, tools=tools)
    made = client.sessions.create(environment_id=environment.id, agent=agent.id, **fields)
    return str(made.id)


def ask(client: Any, id: str, event: dict[str, Any]) -> list[Any]:
    """Send an event, and return what follows it until the session is idle."""
    [sent] = client.sessions.events.send(id, events=[event]).data
    with client.sessions.events.stream(id, extra_headers={"Last-Event-ID": sent.id}) as stream:
        return until_idle(stream)


def until_idle(stream: Any) -> list[Any]:
    seen = []
    for event in stream:
        seen.append(event)
        if event.type == "session.status_idle":
            return seen
    raise AssertionError("the stream ended before the session was idle")


def text_of(events: list[Any]) -> str:
    [message] = [event for event in events if event.type == "agent.message"]
    return str(message.content[0].text)


def test_sandbox_answers_the_sdk_in_a_session_again_and_again(client: Any) -> None:
    assert {model.id: model.is_enabled for model in client.models.list().data} == {"auto": True, "ultimate": True}
    id = session(client)
    assert [text_of(ask(client, id, said(text))) for text in ("One.", "Two.")] == ["You said: One.", "You said: Two."]
    types = [event.type for event in client.sessions.events.list(id, order="asc", limit=2)]  # over several pages
    assert (types.count("user.message"), types.count("agent.message")) == (2, 2)
    with client.sessions.events.stream(id, event_deltas=["agent.message"]) as stream:
        client.sessions.events.send(id, events=[said("Explain it.")])
        events = until_idle(stream)
    pieces = [event.to_dict()["delta"]["content"]["text"] for event in events if event.type == "event_delta"]
    assert "".join(pieces) == text_of(events) == "You said: Explain it."
    assert client.sessions.delete(id).type == "session_deleted"


def test_sandbox_shows_what_our_commands_make_as_the_sdk_expects_it(tmp_path: Path, qca: Any) -> None:
    (tmp_path / "SKILL.md").write_text("---\nname: tables\ndescription: How we write them.\n---\nRound.\n")
    (tmp_path / "notes.md").write_text("Notes.\n")
    qoder = Qoder(tmp_path / "config.toml")
    qoder.transport = None
    with Server(World(speed=20)).start() as server:
        token = server.world.token
        qoder.env |= {"QODER_BASE_URL": server.base_url, "QODER_PAT": token}

        def made(words: str, stdin: str = "") -> str:
            qoder.stdin = stdin
            ran = qoder(*shlex.split(words), "-q")
            assert ran.code == 0, (words, ran.err)
            return ran.out.strip()

        environment = made("env create --name reports --network limited --allow-host a.example.com --pip pandas")
        vault = made("vault create --name reports")
        credential = made("vault put reports API_KEY --variable", "a-secret")
        made("vault put reports mcp --mcp https://mcp.example.com", "a-secret")
        skill = made(f"skill upload {tmp_path}")
        agent = made("agent create --name r --model auto --skill tables --ask Bash --mcp docs=https://m.example.com")
        made("agent update r --description Reports.")
        file = made(f"file upload {tmp_path}/notes.md")
        store = made("memory create --name s")
        memory = made("memory write s notes.md -m Notes.")
        dream = made("dream create --from s --model auto")
        deployment = made("deploy create --name n --agent r --env reports --vault reports -m Go.")
        session = made(f"session new --agent r --env default --file {file} -m Go.")
        with qca.Managed(base_url=server.base_url, pat=token, _strict_response_validation=True) as client:
            read = {
                client.agents.retrieve(agent).id: agent,
                client.environments.retrieve(environment).id: environment,
                client.vaults.retrieve(vault).id: vault,
                client.vaults.credentials.retrieve(credential, vault_id=vault).id: credential,
                client.skills.retrieve(skill).id: skill,
                client.files.retrieve_metadata(file).id: file,
                client.memory_stores.retrieve(store).id: store,
                client.memory_stores.memories.retrieve(memory, memory_store_id=store).id: memory,
                client.dreams.retrieve(dream).id: dream,
                client.deployments.retrieve(deployment).id: deployment,
                client.sessions.retrieve(session).id: session,
            }
            assert all(found == id for found, id in read.items())
            assert [each.version for each in client.agents.versions.list(agent)] == [2, 1]
            assert len(list(client.vaults.credentials.list(vault_id=vault))) == 2
            assert len(list(client.skills.versions.list(skill_id=skill))) == 1
            assert len(list(client.sessions.resources.list(session))) == 1
