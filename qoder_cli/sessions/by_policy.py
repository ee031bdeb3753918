"""Answer the calls that wait by a policy, each once.

What is decided is in the store, and then on standard error, before it is sent. A note that is there already is another
command's, or of one that was killed: then the session's events tell, and nothing is sent.
"""

from collections.abc import Collection, Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, OutcomeUnknown, Rejected, UsageError
from qoder_cli.base.model import text
from qoder_cli.base.outcome import REPLIES
from qoder_cli.base.words import few, shortened
from qoder_cli.local.tables import DECISIONS
from qoder_cli.output.visible import visible
from qoder_cli.policy.calls import BASH, Subject, called
from qoder_cli.policy.deciding import Verdict, decide, may_move
from qoder_cli.policy.rules import Policy
from qoder_cli.sessions.answers import Answers, confirmation, is_denial
from qoder_cli.sessions.asks import READ_WITHIN, Asked, Call, look, main_thread
from qoder_cli.sessions.guard import guard_of, guarded, loaded, subject_of, with_ids
from qoder_cli.sessions.log import Log
from qoder_cli.sessions.question import hides_secret, named
from qoder_cli.sessions.state import read_session
from qoder_cli.sessions.transcript import in_a_line

if TYPE_CHECKING:
    from sqlite3 import Connection

LOOKS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # seconds, for the answer of a command that was killed
SHOWS_WITHIN = 60.0  # seconds after which what was accepted is among the events
MOST_REFUSALS = 2  # of answers to one call, by one command
_LONGEST_INPUT = 200  # characters of an input that are kept
_SAYS_WHERE = ("agent.tool_use", "user.tool_confirmation")
UNREAD = Verdict("ask", why="it cannot be read in full")
_FOR_OTHERS = Verdict("ask", why="the policy is for other deployments")
_HIDES = "it holds a secret of yours, or what stands for one"


class JudgedCall(NamedTuple):
    """A call, and what the policy says of it."""

    call: Call
    subject: Subject
    verdict: Verdict


class PolicyDecision(NamedTuple):
    """An answer to a call, by a rule, as it is kept on this machine. A call is decided once."""

    at: float  # on this machine's clock
    session: str
    run: str
    call: str
    call_sha256: str
    asked_by: str  # the event that named the call as waiting
    name: str
    input: str  # its beginning, in one line
    answer: str
    rule: str
    line: int
    file: str
    policy_sha256: str
    state: str = "sending"  # or sent, or gone: lost, and the call no longer waits


def kept_decisions(app: App, **where: str) -> list[PolicyDecision]:
    """Return what was decided on this host and is kept, newest first; of a `session` alone if one is given."""
    rows = DECISIONS.read(app.store, {"host": app.settings.host, **where}, *PolicyDecision._fields, quiet=False)
    return sorted(map(PolicyDecision._make, rows), key=lambda one: (-one.at, one.call))


def _mark(app: App, session_id: str, calls: Sequence[str], state: str) -> None:
    """Note what became of decisions."""
    where = {"host": app.settings.host, "session": session_id}
    app.store.write(
        lambda of: [DECISIONS.change(of, {**where, "call": call}, state=state) for call in calls], quiet=True
    )


def opened(app: App, path: str) -> Policy:
    """Return the policy in a file, to answer by, for the deployments that it names. Raises UsageError, ApiError."""
    app.settings.allowed.check("answer", "a policy, which approves and denies calls,")
    guard_of(app)
    return with_ids(app, loaded(app, path))


def judged(
    app: App,
    policy: Policy,
    asked: Asked,
    session: Mapping[str, Any],
    *,
    left: Collection[str] = (),
    is_past: bool = False,
) -> list[JudgedCall]:
    """Return what a policy says of each call that waits in a session, {} if that cannot be read.

    Those that are `left` are a person's to answer, whatever it says. With `is_past`, the calls are all that were made
    in it, oldest first.
    """
    is_for_it = not policy.deployments or text(session.get("deployment_id")) in policy.deployments
    main: str | None = None
    threads = [asked.thread_of(call) for call in asked.calls]
    if any(threads):
        with suppress(ApiError):  # then none is
            main = main_thread(app.client, asked.session_id)

    def decided_on(subject: Subject) -> Verdict:
        return decide(policy, subject) if is_for_it else _FOR_OTHERS

    subjects = [
        subject_of(call, session, is_main=thread in (None, main))
        for call, thread in zip(asked.calls, threads, strict=True)
    ]
    here = list(map(decided_on, subjects))
    elsewhere = [decided_on(replace(subject, in_work=False)) for subject in subjects]
    depends = any(one.answer == "allow" != other.answer for one, other in zip(here, elsewhere, strict=True))
    denied = {
        call.id
        for call, verdict in zip(asked.calls, here, strict=True)
        if verdict.answer == "deny" and not hides_secret(app, call)
    }
    # A person may still allow what is left.
    has_moved = depends and not is_past and _has_moved(app, policy, asked, denied.difference(left))
    judgements = []
    for call, subject, verdict, other in zip(asked.calls, subjects, here, elsewhere, strict=True):
        kept = _kept(app, call, other if has_moved else verdict, session)
        judgements.append(JudgedCall(call, subject, kept))
        has_moved = has_moved or (depends and is_past and may_move(policy, subject))
    return judgements


