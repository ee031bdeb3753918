"""Chat with a session's agent: what happens there appears above the message that is being typed.

One thread follows the session, whatever the person does. The main thread has the line editor, and does everything else.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from shutil import get_terminal_size
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import (
    ApiError,
    AuthError,
    Exit,
    LostSight,
    NotFound,
    QoderError,
    Rejected,
    Signalled,
    UsageError,
)
from qoder_cli.base.keyboard import keys
from qoder_cli.base.model import Raw, Run, text
from qoder_cli.base.outcome import ASKS_FOR, ENDS, RUNNING, THREAD_STATUSES, event_at, is_asking
from qoder_cli.base.pool import Task, begin, throw
from qoder_cli.base.times import SUSPENDED
from qoder_cli.input.editor import Editor, Leave
from qoder_cli.sessions.answers import Delivery, interruption, message
from qoder_cli.sessions.asks import CALL_KINDS, Asked, look
from qoder_cli.sessions.log import LAGGING, LONGEST_PAUSE, LONGEST_SILENCE, Events, Log, message_text
from qoder_cli.sessions.question import prompted
from qoder_cli.sessions.state import session_taking_messages
from qoder_cli.sessions.stream import SILENT, Feed, News, polled_instead
from qoder_cli.sessions.transcript import ChatPage

QUIET = 20.0  # seconds without an event, then ask if the agent still works
SHOWN_BEFORE = 20  # earlier events
MOST_PREVIEWED = 10  # rows of a message that is being written
DELIVERED_WITHIN = 2.0  # seconds for an interruption that is under way when the person leaves


def require_terminal(app: App) -> None:
    """Raise UsageError without a terminal."""
    if app.may_ask and app.out.is_animated:
        return
    what = "a terminal that can move its cursor" if app.may_ask and app.out.is_terminal else "a terminal"
    raise UsageError(f"a chat requires {what}", hint="use qoder session send RUN -m TEXT --wait --result")


def chat(app: App, session_id: str) -> None:
    """Chat until the person leaves or the session ends. Raises QoderError."""
    session = Run(session_taking_messages(app, session_id))
    title = text(session.raw.get("title"))
    how = "Enter sends, Alt-Enter begins a line, Esc interrupts, Ctrl-D leaves"
    app.progress.note(f"{session.called}{f' ({title})' if title else ''}: {how}")
    here = Chat(app, session_id)
    try:
        here.run()
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
        here.leave()
    if not here.activity.is_over:
        working = "; the agent keeps working" if here.is_busy else ""
        app.progress.note(f"left session {session_id}{working}", always=True)
        app.progress.note(f"to come back: {' '.join(app.command('session', 'chat', session_id))}", always=True)


class Activity:
    """What the agent does, by the newest events. Times are those of the monotonic clock.

    `is_busy`: it works, or waits for an answer. `is_over`: the session has ended. `asks_at`: when to ask a person.
    """

    def __init__(self) -> None:
        self.is_busy = self.is_over = False
        self.asks_at = math.inf
        self.seen_at = 0.0
        self.is_left_open = False  # whether a person was asked, and what waits is for somebody else to answer
        self._asks_a_person = False  # whether the newest call says so
        self._asking_threads: set[object] = set()  # those that stopped to ask, while the main agent may work
        self._sent: set[str] = set()  # our newest message, while no event shows that the agent has it
        self._status_at = -math.inf  # when the server set the newest status; older ones are ignored

    def send(self, ids: set[str], now: float) -> None:
        """Note a message that was sent. An idle before it, heard late, is not its end."""
        self.is_busy, self.seen_at, self._sent = True, now, ids

    def see(self, event: dict[str, Any], now: float) -> None:
        """Note an event."""
        kind, self.seen_at = str(event.get("type")), now
        if event.get("id") in self._sent or kind.startswith("agent."):
            self._sent = set()
        if kind == "session.status_idle" and self._sent:
            return
        if kind in (RUNNING, "session.status_idle") and not self._is_newest(event):
            return
        if kind in CALL_KINDS:
            self._asks_a_person = event.get("evaluated_permission") == "ask" or kind == "agent.custom_tool_use"
        if kind in THREAD_STATUSES:
            self._asking_threads.discard(event.get("session_thread_id"))
        if is_asking(event) and kind in THREAD_STATUSES:
            self._asking_threads.add(event.get("session_thread_id"))
        if kind == RUNNING:
            self._rest(is_busy=True)
            if self._asking_threads:
                self.asks_at = now + ASKS_FOR
        elif kind in ("user.tool_confirmation", "user.custom_tool_result"):
            self._rest(is_busy=self.is_busy)
        elif is_asking(event):
            self._rest(is_busy=True)
            # The agent may continue by itself after a call that does not say so.
            self.asks_at = now + (0 if self._asks_a_person else ASKS_FOR)
        elif kind in ENDS:
            self._rest(is_busy=False)
            self.is_over |= kind != "session.status_idle"

    def settle(self, asked: Asked, now: float) -> None:
        """Note what a session waits for, as it was just read."""
        self.seen_at, self.is_busy, self.asks_at, self._sent = now, asked.is_busy, math.inf, set()
        self._is_newest(asked.newest)
        if asked.key is not None and not self.is_left_open:
            self.asks_at = now

    def _is_newest(self, status: Raw) -> bool:
        """Return whether no newer status came before this one, and note when it was set."""
        at, before = event_at(status), self._status_at
        self._status_at = max(before, at or before)
        return at is None or at >= before

    def _rest(self, *, is_busy: bool) -> None:
        self.is_busy, self.is_left_open, self.asks_at = is_busy, False, math.inf


class Chat:
    """One chat, in the thread that calls `run`; another one follows the session, and hands in what to do about it."""

    def __init__(self, app: App, session_id: str) -> None:
        self.activity = Activity()
        self._app = app
        self._id = session_id
        self._log = Log(app.client, session_id)
        self._inbox: SimpleQueue[Callable[[], str]] = SimpleQueue()  # each returns lines to write
        self._ours: set[str] = set()  # messages already on the page
        self._page = ChatPage(app.out)
        self._editor = Editor(self, app.out)
        self._interruption: Task[None] | None = None

    def run(self) -> None:
        """Chat until the person leaves or the session ends. Raises Signalled, ApiError."""
        for event in self._log.newest(SHOWN_BEFORE):
            self._app.out.write(self._page.show(event))
            if event.get("type") == "user.message":
                self._editor.remember(message_text(event))
        self._settle(look(self._app.client, self._id))
        begin(self._follow)
        with self._app.err.handed_to(self._post):
            while True:
                with keys(shown=False, one_by_one=True):
                    while not isinstance(typed := self._editor.read(), Leave):
                        self._send(typed.strip())
                if typed is Leave.FOR_GOOD:
                    return
                self.activity.asks_at = math.inf
                try:
                    self.activity.is_left_open = not prompted(self._app, self._id)
                except UsageError:
                    return

    def leave(self) -> None:
        """Let an interruption be delivered, and show what was typed and not sent."""
        if self._interruption and not self._interruption.wait(DELIVERED_WITHIN):
            self._app.progress.warn("the interruption was not confirmed yet")
        if self._editor.draft.strip():
            self._app.out.show(self._page.quoted(self._editor.draft))
            self._app.progress.note("this message was not sent", always=True)

    def _send(self, word: str) -> None:
        self._app.out.write(self._page.quoted(word))
        self._editor.draft = ""
        try:
            sent = Delivery(self._app, self._id, message(word)).write.deliver()
        except ApiError as error:
            self._editor.draft = word
            if not isinstance(error, Rejected):
                raise
            self._app.progress.warn(f"not sent: {error.message}")
            self._settle(look(self._app.client, self._id))
            return
        ids = {str(event["id"]) for event in sent}
        self._ours |= ids
        self.activity.send(ids, self._app.clock.monotonic())

    # What the editor asks for, in the main thread.

    @property
    def is_busy(self) -> bool:
        """Whether the agent works or waits, so that nothing can be sent."""
        return self.activity.is_busy

    @property
    def preview(self) -> str:
        """The newest rows of the message that the agent is writing."""
        return self._page.preview(max(1, min(MOST_PREVIEWED, get_terminal_size().lines // 2)))

    @property
    def leave_now(self) -> Leave | None:
        """Why to leave the editor; None to stay."""
        if self.activity.is_over:
            return Leave.FOR_GOOD
        if self._app.clock.monotonic() >= self.activity.asks_at:
            return Leave.TO_ASK
        return None

    def catch_up(self) -> str:
        """Do what was handed in. Return the lines to write. Raises ApiError."""
        lines = ""
        with suppress(Empty):
            while True:
                lines += self._inbox.get_nowait()()
        return lines

    def interrupt(self) -> None:
        """Interrupt the agent, in a thread of its own. What goes wrong is shown."""
        if not self.is_busy or (self._interruption and not self._interruption.wait(0.0)):
            return

        def deliver() -> None:
            try:
                interruption(self._app, self._id).deliver()
            except QoderError as error:
                self._app.progress.warn(f"not interrupted: {error.message}")

        self._post("interrupting\n")
        self._interruption = Task(deliver).start()

    def _show(self, events: Events) -> str:
        lines = ""
        for event in events:
            self.activity.see(event, self._app.clock.monotonic())
            if event.get("id") not in self._ours:
                lines += self._page.show(event)
        return lines

    # What another thread calls.

    def _follow(self) -> None:
        """Hand in what the session shows, without end."""
        clock, looked_at = self._app.clock, -math.inf
        try:
            for events in followed(self._log, lambda part: self._hand_in(partial(self._page.show, part))):
                quiet_since = max(self.activity.seen_at, looked_at)
                if events:
                    self._hand_in(partial(self._show, events))
                elif self.is_busy and self.activity.asks_at == math.inf and clock.monotonic() - quiet_since > QUIET:
                    looked_at = clock.monotonic()
                    self._hand_in(partial(self._settle, look(self._app.client, self._id)))
        except BaseException as failure:
            self._hand_in(partial(throw, failure))

    def _settle(self, asked: Asked) -> str:
        self.activity.settle(asked, self._app.clock.monotonic())
        return ""

    def _post(self, lines: str) -> None:
        self._hand_in(lambda: lines)

    def _hand_in(self, work: Callable[[], str]) -> None:
        self._inbox.put(work)
        self._editor.wake()


def followed(log: Log, preview: Callable[[Raw], None]) -> Iterator[Events]:
    """Yield a session's new events without end, as its stream tells them, or its list what that missed; every few
    seconds perhaps none. `preview` gets messages being written.

    The list is read as the stream begins, and every 5 seconds unless it tells of events; after a silent minute, too.
    Raises AuthError, NotFound after 30 s, any ApiError that lasts 5 minutes.
    """
    clock, inbox = log.client.clock, SimpleQueue[News]()
    delivers = has_noted = False
    failing_since: float | None = None
    due = clock.monotonic() + LONGEST_PAUSE
    feed = Feed(log, inbox=inbox, deltas=("agent.message",))
    feed.start()
    try:
        while True:
            began = clock.monotonic()
            news = clock.receive(inbox, max(min(due - began, LONGEST_PAUSE), 0.0))
            now = clock.monotonic()
            if failing_since is not None and now - began > LONGEST_PAUSE + SUSPENDED:
                failing_since += now - began  # this machine slept, which is no silence
            is_due = now >= due
            if news is None:
                delivers = delivers and not is_due
            elif news.kind == "heard":
                delivers = True
                yield log.hear(news.event)
            elif news.kind == "preview":
                preview(news.event)
            elif news.kind == "down":
                delivers = False
                if news.error and not has_noted:
                    log.client.progress.note(polled_instead(news.error, for_good=news.for_good))
                    has_noted = True
            if delivers and news is not None:
                failing_since = None
            is_due = is_due or (news is not None and news.kind in ("up", "gap"))
            if is_due:
                try:
                    yield from log.on()
                    failing_since = None
                except ApiError as error:
                    if failing_since is None:
                        failing_since = now
                    if now - failing_since > _patience_with(error):
                        raise
            if delivers and log.is_current and (is_due or news is not None):
                due = now + SILENT
            elif is_due or not delivers:
                due = now + LONGEST_PAUSE if is_due else min(due, now + LONGEST_PAUSE)
            yield []
    finally:
        feed.stop()


def _patience_with(error: ApiError) -> float:
    """Return for how many seconds an error of the list may last."""
    if error.enveloped and isinstance(error, AuthError):
        return -math.inf
    if error.enveloped and isinstance(error, NotFound):
        return LAGGING
    return LONGEST_SILENCE
