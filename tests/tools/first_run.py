"""What the README's first command prints, as a terminal shows it."""

import re
import tempfile
from pathlib import Path

from tests.support.processes import Shell, Terminal

COMMAND = "qoder sandbox --speed 40 -- sh -c 'qoder deploy run dep_demo --wait && qoder run result last'"
# What differs from one run to the next, and what stands for it.
VARIES = (
    (r"127\.0\.0\.1:\d+", "127.0.0.1:40123"),
    (r", speed 40", ""),
    (r"drun_\w{20}", "drun_00mwwq50a9v6x2egrkjp"),
    (r"sess_\w{20}", "sess_00mwwq50a9xzdwgytizi"),
    (r"(triggered +).*", r"\g<1>2026-06-14 08:54:06"),
    (r"(completed +)\d.*", r"\g<1>2026-06-14 08:54:09"),
    (r"(duration +).*", r"\g<1>3.4s"),
)


def first_run() -> str:
    """Return the lines, with ids and times that stay the same. It takes a second, and a terminal as POSIX has them."""
    with tempfile.TemporaryDirectory() as home, Terminal(Shell(Path(home)).quick(), "sh", "-c", COMMAND) as terminal:
        assert terminal.end() == 0, terminal.screen
        text = "\n".join(terminal.screen)
    for pattern, instead in VARIES:
        text = re.sub(pattern, instead, text)
    return f"```text\n{text}\n```\n"
