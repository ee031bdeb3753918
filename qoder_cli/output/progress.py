"""Progress, notes and warnings on stderr: none is output."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any, cast

from qoder_cli.base.times import Clock, span
from qoder_cli.output.screen import Screen, inert

if TYPE_CHECKING:
    from rich.console import RenderHook
    from rich.live import Live
    from rich.text import Text

_MARGIN = 3  # lines that the board leaves free, for the status line and earlier output
HEARTBEAT = 30.0  # seconds between signs of life without a terminal
LONG_WAIT = 10.0  # seconds after which the end of a wait may ring the bell


class Progress:
    """Notes, warnings, and the status line of a wait.

    On a terminal the status line is animated; elsewhere each change is a line, with a heartbeat
    every 30 s. If `is_quiet`, only warnings are shown. If `rings`, a terminal's bell rings after
    a long wait.
    """

    def __init__(self, screen: Screen, *, clock: Clock, quiet: bool, rings: bool = False) -> None:
        self._screen = screen
        self._clock = clock
        self.is_quiet = quiet
        self._rings = rings
        self._moves = screen.is_animated
        self._board: Callable[[int, int], list[Text]] | None = None
        self._live: Live | None = None
        self._status: Callable[[], str] = str
        self._leaving = ""
        self._drawn: list[int] = []  # columns of the lines that the terminal shows
        self._lines: list[Text] = []  # that it is shown next
        self._began = self._last_line = 0.0

    def draw(self, board: "Callable[[int, int], list[Text]]", *, moves: bool) -> None:
        """Draw a board, for a width and a height, above the status line; unless it `moves`, print changes."""
        self._board, self._moves = board, self._moves and moves

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Hide the status line while the block writes to the terminal."""
        if self._live is None:
            yield
            return
        self._live.stop()
        try:
            yield
        finally:
            self._start_live()  # a new one: the old one would overwrite

    def note(self, text: str, *, always: bool = False) -> None:
        """Print one line, `always` or unless quiet."""
        if always or not self.is_quiet:
            self._line(self._screen.worded(inert(text)))

    def show(self, text: str) -> None:
        if not self.is_quiet:
            self._line(text.rstrip("\n"))

    def warn(self, text: str) -> None:
        message = self._screen.worded(f"warning: {inert(text)}")
        self._line(self._screen.styled("warning:", "yellow") + message.removeprefix("warning:"))

    def debug(self, text: str) -> None:
        self._line(self._screen.styled(inert(text), "dim"))

    @contextmanager
    def waiting(self, status: str | Callable[[], str], *, leaving: str | None = None) -> Iterator[None]:
        """Show in this block what is waited for, how long, and what Ctrl-C does.

        A `status` function is called whenever it is shown, on a terminal from another thread.
        """
        self._status = (lambda: status) if isinstance(status, str) else status
        self._began = self._last_line = self._clock.monotonic()
        self._leaving = leaving or ("the run keeps running" if self._board is None else "the runs keep running")
        if self.is_quiet or not self._moves:
            yield
        else:
            from qoder_cli.output.keyboard import keys

            with keys(shown=False):
                try:
                    self._start_live()
                    yield
                finally:
                    if self._live is not None:
                        self._live.stop()
                    self._live = None
        if self._rings and self._screen.is_terminal and self._clock.monotonic() - self._began > LONG_WAIT:
            self._screen.tell("\a")

    def change(self, news: str) -> None:
        """Print what has changed in the wait, unless a terminal shows it anyway."""
        if self._live is None and not self.is_quiet:
            self._line(inert(news))

    def beat(self) -> None:
        """Print a sign of life after 30 s without one, if no status line shows."""
        if self._live is None and self._clock.monotonic() - self._last_line >= HEARTBEAT:
            self.note(f"{self._status()} after {span(self._clock.monotonic() - self._began)}")

    def _line(self, text: str) -> None:
        self._last_line = self._clock.monotonic()
        if self._live is not None:
            from rich.text import Text

            self._live.console.print(Text.from_ansi(text))
        else:
            self._screen.tell(text + "\n")

    def _start_live(self) -> None:
        from rich.console import Console
        from rich.live import Live

        # The screen as a text file for rich, written at once.
        file = SimpleNamespace(
            write=self._screen.tell,
            flush=lambda: None,
            isatty=lambda: self._screen.is_terminal,
            encoding="utf-8",
        )
        console = Console(
            file=cast(IO[str], file),
            force_terminal=True,
            color_system="standard" if self._screen.color else None,
            legacy_windows=False,
            highlight=False,
            markup=False,
        )
        self._drawn = []
        console.push_render_hook(cast("RenderHook", self))
        self._live = Live(
            get_renderable=self._picture,
            console=console,
            transient=True,  # it goes when the wait is over
            refresh_per_second=8 if self._board is None else 4,
            redirect_stdout=False,  # standard output is data
            redirect_stderr=False,
        )
        self._live.start()

    def process_renderables(self, renderables: list[Any]) -> list[Any]:
        """Go up, for rich, over rows that a narrowed terminal has wrapped.

        Most terminals wrap anew when resized; rich goes up over as many rows as it drew.
        """
        from rich.control import Control
        from rich.segment import ControlType

        width = self._live.console.width if self._live else 1
        more = sum((length - 1) // width for length in self._drawn if length > width)
        self._drawn = [min(line.cell_len, width) for line in self._lines]
        above = [(ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)] * more
        return [Control(*above), *renderables] if above else renderables

    def _picture(self) -> Any:
        from rich.console import Group
        from rich.spinner import Spinner
        from rich.text import Text

        spinner: Spinner = self.__dict__.setdefault("_spinner", Spinner("dots"))
        seconds = self._clock.monotonic() - self._began
        line = Text(no_wrap=True, overflow="ellipsis").append_text(Text.from_markup(str(spinner.render(seconds))))
        line.append(f" {inert(self._status())} {span(seconds)}")
        line.append(f"  Ctrl-C stops waiting; {self._leaving}", style="dim")
        width, height = self._live.console.size if self._live else (0, 0)
        self._lines = [*(self._board(width, height - _MARGIN) if self._board else []), line]
        return Group(*self._lines)
