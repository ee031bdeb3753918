"""Progress, notes and warnings on stderr: none is output."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

from qoder_cli.base.times import Clock, span
from qoder_cli.output.screen import Screen, inert

if TYPE_CHECKING:
    from rich.console import RenderHook
    from rich.live import Live
    from rich.text import Text

Board = Callable[[int, int], "list[Text]"]  # from a width and a height to lines
_MARGIN = 3  # lines that the board leaves free, for the status line and earlier output
HEARTBEAT = 30.0  # seconds between signs of life without a terminal
_BAR = 20  # columns
LONG_WAIT = 10.0  # seconds after which the end of a wait may ring the bell


class _Wait(NamedTuple):
    status: Callable[[], str]
    began: float  # on the monotonic clock


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
        self._board: Board | None = None
        self._line: _StatusLine | None = None  # while it shows
        self._wait = _Wait(str, 0.0)  # the newest
        self._printed_at = 0.0
        self._buffer: list[str] | None = None

    def draw(self, board: "Board", *, moves: bool) -> None:
        """Draw a board, for a width and a height, above the status line; unless it `moves`, print changes."""
        self._board, self._moves = board, self._moves and moves

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Hide the status line while the block writes to the terminal."""
        if self._line is None:
            yield
            return
        self._line.stop()
        try:
            yield
        finally:
            self._line.start()

    @contextmanager
    def buffered(self) -> Iterator[list[str]]:
        """Hold back in this block what would be printed, and yield it; print it if the block fails."""
        before, buffer = self._buffer, list[str]()
        self._buffer = buffer
        try:
            yield buffer
        except BaseException:
            self._buffer = before
            for text in buffer:
                self._print(text)
            raise
        finally:
            self._buffer = before

    def note(self, text: str, *, always: bool = False) -> None:
        """Print one line, `always` or unless quiet."""
        if always or not self.is_quiet:
            self._print(self._screen.worded(inert(text)))

    def show(self, text: str) -> None:
        if not self.is_quiet:
            self._print(text.rstrip("\n"))

    def warn(self, text: str) -> None:
        message = self._screen.worded(f"warning: {inert(text)}")
        self._print(self._screen.styled("warning:", "yellow") + message.removeprefix("warning:"))

    def debug(self, text: str) -> None:
        self._print(self._screen.styled(inert(text), "dim"))

    @contextmanager
    def waiting(
        self, status: str | Callable[[], str], *, leaving: str | None = None, share: Callable[[], float] | None = None
    ) -> Iterator[None]:
        """Show in this block what is waited for, how long, and what Ctrl-C does.

        A `status` function is called whenever it is shown, on a terminal from another thread; there a bar shows the
        `share` that is done, from 0 to 1.
        """
        self._printed_at = self._clock.monotonic()
        wait = self._wait = _Wait((lambda: status) if isinstance(status, str) else status, self._printed_at)
        if self.is_quiet or not self._moves:
            yield
        else:
            from qoder_cli.output.keyboard import keys

            with keys(shown=False):
                line = _StatusLine(
                    self._screen, self._clock, wait.status, leaving=leaving, board=self._board, share=share
                )
                try:
                    line.start()
                    self._line = line
                    yield
                finally:
                    line.stop()
                    self._line = None
        if self._rings and self._screen.is_terminal and self._clock.monotonic() - wait.began > LONG_WAIT:
            self._screen.print("\a")

    def change(self, news: str) -> None:
        """Print what has changed in the wait, unless a terminal shows it anyway."""
        if self._line is None and not self.is_quiet:
            self._print(inert(news))

    def beat(self) -> None:
        """Print a sign of life after 30 s without one, if no status line shows."""
        if self._line is None and self._clock.monotonic() - self._printed_at >= HEARTBEAT:
            self.note(f"{self._wait.status()} after {span(self._clock.monotonic() - self._wait.began)}")

    def _print(self, text: str) -> None:
        if self._buffer is not None:
            self._buffer.append(text)
            return
        self._printed_at = self._clock.monotonic()
        if self._line is None:
            self._screen.print(text + "\n")
        else:
            self._line.print_above(text)


class _StatusLine:
    """The animated line of a wait, below a board if there is one."""

    def __init__(
        self,
        screen: Screen,
        clock: Clock,
        status: Callable[[], str],
        *,
        leaving: str | None,
        board: "Board | None",
        share: Callable[[], float] | None,
    ) -> None:
        self._screen = screen
        self._share = share
        self._clock = clock
        self._status = status
        self._leaving = leaving or ("the run keeps running" if board is None else "the runs keep running")
        self._board = board
        self._began = clock.monotonic()
        self._live: Live | None = None
        self._drawn: list[int] = []  # columns of the lines that the terminal shows
        self._lines: list[Text] = []  # that it is shown next

    def print_above(self, text: str) -> None:
        from rich.text import Text

        if self._live is not None:
            self._live.console.print(Text.from_ansi(text))

    def stop(self) -> None:
        if self._live is not None:
            self._live.stop()

    def start(self) -> None:
        """Show it, by a new object of rich: one that was stopped would overwrite what came below it."""
        from rich.console import Console
        from rich.live import Live

        # The screen as a text file for rich, written at once.
        file = SimpleNamespace(
            write=self._screen.print,
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
        if above:
            return [Control(*above), *renderables]
        return renderables

    def _picture(self) -> Any:
        from rich.console import Group
        from rich.spinner import Spinner
        from rich.text import Text

        spinner: Spinner = self.__dict__.setdefault("_spinner", Spinner("dots"))
        seconds = self._clock.monotonic() - self._began
        line = Text(no_wrap=True, overflow="ellipsis").append_text(Text.from_markup(str(spinner.render(seconds))))
        if self._share is not None:
            done = int(self._share() * _BAR)
            line.append(" " + "━" * done, style="green").append("┄" * (_BAR - done), style="dim")
        line.append(f" {inert(self._status())} {span(seconds)}")
        line.append(f"  Ctrl-C stops waiting; {self._leaving}", style="dim")
        width, height = self._live.console.size if self._live else (0, 0)
        self._lines = [*(self._board(width, height - _MARGIN) if self._board else []), line]
        return Group(*self._lines)
