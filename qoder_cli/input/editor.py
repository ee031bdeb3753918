"""A line editor at the foot of a page on which something may appear at any time."""

import sys
import time
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from qoder_cli.base import signals
from qoder_cli.base.keyboard import is_ready, modes, stop
from qoder_cli.input.prompt import PASTED
from qoder_cli.output.screen import Screen

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from prompt_toolkit.key_binding import KeyBindingsBase, KeyPressEvent

TICK = 0.5  # seconds between two looks at the page
ESCAPE_WITHIN = 0.4  # seconds in which what follows an ESC belongs to it, as in an arrow or Alt-Enter
_KEYS_WITHIN = 0.1  # seconds more for the second of two keys
AT_REST = 1.5  # seconds without a key, after which a question may take the terminal


class Leave(Enum):
    """Why the editor is left without a message."""

    FOR_GOOD = "for good"  # the person leaves, or there is nothing more to say
    TO_ASK = "to ask"


class Conversation(Protocol):
    """What appears above the editor, and what keys do beside it. All of it is called in the editor's thread."""

    @property
    def preview(self) -> str: ...  # lines that may still change, for the place right above the editor
    @property
    def is_busy(self) -> bool: ...  # whether nothing can be sent now
    @property
    def leave_now(self) -> Leave | None: ...  # why to leave the editor now; None to stay
    def catch_up(self) -> str: ...  # the lines that are new, each once; raises QoderError
    def interrupt(self) -> None: ...  # at once, what Esc does


class Editor:
    """Takes messages of one or more lines. `draft` is what was typed and not sent yet."""

    def __init__(self, conversation: Conversation, screen: Screen) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.history import InMemoryHistory
        from prompt_toolkit.layout.processors import TabsProcessor
        from prompt_toolkit.output import ColorDepth, create_output

        self.draft = ""
        self._conversation = conversation
        self._screen = screen
        self._modes = modes()  # of the terminal, as the shell has them
        self._loop: AbstractEventLoop | None = None  # while something can be typed
        self._failure: BaseException | None = None
        self._is_signalled = False
        self._typed_at = 0.0  # by the monotonic clock
        output: Any = create_output()
        output.enable_cpr = False  # terminals that report no position need no warning, nor a later shell their reports
        self._session: PromptSession[str | Leave] = PromptSession(
            self._prompt,
            multiline=True,
            history=InMemoryHistory(),
            key_bindings=self._keys(),
            input_processors=[TabsProcessor(tabstop=4, char1=" ", char2=" ")],
            color_depth=None if screen.color else ColorDepth.DEPTH_1_BIT,
            output=output,
            erase_when_done=True,
            prompt_continuation="  ",
        )
        self._session.app.ttimeoutlen, self._session.app.timeoutlen = ESCAPE_WITHIN, _KEYS_WITHIN
        self._session.default_buffer.on_text_changed += self._note_time

    def remember(self, message: str) -> None:
        """Offer a message under the arrow keys, as those that are typed."""
        self._session.history.append_string(message)

    def wake(self) -> None:
        """Catch up now. For any thread and for signals; while nothing can be typed, it waits for that."""
        if (loop := self._loop) is not None:
            with suppress(RuntimeError):  # it has just ended
                loop.call_soon_threadsafe(self._catch_up)

    def read(self) -> str | Leave:
        """Return a message that is typed behind the draft, or why there is none. Raises Signalled, QoderError."""
        self._failure = None
        with signals.deferred(self._leave_soon):
            try:
                answer = self._session.prompt(
                    default=self.draft, pre_run=self._begin, handle_sigint=False, set_exception_handler=False
                )
            except EOFError:  # the terminal is gone
                answer = Leave.FOR_GOOD
            finally:
                self._loop = None
                self.draft = self._session.default_buffer.text
            if isinstance(answer, str):
                answer = self.draft = answer.encode("utf-8", "replace").decode()  # bytes that are no text
        if self._failure is not None:
            raise self._failure
        return answer

    def _begin(self) -> None:
        import asyncio
        import signal

        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda loop, context: self._fail(context))
        if sys.platform != "win32":
            self._loop.add_signal_handler(signal.SIGTSTP, self._stop)
            self._loop.add_signal_handler(signal.SIGQUIT, self._leave, Leave.FOR_GOOD)
        self._loop.call_soon(self._tick)

    def _tick(self) -> None:
        self._catch_up()
        if self._loop is not None:
            self._loop.call_later(TICK, self._tick)

    def _catch_up(self) -> None:
        """Show what has come, and leave if there is a reason to."""
        app = self._session.app
        if not app.is_running or app.is_done:
            return
        if lines := self._conversation.catch_up():
            app.renderer.erase()
            self._screen.write(lines)
        why = Leave.FOR_GOOD if self._is_signalled else self._conversation.leave_now
        if why is Leave.FOR_GOOD or (why is Leave.TO_ASK and time.monotonic() - self._typed_at > AT_REST):
            self._leave(why)
        app.invalidate()

    def _note_time(self, _: object) -> None:
        self._typed_at = time.monotonic()

    def _leave(self, why: Leave) -> None:
        app: Any = self._session.app
        if app.is_running and not app.is_done:
            app.exit(result=why)

    def _leave_soon(self) -> None:
        """Leave because of a signal, which `read` raises."""
        self._is_signalled = True
        self.wake()

    def _fail(self, context: dict[str, Any]) -> None:
        """Leave because of an exception, which `read` raises."""
        self._failure = context.get("exception") or RuntimeError(context["message"])
        self._leave(Leave.FOR_GOOD)

    def _stop(self) -> None:
        """Do what Ctrl-Z does in a shell."""
        self._session.app.renderer.erase()
        stop(self._modes)
        self._session.app.invalidate()

    def _prompt(self) -> Any:
        state = "the agent is working; Esc interrupts it\n" if self._conversation.is_busy else ""
        style = "bold" if self._screen.color else ""
        return [("", self._conversation.preview), ("ansibrightblack", state), (style, "> ")]

    def _keys(self) -> "KeyBindingsBase":
        from prompt_toolkit.enums import DEFAULT_BUFFER
        from prompt_toolkit.filters import Condition, has_focus
        from prompt_toolkit.key_binding import ConditionalKeyBindings, KeyBindings

        keys = KeyBindings()

        @keys.add("enter")
        def _(event: "KeyPressEvent") -> None:
            """Send; within what is pasted, begin a line."""
            buffer = event.current_buffer
            if event.key_processor.input_queue or is_ready(sys.stdin, within=PASTED):
                buffer.insert_text("\n")
            elif self._conversation.is_busy:
                event.app.output.bell()
            elif buffer.text.strip():
                buffer.validate_and_handle()

        @keys.add("escape", "enter")
        def _(event: "KeyPressEvent") -> None:
            event.current_buffer.insert_text("\n")

        @keys.add("tab")
        def _(event: "KeyPressEvent") -> None:
            event.current_buffer.insert_text("\t")

        @keys.add("escape")
        def _(event: "KeyPressEvent") -> None:
            self._conversation.interrupt()

        @keys.add("c-z", filter=Condition(lambda: sys.platform != "win32"))
        def _(event: "KeyPressEvent") -> None:
            self._stop()

        @keys.add("c-c")
        @keys.add("c-\\")
        @keys.add("c-d")
        def _(event: "KeyPressEvent") -> None:
            self._leave(Leave.FOR_GOOD)

        return ConditionalKeyBindings(keys, has_focus(DEFAULT_BUFFER))  # and not while Ctrl-R searches
