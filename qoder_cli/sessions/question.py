"""Show a call to a person, and ask about it.

Its text is another's, perhaps written to be approved: every line has a margin,
nothing steers the terminal or hides, and the question comes last.
"""

import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from qoder_cli.app import App
from qoder_cli.base import jsontext, signals
from qoder_cli.base.errors import ApiError, Rejected, UsageError
from qoder_cli.base.tokens import shortened
from qoder_cli.output.screen import NARROWEST, keys, terminal_width
from qoder_cli.sessions.answers import Answers, confirmation
from qoder_cli.sessions.asks import Call, look

MOST_SHOWN = 10_000  # characters of an input
MOST_ROWS = 200  # lines of the terminal
_MARGIN = "  │ "
_LONGEST_NAME = 100  # characters
_TRIES = 3
_UNSEEN = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")  # categories of characters not shown


def show_call(app: App, call: Call) -> None:
    """Show a call with its input; say how much of a very long one is left out."""
    whole = "\n".join(_lines(call.input))
    width = max(terminal_width() - len(_MARGIN) - 2, NARROWEST)
    rows = [row for line in whole[:MOST_SHOWN].split("\n") for row in _rows(line, width)]
    where = f" on thread {named(call.thread)}" if call.thread else ""
    told = f"session {named(call.session_id)} asks to run {named(call.name)} ({call.kind}, {named(call.id)}){where}:"
    told = f"\n{_MARGIN}".join(_rows(told, width))  # no name gets a line to itself
    app.err.tell(f"{told}\n" + "".join(f"{_MARGIN}{row}\n" for row in rows[:MOST_ROWS]))
    hidden = len(whole[MOST_SHOWN:]) + sum(map(len, rows[MOST_ROWS:]))
    if hidden:
        app.progress.warn(f"{hidden:,} characters of the input of this call are not shown; --json prints all of it")


def _lines(given: Any) -> Iterator[str]:
    """Yield a call's input: each field's name, then its text or JSON, indented."""
    if not isinstance(given, dict) or not given:
        yield from jsontext.dump(given, indent=2).split("\n")
        return
    for key, value in given.items():
        said = value if isinstance(value, str) else jsontext.dump(value, indent=2)
        yield jsontext.dump(key)[1:-1]
        yield from (f"  {line}" for line in said.split("\n"))


def _rows(line: str, width: int) -> list[str]:
    """Return a line in rows that fit the terminal, every character visible."""
    from rich.cells import cell_len

    rows, room = [""], width
    for character in map(visible, line.replace("\t", "    ")):
        taken = max(cell_len(character), 1)
        if taken > room:
            rows.append("")
            room = width
        rows[-1] += character
        room -= taken
    return rows


def visible(text: str) -> str:
    """Return a text with invisible and steering characters spelled out."""
    return "".join(f"\\u{ord(one):04x}" if unicodedata.category(one) in _UNSEEN else one for one in text)


def named(text: str) -> str:
    """Return another's name or id for a message: visible, and not too long."""
    return visible(shortened(text, _LONGEST_NAME))


def ask(app: App, question: str, choices: str) -> str:
    """Return the first letter of the choice a person types now. Raises UsageError."""
    _forget_keys(app)
    words = {*choices.split(), *(word[0] for word in choices.split())}
    for _ in range(_TRIES):
        reply = line_of(app, f"{question} ")
        letter = reply.strip().lower()
        if letter and letter in words:
            return letter[0]
    raise UsageError("no choice was made; nothing was sent", hint="type one of the letters in brackets")


def prompted(app: App, session_id: str) -> bool:
    """Show what waits, ask, and answer. Return whether to go on. Raises QoderError."""
    with app.progress.aside():
        try:
            asked = look(app.client, session_id)
        except ApiError as error:
            app.progress.warn(f"what the agent waits for cannot be read: {error.message}")
            return True
        answers, is_left = [], bool(asked.unreadable)
        for call in asked.calls:
            if app.known.answered.get(call.id) == asked.key:
                app.progress.note(f"{named(call.id)} was answered, which does not show yet")
                continue
            show_call(app, call)
            if call.kind == "custom":
                is_left = True
                continue
            reply = ask(app, "allow? [y]es [n]o [w]hy not [s]top", "yes no why stop")
            if reply == "s":
                return False
            because = line_of(app, "why not? ").strip() if reply == "w" else None
            answers.append((call, confirmation(call, "allow" if reply == "y" else "deny", because)))
        try:
            if answers:
                Answers(app, asked, answers).deliver()
        except Rejected as error:
            app.progress.warn(error.message)
        return bool(answers) or not is_left


def line_of(app: App, prompt: str) -> str:
    """Return the line that a person types. Raises UsageError if none comes."""
    app.err.tell(prompt)
    try:
        with keys(shown=True), signals.waiting():
            line = app.stdin.readline() if app.stdin else ""
    except OSError:
        line = ""
    except BaseException:
        app.err.tell("\n")
        raise
    if not line.endswith("\n"):
        app.err.tell("\n")
        raise UsageError("no answer was given; nothing was sent", hint="run it in a terminal, or pass --yes")
    return line.rstrip("\r\n")


def _forget_keys(app: App) -> None:
    try:
        import termios
    except ImportError:
        return
    with suppress(OSError, ValueError, termios.error):
        termios.tcflush(app.stdin.fileno() if app.stdin else 0, termios.TCIFLUSH)
