"""A session's events as people read them, in a log and in a chat. Cases are in test_run_logs.py, test_session.py."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from qoder_cli.base import jsontext
from qoder_cli.base.model import Raw, is_new, mapping, text
from qoder_cli.base.outcome import ENDS, RUNNING, event_time, stop_reason
from qoder_cli.base.times import local_time, local_zone_name, parse_timestamp
from qoder_cli.base.words import shortened
from qoder_cli.output.layout import ELLIPSIS, columns, cut, wrapped
from qoder_cli.output.screen import Screen, inert, inert_lines, terminal_width
from qoder_cli.output.visible import visible
from qoder_cli.sessions.log import message_text

RESULT_LIMIT = 2000  # characters of a tool's output on a terminal
INPUT_LIMIT = 100  # characters of a tool's input on a terminal
_LABELS_WIDTH = 8
WIDEST_SOURCE = 24  # columns of the name of a source, and at most a quarter of the terminal
_BAR = " | "

# Shown only if their type is asked for: other events say the same, or nobody reads them.
BOOKKEEPING = ("agent.thinking", "session.thread_", "session.updated", "session.usage", "span.")
_COLOURS = {"agent": "green", "user": "bold", "error": "red", "failed": "red", "file": "green"}
_PERMISSION = {"ask": " (waiting for approval)", "deny": " (denied)"}


class Passage(NamedTuple):
    """One event in a transcript: a word for who or what, and its text."""

    label: str
    text: str
    style: str = ""


def entry(event: Raw, *, everything: bool = False, whole: bool = False) -> Passage | None:
    """Return the passage of an event; None for bookkeeping, unless `everything` is wanted.

    Unless the `whole` of it is wanted, a call and its result are cut: nobody decides by what was cut in a pipe.
    """
    kind = text(event.get("type")) or ""
    if kind in _CALLS:
        permission, shown = _PERMISSION.get(str(event.get("evaluated_permission")), ""), ""
        if given := event.get("input"):
            shown = in_a_line(given)
        if whole:
            shown = visible(shown)
        else:
            shown = shortened(inert(" ".join(shown[: 10 * INPUT_LIMIT].split())), INPUT_LIMIT)
        return Passage("tool", f"{inert(called(event))} {shown}".rstrip() + permission)
    if kind in _RESULTS:
        shown = message_text(event, kinds=True) or "(empty)"
        if len(shown) > RESULT_LIMIT and not whole:
            left_out = len(shown) - RESULT_LIMIT
            shown = f"{shown[:RESULT_LIMIT]}\n… {left_out:,} more characters (use -o jsonl)"
        if event.get("is_error") is True:
            return Passage("failed", shown, "red")
        return Passage("result", shown, "dim")
    if kind in _ENTRIES:
        return _ENTRIES[kind](event)
    if kind.startswith(BOOKKEEPING) and not everything:
        return None
    return Passage("event", inert(kind) or "(without a type)", "dim")


def _spoken(label: str) -> Callable[[Raw], Passage]:
    return lambda event: Passage(label, message_text(event, kinds=True) or "(empty)")


def called(event: Raw) -> str:
    """Return the name of the tool called, after its MCP server: `server/tool`."""
    server = text(event.get("mcp_server_name"))
    return (f"{server}/" if server else "") + (text(event.get("name")) or "(unnamed tool)")


def in_a_line(given: Any) -> str:
    """Return a call's input as a row shows it: the only text in it, or JSON."""
    values = list(given.values()) if isinstance(given, dict) else [given]
    is_bare = len(values) == 1 and isinstance(values[0], str) and not jsontext.reads_as_json(values[0])
    if is_bare:
        return str(values[0])
    return jsontext.dump(given)


def _file(event: Raw) -> Passage:
    name = text(event.get("original_filename")) or "(unnamed file)"
    details = [f"{event['size']:,} bytes"] if isinstance(event.get("size"), int) else []
    if text(event.get("file_id")):
        details.append(str(event["file_id"]))
    return Passage("file", inert(f"{name} ({', '.join(details)})" if details else name))


def _thread_message(event: Raw) -> Passage:
    who = " → ".join(text(event.get(f"{side}_agent_name")) or "?" for side in ("from", "to"))
    return Passage("thread", f"{inert(who)}: {message_text(event, kinds=True)}")


