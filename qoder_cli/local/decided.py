"""What policies decided on this machine: noted before an answer is sent, and after it.

A call is decided once: who finds a note of it, by another command or one that was killed, sends nothing.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from sqlite3 import Connection

    from qoder_cli.local.store import Store
    from qoder_cli.settings.config import Settings

MOST_KEPT = 10_000  # decisions, the newest
State = Literal["sending", "sent", "gone"]  # gone: lost, and the call no longer waits
_SCOPE = "host = :host AND session = :session"


class PolicyDecision(NamedTuple):
    """An answer to a call, by a rule."""

    at: float  # on this machine's clock
    session: str
    run: str
    call: str
    call_sha256: str
    asked_by: str  # the event that named the call as waiting
    name: str
    input: str  # its beginning, in one line
    answer: str
    rule: str
    line: int
    file: str
    policy_sha256: str
    state: str = "sending"


_COLUMNS = ", ".join(PolicyDecision._fields)
_MARKS = ", ".join(f":{name}" for name in ("host", *PolicyDecision._fields))
_PUT = f"INSERT OR IGNORE INTO decisions (host, {_COLUMNS}) VALUES ({_MARKS})"


def put(store: "Store", settings: "Settings", decisions: Iterable[PolicyDecision]) -> set[str] | None:
    """Note decisions that are about to be sent. Return the calls of those noted now, not before by another command.

    None if they cannot be written: then nothing may be sent.
    """
    rows = [{"host": settings.host, **decision._asdict()} for decision in decisions]
    noted: set[str] = set()

    def work(connection: "Connection") -> None:
        noted.clear()
        for row in rows:
            if connection.execute(_PUT, row).rowcount > 0:
                noted.add(str(row["call"]))
        kept = "SELECT at FROM decisions ORDER BY at DESC LIMIT 1 OFFSET ?"
        connection.execute(f"DELETE FROM decisions WHERE at < ({kept})", (MOST_KEPT,))

    return noted if store.write_now(work) else None


def mark(store: "Store", settings: "Settings", session: str, calls: Sequence[str], state: State) -> None:
    """Note what became of decisions."""
    where = {"host": settings.host, "session": session, "state": state}

    def work(connection: "Connection") -> None:
        for call in calls:
            query = f"UPDATE decisions SET state = :state WHERE {_SCOPE} AND call = :call"
            connection.execute(query, {**where, "call": call})

    store.write(work, quiet=True)


def drop(store: "Store", settings: "Settings", session: str, calls: Sequence[str]) -> None:
    """Forget decisions that certainly were not sent."""
    where = {"host": settings.host, "session": session}

    def work(connection: "Connection") -> None:
        for call in calls:
            query = f"DELETE FROM decisions WHERE {_SCOPE} AND call = :call AND state = 'sending'"
            connection.execute(query, {**where, "call": call})

    store.write(work, quiet=True)


def of_session(store: "Store", settings: "Settings", session: str) -> dict[str, PolicyDecision]:
    """Return what was decided in a session, by call."""
    query = f"SELECT {_COLUMNS} FROM decisions WHERE {_SCOPE}"
    rows = store.read(query, {"host": settings.host, "session": session})
    return {decision.call: decision for decision in map(PolicyDecision._make, rows)}


def all_of(store: "Store", settings: "Settings") -> list[PolicyDecision]:
    """Return every decision on this host that is kept, newest first."""
    query = f"SELECT {_COLUMNS} FROM decisions WHERE host = :host ORDER BY at DESC, call"
    return [PolicyDecision._make(row) for row in store.read(query, {"host": settings.host})]