def _kept(app: App, call: Call, verdict: Verdict, session: Mapping[str, Any]) -> Verdict:
    """Return what a policy says, unless it is more than it may."""
    if hides_secret(app, call):
        return Verdict("ask", why=_HIDES)
    if verdict.answer == "allow" and (denial := guarded(app, call, session)):
        return Verdict("ask", why=f"in the profile's policy, {denial.in_words}")
    return verdict


def _has_moved(app: App, policy: Policy, asked: Asked, denied: set[str]) -> bool:
    """Return whether a call of a session may have left its shell in another folder, or may before those that wait run.

    A call that was denied did not run, unless it is asked again or was allowed, too; nor will one that is about to be
    `denied`.
    """
    movers, stopped, allowed = set[str](), set[str](), set[str]()
    try:
        for events in Log(app.client, asked.session_id, exact=True).whole(_SAYS_WHERE, within=READ_WITHIN):
            for event in events:
                if event.get("type") in REPLIES:
                    (stopped if is_denial(event) else allowed).add(str(event.get("tool_use_id")))
                elif event.get("type") == "agent.tool_use":
                    call = Call.of(asked.session_id, {"id": "", **event})
                    is_unclear = not call.is_readable and called(call.name) == BASH
                    if is_unclear or may_move(policy, subject_of(call, {}, is_main=True)):
                        movers.add(str(event.get("id")))
    except ApiError:
        return True
    return not movers <= stopped.difference(asked.waiting, allowed) | denied


def answer_by(app: App, policy: Policy, session_id: str, *, run_id: str = "") -> bool:
    """Answer what a policy decides of what waits in a session. Return whether something is left for a person.

    Raises QoderError.
    """
    with app.progress.aside():
        try:
            asked = look(app.client, session_id, may_lack_threads=True)
        except ApiError as error:
            app.progress.warn(f"what the agent waits for cannot be read: {error.message}")
            return False
        if not asked.waiting:
            return asked.open is not None
        session: dict[str, Any] = {}
        with suppress(ApiError):  # then it is of no deployment
            session = read_session(app.client, session_id, within=READ_WITHIN)
        noted = {decision.call: decision for decision in kept_decisions(app, session=session_id)}
        why_left: dict[str, str] = {}  # for a person, whatever the policy says
        for id in (call.id for call in asked.calls):
            if id in noted and noted[id].asked_by != asked.asked_by[id]:
                why_left[id] = "a policy has answered it before, and it is asked again"
            elif id not in noted and app.replies.refused[id] >= MOST_REFUSALS:
                why_left[id] = "the answer to it was refused"
        judgements = judged(app, policy, asked, session, left=why_left)
        _settle(app, asked, noted)
        to_send, left = _to_send(app, judgements, noted, why_left)
        if to_send:
            _send(app, policy, asked, to_send, run_id)
        return bool(left or asked.unreadable)


def _to_send(
    app: App, judgements: Sequence[JudgedCall], noted: Container[str], why_left: Mapping[str, str]
) -> tuple[list[JudgedCall], list[str]]:
    """Return what is to be sent, and the calls that are left for a person."""
    to_send, left = list[JudgedCall](), list[str]()
    for judgement in judgements:
        id, answer, why = judgement.call.id, judgement.verdict.answer, judgement.verdict.why
        if id in why_left:
            answer, why = "ask", why_left[id]
        elif id in noted:
            app.progress.note(f"{named(id)} was answered, which does not show yet")
            continue
        if answer == "ask":
            words = f"left for a person: {named(judgement.call.name)} ({named(id)}): {why}"
            if words not in app.replies.notes:  # once, however often a wait comes by here
                app.replies.notes.add(words)
                app.progress.note(words)
            left.append(id)
        else:
            to_send.append(judgement)
    return to_send, left


