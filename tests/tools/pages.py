"""Writes what people are shown into `tests/shown/`: what a reviewer reads in ten minutes.

One golden page a kind: help, answers to mistakes, tables. All help is checked by `test_examples.py` and `test_help.py`.
"""

import io
import os
import re
import shlex
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from qoder_cli.app import App
from qoder_cli.cli.main import main
from qoder_cli.output.screen import Screen
from qoder_cli.sandbox.samples import PRESETS
from qoder_cli.sandbox.world import World
from tests.support.inprocess import WithoutStreams
from tests.support.wire import FakeClock

FOLDER = Path(__file__).parents[1] / "shown"
TOKEN = "pt-0123456789abcdef"
AGENT = {"id": "agent_019ec0ffee007000800000000000a9e2", "type": "agent", "version": 3}
LIKE = {preset.word: preset for preset in PRESETS}
CRONS = {"nightly-report": "0 9 * * *", "weekly-digest": "30 7 * * 1"}
MINUTES = 60
REQUEST_ID = re.compile(r"(request id:? |\"request_id\":\")[0-9a-f-]{36}")  # it is not the same twice
MADE = "Made by `python -m tests.tools pages`.\n"
HELP = (
    *("--help", "run --help", "deploy run --help", "run list --help", "run approve --help", "session new --help"),
    *("agent create --help", "vault put --help", "help", "help exit-codes"),
)
# One golden page a command; names have up to 30 columns, ids 32 digits, as real ones.
SCREENS = {
    "run-list": ("run list -n 6", "run list --status failed"),
    "run-get": ("run get {asking}",),
    "run-pending": ("run pending",),
    "run-wait": ("run wait {run} {asking} {done}",),
    "deploy-list": ("deploy list",),
    "deploy-get": ("deploy get nightly-status-report",),
    "deploy-run": (
        "deploy run nightly-status-report",
        "deploy run docs-sync customer-feedback-summary-emea --parallel 1",
    ),
    "session-list": ("session list -n 2",),
    "agent-list": ("agent list -n 3",),
    "usage": ("usage --by day",),
}
OTHERS = (
    *("run list -n 3 -o wide", "run get {run}", "run logs {run}"),
    *("deploy pause weekly-digest", "auth status", "api --list deployment run"),
)
WIDTHS = (80, 100, 120)


class LongIds(World):
    """A world whose ids are 32 hexadecimal digits, of which the first twelve are the time."""

    def new_id(self, prefix: str) -> str:
        return f"{prefix}_{int(self.now() * 1000):012x}7{self._random.getrandbits(76):019x}"


class Desk:
    """Runs commands as a person does at a terminal, whose lines for the data and for the rest come as they are said."""

    def __init__(
        self, folder: str, kind: type[World] = World, make: Callable[[FakeClock, type[World]], World] | None = None
    ) -> None:
        self.clock = FakeClock()
        self.world = (make or world_with_history)(self.clock, kind)
        runs = list(self.world.runs.values())
        last, done = runs[len(RUNS) - 4 : len(RUNS) - 2]
        self.ids = {"run": last.id, "session": last.session.id if last.session else ""}
        self.ids |= {"asking": runs[-1].id, "done": done.id}
        self.env = {
            "QODER_PAT": TOKEN,
            "QODER_BASE_URL": "https://api.qoder.com/api/v1/cloud",
            "QODER_CONFIG": f"{folder}/config.toml",
            "QODER_STATE_DIR": f"{folder}/state",
            "HOME": folder,
        }
        self.folder = folder
        self.said("qoder deploy list --all")  # the deployments' names are known from now on

    def said(self, line: str, *, width: int = 80, color: bool = False, named: bool = True) -> str:
        """Return a line of a shell and what is shown; `named` fills in the ids."""
        typed = line.format(**self.ids) if named else line
        before, _, command = typed.rpartition(" | ")
        piped = shlex.split(before)[1].encode().decode("unicode_escape") if before else ""
        words = shlex.split(command.replace("$'", "'"))
        at = words.index("qoder")
        env = self.env | dict(word.split("=", 1) for word in words[:at])
        out = io.BytesIO()
        screen = Screen(out, is_terminal=True, color=color, moves=False)
        app = App(
            env=env,
            out=screen,
            err=screen,
            stdin=io.StringIO(piped),
            clock=self.clock,
            transport=WithoutStreams(self.world, sleep=self.clock.sleep),
        )
        self.clock.patience = 20.0 if " ".join(words).count("deploy run") else 0.0  # threads start several
        with columns(width):
            code = main([word.replace("\\r", "\r") for word in words[at + 1 :]], app)
        shown = out.getvalue().decode().replace(self.folder, "~")
        lines = [text.rstrip() for text in shown.splitlines()]
        return "\n".join([f"$ {typed}", *lines, *([f"[exit {code}]"] if code else [])]) + "\n"


