"""A command line in a world of its own, where its server may lie; a failure tells what was printed and sent."""

import io
import json
import re
import shlex
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from pathlib import Path
from unittest.mock import patch

import httpx

from qoder_cli.base import pool
from qoder_cli.base.errors import Exit
from qoder_cli.nouns.table import find
from qoder_cli.sandbox.wire import BASE_PATH, Generation
from qoder_cli.sandbox.world import World
from tests.contract.lines import BEFORE, PLAYED, Command
from tests.support.inprocess import WorldTransport
from tests.support.staged import put_files, staged
from tests.support.typed import TOKEN, Ran, typed
from tests.support.wire import FakeClock

SECRET = "s3cret-Planted-0123456789"  # the value of each variable that holds one, but for the token
ERROR_KEYS = ["type", "exit_code", "message", "hint", "next", "run_id", "session_id", "run_state"]
ERROR_KEYS += ["api_type", "http_status", "request_id"]
_CONFIG = f"""\
[profiles.default]
region = "global"
[profiles.work]
base_url = "https://api.qoder.com.cn{BASE_PATH}"
token = "{TOKEN}"
"""
_WEEKLY = {"type": "deployment", "name": "weekly", "agent": "agent_writer", "environment_id": "env_workers"}
_WEEKLY["message"] = "Report."
NOTHING_STARTED = (2, 4, 5, 6, 7)  # these exit codes say it
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u2028]")
# Of what a server tells otherwise than it is, this is true.
_SAYS_WHAT_IS_DONE = re.compile("shows something else|stored something else|someone else changed|1 created, 1 failed")
_SAYS_THAT_NOTHING_IS_TO_DO = re.compile("nothing waits|is already archived")
_A_RUN = re.compile(r"drun_[0-9a-f]{32}")

Answer = Callable[[], httpx.Response]
Lie = Callable[[httpx.Request, Answer], httpx.Response]


@dataclass
class Sent:
    """A request that was sent, and the status that its world answered with: 0 if it never came there."""

    request: httpx.Request
    status: int = 0
    answer: bytes = b""

    @property
    def method(self) -> str:
        return self.request.method

    @property
    def path(self) -> str:
        return self.request.url.path.removeprefix(BASE_PATH)

    @property
    def is_done(self) -> bool:
        """Whether the world carried it out."""
        return 200 <= self.status < 300

    def __str__(self) -> str:
        query = self.request.url.query.decode()
        shown = f"?{query[:60]}{'…' * (len(query) > 60)}" if query else ""
        return f"{self.method} {self.path}{shown} → {self.status or 'never came there'}"


class Played(Ran):
    """What a command line printed, and how it ended."""

    words: list[str]

    def __repr__(self) -> str:
        return f"«{shlex.join(['qoder', *self.words])}»"

    def told(self) -> str:
        """Return what a person needs to see when a test fails."""
        streams = ((name, text or "(nothing)") for name, text in (("stdout", self.out), ("stderr", self.err)))
        shown = (f"  {name}:\n" + _indented(text) for name, text in streams)
        return "\n".join([f"$ {shlex.join(['qoder', *self.words])}", f"  exit code {self.code}", *shown])


def _indented(text: str) -> str:
    lines = text.removesuffix("\n").split("\n")
    shown = [f"    {line[:600].encode('unicode_escape').decode()}{'…' * (len(line) > 600)}" for line in lines[:40]]
    return "\n".join([*shown, *(["    …"] if len(lines) > 40 else [])])


@dataclass
class Scene:
    """A command in a world; `lie` may answer in the world's place, `sent` is all that was sent."""

    command: Command
    folder: Path
    generation: Generation = "current"
    lie: Lie = lambda request, answer: answer()
    sent: list[Sent] = field(default_factory=list)
    played: list[Played] = field(default_factory=list)
    late: list[tuple[float, Answer]] = field(default_factory=list)  # when the world carries out what nobody waits for

    def __post_init__(self) -> None:
        self.clock = FakeClock()
        self.clock.at_sleep = self._be_late
        self.stdin, self.is_terminal = "", False
        config = self.folder / "config.toml"
        config.write_text(_CONFIG)
        config.chmod(0o600)
        self.env = {
            "QODER_PAT": TOKEN,
            "QODER_CONFIG": str(config),
            "QODER_STATE_DIR": str(self.folder / "state"),
            "HOME": str(self.folder),
            "GITHUB_TOKEN": SECRET,
            "QODER_REPO_TOKEN": SECRET,
        }
        assert self.command.line is not None
        put_files(self.folder, f"build {self.command.line}")  # with a file that declares nothing, for `apply .`
        (self.folder / "weekly.jsonl").write_text(json.dumps(_WEEKLY))
        line = self._stage(self.command.line)
        self.words = shlex.split(line.replace("/tmp", str(self.folder)))[1:]
        self.sent.clear()
        self.played.clear()

    def _stage(self, line: str) -> str:
        self.world = World(clock=self.clock.now, generation=self.generation, token=TOKEN, seed=5)
        self.transport = _Wire(self, self.world)
        if before := BEFORE.get(self.command.name):
            line = line.replace("{id}", str(self.run(words=shlex.split(before)[1:]).json["id"]))
        if re.search(" last |sess_demo|evt_", f"{line} "):
            line = staged(line, lambda *words: self.run(words=words), later=lambda: self.clock.sleep(60))
        line = _A_RUN.sub(lambda _: self.world.start("dep_demo").id, line)
        return line

    def run(self, *more: str, words: Sequence[str] | None = None, out: io.BytesIO | None = None) -> Played:
        """Run the command's line with more words behind it, or other words."""
        self.sent.clear()
        line = [*(self.words if words is None else words), *more]
        terminals = self.is_terminal, False
        ran = typed(
            line, self.env, clock=self.clock, transport=self.transport, stdin=self.stdin, terminals=terminals, out=out
        )
        ran = Played(ran.code, ran.out, ran.err)
        ran.words = line
        self.played.append(ran)
        for one in self.sent:
            if (operation := find(one.method, one.path)) is not None and line[0] != "api":
                assert {*one.request.url.params} <= {*operation.query, "after_id"}, f"{one}: it has no such parameter"
        assert TOKEN not in ran.out
        assert TOKEN not in ran.err
        assert "Traceback" not in ran.err
        return ran

    @property
    def writes(self) -> list[str]:
        return [str(one) for one in self.sent if one.method != "GET"]

    @property
    def done(self) -> list[Sent]:
        """The writes that the world carried out so far."""
        return [one for one in self.sent if one.method != "GET" and one.is_done]

    def _be_late(self) -> None:
        for due in [due for due in self.late if due[0] <= self.clock.time]:
            self.late.remove(due)
            due[1]()

    def told(self) -> str:
        """Return what was played, and what the last line sent."""
        shown = ((each, len(list(same))) for each, same in groupby(map(str, self.sent)))
        sent = "".join(f"\n    {each}{f' ({times} times)' * (times > 1)}" for each, times in shown) or " nothing"
        return "\n".join(ran.told() for ran in self.played[-2:]) + f"\n  sent:{sent}"


