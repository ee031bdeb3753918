"""Special to deployments and runs (api.md#deployments and #runs)."""

from collections.abc import Mapping

from qoder_cli.http.readback import headers_for
from qoder_cli.sandbox.bodies import check_tools
from qoder_cli.sandbox.kinds import SERVED, OperationCall, Reply, Things, of
from qoder_cli.sandbox.records import ENVIRONMENT, PROMPT, FakeThing, stamp
from qoder_cli.sandbox.samples import WRITER
from qoder_cli.sandbox.wire import Refusal, Shape, invalid
from qoder_cli.sandbox.world import FakeDeployment, FakeRun

_PAUSES = {
    "deployments.pause": ("paused", {"type": "manual"}, "already paused"),
    "deployments.unpause": ("active", None, "not paused"),
}


@of("deployments")
class _Deployments(Things):
    def accept(self, call: OperationCall, fields: Shape, old: FakeThing | None) -> None:
        others = (
            deployment
            for deployment in call.world.deployments.values()
            if deployment.archived is None and deployment is not old
        )
        if call.world.unique_names and fields.get("name") in {other.name for other in others}:
            raise Refusal(409, "A deployment with this name already exists.")
        if agent := fields.get("agent"):
            fields["agent"] = call.world.pinned(agent)

    def make(self, call: OperationCall, fields: Shape) -> FakeThing:
        return call.world.add_deployment(at=call.now, **fields)

    def changed(self, call: OperationCall, entity: FakeThing, how: str) -> None:
        """Let the next runs do what its agent does now."""
        deployment = call.world.deployments[entity.id]
        if deployment.before and deployment.before["agent"] != deployment.fields["agent"]:
            deployment.behaviour = call.world.behaviour(deployment.fields["agent"])

    def show(self, call: OperationCall, entity: FakeThing) -> Shape:
        assert isinstance(entity, FakeDeployment)
        shape = super().show(call, entity)
        if (schedule := shape["schedule"]) is not None:
            shape["schedule"] = {name: schedule[name] for name in ("expression", "timezone")} | {"type": "cron"}
            if entity.last_run is not None:
                shape["schedule"]["last_run_at"] = stamp(entity.last_run)
            shape["schedule"]["upcoming_runs_at"] = list(map(stamp, entity.upcoming(call.now)))
        if call.legacy:
            del shape["environment_variables"]
            shape["initial_events"] = list(map(_legacy_event, shape["initial_events"]))
            shape["metadata"] = shape["metadata"] | {"cas_config": _cas_config(entity)}
        return shape

    def archive(self, call: OperationCall) -> Reply:
        deployment = call.world.deployments[self.unarchived(call).id]
        deployment.archive(call.now)
        return self.show(call, deployment)

    def pause(self, call: OperationCall) -> Reply:
        deployment = self.unarchived(call)
        status, reason, already = _PAUSES[call.operation.id]
        if deployment.fields["status"] == status:
            raise Refusal(409, f"Deployment is {already}.")
        deployment.change(call.now, status=status, paused_reason=reason)
        return self.show(call, deployment)

    unpause = pause

    def run(self, call: OperationCall) -> Reply:
        """Start a run. The answer is 200 even when nothing starts (api.md#starting-a-run)."""
        run = call.world.start(self.unarchived(call).id, origin="request", at=call.now)
        call.request.runs.append(run.id)
        return SERVED["deployment_runs"].show(call, run)


@of("deployment_runs", "deployments.runs")
class _Runs(Things):
    def things(self, call: OperationCall) -> Mapping[str, FakeThing]:
        runs = call.world.runs
        if self.layout.what == "deployment_runs":
            return runs
        return {id: run for id, run in runs.items() if run.deployment.id == call.ids[0]}

    def show(self, call: OperationCall, entity: FakeThing) -> Shape:
        """Return a run (api.md#runs). The trigger's answer is more precise."""
        assert isinstance(entity, FakeRun)
        digits = {"run": 9}.get(call.verb, 6)
        shape = dict(entity.fields)
        if not call.legacy:
            return shape
        shape |= {"created_at": stamp(entity.created, digits=digits), "error": None}
        shape |= {"status": entity.status(call.now), "triggered_at": shape["created_at"]}
        started, ending = entity.session.starts() if entity.session else None, entity.ending(call.now)
        if ending is not None:
            shape["completed_at"] = stamp(ending.at, digits=6)
            if ending.status == "failed":
                shape["error"] = {"message": ending.message, "type": ending.type}
            if ending.status == "completed" and started is not None:
                shape["duration_ms"] = round((ending.at - started) * 1000)
        if entity.session and started is not None and shape["status"] != "pending":
            turn_id, started_at = entity.session.called("turn_"), stamp(started, digits=digits)
            shape["cas_run_extras"] = {"attempt": 1, "turn_id": turn_id, "started_at": started_at}
        return shape


def _legacy_event(event: Shape) -> Shape:
    """Return an initial event with its text as a plain string, as on older servers."""
    content = event.get("content")
    if isinstance(content, list):
        content = "\n".join(block["text"] for block in content if block.get("type") == "text")
    return {"content": content, "type": event["type"]}


