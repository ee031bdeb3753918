"""Show a call to a person, and ask about it.

Its text is another's, perhaps written to be approved: it is shown as it is, every line has a margin,
nothing steers the terminal or hides, and the question comes last.
"""

import re
from collections.abc import Iterator, Sequence
from shutil import get_terminal_size

from qoder_cli.app import App
from qoder_cli.base import jsontext
from qoder_cli.base.tokens import REDACTED
from qoder_cli.base.words import shortened
from qoder_cli.input.prompt import Left, choice_of
from qoder_cli.output.screen import terminal_width
from qoder_cli.output.visible import pictures, quoted, visible, widest
from qoder_cli.sessions.asks import Call

MOST_SHOWN = 100_000  # characters of a call
MOST_ROWS = 2_000  # lines of the terminal
_BEGINNING = 20  # lines that are shown of a longer call, which is not asked about
_MARGIN = "  │ "
_GOES_ON = "  ┆ "  # the margin of a row that continues a line: no text can draw it
_INDENT = "    "  # of such a row; a field's name has none, and its value two spaces
_LONGEST_NAME = 100  # characters
_LONGEST_ASKED = 40  # characters of a name in a question
_PLAIN = re.compile(r"[\w.-]+")
HIDDEN = f"holds a secret of yours, or {REDACTED}, which stands for one here"
TOO_LONG = f"has over {MOST_SHOWN:,} characters, or over {MOST_ROWS:,} lines here"
TO_READ_IT = "read all of it, and then answer with --input-sha256 HEX and --yes"


def _picture(app: App, call: Call) -> tuple[list[str], int, bool]:
    """Return a call in rows, the length of its input in characters, and whether the rows are all of it."""
    width = terminal_width() - len(_MARGIN) - 2
    where = f" on thread {visible(call.thread)}" if call.thread else ""
    parts = (f"the agent asks to run {visible(call.name)}", f" ({call.kind}, {visible(call.id)}){where}:")
    heading = app.err.veiled("".join(parts))
    whole = app.err.veiled("\n".join(_lines(call.input)))
    rows = rows_in_parts([app.err.veiled(part)[:MOST_SHOWN] for part in parts], width)
    rows += [row for line in whole[:MOST_SHOWN].split("\n") for row in rows_of(line, width)]
    is_whole = len(heading) + len(whole) <= MOST_SHOWN and len(rows) <= MOST_ROWS
    return rows if is_whole else rows[:_BEGINNING], len(whole), is_whole


def show_call(app: App, call: Call) -> str:
    """Show a call with its input. Return what a question has to say of a long one: its tool and length."""
    rows, length, _ = _picture(app, call)
    app.err.show("".join(f"{row}\n" for row in rows))
    if len(rows) < get_terminal_size().lines:
        return ""
    return f"a call of {quoted(shortened(call.name, _LONGEST_ASKED))} with {length:,} characters"


def is_too_long(app: App, call: Call) -> bool:
    """Return whether a call cannot be shown in full, for a person could not read it on a terminal."""
    return not _picture(app, call)[2]


def hides_secret(app: App, call: Call) -> bool:
    """Return whether a call cannot be shown in full, for it holds a secret of ours, or what stands for one."""
    whole = "\n".join((call.name, call.thread or "", *_lines(call.input)))
    return REDACTED in whole or app.err.veiled(whole) != whole


def withheld(app: App, call: Call) -> str:
    """Return why a call is not asked about, for it cannot be shown in full; empty if it can."""
    if hides_secret(app, call):
        return HIDDEN
    if not is_too_long(app, call):
        return ""
    see = " ".join(app.looking("run", "pending", call.session_id, "--json"))
    return f"{TOO_LONG} (to {TO_READ_IT}: {see})"


def _lines(given: object) -> Iterator[str]:
    """Yield a call's input: each field's name, then its text or JSON, indented; a text that is JSON, in quotes."""
    if not isinstance(given, dict) or not given:
        yield from jsontext.dump(given, indent=2).split("\n")
        return
    for key, value in given.items():
        is_bare = isinstance(value, str) and not jsontext.reads_as_json(value)
        shown = str(value) if is_bare else jsontext.dump(value, indent=2)
        yield key if _PLAIN.fullmatch(key) else jsontext.dump(key)  # no name can draw a value
        yield from (f"  {line}" for line in shown.split("\n"))


def rows_of(line: str, width: int, margin: str = _MARGIN, goes_on: str = _GOES_ON) -> list[str]:
    """Return a line in rows that fit the terminal, each behind its margin, every character visible."""
    rows, room = [margin], width
    for picture in pictures(line.replace("\t", "    ")):
        taken = widest(picture)
        if taken > room:
            rows.append(goes_on + _INDENT)
            room = width - len(_INDENT)
        rows[-1] += picture
        room -= taken
    return rows


def rows_in_parts(parts: Sequence[str], width: int) -> list[str]:
    """Return a line of parts in one row at the edge; if that is too long, each part begins a row, and only the first
    has no margin: no name gets a line to itself, and no id breaks in two."""
    whole = rows_of("".join(parts), width, margin="")
    if len(whole) == 1:
        return whole
    first, *others = parts
    rows = rows_of(first, width, margin="")
    for part in others:
        rows += rows_of(part.lstrip(), width - len(_INDENT), margin=_GOES_ON + _INDENT)
    return rows


def named(text: str) -> str:
    """Return another's name or id for a message: visible, and not too long."""
    return visible(shortened(text, _LONGEST_NAME))


def ask(app: App, question: str, choices: str, *, left: Left | None = None) -> str:
    """Return the first letter of the choice a person types now. Raises UsageError, Late."""
    return choice_of(app.stdin, app.err, question, choices, nothing="nothing was sent", left=left)
