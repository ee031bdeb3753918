"""`qoder session get`: a session, and how its latest turn ended."""

from qoder_cli.app import App
from qoder_cli.cli.options import RUN_OR_LAST, Text, or_last
from qoder_cli.output.views import session_fields


def get(app: App, run: Text = RUN_OR_LAST) -> None:
    """Show a session, and how its latest turn ended.

    RUN is a session (sess_…), or a run, whose session is meant. JSON is the
    server's object; a key `turn` tells how the latest turn ended, or what it
    waits for. Exits 0 in any state, 5 if it does not exist.

    Examples:
      qoder session get sess_demo
      qoder session get last --json | jq .usage.total_credits"""
    from qoder_cli.runs.answering import target_of
    from qoder_cli.runs.turn import any_observer

    found = any_observer(app, target_of(or_last(run, app), app).session_id).read_once()
    app.output.record(session_fields(found), data=found.as_json(), id=found.id)
