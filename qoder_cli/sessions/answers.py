"""What a person says to a session's agent, each sent once: an answer to a call, a message, an interruption.

Whether a second answer to the same call is harmless is nowhere said, so that none is sent by itself. A lost response is
settled by the session's events: what was sent is among them, or the call waits no more.
"""

import re
import uuid
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from qoder_cli.base.errors import ApiError, AuthError, Exit, NoAnswer, OutcomeUnknown, Rejected, Signalled
from qoder_cli.base.model import mapping, text
from qoder_cli.base.outcome import event_key
from qoder_cli.http.write import Meaning, Write
from qoder_cli.sessions.asks import ANSWERS, READ_WITHIN, Asked, Call, look
from qoder_cli.sessions.story import PAGE, Events, events_path, newest_first

if TYPE_CHECKING:
    from qoder_cli.app import State
    from qoder_cli.http.answers import Answer
    from qoder_cli.http.pending import Pending

LOOKS = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds after the loss of a response at which the events are read
RESENDS = 2  # of what does no harm twice

_OLDER_FORM = {"allow": "approve", "deny": "deny"}  # `decision` instead of `result` (api/facts.md, 2.3)
_NAMES_THE_FORM = re.compile(r"\b(result|decision)\b")


def confirmation(call: Call, result: str, because: str | None = None) -> dict[str, Any]:
    """Return the event that allows or denies a call."""
    event: dict[str, Any] = {"type": "user.tool_confirmation", "tool_use_id": call.id, "result": result}
    return event | ({"deny_message": because} if because else {}) | _thread(call)


def custom_result(call: Call, said: str, *, is_error: bool) -> dict[str, Any]:
    """Return the event that answers a call of a custom tool."""
    content = [{"type": "text", "text": said}]
    event = {"type": "user.custom_tool_result", "custom_tool_use_id": call.id, "content": content, "is_error": is_error}
    return event | _thread(call)


def _thread(call: Call) -> dict[str, Any]:
    return {"session_thread_id": call.thread} if call.thread else {}


class SessionWrite(Write[Events]):
    """Sends events to a session, and comes to these events as they were accepted. This kind may be sent again."""

    nothing = "nothing was sent"
    absent = "the session's events do not show it"

    def __init__(self, state: "State", session_id: str, events: Events, *, what: str) -> None:
        super().__init__(state.client)
        self.session_id = session_id
        self.events = events
        self._what = what
        self._state = state
        self._key = str(uuid.uuid4())

    def request(self) -> "Pending":
        """Prepare an attempt, each under the same key."""
        headers = {"idempotency-key": self._key}
        return self.client.prepare("POST", events_path(self.session_id), body={"events": self.events}, headers=headers)

    def read(self, answer: "Answer") -> Events:
        """Return the events that were accepted. Raises ApiError."""
        data = mapping(self.client.understand(answer)).get("data")
        accepted = [event for event in map(mapping, data if isinstance(data, list) else []) if text(event.get("id"))]
        if len(accepted) != len(self.events):
            raise NoAnswer("the response does not show what was accepted")
        return accepted

    def doubt(self, why: str, cause: ApiError | None, *, is_absent: bool) -> OutcomeUnknown:
        """Return the error that nobody knows whether it was delivered."""
        return OutcomeUnknown(
            "; ".join(filter(None, (f"unknown whether {self._what} was delivered", why))),
            hint="check before doing it again",
            next=self._look_at,
            session_id=self.session_id,
            run_state="unknown",
            cause=cause,
        )

    def resend_after(self, error: ApiError, meaning: Meaning, resends: int, spent: float) -> float | None:
        """Return the seconds after which it is sent again, twice at most."""
        return LOOKS[resends] if resends < RESENDS else None

    def deliver(self) -> Events:
        """Send it, and return the events that were accepted. Raises what `send` raises, and Interrupted."""
        try:
            return self.send().value
        except Signalled as signalled:
            if self.result is None and not self.may_have_acted:
                raise
            known = f"{self._what} was delivered"
            known = known if self.result else f"unknown whether {known}"
            stopped = signalled.in_words(f"interrupted; {known}", hint="check", next=self._look_at)
            kind = None if self.result else Exit.OUTCOME_UNKNOWN
            raise stopped.with_(session_id=self.session_id, run_state="unknown", kind=kind) from None

    @property
    def _look_at(self) -> list[str]:
        return self._state.looking("session", "logs", self.session_id, "--tail", "20")


def interruption(state: "State", session_id: str) -> SessionWrite:
    """Return what interrupts the turn of a session; it does no harm twice."""
    return SessionWrite(state, session_id, [{"type": "user.interrupt"}], what=f"the interruption of {session_id}")


class _SentOnce(SessionWrite):
    """What is never sent again by itself: a lost response is settled by looking for it in the session's events."""

    def resend_after(self, error: ApiError, meaning: Meaning, resends: int, spent: float) -> float | None:
        """Return None: it is not."""
        return None

    def seen(self) -> Events | None:
        """Return what the events show of it, None where nothing does. Raises ApiError, and Rejected without a status
        where they show that it never will.
        """
        raise NotImplementedError

    def settle(self, error: ApiError, meaning: Meaning) -> Events | None:
        """Return what is seen of it, None where nothing is. Raises OutcomeUnknown where it cannot be read."""
        clock = self.client.clock
        self.client.progress.note(f"no confirmation ({error.message.rstrip('.')}); looking for it for up to 8s")
        began = clock.monotonic()
        failure: ApiError | None = None
        for seconds in LOOKS:
            clock.sleep(max(began + seconds - clock.monotonic(), 0.0))
            try:
                found, failure = self.seen(), None
            except ApiError as unread:
                if isinstance(unread, Rejected) and unread.http_status is None:
                    raise
                found, failure = None, unread
            if found is not None:
                return found
            if isinstance(failure, AuthError):
                break
        if failure is not None:
            raise OutcomeUnknown(f"the session's events could not be read: {failure.message}") from failure
        return None


