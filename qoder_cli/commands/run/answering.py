"""Answer an agent's calls, and send it messages: what `approve`, `deny`, `answer` and `send` do."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, NamedTuple, TypedDict

from qoder_cli.app import App
from qoder_cli.base.errors import (
    Interrupted,
    LostSight,
    NeedsAnswer,
    NotFound,
    OutcomeUnknown,
    QoderError,
    Rejected,
    Signalled,
    UsageError,
    WaitTimeout,
)
from qoder_cli.base.model import Raw, Run
from qoder_cli.base.outcome import is_going
from qoder_cli.base.times import span
from qoder_cli.base.words import few, shortened
from qoder_cli.commands.target import TypedSession
from qoder_cli.fleet.wait import wait_for
from qoder_cli.input.prompt import interrupted_with
from qoder_cli.output.cells import Fields, Id
from qoder_cli.output.visible import quoted, visible
from qoder_cli.runs.ending import Ended, Wanted
from qoder_cli.runs.observe import observer_of, turn_observer
from qoder_cli.sessions.answers import NEWER_FORM, Answers, Delivery, confirmation, custom_result, interruption, message
from qoder_cli.sessions.asks import DOING, DONE, Asked, Call, look
from qoder_cli.sessions.log import Events, Log
from qoder_cli.sessions.numbering import read_typed
from qoder_cli.sessions.question import (
    HIDDEN,
    TO_READ_IT,
    TOO_LONG,
    ask,
    decided,
    hides_secret,
    is_too_long,
    named,
    show_call,
    show_context,
)
from qoder_cli.sessions.state import session_of, session_taking_messages
from qoder_cli.sessions.story import events_so_far, keys

MOST_REFUSALS = 60  # of a message, by a session that seems idle
BUSY_PAUSE = 1.0  # seconds until a message is sent again that met a busy agent
_LONGEST_RESULT = 60  # characters of a result in a question
_UNSENT = "the message was not sent"


class Turn(NamedTuple):
    """A session before something is sent to it, and the keys of its events so far."""

    session: Raw
    before: set[str]

    @classmethod
    def of(cls, app: App, session_id: str) -> "Turn":
        return cls(session_of(app, session_id), events_so_far(Log(app.client, session_id)))


def chosen(app: App, target: TypedSession, asked: Asked, words: Sequence[str], verb: str) -> list[Call]:
    """Return the calls typed; without any, all but custom tools'. Raises QoderError."""
    if not words:
        if asked.unreadable:
            count, next = len(asked.unreadable), app.looking("session", "logs", target.session_id)
            why = f"{count} waiting calls cannot be read ({_listed(asked.unreadable)}); nothing was sent"
            raise Rejected(why, hint="to see the session's events", next=next)
        calls = [call for call in asked.calls if call.kind != "custom"]
        if asked.calls and not calls:
            _must_fit(app, target, asked.calls[0], verb)
        return calls
    waiting = {call.id: call for call in asked.calls}
    for id in words:
        if id in asked.unreadable:
            raise Rejected(f"{named(id)} waits, but what it would do cannot be read; nothing was sent")
        if id not in waiting:
            if asked.call(id) is None:
                hint = f"list them: qoder run pending {target.id}"
                why = f"session {target.session_id} has no call {named(id)}; nothing was sent"
                raise NotFound(why, hint=hint)
            raise Rejected(f"{named(id)} is not pending: {asked.became_of(id)}; nothing was sent")
        _must_fit(app, target, waiting[id], verb)
    return [call for call in asked.calls if call.id in words]


def _must_fit(app: App, target: TypedSession, call: Call, verb: str) -> None:
    """Raise UsageError for approving a custom tool's call, or answering another's."""
    if (call.kind == "custom") == (verb == "answer"):
        return
    if call.kind == "custom":
        what, fitting = "a custom tool, which takes a result", ["answer", call.id, "--with", "TEXT"]
    else:
        what, fitting = "no custom tool: it is allowed or denied", ["approve", call.id]
    raise UsageError(f"{call.id} calls {what}; nothing was sent", hint="use", next=target.command(app, *fitting))


