"""Sessions as the server has them."""

from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import Rejected
from qoder_cli.base.model import Run


def session_of(app: App, id: str, **how: Any) -> dict[str, Any]:
    """Return a session as the server shows it; `how` is that of `Client.get`. Raises ApiError."""
    from qoder_cli.nouns.change import read
    from qoder_cli.nouns.table import NOUNS
    from qoder_cli.nouns.write import target_of

    return {**read(app, target_of(NOUNS["session"], id), **how), "type": "session"}


def refuse_archived(session: Run, what: str) -> None:
    """Raise Rejected for a session that is archived."""
    if archived := session.raw.get("archived_at"):
        raise Rejected(
            f"session {session.id} was archived on {archived}; {what}",
            hint="to start another: qoder session new",
        )
