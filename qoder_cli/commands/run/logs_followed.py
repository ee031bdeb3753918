"""`qoder run logs --follow`: events until the run ends (api.md#events and #event-streams)."""

from qoder_cli.app import App
from qoder_cli.base.errors import NeedsAnswer
from qoder_cli.base.ids import noun
from qoder_cli.base.model import Run
from qoder_cli.base.outcome import is_going
from qoder_cli.commands.run.logs_of_one import explained, log_of
from qoder_cli.runs.awaiting import wait_for
from qoder_cli.runs.ending import Wanted
from qoder_cli.runs.observe import any_observer
from qoder_cli.sessions.log import Events, Log
from qoder_cli.sessions.showing import Printer, Selection, Showing, credits_of


def follow_run(app: App, chosen: str, selection: Selection, tail: int | None, wanted: Wanted) -> None:
    """Print events until the wait for the run is over. Raises its error, unless the run has ended; ApiError."""
    observer = any_observer(app, chosen)
    app.tracked.observer = None  # events are printed, and never the run
    run = observer.read_once()
    if is_going(run) and run.session_id is None:
        app.progress.note(f"run {run.id} has no session yet; waiting for it")
    with Printer(app, selection) as printer:
        followed = _Followed(app, printer, selection, tail)
        if is_going(run):
            followed.first_note = f"following (Ctrl-C to stop; the {noun(chosen)} keeps running)"
        ended = wait_for(app, observer, wanted, showing=followed)
        run, error = ended.found or run, ended.error
        if ended.found is not None and not ended.goes_on:
            error = None
        if error is not None and not isinstance(error, NeedsAnswer):
            raise error
        followed.finish(run)
        printer.sum_up(credits_of(app, Run(run.raw), selection))  # the newest figure
    if error is not None:
        raise error


class _Followed(Showing):
    """Prints the selected events of a run's session: those that happened before, or the last of them, then the new."""

    def __init__(self, app: App, printer: Printer, selection: Selection, tail: int | None) -> None:
        super().__init__()
        self._app = app
        self._printer = printer
        self._selection = selection
        self._tail = tail
        self.first_note = ""  # said once the wait has begun: from then on Ctrl-C names the command to go on with

    def new_log(self, session_id: str) -> Log:
        if self.first_note:
            self._app.progress.note(self.first_note)
            self.first_note = ""
        selection = self._selection
        return Log(self._app.client, session_id, thread=selection.thread, filters=selection.filters())

    def write(self, events: Events, session_id: str) -> None:
        with self._app.progress.aside():
            self._printer.show(events)

    def name(self, session_id: str, label: str) -> None:
        if self._logs and session_id not in self._logs:
            self._app.progress.note(f"the run now has session {session_id}; following that one")

    def read_on(self, session_id: str, *, retry: bool = False) -> None:
        if self._tail is not None:
            self.write(self.log(session_id).newest(self._tail, self._selection.takes), session_id)
            self._tail = None
        super().read_on(session_id, retry=retry)

    def finish(self, run: Run) -> None:
        """Print what was not printed yet of a run that has ended, or asks. Raises ApiError."""
        log = log_of(self._app, run, self._selection)
        self._logs.setdefault(log.session_id, log)
        with explained(run, self._selection):
            self.read_on(log.session_id, retry=True)
