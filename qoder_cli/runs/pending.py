"""What waits for a person: in some sessions, or in all that are idle."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, NotFound
from qoder_cli.base.model import mapping, text
from qoder_cli.base.pool import in_order
from qoder_cli.base.times import parse_timestamp, parse_when, utc_text
from qoder_cli.runs.answering import Target, target_of, waiting_in
from qoder_cli.sessions.asks import Waiting, look
from qoder_cli.sessions.objects import session_of

AT_A_TIME = 8  # sessions
GIVE_UP_AFTER = 8  # sessions that could not be read: the others would not be either

Batches = Iterator[list[Waiting]]


def in_targets(app: App, typed: Sequence[str]) -> Batches:
    """Yield what waits in each of the sessions that were typed. Raises QoderError."""
    for target in [target_of(word, app) for word in typed]:
        session = session_of(app, target.session_id)
        yield waiting_in(app, target, look(app.client, target.session_id), session)


def everywhere(app: App, since: str) -> Batches:
    """Yield what waits in the idle sessions created `since`. Raises ApiError.

    One that cannot be read is warned of, and decides how the command ends.
    """
    now = datetime.fromtimestamp(app.clock.now(), UTC)
    start = parse_when(since, option="--since", now=now)
    app.pace_reads()
    looked, failures = 0, list[ApiError]()

    def read(session: dict[str, Any]) -> list[Waiting] | ApiError:
        id = str(session["id"])
        try:
            return waiting_in(app, Target(id, id), look(app.client, id), session)
        except ApiError as error:
            return error

    with app.progress.waiting(lambda: f"looked at {looked} sessions", leaving="nothing is changed"):
        for found in in_order(read, _idle_sessions(app, start), at_a_time=AT_A_TIME):
            looked += 1
            app.progress.beat()
            if isinstance(found, NotFound) and found.enveloped:
                continue  # deleted meanwhile
            if isinstance(found, ApiError):
                failures.append(found)
                if len(failures) >= GIVE_UP_AFTER:
                    raise found
            elif found:
                with app.progress.aside():
                    yield found
    app.progress.note(f"looked at {looked} idle sessions created since {utc_text(start)}")
    if failures:
        app.progress.warn(f"{len(failures)} sessions could not be read")
        raise failures[0]


def _idle_sessions(app: App, start: datetime) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    query = {"statuses[]": ("idle",), "created_at[gte]": utc_text(start), "limit": 100}
    for page in app.client.pages("/sessions", query):
        for session in map(mapping, page["data"]):
            id, created = text(session.get("id")), parse_timestamp(session.get("created_at"))
            is_meant = session.get("status") in (None, "idle") and not session.get("archived_at")
            if id and id not in seen and is_meant and (created is None or created >= start):
                seen.add(id)
                yield session
