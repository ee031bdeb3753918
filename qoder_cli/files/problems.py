"""What is wrong in deployment files: gathered from all of them, and told at once, as a compiler does."""

from collections.abc import Sequence

from qoder_cli.base.errors import UsageError
from qoder_cli.output.screen import inert

SHOWN = 20  # problems that one error lists
_LONGEST = 300  # characters of one problem; what a file holds may be anything


class Problem(Exception):
    """One thing that is wrong in a file. Raised where nothing after it can be read, else gathered.

    `line` counts from 1; 0 is the file as a whole. `path` is the field, as `initial_events[0].content`, or empty.
    """

    def __init__(self, text: str, *, line: int = 0, path: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.line = line
        self.path = path

    def told(self, source: str) -> str:
        """Return the line for people: `file:line: field: what is wrong`, harmless on a terminal."""
        where = f"{source}:{self.line}" if self.line else source or "''"
        text = inert(": ".join(part for part in (where, self.path, self.text) if part))
        return text if len(text) <= _LONGEST + len(where) else text[: _LONGEST + len(where)] + "…"


class BadFiles(UsageError):
    """Deployment files are wrong; nothing was sent.

    `message` has several lines: how many problems there are, then one a line, each already inert.
    """

    has_lines = True

    def __init__(self, problems: Sequence[str]) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        super().__init__("\n".join([f"{count} in deployment files; nothing was sent", *problems[:SHOWN], *more]))
        self.problems = tuple(problems)
