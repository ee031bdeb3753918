"""What a chat shows of a session's events: the agent's text in rows that fit the terminal, other events a line each."""

import re
from collections.abc import Iterator
from typing import Any

from qoder_cli.base.model import is_new, mapping, text
from qoder_cli.base.outcome import ENDS, RUNNING, stop_reason
from qoder_cli.output.layout import cut, wrapped
from qoder_cli.output.screen import Screen, inert_lines, terminal_width
from qoder_cli.sessions.log import message_text
from qoder_cli.sessions.transcript import entry

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

    def show(self, event: dict[str, Any]) -> str:
        """Return the lines of an event; none if it says nothing new, or is a part of a message."""
        kind = str(event.get("type"))
        if kind == "event_start":
            id = text(mapping(event.get("event")).get("id"))
            self._id, self._parts = None if id in self._whole else id, []
            return ""
        if kind == "event_delta":
            self._add(event)
            return ""
        if kind == "agent.message":
            return self._message(event)
        if kind == "user.message":
            return self.quoted(message_text(event))
        if kind in ENDS:  # what was being written comes whole, or never
            self._id, self._parts = None, []
        return self._line(kind, event)

    def preview(self, most: int) -> str:
        """Return the newest rows of the message that is being written."""
        written = "".join(part for _, part in self._parts)[-_LONGEST_PREVIEW:]
        return "".join(f"{row}\n" for row in _spoken(self._screen.veiled(written))[-most:]) if written else ""

    def quoted(self, message: str) -> str:
        """Return the lines of what a person says."""
        rows = _rows(message, margin=len("> "))
        return "".join(self._screen.styled(f"> {row}", "bold") + "\n" for row in rows)

    def _add(self, event: dict[str, Any]) -> None:
        delta = mapping(event.get("delta"))
        part = str(delta.get("index")), text(mapping(delta.get("content")).get("text")) or ""
        is_repeated = self._parts[-1:] == [part]
        if self._id and event.get("event_id") == self._id and not is_repeated:
            self._parts.append(part)

    def _message(self, event: dict[str, Any]) -> str:
        id = str(event.get("id"))
        if id == self._id:
            self._id, self._parts = None, []
        is_new(id, self._whole, most=_REMEMBERED)
        return "".join(f"{row}\n" for row in _spoken(message_text(event)))

    def _line(self, kind: str, event: dict[str, Any]) -> str:
        is_rest = kind == "session.status_idle" and stop_reason(event) in (None, "end_turn", "requires_action")
        shown = None if is_rest or kind in _ORDINARY else entry(event)
        if shown is None:
            return ""
        room, line = terminal_width() - 1, f"  {shown.label} {shown.text.split(chr(10))[0]}"
        line = cut(inert_lines(line).expandtabs(4), room).rstrip()
        return self._screen.styled(line, "red" if shown.style == "red" else "dim") + "\n"


def _spoken(message: str) -> list[str]:
    """Return what the agent says in rows. A quote in it gets a bar: with `>` begins what a person says."""
    return [_QUOTE.sub(r"\1│", row) for row in _rows(message)]


def _rows(message: str, *, margin: int = 0) -> Iterator[str]:
    """Yield a text in rows that fit the terminal, inert; only a word longer than a row is broken."""
    for line in inert_lines(message).strip("\n").split("\n"):
        yield from wrapped(line.expandtabs(4), terminal_width() - 1 - margin, breaks_words=True)