def _cas_config(deployment: FakeDeployment) -> Shape:
    fires, last = deployment.next_fire, deployment.last_run
    stats: Shape = {"consecutive_failures": 0}
    if fires is not None:
        stats["next_trigger_at"] = stamp(fires)
    stats |= {"total_failures": 0, "total_runs": deployment.total_runs}
    if last is not None:
        stats["last_triggered_at"] = stamp(last)
    config = {"max_concurrent": 1, "max_retries": 0, "timeout_ms": 300_000}
    return {"config": config, "session_strategy": "new_session", "stats": stats}


_LIMITED = {"type": "limited", "allow_mcp_servers": False, "allow_package_managers": False, "allowed_hosts": []}
_PROBED = {"status_code": 200, "content_type": "application/json", "body": "{}", "body_truncated": False}


@of("agents")
class _Agents(Things):
    def accept(self, call: OperationCall, fields: Shape, old: FakeThing | None) -> None:
        asked = call.request.headers.get("x-qoder-beta", "")
        if missing := set(headers_for(fields).values()) - set(map(str.strip, asked.split(","))):
            raise invalid(f"The browser toolset needs the header x-qoder-beta: {missing.pop()}", "tools")
        check_tools((old.fields if old else {}) | fields)
        if old is None:
            return
        given, now = fields.get("version"), old.fields["version"]
        if given is None:
            raise invalid("Field 'version' is required.", "version")
        if given != now:
            raise Refusal(409, f"Version conflict. Expected version {now}, got {given}.")
        fields["version"] = now + 1

    def changed(self, call: OperationCall, entity: FakeThing, how: str) -> None:
        call.world.keep("agents.versions", entity.id, at=call.now, **entity.fields)

    def retrieve(self, call: OperationCall) -> Reply:
        version = call.query("version")
        if version is None:
            return super().retrieve(call)
        self.find(call)
        return SERVED["agents.versions"].find(call, version).fields


@of("environments")
class _Environments(Things):
    def accept(self, call: OperationCall, fields: Shape, old: FakeThing | None) -> None:
        if "config" in fields and not fields["config"]:
            raise invalid("config must name a type.", "config")
        config = fields.get("config", {"type": "cloud"} if old is None else None)
        if config is None or config["type"] == "self_hosted":
            return
        network = config.get("networking") or {}
        if network.get("type") != "unrestricted":
            network = _LIMITED | network
        fields["config"] = {**config, "networking": network}

    def leave(self, call: OperationCall, entity: FakeThing) -> None:
        if any(session.fields["environment_id"] == entity.id for session in call.world.sessions.values()):
            raise Refusal(409, "A session refers to this environment.")
        super().leave(call, entity)


@of("environments.work")
class _WorkItems(Things):
    def guard(self, call: OperationCall) -> None:
        if self._environment(call)["config"]["type"] != "self_hosted":
            raise invalid("The environment is not self_hosted.")

    def _environment(self, call: OperationCall) -> Shape:
        return call.world.things["environments"][call.ids[0]].fields

    def _queued(self, call: OperationCall) -> list[Shape]:
        return [item.fields for item in self.things(call).values() if item.fields["state"] == "queued"]

    def _of_worker(self, call: OperationCall) -> FakeThing:
        """Return the item in the path. Raises Refusal if another worker has it."""
        item, worker = self.find(call), call.request.headers.get("worker-id")
        if worker is not None and item.fields.get("_worker", worker) != worker:
            raise Refusal(409, "Another worker has this item.")
        return item

    def poll(self, call: OperationCall) -> Reply:
        """Give a worker the oldest item that nobody has; null if there is none."""
        call.number("block_ms", 1, least=1, most=999)  # it never waits
        reclaim = call.number("reclaim_older_than_ms", 5000) / 1000  # until unacknowledged work goes to another worker
        worker = call.request.headers.get("worker-id", "")
        self._environment(call).setdefault("_polls", {})[worker] = call.now
        for fields in self._queued(call):
            taken = fields.get("_taken")
            if taken is None or taken + reclaim <= call.now:
                fields.update(_taken=call.now, _worker=worker)
                return self.show(call, self.find(call, fields["id"]))
        return None

    def stats(self, call: OperationCall) -> Reply:
        queued, polls = self._queued(call), self._environment(call).get("_polls", {}).values()
        taken = sum("_taken" in item for item in queued)
        oldest = next((item["created_at"] for item in queued), None)
        polling = sum(at > call.now - 30 for at in polls)  # so long a worker counts as polling
        counts: Shape = {"type": "work_queue_stats", "depth": len(queued) - taken, "pending": taken}
        return {**counts, "oldest_queued_at": oldest, "workers_polling": polling}

    def ack(self, call: OperationCall) -> Reply:
        item = self._of_worker(call)
        if item.fields["state"] != "queued":
            raise Refusal(409, f"The item is {item.fields['state']}.")
        item.fields.update(state="starting", acknowledged_at=stamp(call.now))
        return self.show(call, item)

    def heartbeat(self, call: OperationCall) -> Reply:
        """Extend the lease of a worker that knows the last heartbeat."""
        fields = self._of_worker(call).fields
        ttl = min(max(call.number("desired_ttl_seconds", 60), 10), 600)
        expected = call.query("expected_last_heartbeat")
        if expected is not None and expected != (fields["latest_heartbeat_at"] or "NO_HEARTBEAT"):
            raise Refusal(412, "Another worker took over.", type="precondition_failed_error")
        if fields["state"] == "queued":
            raise Refusal(409, "The item is not acknowledged.")
        goes_on = fields["state"] in ("starting", "active")
        if goes_on:
            fields["latest_heartbeat_at"] = stamp(call.now, digits=6)
            fields["started_at"] = fields["started_at"] or stamp(call.now)
            fields["state"] = "active"
        lease: Shape = {"type": "work_heartbeat", "lease_extended": goes_on, "ttl_seconds": ttl}
        return {**lease, "last_heartbeat": fields["latest_heartbeat_at"], "state": fields["state"]}

    def stop(self, call: OperationCall) -> Reply:
        """Ask the worker to stop; stop at once with `force`, or if none has begun."""
        item, force = self.find(call), call.fields().get("force")
        fields = item.fields
        fields["stop_requested_at"] = fields["stop_requested_at"] or stamp(call.now)
        if fields["state"] == "queued" or (force and fields["state"] != "stopped"):
            fields.update(state="stopped", stopped_at=stamp(call.now))
        elif fields["state"] != "stopped":
            fields["state"] = "stopping"
        return self.show(call, item)


