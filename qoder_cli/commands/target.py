"""The session that a command is about."""

from collections.abc import Sequence
from typing import NamedTuple

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import Rejected, UsageError
from qoder_cli.base.model import Run
from qoder_cli.history import names
from qoder_cli.runs.observe import observer_of

FEW = 8  # sessions at a time; no list shows their state


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


def target_of(given: str, app: App) -> TypedSession:
    """Return the session typed, or that of the run typed. Raises QoderError."""
    word = ids.run(given)
    if word.startswith("sess_"):
        return TypedSession(word)
    run = observer_of(app, names.run(word, app)).read_once()
    if run.session_id is None:
        why = f"run {run.id} has no session, so nothing waits in it"
        raise Rejected(why, hint="to see how it went", next=app.looking("run", "get", run.id))
    return TypedSession(run.session_id, run)


def sessions_of(words: Sequence[str], app: App) -> list[str]:
    """Return the ids of the sessions typed, 8 at most. Raises QoderError."""
    if len(words) > FEW:
        raise UsageError(f"{len(words)} sessions at once are too many; the limit is {FEW}", hint="use xargs -n 8")
    return [target_of(word, app).session_id for word in words]
