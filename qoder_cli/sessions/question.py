"""Show calls that wait to a person, the same way wherever that is, ask about each, and answer them.

A call's text is another's, perhaps written to be approved: it is shown as it is, every line has a margin, nothing
steers the terminal or hides, and the question comes last. Each reply is to what was shown. Only `y` and `a` allow a
call: no end of the input, empty line or other key does.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from shutil import get_terminal_size
from typing import Any

from qoder_cli.app import App
from qoder_cli.base import jsontext
from qoder_cli.base.errors import ApiError, Rejected
from qoder_cli.base.model import Run, text
from qoder_cli.base.outcome import event_time
from qoder_cli.base.pool import Late
from qoder_cli.base.times import span, unix
from qoder_cli.base.tokens import REDACTED
from qoder_cli.base.words import few, shortened
from qoder_cli.input.prompt import Left, choice_of, reason_of
from qoder_cli.output.screen import terminal_width
from qoder_cli.output.visible import pictures, quoted, visible, widest
from qoder_cli.sessions.answers import Answers, confirmation
from qoder_cli.sessions.asks import READ_WITHIN, Call, look
from qoder_cli.sessions.log import Log, message_text
from qoder_cli.sessions.state import read_session

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
_MOST_SAID = 600  # characters of what the agent said last
_MOST_ROWS_SAID = 8
_SAID = "  > "  # the margin of what the agent said
_READ = 20  # events in a portion
_MOST_PORTIONS = 5  # where a server sends other events too

_QUESTION = "[y]es [n]o [w]hy not [a]ll equal [r]est: deny [?]"
_OF_DENY = "[n]o [w]hy not [r]est: deny [?]"
_HELP = {
    "y": "allow this call",
    "n": "deny it",
    "w": "deny it, and tell the agent why",
    "a": "allow it and all equal ones: same name, server, kind, thread and input",
    "r": "deny it, and the rest of these calls",
}
_HELP_OF_ALL = "Nothing is sent until all are decided. Ctrl-D sends nothing."
_NOT_ALLOWED = "`deny` allows nothing: n denies this call; to allow it, leave with Ctrl-D and use `approve`"

Decided = list[tuple[Call, dict[str, Any]]]  # calls with their answers, in the order in which they wait


# What is shown.


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


def show_context(app: App, session_id: str, run: Run | None = None) -> None:
    """Show what a decision is about: the deployment, the run or session, and what the agent said last."""
    session: dict[str, Any] = {}
    with suppress(ApiError):
        session = read_session(app.client, session_id, within=READ_WITHIN, retry=False)
    lines: list[list[str]] = []
    if deployment := text(session.get("deployment_id")) or (run and run.deployment_id):
        parts = [f"deployment {named(deployment)}"]
        if name := app.seen_names.name_of(deployment):
            parts = [f"deployment {_in_quotes(app, name)}", f" ({named(deployment)})"]
        lines.append(parts)
    if run is not None and not run.is_session:
        lines.append([f"run {named(run.id)}"])
    lines.append([f"session {named(session_id)}"])
    if title := text(session.get("title")):
        lines.append([f"title {_in_quotes(app, title)}"])
    width = terminal_width() - 6
    rows = [row for parts in lines for row in rows_in_parts(parts, width)]
    app.err.show("".join(f"{row}\n" for row in [*rows, *_last_message(app, session_id, width)]))


def _in_quotes(app: App, words: str) -> str:
    return quoted(shortened(app.err.veiled(words), _LONGEST_NAME))


def _last_message(app: App, session_id: str, width: int) -> list[str]:
    """Return in rows what the agent said last; or that it said nothing, or cannot be read."""
    portions = Log(app.client, session_id).back(("agent.message",), limit=_READ, within=READ_WITHIN, retry=False)
    message: dict[str, Any] | None = None
    try:
        for events in islice(portions, _MOST_PORTIONS):
            messages = (event for event in events if event.get("type") == "agent.message")
            message = next((event for event in messages if message_text(event).strip()), None)
            if message is not None:
                break
        else:
            if next(portions, None) is not None:
                return ["the agent's last message is too far back to be shown"]
    except ApiError as error:
        return rows_in_parts([f"the agent's last message cannot be read: {app.err.veiled(error.message)}"], width)
    if message is None:
        return ["the agent has said nothing yet"]
    words = app.err.veiled(message_text(message).strip())
    lines = shortened(words, _MOST_SAID).split("\n")
    rows = [row for line in lines for row in rows_of(line, width, margin=_SAID, goes_on=_SAID)]
    if len(rows) > _MOST_ROWS_SAID:
        rows = [*rows[:_MOST_ROWS_SAID], f"{_SAID}…"]
    at = unix(event_time(message))
    ago = "" if at is None else f", {span(max(0.0, app.client.server_now() - at))} ago"
    return [f"the agent said last{ago}:", *rows]


def decided(
    app: App,
    calls: Sequence[Call],
    waiting: Sequence[Call],
    *,
    may_allow: bool = True,
    because: str | None = None,
    left: Left | None = None,
) -> Decided:
    """Show calls and ask about each. Return the answers, also to others that are `waiting`. Raises UsageError, Late.

    What cannot be shown in full is not asked about, nor what takes a result; the first may be denied with the rest.
    `because` is the reason of a refusal, unless one is typed.
    """
    answers: dict[str, dict[str, Any]] = {}
    for place, call in enumerate(calls, 1):
        if call.id in answers:
            continue
        long = show_call(app, call)
        if not _is_asked_about(app, call, may_allow=may_allow):
            continue
        equal = [other for other in waiting if other.sha256 == call.sha256 and other.id not in answers]
        about = f"allow {long}?" if long else "allow?"
        if len(waiting) > 1:
            others = f"; {len(equal) - 1} more equal it" if len(equal) > 1 else ""
            app.err.print(f"call {place} of {len(calls)}{others}\n")
        match _reply(app, about, may_allow=may_allow, left=left):
            case "y":
                answers[call.id] = confirmation(call, "allow")
            case "n":
                answers[call.id] = confirmation(call, "deny", because)
            case "w":
                why = reason_of(app.stdin, app.err, "why not? ", nothing="nothing was sent", left=left)
                answers[call.id] = confirmation(call, "deny", why)
            case "a":
                answers |= {other.id: confirmation(other, "allow") for other in equal}
                _say(app, "allowing", equal)
            case "r":
                rest = [call for call in calls if call.id not in answers and call.kind != "custom"]
                answers |= {other.id: confirmation(other, "deny", because) for other in rest}
                _say(app, "denying", rest)
                break
    return [(call, answers[call.id]) for call in waiting if call.id in answers]


def _say(app: App, doing: str, calls: Sequence[Call]) -> None:
    if len(calls) > 1:
        app.err.print(f"{doing} {len(calls)} calls: {few([named(call.id) for call in calls])}\n")


def _is_asked_about(app: App, call: Call, *, may_allow: bool) -> bool:
    """Return whether a call, which was just shown, is asked about. If not, say why."""
    if not may_allow:
        return True  # whatever it hides, it is only denied
    why = ""
    if hides_secret(app, call):
        why = HIDDEN
    elif is_too_long(app, call):
        see = " ".join(app.looking("run", "pending", call.session_id, "--json"))
        why = f"{TOO_LONG} (to {TO_READ_IT}: {see})"
    if why:
        app.progress.warn(f"{named(call.id)} {why}; it is not asked about, for it cannot be shown in full")
    elif call.kind == "custom":
        how = shlex.join(app.command("run", "answer", call.session_id, call.id, "--with"))
        app.progress.note(f"to give its result: {how} TEXT")
    return not why and call.kind != "custom"


def _reply(app: App, about: str, *, may_allow: bool, left: Left | None) -> str:
    """Return the letter that a person types. Raises UsageError, Late."""
    question, taken = f"{about} {_QUESTION}", "ynwar"
    if not may_allow:
        question, taken = f"{about} {_OF_DENY}", "nwr"
    while (reply := ask(app, question, "yes no why all rest ?", left=left)) not in taken:
        words = [f"{letter}  {_HELP[letter]}" for letter in taken] + [_HELP_OF_ALL]
        if reply != "?":
            words = [_NOT_ALLOWED]
        app.err.print("".join(f"{app.err.worded(line)}\n" for line in words))
    return reply


def prompted(app: App, session_id: str, *, run: Run | None = None, left: Left | None = None) -> bool:
    """Show what waits, ask, and answer. Return False if none was answered, and some are for others to answer.

    Raises QoderError; Late, with nothing sent, if no time is `left` before all replies are given.
    """
    with app.progress.aside():
        if left is not None and left() <= 0:
            raise Late
        try:
            asked = look(app.client, session_id)
        except ApiError as error:
            app.progress.warn(f"what the agent waits for cannot be read: {error.message}")
            return True
        if not asked.waiting:
            return asked.open is None
        calls = list[Call]()
        for call in asked.calls:
            if app.replies.answered.get(call.id) == asked.asked_by[call.id]:
                app.progress.note(f"{named(call.id)} was answered, which does not show yet")
            else:
                calls.append(call)
        if calls:
            show_context(app, session_id, run)
        answers = decided(app, calls, calls, left=left)
        try:
            if answers:
                Answers(app, asked, answers).deliver()
        except Rejected as error:
            app.progress.warn(error.message)
        is_left = bool(asked.unreadable) or len(answers) < len(calls)
        return bool(answers) or not is_left
