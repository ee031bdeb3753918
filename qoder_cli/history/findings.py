"""Why a deployment's next run may fail: what can be known beforehand, from what it refers to and how its runs went.

Each finding has a weight: `problem`, its next run fails or never comes; `warning`, it may; `note`, worth knowing.
What could not be read is a finding, too: nothing is taken for well that was not seen.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import pairwise, takewhile
from math import inf
from statistics import median
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from qoder_cli.base import cron
from qoder_cli.base.errors import ApiError, Exit
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Deployment, Raw, array, mapping, text
from qoder_cli.base.outcome import verdict
from qoder_cli.base.times import span, unix
from qoder_cli.history.facts import (
    RUNS_JUDGED,
    Facts,
    History,
    Thing,
    agent_id,
    custom_skills,
    is_self_hosted,
)
from qoder_cli.nouns.agent import server_url
from qoder_cli.nouns.vault import why_invalid

if TYPE_CHECKING:
    from qoder_cli.policy.rules import Policy

Weight = Literal["problem", "warning", "note"]
WEIGHTS: tuple[Weight, ...] = ("problem", "warning", "note")

NOT_SEEN = ("schedule_unclear", "unread")  # findings about what could not be judged
_LEAST_DURATIONS = 3  # of which a median says anything
_FIRES = 500  # that are walked to see how close two are
_SOON = 30 * 86400.0  # seconds before which a clock change is not told of
_YEAR, _FOUR_YEARS = 366 * 86400.0, 4 * 366 * 86400.0  # seconds
_RARE = 4  # fires a day at most, of a schedule for which one more or less matters
_OUTPUT_TOOLS = frozenset(("bash", "write", "edit"))

# What a deployment that an error paused says (api.md#deployments).
PAUSED_BY = {
    "environment_archived_error": "its environment is archived",
    "environment_not_found_error": "its environment is gone",
    "agent_archived_error": "its agent is archived",
    "vault_not_found_error": "a vault is gone",
    "vault_archived_error": "a vault is archived",
    "file_not_found_error": "a file is gone",
    "session_resource_not_found_error": "a file, repository or memory store is gone",
    "memory_store_archived_error": "a memory store is archived",
    "skill_not_found_error": "a skill of its agent is gone",
    "workspace_archived_error": "the workspace is archived",
    "organization_disabled_error": "the organization is disabled",
    "self_hosted_resources_unsupported_error": "self-hosted environments take no resources and no variables",
    "mcp_egress_blocked_error": "the network of its environment does not reach an MCP server",
}

# What to change of it, by how the type of the error begins.
_CHANGE = {
    **dict.fromkeys(("environment", "self_hosted", "mcp_egress"), ("--env", "ENV")),
    **dict.fromkeys(("agent", "skill"), ("--agent", "AGENT")),
    "vault": ("--vault", "VAULT"),
}


def mended_by(error_type: str, deployment: str) -> tuple[str, ...]:
    """Return the command that mends, or shows, a deployment that an error paused, as words behind `qoder`."""
    for beginning, option in _CHANGE.items():
        if error_type.startswith(beginning):
            return ("deploy", "update", deployment, *option)
    return ("deploy", "get", deployment)


@dataclass(frozen=True)
class DeploymentFinding:
    """Something about one deployment; its fields are its JSON."""

    deployment_id: Annotated[str, "the deployment"]
    deployment_name: Annotated[str | None, "its name"]
    finding: Annotated[
        str,
        "a word for what was found, e.g. environment_archived; unread is what could not be read; more may be added",
    ]
    weight: Annotated[Weight, "problem (the next run fails or never comes), warning (it may) or note"]
    says: Annotated[str, "the same for people"]
    fix: Annotated[
        list[str], "the command that mends it, as an array of words; those in capitals are for you to fill in"
    ]


def find(
    deployment: Deployment,
    facts: Facts,
    history: History,
    *,
    now: float,
    policy: "Policy | None" = None,
    probes: bool = False,
) -> list[DeploymentFinding]:
    """Return what is to be said of a deployment, the weightiest first; `now` is the server's time.

    A `policy` answers what tools ask for; if it `probes`, the API tries OAuth credentials. The commands that mend it
    are words behind `qoder`.
    """
    checks = _Checks(deployment, facts, history, now, policy, probes)
    return sorted(checks.all(), key=lambda finding: WEIGHTS.index(finding.weight))


class _Checks(NamedTuple):
    deployment: Deployment
    facts: Facts
    history: History
    now: float
    policy: "Policy | None"
    probes: bool

    def all(self) -> Iterator[DeploymentFinding]:
        yield from self._paused()
        for name in self.deployment.unreadable:
            yield self._unread(f"its {name}", "it has another type than the API's")
        yield from self._environment()
        yield from self._agent()
        yield from self._vaults()
        yield from self._resources()
        if not self.deployment.raw.get("budget"):
            yield self._found("no_budget", "note", "no budget: a run may cost any amount", "--budget", "CREDITS")
        if self.deployment.schedule:
            yield from self._schedule()
        yield from self._failing()

    def _found(self, finding: str, weight: Weight, says: str, *fix: str) -> DeploymentFinding:
        """Return a finding. `fix` are options of `deploy update`, or a command of its own."""
        if not fix or fix[0].startswith("-"):
            fix = ("deploy", "update", self.deployment.id, *fix)
        return DeploymentFinding(self.deployment.id, self.deployment.name, finding, weight, says, list(fix))

    def _unread(self, what: str, why: str) -> DeploymentFinding:
        fix = ("deploy", "check", self.deployment.id)
        return self._found("unread", "warning", f"{what} could not be read: {why}", *fix)

    def _paused(self) -> Iterator[DeploymentFinding]:
        if self.deployment.archived_at:
            says = f"archived at {self.deployment.archived_at}: it runs no more"
            yield self._found("archived", "problem", says, "deploy", "list")
        if self.deployment.state not in ("active", "archived", "paused"):
            yield self._unread("its status", f"{self.deployment.state!r} is an unknown word")
        unpause = ("deploy", "unpause", self.deployment.id)
        if kind := self.deployment.paused_by_error:
            says = f"paused by an error ({kind})"
            if kind in PAUSED_BY:
                says += f": {PAUSED_BY[kind]}"
            yield self._found("paused_by_error", "problem", says, *unpause)
        elif self.deployment.is_paused_unexplained:
            yield self._unread("why it is paused", "the response does not say")
        elif self.deployment.state == "paused" and self.deployment.schedule:
            says = f"paused by hand since {self.deployment.raw.get('updated_at')}: its schedule does not fire"
            yield self._found("paused", "warning", says, *unpause)

    def _state_of(self, used: Thing, kind: str, called: str, *fix: str) -> Iterator[DeploymentFinding]:
        """Say that a thing is archived or gone."""
        if isinstance(used, ApiError):
            yield self._unread(called, used.message)
        elif used is None:
            yield self._found(f"{kind}_missing", "problem", f"{called} does not exist", *fix)
        elif used.get("archived_at"):
            yield self._found(f"{kind}_archived", "problem", f"{called} is archived", *fix)

    # What it refers to.

    def _environment(self) -> Iterator[DeploymentFinding]:
        id = text(self.deployment.raw.get("environment_id"))
        if id is None:
            yield self._unread("its environment", "the deployment does not name one")
            return
        environment = self.facts.environment(self.deployment.raw)
        yield from self._state_of(environment, "environment", f"environment {id}", "--env", "ENV")
        if not isinstance(environment, dict) or not is_self_hosted(environment):
            return
        work = self.facts.thing("environments", id, "/work/stats")
        if isinstance(work, ApiError):
            yield self._unread(f"the work queue of {id}", work.message)
        elif work is None or not isinstance(work.get("workers_polling"), int):
            yield self._unread(f"the work queue of {id}", "the response does not say whether a worker polls")
        elif work["workers_polling"] == 0:
            waiting = work.get("depth")
            weight: Weight = "problem"
            says = f"{waiting} work items wait in {id}, and no worker polls"
            if not isinstance(waiting, int) or waiting <= 0:
                if work.get("pending"):
                    return  # a worker that has some does not ask for more
                weight = "problem" if self.deployment.schedule else "warning"
                says = f"no worker polls {id}: a run would wait there"
            yield self._found("self_hosted_no_worker", weight, says, "env", "work", "list", id)

    def _agent(self) -> Iterator[DeploymentFinding]:
        pinned, id = mapping(self.deployment.raw.get("agent")), agent_id(self.deployment.raw)
        if id is None:
            yield self._unread("its agent", "the deployment does not name one")
            return
        latest, agent = self.facts.thing("agents", id), self.facts.agent(self.deployment.raw)
        yield from self._state_of(latest, "agent", f"agent {id}", "--agent", "AGENT")
        if not isinstance(latest, dict):
            return
        version, newest = pinned.get("version"), latest.get("version")
        if isinstance(version, int) and isinstance(newest, int) and version < newest:
            says = f"agent {id} is pinned at version {version}; the latest is {newest}"
            yield self._found("agent_behind", "note", says, "--agent", f"{id}@{newest}")
        if agent is not latest:
            yield from self._state_of(agent, "agent", f"version {version} of agent {id}", "--agent", id)
        if isinstance(agent, dict):
            yield from self._skills(agent)
            yield from self._roster(agent)
            yield from self._tools(agent)
            yield from self._servers(agent)

    def _skills(self, agent: Raw) -> Iterator[DeploymentFinding]:
        for skill in custom_skills(agent):
            id, version = text(skill.get("skill_id")) or "", text(skill.get("version"))
            called = f"skill {id}" + (f" version {version}" if version else "")
            pinned = "" if version in (None, "latest") else f"/versions/{segment(str(version))}"
            fix = ("agent", "update", str(agent["id"]), "--skill", id)
            shown = self.facts.thing("skills", str(skill.get("skill_id")), pinned)
            yield from self._state_of(shown, "skill", called, *fix)

    def _roster(self, agent: Raw) -> Iterator[DeploymentFinding]:
        """Say which agents that may work for this one are archived or gone."""
        fix = ("agent", "update", str(agent["id"]), "--file", "FILE")
        for agent_or_id in array(mapping(agent.get("multiagent")).get("agents")):
            member = mapping(agent_or_id) or {"id": agent_or_id}
            id, version = text(member.get("id")), member.get("version")
            if id is None or id == agent.get("id"):
                continue  # it itself may be among them
            latest, pinned = self.facts.thing("agents", id), self.facts.agent({"agent": member})
            yield from self._state_of(latest, "roster_agent", f"roster agent {id}", *fix)
            if pinned is not latest:
                yield from self._state_of(pinned, "roster_agent", f"version {version} of roster agent {id}", *fix)

    def _tools(self, agent: Raw) -> Iterator[DeploymentFinding]:
        tools = [tool for tool in map(mapping, array(agent.get("tools"))) if tool]
        change = ("agent", "update", str(agent["id"]))
        if not tools:
            yield self._found("no_tools", "note", f"agent {agent['id']} has no tools", *change, "--tools", "all")
        elif not any(map(_leaves_output, tools)):
            says = f"agent {agent['id']} has no tool that leaves anything but its final message"
            yield self._found("no_output_tool", "note", says, *change, "--tools", "all")
        if not self.deployment.schedule:
            return
        undecided = (called for called, tool in _asking(tools) if not self._is_decided(*tool))
        if asking := list(dict.fromkeys(undecided)):
            listed = ", ".join(asking[:4]) + (", …" if len(asking) > 4 else "")
            says = f"a scheduled run waits for a person when its agent uses: {listed}"
            yield self._found("will_ask", "warning", says, *change, "--ask", "none")

    def _is_decided(self, kind: str, name: str, server: str | None) -> bool:
        """Return whether the policy has a rule about a tool in this deployment's runs."""
        if self.policy is None:
            return False
        from qoder_cli.policy.deciding import has_rule_about

        called = list(filter(None, (self.deployment.id, self.deployment.name)))
        return has_rule_about(self.policy, kind, name, server, deployment=called)

    def _servers(self, agent: Raw) -> Iterator[DeploymentFinding]:
        tools = map(mapping, array(agent.get("tools")))
        used = {tool.get("mcp_server_name") for tool in tools if tool.get("type") == "mcp_toolset"}
        environment = self.facts.environment(self.deployment.raw)
        for server in map(mapping, array(agent.get("mcp_servers"))):
            url, name = text(server.get("url")), str(server.get("name"))
            if name not in used:
                continue
            if url is None:
                yield self._unread(f"the URL of the MCP server {name}", "the agent does not say it")
                continue
            if isinstance(environment, dict) and not _reaches(environment, url, is_mcp=True):
                host = _host(url) or url
                says = f"the network of {environment['id']} does not reach {host}, the MCP server {name}"
                fix = ("env", "update", str(environment["id"]), "--allow-host", host)
                yield self._found("mcp_egress", "problem", says, *fix)
            yield from self._credential_of(name, url)

    def _credential_of(self, server: str, url: str) -> Iterator[DeploymentFinding]:
        """Say what is wrong with the credential for an MCP server, whose URL must be exactly that of the agent."""
        vaults = [str(vault) for vault in array(self.deployment.raw.get("vault_ids"))]
        rows = list[tuple[str, Raw]]()
        for vault in vaults:
            credentials = self.facts.credentials(vault)
            if isinstance(credentials, ApiError):
                return  # said of the vault
            rows += [(vault, row) for row in credentials]
        of_servers = [(vault, row, text(mapping(row.get("auth")).get("mcp_server_url"))) for vault, row in rows]
        fitting = [(vault, row) for vault, row, its in of_servers if its == url]
        valid = [(vault, row) for vault, row in fitting if not text(row.get("archived_at"))]
        usable = [(vault, row) for vault, row in valid if not _expires_by(row, self.now)]
        if any(not _expires_by(row, self._next_run) for _, row in usable):
            return
        if fitting:
            vault, row = (usable or fitting)[0]
            finding, why = "credential_invalid", "has expired and cannot be renewed"
            if usable:
                at = mapping(row.get("auth")).get("expires_at")
                finding, why = "credential_expires", f"expires before the next run ({at}) and cannot be renewed"
            elif text(row.get("archived_at")):
                why = "is archived"
            says = f"credential {row['id']} for the MCP server {server} {why}"
            yield self._found(finding, "problem", says, "vault", "put", vault, server, "--mcp", url)
            return
        near = next((its for _, _, its in of_servers if its and _host(its) == _host(url)), None)
        put = ("vault", "put", vaults[0] if vaults else "VAULT", server, "--mcp", url)
        weight: Weight = "warning"
        says = f"no credential for {url}: the MCP server {server} is asked without one"
        if near is not None:
            weight = "problem"
            says = f"no credential for {url}, the MCP server {server}: one is for {near}, but the URL must be the same"
        yield self._found("credential_missing", weight, says, *put)

    def _vaults(self) -> Iterator[DeploymentFinding]:
        environment = self.facts.environment(self.deployment.raw)
        for vault in map(str, array(self.deployment.raw.get("vault_ids"))):
            yield from self._state_of(self.facts.thing("vaults", vault), "vault", f"vault {vault}", "--vault", "VAULT")
            credentials = self.facts.credentials(vault)
            if isinstance(credentials, ApiError):
                yield self._unread(f"the credentials of vault {vault}", credentials.message)
                continue
            if self.probes:
                yield from self._oauth(vault, credentials)
            if isinstance(environment, dict):
                yield from self._hosts(environment, credentials)

    def _oauth(self, vault: str, credentials: Iterable[Raw]) -> Iterator[DeploymentFinding]:
        """Have the API try OAuth credentials; say what is invalid, or could not be tried."""
        fix = ("vault", "check", vault)
        for credential in credentials:
            if mapping(credential.get("auth")).get("type") != "mcp_oauth" or credential.get("archived_at"):
                continue
            called = f"credential {credential['id']}"
            validation = self.facts.validated(vault, str(credential["id"]))
            if isinstance(validation, ApiError):
                yield self._found("unread", "warning", f"{called} could not be tried: {validation.message}", *fix)
            elif validation["status"] == "invalid":
                says = f"{called} is invalid ({why_invalid(validation)})"
                yield self._found("credential_invalid", "problem", says, *fix)
            elif validation["status"] != "valid":
                says = f"cannot tell whether {called} is valid ({why_invalid(validation)})"
                yield self._found("unread", "warning", says, *fix)

    def _hosts(self, environment: Raw, credentials: Iterable[Raw]) -> Iterator[DeploymentFinding]:
        for credential in credentials:
            auth = mapping(credential.get("auth"))
            network = mapping(auth.get("networking"))
            hosts = [str(host) for host in array(network.get("allowed_hosts"))]
            if text(credential.get("archived_at")) or network.get("type") != "limited" or not hosts:
                continue
            if not any(_reaches(environment, f"https://{host.removeprefix('*.')}", is_mcp=False) for host in hosts):
                secret, only = auth.get("secret_name"), ", ".join(hosts)
                says = f"{secret} is only sent to {only}, which {environment['id']} does not reach"
                fix = ("env", "update", str(environment["id"]), "--allow-host", hosts[0])
                yield self._found("hosts", "warning", says, *fix)

    def _resources(self) -> Iterator[DeploymentFinding]:
        export = ("export", self.deployment.id)
        for resource in map(mapping, array(self.deployment.raw.get("resources"))):
            file, store = text(resource.get("file_id")), text(resource.get("memory_store_id"))
            if store is not None:
                shown = self.facts.thing("memory_stores", store)
                yield from self._state_of(shown, "memory_store", f"memory store {store}", *export)
            if file is not None:
                shown = self.facts.thing("files", file)
                yield from self._state_of(shown, "file", f"file {file}", *export)
                expiry = shown.get("expires_at") if isinstance(shown, dict) else None
                if expiry and unix(expiry) is None:
                    yield self._unread(f"when file {file} expires", f"{expiry!r} is not a time")
                elif (unix(expiry) or inf) <= self._next_run:
                    says = f"file {file} expires before the next run: {expiry}"
                    yield self._found("file_expires", "problem", says, *export)

    # Its schedule.

    def _fires(self, *, until: float, count: int) -> Sequence[float]:
        with suppress(ValueError):
            return cron.upcoming(self.deployment.schedule, after=self.now, until=until, count=count)
        return ()

    @property
    def _next_run(self) -> float:
        """When its schedule fires next within four years; now, if it does not."""
        return next(iter(self._fires(until=self.now + _FOUR_YEARS, count=1)), self.now)

    def _schedule(self) -> Iterator[DeploymentFinding]:
        expression = text(self.deployment.schedule.get("expression")) or ""
        change = ("--schedule", "CRON")
        try:
            meant, zone = cron.parse(expression), cron.zone(text(self.deployment.schedule.get("timezone")) or "")
        except ValueError as error:
            yield self._found("schedule_unclear", "warning", f"cannot tell when it fires: {error}", *change)
            return
        if not self._fires(until=self.now + _FOUR_YEARS, count=1):
            says = f"its schedule '{expression}' does not fire within four years"
            yield self._found("never_fires", "problem", says, *change)
            return
        if len(meant.hours) * len(meant.minutes) <= _RARE:
            for says in _turned(meant, zone, self.now):
                yield self._found("dst", "warning", says, *change)
        completed = [run for run in self.history.runs if run.status == "completed"]
        took = [run.duration_ms for run in completed if run.duration_ms is not None]
        fires = self._fires(until=self.now + _YEAR, count=_FIRES)
        gap = min((later - earlier for earlier, later in pairwise(fires)), default=None)
        if gap is not None and len(took) >= _LEAST_DURATIONS and gap * 1000 < median(took):
            takes = f"{span(median(took) / 1000)} (median of {len(took)})"
            says = f"fires {span(gap)} after the fire before, but its runs take {takes}"
            yield self._found("too_often", "warning", says, *change)

    def _failing(self) -> Iterator[DeploymentFinding]:
        if self.history.unread is not None:
            yield self._unread("how its last runs ended", self.history.unread.message)
        newest = self.history.runs[:RUNS_JUDGED]
        if len(newest) == RUNS_JUDGED and all(run.status and verdict(run) is Exit.RUN_FAILED for run in newest):
            kinds = ", ".join(dict.fromkeys(run.error_type or "unknown_error" for run in newest))
            says = f"its last {RUNS_JUDGED} runs failed ({kinds})"
            yield self._found("failing", "problem", says, "run", "logs", newest[0].id)


