"""Send answers, messages and interruptions to a session's agent, once each.

No page says that a second answer is harmless, so none is sent by itself. After a
lost response, the events show what was sent, or that the call no longer waits.
"""

import math
import re
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, Interrupted, NoResponse, OutcomeUnknown, QoderError, Rejected, Signalled
from qoder_cli.base.model import array, filled, mapping, text
from qoder_cli.base.outcome import REPLIES, event_at, event_key, event_time, stop_reason
from qoder_cli.http.answers import Answer, Pending
from qoder_cli.http.write import Meaning, Recovery, Write, look_for
from qoder_cli.sessions.asks import ANSWERS, DONE, READ_WITHIN, Asked, Call, look
from qoder_cli.sessions.log import APART, LAGGING, Events, Log, events_path, message_text

if TYPE_CHECKING:
    from qoder_cli.http.client import Client

SHOWS_AFTER = 1.0  # seconds after which a replica is looked at again
EVENT_LOOKS = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds after the looking began
INTERRUPTION_RESENDS = 2  # of harmless repeats
_DATES_DIFFER = 1.5  # seconds by which events may seem older than the date of a response, which has whole seconds

_OLDER_FORM = {"allow": "approve", "deny": "deny"}  # `decision` instead of `result` (api.md#sending-events)
NEWER_FORM = {older: result for result, older in _OLDER_FORM.items()}
_UNREAD = "the session's events could not be read"
_NAMES_THE_FORM = re.compile(r"\b(result|decision)\b")


def message(content: str) -> Events:
    """Return a message to an agent, as one event in a list."""
    return [{"type": "user.message", "content": [{"type": "text", "text": content}]}]


def confirmation(call: Call, result: str, because: str | None = None) -> dict[str, Any]:
    """Return the event that allows or denies a call."""
    fields = {"tool_use_id": call.id, "result": result, "deny_message": because, "session_thread_id": call.thread}
    return {"type": "user.tool_confirmation", **{name: value for name, value in fields.items() if value}}


def custom_result(call: Call, result: str, *, is_error: bool) -> dict[str, Any]:
    """Return the event that answers a call of a custom tool."""
    thread = filled({"session_thread_id": call.thread})
    content = [{"type": "text", "text": result}]
    event = {"type": "user.custom_tool_result", "custom_tool_use_id": call.id, "content": content}
    return {**event, "is_error": is_error, **thread}


def _post(client: "Client", session_id: str, events: Events, key: str) -> Pending:
    headers = {"idempotency-key": key}
    return client.prepare("POST", events_path(session_id), body={"events": events}, headers=headers)


def _accepted(
    client: "Client", answer: Answer, session_id: str, events: Events, *, old_keys: Collection[str] = ()
) -> Events:
    """Return the events that a response accepts. Raises ApiError unless they may be those that were sent.

    What has the key of one of the `old_keys` is none of them: a proxy may answer as it was answered then.
    """
    data = mapping(client.understand(answer)).get("data")
    accepted = [event for event in map(mapping, array(data)) if text(event.get("id"))]
    if len(accepted) != len(events):
        raise NoResponse("the response does not show what was accepted")
    for event, sent in zip(accepted, events, strict=True):
        wanted = {"session_id": session_id, "type": sent["type"]}
        wanted |= {name: sent.get(name) for name in ANSWERS.values()}
        is_other = any(event.get(name) not in (None, value) for name, value in wanted.items())
        says_else = "content" in event and message_text(event).split() != client.hide(message_text(sent)).split()
        is_old = event_key(event) in old_keys
        if is_other or says_else or is_old or (sent["type"] in REPLIES and not _results(event) <= _results(sent)):
            raise NoResponse("the response does not show what was accepted")
    return accepted


def by_events(app: App, session_id: str, what: str, find: Callable[[], Events | None] | None) -> Recovery[Events]:
    """Return the recovery that looks for what was sent among a session's events.

    `find` returns what they show of it, or None, with one request; it raises ApiError, CannotBe. It is None where
    nothing shows it.
    """
    look = app.looking("session", "logs", session_id, "--tail", "20")
    about: dict[str, Any] = {"next": look, "session_id": session_id, "run_state": "unknown"}

    def doubt(why: str, cause: ApiError | None, may_repeat: bool) -> OutcomeUnknown:
        message = "; ".join(filter(None, (f"unknown whether {what} was delivered", why)))
        return OutcomeUnknown(message, hint="check before doing it again", cause=cause, **about)

    def stopped_after(signalled: Signalled, value: Events) -> Interrupted:
        return signalled.in_words(f"interrupted; {what} was delivered", hint="check", **about)

    recovery = Recovery[Events](
        doubt,
        stopped_after=stopped_after,
        nothing="nothing was sent",
        absent="the session's events do not show it",
    )
    if find is None:
        return recovery

    def settle(error: ApiError, meaning: Meaning) -> Events | None:
        app.progress.note(
            f"no confirmation ({error.message.rstrip('.')}); looking for it for up to {EVENT_LOOKS[-1]:.0f}s"
        )
        return look_for(app.clock, find, EVENT_LOOKS, unread=_UNREAD)

    return recovery._replace(settle=settle)