@contextmanager
def _in_session(target: TypedSession) -> Iterator[None]:
    """Name the session in an error of this block, which is about it."""
    try:
        yield
    except QoderError as error:
        if error.session_id is not None:
            raise
        raise error.with_(session_id=target.session_id) from error.__cause__


def decide(
    app: App,
    target: TypedSession,
    calls: Sequence[str],
    verb: str,
    *,
    every: bool,
    yes: bool,
    hashes: Sequence[str],
    because: str | None,
) -> Answers:
    """Approve or deny (`verb`) waiting calls: show them, and ask unless `yes`. Raises QoderError."""
    with _in_session(target):
        asked, calls = read_typed(app, target.session_id, calls)
        chosen_calls = chosen(app, target, asked, calls, verb)
        asked.refuse_unclear(app.progress)
        if hashes and sorted(call.sha256 for call in chosen_calls) != sorted(map(str.lower, hashes)):
            why = "the pending calls are not those that you looked at (--input-sha256 differs); nothing was sent"
            raise Rejected(why, hint="see it again: qoder run pending --json")
        if not chosen_calls and not every:
            raise Rejected(f"nothing waits in session {target.session_id}; nothing was sent")
        if verb == "approve":
            _refuse_hidden(app, target, chosen_calls, yes=yes, is_blind=yes and bool(calls) and not hashes)
        if chosen_calls and not yes:
            with _asking(app, target, chosen_calls):
                may_allow = verb == "approve"
                replies = decided(app, chosen_calls, asked.calls, may_allow=may_allow, because=because)
            return Answers(app, asked, replies)
        if not chosen_calls:
            app.progress.note(f"nothing waits in session {target.session_id}", always=True)
        answers = [(call, confirmation(call, NEWER_FORM[verb], because)) for call in chosen_calls]
        return Answers(app, asked, answers)


def _refuse_hidden(app: App, target: TypedSession, calls: Sequence[Call], *, yes: bool, is_blind: bool) -> None:
    """Refuse to approve what cannot be shown in full; warn if it is to be approved blindly. Raises UsageError."""
    for call in calls:
        if not hides_secret(app, call):
            continue
        what = f"{named(call.id)} {HIDDEN}"
        if is_blind:
            app.progress.warn(f"{what}; it is approved without having been shown in full")
            continue
        if not yes:
            show_call(app, call)
        hint, next = "only its id and --yes alone approve it, unseen; to deny it", target.command(app, "deny", call.id)
        raise UsageError(f"{what}, so it cannot be shown in full; nothing was sent", hint=hint, next=next)


@contextmanager
def _asking(app: App, target: TypedSession, calls: Sequence[Call]) -> Iterator[None]:
    """Show what a decision on calls is about, before this block asks. Raises UsageError for a call that is too long."""
    for call in calls:
        if is_too_long(app, call):
            show_call(app, call)
            why = f"{named(call.id)} {TOO_LONG}, so it cannot be shown in full and is not asked about; nothing was sent"
            raise UsageError(why, hint=TO_READ_IT, next=target.command(app, "pending", "--json"))
    show_context(app, target.session_id, target.run)
    with interrupted_with("nothing was sent"):
        yield


def deliver(app: App, target: TypedSession, write: Answers, wanted: Wanted | None) -> Ended | None:
    """Send answers to waiting calls, if any. Print what was done, or wait and return what follows."""
    done = {call.id: DONE.get(str(event.get("result")), "answered") for call, event in write.answers}
    calls = list(done)
    goes_on = target.run is not None and is_going(target.run)
    events: Events = []
    otherwise: list[str] = []  # answered by somebody else just before, and not alike
    with _in_session(target):
        turn = None
        if wanted and done and not goes_on:
            turn = Turn.of(app, target.session_id)
        if done:
            for answer in dict.fromkeys(done.values()):
                which = [call for call, _ in write.answers if done[call.id] == answer]
                names_of = ", ".join(f"{named(call.name)} ({named(call.id)})" for call in which)
                where = app.client.settings.whereabouts
                app.progress.note(f"{DOING[answer]} {names_of} in session {target.session_id}{where}")
            events = write.deliver()
            done = {id: word for id, word in done.items() if id not in write.answered_before}
            otherwise = [id for id, is_alike in write.answered_before.items() if not is_alike]
            if not events:
                done = dict.fromkeys(done, "answered")
                app.progress.warn("the response was lost; the calls no longer wait, but who decided is not shown")
        still = [id for id in write.asked.waiting if id not in calls]
        if still:
            app.progress.note(f"these still wait: {_listed(still)}")
        if otherwise:
            _show(app, target, done, still, events)
            why = f"{_listed(otherwise)} no longer waited: {write.asked.became_of(otherwise[0])}; the rest was sent"
            raise Rejected(why, hint="to wait for the agent", next=target.command(app, "wait"), run_state="going")
        if wanted is not None:
            return _outcome_of(app, target, turn, events, wanted)
        _show(app, target, done, still, events)
    return None