def _error(event: Raw) -> Passage:
    error = event.get("error")
    fields = mapping(error)
    parts = [
        text(fields.get("type")) or text(event.get("code")),
        text(error) or text(fields.get("message")) or "the session reported an error",
    ]
    status = fields.get("retry_status")
    retry = text(status) or text(mapping(status).get("type"))
    return Passage("error", ": ".join(filter(None, parts)) + (f" ({retry})" if retry else ""), "red")


def _idle(event: Raw) -> Passage:
    reason = stop_reason(event)
    style = "dim" if reason in (None, "end_turn", "stop_sequence") else "yellow"
    return Passage("session", inert(f"idle: {reason}" if reason else "idle"), style)


def _session(text: str, style: str = "dim") -> Callable[[Raw], Passage]:
    return lambda event: Passage("session", text, style)


def _answer(event: Raw) -> Passage:
    parts = [text(event.get("result")) or text(event.get("decision")), text(event.get("deny_message"))]
    return Passage("user", ": ".join(filter(None, parts)) or "(an answer)")


def _outcome(event: Raw) -> Passage:
    parts = [text(event.get("result")) or "evaluated", text(event.get("explanation"))]
    return Passage("outcome", ": ".join(filter(None, parts)))


_CALLS = ("agent.tool_use", "agent.mcp_tool_use", "agent.custom_tool_use")
_RESULTS = ("agent.tool_result", "agent.mcp_tool_result", "user.tool_result", "user.custom_tool_result")
_ENTRIES: dict[str, Callable[[Raw], Passage]] = {
    "user.message": _spoken("user"),
    "user.interrupt": lambda event: Passage("user", "(interrupts)"),
    "user.tool_confirmation": _answer,
    "user.define_outcome": lambda event: Passage("user", f"wants: {text(event.get('description')) or '(an outcome)'}"),
    "system.message": _spoken("system"),
    "agent.message": _spoken("agent"),
    "agent.artifact_delivered": _file,
    **dict.fromkeys(("agent.thread_message_sent", "agent.thread_message_received"), _thread_message),
    "session.error": _error,
    "session.status_running": _session("running"),
    "session.status_idle": _idle,
    "session.status_rescheduled": _session("rescheduled"),
    **dict.fromkeys(("session.status_terminated", "terminated"), _session("terminated", "red")),
    "session.deleted": _session("deleted", "red"),
    "span.outcome_evaluation_end": _outcome,
}