class _Wire(WorldTransport):
    def __init__(self, scene: Scene, world: World) -> None:
        super().__init__(world, sleep=scene.clock.sleep)
        self._scene = scene

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/stream"):  # two threads on one clock that nobody waits for would race
            return httpx.Response(501, json={})
        sent = Sent(request)
        self._scene.sent.append(sent)

        def answer() -> httpx.Response:
            response = super(_Wire, self).handle_request(request)
            response.read()
            sent.status, sent.answer = response.status_code, response.content
            return response

        return self._scene.lie(request, answer)


@contextmanager
def playing(name: str, generation: Generation = "current") -> Iterator[Scene]:
    """Yield a scene of a command in a folder that is gone afterwards. A failure tells what was played.

    What commands do in other threads is done at once, so that no case depends on which of them is faster.
    """
    with (
        tempfile.TemporaryDirectory(prefix="scene-", ignore_cleanup_errors=True) as folder,
        chdir(folder),
        patch.object(pool, "begin", lambda work: work()),
    ):
        scene = Scene(PLAYED[name], Path(folder), generation)
        try:
            yield scene
            for file in (Path(folder) / "state").rglob("*"):
                assert TOKEN.encode() not in file.read_bytes(), f"the token is in {file.name}"
        except AssertionError as failure:
            failure.add_note(scene.told())
            raise


@dataclass(frozen=True)
class Usual:
    """What the line of a command does where nothing goes wrong."""

    code: int
    out: str
    err: str
    writes: tuple[tuple[str, str], ...]  # method and path
    first_answer: bytes  # to a write
    answers: tuple[bytes, ...]  # to all requests


@cache
def usual(name: str, generation: Generation = "current") -> Usual:
    """Return what the line of a command does where nothing goes wrong; played once, with `--json`."""
    with playing(name, generation) as scene:
        ran = scene.run("--json")
        done = scene.done
        writes = tuple((one.method, one.path) for one in scene.sent if one.method != "GET")
        answers = tuple(one.answer for one in scene.sent)
        return Usual(ran.code, ran.out, ran.err, writes, done[0].answer if done else b"", answers)


def run_once(scene: Scene, *more: str) -> Played:
    """Play the line: nothing is done twice, nothing that was done is denied, nothing undone is claimed."""
    before = usual(scene.command.name, scene.generation).writes
    ran = scene.run(*more)
    done_then = scene.done
    scene.clock.sleep(3600)  # what is late arrives
    done = {(one.method, one.path, one.request.headers.get("idempotency-key")) for one in scene.done}
    assert len(done) <= len(before), "it was done twice"
    assert ran.code != 70
    if done and not _SAYS_WHAT_IS_DONE.search(ran.err):
        assert ran.code not in NOTHING_STARTED, "it was done, and is denied"
    if ran.code == 0 and before and not _SAYS_THAT_NOTHING_IS_TO_DO.search(ran.err):
        assert done_then, "it was not done, and is claimed"
    return ran


def check_inert(ran: Played) -> None:
    """Hold what was printed to steering neither a terminal nor a log of CI."""
    assert ran.code != 70
    for text in (ran.out, ran.err):
        assert not _UNSAFE.search(text)
        assert not re.search(r"(?m)^\s*::", text)
        assert "##[" not in text


def check_ending(ran: Played) -> None:
    """Hold a command with JSON output to how every one ends: one document at most, and one error unless all is well."""
    if ran.out:
        assert ran.out.endswith("\n") or ran.code, "the document is cut"
        documents = ran.out.splitlines()
        assert len(documents) == 1, "away from a terminal JSON is one line"
        if ran.code == 0 or not ran.out.startswith("["):  # an array that is streamed stays open
            json.loads(ran.out)
    errors = [line for line in ran.err.splitlines() if line.startswith(("error:", '{"error"'))]
    is_said_by_code = ran.code == Exit.NOT_YET and "diff" in ran.words
    if ran.code in (0, Exit.CLOSED_PIPE) or is_said_by_code:
        assert errors == []
        return
    assert len(errors) == 1, "there is one error"
    assert ran.err.splitlines()[-1] == errors[0], "it is the last line"
    error = json.loads(errors[0])["error"]
    assert list(error) == ERROR_KEYS
    assert error["exit_code"] == ran.code
    assert error["message"]
    if error["run_id"]:
        assert ran.out, "a run is known, and standard output has no document"
