"""What differs between deployments and what is wanted, for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qoder_cli.deployments.changes import told
from qoder_cli.output.screen import inert

if TYPE_CHECKING:
    from qoder_cli.deployments.planning import Step
    from qoder_cli.state import State


def show_changes(state: "State", steps: Sequence["Step"]) -> None:
    """Show what differs, each deployment under its name, on stderr: stdout has the items."""
    for step in filter(lambda step: step.is_open, steps):
        known = step.current.id if step.current else "new"
        state.err.tell(f"{state.err.styled(inert(step.name), 'bold')} ({inert(known)})\n")
        lines = [line for change in step.changes for line in told(change, step.secrets.out_of)]
        state.err.tell("".join(f"  {_coloured(state, line)}\n" for line in lines))


def _coloured(state: "State", line: str) -> str:
    style = {"+": "green", "-": "red"}.get(line[:5].removeprefix("    ")[:1])
    return state.err.styled(line, style) if style else line
