"""What each operation does: deployments, runs, sessions and events (api/facts.md, 1 and 2)."""

from collections.abc import Callable

from qoder_cli.sandbox import shapes
from qoder_cli.sandbox.call import Call
from qoder_cli.sandbox.records import Deployment, Moment, Run, Session
from qoder_cli.sandbox.stream import EventStream
from qoder_cli.sandbox.wire import Refusal, invalid
from qoder_cli.sandbox.world import World

Reply = shapes.Shape | EventStream


def create_deployment(call: Call) -> Reply:
    """Add a deployment; it behaves as the preset demo."""
    from qoder_cli.sandbox.bodies import Create, deployment_fields

    fields = deployment_fields(call.body(), model=Create, latest=call.world.latest_version)
    call.world.refuse_taken(fields["name"])
    if call.legacy:
        call.status = 201
    return call.show_deployment(call.world.add_deployment(**fields))


def update_deployment(call: Call) -> Reply:
    """Change what the body names."""
    from qoder_cli.sandbox.bodies import Update, deployment_fields, merged

    deployment = call.deployment()
    fields = deployment_fields(call.body(), model=Update, latest=call.world.latest_version)
    if "metadata" in fields:
        fields["metadata"] = merged(deployment.metadata, fields["metadata"])
    call.world.change(deployment, fields)
    return call.show_deployment(deployment)


def get_deployment(call: Call) -> Reply:
    """Show one."""
    return call.show_deployment(call.as_known(call.deployment()))


def list_deployments(call: Call) -> Reply:
    """Show them, newest first; archived ones only when asked for."""
    query, archived = call.query, call.query.truth("include_archived")
    status, agent_id = query.one("status"), query.one("agent_id")
    created = query.within(*([] if call.legacy else ["gte", "lte"]))

    def keep(deployment: Deployment) -> bool:
        return (
            call.knows(deployment)
            and (archived is True or deployment.archived is None)
            and status in (None, "paused" if deployment.paused else "active")
            and agent_id in (None, deployment.agent["id"])
            and created(float(int(deployment.created)))
        )

    known = map(call.as_known, call.world.deployments.values())
    deployments = sorted(known, key=lambda deployment: deployment.created)
    return call.page(deployments, call.show_deployment, keep=keep)


def get_agent(call: Call) -> Reply:
    """Show one, whatever it is called: only its latest version matters here."""
    [id] = call.ids
    return {"id": id, "type": "agent", "name": id, "version": call.world.latest_version(id), "archived_at": None}


def changing(change: Callable[[World, Deployment], None]) -> Callable[[Call], Reply]:
    """Return the operation that does this to a deployment."""

    def operation(call: Call) -> Reply:
        deployment = call.deployment()
        call.expect_no_fields()
        change(call.world, deployment)
        return call.show_deployment(deployment)

    return operation


def run_deployment(call: Call) -> Reply:
    """Start a run. The answer is 200 even when nothing starts (api/facts.md, 1.3)."""
    deployment = call.deployment()
    call.expect_no_fields()
    run = call.world.start(deployment, origin="request", at=call.now)
    call.seen.runs.append(run.id)
    return call.show_run(run, fresh=True)


def get_run(call: Call) -> Reply:
    """Show one, by its id alone or below its deployment."""
    return call.show_run(call.run())


def list_runs_of_deployment(call: Call) -> Reply:
    """Show the runs of one deployment, newest first."""
    deployment = call.deployment()
    after, before = call.query.moment("triggered_after"), call.query.moment("triggered_before")

    def keep(run: Run) -> bool:
        created = _shown_time(call, run)
        in_time = (after is None or created >= after) and (before is None or created <= before)
        return run.deployment is deployment and in_time

    return _list_runs(call, keep)


def list_runs(call: Call) -> Reply:
    """Show the runs of all deployments, newest first."""
    query, has_error = call.query, call.query.truth("has_error")
    deployment_id, trigger = query.one("deployment_id"), query.one("trigger_type")
    in_time = query.within(*([] if call.legacy else ["gt", "gte", "lt", "lte"]))

    def keep(run: Run) -> bool:
        return (
            deployment_id in (None, run.deployment.id)
            and trigger in (None, run.trigger["type"])
            and in_time(_shown_time(call, run))
            and (has_error is None or has_error == (call.show_run(run)["error"] is not None))
        )

    return _list_runs(call, keep)


def _list_runs(call: Call, keep: Callable[[Run], bool]) -> Reply:
    status = call.query.one("status") if call.legacy else None

    def shown(run: Run) -> bool:
        return call.knows(run) and keep(run) and (status is None or run.status(call.now) == status)

    return call.page(call.world.runs.values(), call.show_run, keep=shown)


def _shown_time(call: Call, run: Run) -> float:
    """Return when it was created, as exactly as this server shows it."""
    return run.created if call.legacy else float(int(run.created))


def get_session(call: Call) -> Reply:
    """Show one."""
    return shapes.session(call.session(), now=call.now, generation=call.world.generation)


def list_sessions(call: Call) -> Reply:
    """Show them, newest first unless asked otherwise."""
    query = call.query
    if query.one("agent_version") is not None and query.one("agent_id") is None:
        raise invalid("agent_version needs agent_id.", "agent_version")
    statuses, deployment_id, generation = query.several("statuses"), query.one("deployment_id"), call.world.generation
    agent_id, agent_version = query.one("agent_id"), query.one("agent_version")
    created = query.within("gt", "gte", "lt", "lte")

    def keep(session: Session) -> bool:
        return (
            call.knows(session)
            and (not statuses or shapes.session_status(session, now=call.now, generation=generation) in statuses)
            and deployment_id in (None, session.deployment_id)
            and agent_id in (None, session.agent["id"])
            and agent_version in (None, str(session.agent["version"]))
            and created(session.created)
        )

    def show(session: Session) -> shapes.Shape:
        return shapes.session(session, now=call.now, generation=generation)

    return call.page(call.world.sessions.values(), show, keep=keep, descending=query.descending(default=True))


def cancel_session(call: Call) -> Reply:
    """Cancel one; the body says `canceling` even when it was idle (api/facts.md, 2.1)."""
    session = call.session()
    call.expect_no_fields()
    if call.world.cancel(session):
        call.status = 202
    return {"id": session.id, "type": "session", "status": "canceling"}


def delete_session(call: Call) -> Reply:
    """Delete one, and all that happened in it."""
    session = call.session()
    call.world.delete(session)
    return {"id": session.id, "type": "session_deleted"}


def list_events(call: Call) -> Reply:
    """Show what happened in a session, oldest first by default; or stream it."""
    if call.request.wants_stream:
        return stream_events(call)
    session, query = call.session(), call.query
    types = query.several("types")
    created = query.within("gt", "gte", "lt", "lte")

    def keep(moment: Moment) -> bool:
        return (not types or moment.beat.type in types) and created(moment.at)

    def show(moment: Moment) -> shapes.Shape:
        return shapes.event(session, moment, generation=call.world.generation)

    return call.page(
        session.past(call.now),
        show,
        keep=keep,
        name=lambda moment: session.event_id(moment.number),
        descending=query.descending(default=False),
    )


def stream_events(call: Call) -> Reply:
    """Stream what happens in a session from now on, or after the event that Last-Event-ID names."""
    session, after = call.session(), call.request.headers.get("last-event-id")
    deltas = call.query.several("event_deltas")
    try:
        return EventStream(call.world, session, call.conditions, after=after, deltas=deltas)
    except LookupError:
        raise Refusal(409, "Invalid cursor: Last-Event-ID names no event of this session.") from None
