"""Show a call to a person, and ask about it.

Its text is another's, perhaps written to be approved: it is shown as it is, every line has a margin,
nothing steers the terminal or hides, and the question comes last.
"""

import re
import shlex
from collections.abc import Iterator
from shutil import get_terminal_size
from typing import NamedTuple

from qoder_cli.app import App
from qoder_cli.base import jsontext
from qoder_cli.base.errors import ApiError, Rejected
from qoder_cli.base.pool import Late
from qoder_cli.base.tokens import REDACTED, shortened
from qoder_cli.output.prompt import UNREAD, Left, choice_of, drop_what_is_typed, reason_of
from qoder_cli.output.screen import terminal_width
from qoder_cli.output.visible import pictures, quoted, visible, widest
from qoder_cli.sessions.answers import Answers, confirmation
from qoder_cli.sessions.asks import Call, look

MOST_SHOWN = 100_000  # characters of a call
MOST_ROWS = 2_000  # lines of the terminal
_BEGINNING = 20  # lines that are shown of a longer call, which is not asked about
_MARGIN = "  │ "
_GOES_ON = "  ┆ "  # the margin of a row that continues a line: no text can draw it
_INDENT = "    "  # of such a row; a field's name has none, and its value two spaces
_LONGEST_NAME = 100  # characters
_LONGEST_ASKED = 40  # characters of a name in a question
_PLAIN = re.compile(r"[\w.-]+")
_NOTHING = "nothing was sent"
HIDDEN = f"holds a secret of yours, or {REDACTED}, which stands for one here"
TOO_LONG = f"has over {MOST_SHOWN:,} characters, or over {MOST_ROWS:,} lines here"
TO_READ_IT = "read all of it, and then answer with --input-sha256 HEX and --yes"


class _Picture(NamedTuple):
    """A call as the terminal shows it; `length` is that of its input in characters."""

    rows: list[str]
    length: int
    is_whole: bool  # otherwise the rows are its beginning


def _picture(app: App, call: Call) -> _Picture:
    width = terminal_width() - len(_MARGIN) - 2
    where = f" on thread {visible(call.thread)}" if call.thread else ""
    what = f"{visible(call.name)} ({call.kind}, {visible(call.id)})"
    heading = app.err.veiled(f"session {named(call.session_id)} asks to run {what}{where}:")
    first, *more = _rows(heading[:MOST_SHOWN], width)  # no name gets a line to itself
    whole = app.err.veiled("\n".join(_lines(call.input)))
    rows = [first.removeprefix(_MARGIN), *more]
    rows += [row for line in whole[:MOST_SHOWN].split("\n") for row in _rows(line, width)]
    is_whole = len(heading) + len(whole) <= MOST_SHOWN and len(rows) <= MOST_ROWS
    return _Picture(rows if is_whole else rows[:_BEGINNING], len(whole), is_whole)


def show_call(app: App, call: Call) -> str:
    """Show a call with its input. Return what a question has to say of a long one: its tool and length."""
    if app.replies.has_any:  # to a call before: what is still being typed is meant for that
        drop_what_is_typed(app.stdin, within=UNREAD)
    rows, length, _ = _picture(app, call)
    app.err.show("".join(f"{row}\n" for row in rows))
    if len(rows) < get_terminal_size((80, 24)).lines:
        return ""
    return f"a call of {quoted(shortened(call.name, _LONGEST_ASKED))} with {length:,} characters"


def is_too_long(app: App, call: Call) -> bool:
    """Return whether a call cannot be shown whole, for a person could not read it on a terminal."""
    return not _picture(app, call).is_whole


def hides_secret(app: App, call: Call) -> bool:
    """Return whether a call cannot be shown whole, for it holds a secret of ours, or what stands for one."""
    whole = "\n".join((call.name, call.thread or "", *_lines(call.input)))
    return REDACTED in whole or app.err.veiled(whole) != whole


def withheld(app: App, call: Call) -> str:
    """Return why a call is not asked about, for it cannot be shown whole; empty if it can."""
    if hides_secret(app, call):
        return HIDDEN
    if not is_too_long(app, call):
        return ""
    see = " ".join(app.looking("session", "pending", call.session_id, "--json"))
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


def _rows(line: str, width: int) -> list[str]:
    """Return a line in rows that fit the terminal, each behind its margin, every character visible."""
    rows, room = [_MARGIN], width
    for picture in pictures(line.replace("\t", "    ")):
        taken = widest(picture)
        if taken > room:
            rows.append(_GOES_ON + _INDENT)
            room = width - len(_INDENT)
        rows[-1] += picture
        room -= taken
    return rows


def named(text: str) -> str:
    """Return another's name or id for a message: visible, and not too long."""
    return visible(shortened(text, _LONGEST_NAME))


def ask(app: App, question: str, choices: str, *, left: Left | None = None) -> str:
    """Return the first letter of the choice a person types now. Raises UsageError, Late."""
    reply = choice_of(app.stdin, app.err, question, choices, nothing=_NOTHING, left=left)
    app.replies.has_any = True
    return reply


class Replied(NamedTuple):
    """What a person did about the calls that wait. `is_left`: none was answered, and some are for others to answer."""

    is_stopped: bool = False
    is_left: bool = False

    @property
    def goes_on(self) -> bool:
        """Whether the agent continues."""
        return not (self.is_stopped or self.is_left)


def prompted(app: App, session_id: str, *, left: Left | None = None) -> Replied:
    """Show what waits, ask, and answer.

    Raises QoderError; Late, with nothing sent, if no time is `left` before all replies are given.
    """
    with app.progress.aside():
        _check_time(left)
        try:
            asked = look(app.client, session_id)
        except ApiError as error:
            app.progress.warn(f"what the agent waits for cannot be read: {error.message}")
            return Replied()
        answers, is_left = [], bool(asked.unreadable)
        for call in asked.calls:
            if app.replies.answered.get(call.id) == asked.asked_by[call.id]:
                app.progress.note(f"{named(call.id)} was answered, which does not show yet")
                continue
            long = show_call(app, call)
            if why := withheld(app, call):
                app.progress.warn(f"{named(call.id)} {why}; it is not asked about, for it cannot be shown whole")
            elif call.kind == "custom":
                how = shlex.join(app.command("session", "answer", session_id, call.id, "--with"))
                app.progress.note(f"to give its result: {how} TEXT")
            if call.kind == "custom" or why:
                is_left = True
                continue
            question = f"allow {long}?" if long else "allow?"
            reply = ask(app, f"{question} [y]es [n]o [w]hy not [s]top", "yes no why stop", left=left)
            if reply == "s":
                return Replied(is_stopped=True)
            because = None
            if reply == "w":
                because = reason_of(app.stdin, app.err, "why not? ", nothing=_NOTHING, left=left)
            answers.append((call, confirmation(call, "allow" if reply == "y" else "deny", because)))
        _check_time(left)
        try:
            if answers:
                Answers(app, asked, answers).deliver()
        except Rejected as error:
            app.progress.warn(error.message)
        return Replied(is_left=is_left and not answers)


def _check_time(left: Left | None) -> None:
    """Raise Late if no time is `left`."""
    if left is not None and left() <= 0:
        raise Late
