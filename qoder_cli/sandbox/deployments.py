"""What the operations on deployments and runs do (api/facts.md, 1)."""

from collections.abc import Callable

from qoder_cli.sandbox.call import Call, Reply, Route
from qoder_cli.sandbox.records import Deployment, Run
from qoder_cli.sandbox.store import merged
from qoder_cli.sandbox.world import World


def _create_deployment(call: Call) -> Reply:
    from qoder_cli.sandbox.bodies import Create, deployment_fields

    fields = deployment_fields(call.body(), model=Create, latest=call.world.latest_version)
    call.world.refuse_taken(fields["name"])
    if call.view.legacy:
        call.status = 201
    return call.view.deployment(call.world.add_deployment(**fields))


def _update_deployment(call: Call) -> Reply:
    from qoder_cli.sandbox.bodies import Update, deployment_fields

    deployment = call.deployment()
    fields = deployment_fields(call.body(), model=Update, latest=call.world.latest_version)
    if "metadata" in fields:
        fields["metadata"] = merged(deployment.metadata, fields["metadata"])
    call.world.change(deployment, fields)
    return call.view.deployment(deployment)


def _get_deployment(call: Call) -> Reply:
    return call.view.deployment(call.as_known(call.deployment()))


def _list_deployments(call: Call) -> Reply:
    query, archived = call.query, call.query.truth("include_archived")
    status, agent_id = query.one("status"), query.one("agent_id")
    created = query.within(*([] if call.view.legacy else ["gte", "lte"]))

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
    return call.page(deployments, call.view.deployment, keep=keep)


def _changing(change: Callable[[World, Deployment], object]) -> Callable[[Call], Reply]:
    def operation(call: Call) -> Reply:
        deployment = call.deployment()
        call.expect_no_fields()
        change(call.world, deployment)
        return call.view.deployment(deployment)

    return operation


def _run_deployment(call: Call) -> Reply:
    # The answer is 200 even when nothing starts (api/facts.md, 1.3).
    deployment = call.deployment()
    call.expect_no_fields()
    run = call.world.start(deployment, origin="request", at=call.now)
    call.seen.runs.append(run.id)
    return call.view.run(run, fresh=True)


def _get_run(call: Call) -> Reply:
    return call.view.run(call.run())


def _list_runs_of_deployment(call: Call) -> Reply:
    deployment = call.deployment()
    after, before = call.query.moment("triggered_after"), call.query.moment("triggered_before")

    def keep(run: Run, created: float) -> bool:
        in_time = (after is None or created >= after) and (before is None or created <= before)
        return run.deployment is deployment and in_time

    return _list_runs(call, keep)


def _list_all_runs(call: Call) -> Reply:
    query, has_error = call.query, call.query.truth("has_error")
    deployment_id, trigger = query.one("deployment_id"), query.one("trigger_type")
    in_time = query.within(*([] if call.view.legacy else ["gt", "gte", "lt", "lte"]))

    def keep(run: Run, created: float) -> bool:
        return (
            deployment_id in (None, run.deployment.id)
            and trigger in (None, run.trigger["type"])
            and in_time(created)
            and (has_error is None or has_error == (call.view.run(run)["error"] is not None))
        )

    return _list_runs(call, keep)


def _list_runs(call: Call, keep: Callable[[Run, float], bool]) -> Reply:
    """Return a page of the runs that are kept, each looked at with the time of its creation as it is shown."""
    legacy, status = call.view.legacy, call.query.one("status")

    def shown(run: Run) -> bool:
        if not call.knows(run) or not keep(run, run.created if legacy else float(int(run.created))):
            return False
        return not legacy or status in (None, run.status(call.now))

    return call.page(call.world.runs.values(), call.view.run, keep=shown)


ROUTES = (
    Route("POST", "deployments", ("create", "write", "deployment"), _create_deployment),
    Route("GET", "deployments", ("deployment",), _list_deployments),
    Route("GET", "deployments/{}", ("deployment",), _get_deployment),
    Route("POST", "deployments/{}", ("update", "write", "deployment"), _update_deployment),
    Route("POST", "deployments/{}/pause", ("pause", "write", "deployment"), _changing(World.pause)),
    Route("POST", "deployments/{}/unpause", ("unpause", "write", "deployment"), _changing(World.unpause)),
    Route("POST", "deployments/{}/archive", ("archive", "write", "deployment"), _changing(World.archive)),
    Route("POST", "deployments/{}/run", ("trigger",), _run_deployment),
    Route("GET", "deployments/{}/runs", ("list",), _list_runs_of_deployment),
    Route("GET", "deployments/{}/runs/{}", ("run",), _get_run),
    Route("GET", "deployment_runs", ("list",), _list_all_runs),
    Route("GET", "deployment_runs/{}", ("run",), _get_run),
)