def with_result(app: App, target: TypedSession, word: str, result: str, *, is_error: bool) -> Answers:
    """Return what gives a custom tool's call its result; ask about one named by a number. Raises QoderError."""
    with _in_session(target):
        asked, calls = read_typed(app, target.session_id, [word])
        [call] = chosen(app, target, asked, calls, "answer")
        if call.id != word:  # it was named by a number
            with _asking(app, target, [call]):
                long = show_call(app, call)
                about = f"answer {long}" if long else "answer it"
                short = f"{quoted(shortened(result, _LONGEST_RESULT))} ({len(result):,} characters)"
                if ask(app, f"{about} with {short}? [y]es [n]o", "yes no") != "y":
                    raise UsageError("cancelled; nothing was sent")
        return Answers(app, asked, [(call, custom_result(call, result, is_error=is_error))])


def _outcome_of(app: App, target: TypedSession, turn: Turn | None, sent: Events, wanted: Wanted) -> Ended:
    """Wait for what comes of what was sent: the turn that it begins, or the run, if there is one and no turn."""
    if turn is None and (run := target.run) is not None:
        observer = observer_of(app, run.id, run=Run(run.raw))
    else:
        session, before = turn or Turn(session_of(app, target.session_id), set())
        observer = turn_observer(app, session, before=before, after=keys(sent))
    ended = wait_for(app, observer, wanted)
    if ended.error is None or ended.error.session_id is not None:
        return ended
    return ended.with_(error=ended.error.with_(session_id=target.session_id))


class ToSay(NamedTuple):
    """A message: as typed, its text, what is done while the agent is at work, and the other options as typed."""

    typed: str
    text: str
    interrupts: bool
    when_idle: bool
    options: Sequence[str] = ()

    def again(self, app: App, target: TypedSession, *more: str) -> list[str]:
        """Return the command that sends it, as words."""
        how = ["--interrupt"] * self.interrupts + ["--when-idle"] * self.when_idle
        return target.command(app, "send", "-m", self.typed, *how, *more, *self.options)


def send_message(
    app: App, target: TypedSession, to_say: ToSay, *, began: float, wanted: Wanted | None, stays: bool
) -> Ended | None:
    """Send a message to a session, for a command that `began` then (monotonic). Print it, or return what follows."""
    with _in_session(target):
        session_taking_messages(app, target.session_id)
        app.progress.note(f"sending a message to session {target.session_id}{app.client.settings.whereabouts}")
        delivery = Delivery(app, target.session_id, message(to_say.text))
        if wanted and (to_say.interrupts or to_say.when_idle):
            with _unsent(delivery, to_say.again(app, target)):
                turn, events = _say_when_idle(app, target, to_say, delivery, wanted, began=began, stays=stays)
        else:
            turn, events = _say_now(app, target, to_say, delivery, stays=stays)
        if stays and wanted:
            return _outcome_of(app, target, turn, events, wanted.since(began, app.clock))
        _show(app, target, {}, [], events)
    return None


def _say_now(
    app: App, target: TypedSession, to_say: ToSay, delivery: Delivery, *, stays: bool
) -> tuple[Turn | None, Events]:
    turn = Turn.of(app, target.session_id) if stays else None
    try:
        return turn, delivery.write.deliver()
    except Rejected as error:
        if error.http_status != 409:
            raise
        if look(app.client, target.session_id, main_only=True).open is None:
            next = to_say.again(app, target, "--when-idle")
            raise error.with_(hint="to send it once the agent is idle", next=next) from error
        next = target.command(app, "pending")
        raise error.with_(hint="answer what it waits for first", next=next) from error


