"""Draws the README's pictures, what a terminal shows of a sandbox, into `.pictures/`."""

import io
import os
import re
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

from qoder_cli.app import App
from qoder_cli.cli.main import main
from qoder_cli.output import data
from qoder_cli.output.board import Line, board
from qoder_cli.output.screen import Screen
from qoder_cli.sandbox.scripts import Behaviour, turn
from qoder_cli.sandbox.world import World
from tests.support.inprocess import WithoutStreams
from tests.support.wire import FakeClock

FOLDER = Path(__file__).parents[2] / ".pictures"
WIDTH = 118
PICTURES = {
    "run-list": "run list --limit 9",
    "deploy-get": "deploy get nightly-report",
}


def world_with_history(clock: FakeClock) -> World:
    """Return a world in which a few deployments have run for a while."""
    world = World(clock=clock.now, generation="legacy", seed=4)
    for hours, deployment in enumerate(["dep_scheduled"] * 9 + ["dep_fail", "dep_demo", "dep_scheduled", "dep_budget"]):
        world.start(deployment, at=clock.time - 3600 * (14 - hours) - 41 * hours)
    return world


def drawn(command: str) -> str:
    """Return what a terminal shows of a command, escapes and all."""
    clock = FakeClock()
    world = world_with_history(clock)
    with TemporaryDirectory() as folder:
        for words in ("deploy list --all", command):  # the list makes the deployments' names known here
            out = io.BytesIO()
            app = App(
                env={"QODER_PAT": world.token, "QODER_BASE_URL": "http://127.0.0.1:9", "QODER_STATE_DIR": folder},
                out=Screen(out, is_terminal=True, color=True),
                err=Screen(None),
                clock=clock,
                transport=WithoutStreams(world),
            )
            main(words.split(), app)
    return out.getvalue().decode()


def drawn_board() -> str:
    """Return the live table of a wait for fourteen runs, half a minute after the first was started."""
    clock = FakeClock()
    world = World(clock=clock.now, generation="legacy", seed=4)
    made = world.seed_deployments(8, behaviour=Behaviour(turn(seconds=24)))
    named = [*made, *(world.deployments[f"dep_{word}"] for word in ("minute", "fail", "demo", "budget", "ask", "skip"))]
    runs = [world.start(each.id, at=clock.time - 28 + 1.5 * number) for number, each in enumerate(named)]
    lines = [
        Line(run.deployment.name, run.id, run.status(clock.time), min(clock.time - run.created, 24)) for run in runs
    ]
    screen = io.StringIO()
    Console(file=screen, width=WIDTH, force_terminal=True, color_system="standard").print(
        *board(lines, width=WIDTH, height=12), sep="\n"
    )
    return screen.getvalue()


def write() -> None:
    """Draw every picture, as a terminal of 118 columns in UTC shows it."""
    os.environ["TZ"] = "UTC"
    time.tzset()
    data.terminal_width = lambda: WIDTH  # type: ignore[attr-defined]
    FOLDER.mkdir(exist_ok=True)
    shown = {name: (command, drawn(command)) for name, command in PICTURES.items()}
    shown["deploy-run-many"] = ("deploy list --status active -q | qoder deploy run - --wait", drawn_board())
    for name, (command, picture) in shown.items():
        console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
        console.print(Text(f"$ qoder {command}", style="bold"))
        console.print(Text.from_ansi(picture.rstrip("\n")))
        svg = console.export_svg(title="qoder", theme=DIMMED_MONOKAI, unique_id=name)
        (FOLDER / f"{name}.svg").write_text(plain(svg), "utf-8")


def plain(svg: str) -> str:
    """Return a picture that loads nothing from elsewhere, without spaces at the ends of lines."""
    svg = re.sub(r"@font-face \{.*?\}|<!--.*?-->", "", svg, flags=re.DOTALL).replace("Fira Code", "monospace")
    return "".join(f"{line.rstrip()}\n" for line in svg.splitlines() if line.strip())
