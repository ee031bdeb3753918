"""What moves on a terminal, drawn by rich in its place. A door to rich: imported only where something moves."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

from rich.console import Console, RenderableType
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment, SegmentLines
from rich.text import Text

from qoder_cli.base import signals
from qoder_cli.output.screen import Screen


class Picture(NamedTuple):
    """What is drawn: what is left out if a terminal is too low, and what always stands below it."""

    body: RenderableType
    foot: RenderableType


class _Console(Console):
    may_hide_cursor = True

    def show_cursor(self, show: bool = True) -> bool:
        return self.may_hide_cursor and super().show_cursor(show)


class Moving:
    """A picture at the end of what a terminal shows, redrawn `per_second` times a second, or by `draw`.

    `picture` is called for a width and a height, from another thread if it is drawn by itself. Once it stops the
    picture is gone, unless it `stays`; then it changes no mode of the terminal either, so that nothing has to be
    restored however the program ends. A signal waits until rich has drawn: cut short, rich would draw it twice.
    """

    def __init__(
        self, screen: Screen, picture: Callable[[int, int], Picture], *, per_second: float = 0.0, stays: bool = False
    ) -> None:
        self._screen = screen
        self._picture = picture
        self._per_second = per_second
        self._stays = stays
        self._live: Live | None = None
        self._drawn: list[int] = []  # columns of the lines that the terminal shows
        self._next: list[int] = []  # of those that it is shown next

    @signals.deferred()
    def start(self) -> None:
        """Show it, by a new object of rich: one that was stopped would overwrite what came below it."""
        write = self._screen.write if self._stays else self._screen.print
        # The screen as a text file for rich, written at once.
        file = SimpleNamespace(
            write=write, flush=lambda: None, isatty=lambda: self._screen.is_terminal, encoding="utf-8"
        )
        console = _Console(
            file=file,  # type: ignore[arg-type]  # it has what is used
            force_terminal=True,
            color_system="standard" if self._screen.color else None,
            legacy_windows=False,
            highlight=False,
            markup=False,
            emoji=False,
        )
        console.may_hide_cursor = not self._stays
        self._drawn = []
        console.push_render_hook(self)  # type: ignore[arg-type]  # it has the one method of a hook
        self._live = Live(
            get_renderable=lambda: self._lines(console),
            console=console,
            transient=not self._stays,
            auto_refresh=self._per_second > 0,
            refresh_per_second=self._per_second or 1,
            redirect_stdout=False,  # standard output is data
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._live.start()

    @signals.deferred()
    def stop(self) -> None:
        if self._live is not None:
            self._live.stop()

    @signals.deferred()
    def draw(self) -> None:
        """Draw it now."""
        if self._live is not None:
            self._live.refresh()

    @signals.deferred()
    def print_above(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(Text.from_ansi(text), soft_wrap=True)  # a command can be copied

    def process_renderables(self, renderables: list[Any]) -> list[Any]:
        """Go up, for rich, over rows that a narrowed terminal has wrapped.

        Most terminals wrap again when resized; rich goes up over as many rows as it drew.
        """
        width = self._live.console.width if self._live else 1
        more = sum((length - 1) // width for length in self._drawn if length > width)
        self._drawn = [min(length, width) for length in self._next]
        above = [(ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)] * more
        return [Control(*above), *renderables] if above else renderables

    def _lines(self, console: Console) -> SegmentLines:
        """Return the lines of the picture, as many as fit; the last of the body says how many do not."""
        width, height = console.size
        picture = self._picture(width, height)
        foot = self._rendered(console, picture.foot)
        body, room = self._rendered(console, picture.body), max(height - 1 - len(foot), 1)
        if len(body) > room:
            more = f"… {len(body) - room + 1} more lines"
            body = [*body[: room - 1], *self._rendered(console, Text(more))]
        lines = [*body, *foot]
        self._next = [Segment.get_line_length(line) for line in lines]
        return SegmentLines(lines, new_lines=True)

    @staticmethod
    def _rendered(console: Console, part: RenderableType) -> list[list[Segment]]:
        options = console.options.update(height=None)
        return console.render_lines(part, options, pad=False) if part else []
