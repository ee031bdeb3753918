"""Outcomes of runs that only their sessions know, kept so that no session is asked twice.

What is kept is final and certain: a run completed or failed, by an ending of its session that every replica shows by
now. It holds for the session that the run named then; where the run's own fields decide, they do.
They are in the store, by host and workspace. What fails here is silent: then the session is asked again.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from qoder_cli.base.credits import amount, as_text
from qoder_cli.base.model import Run, filled, text
from qoder_cli.base.outcome import Ending, Standing, apply_ending, standing
from qoder_cli.base.times import unix
from qoder_cli.local.store import writable
from qoder_cli.local.tables import CREDITS, OUTCOMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from qoder_cli.local.store import Store
    from qoder_cli.settings.config import Settings

SETTLED = 60.0  # seconds after an ending until nothing that came before it can still turn up
_LONGEST = 2000  # characters of an error; a run whose error has more is asked again
_COLUMNS = ("run", "session", "status", "ended", "type", "message", "worked")


class Outcome(NamedTuple):
    """What became of a run. `worked`: it left a message, a tool call or a file; None where nobody has looked."""

    ending: Ending
    worked: bool | None = None

    def of(self, run: Run) -> Run:
        """Return the run with this outcome filled in, unless its own fields decide."""
        if standing(run) is Standing.ASK_SESSION:
            return apply_ending(run, self.ending)
        return run


class KeptOutcomes:
    """The outcomes kept of one host and workspace; threads may share it."""

    def __init__(self, store: "Store", settings: "Settings", now: "Callable[[], float]") -> None:
        self._store = store
        self._scope = {"host": settings.host, "workspace": settings.workspace_id or ""}
        self._now = now
        self._lock = threading.Lock()
        self._new: list[dict[str, object]] = []

    def outcomes_of(self, runs: Iterable[Run]) -> dict[str, Outcome]:
        """Return what is kept of these runs, by their ids, as far as nothing that they say contradicts it."""
        named = {id: run for run in runs if (id := text(run.raw.get("id")))}
        found = {}
        ids = list(filter(_is_writable, named))
        rows = OUTCOMES.read_of(self._store, self._scope, "run", ids, *_COLUMNS)
        for id, session, status, ended, kind, message, worked in rows:
            run = named[id]
            sure = standing(run) is Standing.ASK_SESSION or run.status == status
            if session == run.session_id and status in ("completed", "failed") and sure:
                error = filled({"type": kind, "message": message}) or None
                found[id] = Outcome(Ending(status, ended, error), None if worked is None else bool(worked))
        return found

    def filled(self, runs: Sequence[Run]) -> list[Run]:
        """Return runs with what is kept of them filled in."""
        outcomes = self.outcomes_of(runs)
        return [outcomes[run.id].of(run) if run.id in outcomes else run for run in runs]

    def keep(self, run: Run, *, worked: bool | None = None) -> None:
        """Keep what became of a run, if that is certain; `save` writes it."""
        ended = unix(run.completed_at)
        is_settled = ended is not None and self._now() - ended >= SETTLED
        error = {"type": run.error_type, "message": run.error_message}
        texts = [run.raw.get("id"), run.session_id, run.completed_at, *filter(None, error.values())]
        is_kept = is_settled and run.status in ("completed", "failed") and all(map(_is_writable, texts))
        if not is_kept:
            return
        about = {"run": run.id, "session": run.session_id, "status": run.status, "ended": run.completed_at, **error}
        with self._lock:
            self._new.append({**self._scope, **about, "worked": worked, "at": self._now()})

    def save(self) -> None:
        """Write what is to be kept into the store."""
        with self._lock:
            new, self._new = self._new, []
        if new:
            OUTCOMES.save(self._store, new)

    def credits_of(self, sessions: Iterable[str]) -> dict[str, Decimal]:
        """Return what is kept of what sessions had used, by their ids."""
        ids = list(filter(_is_writable, sessions))
        rows = CREDITS.read_of(self._store, self._scope, "session", ids, "session", "credits")
        return {session: spent for session, text in rows if (spent := amount(text)) is not None}

    def keep_credits(self, spent: Mapping[str, Decimal]) -> None:
        """Keep what the sessions of runs that have ended had used when they were at rest."""
        rows = [
            {**self._scope, "session": session, "credits": as_text(credits), "at": self._now()}
            for session, credits in spent.items()
            if _is_writable(session)
        ]
        if rows:
            CREDITS.save(self._store, rows)


def _is_writable(value: object) -> bool:
    """Return whether a value is text that the store takes as it is: short, without lone surrogates."""
    written = text(value) or ""
    return 0 < len(written) <= _LONGEST and writable(written) == written
