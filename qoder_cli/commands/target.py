"""The session that a command is about."""

from typing import NamedTuple

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import Rejected, UsageError
from qoder_cli.base.model import Run
from qoder_cli.history import names
from qoder_cli.runs.observe import observer_of


class TypedSession(NamedTuple):
    """A session, named by its run or by itself."""

    session_id: str
    run: Run | None = None

    @property
    def id(self) -> str:
        """Its id in a command."""
        if self.run:
            return self.run.id
        return self.session_id

    def command(self, app: App, verb: str, *words: str) -> list[str]:
        return app.command(ids.noun(self.id, verb), verb, self.id, *words)


def target_of(given: str, app: App, *, writes: bool = False) -> TypedSession:
    """Return the session typed, or that of the run typed; `writes` to change something in it. Raises QoderError."""
    word = ids.run(given)
    if word.startswith("sess_"):
        return TypedSession(word)
    run = observer_of(app, names.run(word, app)).read_once()
    if writes:
        refuse_adopted(run, word)
    if run.session_id is None:
        why = f"run {run.id} has no session"
        raise Rejected(why, hint="to see how it went", next=app.looking("run", "get", run.id))
    return TypedSession(run.session_id, run)


def refuse_adopted(run: Run, word: str) -> None:
    """Raise UsageError for a run that may be someone else's, unless the word is its id, or that of its session."""
    if run.adopted and word not in (run.id, run.session_id):
        message = f"run {run.id} was adopted, so it may be someone else's; nothing was sent"
        raise UsageError(message, hint=f"to do it all the same, give its id: {run.id}")
