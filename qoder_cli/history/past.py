"""The calls that agents made or asked for in past runs."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, NotFound, QoderError, or_error
from qoder_cli.base.model import text
from qoder_cli.base.pool import in_order
from qoder_cli.base.times import parse_timestamp
from qoder_cli.base.words import counted
from qoder_cli.history import names
from qoder_cli.history.listed import GIVE_UP_AFTER, pages_of_runs, read_run
from qoder_cli.history.window import Window
from qoder_cli.sessions.asks import CALL_KINDS, Asked, Call
from qoder_cli.sessions.log import Log
from qoder_cli.sessions.state import read_session


class Past(NamedTuple):
    """A run, its session as it is now, and what was called in it, as a policy judges what waits."""

    run_id: str
    session: dict[str, Any]
    asked: Asked


def of_runs(app: App, words: Sequence[str]) -> Iterator[Past]:
    """Yield the calls of runs and sessions that were typed. Raises QoderError."""
    ids_or_errors = names.runs([word for word in words if not word.startswith("sess_")], app)
    ids = [word if word.startswith("sess_") else ids_or_errors[word] for word in words]
    for id in ids:
        if isinstance(id, QoderError):
            raise id
    named = map(str, ids)
    runs = ((id, id if id.startswith("sess_") else read_run(app.client, id).session_id) for id in named)
    yield from _read(app, runs, skips=False)


def since(app: App, since: str, deployments: Sequence[str]) -> Iterator[Past]:
    """Yield the calls of all runs `since` a time as typed, of these deployments or of all. Raises UsageError, ApiError.

    A session that is gone is left out; so is one that cannot be read, with a warning.
    """
    lists: Sequence[str | None] = deployments or [None]
    app.pace_reads()

    def runs_since() -> Iterator[tuple[str, str | None]]:
        """Return the runs, of which the first has been read."""
        start = app.when(since, option="--since")
        runs = (
            (run.id, run.session_id)
            for of in lists
            for page in pages_of_runs(app.client, of, Window(start, None))
            for run in page
            if (created := parse_timestamp(run.raw.get("created_at"))) is None or created >= start
        )
        return chain([*islice(runs, 1)], runs)

    yield from _read(app, app.by_server_clock(runs_since), skips=True)


def _read(app: App, runs: Iterator[tuple[str, str | None]], *, skips: bool) -> Iterator[Past]:
    """Yield what was called in each run, in order; with `skips`, leave out what cannot be read."""
    unread = 0
    for past in in_order(or_error(partial(_past, app)), runs):
        if isinstance(past, ApiError):
            is_gone = isinstance(past, NotFound) and past.enveloped
            unread += not is_gone
            if not skips or unread >= GIVE_UP_AFTER:
                raise past
        elif past is not None:
            yield past
    if unread:
        app.progress.warn(f"ignored {counted(unread, 'run')}: sessions could not be read")


def _past(app: App, run: tuple[str, str | None]) -> Past | None:
    """Return all calls of a run, oldest first; what cannot be read in full apart.

    None if it has no session. Raises ApiError.
    """
    id, session_id = run
    if session_id is None:
        return None
    session = read_session(app.client, session_id)
    calls: dict[str, Call] = {}
    unreadable: list[str] = []
    for events in Log(app.client, session_id, exact=True).whole(tuple(CALL_KINDS)):
        for event in events:
            if event.get("type") not in CALL_KINDS or text(event.get("id")) is None:
                continue
            call = Call.of(session_id, event)
            if call.is_readable:
                calls.setdefault(call.id, call)
            else:
                unreadable.append(call.id)
    return Past(id, session, Asked(session_id, tuple(calls.values()), tuple(unreadable)))
