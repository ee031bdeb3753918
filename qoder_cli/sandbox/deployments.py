"""Special to deployments and their runs (api/facts.md, 1)."""

from collections.abc import Mapping

from qoder_cli.sandbox.call import Call, Reply
from qoder_cli.sandbox.kinds import KINDS, Kind, of, without_secrets
from qoder_cli.sandbox.records import Deployment, Run, Thing, stamp
from qoder_cli.sandbox.wire import Shape


@of("deployments")
class _Deployments(Kind):
    def accept(self, call: Call, said: Shape, old: Thing | None) -> None:
        if "name" in said:
            call.world.refuse_taken(said["name"], besides=old)
        if agent := said.get("agent"):
            said["agent"] = {**agent, "version": agent.get("version") or call.world.latest_version(agent["id"])}
        if "resources" in said:
            said["resources"] = list(map(without_secrets, said["resources"] or ()))

    def make(self, call: Call, fields: Shape) -> Thing:
        return call.world.add_deployment(**fields)

    def changed(self, call: Call, thing: Thing, how: str) -> None:
        call.world.deployments[thing.id].replan(call.now)

    def show(self, call: Call, thing: Thing, verb: str) -> Shape:
        """Return a deployment (api/facts.md, 1.2 and 1.4)."""
        assert isinstance(thing, Deployment)
        shape = super().show(call, thing, verb)
        if (schedule := shape["schedule"]) is not None:
            shape["schedule"] = {name: schedule[name] for name in ("expression", "timezone")} | {"type": "cron"}
            if thing.last_run is not None:
                shape["schedule"]["last_run_at"] = stamp(thing.last_run)
            shape["schedule"]["upcoming_runs_at"] = list(map(stamp, thing.upcoming(call.now)))
        if call.legacy:
            del shape["environment_variables"]
            shape["initial_events"] = list(map(_legacy_event, shape["initial_events"]))
            shape["metadata"] = shape["metadata"] | {"cas_config": _cas_config(thing)}
        return shape

    def archive(self, call: Call) -> Reply:
        """Archive, pause or unpause a deployment."""
        deployment = call.world.deployments[self.known(call).id]
        getattr(call.world, call.operation.id.rpartition(".")[2])(deployment)
        return self.show(call, deployment, "archive")

    pause = unpause = archive

    def run(self, call: Call) -> Reply:
        """Start a run. The answer is 200 even when nothing starts (api/facts.md, 1.3)."""
        deployment = call.world.deployments[self.known(call).id]
        run = call.world.start(deployment, origin="request", at=call.now)
        call.seen.runs.append(run.id)
        return KINDS["deployment_runs"].show(call, run, "run")


@of("deployment_runs", "deployments.runs")
class _Runs(Kind):
    def things(self, call: Call) -> Mapping[str, Thing]:
        runs = call.world.runs
        if self.form.what == "deployment_runs":
            return runs
        return {id: run for id, run in runs.items() if run.deployment.id == call.ids[0]}

    def show(self, call: Call, thing: Thing, verb: str) -> Shape:
        """Return a run (api/facts.md, 1.3). The trigger's answer is more precise."""
        assert isinstance(thing, Run)
        digits = 9 if verb == "run" else 6
        shape, is_half_written = dict(thing.fields), thing.created > call.now - call.conditions.get("half-written", 0)
        if is_half_written:
            shape |= {"session_id": None, "error": None}
        if not call.legacy:
            return shape
        shape |= {"created_at": stamp(thing.created, digits=digits), "error": None}
        shape |= {"status": thing.status(call.now), "triggered_at": shape["created_at"]}
        if is_half_written:
            del shape["session_id"]
            return shape | {"status": "pending"}
        started, ending = thing.session.starts() if thing.session else None, thing.ending(call.now)
        if ending is not None:
            shape["completed_at"] = stamp(ending.at, digits=6)
            if ending.status == "failed":
                shape["error"] = {"message": ending.message, "type": ending.type}
            if ending.status == "completed" and started is not None:
                shape["duration_ms"] = round((ending.at - started) * 1000)
        if thing.session and started is not None and shape["status"] != "pending":
            turn_id, started_at = thing.session.called("turn_"), stamp(started, digits=digits)
            shape["cas_run_extras"] = {"attempt": 1, "turn_id": turn_id, "started_at": started_at}
        return shape


def _legacy_event(event: Shape) -> Shape:
    """Return an initial event with its text as a plain string, as on older servers."""
    content = event.get("content")
    if isinstance(content, list):
        content = "\n".join(block["text"] for block in content if block.get("type") == "text")
    return {"content": content, "type": event["type"]}


def _cas_config(deployment: Deployment) -> Shape:
    fires, last = deployment.next_fire, deployment.last_run
    stats: Shape = {"consecutive_failures": 0}
    if fires is not None:
        stats["next_trigger_at"] = stamp(fires)
    stats |= {"total_failures": 0, "total_runs": deployment.total_runs}
    if last is not None:
        stats["last_triggered_at"] = stamp(last)
    config = {"max_concurrent": 1, "max_retries": 0, "timeout_ms": 300_000}
    return {"config": config, "session_strategy": "new_session", "stats": stats}