def _say_when_idle(
    app: App, target: TypedSession, to_say: ToSay, delivery: Delivery, wanted: Wanted, *, began: float, stays: bool
) -> tuple[Turn | None, Events]:
    """Send a message once the agent rests, perhaps because it is interrupted. Raises WaitTimeout, QoderError."""
    if to_say.interrupts and look(app.client, target.session_id, main_only=True).is_busy:
        interruption(app, target.session_id).deliver()
    refusals, refused = 0, None
    while True:
        if look(app.client, target.session_id, main_only=True).is_busy:
            # Whatever it was interrupted in may have ended by itself: what counts is that it rests.
            waited = app.clock.monotonic()
            observer = turn_observer(app, session_of(app, target.session_id))
            until_rest = wanted.since(began, app.clock)._replace(follow=False, require_satisfied=False)
            item = wait_for(app, observer, until_rest)
            if item.error and not observer.ended:
                raise item.error
            refusals = 0 if app.clock.monotonic() - waited > BUSY_PAUSE else refusals
        turn = Turn.of(app, target.session_id) if stays else None
        if sent := delivery.sent_before():
            return turn, sent
        try:
            if refused is None or not delivery.may_be_hidden():
                return turn, delivery.write.deliver()
        except Rejected as error:
            if error.http_status != 409:
                raise
            session_taking_messages(app, target.session_id)  # an archived one refuses for ever
            refusals, refused = refusals + 1, error
        assert refused is not None  # else it was sent
        timeout = wanted.limits.timeout
        if timeout is not None and app.clock.monotonic() - began >= timeout:
            why = f"timed out after {span(timeout)}; session {target.session_id} takes no message: {refused.message}"
            raise WaitTimeout(why, session_id=target.session_id) from refused
        if refusals >= MOST_REFUSALS:  # it is idle, and refuses for another reason
            raise refused
        app.clock.sleep(BUSY_PAUSE)


@contextmanager
def _unsent(delivery: Delivery, again: list[str]) -> Iterator[None]:
    """If this block ends before the message is sent, say so in the error, and how to send it: `again`."""
    words: Raw = {"hint": "to send it", "next": again}
    about: Raw = {"session_id": delivery.session_id, "run_state": "going"}
    try:
        yield
    except Signalled as signalled:
        raise signalled.in_words(f"interrupted; {_UNSENT}", **words, **about) from None
    except (WaitTimeout, Interrupted, LostSight) as error:
        if delivery.write.is_open_or_done:
            raise
        raise error.with_(message=f"{error.message}; {_UNSENT}", **words) from error
    except (NeedsAnswer, OutcomeUnknown) as error:
        if delivery.write.is_open_or_done:
            raise
        raise error.with_(message=f"{error.message}; {_UNSENT}") from error


class AnsweredCall(TypedDict):
    """A call, and what was done with it."""

    call: Annotated[str, "id of the call, evt_…"]
    answer: Annotated[str, "approved, denied or answered"]


class Answered(TypedDict):
    """What was done with the calls of a session."""

    run_id: Annotated[str | None, "run id, where one was named, or null"]
    session_id: Annotated[str, "session id"]
    calls: Annotated[list[AnsweredCall], "each call, and what was done with it"]
    still_waiting: Annotated[list[str], "ids of the calls that still wait"]
    events: Annotated[list[Raw], "what the server made of it"]


def _show(app: App, target: TypedSession, done: dict[str, str], still: list[str], events: Events) -> None:
    """Print what was `done` with each call, and which still wait."""
    if app.output.format == "id":
        app.out.write("".join(f"{visible(id)}\n" for id in done))
        return
    data: Answered = {
        "run_id": None if target.run is None else target.run.id,
        "session_id": target.session_id,
        "calls": [{"call": id, "answer": word} for id, word in done.items()],
        "still_waiting": still,
        "events": events,
    }
    fields: Fields = {"run": data["run_id"], "session": Id(target.session_id)}
    for answer in dict.fromkeys(done.values()):
        fields[answer] = [id for id, given in done.items() if given == answer]
    app.output.record({**fields, "still_waiting": still}, data=data)


def _listed(ids: Sequence[str]) -> str:
    return few(list(map(named, ids)))