def _settle(app: App, asked: Asked, noted: Mapping[str, PolicyDecision]) -> None:
    """Find out what became of decisions on calls that still wait, but those sent just now. Raises OutcomeUnknown."""
    calls = {call.id: call for call in asked.calls}
    over = [call for call, decision in noted.items() if decision.state == "sending" and call not in asked.waiting]
    if over:
        _mark(app, asked.session_id, over, "gone")
    waiting = [decision for decision in noted.values() if decision.call in calls and _is_open(app, decision, asked)]
    if not waiting:
        return
    ids = [decision.call for decision in waiting]
    app.progress.note(f"an earlier decision on {few(ids)} does not show; looking for it for up to 30 s")
    said = [(calls[decision.call], confirmation(calls[decision.call], decision.answer)) for decision in waiting]
    write = Answers(app, asked, said)
    if write.shown_within(LOOKS) is None:
        next = app.command("run", "pending", asked.session_id)
        raise OutcomeUnknown(
            f"unknown whether an earlier command delivered the policy's decision on {few(ids)}",
            hint="to see whether it still waits, and decide yourself",
            next=next,
            session_id=asked.session_id,
            run_state="unknown",
        )
    _mark(app, asked.session_id, ids, "sent")


def _is_open(app: App, decision: PolicyDecision, asked: Asked) -> bool:
    """Return whether nobody knows what became of a decision on a call that waits."""
    if decision.state == "sending":
        return True
    is_same_ask = decision.asked_by == asked.asked_by[decision.call]
    return is_same_ask and (decision.state == "gone" or app.clock.now() - decision.at > SHOWS_WITHIN)


def _send(app: App, policy: Policy, asked: Asked, to_send: Sequence[JudgedCall], run_id: str) -> None:
    """Note, say and send answers. Raises QoderError."""
    session_id = asked.session_id
    notes = [_decision(app, policy, asked, judgement, run_id) for judgement in to_send]
    rows = [{"host": app.settings.host, **note._asdict()} for note in notes]
    mine: set[str] = set()  # the calls that are noted now, and by nobody before

    def put(connection: "Connection") -> None:
        mine.clear()
        mine.update(str(row["call"]) for row in DECISIONS.put(connection, rows, instead="IGNORE"))

    if not app.store.write_now(put):
        raise UsageError("the policy's decisions cannot be stored on this machine; nothing was sent")
    to_send = [judgement for judgement in to_send if judgement.call.id in mine]
    if not to_send:
        return
    ids = [judgement.call.id for judgement in to_send]
    answers = [
        (judgement.call, confirmation(judgement.call, judgement.verdict.answer, judgement.verdict.because))
        for judgement in to_send
    ]
    delivery = Answers(app, asked, answers, depend=True)
    try:
        for note in notes:
            if note.call in mine:
                doing = "allows" if note.answer == "allow" else "denies"
                what = f"{doing} {visible(note.name)} {note.input} ({named(note.call)})"
                app.progress.note(f"{policy.source} {policy.sha256[:12]} line {note.line} {what}", always=True)
        events = delivery.deliver()
    except BaseException as error:
        if not delivery.write.is_open_or_done:  # certainly nothing was sent: the decisions are forgotten
            where = {"host": app.settings.host, "session": session_id, "state": "sending"}
            app.store.write(lambda of: [DECISIONS.drop(of, {**where, "call": call}) for call in ids], quiet=True)
        if not isinstance(error, Rejected):
            raise
        app.replies.refused.update(ids)
        app.progress.warn(error.message)
        return
    gone = [id for id in ids if id in delivery.answered_before or not events]
    _mark(app, session_id, gone, "gone")
    _mark(app, session_id, [id for id in ids if id not in gone], "sent")


def _decision(app: App, policy: Policy, asked: Asked, judgement: JudgedCall, run_id: str) -> PolicyDecision:
    call, verdict = judgement.call, judgement.verdict
    given = visible(shortened(app.err.veiled(in_a_line(call.input)), _LONGEST_INPUT))
    file = str(Path(policy.source).absolute())
    return PolicyDecision(
        at=app.clock.now(),
        session=asked.session_id,
        run=run_id,
        call=call.id,
        call_sha256=call.sha256,
        asked_by=asked.asked_by[call.id],
        name=visible(app.err.veiled(call.name)),
        input=given,
        answer=verdict.answer,
        rule="; ".join(rule.text for rule in verdict.rules),
        line=verdict.rules[0].line,
        file=file,
        policy_sha256=policy.sha256,
    )
