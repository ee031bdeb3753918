"""What policies decided on this machine: noted before an answer is sent, and after it.

A call is decided once: who finds a note of it, by another command or one that was killed, sends nothing.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from qoder_cli.local.tables import DECISIONS

if TYPE_CHECKING:
    from sqlite3 import Connection

    from qoder_cli.local.store import Store
    from qoder_cli.settings.config import Settings

State = Literal["sending", "sent", "gone"]  # gone: lost, and the call no longer waits


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


def put(store: "Store", settings: "Settings", decisions: Iterable[PolicyDecision]) -> set[str] | None:
    """Note decisions, and return the calls noted now; None if nothing may be sent."""
    rows = [{"host": settings.host, **decision._asdict()} for decision in decisions]
    noted: set[str] = set()

    def work(connection: "Connection") -> None:
        noted.clear()
        noted.update(str(row["call"]) for row in DECISIONS.put(connection, rows, instead="IGNORE"))

    return noted if store.write_now(work) else None


def mark(store: "Store", settings: "Settings", session: str, calls: Sequence[str], state: State) -> None:
    """Note what became of decisions."""
    where = {"host": settings.host, "session": session}
    store.write(lambda of: [DECISIONS.change(of, {**where, "call": call}, state=state) for call in calls], quiet=True)


def drop(store: "Store", settings: "Settings", session: str, calls: Sequence[str]) -> None:
    """Forget decisions that certainly were not sent."""
    where = {"host": settings.host, "session": session, "state": "sending"}
    store.write(lambda of: [DECISIONS.drop(of, {**where, "call": call}) for call in calls], quiet=True)


def of_session(store: "Store", settings: "Settings", session: str) -> dict[str, PolicyDecision]:
    """Return what was decided in a session, by call."""
    where = {"host": settings.host, "session": session}
    return {decision.call: decision for decision in _decisions(store, where)}


def all_of(store: "Store", settings: "Settings") -> list[PolicyDecision]:
    """Return every decision on this host that is kept, newest first."""
    return sorted(_decisions(store, {"host": settings.host}), key=lambda one: (-one.at, one.call))


def _decisions(store: "Store", where: dict[str, str]) -> list[PolicyDecision]:
    return [PolicyDecision._make(row) for row in DECISIONS.read(store, where, *PolicyDecision._fields, quiet=False)]
