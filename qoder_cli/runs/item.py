"""What became of a run that was asked for."""

from qoder_cli.app import App
from qoder_cli.base.errors import Exit, NotYet, WaitTimeout
from qoder_cli.base.model import Run
from qoder_cli.base.outcome import is_going
from qoder_cli.base.tokens import without_tokens
from qoder_cli.output.cells import Fields, Words
from qoder_cli.output.results import Printed, Result
from qoder_cli.output.views import missing_row, run_row

# The order in which columns get room on a terminal.
_FIRST = ("id", "status", "deployment", "duration", "error_type", "triggered", "trigger", "session")


class Item(Result[Run]):
    """A result that is a run, or would be."""

    @property
    def run(self) -> Run | None:
        return self.found

    @property
    def run_id(self) -> str | None:
        return self.run.id if self.run else self.error.run_id if self.error else None

    @property
    def goes_on(self) -> bool:
        """Whether there is a run that may not have ended."""
        if self.run is not None:
            return is_going(self.run)
        error = self.error
        return isinstance(error, WaitTimeout) or bool(error and error.run_id and error.run_state != "ended")

    @property
    def is_unknown(self) -> bool:
        """Whether nobody knows if a run was started."""
        return self.run is None and self.exit_code == Exit.OUTCOME_UNKNOWN

    @property
    def word(self) -> str:
        if self.run is not None:
            return self.run.status or "gone"
        if not self.attempted:
            return "not_started"
        return self.error.type_name if self.error else "pending"

    def row(self) -> Fields:
        return missing_row(without_tokens(self.typed), self.word) if self.run is None else run_row(self.run)

    def drawn_row(self) -> Fields:
        """Return the item as a row for people, who know a deployment by what they called it."""
        names_run = self.run is None or self.typed.startswith(("drun_", "sess_")) or self.typed.endswith("last")
        return self.row() if names_run else {**self.row(), "deployment": Words(self.typed)}


def not_started(typed: str) -> Item:
    """Return what became of a thing whose turn did not come."""
    return Item(typed, None, NotYet("not started (interrupted first)"), attempted=False)


def printed(app: App, count: int) -> Printed[Item]:
    """Return what prints the runs of a command that was given so many things."""
    row = Item.drawn_row if app.output.is_drawn else Item.row
    remedy = "qoder run get shows all of a run"
    return Printed(app.output, app.progress, count, row=row, first=_FIRST, remedy=remedy)
