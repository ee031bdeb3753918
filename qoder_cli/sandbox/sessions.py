"""What the operations on sessions and events do (api/facts.md, 2)."""

from qoder_cli.sandbox.call import Call, Reply, Route
from qoder_cli.sandbox.records import Moment, Session
from qoder_cli.sandbox.scripts import answer_to, echo
from qoder_cli.sandbox.shapes import Shape
from qoder_cli.sandbox.stream import follow
from qoder_cli.sandbox.wire import Refusal, invalid


def _get_session(call: Call) -> Reply:
    return call.view.session(call.session())


def _list_sessions(call: Call) -> Reply:
    query, archived = call.query, call.query.truth("include_archived")
    if query.one("agent_version") is not None and query.one("agent_id") is None:
        raise invalid("agent_version needs agent_id.", "agent_version")
    statuses, deployment_id = query.several("statuses"), query.one("deployment_id")
    agent_id, agent_version = query.one("agent_id"), query.one("agent_version")
    created = query.within("gt", "gte", "lt", "lte")

    def keep(session: Session) -> bool:
        return (
            call.knows(session)
            and (archived is True or session.archived is None)
            and (not statuses or call.view.status(session) in statuses)
            and deployment_id in (None, session.deployment_id)
            and agent_id in (None, session.agent["id"])
            and agent_version in (None, str(session.agent["version"]))
            and created(session.created)
        )

    sessions, descending = call.world.sessions.values(), query.descending(default="desc")
    return call.page(sessions, call.view.session, keep=keep, descending=descending)


def _cancel_session(call: Call) -> Reply:
    session = call.session()
    call.expect_no_fields()
    if session.cancel(call.world.now()):
        call.status = 202
    # It says so even when it was idle (api/facts.md, 2.1).
    return {"id": session.id, "type": "session", "status": "canceling"}


def _delete_session(call: Call) -> Reply:
    session = call.session()
    call.world.delete(session)
    return {"id": session.id, "type": "session_deleted"}


def _send_events(call: Call) -> Reply:
    from qoder_cli.sandbox.bodies import LegacyEvent, Sent, SentEvent, checked

    session = call.session()
    model = Sent[LegacyEvent] if call.view.legacy else Sent[SentEvent]
    events: list[Shape] = checked(model, call.body())["events"]
    if session.archived is not None or session.status(call.now) == "terminated":
        raise Refusal(409, "Session is archived or terminated.")
    waiting, answers, said = session.waiting(call.now), list[Shape](), list[Shape]()
    for n, event in enumerate(events):
        kind = event["type"]
        if answer_to(event):
            _check_answer(event, waiting, f"events.{n}")
            answers.append(event)
        elif kind != "user.interrupt":
            said.append(event)
        elif said or answers:
            raise invalid("user.interrupt must come first.", f"events.{n}")
    if said and session.going(call.now):
        message = "Session is currently processing a turn. Cancel the current turn or wait for completion."
        raise Refusal(409, message, type="invalid_request_error")  # api/facts.md, 7.2
    before = len(session.past(call.now))
    interrupts = events[: len(events) - len(said) - len(answers)]
    if interrupts:
        session.cancel(call.now, *map(echo, interrupts))
    if answers:
        session.answer(call.now, answers)
    if said:
        session.say(call.now, said)
    if call.view.legacy:
        call.status = 202
    sent = [moment for moment in session.past(call.now)[before:] if moment.beat.type.startswith(("user.", "system."))]
    return {"data": [call.view.event(session, moment) for moment in sent]}


def _check_answer(event: Shape, waiting: dict[str, Moment], where: str) -> None:
    """Take the call that an event answers from those that wait. Raises Refusal if it is none of them."""
    param = next(name for name in ("tool_use_id", "custom_tool_use_id") if name in event)
    call = waiting.pop(event[param], None)
    if call is None:
        raise invalid(f"{param}: no call with this id waits for an answer.", f"{where}.{param}")
    if (call.beat.type == "agent.custom_tool_use") != (param == "custom_tool_use_id"):
        raise invalid(f"{param}: a call of type {call.beat.type} wants another answer.", f"{where}.{param}")


def _list_events(call: Call) -> Reply:
    if call.request.wants_stream:
        return _stream_events(call)
    session, query = call.session(), call.query
    types = query.several("types")
    created = query.within("gt", "gte", "lt", "lte")

    def keep(moment: Moment) -> bool:
        return (not types or moment.beat.type in types) and created(moment.at)

    return call.page(
        session.past(call.now),
        lambda moment: call.view.event(session, moment),
        keep=keep,
        name=session.event_id,
        descending=query.descending(default="asc"),
    )


def _stream_events(call: Call) -> Reply:
    session, after = call.session(), call.request.headers.get("last-event-id")
    ids = [None, *(session.event_id(moment) for moment in session.past(call.world.now()))]
    if after is not None and after not in ids:
        raise Refusal(409, "Invalid cursor: Last-Event-ID names no event of this session.")
    position = len(ids) - 1 if after is None else ids.index(after)
    deltas = call.query.several("event_deltas")
    return follow(call.world, session, call.conditions, position=position, deltas=deltas)


ROUTES = (
    Route("GET", "sessions", ("session",), _list_sessions),
    Route("GET", "sessions/{}", ("session",), _get_session),
    Route("DELETE", "sessions/{}", ("session",), _delete_session),
    Route("POST", "sessions/{}/cancel", ("session",), _cancel_session),
    Route("POST", "sessions/{}/events", ("send",), _send_events),
    Route("GET", "sessions/{}/events", ("events",), _list_events),
    Route("GET", "sessions/{}/events/stream", ("stream",), _stream_events),
)
