"""A session's events as people read them. Pure; cases are in test_logs.py."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from qoder_cli.base import jsontext
from qoder_cli.base.model import Raw, mapping, text
from qoder_cli.base.outcome import stop_reason
from qoder_cli.base.times import local_time, local_zone_name, parse_timestamp
from qoder_cli.base.words import shortened
from qoder_cli.output.layout import ELLIPSIS, columns, cut, wrapped
from qoder_cli.output.screen import Screen, inert, inert_lines, terminal_width
from qoder_cli.output.visible import visible
from qoder_cli.sessions.log import message_text

RESULT_LIMIT = 2000  # characters of a tool's output on a terminal
INPUT_LIMIT = 100  # characters of a tool's input on a terminal
_LABELS_WIDTH = 8
WIDEST_LABEL = 24  # columns of a label, and at most a quarter of the terminal
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
        return _tool_call(event, whole=whole)
    if kind in _RESULTS:
        return _tool_result(event, whole=whole)
    if kind in _ENTRIES:
        return _ENTRIES[kind](event)
    if kind.startswith(BOOKKEEPING) and not everything:
        return None
    return Passage("event", inert(kind) or "(without a type)", "dim")


class Transcript:
    """Writes entries for a terminal's `width`; if None, as `time<TAB>label<TAB>text`."""

    def __init__(self, *, width: int | None, styled: Callable[[str, str], str]) -> None:
        self._width = width
        self._styled = styled
        self._day = ""

    def write(self, shown: Passage, *, at: str | None) -> str:
        lines = inert_lines(shown.text).strip("\n").split("\n")
        if self._width is None:
            first, *others = lines
            rest = "".join(f"\t\t{line}\n" for line in others)
            return f"{inert(at or '-')}\t{shown.label}\t{first}\n{rest}"
        return self._drawn(shown, lines, at, self._width)

    def _drawn(self, shown: Passage, lines: list[str], at: str | None, width: int) -> str:
        day, _, clock = (local_time(at) if at and parse_timestamp(at) else "").partition(" ")
        indent = " " * (len("00:00:00") + 2 + _LABELS_WIDTH + 2)
        first, *others = [part for line in lines for part in wrapped(line.expandtabs(4), width - len(indent))]
        label = self._styled(f"{shown.label:<{_LABELS_WIDTH}}", _COLOURS.get(shown.label, "dim"))
        head = f"{self._styled(f'{clock:<8}', 'dim')}  {label}  {self._styled(first, shown.style)}\n"
        rest = (f"{indent}{self._styled(line, shown.style)}".rstrip() + "\n" for line in others)
        return self._new_day(day if clock else "") + head + "".join(rest)

    def _new_day(self, day: str) -> str:
        if day in ("", self._day):
            return ""
        zone = "" if self._day else f" ({local_zone_name()})"
        self._day = day
        return self._styled(f"{day}{zone}", "dim") + "\n"


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


def _tool_call(event: Raw, *, whole: bool) -> Passage:
    permission, shown = _PERMISSION.get(str(event.get("evaluated_permission")), ""), ""
    if given := event.get("input"):
        shown = in_a_line(given)
    if whole:
        shown = visible(shown)
    else:
        shown = shortened(inert(" ".join(shown[: 10 * INPUT_LIMIT].split())), INPUT_LIMIT)
    return Passage("tool", f"{inert(called(event))} {shown}".rstrip() + permission)


def _tool_result(event: Raw, *, whole: bool) -> Passage:
    shown = message_text(event, kinds=True) or "(empty)"
    if len(shown) > RESULT_LIMIT and not whole:
        left_out = len(shown) - RESULT_LIMIT
        shown = f"{shown[:RESULT_LIMIT]}\n… {left_out:,} more characters (use -o jsonl)"
    if event.get("is_error") is True:
        return Passage("failed", shown, "red")
    return Passage("result", shown, "dim")


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


class Margin:
    """Puts a label and a bar before lines, if it has `labels`; `room` is the width left for them."""

    def __init__(self, screen: Screen, labels: Iterable[str]) -> None:
        self._screen = screen
        self._labels = [*map(inert, labels)]
        self._width = 0
        self.room: int | None = None
        if screen.is_terminal:
            self.room = terminal_width()
            if self._labels:
                widest = max(1, min(WIDEST_LABEL, self.room // 4))
                self._width = min(widest, max(map(columns, self._labels)))
                self.room -= self._width + len(_BAR)

    def beside(self, lines: str, label: str) -> str:
        if not self._labels:
            return lines
        shown = inert(label)
        if self._screen.is_terminal:
            shown = cut_inside(shown, self._width)
        before = self._screen.styled(shown + _BAR, "dim")
        return "".join(f"{before}{line}\n" for line in lines.removesuffix("\n").split("\n"))