@of("vaults")
class _Vaults(Things):
    def show(self, call: OperationCall, entity: FakeThing) -> Shape:
        shape = super().show(call, entity)
        if call.verb == "create":
            shape["credentials"] = []
        return shape


@of("vaults.credentials")
class _Credentials(Things):
    def guard(self, call: OperationCall) -> None:
        if call.verb in ("create", "update"):
            SERVED["vaults"].unarchived(call)

    def accept(self, call: OperationCall, fields: Shape, old: FakeThing | None) -> None:
        """Merge `auth` in an update, without secrets. Its type cannot change."""
        if "auth" not in fields:
            return
        auth: Shape = old.fields["auth"] if old else {}
        if auth.get("type", fields["auth"]["type"]) != fields["auth"]["type"]:
            raise invalid("auth.type cannot change.", "auth.type")
        fields["auth"] = {**auth, **fields["auth"]}

    def mcp_oauth_validate(self, call: OperationCall) -> Reply:
        credential = self.unarchived(call)
        auth = credential.fields["auth"]
        if auth["type"] != "mcp_oauth":
            raise invalid("Only credentials of the type mcp_oauth can be validated.")
        has_token = "refresh" in auth
        refreshed = {True: "refreshed", False: "no_refresh_token"}[has_token]
        return {
            "type": "vault_credential_validation",
            "status": "valid",
            "validated_at": stamp(call.now),
            "credential_id": credential.id,
            "vault_id": call.ids[0],
            "has_refresh_token": has_token,
            "refresh": {"status": refreshed, "http_response": None},
            "mcp_probe": {"method": "initialize", "http_response": _PROBED},
        }


@of("dreams")
class _Dreams(Things):
    def accept(self, call: OperationCall, fields: Shape, old: FakeThing | None) -> None:
        fields["output_behavior"] = fields.get("output_behavior") or {"type": "create_new"}
        if any(dream.fields["status"] in ("pending", "running") for dream in call.world.alive("dreams")):
            raise Refusal(409, "Another dream is under way.")

    def changed(self, call: OperationCall, entity: FakeThing, how: str) -> None:
        """Schedule the dream: it runs after 1 s, completes 3 s later (at speed 1)."""
        world, fields = call.world, entity.fields

        def run(at: float) -> None:
            if fields["status"] == "pending":
                agent = world.pinned({"id": WRITER})
                session = world.add_session(at=at, agent=agent, environment_id=ENVIRONMENT, initial_events=PROMPT)
                fields.update(status="running", session_id=session.id)

        def complete(at: float) -> None:
            if fields["status"] == "running":
                store_id = fields["output_behavior"].get("memory_store_id")
                if store_id is None:
                    store_id = world.keep("memory_stores", at=at, name=f"dream of {entity.id}").id
                output = {"type": "memory_store", "memory_store_id": store_id, "files_touched": []}
                usage = {"input_tokens": 1200, "output_tokens": 300}
                fields.update(status="completed", outputs=[output], usage=usage, ended_at=stamp(at))

        world.postpone(1 / world.speed, run)
        world.postpone(4 / world.speed, complete)

    def cancel(self, call: OperationCall) -> Reply:
        dream = self.find(call)
        if dream.fields["status"] not in ("pending", "running"):
            raise Refusal(409, "The dream has ended.")
        dream.fields.update(status="canceled", ended_at=stamp(call.now))
        return self.show(call, dream)
