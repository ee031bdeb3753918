"""How a list is looked at: which columns of it, once or again and again."""

from collections.abc import Callable, Sequence
from datetime import datetime
from io import BytesIO
from typing import NamedTuple, NoReturn, TypeVar

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, ReaderGone, Signalled, UsageError
from qoder_cli.base.times import parse_duration, span
from qoder_cli.cli.options import VIEWING, Text, option
from qoder_cli.output.data import NewRows, Sorting
from qoder_cli.output.screen import Screen

DESCENDING = ":desc"
_SHORTEST = 1.0  # seconds between two looks
_GLANCE = 1.0  # seconds after which it is seen that nobody reads a pipe any more

T = TypeVar("T")


class Viewing(NamedTuple):
    """How to look at a list, as typed. These are the options, too."""

    columns: Text = option("--columns", "NAMES", "Show only these columns, in this order, e.g. id,name.", group=VIEWING)
    sort: Text = option("--sort", "COLUMN", "Sort the rows shown; COLUMN:desc has the largest first.", group=VIEWING)
    watch: Text = option("--watch", "[D]", "Look again every D (default 5s) until Ctrl-C.", group=VIEWING)


class View:
    """A way to look at a list that can be shown. Made before any request is sent."""

    def __init__(self, app: App, options: Viewing, columns: Sequence[str], *more: str) -> None:
        """Take what was typed, for a list that has these columns; `more` can be chosen, too. Raises UsageError."""
        self._app = app
        self._listed = columns
        self._columns: list[str] | None = None
        known = (*columns, *more)
        if options.columns is not None:
            if app.output.format != "table":
                hint = "drop it; to choose keys: --json | jq 'map({id})'"
                raise UsageError("--columns chooses the columns of a table", hint=hint)
            names = options.columns.split(",")
            self._columns = list(dict.fromkeys(_known(name, known, option="--columns") for name in names))
        self._sorting: Sorting | None = None
        if options.sort is not None:
            name = options.sort.removesuffix(DESCENDING)
            self._sorting = Sorting(_known(name, known, option="--sort"), options.sort != name)
        self._every: float | None = None
        if options.watch is not None:
            self._every = parse_duration(options.watch, option="--watch")
            if self._every < _SHORTEST:
                raise UsageError("--watch takes at least 1s", hint="leave the time out to look every 5s")
            if app.output.format in ("json", "yaml", "html"):
                form = app.output.format.upper()
                raise UsageError(f"--watch does not end, so it is not one {form} document", hint="use -o jsonl")
        self._printed: list[str] = []  # beside the list, at the look before

    @property
    def is_watched(self) -> bool:
        return self._every is not None

    def show(self, look: Callable[[], T]) -> T:
        """Call `look`, which prints the list, once, and return what it does; or until a signal. Raises what it raises.

        On a terminal each look takes the place of the one before. Elsewhere a row is printed once, and again when it
        has changed. What keeps a server from answering is survived as in a wait; the first look has to go well.
        """
        output = self._app.output
        output.columns, output.listed, output.sorting = self._columns, self._listed, self._sorting
        try:
            if self._every is None:
                return look()
            if output.is_drawn and output.screen.is_animated:
                self._redraw(look, self._every)
            output.news = NewRows()
            self._look_on(look, self._every, self._print_notes)
        except Signalled as signalled:
            if self._app.writes:
                raise
            raise signalled.in_words("interrupted") from None

    def _redraw(self, look: Callable[[], object], every: float) -> NoReturn:
        from rich.text import Text

        from qoder_cli.base.keyboard import keys
        from qoder_cli.output.live import Moving, Picture

        output, screen = self._app.output, self._app.output.screen
        picture, shown = Picture("", ""), ""
        moving = Moving(screen, lambda width, height: picture, stays=True)

        def look_aside() -> None:
            nonlocal shown
            written = BytesIO()
            output.screen = Screen(written, is_terminal=True, color=screen.color)
            try:
                look()
            finally:
                output.screen = screen
            shown = written.getvalue().decode()

        def draw(notes: Sequence[str]) -> None:
            nonlocal picture
            at = datetime.fromtimestamp(self._app.clock.now()).strftime("%H:%M:%S")
            pause = f"{every:g}s" if every < 60 else span(every)
            status = f"as of {at} · every {pause} · Ctrl-C ends"
            foot = Text.from_ansi("".join(f"{note}\n" for note in notes)).append(status, "dim")
            picture = Picture(Text.from_ansi(shown.rstrip("\n")), foot)
            moving.draw()

        with keys(shown=False):
            moving.start()
            try:
                self._look_on(look_aside, every, draw)
            finally:
                moving.stop()

    def _look_on(self, look: Callable[[], object], every: float, show: Callable[[Sequence[str]], None]) -> NoReturn:
        """Look without end, and `show` after each look the notes beside the list."""
        from qoder_cli.runs.polled import Contact

        app, contact, is_first = self._app, Contact(), True
        while True:
            with app.progress.buffered() as notes:
                try:
                    look()
                    contact.heard(app.clock.monotonic())
                except ApiError as error:
                    if is_first or contact.is_lost(error, app.clock.monotonic(), exists=True):
                        raise
                    app.progress.warn(f"could not look again: {error.message}")
            is_first = False
            show(notes)
            until = app.clock.monotonic() + every
            while (left := until - app.clock.monotonic()) > 0:
                if app.output.screen.reader_is_gone:
                    raise ReaderGone
                app.clock.sleep(min(left, _GLANCE) if app.output.screen.is_piped else left)

    def _print_notes(self, notes: Sequence[str]) -> None:
        for text in notes:
            if text not in self._printed:
                self._app.err.print(f"{text}\n")
        self._printed = list(notes)


def _known(word: str, columns: Sequence[str], *, option: str) -> str:
    name = word.strip().lower().replace(" ", "_").replace("-", "_")
    if name not in columns:
        what = f"this list has no column {name[:60]!r}" if name else f"{option} names an empty column"
        raise UsageError(what, hint=f"choose from: {', '.join(columns)}")
    return name
