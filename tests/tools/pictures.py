"""Draws the README's pictures, what a terminal shows of a sandbox, into `.pictures/`."""

import io
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

from qoder_cli.sandbox.world import World
from tests.support.wire import FakeClock
from tests.tools.pages import TOKEN, Desk

FOLDER = Path(__file__).parents[2] / ".pictures"
WIDTH = 118
PICTURES = {"run-list": "run list --limit 9", "deploy-get": "deploy get nightly-report"}


def world_with_history(clock: FakeClock, kind: type[World]) -> World:
    """Return a world in which a few deployments have run for a while."""
    world = kind(clock=clock.now, generation="legacy", seed=4, token=TOKEN)
    for hours, deployment in enumerate(["dep_scheduled"] * 9 + ["dep_fail", "dep_demo", "dep_scheduled", "dep_budget"]):
        world.start(deployment, at=clock.time - 3600 * (14 - hours) - 41 * hours)
    return world


def drawn(command: str) -> str:
    """Return what a terminal shows of a command, escapes and all."""
    with TemporaryDirectory() as folder:
        desk = Desk(folder, make=world_with_history)
        return desk.said(f"qoder {command}", width=WIDTH, color=True).partition("\n")[2]


def write() -> None:
    """Draw every picture, as a terminal of 118 columns in UTC shows it."""
    FOLDER.mkdir(exist_ok=True)
    for name, command in PICTURES.items():
        console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
        console.print(Text(f"$ qoder {command}", style="bold"))
        console.print(Text.from_ansi(drawn(command).rstrip("\n")))
        svg = console.export_svg(title="qoder", theme=DIMMED_MONOKAI, unique_id=name)
        (FOLDER / f"{name}.svg").write_text(plain(svg), "utf-8")


def plain(svg: str) -> str:
    """Return a picture that loads nothing from elsewhere, without spaces at the ends of lines."""
    svg = re.sub(r"@font-face \{.*?\}|<!--.*?-->", "", svg, flags=re.DOTALL).replace("Fira Code", "monospace")
    return "".join(f"{line.rstrip()}\n" for line in svg.splitlines() if line.strip())
