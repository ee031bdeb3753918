"""Chat with a session's agent: send a line, show what follows until the agent rests."""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, Exit, LostSight, NotFound, Rejected, Signalled, UsageError
from qoder_cli.base.model import Run, mapping, text
from qoder_cli.base.outcome import ENDS, RUNNING, stop_reason
from qoder_cli.output.grid import columns, cut, wrapped
from qoder_cli.output.keyboard import is_ready, keys
from qoder_cli.output.prompt import PASTED, line_of
from qoder_cli.output.screen import Screen, inert, inert_lines, terminal_width
from qoder_cli.runs.observe import ASKS_FOR
from qoder_cli.sessions.answers import Message, interruption, message
from qoder_cli.sessions.asks import KINDS, look
from qoder_cli.sessions.follower import Follower
from qoder_cli.sessions.log import Events, Log, message_text
from qoder_cli.sessions.question import prompted
from qoder_cli.sessions.session import session_to_talk_to
from qoder_cli.sessions.transcript import entry

TICK = 0.1  # seconds between two looks for a key
QUIET = 20.0  # seconds without an event, then ask if the agent still works
SHOWN_BEFORE = 20  # earlier events
_ESC, _CTRL_D = b"\x1b", b"\x04"
_ORDINARY = (RUNNING, "user.interrupt", "user.tool_confirmation")  # not worth a line


def require_terminal(app: App) -> None:
    """Raise UsageError without a terminal."""
    if not (app.may_ask and app.out.is_terminal):
        hint = "use qoder session send RUN -m TEXT --wait --result"
        raise UsageError("a chat requires a terminal", hint=hint)


def chat(app: App, session_id: str) -> None:
    """Chat until the person leaves or the session ends. Raises QoderError."""
    session = Run(session_to_talk_to(app, session_id))
    title = text(session.raw.get("title"))
    app.progress.note(f"{session.called}{f' ({title})' if title else ''}: Enter sends, Esc interrupts, Ctrl-D leaves")
    talk = Talk(app, session_id)
    try:
        with suppress(EOFError):
            talk.go_on()
    except Signalled as signalled:
        if signalled.exit is not Exit.INTERRUPTED:
            raise
    except ApiError as error:
        if error.enveloped and isinstance(error, NotFound):
            raise
        raise LostSight(
            f"lost sight of session {session_id}: {error.message}",
            hint="to come back",
            next=app.command("session", "chat", session_id),
            session_id=session_id,
            run_state="unknown",
            cause=error,
        ) from error
    finally:
        talk.page.end_line()
    if not talk.is_over:
        working = "; the agent keeps working" if talk.works else ""
        app.progress.note(f"left session {session_id}{working}", always=True)
        app.progress.note(f"to come back: {' '.join(app.command('session', 'chat', session_id))}", always=True)


class Talk:
    """One chat. `works`: the agent is at work; `is_over`: the session has ended."""

    def __init__(self, app: App, session_id: str) -> None:
        self._app = app
        self._id = session_id
        self._log = Log(app.client, session_id)
        self._ours: set[str] = set()  # messages already on the page
        self._asks_at: float | None = None  # when to ask about what the agent waits for
        self.page = Page(app.out)
        self.works = self.is_over = False

    def go_on(self) -> None:
        """Chat. Raises EOFError when the person leaves, Signalled, ApiError."""
        for event in self._log.newest(SHOWN_BEFORE):
            self.page.show(event)
        self._find_out()
        follower = Follower(self._log, preview=self.page.preview)
        batches = follower.batches(lambda: self._app.clock.monotonic() + TICK)
        while not self.is_over:
            if self.works:
                self._follow(batches)
            elif said := self._line():
                self._send(said)

    def _find_out(self) -> None:
        asked = look(self._app.client, self._id)
        self.works = asked.is_busy
        self._asks_at = self._app.clock.monotonic() if asked.key is not None else None

    def _line(self) -> str:
        """Return what is typed; lines pasted together are one message. Raises EOFError."""
        stdin = self._app.stdin
        try:
            said = line_of(stdin, self._app.err, "> ", nothing="nothing was sent")
        except UsageError:  # Ctrl-D
            raise EOFError from None
        while stdin and is_ready(stdin, within=PASTED):
            said += "\n" + stdin.readline().rstrip("\r\n")
        return said.strip()

    def _send(self, said: str) -> None:
        try:
            sent = Message(self._app, self._id, message(said)).deliver()
            self._ours |= {str(event["id"]) for event in sent}
            self.works = True
        except Rejected as error:
            self._app.progress.warn(f"not sent: {error.message}")
            self._find_out()

    def _follow(self, batches: Iterator[Events]) -> None:
        """Show events until the agent rests; hear Esc, and pass on its questions."""
        clock = self._app.clock
        heard_at = clock.monotonic()
        with keys(shown=False, one_by_one=True) as typed:
            for events in batches:
                for event in events:
                    heard_at = clock.monotonic()
                    self._take(event)
                if pressed := typed():
                    self._press(pressed)
                is_due = self._asks_at is not None and clock.monotonic() >= self._asks_at
                if not self.works or is_due:
                    break
                if clock.monotonic() - heard_at > QUIET and self._asks_at is None:
                    heard_at = clock.monotonic()
                    self._find_out()
        self.page.end_line()
        if self._asks_at is not None and self.works:
            self._asks_at = None
            with suppress(UsageError):
                if prompted(self._app, self._id):
                    return
            raise EOFError

    def _take(self, event: dict[str, Any]) -> None:
        kind = event.get("type")
        if event.get("id") not in self._ours:
            self.page.show(event)
        if kind == RUNNING or kind in ("user.tool_confirmation", "user.custom_tool_result"):
            self._asks_at = None
        elif kind == "session.status_idle" and stop_reason(event) == "requires_action":
            # Only a call marked as asked waits for a person; past others it may go on by itself.
            self._asks_at = self._app.clock.monotonic() + (0 if self.page.has_asked else ASKS_FOR)
        elif kind in ENDS:
            self.works, self.is_over = False, kind != "session.status_idle"

    def _press(self, pressed: bytes) -> None:
        if _CTRL_D in pressed:
            raise EOFError
        if pressed == _ESC:
            self.page.end_line()
            self._app.progress.note("interrupting")
            try:
                interruption(self._app, self._id).deliver()
            except ApiError as error:
                self._app.progress.warn(f"not interrupted: {error.message}")


