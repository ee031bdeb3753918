"""Runs thousands of command lines with two programs against the same servers, and tells each difference.

    python -m tests.tools compare OLD NEW [--sample 3000] [--expect FILE] [WORD…]

OLD and NEW are each a folder with the package, or a git revision of this repository. The lines are made from OLD's
own help: its examples in every format, on both generations of server, with faults, with every option, with bad input.
Compared are the requests with their times, standard output and error, the exit code and the files written. What
changes in the same way counts as one kind of difference. `--expect` names a file with a pattern a line: a kind that
one of them matches is wanted. The exit code is 1 if any other is found.
"""

import argparse
import atexit
import contextlib
import difflib
import json
import os
import re
import select
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import httpx

from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from tests.support.inprocess import WithoutStreams
from tests.support.lies import Lies
from tests.support.staged import CONFIG, put_files, staged
from tests.support.typed import TOKEN
from tests.tools import compare_worker
from tests.tools.playing import Played

PROMISES = ()
ROOT = Path(__file__).parents[2]
BEGAN = 1_800_000_000.37
BEGINS, LONGEST = 60.0, 15.0  # seconds that a program may take to begin, and a line
MOST = 8  # kinds of changes in one text that are told one by one
LAYOUTS = ("", "-o json", "-o jsonl", "-q", "-o wide", "on a terminal")
FAULTS = (
    *("any:401", "any:403", "any:404", "any:409", "any:429=2", "any:429=90", "any:500*9", "any:503*2", "any:html"),
    *("any:drop-before*9", "any:drop-after", "any:hang-after", "any:truncated", "any:garbage", "any:refused*9"),
    *("any:redirect=https://elsewhere.example/", "any:act-503", "any:lagging=3", "any:skew=-7200", "any:no-date"),
    *("write:drop-after", "write:act-503-bare", "trigger:late=3", "trigger:stranger", "any:echo-token"),
)
BAD = (
    *("", " ", "..", "nope", "drun_nope", "dep_nope", "sess_nope", "x" * 257, "a\x1b[31mb", "é\u202e", TOKEN, "-"),
    *("last", "nightly@last", "a/b", "%2e", "@nope.json", "[1, 2", "2027-02-30", "-1"),
)
EVERYWHERE = (
    *("--debug", "--no-progress", "--no-input", "--region cn", "--profile work", "--profile nope", "--workspace wrk_1"),
    *("--base-url https://example.com", "--base-url http://example.com", "--request-timeout 2", "--no-color"),
    *("-o tsv", "--nonsense", "extra", "--json --quiet", "--help"),
)
ENVIRONMENTS: tuple[dict[str, str], ...] = (
    {"QODER_PAT": ""}, {"QODER_PAT": "pt-wrong-0123456789abcdef"}, {"QODER_READ_ONLY": "1"},
    {"QODER_ACCESS_TOKEN": "x"}, {"QODER_STATE_DIR": "/proc/nowhere"}, {"QODER_NO_PROGRESS": "1", "CI": "1"},
)  # fmt: skip
VALUES = {"D": "10m", "N": "3", "SECONDS": "60", "URL": "https://example.com/", "FILE": "task.md", "TIME": "2h"}


