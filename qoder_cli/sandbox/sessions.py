"""What the operations on sessions and events do (api/facts.md, 2)."""

from collections.abc import Callable
from operator import attrgetter, itemgetter

from qoder_cli.sandbox.call import Call, Reply, Route
from qoder_cli.sandbox.records import Moment, Session
from qoder_cli.sandbox.scripts import answer_to, echo
from qoder_cli.sandbox.shapes import Shape, stamp
from qoder_cli.sandbox.store import without_secrets
from qoder_cli.sandbox.stream import follow
from qoder_cli.sandbox.wire import Refusal, invalid, unknown_field
from qoder_cli.sandbox.work import enqueue


def _list_sessions(call: Call) -> Reply:
    query, archived = call.query, call.query.truth("include_archived")
    if query.one("agent_version") is not None and query.one("agent_id") is None:
        raise invalid("agent_version needs agent_id.", "agent_version")
    statuses, deployment_id = query.several("statuses"), query.one("deployment_id")
    agent_id, agent_version = query.one("agent_id"), query.one("agent_version")
    created, store = query.within("gt", "gte", "lt", "lte"), query.one("memory_store_id")

    def keep(session: Session) -> bool:
        return (
            call.knows(session)
            and (archived is True or session.archived is None)
            and (not statuses or call.view.status(session) in statuses)
            and deployment_id in (None, session.deployment_id)
            and agent_id in (None, session.agent["id"])
            and agent_version in (None, str(session.agent["version"]))
            and created(session.created)
            and store in (None, *(each.get("memory_store_id") for each in session.resources))
        )

    sessions, descending = call.world.sessions.values(), query.descending(default="desc")
    return call.page(sessions, call.view.session, keep=keep, descending=descending)


def _create_session(call: Call) -> Reply:
    from qoder_cli.sandbox.bodies import SessionCreate, session_fields

    said = session_fields(call.body(), model=SessionCreate, metadata={}, legacy=call.view.legacy)
    fields = {name: value for name, value in said.items() if value is not None}
    for n, event in enumerate(fields.get("initial_events", [])):
        if event["type"] not in ("user.message", "user.define_outcome"):
            raise invalid("A session begins with messages or outcomes.", f"initial_events.{n}.type")
    agent = fields["agent"]
    version = agent.get("version") or call.world.latest_version(agent["id"])
    fields["agent"] = {**agent, "type": "agent", "version": version}
    for home, id in (("agents", agent["id"]), ("environments", fields["environment_id"])):
        if call.world.is_archived(home, id):
            raise Refusal(409, f"{home[:-1].capitalize()} is archived.")
    resources = map(without_secrets, fields.get("resources", []))
    fields["resources"] = [call.world.new_resource(resource, at=call.now) for resource in resources]
    if call.view.legacy:
        call.status = 201
    session = call.world.add_session(at=call.now, **fields)
    enqueue(call.world, session)
    return call.view.session(session)


def _update_session(call: Call) -> Reply:
    from qoder_cli.sandbox.bodies import SessionUpdate, session_fields

    session = _unarchived(call)
    fields = session_fields(call.body(), model=SessionUpdate, metadata=session.metadata, legacy=call.view.legacy)
    if "agent" in fields:
        fields["agent"] = session.agent | fields["agent"]
    for name, value in fields.items():
        setattr(session, name, value)
    session.updated = call.now
    return call.view.session(session)


def _archive_session(call: Call) -> Reply:
    session = _unarchived(call)
    call.expect_no_fields()
    session.archived = session.updated = call.now
    return call.view.session(session)


def _unarchived(call: Call) -> Session:
    session = call.session()
    if session.archived is not None:
        raise Refusal(409, "Session is archived.")
    return session


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

    session = _unarchived(call)
    model = Sent[LegacyEvent] if call.view.legacy else Sent[SentEvent]
    events: list[Shape] = checked(model, call.body())["events"]
    if session.status(call.now) == "terminated":
        raise Refusal(409, "Session is terminated.")
    waiting, answers, said = session.waiting(call.now), list[Shape](), list[Shape]()
    for n, event in enumerate(events):
        kind = event["type"]
        if id := answer_to(event):
            param = next(name for name in ("tool_use_id", "custom_tool_use_id") if name in event)
            named = waiting.pop(id, None)
            if named is None:
                raise invalid(f"{param}: no call with this id waits for an answer.", f"events.{n}.{param}")
            if (named.beat.type == "agent.custom_tool_use") != (param == "custom_tool_use_id"):
                raise invalid(f"{param}: {named.beat.type} wants another answer.", f"events.{n}.{param}")
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
    shown = [call.view.event(session, moment) for moment in session.past(call.now)[before:]]
    return {"data": [event for event in shown if event["type"].startswith(("user.", "system."))]}


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


