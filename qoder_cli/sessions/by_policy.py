"""Answer the calls that wait by a policy, each once.

What is decided is in the store, and then on standard error, before it is sent. A note that is there already is another
command's, or of one that was killed: then the session's events tell, and nothing is sent.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, OutcomeUnknown, Rejected, UsageError
from qoder_cli.base.model import array, mapping, text
from qoder_cli.base.words import few, shortened
from qoder_cli.local import decided
from qoder_cli.local.decided import PolicyDecision
from qoder_cli.nouns.named import Names
from qoder_cli.nouns.table import NOUNS
from qoder_cli.output.visible import visible
from qoder_cli.policy.match import Subject, Verdict, decide
from qoder_cli.policy.rules import Policy, load
from qoder_cli.sessions.answers import Answers, confirmation
from qoder_cli.sessions.asks import READ_WITHIN, Asked, Call, Waiting, look, threads_of
from qoder_cli.sessions.question import hides_secret, named
from qoder_cli.sessions.state import read_session
from qoder_cli.sessions.transcript import in_a_line

LOOKS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # seconds, for the answer of a command that was killed
SHOWS_WITHIN = 60.0  # seconds after which what was accepted is among the events
MOST_REFUSALS = 2  # of answers to one call, by one command
_LONGEST_INPUT = 200  # characters of an input that are kept
_LISTED = 10  # ids in a message
NO_RULE = "no rule fits"
_HIDES = "it holds a secret of yours, or what stands for one"


class Judged(NamedTuple):
    """A call, and what the policy says of it."""

    call: Call
    subject: Subject
    verdict: Verdict


def opened(app: App, path: str) -> Policy:
    """Return the policy in a file, to answer by, for the deployments that it names. Raises UsageError, ApiError."""
    if app.settings.read_only:
        why = "QODER_READ_ONLY is set, but a policy approves and denies calls"
        raise UsageError(why, hint="unset it, or omit the policy")
    return with_ids(app, loaded(app, path))


def with_ids(app: App, policy: Policy) -> Policy:
    """Return a policy with the ids of its deployments in place of their names. Raises UsageError, ApiError."""
    names = Names(app)
    return replace(policy, deployments=tuple(names.id_of(NOUNS["deploy"], each) for each in policy.deployments))


def loaded(app: App, path: str) -> Policy:
    """Return the policy in a file, with warnings said. Raises BadFiles."""
    if path == "-":
        raise UsageError("a policy must be a file", hint="write it to a file first")
    policy = load(path)
    for warning in policy.warnings:
        app.progress.warn(warning)
    return policy


def subject_of(call: Call, session: Mapping[str, Any], *, is_main: bool) -> Subject:
    """Return what a policy looks at of a call in a session."""
    server = text(call.event.get("mcp_server_name"))
    schema = frozenset(_fields_of_tool(call, server, session))
    return Subject(call.kind, str(call.event.get("name")), call.input, server, is_main, schema)


def _fields_of_tool(call: Call, server: str | None, session: Mapping[str, Any]) -> Iterator[str]:
    """Yield the fields of a tool's input, where the session's agent says them (help/pages/api.md#agents)."""
    for toolset in map(mapping, array(mapping(session.get("agent")).get("tools"))):
        if server is None or toolset.get("mcp_server_name") != server:
            continue
        for tool in map(mapping, (*array(toolset.get("tools")), *array(toolset.get("configs")))):
            if tool.get("name") == call.event.get("name"):
                yield from mapping(mapping(tool.get("input_schema")).get("properties"))


def judged(app: App, policy: Policy, asked: Asked, session: Mapping[str, Any]) -> list[Judged]:
    """Return what a policy says of each call that waits in a session, {} if that cannot be read."""
    deployment = text(session.get("deployment_id"))
    is_for_it = not policy.deployments or deployment in policy.deployments
    main: set[str] = set()
    if any(call.thread for call in asked.calls):
        main = main_threads(app, asked.session_id)
    found = []
    for call in asked.calls:
        subject = subject_of(call, session, is_main=call.thread is None or call.thread in main)
        if not is_for_it:
            verdict = Verdict("ask", None, "the policy is for other deployments")
        else:
            verdict = decide(policy, subject)
        if hides_secret(app, call):
            verdict = Verdict("ask", None, _HIDES)
        found.append(Judged(call, subject, verdict))
    return found


def with_verdicts(app: App, policy: Policy, waiting: Sequence[Waiting]) -> list[Waiting]:
    """Return the calls that wait in a session with what a policy says of each."""
    calls = tuple(each.call for each in waiting if each.call is not None)
    verdicts: dict[str, Verdict] = {}
    if calls:
        asked = Asked(calls[0].session_id, calls)
        verdicts = {each.call.id: each.verdict for each in judged(app, policy, asked, waiting[0].session)}
    unread = Verdict("ask", None, "it cannot be read in full")
    return [replace(each, verdict=verdicts.get(each.id, unread)) for each in waiting]


def main_threads(app: App, session_id: str) -> set[str]:
    """Return the thread of a session that is certainly the main agent's, if one is: the only one without a parent
    (help/pages/api.md#threads).
    """
    rows: list[dict[str, Any]] = []
    with suppress(ApiError):  # then none is
        rows = threads_of(app.client, session_id)
    found = {str(row.get("id")) for row in rows if row.get("parent_thread_id") is None}
    return found if len(found) == 1 else set()


def answer_by(app: App, policy: Policy, session_id: str, *, run_id: str = "") -> list[str]:
    """Answer what a policy decides of what waits in a session. Return the calls that are left for a person.

    Raises QoderError.
    """
    with app.progress.aside():
        try:
            asked = look(app.client, session_id)
        except ApiError as error:
            app.progress.warn(f"what the agent waits for cannot be read: {error.message}")
            return []
        if not (asked.calls or asked.unreadable):
            return []
        session: dict[str, Any] = {}
        with suppress(ApiError):  # then it is of no deployment
            session = read_session(app.client, session_id, within=READ_WITHIN)
        found = judged(app, policy, asked, session)
        noted = decided.of_session(app.store, app.settings, session_id)
        _settle(app, asked, noted)
        to_send, left = _to_send(app, found, asked, noted)
        if to_send:
            _send(app, policy, asked, to_send, run_id)
        return [*left, *asked.unreadable]


def _to_send(
    app: App, found: Sequence[Judged], asked: Asked, noted: Mapping[str, PolicyDecision]
) -> tuple[list[Judged], list[str]]:
    """Return what is to be sent, and the calls that are left for a person."""
    to_send, left = list[Judged](), list[str]()
    for judgement in found:
        id, (answer, _, why) = judgement.call.id, judgement.verdict
        if (before := noted.get(id)) is not None:
            if before.asked_by == asked.asked_by[id]:
                app.progress.note(f"{named(id)} was answered, which does not show yet")
                continue
            answer, why = "ask", "a policy has answered it before, and it is asked again"
        elif app.replies.refused[id] >= MOST_REFUSALS:
            answer, why = "ask", "the answer to it was refused"
        if answer == "ask":
            _note_once(app, f"left for a person: {named(judgement.call.name)} ({named(id)}): {why or NO_RULE}")
            left.append(id)
        else:
            to_send.append(judgement)
    return to_send, left


def _note_once(app: App, words: str) -> None:
    """Say something once, however often a wait comes by here."""
    if words not in app.replies.notes:
        app.replies.notes.add(words)
        app.progress.note(words)


def _settle(app: App, asked: Asked, noted: Mapping[str, PolicyDecision]) -> None:
    """Find out what became of decisions on calls that still wait, but those sent just now. Raises OutcomeUnknown."""
    calls = {call.id: call for call in asked.calls}
    over = [each.call for each in noted.values() if each.state == "sending" and each.call not in asked.waiting]
    if over:
        decided.mark(app.store, app.settings, asked.session_id, over, "gone")
    waiting = [each for each in noted.values() if each.call in calls and _is_open(app, each, asked)]
    if not waiting:
        return
    ids = [decision.call for decision in waiting]
    app.progress.note(f"an earlier decision on {few(ids, _LISTED)} does not show; looking for it for up to 30 s")
    write = Answers(app, asked, [(calls[each.call], confirmation(calls[each.call], each.answer)) for each in waiting])
    if write.shown_within(LOOKS) is None:
        next = app.command("session", "pending", asked.session_id)
        raise OutcomeUnknown(
            f"unknown whether an earlier command delivered the policy's decision on {few(ids, _LISTED)}",
            hint="to see whether it still waits, and decide yourself",
            next=next,
            session_id=asked.session_id,
            run_state="unknown",
        )
    decided.mark(app.store, app.settings, asked.session_id, ids, "sent")


def _is_open(app: App, decision: PolicyDecision, asked: Asked) -> bool:
    """Return whether nobody knows what became of a decision on a call that waits."""
    if decision.state == "sending":
        return True
    is_same_ask = decision.asked_by == asked.asked_by[decision.call]
    return is_same_ask and (decision.state == "gone" or app.clock.now() - decision.at > SHOWS_WITHIN)


def _send(app: App, policy: Policy, asked: Asked, to_send: Sequence[Judged], run_id: str) -> None:
    """Note, say and send answers. Raises QoderError."""
    session_id, store, settings = asked.session_id, app.store, app.settings
    notes = [_decision(app, policy, asked, each, run_id) for each in to_send]
    mine = decided.put(store, settings, notes)
    if mine is None:
        raise UsageError("the policy's decisions cannot be stored on this machine; nothing was sent")
    to_send = [each for each in to_send if each.call.id in mine]
    if not to_send:
        return
    ids = [each.call.id for each in to_send]
    write = Answers(app, asked, [(each.call, _event(each)) for each in to_send])
    try:
        with _forgotten_unless(app, write, session_id, ids):
            for note in notes:
                if note.call in mine:
                    doing = "allows" if note.answer == "allow" else "denies"
                    what = f"{doing} {visible(note.name)} {note.input} ({named(note.call)})"
                    app.progress.note(f"{policy.source} {policy.sha256[:12]} line {note.line} {what}", always=True)
            events = write.deliver()
    except Rejected as error:
        app.replies.refused.update(ids)
        app.progress.warn(error.message)
        return
    gone = [id for id in ids if id in write.answered_before or not events]
    decided.mark(store, settings, session_id, gone, "gone")
    decided.mark(store, settings, session_id, [id for id in ids if id not in gone], "sent")


@contextmanager
def _forgotten_unless(app: App, write: Answers, session_id: str, calls: Sequence[str]) -> Iterator[None]:
    """Forget the decisions about calls if this block fails and they certainly were not sent."""
    try:
        yield
    except BaseException:
        if not write.is_open_or_done:
            decided.drop(app.store, app.settings, session_id, calls)
        raise


def _event(judgement: Judged) -> dict[str, Any]:
    return confirmation(judgement.call, judgement.verdict.answer, judgement.verdict.because)


def _decision(app: App, policy: Policy, asked: Asked, judgement: Judged, run_id: str) -> PolicyDecision:
    call, _, (answer, rule, _) = judgement
    assert rule is not None  # what is answered is so by a rule
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
        answer=answer,
        rule=rule.text,
        line=rule.line,
        file=file,
        policy_sha256=policy.sha256,
    )
