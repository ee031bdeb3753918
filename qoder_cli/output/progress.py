"""Progress, notes and warnings on stderr: none is output."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from qoder_cli.base.times import Clock, span
from qoder_cli.output.screen import Screen, inert

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.spinner import Spinner

    from qoder_cli.output.live import Moving, Picture

Board = Callable[[int, int], "tuple[RenderableType, str]"]  # from a width and a height to a table, and its count
HEARTBEAT = 30.0  # seconds between signs of life without a terminal
LONG_WAIT = 10.0  # seconds after which the end of a wait may ring the bell


class _Wait(NamedTuple):
    """What is waited for: how it stands, what Ctrl-C leaves, and the share that is done, if that is known."""

    status: Callable[[], str]
    began: float  # on the monotonic clock
    leaving: str = ""
    share: Callable[[], float] | None = None


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
        self._line: Moving | None = None  # while it shows
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

    def show(self, text: str, *, always: bool = False) -> None:
        """Print lines as they are, `always` or unless quiet."""
        if always or not self.is_quiet:
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
        self._printed_at = began = self._clock.monotonic()
        if leaving is None:
            leaving = "the run keeps running" if self._board is None else "the runs keep running"
        wait = self._wait = _Wait((lambda: status) if isinstance(status, str) else status, began, leaving, share)
        if self.is_quiet or not self._moves:
            yield
        else:
            from rich.spinner import Spinner

            from qoder_cli.base.keyboard import keys
            from qoder_cli.output.live import Moving

            picture = partial(self._picture, wait, Spinner("dots"))
            line = Moving(self._screen, picture, per_second=8 if self._board is None else 4)
            with keys(shown=False):
                try:
                    line.start()
                    self._line = line
                    yield
                finally:
                    line.stop()
                    self._line = None
        if self._rings and self._screen.is_terminal and self._clock.monotonic() - began > LONG_WAIT:
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

    def _picture(self, wait: _Wait, spinner: "Spinner", width: int, height: int) -> "Picture":
        """Return the animated line of a wait, below the board if there is one, which counts in its place."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        from qoder_cli.output.live import Picture

        body: RenderableType = ""
        status = None
        if self._board is not None:
            body, status = self._board(width, height - 3)  # for the status line and the lines before it
        seconds = self._clock.monotonic() - wait.began
        words = Text(f"{inert(status or wait.status())} {span(seconds)}", no_wrap=True, overflow="ellipsis")
        words.append(f"  Ctrl-C stops waiting; {wait.leaving}", style="dim")
        parts: list[RenderableType] = [spinner.render(seconds), words]
        if wait.share is not None:
            parts.insert(1, ProgressBar(1.0, wait.share(), width=20, complete_style="green", finished_style="green"))
        line = Table.grid(padding=(0, 1, 0, 0))
        line.add_row(*parts)
        return Picture(body, line)