def interruption(app: App, session_id: str) -> Write[Events]:
    """Return the write that interrupts a session's turn. Nothing shows it, and doing it twice is harmless."""
    client, events, key = app.client, [{"type": "user.interrupt"}], str(uuid.uuid4())

    def resend_after(error: ApiError, meaning: Meaning, resends: int, spent: float) -> float | None:
        if resends < INTERRUPTION_RESENDS:
            return EVENT_LOOKS[resends]
        return None

    recovery = by_events(app, session_id, f"the interruption of {session_id}", None)
    return Write(
        client,
        lambda: _post(client, session_id, events, key),
        lambda answer: _accepted(client, answer, session_id, events),
        recovery._replace(resend_after=resend_after),
    )


class Delivery:
    """A message to a session, or all of its first events. It can be delivered again after a refusal."""

    def __init__(self, app: App, session_id: str, events: Events) -> None:
        self.session_id = session_id
        self._client = app.client
        self._events = events
        self._key = str(uuid.uuid4())
        self._before: set[str] | None = None  # the messages before the first attempt
        self._began = math.inf  # when that was sent, on the server's clock
        self._refusals = 0
        self._refused_at = math.inf  # first, by the monotonic clock
        recovery = by_events(app, session_id, f"the message to session {session_id}", self._find)
        self.write = Write(self._client, self._request, self._read, recovery._replace(already=self._already))

    def _request(self) -> Pending:
        """Prepare an attempt; before the first, note which messages exist already."""
        if self._before is None:
            self._before = set(map(event_key, self._messages(retry=True)))
            self._began = self._client.server_now()
        return _post(self._client, self.session_id, self._events, self._key)

    def _read(self, answer: Answer) -> Events:
        return _accepted(self._client, answer, self.session_id, self._events, old_keys=self._before or ())

    def _find(self) -> Events | None:
        return self._sent(retry=False, clocks_differ=APART)

    def _already(self, error: ApiError, write: Write[Events]) -> Events | None:
        """Return the message if it is there: a proxy may have sent it twice, and only the copy was refused."""
        self._refusals += 1
        if self._refusals == 1:
            self._refused_at = self._client.clock.monotonic()
        if error.http_status != 409:
            return None
        with suppress(ApiError):
            asked = look(self._client, self.session_id, retry=False, main_only=True)
            at = event_at(asked.newest)
            if asked.is_busy and at is not None and at < self._began - _DATES_DIFFER:
                return None  # busy since before the first attempt, for which it was refused
        looks: Sequence[float] = EVENT_LOOKS[:1]
        if self._refusals == 1:
            looks = EVENT_LOOKS
            self._client.progress.note(
                f"refused; looking for up to {looks[-1]:.0f}s whether it was delivered all the same"
            )
        return look_for(self._client.clock, lambda: self._sent(retry=False), (0.0, *looks), unread=_UNREAD)

    def sent_before(self) -> Events | None:
        """Return the message if an attempt that was refused has delivered it all the same. Raises ApiError."""
        if self._refusals:
            return self._sent(retry=True)
        return None

    def may_be_hidden(self) -> bool:
        """Return whether the message may be there unseen: the replicas do not even show yet why it was refused."""
        newest = event_at(look(self._client, self.session_id, main_only=True).newest)
        is_behind = newest is None or newest < self._began - _DATES_DIFFER
        return is_behind and self._client.clock.monotonic() - self._refused_at < LAGGING

    def _sent(self, *, retry: bool, clocks_differ: float = _DATES_DIFFER) -> Events | None:
        """Return the newest message that is ours: not listed before the first attempt, and not older, since a replica
        may have hidden it."""
        ours = self._client.hide(message_text(self._events[0]))
        for event in self._messages(retry=retry, until=self._before):
            at = event_at(event)
            is_new = event_key(event) not in (self._before or ()) and (at is None or at >= self._began - clocks_differ)
            if is_new and message_text(event) == ours:
                return [event]
        return None

    def _messages(self, *, retry: bool, until: Collection[str] | None = None) -> Events:
        """Return messages, newest first: back to one of `until`, else one page."""
        log, messages = Log(self._client, self.session_id), Events()
        for events in log.back(("user.message",), within=None if retry else READ_WITHIN, retry=retry):
            messages += [event for event in events if event.get("type") == "user.message"]
            if until is None or any(event_key(event) in until for event in messages):
                break
        return messages


