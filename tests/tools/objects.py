"""Plays every way to lose the answer to a write of an object.

A cell is one command against a sandbox that fails once at its write and does it at once, late or never, on either
generation, on a clock that nobody has to wait for, while something blurs what can be read of it, and a colleague may
write at the same time.
"""

import json
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from qoder_cli.base.marks import KEY, without_ours
from qoder_cli.nouns.memory import sha256_of
from qoder_cli.sandbox import api
from qoder_cli.sandbox.records import FakeThing
from qoder_cli.sandbox.wire import Request, encode
from qoder_cli.sandbox.world import World
from tests.support.inprocess import WorldTransport, as_request
from tests.support.things import LOSSES as LOST
from tests.support.things import given
from tests.support.typed import TOKEN, Said, typed_in
from tests.support.wire import FakeClock
from tests.tools.playing import Played

PROMISES = (
    "twice",  # something new sent or made more than once
    "lost",  # done, or will be, and the command says that nothing was
    "lied",  # success for what is not ours, or is not so
    "over",  # a colleague's work written over once it was there, or its loss called a success
)
_USES = {"agent": "agent_writer", "environment_id": "env_workers"}
CREATES = {
    "deploy create": "deploy create --name new --agent agent_writer --env env_workers -m Report.",
    "apply": "apply new.json --yes",
    "agent create": "agent create --name new --model auto",
    "env create": "env create --name new",
    "vault create": "vault create --name new",
    "vault put": "vault put team-secrets NEW --variable --from-env SECRET",
    "memory create": "memory create --name new",
    "memory write": "memory write project new.md -m Ours",
    "session new": "session new --agent writer --env default --title new",
    "file upload": "file upload new.md",
}
CHANGES = {  # and what of the thing each sets
    "deploy update": ("deploy update dep_demo --description Ours", "description"),
    "apply": ("apply old.json --yes", "description"),
    "deploy pause": ("deploy pause dep_demo", "status"),
    "agent update": ("agent update writer --description Ours", "description"),
    "env update": ("env update default --description Ours", "description"),
    "memory update": ("memory update project --description Ours", "description"),
    "memory write": ("memory write project conventions.md -m Ours", "content"),
    "vault put": ("vault put team-secrets GITHUB_TOKEN --variable --from-env SECRET", ""),
}
LOSSES: dict[str, Callable[[httpx.Response], Any]] = {
    **LOST,
    "kept": lambda done: httpx.Response(200, content=done.content, headers={"age": "90"}),
}
ACTS: tuple[float | None, ...] = (None, 0, 8, 25)  # seconds until the server does it; None for never
BLURS = ("", "silent", "unlisted", "no metadata", "lag=3", "foreign rows", "has_more", "kept lists", "undated")
COLLEAGUES = ("", "namesake", "other namesake")  # of something new
OTHERS = ("", "same field at 0", "same field at 3", "same field at 12", "other field at 3", "reverts at 10")
UNREADABLE = ("foreign rows", "has_more", "kept lists")  # blurs that make a list nothing to rely on


class Cell(NamedTuple):
    is_new: bool
    command: str
    loss: str
    acts: float | None
    blur: str
    colleague: str
    generation: str