class Message(_SentOnce):
    """A message to a session."""

    def __init__(self, state: "State", session_id: str, said: str) -> None:
        event = {"type": "user.message", "content": [{"type": "text", "text": said}]}
        super().__init__(state, session_id, [event], what=f"the message to session {session_id}")
        self._known: set[str] = set()

    def request(self) -> "Pending":
        """Prepare an attempt, having noted which messages there are already."""
        self._known.update(map(event_key, self._messages(retry=True)))
        return super().request()

    def seen(self) -> Events | None:
        """Return a message that says the same and was not there before."""
        listed = self._messages(retry=False, until=self._known)
        new = [
            event for event in listed if event_key(event) not in self._known and _said(event) == _said(self.events[0])
        ]
        return new[-1:] or None

    def _messages(self, *, retry: bool, until: Collection[str] | None = None) -> Events:
        """Return the messages to the session, newest first: back to one of `until`, or the newest page of them."""
        pages = partial(
            self.client.pages, events_path(self.session_id), within=None if retry else READ_WITHIN, retry=retry
        )
        found: Events = []
        for events in newest_first(pages, {"types[]": ("user.message",), "limit": PAGE}):
            found += [event for event in events if event.get("type") == "user.message"]
            if until is None or any(event_key(event) in until for event in found):
                break
        return found


def _said(event: dict[str, Any]) -> str:
    content = event.get("content")
    blocks = content if isinstance(content, list) else [{"text": content}]
    return "".join(text(mapping(block).get("text")) or "" for block in blocks)


class Answers(_SentOnce):
    """Answers to calls that wait, in one request. `asked` is what waited when it was last read.

    Before each attempt it is read again what waits: it must be the same calls with the same input.
    """

    def __init__(self, state: "State", asked: Asked, answers: Sequence[tuple[Call, dict[str, Any]]]) -> None:
        self.calls = [call for call, _ in answers]
        what = f"what was said to {', '.join(call.id for call in self.calls)}"
        super().__init__(state, asked.session_id, [event for _, event in answers], what=what)
        self.asked = asked

    def deliver(self) -> Events:
        """Send them, and return the events accepted: none where the response was lost and the calls wait no more.

        Where the server names the older form, it is tried in that form, once. Raises Rejected, saying what became of a
        call that waits no more, and whatever `send` raises.
        """
        try:
            return super().deliver()
        except Rejected as error:
            if error.http_status == 400 and _NAMES_THE_FORM.search(error.message) and self._take_older_form():
                return super().deliver()
            if error.http_status is None:
                raise
            with suppress(ApiError):
                self._look()
            if gone := self._gone():  # somebody else was faster
                said = {"api_type": error.api_type, "http_status": error.http_status, "request_id": error.request_id}
                raise gone.with_(**said) from error
            raise

    def request(self) -> "Pending":
        """Prepare an attempt, unless what waits is not what was shown any more. Raises Rejected."""
        self._look()
        if gone := self._gone():
            raise gone
        return super().request()

    def seen(self) -> Events | None:
        """Return the answers as they are listed; none of them if the calls wait no more, whoever answered."""
        named = {_call_of(event): event for event in self.events}
        asked = look(self.client, self.session_id, until=[*named, str(self.asked.key)], retry=False)
        found = [event for id in named if (event := asked.answer_to(id)) and event.get("type") == named[id]["type"]]
        for event in found:
            ours = named[_call_of(event)]
            if (_result(event), _said(event)) != (_result(ours), _said(ours)):
                became = asked.became_of(_call_of(event))
                raise Rejected(f"{_call_of(event)} no longer waits: {became} by somebody else")
        if len(found) == len(named):
            return found
        knows_as_much = any(event_key(event) == self.asked.key for event in asked.events)  # else a replica lags
        still = {*asked.unreadable, *(call.id for call in asked.calls)}
        return [] if knows_as_much and not still & named.keys() else None

    def _look(self) -> None:
        self.asked = look(self.client, self.session_id, until=[call.id for call in self.calls])

    def _gone(self) -> Rejected | None:
        """Return the error of a call that does not wait as it was shown; None where all do."""
        waiting = {call.id: call for call in self.asked.calls}
        for call in self.calls:
            if call.id in self.asked.unreadable:
                return Rejected(f"{call.id} cannot be read any more; nothing was sent")
            if call.id not in waiting:
                return Rejected(f"{call.id} no longer waits: {self.asked.became_of(call.id)}; nothing was sent")
            if waiting[call.id].shown != call.shown:
                return Rejected(f"{call.id} is not the call that was shown any more; nothing was sent")
        return None

    def _take_older_form(self) -> bool:
        """Spell confirmations in the older form; return False where they are, or there is none to spell."""
        if not all("result" in event for event in self.events):
            return False
        for event in self.events:
            event["decision"] = _OLDER_FORM[event.pop("result")]
        self._key = str(uuid.uuid4())  # under the same one a server may answer as it did before
        return True


def _call_of(event: dict[str, Any]) -> str:
    return str(event.get(ANSWERS[str(event["type"])]))


def _result(event: dict[str, Any]) -> str | None:
    """Return allow or deny of a confirmation in either form; None for any other event."""
    newer = {older: result for result, older in _OLDER_FORM.items()}
    decision = text(event.get("decision"))
    return text(event.get("result")) or newer.get(decision or "", decision)