class Answers:
    """Answers to waiting calls, in one request. Before each attempt they must still wait.

    Where somebody was faster with some, the rest is sent: `answered_before` has those that were left out, each with
    whether it was answered alike. If they `depend` on what is denied with them, and that may be allowed, nothing is
    sent.
    """

    def __init__(
        self, app: App, asked: Asked, answers: Sequence[tuple[Call, dict[str, Any]]], *, depend: bool = False
    ) -> None:
        app.settings.allowed.check("answer", "answering a call")
        self.asked = asked
        self.answers = answers
        self.answered_before: dict[str, bool] = {}
        self._app = app
        self._depend = depend
        self._to_send = answers
        self._asked_by = dict(asked.asked_by)  # the event that asked, by call, as of sending
        self._begin()

    def _begin(self) -> None:
        """Begin a write of its own, of which nothing is sent yet."""
        self._key = str(uuid.uuid4())
        self._not_sent = "; nothing was sent"
        recovery = by_events(self._app, self.asked.session_id, f"what was said to {', '.join(self._ids)}", self._find)
        self.write = Write(self._app.client, self._request, self._read, recovery)

    @property
    def _ids(self) -> list[str]:
        return [call.id for call, _ in self._to_send]

    @property
    def _events(self) -> Events:
        return [event for _, event in self._to_send]

    def deliver(self) -> Events:
        """Send them and return the events accepted, or none if lost and nothing waits.

        If the server names the older form, try that once. Raises Rejected, and what `Write.deliver` raises.
        """
        if self._app.settings.policy is not None:
            from qoder_cli.sessions.guard import refuse_guarded

            allowed = [call for call, event in self._to_send if not is_denial(event)]
            refuse_guarded(self._app, self.asked.session_id, allowed)
        events: Events | None = None
        while events is None:
            with self.write.in_words():
                try:
                    events = self.write.send().value
                except Rejected as error:
                    is_of_form = error.http_status == 400 and _NAMES_THE_FORM.search(error.message)
                    if not (is_of_form and self._in_older_form()) and not self._left_out_answered():
                        raise (self._explained(error) or error) from error.__cause__
        self._app.replies.answered |= {id: self._asked_by.get(id) for id in self._ids}
        return events

    def _left_out_answered(self) -> bool:
        """Leave out the calls that somebody answered before. Return whether some of the others are to be sent again.

        None was accepted, or this would be no refusal, so those that wait as before have no answer. A replica that lags
        may show that of a call that has one: they are looked at again a second later.
        """
        if len(self._to_send) == 1:
            return False
        for pause in (0.0, SHOWS_AFTER):
            self._app.clock.sleep(pause)
            try:
                self._look()
            except ApiError:
                return False
            theirs = {id: self.asked.answer_to(id) for id in self._ids if id not in self.asked.waiting}
            gone = {id: answer for id, answer in theirs.items() if answer is not None}
            left = [(call, event) for call, event in self._to_send if call.id not in gone]
            if not gone or not left or any(self._why_not(call) for call, _ in left):
                return False
        others = [(call, event) for call, event in self._to_send if call.id in gone]
        alike = {call.id: _results(gone[call.id]) == _results(event) for call, event in others}
        if self._depend and any(is_denial(event) and not alike[call.id] for call, event in others):
            return False
        self.answered_before |= alike
        for call, _ in others:
            self._app.progress.warn(f"{self._why_not(call)}; sending the rest")
        self._to_send = left
        self._begin()
        return True

    def shown_within(self, looks: Sequence[float]) -> Events | None:
        """Return what shows, at one of these looks (seconds), of the same answers sent before; None if nothing does.

        Raises OutcomeUnknown, also if it shows that they were answered otherwise.
        """
        return look_for(self._app.clock, self._find, looks, unread=_UNREAD)

    def _look(self, *more: str, retry: bool = True) -> None:
        """Read again what waits, back to the calls, and to `more`. Raises ApiError."""
        until = (*self._ids, *more)
        self.asked = look(self._app.client, self.asked.session_id, until=until, retry=retry)

    def _explained(self, error: Rejected) -> QoderError | None:
        """Return what a refusal means: that part of it was accepted, or that somebody else was faster."""
        if error.http_status is None:
            return None
        with suppress(ApiError):
            self._look()
        still_waits = not set(self.asked.waiting).isdisjoint(self._ids)
        if still_waits and any(map(self._shown_of, self._events)):
            return self.write.unknown("some of it is among the session's events", cause=error)
        if gone := self._gone():
            return gone.with_(api_type=error.api_type, http_status=error.http_status, request_id=error.request_id)
        return None

    def _request(self) -> Pending:
        """Prepare an attempt. Raises Rejected unless the calls wait as shown."""
        self._look()
        if gone := self._gone():
            raise gone.with_(message=gone.message + self._not_sent)
        self._asked_by, self._not_sent = dict(self.asked.asked_by), ""
        return _post(self._app.client, self.asked.session_id, self._events, self._key)

    def _read(self, answer: Answer) -> Events:
        old_keys = set(map(event_key, self.asked.events))
        return _accepted(self._app.client, answer, self.asked.session_id, self._events, old_keys=old_keys)

    def _find(self) -> Events | None:
        """Return the answers listed; empty if nothing waits, whoever answered."""
        asked_by = {self._asked_by[id] for id in self._ids}
        self._look(*asked_by, retry=False)
        shown = [self._shown_of(event) for event in self._events]
        for event, ours in zip(self._events, shown, strict=True):
            if ours is None and (other := next(self._answers_to(event), None)):
                wanted, so = (DONE.get("".join(_results(answer)), "answered otherwise") for answer in (event, other))
                since = f" since {at}" if (at := event_time(other)) else ""
                why = f"{_call_of(event)} was to be {wanted}, but the server shows that it is {so}{since}"
                raise OutcomeUnknown(why)
        if None not in shown:
            return [*filter(None, shown)]
        knows_as_much = asked_by <= set(map(event_key, self.asked.events))  # else it lags
        if not knows_as_much or not set(self._ids).isdisjoint(self.asked.waiting):
            return None
        newest = self.asked.newest
        is_on = newest.get("type") in ("session.status_running", "session.status_idle")
        reasons = (None, "end_turn", "stop_sequence", "requires_action")
        denied = [event for event in self._events if is_denial(event) and not self._shown_of(event)]
        has_run = any(self.asked.answer_to(_call_of(event)) for event in denied)
        if is_on and stop_reason(newest) in reasons and not has_run:
            return []  # the agent went on, not stopped, and ran nothing that was to be denied
        return None

    def _answers_to(self, ours: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield what the newest look shows of answers of this kind to the same call, since it asked."""
        id = _call_of(ours)
        for event in self.asked.since(self._asked_by.get(id, "")):
            if event.get("type") == ours["type"] and _call_of(event) == id:
                yield event

    def _shown_of(self, ours: dict[str, Any]) -> dict[str, Any] | None:
        """Return the newest look's event with the same answer to the same call."""
        said = self._app.client.hide(message_text(ours))
        for event in self._answers_to(ours):
            says_else = "content" in event and message_text(event) != said
            if not says_else and _results(event) <= _results(ours):
                return event
        return None

    def _gone(self) -> Rejected | None:
        """Return the error for calls that do not wait as shown; None if all do."""
        reasons = [*filter(None, (self._why_not(call) for call, _ in self._to_send))]
        return Rejected("; ".join(reasons)) if reasons else None

    def _why_not(self, call: Call) -> str:
        """Return why a call is not answered: it does not wait as it was shown. Empty if it does."""
        now = next((waiting for waiting in self.asked.calls if waiting.id == call.id), None)
        if call.id in self.asked.unreadable:
            return f"{call.id} can no longer be read"
        if now is None:
            return f"{call.id} no longer waits: {self.asked.became_of(call.id)}"
        if now.shown != call.shown:
            return f"{call.id} has changed since it was shown"
        return ""

    def _in_older_form(self) -> bool:
        """Rewrite confirmations in the older form. Return False if not possible."""
        if not all("result" in event for event in self._events):
            return False
        for event in self._events:
            event["decision"] = _OLDER_FORM[event.pop("result")]
        self._key = str(uuid.uuid4())  # a server may repeat its answer to the old one
        return True


def is_denial(event: dict[str, Any]) -> bool:
    """Return whether an event denies a call."""
    return "deny" in _results(event)


def _call_of(event: dict[str, Any]) -> str:
    return str(event.get(ANSWERS[str(event["type"])]))


def _results(event: dict[str, Any]) -> set[str]:
    """Return what a confirmation says, allow or deny, in either form; nothing for others."""
    results = {text(event.get("result")), text(event.get("decision"))} - {None}
    return {NEWER_FORM.get(str(one).lower(), str(one).lower()) for one in results}
