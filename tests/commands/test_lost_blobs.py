"""Uploads, memories, secrets and skills on the sandbox's own server: what is lost on the way is done once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder
from tests.matrix import WithoutStreams
from tests.support.staged import put_files

LOSSES: dict[str, Callable[[httpx.Response], httpx.Response | Exception]] = {
    "reset": lambda done: httpx.RemoteProtocolError("Server disconnected without sending a response."),
    "timeout": lambda done: httpx.ReadTimeout("The read operation timed out"),
    "502": lambda done: httpx.Response(502, html="<h1>Bad gateway</h1>"),
    "html": lambda done: httpx.Response(200, html="<h1>Welcome</h1>"),
    "cut": lambda done: httpx.Response(200, content=done.read()[:-4]),
}


class Losing(WithoutStreams):
    """The sandbox, which loses the answer to the next write that it does; `writes` are those that arrived."""

    def __init__(self, qoder: Qoder, generation: Generation) -> None:
        world = World(clock=qoder.clock.now, token=TOKEN, generation=generation)
        super().__init__(world, faults=Faults(), sleep=qoder.clock.sleep)
        self.loss: Callable[[httpx.Response], httpx.Response | Exception] | None = None
        self.writes: list[str] = []
        qoder.transport = self

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        done = super().handle_request(request)
        if request.method == "GET":
            return done
        self.writes.append(request.method)
        loss, self.loss = self.loss, None
        answer = loss(done) if loss else done
        if isinstance(answer, Exception):
            raise answer
        return answer


# The command; what lists what it made; how many more there are then; how often it may be sent.
WRITES: dict[str, tuple[list[str], list[str], int, int]] = {
    "file": (["file", "upload", "notes.md"], ["file", "list", "--all"], 1, 1),
    "memory": (["memory", "write", "project", "new.md", "-m", "x"], ["memory", "ls", "project", "--all"], 1, 1),
    "known memory": (["memory", "write", "project", "conventions.md", "-m", "x"], ["memory", "ls", "project"], 0, 1),
    "removal": (["memory", "remove", "project", "conventions.md", "--yes"], ["memory", "ls", "project"], -1, 1),
    "secret": (["vault", "put", "team-secrets", "NEW", "--env"], ["vault", "credential", "list", "team-secrets"], 1, 1),
    "skill": (["skill", "upload", "mine"], ["skill", "list"], 1, 1),
    "version": (["skill", "upload", "release-notes"], ["skill", "versions", "release-notes"], 1, 1),
    "store": (["memory", "create", "--name", "new"], ["memory", "list"], 1, 1),
    "vault": (["vault", "create", "--name", "new"], ["vault", "list"], 1, 1),
    "work": (["env", "work", "stop", "workers", "work_demo"], ["env", "work", "list", "workers"], 0, 1),
}


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("loss", [None, *LOSSES])
@pytest.mark.parametrize("what", WRITES)
def test_what_is_lost_is_done_once(
    qoder: Qoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, loss: str | None, generation: Generation
) -> None:
    monkeypatch.chdir(tmp_path)
    put_files(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "SKILL.md").write_text("---\nname: mine\ndescription: x\n---\n")
    (tmp_path / "release-notes" / "more.md").write_text("More.\n")
    qoder.stdin = "a secret of ours\n"
    server = Losing(qoder, generation)
    words, listing, more, times = WRITES[what]
    before = ids(qoder, listing)
    server.loss = LOSSES.get(str(loss))
    server.writes.clear()
    ran = qoder(*words)
    assert ran.code == 0, ran.err
    assert len(server.writes) == times
    assert len(ids(qoder, listing)) == len(before) + more


def ids(qoder: Qoder, listing: list[str]) -> Any:
    return qoder(*listing, "--json").json


@pytest.mark.parametrize("generation", GENERATIONS)
def test_what_is_written_can_be_read(
    qoder: Qoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generation: Generation
) -> None:
    monkeypatch.chdir(tmp_path)
    put_files(tmp_path)
    server = Losing(qoder, generation)
    qoder("memory", "write", "project", "a/b.md", "-m", "first")
    qoder("memory", "write", "project", "a/b.md", "-m", "second")
    assert qoder("memory", "cat", "project", "a/b.md").out == "second"
    versions = qoder("memory", "history", "project", "a/b.md", "--json").json
    assert [each["operation"] for each in versions] == ["modified", "created"]
    old = versions[1]["id"]
    assert qoder("memory", "history", "project", "--version", old, "--json").json["content"] == "first"
    assert qoder("memory", "redact", "project", old, "--yes").code == 0
    assert qoder("memory", "history", "project", "--version", old, "--json").json.get("content") is None
    qoder("skill", "upload", "release-notes")
    server.writes.clear()
    assert qoder("skill", "upload", "release-notes").code == 0
    assert server.writes == []
    assert qoder("skill", "download", "release-notes", "-O", "new").code == 0
    assert (tmp_path / "new/release-notes/SKILL.md").read_bytes() == (tmp_path / "release-notes/SKILL.md").read_bytes()