def _expires_by(credential: Raw, at: float) -> bool:
    """Return whether an OAuth credential has ended by a time and nothing renews it."""
    auth = mapping(credential.get("auth"))
    expires = unix(auth.get("expires_at"))
    is_over = auth.get("type") == "mcp_oauth" and expires is not None and expires <= at
    return is_over and not mapping(auth.get("refresh"))


def _host(url: str) -> str:
    """Return the host of a URL, in lowercase; empty if it has none."""
    return getattr(server_url(url), "hostname", None) or ""


def _reaches(environment: Raw, url: str, *, is_mcp: bool) -> bool:
    """Return whether an environment's network lets its sessions reach a URL; without one it is limited."""
    config = mapping(environment.get("config"))
    network = mapping(config.get("networking"))
    if is_self_hosted(environment) or network.get("type") == "unrestricted":
        return True
    if is_mcp and network.get("allow_mcp_servers") is True:
        return True
    host = _host(url)
    allowed = [str(pattern).lower() for pattern in array(network.get("allowed_hosts"))]
    return any(
        host == pattern or (pattern.startswith("*.") and host.endswith(pattern[1:])) or pattern == "*"
        for pattern in allowed
    )


def _policy(config: Raw) -> str | None:
    return text(mapping(config.get("permission_policy")).get("type"))