# The deployments, by how they behave, and how many minutes ago they ran.
DEPLOYMENTS = {
    "nightly-report": "demo", "weekly-digest": "fail", "issue-triage": "budget", "release-notes": "minute",
    "customer-feedback-summary-emea": "nostart", "docs-sync": "demo",
}  # fmt: skip
RUNS = (
    (3200, "issue-triage"), (1710, "nightly-report"), (1500, "weekly-digest"), (270, "nightly-report"),
    (130, "customer-feedback-summary-emea"), (62, "issue-triage"), (26, "weekly-digest"), (3, "nightly-report"),
    (1.2, "customer-feedback-summary-emea"), (0.3, "release-notes"),
)  # fmt: skip
# As the screens show some of them: with names that take more room than they have letters, and one that asks.
ASKING, ASKED = "🚀 release-train: プロダクション", 14
WIDE_NAMES = {"issue-triage": "日次ステータスレポート", "nightly-report": "nightly-status-report"}


def world_with_history(clock: FakeClock, kind: type[World]) -> World:
    """Return a world with a few deployments and their runs of the last hours."""
    world = kind(clock=clock.now, generation="current", seed=15, token=TOKEN)
    world.deployments.clear()
    made = {}
    for number, (name, word) in enumerate(DEPLOYMENTS.items()):
        clock.time -= (40 - number) * 86400  # ids begin with the time
        like = LIKE[word]
        made[name] = world.add_deployment(name=name, agent=dict(AGENT), behaviour=like.behaviour, **like.more)
        clock.time += (40 - number) * 86400
    for ago, name in RUNS:
        clock.time -= ago * MINUTES
        world.start(made[name], trigger="schedule" if name in CRONS else "manual")
        clock.time += ago * MINUTES
    for name, cron in CRONS.items():  # only now: a schedule fires for all the time that has passed
        made[name].change(world.now(), schedule={"expression": cron, "timezone": "Europe/Berlin"})
    made["docs-sync"].change(world.now(), status="paused", paused_reason={"type": "manual"})
    return world


def world_of_screens(clock: FakeClock, kind: type[World]) -> World:
    """Return the same with wide names, and with a run that waits for an answer."""
    world = world_with_history(clock, kind)
    for each in world.deployments.values():
        each.change(world.now(), name=WIDE_NAMES.get(each.name, each.name))
    clock.time -= ASKED * MINUTES
    world.start(world.add_deployment(name=ASKING, agent=dict(AGENT), behaviour=LIKE["ask"].behaviour))
    clock.time += ASKED * MINUTES
    return world


@contextmanager
def columns(width: int) -> Iterator[None]:
    """Let the terminal be as wide as this, in UTC, and this machine be one that never changes."""
    settings: dict[str, Any] = {"platform.python_version": lambda: "3.13.0", "platform.system": lambda: "Linux"}
    settings |= {"sysconfig.get_path": lambda name: f"/opt/{name}", "sys.executable": "/opt/python"}
    settings |= {"qoder_cli.commands.doctor.__file__": "/opt/qoder_cli/commands/doctor.py"}
    settings |= {"qoder_cli.commands.doctor.__version__": "0.1.0"}
    with ExitStack() as stack:
        for name, value in settings.items():
            stack.enter_context(patch(name, value))
        stack.enter_context(patch.dict(os.environ, TZ="UTC", COLUMNS=str(width)))
        time.tzset()
        yield


def titled(title: str, rule: str = "=") -> str:
    return f"\n{title}\n{rule * len(title)}\n"


def mistakes() -> str:
    """Return the page of mistakes, whose lines are typed again; ids of requests are not the same twice."""
    lines = (FOLDER / "mistakes.txt").read_text("utf-8").splitlines()
    text = MADE
    with TemporaryDirectory() as folder:
        for line, following in pairwise([*lines, ""]):
            if following and set(following) == {"-"}:
                desk = Desk(folder)
                text += titled(line, "-")
            elif line.startswith("$ "):
                text += f"\n{desk.said(line.removeprefix('$ '), named=False)}"
    return REQUEST_ID.sub(r"\1…", text)


def help_pages() -> str:
    """Return some help: the first page, the longest, one of each kind."""
    with TemporaryDirectory() as folder:
        desk = Desk(folder)
        return MADE + "".join(f"\n{desk.said(f'qoder {line}', named=False)}" for line in HELP)


def tables(lines: Iterable[str], width: int, kind: type[World] = World) -> str:
    """Return what commands show on a terminal of this width."""
    with TemporaryDirectory() as folder:
        desk = Desk(folder, kind, world_of_screens)
        return "".join(f"\n{desk.said(f'qoder {line}', width=width)}" for line in lines)


def screen(lines: Iterable[str], widths: Iterable[int] = WIDTHS) -> str:
    """Return what commands show at each width."""
    shown = "".join(titled(f"{width} columns") + tables(lines, width, LongIds) for width in widths)
    return MADE + REQUEST_ID.sub(r"\1…", shown)


FILES = {"help.txt": help_pages, "mistakes.txt": mistakes}
FILES |= {f"{name}.txt": partial(screen, lines) for name, lines in SCREENS.items()}
FILES["others.txt"] = partial(screen, OTHERS, WIDTHS[:1])


def write() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, make in FILES.items():
        (FOLDER / name).write_text(make(), "utf-8", newline="\n")
