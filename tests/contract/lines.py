"""A command line for every command of the program, taken from its own help, and a world in which it works.

A new command is in the table as soon as its help has an example.
"""

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from inspect import cleandoc
from pathlib import Path
from typing import Any

import httpx

from qoder_cli.cli.main import function_of
from qoder_cli.cli.options import Untold
from qoder_cli.help import NOUNS
from qoder_cli.sandbox.wire import Generation
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder, Ran
from tests.support.inprocess import WorldTransport
from tests.support.staged import put_files, staged

PREFIX = "/api/v1/cloud"
A_RUN = re.compile(r"drun_[0-9a-f]{32}")
# Examples that no process of pytest can play as they stand: they have a shell's signs, talk with a person, or are
# about this machine's files.
_NOT_HERE = re.compile(r"[|<>$;&]|^qoder sandbox|--install|session chat|auth login|run approve last$|--chat")
# Answered with 409 in the sandbox, as it is.
_REFUSED = ("session thread archive", "dream cancel", "env work heartbeat")
CONFIG = f"""\
[profiles.default]
region = "global"
[profiles.work]
base_url = "https://api.qoder.com.cn/api/v1/cloud"
token = "{TOKEN}"
"""


def _below(path: tuple[str, ...], commands: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Callable[..., Any]]]:
    for name, command in commands.items():
        words = path if (name,) == path else (*path, name)
        if isinstance(command, tuple):
            yield from _below(words, command[1])
        elif not isinstance(command, Untold):
            yield words, function_of(command)


def all_commands() -> dict[str, Callable[..., Any]]:
    """Return every command that help lists, by its words."""
    found: dict[str, Any] = {}
    for noun, (_, module) in NOUNS.items():
        commands = {noun: module} if ":" in module else import_module(module).COMMANDS
        found |= {" ".join(path): command for path, command in _below((noun,), commands)}
    return found


def examples(command: Callable[..., Any]) -> list[str]:
    """Return the lines that a command's help has as examples."""
    block = re.search(r"Examples:\n((?: {2,}\S.*(?:\n|$))+)", cleandoc(command.__doc__ or ""))
    return [line.strip() for line in block[1].replace("\\\n", "").splitlines()] if block else []


COMMANDS = all_commands()
LINES = {
    name: line
    for name, command in COMMANDS.items()
    if (line := next((each for each in examples(command) if not _NOT_HERE.search(each)), None))
}
OF_THIS_MACHINE = ("auth", "config", "completion", "doctor", "help", "key")  # they ask no server


@dataclass
class Seen:
    """A request that reached the world, and the status it was answered with."""

    method: str
    path: str
    status: int


@dataclass
class Scene:
    """A command line in a world of its own; `lie` may answer in the world's place, `done` has what was sent."""

    qoder: Qoder
    name: str
    folder: Path
    generation: Generation = "current"
    lie: Callable[[httpx.Request, Callable[[], httpx.Response]], httpx.Response] = lambda request, answer: answer()
    done: list[Seen] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world = World(clock=self.qoder.clock.now, generation=self.generation, token=TOKEN, seed=5)
        self.qoder.transport = _World(self)
        config = self.folder / "config.toml"
        config.write_text(CONFIG)
        config.chmod(0o600)
        self.qoder.env |= {
            "QODER_CONFIG": str(config),
            "HOME": str(self.folder),
            "GITHUB_TOKEN": "x-secret",
            "QODER_REPO_TOKEN": "x-secret",
        }
        put_files(self.folder)
        lie, self.lie = self.lie, type(self).lie
        line = staged(LINES[self.name], self.qoder, later=lambda: self.qoder.clock.sleep(60))
        line = A_RUN.sub(lambda _: self.world.start("dep_demo").id, line).replace("/tmp", str(self.folder))
        self.words = shlex.split(line)[1:]
        self.lie = lie
        self.done.clear()

    def run(self, *more: str) -> Ran:
        """Run the command line, with more words behind it."""
        self.done.clear()
        return self.qoder(*self.words, *more)

    @property
    def writes(self) -> list[Seen]:
        return [seen for seen in self.done if seen.method != "GET"]

    @property
    def acted(self) -> list[Seen]:
        """The writes that the world carried out."""
        return [seen for seen in self.writes if seen.status < 300]


class _World(WorldTransport):
    def __init__(self, scene: Scene) -> None:
        super().__init__(scene.world, sleep=scene.qoder.clock.sleep)
        self._scene = scene

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/stream"):  # two threads on one clock that nobody waits for would race
            return httpx.Response(501, json={})

        def answer() -> httpx.Response:
            response = super(_World, self).handle_request(request)
            response.read()
            path = request.url.path.removeprefix(PREFIX)
            self._scene.done.append(Seen(request.method, path, response.status_code))
            return response

        return self._scene.lie(request, answer)


def lines_of(text: str) -> list[Any]:
    """Return the values of JSON lines."""
    return [json.loads(line) for line in text.splitlines()]
