"""A session as the server shows it."""

from typing import TYPE_CHECKING, Any

from qoder_cli.app import App
from qoder_cli.base.errors import NoResponse, Rejected
from qoder_cli.base.ids import segment
from qoder_cli.base.model import mapping

if TYPE_CHECKING:
    from qoder_cli.http.client import Client


def read_session(client: "Client", id: str, **how: Any) -> dict[str, Any]:
    """Return what a session shows; `how` is passed to `Client.get`. Raises ApiError, NoResponse for another session."""
    found = mapping(client.get(f"/sessions/{segment(id)}", **how))
    if found.get("id") not in (None, id):
        raise NoResponse(f"the response is not session {id}")
    return found


def session_of(app: App, id: str) -> dict[str, Any]:
    """Return a session as the server shows it. Raises ApiError."""
    from qoder_cli.nouns.edits.thing import read, target_of
    from qoder_cli.nouns.table import NOUNS

    return {**read(app, target_of(NOUNS["session"], id)), "type": "session"}


def session_to_talk_to(app: App, id: str) -> dict[str, Any]:
    """Return a session. Raises Rejected if it takes no messages, ApiError."""
    session = session_of(app, id)
    if session.get("archived_at") or session.get("status") == "terminated":
        why = "is archived" if session.get("archived_at") else "was terminated"
        message = f"session {id} {why}, so it takes no messages; nothing was sent"
        raise Rejected(message, hint="start another run or session")
    return session
