"""Send answers, messages and interruptions to a session's agent, once each.

No page says that a second answer is harmless, so none is sent by itself. After a
lost response, the events show what was sent, or that the call no longer waits.
"""

import math
import re
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, Interrupted, NoAnswer, OutcomeUnknown, Rejected, Signalled
from qoder_cli.base.model import array, mapping, text
from qoder_cli.base.outcome import event_at, event_key, event_time, stop_reason
from qoder_cli.http.answers import Answer, Pending
from qoder_cli.http.write import Meaning, Write
from qoder_cli.sessions.asks import ANSWERS, READ_WITHIN, Asked, Call, look
from qoder_cli.sessions.log import APART, LAGGING, Events, Log, events_path, message_text

LOOKS = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds after the loss at which the events are read
RESENDS = 2  # of harmless repeats
_DATES_DIFFER = 1.5  # seconds by which events may seem older than the date of a response, which has whole seconds

_OLDER_FORM = {"allow": "approve", "deny": "deny"}  # `decision` instead of `result` (help/pages/api.md#sending-events)
_NEWER_FORM = {older: result for result, older in _OLDER_FORM.items()}
_NAMES_THE_FORM = re.compile(r"\b(result|decision)\b")


def message(said: str) -> Events:
    """Return a message to an agent, as one event in a list."""
    return [{"type": "user.message", "content": [{"type": "text", "text": said}]}]


def confirmation(call: Call, result: str, because: str | None = None) -> dict[str, Any]:
    """Return the event that allows or denies a call."""
    said = {"tool_use_id": call.id, "result": result, "deny_message": because, "session_thread_id": call.thread}
    return {"type": "user.tool_confirmation", **{name: value for name, value in said.items() if value}}


def custom_result(call: Call, said: str, *, is_error: bool) -> dict[str, Any]:
    """Return the event that answers a call of a custom tool."""
    thread = {"session_thread_id": call.thread} if call.thread else {}
    content = [{"type": "text", "text": said}]
    event = {"type": "user.custom_tool_result", "custom_tool_use_id": call.id, "content": content}
    return {**event, "is_error": is_error, **thread}


class SessionWrite(Write[Events]):
    """Sends events to a session, once, and looks for them there if the response is lost."""

    nothing = "nothing was sent"
    absent = "the session's events do not show it"
    unread = "the session's events could not be read"

    def __init__(self, app: App, session_id: str, events: Events, *, what: str) -> None:
        super().__init__(app.client)
        self.session_id = session_id
        self.events = events
        self._what = what
        self._app = app
        self._key = str(uuid.uuid4())

    def request(self) -> Pending:
        headers = {"idempotency-key": self._key}
        return self.client.prepare("POST", events_path(self.session_id), body={"events": self.events}, headers=headers)

    def read(self, answer: Answer) -> Events:
        data = mapping(self.client.understand(answer)).get("data")
        accepted = [event for event in map(mapping, array(data)) if text(event.get("id"))]
        if len(accepted) != len(self.events) or not all(map(self._may_be, accepted, self.events)):
            raise NoAnswer("the response does not show what was accepted")
        return accepted

    def _may_be(self, accepted: dict[str, Any], sent: dict[str, Any]) -> bool:
        """Return whether nothing in an accepted event contradicts the one sent."""
        of_ours = {"session_id": self.session_id, "type": sent["type"]}
        of_ours |= {name: sent.get(name) for name in ANSWERS.values()}
        return all(accepted.get(name) in (None, value) for name, value in of_ours.items())

    def doubt(self, why: str, cause: ApiError | None, *, is_absent: bool) -> OutcomeUnknown:
        return OutcomeUnknown(
            "; ".join(filter(None, (f"unknown whether {self._what} was delivered", why))),
            hint="check before doing it again",
            next=self._look_at,
            session_id=self.session_id,
            run_state="unknown",
            cause=cause,
        )

    def seen(self) -> Events | None:
        """Return what the events show of it, or None. Raises ApiError, CannotBe."""
        return None

    def settle(self, error: ApiError, meaning: Meaning) -> Events | None:
        self.client.progress.note(f"no confirmation ({error.message.rstrip('.')}); looking for it for up to 8s")
        return self.look_for(self.seen, LOOKS)

    def stopped_after(self, signalled: Signalled, value: Events) -> Interrupted:
        said, look = f"interrupted; {self._what} was delivered", self._look_at
        return signalled.in_words(said, hint="check", next=look, session_id=self.session_id, run_state="unknown")

    @property
    def _look_at(self) -> list[str]:
        return self._app.looking("session", "logs", self.session_id, "--tail", "20")


class Interruption(SessionWrite):
    """Interrupts a session's turn. Nothing shows it, and doing it twice is harmless."""

    def __init__(self, app: App, session_id: str) -> None:
        super().__init__(app, session_id, [{"type": "user.interrupt"}], what=f"the interruption of {session_id}")

    def settle(self, error: ApiError, meaning: Meaning) -> None:
        """Return None at once: nothing shows it."""

    def resend_after(self, error: ApiError, meaning: Meaning, resends: int, spent: float) -> float | None:
        return LOOKS[resends] if resends < RESENDS else None


