"""A server for agents and environments: they are created, changed and read; what it does can be lost on the way."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from qoder_cli.cli.main import command_tree
from qoder_cli.help import NOUNS
from qoder_cli.sandbox.wire import Generation
from tests.conftest import Qoder
from tests.support.sessions import PREFIX, Service

Raw = dict[str, Any]
_PATH = re.compile(r"(/(?:agents|environments|skills|vaults))(?:/([^/]+))?")
_PREFIXES = {"/agents": "agent_", "/environments": "env_"}


def refusal(status: int, kind: str, message: str) -> httpx.Response:
    """Return an answer in the API's own envelope."""
    return httpx.Response(status, json={"type": "error", "error": {"type": kind, "message": message}})


# How the answer to a write is lost, after it was done.
LOSSES: dict[str, Callable[[httpx.Response], httpx.Response | Exception]] = {
    "reset": lambda done: httpx.ReadError("[Errno 104] Connection reset by peer"),
    "502": lambda done: httpx.Response(502, html="<h1>Bad gateway</h1>"),
    "html": lambda done: httpx.Response(200, html="<h1>Welcome</h1>"),
    "cut": lambda done: httpx.Response(200, content=done.content[: len(done.content) // 2]),
}


class Things(Service):
    """The service, with things that can be written.

    `after` are losses of the answers to writes; `meanwhile` is done before each write arrives, `late` after it;
    `defaults` are what the server adds to what it is sent.
    """

    def __init__(self, qoder: Qoder, generation: Generation, *faults: str) -> None:
        super().__init__(qoder, generation, *faults)
        self.after: list[Callable[[httpx.Response], httpx.Response | Exception]] = []
        self.meanwhile: list[Callable[[], object]] = []
        self.late: list[Callable[[], object]] = []
        self.defaults: Callable[[Raw], object] = lambda raw: None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix(PREFIX)
        found = _PATH.fullmatch(path)
        is_write = request.method == "POST"
        if found and is_write and self.meanwhile:
            self.meanwhile.pop(0)()
        if found is None or self.before.get(f"{request.method} {path}") or not (is_write or found[2]):
            return super().handle_request(request)
        self.asked.append(f"{request.method} {path}")
        if not is_write:
            return self._answer(found[1], found[2])
        body = json.loads(request.read())
        self.sent.append((request.method, path, body))
        done = self._write(found[1], found[2], body)
        if self.late:
            self.late.pop(0)()
        if self.after and done.status_code < 400:
            lost = self.after.pop(0)(done)
            if isinstance(lost, Exception):
                raise lost
            return lost
        return done

    def thing(self, list: str, id: str) -> Raw:
        """Return one of the things."""
        return next(each for each in self.things[list] if each["id"] == id)

    def _answer(self, list: str, id: str) -> httpx.Response:
        known = [each for each in self.things.get(list, ()) if each["id"] == id]
        return httpx.Response(200, json=known[0]) if known else refusal(404, "not_found_error", "not found")

    def _write(self, list: str, id: str | None, body: Raw) -> httpx.Response:
        if id is None:
            made = {"id": f"{_PREFIXES[list]}new{len(self.things[list])}", **body}
            made |= {"version": 1} if list == "/agents" else {}
            made["created_at"] = datetime.fromtimestamp(self.world.now(), UTC).isoformat()
            self.things[list].append(made)
            self.defaults(made)
            return httpx.Response(200, json=made)
        known = self.thing(list, id)
        if list == "/agents" and body.get("version") is None:
            return refusal(400, "invalid_request_error", "Field 'version' is required.")
        if body.get("version") != known.get("version") and list == "/agents":
            message = f"Version conflict. Expected version {known.get('version')}, got {body['version']}."
            return refusal(409, "conflict_error", message)
        self.change(list, id, body)
        return httpx.Response(200, json=known)

    def change(self, list: str, id: str, body: Raw) -> None:
        """Change one of the things as the API does, whoever it is."""
        known = self.thing(list, id)
        metadata = {**known.get("metadata", {}), **body.get("metadata", {})}
        known |= {name: value for name, value in body.items() if name != "version"}
        known["metadata"] = {key: value for key, value in metadata.items() if value is not None}
        if list == "/agents":
            known["version"] += 1
        self.defaults(known)


def register(monkeypatch: pytest.MonkeyPatch, **nouns: str) -> None:
    """Make commands of nouns known: those that are not yet."""
    for noun, about in nouns.items():
        if noun not in NOUNS:
            monkeypatch.setitem(NOUNS, noun, (f"qoder_cli.commands.{noun}", about))
            command_tree.cache_clear()