class Cell(NamedTuple):
    """One command line, as it stands in a shell, in a situation."""

    programs: tuple[Path, Path]  # the folders of their packages
    expected: tuple[str, ...]
    line: str
    form: str = ""
    generation: Generation = "current"
    fault: str = ""
    env: tuple[tuple[str, str], ...] = ()
    replaced: tuple[int, str] | None = None  # the place of a word, and what stands there instead

    def __str__(self) -> str:
        env = [f"{name}={value}" for name, value in self.env]
        instead = [f"word {self.replaced[0]} is {self.replaced[1]!r}"] if self.replaced else []
        words = [self.line, self.form, *env, *instead, self.fault, self.generation]
        return " · ".join(filter(None, words))


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what only this tool takes."""
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--expect", type=Path, metavar="FILE", help="kinds of differences that are wanted, as patterns")


def program(named: str) -> Path:
    """Return the folder of a program's package."""
    if (Path(named) / "qoder_cli").is_dir():
        return Path(named).resolve()
    folder = tempfile.mkdtemp(prefix="qoder-compare-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    archive = subprocess.run(["git", "archive", named, "qoder_cli"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
    shutil.copy(ROOT / "qoder_cli" / "_version.py", Path(folder) / "qoder_cli")  # made when it is installed
    return Path(folder)


def cells(options: Namespace) -> Iterator[Cell]:
    """Yield every line that is made from the old program's help."""
    both = program(options.old), program(options.new)
    expected = tuple(options.expect.read_text().split("\n")) if options.expect else ()
    make = partial(Cell, both, tuple(filter(None, expected)))
    with tempfile.TemporaryDirectory() as folder:
        told = Side(both[0], Path(folder), "current").run("help", "--json")
    for number, command in enumerate(json.loads(told.out)["commands"]):
        path = " ".join(("qoder", *command["path"]))
        yield from (make(f"{path} {rest}") for rest in ("--help", "--nonsense", "--json --region nowhere"))
        if command["path"] == ["sandbox"]:
            continue  # it is a server itself
        lines = [line for line in command["examples"] if "qoder sandbox" not in line]
        yield from (make(f"{path} {rest}") for rest in ("", "a b c d"))
        for line, form, generation in product(lines, LAYOUTS, GENERATIONS):
            yield make(line, form=form, generation=generation)
        first = next((line for line in lines if not re.search(r"[|<>$;&]", line)), lines[0] if lines else path)
        for fault, generation in product(FAULTS, GENERATIONS):
            yield make(first, fault=fault, generation=generation, form=("", "-o json")[number % 2])
        generation = GENERATIONS[number % 2]
        for more in (*EVERYWHERE, *(more for option in command["options"] for more in _written(option))):
            yield make(f"{first} {more}", generation=generation)
        for env in ENVIRONMENTS:
            yield make(first, env=tuple(env.items()), generation=generation)
        words = shlex.split(first.partition(" | ")[0])
        for place, bad in product(range(1 + len(command["path"]), len(words)), BAD):
            yield make(first, replaced=(place, bad), generation=generation)


def _written(option: Mapping[str, Any]) -> Iterator[str]:
    name = option["names"][0]
    if option["metavar"] is None:
        yield name
        return
    for value in (*option["values"], VALUES.get(option["metavar"], "word"), "nonsense", "''", "0"):
        if name != "--watch" or value == "nonsense":  # others never end, and this where an argument may be so
            yield f"{name} {value}"


@dataclass
class Said:
    """What became of a line: everything that is compared, as text."""

    code: int
    out: str
    err: str
    requests: list[str] = field(default_factory=list)
    times: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Worker:
    """A process in which one program runs line after line."""

    def __init__(self, program: Path) -> None:
        env = {**os.environ, "PYTHONPATH": str(program), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
        command = [sys.executable, "-P", "-W", "ignore", compare_worker.__file__]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(command, env=env, cwd="/", bufsize=0, **pipes)
        self.places: dict[str, str] = self.hear(
            time.monotonic() + BEGINS
        )  # of the package and its Python, and what stands for them

    def tell(self, told: Any) -> None:
        compare_worker.tell(self._process.stdin.fileno(), told)  # type: ignore[union-attr]

    def hear(self, until: float) -> Any:
        """Return the next thing that it tells, `until` a moment of the machine. Raises TimeoutError, EOFError."""
        fd = self._process.stdout.fileno()  # type: ignore[union-attr]
        if not select.select([fd], [], [], max(until - time.monotonic(), 0.0))[0]:
            raise TimeoutError
        return compare_worker.hear(fd)

    def end(self) -> None:
        with self._process:
            self._process.kill()
        _worker.cache_clear()


@cache
def _worker(program: Path, pid: int) -> Worker:
    return Worker(program)


class Side:
    """One program with a folder and a server of its own."""

    def __init__(self, program: Path, home: Path, generation: Generation) -> None:
        self.program, self.home, self.now = program, home, BEGAN
        self.world = World(clock=lambda: self.now, generation=generation, token=TOKEN, seed=5)
        self.transport = WithoutStreams(self.world, sleep=self._sleep)
        self.requests: list[tuple[float, str]] = []
        self._lines = 0
        home.mkdir(parents=True, exist_ok=True)
        put_files(home)
        (home / "token.txt").write_text(TOKEN + "\n")
        (home / "config.toml").write_text(CONFIG)
        (home / "config.toml").chmod(0o600)
        self.env = {
            "QODER_PAT": TOKEN, "QODER_STATE_DIR": str(home / "state"), "QODER_CONFIG": str(home / "config.toml"),
            "HOME": str(home), "GITHUB_TOKEN": "x-secret", "QODER_REPO_TOKEN": "x-secret", "SHELL": "/bin/bash",
        }  # fmt: skip

    def _sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.0)

    def run(self, *words: str, stdin: str = "", terminal: bool = False) -> Said:
        """Run a line in the worker, and answer its requests."""
        worker, self.requests = _worker(self.program, os.getpid()), []
        about = {"folder": str(self.home), "now": self.now, "terminal": terminal, "env": self.env, "stdin": stdin}
        self._lines += 1
        worker.tell({"words": list(words), "seed": self._lines, **about})
        until = time.monotonic() + LONGEST
        try:
            while (told := worker.hear(until))[0] == "ask":
                worker.tell(self._answer(*told[1:]))
        except (TimeoutError, EOFError) as failure:
            worker.end()
            return Said(-1, "", f"{type(failure).__name__}: it hangs, or has gone")
        _, code, out, err, self.now = told
        return Said(code, out.decode(), err.decode())

    def _answer(self, now: float, method: str, url: str, headers: Any, body: bytes, patience: float | None) -> Any:
        self.now = now
        timeout = {"timeout": {"read": patience}}
        request = httpx.Request(method, url, headers=headers, content=body, extensions=timeout)
        told = [f"{name}: {value}" for name, value in headers if name not in _UNTOLD]
        self.requests.append((now, " ".join([method, url, *told, body.decode("latin-1")])))
        content, status, answered, failure = b"", 0, [], None
        try:
            response = self.transport.handle_request(request)
            status, answered = response.status_code, response.headers.multi_items()
            for part in response.stream:  # type: ignore[union-attr]
                content += part
        except httpx.TransportError as error:
            failure = type(error).__name__, str(error)
        return self.now, failure, status, answered, content


_UNTOLD = ("host", "content-length")


def observed(cell: Cell, program: Path, home: Path) -> Said:
    """Return what becomes of a line with one program."""
    side = Side(program, home, cell.generation)
    line = staged(_plain(cell.line), side.run, later=lambda: side._sleep(60))
    line = re.sub(r"drun_[0-9a-f]{32}", lambda _: side.world.start("dep_demo").id, line).replace("/tmp", str(home))
    *before, last = [shlex.split(piece) for piece in re.split(r" \| (?=qoder )", line)]
    stdin = ""
    for words in before:
        is_ours = words[0] == "qoder"
        stdin = side.run(*words[1:], stdin=stdin).out if is_ours else " ".join(words[1:]) + "\n"
    if cell.replaced and cell.replaced[0] < len(last):
        last[cell.replaced[0]] = cell.replaced[1]
    form = [] if cell.form == "on a terminal" else cell.form.split()
    if cell.fault:
        side.transport.faults = Lies(cell.fault)
    side.env |= dict(cell.env)
    began = side.now
    said = side.run(*last[1:], *form, stdin=stdin, terminal=cell.form == "on a terminal")
    said.requests = [told for _, told in side.requests]
    said.times = [f"{at - began:.1f} s" for at, _ in side.requests] + [f"{side.now - began:.1f} s"]
    said.files = [*files(home)]
    return said


def _plain(line: str) -> str:
    """Return a line of a shell as commands with pipes between them."""
    line = re.sub(r'^id=\$\((.*)\) && (.*) "\$id"$', r"\1 | \2 -", line.replace("$(date +%F)", "2027-01-15"))
    line = re.sub(r"^(.*) < token.txt$", rf"echo {TOKEN} | \1", re.sub(r" > \S+$", "", line))
    line = re.sub(r'^ls -l "\$\((.*)\)"', r"\1", line).replace("./lookup.sh |", "echo build 512 is green |")
    return re.sub(r" \| (jq|man) .*", "", line)


def files(home: Path) -> Iterator[str]:
    """Yield every file, with what is in it; of a database, what SQL would make it anew."""
    for path in sorted(home.rglob("*")):
        if not path.is_file() or path.name.endswith(("-wal", "-shm", ".lock")):
            continue
        data = path.read_bytes()
        if data.startswith(b"SQLite format"):
            with contextlib.closing(sqlite3.connect(path)) as kept:
                data = "\n".join(kept.iterdump()).encode()
        elif data.startswith(b"PK"):
            data = "\n".join(f"{one.filename} {one.CRC}" for one in ZipFile(path).infolist()).encode()
        name = f"{path.relative_to(home)} ({path.stat().st_mode & 0o777:o})"
        yield from (f"{name}: {line}" for line in data.decode("latin-1").split("\n"))


_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{32}\b|\b(?P<kind>[a-z]{2,9})_[0-9a-z]{20}\b")


def aspects(said: Said, places: dict[str, str]) -> dict[str, list[str]]:
    """Return what is compared, each as lines, in which ids are told by the order in which they first appear."""
    known: dict[str, str] = {}

    def named(text: str) -> str:
        for place, name in places.items():
            text = text.replace(place, name)
        return _ID.sub(lambda id: known.setdefault(id[0], f"{id['kind'] or 'uuid'}_{len(known)}"), text)

    told = {"exit code": [str(said.code)], "requests": said.requests, "stdout": said.out.split("\n")}
    told |= {"stderr": said.err.split("\n"), "files": said.files, "times": said.times}
    return {name: list(map(named, lines)) for name, lines in told.items()}


def kinds(name: str, old: list[str], new: list[str]) -> dict[str, str]:
    """Return what differs by its kind, which leaves out what it stands between, with an excerpt of both."""
    if name == "times":
        return {"times": f"{', '.join(old)[:60]}  →  {', '.join(new)[:60]}"}
    found: dict[str, str] = {}
    for tag, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        gone, come = (old[a:b], new[c:d]) if tag != "equal" else ([], [])
        for before, after in zip(gone, come, strict=False):
            first = max(_alike(before, after) - 30, 0)
            excerpt = f"{before[first : first + 90]}  →  {after[first : first + 90]}"
            found |= {f"{name}: {change}": excerpt for change in _changes(before, after)}
        for sign, rest in (("-", gone[len(come) :]), ("+", come[len(gone) :])):
            for line in rest:
                general = re.sub(r"\d+", "N", re.sub(r"(\w+)_\w+", r"\1_…", line))
                found[f"{name}: {sign} {general[:80]}"] = line[:200]
    many = f"{name}: {MOST} changes or more, the first: "
    return found if len(found) < MOST else {many + kind: excerpt for kind, excerpt in [*found.items()][:1]}


def _changes(old: str, new: str) -> Iterator[str]:
    """Yield the words that changed, each with one before and one behind; every change of a number is the same."""
    one, two = (re.findall(r"\d+|[^\W\d]+|\W", text) for text in (old, new))
    begin = max(_alike(one, two) - 1, 0)
    end = max(_alike(one[:begin:-1], two[:begin:-1]) - 1, 0)
    one, two = one[begin : len(one) - end], two[begin : len(two) - end]
    for tag, a, b, c, d in difflib.SequenceMatcher(None, one, two).get_opcodes():
        gone, come = "".join(one[a:b]), "".join(two[c:d])
        if gone.isdigit() and come.isdigit() and len(one) > 1:
            yield "another number"
        elif tag != "equal":
            yield f"{''.join(one[a - 1 : a])}[-{gone[:60]}-]{{+{come[:60]}+}}{''.join(one[b : b + 1])}"


def _alike(one: Sequence[Any], two: Sequence[Any]) -> int:
    """Return how much is the same at the beginning."""
    pairs = zip(one, two, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(two)))


def play(cell: Cell, folder: Path) -> Played:
    """Run a line with both programs, each in a folder of the same name, and return the differences."""
    home, told = folder / "x" / "home", []  # what is saved in `..` is wiped, too
    for each in cell.programs:
        shutil.rmtree(home.parent, ignore_errors=True)
        try:
            said = observed(cell, each, home)
        except Exception as failure:
            said = Said(-2, "", f"it could not be staged: {type(failure).__name__}: {failure}")
        told.append(aspects(said, {str(home): "~", **_worker(each, os.getpid()).places}))
    old, new = told
    played = Played([int(old["exit code"][0])])
    differing = [name for name in old if old[name] != new[name]]
    if min(played.codes[0], int(new["exit code"][0])) < 0:  # how far it came by then is chance
        played.open.append(f"{' '.join(dict.fromkeys(old['stderr'] + new['stderr']))}: {cell}")
        differing = [name for name in differing if name in ("exit code", "stderr")]
    for name in differing:
        for kind, words in kinds(name, old[name], new[name]).items():
            is_wanted = any(re.search(pattern, kind) for pattern in cell.expected)
            played.breaks(words, is_borne=is_wanted, **{kind: True})
    return played