class Page:
    """A chat on the screen: the agent's text as it comes, other events a line each."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._id: str | None = None  # of the message being written
        self._made = ""  # its text so far
        self._shown = ""  # of that, what is on the page
        self._column = 0
        self.has_asked = False  # whether the newest calls wait for a person

    def preview(self, event: dict[str, Any]) -> None:
        """Show the next part of a message being written; a repeated part only once."""
        if event.get("type") == "event_start":
            id = text(mapping(event.get("event")).get("id"))
            if id != self._id:
                self.end_line()
                self._id, self._shown = id, ""
            self._made = ""
        elif event.get("event_id") == self._id and self._id:
            self._made += text(mapping(mapping(event.get("delta")).get("content")).get("text")) or ""
            if self._made.startswith(self._shown):
                self._write(self._made[len(self._shown) :])
                self._shown = self._made

    def show(self, event: dict[str, Any]) -> None:
        """Show an event; of a message, only what `preview` has not shown."""
        kind = str(event.get("type"))
        if kind in KINDS:
            self.has_asked = event.get("evaluated_permission") == "ask" or kind == "agent.custom_tool_use"
        if kind == "agent.message":
            whole = message_text(event)
            if event.get("id") != self._id or not whole.startswith(self._shown):
                self.end_line()
                self._shown = ""
            self._write(whole[len(self._shown) :])
            self.end_line()
            self._id, self._shown = None, ""
        elif kind == "user.message":
            self.end_line()
            for line in inert_lines(message_text(event)).split("\n"):
                for row in wrapped(line.expandtabs(4), terminal_width() - 3):
                    self._line(f"> {row}", "bold")
        elif kind == "session.status_idle" and stop_reason(event) in (None, "end_turn", "requires_action"):
            return  # a normal rest
        elif kind not in _ORDINARY and (said := entry(event)):
            self.end_line()
            first = said.text.split("\n")[0]
            self._line(f"  {said.label} {first}", "red" if said.style == "red" else "dim")

    def end_line(self) -> None:
        if self._column:
            self._screen.write("\n")
            self._column = 0

    def _line(self, line: str, style: str) -> None:
        room = terminal_width() - 1
        line = inert(line)
        self._screen.write(self._screen.styled(cut(line, room) if columns(line) > room else line, style) + "\n")

    def _write(self, said: str) -> None:
        """Write the agent's text, wrapped; only a word longer than a line is broken."""
        room, shown = terminal_width() - 1, ""
        for piece in re.findall(r"\n|[^\S\n]+|\S+", inert_lines(said).expandtabs(4)):
            if self._column and piece != "\n" and self._column + columns(piece) > room:
                shown, self._column = shown + "\n", 0
                piece = piece.lstrip()
            for character in piece:
                width = columns(character)
                if self._column + width > room:
                    shown, self._column = shown + "\n", 0
                shown, self._column = shown + character, self._column + width
            if piece == "\n":
                self._column = 0
        self._screen.write(shown)