class Server(WorldTransport):
    """The sandbox, which fails at the first write of a cell."""

    def __init__(self, clock: FakeClock, cell: Cell, field: str) -> None:
        generation: Any = cell.generation
        world = World(clock=clock.now, generation=generation, token=TOKEN, seed=5, unique_names=False)
        super().__init__(world, sleep=clock.sleep)
        self.cell, self.field, self.clock = cell, field, clock
        self.done: list[str] = []
        self.sent: list[float] = []
        self.theirs: float | None = None  # when a colleague wrote
        self.thing: FakeThing | None = None
        self.before: Any = None
        self.kept: dict[str, Any] = {}
        self.lists = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            self.world.settle()
            return self._blurred(request, self._lagging(request))
        mine = as_request(request)
        self.world.settle()
        self.sent.append(self.clock.now())
        if len(self.sent) > 1:
            answer = super().handle_request(request)
            self._note(answer.status_code, answer.read())
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.read())
        self._meet_colleague(mine)
        answered = None
        if self.cell.acts == 0:
            answered = self._act(mine, self.world.now())
        elif self.cell.acts is not None:
            self.world.postpone(self.cell.acts, lambda at: self._act(mine, at))
        lost = httpx.Response(200, json={"id": "x_1", "type": "other"})
        if answered is not None:
            lost = httpx.Response(200, content=answered)
        response = given(LOSSES[self.cell.loss](lost))
        response.headers.update(api.dated(self.world))
        return response

    def _act(self, request: Request, at: float) -> bytes:
        answer = api.perform(self.world, replace(request, at=at), at, {})
        self._note(answer.status, answer.body)
        return answer.body

    def _note(self, status: int, body: bytes) -> None:
        if status < 300:
            self.done.append(str(json.loads(body).get("id")))

    def _lagging(self, request: httpx.Request) -> httpx.Response:
        seen = as_request(request)
        lag = float(self.cell.blur[4:]) if self.cell.blur.startswith("lag=") else 0.0
        answer = api.perform(self.world, seen, self.world.now(), {"lagging": lag} if lag else {})
        return httpx.Response(answer.status, headers=dict(answer.headers), content=answer.body)

    def _blurred(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
        headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
        try:
            value = json.loads(answer.content)
        except ValueError:
            return answer
        blur, is_list = self.cell.blur, isinstance(value, dict) and isinstance(value.get("data"), list)
        things = value["data"] if is_list else [value]
        if blur == "silent" or (blur == "unlisted" and is_list):
            for thing in things:
                thing["metadata"] = {}
        if blur == "no metadata" and is_list:
            for thing in things:
                thing.pop("metadata", None)
        if blur == "undated":
            for thing in things:
                thing["created_at"] = "0001-01-01T00:00:00Z"
        if is_list and self.sent:
            if blur == "foreign rows":
                value["data"].insert(0, {"id": "other_1", "type": "other", "created_at": "2026-01-01T00:00:00Z"})
            if blur == "has_more":
                value["has_more"] = "no"
            if blur == "kept lists":
                headers["age"] = "600"
        return httpx.Response(answer.status_code, headers=headers, json=value)

    def _meet_colleague(self, ours: Request) -> None:
        """Let a colleague write: something of the same name now, or to the same thing at some time."""
        who = self.cell.colleague
        if not self.cell.is_new:
            id = next(part for part in reversed(ours.path.split("/")) if "_" in part)
            self.thing = next(kept[id] for kept in self.world.things.values() if id in kept)
            self.before = dict(self.thing.fields)
        if who.endswith("namesake"):
            body = json.loads(ours.body)
            body["metadata"] = without_ours(body.get("metadata", {}))
            if who.startswith("other") and {"model", "description"} & body.keys():
                body["description"] = "Theirs"
            api.perform(self.world, replace(ours, body=encode(body)), self.world.now(), {})
        elif who:
            what, _, seconds = who.rpartition(" at ")
            self.world.postpone(float(seconds) + 0.001, lambda at: self._write(what, at))

    def _write(self, what: str, at: float) -> None:
        thing = self.thing
        assert thing is not None
        self.theirs = at
        value: Any = "Theirs"
        name = self.field or "auth"
        if what == "other field":
            name = "system" if "version" in thing.fields else "name"
        elif what == "reverts":
            value = self.before.get(name)
        elif name == "status":
            value = "active"
        elif name == "auth":
            value = thing.fields["auth"]
        fields = {name: value}
        if name == "content":
            fields |= {"content_sha256": sha256_of(str(value))}
        if name == "auth":
            fields["metadata"] = {**thing.fields["metadata"], KEY: "a-colleague"}
        if "version" in thing.fields and type(thing.fields["version"]) is int:
            fields["version"] = thing.fields["version"] + 1
        thing.change(at, **fields)


def cells(options: Namespace) -> Iterator[Cell]:
    for generation, loss, acts, blur in product(("current", "legacy"), LOSSES, ACTS, BLURS):
        for command, colleague in product(CREATES, COLLEAGUES):
            if not (colleague and command == "file upload"):
                yield Cell(True, command, loss, acts, blur, colleague, generation)
        for command, colleague in product(CHANGES, OTHERS):
            yield Cell(False, command, loss, acts, blur, colleague, generation)


def play(cell: Cell, folder: Path) -> Played:
    """Run one cell and return what became of it. `folder` is for its store and files."""
    line, name = (CREATES[cell.command], "") if cell.is_new else CHANGES[cell.command]
    clock = FakeClock()
    clock.patience = 5.0
    server = Server(clock, cell, name)
    files = {
        "new.json": json.dumps({"name": "new", **_USES, "message": "Hi."}),
        "old.json": json.dumps({"id": "dep_demo", "description": "Ours"}),
        "new.md": "Ours",
    }
    for file, text in files.items():
        (folder / file).write_text(text)
    words = [str(folder / word) if word in files else word for word in line.split()]
    said = typed_in(folder, clock, server, *words, "--json", SECRET="s3cret-of-ours")
    server.world.settle()
    value = server.thing.fields.get(name) if server.thing and name else None
    is_so = value in ("Ours", "paused") if name else bool(server.done)
    is_hit = server.theirs is not None and name not in ("", "status") and cell.colleague.startswith("same")
    clock.time += 60
    server.world.settle()
    return _judged(cell, server, said, is_so=is_so, is_over=is_hit and value != "Theirs")


def _judged(cell: Cell, server: Server, said: Said, *, is_so: bool, is_over: bool) -> Played:
    """Return what was broken: by what was so, and a colleague's work lost, when the command ended."""
    is_true = str(said.document.get("id")) in server.done if cell.is_new else is_so
    if cell.colleague and cell.blur.startswith("lag"):
        is_true = is_true or bool(server.done)  # nobody can see what somebody else has just written over ours
    is_after = server.theirs is not None and any(at > server.theirs for at in server.sent[1:])
    blames = "someone else changed" in said.err
    played = Played([said.code]).breaks(
        f"exit {said.code}, sent {len(server.sent)}, done {server.done}",
        twice=cell.is_new and max(len(server.sent), len(server.done)) > 1,
        lost=server.done and said.code not in (0, 9) and not blames,
        lied=said.code == 0 and not is_true,
        over=is_after or (said.code == 0 and is_over),
    )
    if _is_vague(cell, said.code, is_done=bool(server.done)):
        played.open.append(f"{cell.command}, {cell.loss}, {cell.blur}")
    return played


def _is_vague(cell: Cell, code: int, *, is_done: bool) -> bool:
    """Return whether it ends as unknown, or as a colleague's, though what can be read settles it."""
    if code == 0 or cell.blur in UNREADABLE or (cell.colleague and not cell.is_new):
        return False
    if cell.blur == "silent" and (cell.is_new or cell.command == "vault put"):
        return False  # nothing shows that it is ours
    return is_done or (cell.loss == "503" and cell.acts is None and code == 9 and not cell.colleague)