def _asking(tools: Iterable[Raw]) -> Iterator[tuple[str, tuple[str, str, str | None]]]:
    """Yield which tools wait for an answer (api.md#agents): in words, and by kind, name and server."""
    for tool in tools:
        server = text(tool.get("mcp_server_name"))
        if tool.get("type") == "custom":
            name = text(tool.get("name")) or "custom"
            yield name, ("custom", name, None)
            continue
        kind = "mcp" if tool.get("type") == "mcp_toolset" else "tool"
        for config in map(mapping, array(tool.get("configs"))):
            if config.get("enabled") is not False and _policy(config) == "always_ask":
                name = text(config.get("name")) or "?"
                yield name, (kind, name, server)
        if _policy(mapping(tool.get("default_config"))) == "always_ask":
            yield f"any tool of {server or 'its toolset'}", ("any", "", server)


def _leaves_output(tool: Raw) -> bool:
    if not str(tool.get("type")).startswith("agent_toolset"):
        return True  # an MCP server, a browser or a tool of one's own may
    configs = map(mapping, array(tool.get("configs")))
    disabled = [config.get("name") for config in configs if config.get("enabled") is False]
    refused = {str(name).lower() for name in (*disabled, *array(tool.get("disallowed_tools")))}
    enabled = {str(name).lower() for name in array(tool.get("enabled_tools"))} or _OUTPUT_TOOLS
    return bool((_OUTPUT_TOOLS & enabled) - refused)


def _turned(meant: cron.Cron, zone: tzinfo, now: float) -> Iterator[str]:
    """Say which fires of the next 30 days are at a time that the clocks of a zone leave out, or show twice."""
    shown = datetime.fromtimestamp(now, zone).replace(tzinfo=UTC).timestamp()
    for at in takewhile(lambda at: at <= shown + _SOON, meant.fires(after=shown, zone=UTC)):
        wall = datetime.fromtimestamp(at, UTC).replace(tzinfo=None)
        first, again = (wall.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
        if datetime.fromtimestamp(first, zone).replace(tzinfo=None) != wall:
            yield f"does not fire on {wall:%Y-%m-%d}: there is no {wall:%H:%M} that day, as the clocks change"
        elif again > first:
            yield f"may fire twice on {wall:%Y-%m-%d}: {wall:%H:%M} comes twice that day, as the clocks change"