def cut_inside(text: str, width: int) -> str:
    """Return a text in exactly `width` columns: padded, or cut in the middle, for labels may differ at the end only."""
    if columns(text) <= width:
        return cut(text, width)
    from rich.cells import set_cell_size

    tail = set_cell_size(text[::-1], width - width // 2 - 1)[::-1]
    return set_cell_size(text, width // 2) + ELLIPSIS + tail


class Transcript:
    """Writes events for a screen: in rows that fit a terminal, elsewhere as `time<TAB>label<TAB>text`.

    Where there are several `sources`, each line begins with the name of its own.
    """

    def __init__(self, screen: Screen, sources: Sequence[str] = ()) -> None:
        self._screen = screen
        self._are_several = bool(sources)
        self._margin, self._room = 0, terminal_width()  # columns for the names, and for the events beside them
        self._day = ""
        if sources and screen.is_terminal:
            widest = max(1, min(WIDEST_SOURCE, self._room // 4))
            self._margin = min(widest, max(columns(inert(source)) for source in sources))
            self._room -= self._margin + len(_BAR)

    def write(self, event: Raw, *, everything: bool = False, source: str = "") -> str:
        """Return the lines of an event; none for bookkeeping, unless `everything` is wanted."""
        passage = entry(event, everything=everything, whole=not self._screen.is_terminal)
        if passage is None:
            return ""
        at = event_time(event)
        lines = inert_lines(passage.text).strip("\n").split("\n")
        if self._screen.is_terminal:
            lines = list(self._rows(passage, lines, at))
        else:
            lines = [f"{inert(at or '-')}\t{passage.label}\t{lines[0]}", *(f"\t\t{line}" for line in lines[1:])]
        before = ""
        if self._are_several:
            before = inert(source)
            if self._screen.is_terminal:
                before = cut_inside(before, self._margin)
            before = self._screen.styled(before + _BAR, "dim")
        return "".join(f"{before}{line}\n" for line in lines)

    def _rows(self, passage: Passage, lines: Sequence[str], at: str | None) -> Iterator[str]:
        styled = self._screen.styled
        day, _, clock = (local_time(at) if at and parse_timestamp(at) else "").partition(" ")
        if clock and day != self._day:
            zone = "" if self._day else f" ({local_zone_name()})"
            self._day = day
            yield styled(f"{day}{zone}", "dim")
        indent = " " * (len("00:00:00") + 2 + _LABELS_WIDTH + 2)
        first, *others = [part for line in lines for part in wrapped(line.expandtabs(4), self._room - len(indent))]
        label = styled(f"{passage.label:<{_LABELS_WIDTH}}", _COLOURS.get(passage.label, "dim"))
        yield f"{styled(f'{clock:<8}', 'dim')}  {label}  {styled(first, passage.style)}"
        yield from (f"{indent}{styled(line, passage.style)}".rstrip() for line in others)


# In a chat: the agent's text in rows that fit the terminal, other events a line each.

_ORDINARY = (RUNNING, "user.interrupt", "user.tool_confirmation")  # not worth a line
_QUOTE = re.compile("^(\\s*)[>\u203a\u276f\uff1e]")  # and what looks like it
_REMEMBERED = 100  # messages
_LONGEST_PREVIEW = 4_000  # characters, of which the newest rows are shown


class ChatPage:
    """Turns events into lines, and parts of messages into a preview: the whole message follows, and counts."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._id: str | None = None  # of the message being written
        self._parts: list[tuple[str, str]] = []  # of it, each with its block
        self._whole: dict[str, None] = {}  # messages shown whole: a list may be faster than the stream that writes them

    def show(self, event: Raw) -> str:
        """Return the lines of an event; none if it says nothing new, or is a part of a message."""
        kind = str(event.get("type"))
        if kind == "event_start":
            id = text(mapping(event.get("event")).get("id"))
            self._id, self._parts = None if id in self._whole else id, []
            return ""
        if kind == "event_delta":
            delta = mapping(event.get("delta"))
            part = str(delta.get("index")), text(mapping(delta.get("content")).get("text")) or ""
            is_repeated = self._parts[-1:] == [part]
            if self._id and event.get("event_id") == self._id and not is_repeated:
                self._parts.append(part)
            return ""
        if kind == "agent.message":
            id = str(event.get("id"))
            if id == self._id:
                self._id, self._parts = None, []
            is_new(id, self._whole, most=_REMEMBERED)
            return "".join(f"{row}\n" for row in _agents_rows(message_text(event)))
        if kind == "user.message":
            return self.quoted(message_text(event))
        if kind in ENDS:  # what was being written comes whole, or never
            self._id, self._parts = None, []
        is_rest = kind == "session.status_idle" and stop_reason(event) in (None, "end_turn", "requires_action")
        shown = None if is_rest or kind in _ORDINARY else entry(event)
        if shown is None:
            return ""
        room, line = terminal_width() - 1, f"  {shown.label} {shown.text.split(chr(10))[0]}"
        line = cut(inert_lines(line).expandtabs(4), room).rstrip()
        return self._screen.styled(line, "red" if shown.style == "red" else "dim") + "\n"

    def preview(self, most: int) -> str:
        """Return the newest rows of the message that is being written."""
        written = "".join(part for _, part in self._parts)[-_LONGEST_PREVIEW:]
        return "".join(f"{row}\n" for row in _agents_rows(self._screen.veiled(written))[-most:]) if written else ""

    def quoted(self, message: str) -> str:
        """Return the lines of what a person says."""
        rows = _rows(message, margin=len("> "))
        return "".join(self._screen.styled(f"> {row}", "bold") + "\n" for row in rows)


def _agents_rows(message: str) -> list[str]:
    """Return what the agent says in rows. A quote in it gets a bar: with `>` begins what a person says."""
    return [_QUOTE.sub(r"\1│", row) for row in _rows(message)]


def _rows(message: str, *, margin: int = 0) -> Iterator[str]:
    """Yield a text in rows that fit the terminal, inert; only a word longer than a row is broken."""
    for line in inert_lines(message).strip("\n").split("\n"):
        yield from wrapped(line.expandtabs(4), terminal_width() - 1 - margin, breaks_words=True)