class Message(SessionWrite):
    """A message to a session, or all of its first events. It can be delivered again after a refusal."""

    def __init__(self, app: App, session_id: str, events: Events) -> None:
        super().__init__(app, session_id, events, what=f"the message to session {session_id}")
        self._known: set[str] | None = None  # the messages before the first attempt
        self._began = math.inf  # when that was sent, on the server's clock
        self._refusals = 0
        self._refused_at = math.inf  # first, by the monotonic clock

    def request(self) -> Pending:
        """Prepare an attempt; before the first, note which messages exist already."""
        if self._known is None:
            self._known = set(map(event_key, self._messages(retry=True)))
            self._began = self.client.server_now()
        return super().request()

    def seen(self) -> Events | None:
        return self._found(self._messages(retry=False, until=self._known), not_before=self._began - APART)

    def already(self, error: ApiError) -> Events | None:
        """Return the message if it is there: a proxy may have sent it twice, and what is refused is the second."""
        self._refusals += 1
        if self._refusals == 1:
            self._refused_at = self.client.clock.monotonic()
        if error.http_status != 409 or self._is_busy_since_before():
            return None
        if self._refusals == 1:
            self.client.progress.note("refused; looking for up to 8s whether it was delivered all the same")
        looks = LOOKS if self._refusals == 1 else LOOKS[:1]
        return self.look_for(lambda: self._sent(retry=False), (0.0, *looks))

    def sent_before(self) -> Events | None:
        """Return the message if an attempt that was refused has delivered it all the same. Raises ApiError."""
        return self._sent(retry=True) if self._refusals else None

    def may_be_hidden(self) -> bool:
        """Return whether the message may be there, though no replica shows it: none shows yet why it was refused."""
        newest = event_at(look(self.client, self.session_id).newest)
        is_behind = newest is None or newest < self._began - _DATES_DIFFER
        return is_behind and self.client.clock.monotonic() - self._refused_at < LAGGING

    def _sent(self, *, retry: bool) -> Events | None:
        return self._found(self._messages(retry=retry, until=self._known), not_before=self._began - _DATES_DIFFER)

    def _is_busy_since_before(self) -> bool:
        """Return whether what the agent is busy with began before the first attempt, which that refused then."""
        with suppress(ApiError):
            asked = look(self.client, self.session_id, retry=False)
            at = event_at(asked.newest)
            return asked.is_busy and at is not None and at < self._began - _DATES_DIFFER
        return False

    def _found(self, listed: Events, *, not_before: float) -> Events | None:
        """Return the newest of some messages that is ours: unknown before, and no older, for replicas may hide some."""
        ours = message_text(self.events[0])
        for event in listed:
            at = event_at(event)
            is_new = event_key(event) not in (self._known or ()) and (at is None or at >= not_before)
            if is_new and message_text(event) == ours:
                return [event]
        return None

    def _messages(self, *, retry: bool, until: Collection[str] | None = None) -> Events:
        """Return messages, newest first: back to one of `until`, else one page."""
        within = None if retry else READ_WITHIN
        found: Events = []
        for events in Log(self.client, self.session_id).back(("user.message",), within=within, retry=retry):
            found += [event for event in events if event.get("type") == "user.message"]
            if until is None or any(event_key(event) in until for event in found):
                break
        return found


