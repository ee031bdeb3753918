"""The official SDK finds in the sandbox what its own examples look for."""

import shlex
from pathlib import Path
from typing import Any

from qoder_cli.sandbox.server import Server
from qoder_cli.sandbox.world import World
from tests.conftest import Qoder


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
            first, second, *_ = client.sessions.events.list(session, order="asc", limit=1)  # over several pages
            with client.sessions.events.stream(session, extra_headers={"Last-Event-ID": first.id}) as stream:
                assert next(iter(stream)).id == second.id
            assert client.sessions.delete(session).type == "session_deleted"