def _of_thread(operation: Callable[[Call], Reply]) -> Callable[[Call], Reply]:
    """Return an operation on the only thread of a session."""

    def checked(call: Call) -> Reply:
        if call.session().thread_id != call.ids[1]:
            raise Refusal(404, "Thread not found.")
        return operation(call)

    return checked


def _list_threads(call: Call) -> Reply:
    return call.page([call.session()], call.view.thread, name=attrgetter("thread_id"))


def _archive_thread(call: Call) -> Reply:
    raise Refusal(409, "The thread of the coordinator cannot be archived.")  # api/facts.md, 7.3


def _list_resources(call: Call) -> Reply:
    return call.page(call.session().resources, dict, name=itemgetter("id"), descending=False)


def _add_resource(call: Call) -> Reply:
    from qoder_cli.sandbox.bodies import Resource, checked

    session = _unarchived(call)
    said = checked(Resource, call.body())
    if said["type"] != "file":
        raise invalid("Only files can be added to a session.", "type")
    made = call.world.new_resource(said, at=call.now)
    if any(each.get("mount_path") == made["mount_path"] for each in session.resources):
        raise Refusal(409, "Something is mounted there already.")
    session.resources = [*session.resources, made]
    return made


def _resource(call: Call) -> Shape:
    """Return the resource that the path names. Raises Refusal when it is unknown."""
    for resource in call.session().resources:
        if resource["id"] == call.ids[1]:
            return resource
    raise Refusal(404, "Resource not found.")


def _update_resource(call: Call) -> Reply:
    resource = _resource(call)
    secrets = {"github_repository": "authorization_token", "git_repository": "password"}
    for name, value in call.body().items():
        if name != secrets.get(resource["type"]):
            raise unknown_field(name, name)
        if not isinstance(value, str) or not value:
            raise invalid(f"{name} must be a text.", name)
    resource["updated_at"] = stamp(call.now)
    return resource


def _delete_resource(call: Call) -> Reply:
    gone, session = _resource(call), call.session()
    session.resources = [resource for resource in session.resources if resource is not gone]
    return {"id": gone["id"], "type": "session_resource_deleted"}


def _list_models(call: Call) -> Reply:
    window = {"default_context_window": 200_000, "available_context_windows": [200_000]}
    window["max_input_tokens"] = 200_000
    shape = {"type": "model", "source": "system", "is_enabled": True, "is_new": False, **window}
    levels = {"efforts": ["low", "medium", "high"], "default_effort": "medium"}
    auto = {"id": "auto", "display_name": "Auto", "price_factor": 1.0, **shape}
    ultimate = {"id": "ultimate", "display_name": "Ultimate", "price_factor": 1.6, **shape, **levels}
    return {"data": [auto, ultimate], "has_more": False}


_CHANGE = ("session-write", "session")
ROUTES = (
    Route("POST", "sessions", _CHANGE, _create_session),
    Route("GET", "sessions", ("session",), _list_sessions),
    Route("GET", "sessions/{}", ("session",), lambda call: call.view.session(call.session())),
    Route("POST", "sessions/{}", _CHANGE, _update_session),
    Route("DELETE", "sessions/{}", _CHANGE, _delete_session),
    Route("POST", "sessions/{}/archive", _CHANGE, _archive_session),
    Route("POST", "sessions/{}/cancel", _CHANGE, _cancel_session),
    Route("GET", "sessions/{}/threads", ("session",), _list_threads),
    Route("GET", "sessions/{}/threads/{}", ("session",), _of_thread(lambda call: call.view.thread(call.session()))),
    Route("POST", "sessions/{}/threads/{}/archive", _CHANGE, _of_thread(_archive_thread)),
    Route("GET", "sessions/{}/threads/{}/events", ("events",), _of_thread(_list_events)),
    Route("GET", "sessions/{}/threads/{}/stream", ("stream",), _of_thread(_stream_events)),
    Route("GET", "sessions/{}/resources", ("session",), _list_resources),
    Route("POST", "sessions/{}/resources", _CHANGE, _add_resource),
    Route("GET", "sessions/{}/resources/{}", ("session",), _resource),
    Route("POST", "sessions/{}/resources/{}", _CHANGE, _update_resource),
    Route("DELETE", "sessions/{}/resources/{}", _CHANGE, _delete_resource),
    Route("GET", "models", (), _list_models),
    Route("POST", "sessions/{}/events", ("send",), _send_events),
    Route("GET", "sessions/{}/events", ("events",), _list_events),
    Route("GET", "sessions/{}/events/stream", ("stream",), _stream_events),
)
