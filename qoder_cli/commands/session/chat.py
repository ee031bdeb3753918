"""`qoder session chat`: talk with the agent of a session."""

from qoder_cli.app import App
from qoder_cli.cli.options import RUN_OR_LAST, Text, or_last


def chat(app: App, run: Text = RUN_OR_LAST) -> int:
    """Talk with the agent of a session, at a terminal.

    Enter sends a line, Esc interrupts the agent, Ctrl-D or Ctrl-C leaves: the
    agent keeps working, and the command to come back is printed. When the
    agent asks, you decide on the spot. Scripts use `session send`.

    Examples:
      qoder session chat sess_demo
      qoder session chat last"""
    from qoder_cli.runs.answering import target_of
    from qoder_cli.runs.chat import chat as talk
    from qoder_cli.runs.chat import require_terminal

    require_terminal(app)
    return talk(app, target_of(or_last(run, app), app).session_id)