class Answers(SessionWrite):
    """Answers to waiting calls, in one request. Before each attempt they must still wait."""

    def __init__(self, app: App, asked: Asked, answers: Sequence[tuple[Call, dict[str, Any]]]) -> None:
        self.calls = [call for call, _ in answers]
        what = f"what was said to {', '.join(call.id for call in self.calls)}"
        super().__init__(app, asked.session_id, [event for _, event in answers], what=what)
        self.asked = asked
        self._asked_by = dict(asked.asked_by)  # the event that asked, by call, as of sending
        self._not_sent = "; nothing was sent"
        self._recorded = ""  # what the server made of one, if it is not what was sent

    def deliver(self) -> Events:
        """Send them and return the events accepted, or none if lost and nothing waits.

        If the server names the older form, try that once. Raises Rejected, and what `send` raises.
        """
        events = self._deliver()
        self._app.known.answered |= {call.id: self._asked_by.get(call.id) for call in self.calls}
        return events

    def _deliver(self) -> Events:
        try:
            return super().deliver()
        except Rejected as error:
            if error.http_status == 400 and _NAMES_THE_FORM.search(error.message) and self._take_older_form():
                return super().deliver()
            if error.http_status is None:
                raise
            with suppress(ApiError):
                self._look()
            if len(self.events) > 1 and any(map(self._shown_of, self.events)):
                raise self.unknown("some of it is among the session's events", cause=error) from error
            if gone := self._gone():  # somebody else was faster
                said = {"api_type": error.api_type, "http_status": error.http_status, "request_id": error.request_id}
                raise gone.with_(**said) from error
            raise

    def request(self) -> Pending:
        """Prepare an attempt. Raises Rejected unless the calls wait as shown."""
        self._look()
        if gone := self._gone():
            raise gone.with_(message=gone.message + self._not_sent)
        self._asked_by, self._not_sent = dict(self.asked.asked_by), ""
        return super().request()

    def _may_be(self, accepted: dict[str, Any], sent: dict[str, Any]) -> bool:
        return super()._may_be(accepted, sent) and _results(accepted) <= _results(sent)

    def doubt(self, why: str, cause: ApiError | None, *, is_absent: bool) -> OutcomeUnknown:
        unknown = super().doubt(why, cause, is_absent=is_absent)
        if not self._recorded:
            return unknown
        stop = self._app.command("session", "cancel", self.session_id)
        return unknown.with_(message=self._recorded, hint="to stop the agent", next=stop)

    def seen(self) -> Events | None:
        """Return the answers listed; empty if nothing waits, whoever answered."""
        named = set(map(_call_of, self.events))
        asked_by = {self._asked_by[id] for id in named}
        self.asked = asked = look(self.client, self.session_id, until=[*named, *asked_by], retry=False, behind=True)
        found = list(filter(None, map(self._shown_of, self.events)))
        if len(found) == len(named):
            return found
        for event in self.events:
            if not self._shown_of(event) and (other := next(self._answers_to(event), None)):
                raise OutcomeUnknown(self._otherwise(event, other))
        knows_as_much = asked_by <= set(map(event_key, asked.events))  # else it lags
        return [] if knows_as_much and not named & set(asked.waiting) and self._went_on() else None

    def _answers_to(self, ours: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield what the newest look shows of answers of this kind to the same call, since it asked."""
        id = _call_of(ours)
        for event in self.asked.since(self._asked_by.get(id, "")):
            if event.get("type") == ours["type"] and _call_of(event) == id:
                yield event

    def _shown_of(self, ours: dict[str, Any]) -> dict[str, Any] | None:
        """Return the newest look's event with the same answer to the same call."""
        return next((event for event in self._answers_to(ours) if _agrees(event, ours)), None)

    def _otherwise(self, ours: dict[str, Any], other: dict[str, Any]) -> str:
        """Return in words, and note, that a call was answered otherwise than was sent: by whom, no event says."""
        wanted, so = (_PARTICIPLES.get("".join(_results(event)), "answered otherwise") for event in (ours, other))
        at = event_time(other)
        wanted = f"was to be {wanted}" if wanted in _PARTICIPLES.values() else "was answered"
        self._recorded = f"{_call_of(ours)} {wanted}, but the server shows that it is {so}"
        self._recorded += f" since {at}, by this answer or somebody else's" if at else ", by this answer or another"
        return self._recorded

    def _went_on(self) -> bool:
        """Return whether the agent went on, not stopped, and ran nothing denied."""
        newest = self.asked.newest
        denied = [event for event in self.events if "deny" in _results(event) and not self._shown_of(event)]
        has_run = any(self.asked.answer_to(_call_of(event)) for event in denied)
        goes_on = ("session.status_running", "session.status_idle")
        reasons = (None, "end_turn", "stop_sequence", "requires_action")
        return newest.get("type") in goes_on and stop_reason(newest) in reasons and not has_run

    def _look(self) -> None:
        self.asked = look(self.client, self.session_id, until=[call.id for call in self.calls], behind=True)

    def _gone(self) -> Rejected | None:
        """Return the error for a call that does not wait as shown; None if all do."""
        waiting = {call.id: call for call in self.asked.calls}
        for call in self.calls:
            if call.id in self.asked.unreadable:
                return Rejected(f"{call.id} cannot be read any more")
            if call.id not in waiting:
                return Rejected(f"{call.id} no longer waits: {self.asked.became_of(call.id)}")
            if waiting[call.id].shown != call.shown:
                return Rejected(f"{call.id} is not the call that was shown any more")
        return None

    def _take_older_form(self) -> bool:
        """Rewrite confirmations in the older form. Return False if not possible."""
        if not all("result" in event for event in self.events):
            return False
        for event in self.events:
            event["decision"] = _OLDER_FORM[event.pop("result")]
        self._key = str(uuid.uuid4())  # a server may repeat its answer to the old one
        return True


_PARTICIPLES = {"allow": "approved", "deny": "denied"}


def _call_of(event: dict[str, Any]) -> str:
    return str(event.get(ANSWERS[str(event["type"])]))


def _agrees(event: dict[str, Any], ours: dict[str, Any]) -> bool:
    """Return whether an answer says the same as ours, as far as it shows."""
    if "content" in event and message_text(event) != message_text(ours):
        return False
    return _results(event) <= _results(ours)


def _results(event: dict[str, Any]) -> set[str]:
    """Return what a confirmation says, allow or deny, in either form; nothing for others."""
    said = {text(event.get("result")), text(event.get("decision"))} - {None}
    return {_NEWER_FORM.get(str(one).lower(), str(one).lower()) for one in said}
