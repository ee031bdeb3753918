"""What changed since a deployment last worked: a run beside the last one before it that completed.

A change is never called the cause: the server keeps what was set, not why a run ended. What it keeps no history of is
`unknown`. Requests are bounded: what none was left for is unknown, too.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count, islice, pairwise
from typing import Annotated, Any, NamedTuple

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, Unavailable
from qoder_cli.base.ids import segment
from qoder_cli.base.jsontext import dump
from qoder_cli.base.model import Deployment, Raw, Run, array, created_at, mapping, text
from qoder_cli.base.outcome import Standing, event_at, is_going, standing, waits_for_answer
from qoder_cli.base.times import descend, unix, utc_text
from qoder_cli.base.tokens import without_tokens
from qoder_cli.base.words import counted, few, shortened
from qoder_cli.deployments.facts import Facts, custom_skills
from qoder_cli.deployments.findings import NOT_SEEN, PAUSED_BY, DeploymentFinding, History, find, mended_by
from qoder_cli.history.listed import Resolver, pages_of_runs
from qoder_cli.history.records import outcome_of
from qoder_cli.local.outcomes import KeptOutcomes
from qoder_cli.nouns.edits.difference import FieldChange, Secrets, differing, lines_of
from qoder_cli.nouns.edits.forms import form_of
from qoder_cli.nouns.parts import assignments
from qoder_cli.nouns.table import NOUNS
from qoder_cli.runs.observe import any_observer
from qoder_cli.sessions.log import is_last, message_text
from qoder_cli.sessions.result import final_message

_MOST_READS = 17  # the run, its list and what it said last are up to 8 more
_TOO_MANY = Unavailable("not looked at: that would take too many requests")
_MOST_ASKED = 15  # runs whose ending only their session knows
_AT_ONCE = 4  # of them
_MOST_PAGES = 2  # of a hundred runs
_MOST_LINES = 40  # of a difference
_LONGEST = 300  # characters of a message
_LISTED = 5
_MONTH, _HOUR = 30 * 86400.0, 3600.0  # seconds
_ADDED = ("id", "created_at", "updated_at")  # to the resources of a session
_SET = ("agent", "model", "prompt", "environment", "variables", "vaults", "resources", "budget")  # by a deployment


@dataclass(frozen=True)
class SinceChange:
    """Something that is not as it was when the deployment last worked."""

    what: Annotated[
        str, "agent, model, prompt, deployment, environment, variables, vaults, credential, skill, memory, …"
    ]
    id: Annotated[str | None, "its id, if it has one"]
    says: Annotated[str, "what changed, for people"]
    at: Annotated[str | None, "when, if the server says so"]
    source: Annotated[str, "where that was read"]
    lines: Annotated[list[str], "the difference, line by line"] = field(default_factory=list)


@dataclass(frozen=True)
class Unknown:
    """Something of which it cannot be told whether it changed."""

    what: Annotated[str, "as in `changed`"]
    says: Annotated[str, "what is unknown, and why"]
    source: Annotated[str, "where it was looked for"]


@dataclass(frozen=True)
class Recurrence:
    """How often a deployment's runs failed with one error in 30 days, of those whose ending is known."""

    failed: Annotated[int, "runs with this error"]
    runs: Annotated[int, "runs whose ending is known"]
    unknown: Annotated[int, "runs whose ending was not asked for"]
    ended_by: Annotated[str | None, "the run that completed after it came before, if any"]
    source: Annotated[str, "where that was read"]


@dataclass(frozen=True)
class Why:
    """How a run ended, and what changed since its deployment last worked."""

    run: Annotated[str, "the run"]
    deployment: Annotated[str | None, "its deployment"]
    deployment_name: Annotated[str | None, "the deployment's name"]
    status: Annotated[str | None, "how it stands, null if unknown"]
    created_at: Annotated[str | None, "when it was created"]
    ended_at: Annotated[str | None, "when it ended, if it did"]
    error_type: Annotated[str | None, "the type of its error, if any"]
    message: Annotated[str | None, "the first line of its error, if any"]
    last_message: Annotated[str | None, "what its agent said last, if anything"]
    compared_with: Annotated[str | None, "the run before it that completed last, null if none was seen"]
    compared_at: Annotated[str | None, "when that was created"]
    runs_before: Annotated[int, "runs before it that were looked at"]
    is_whole: Annotated[bool, "whether these are all runs before it, with their endings"]
    changed: Annotated[list[SinceChange], "what is not as it was then"]
    unknown: Annotated[list[Unknown], "what may have changed: nothing tells"]
    recurrence: Annotated[Recurrence | None, "how often this error came, null without an error"]
    elsewhere: Annotated[
        dict[str, int], "runs by deployment: other deployments that failed with this error within an hour"
    ]
    check: Annotated[list[DeploymentFinding], "problems of its deployment now, as of `deploy check`"]
    next_because: Annotated[str, "why the next command is that one"]
    next: Annotated[list[str], "the command that is most likely next, as an array of words"]


def why(app: App, run_id: str) -> Why:
    """Return how a run ended, and what changed since. Raises ApiError where the run cannot be read."""
    with app.progress.waiting("comparing it with the last run that completed", leaving="nothing is changed"):
        return _Comparison(app, any_observer(app, run_id).read_once()).made()


class Next(NamedTuple):
    """A command, and why that one."""

    why: str
    command: list[str]


class _Pin(NamedTuple):
    id: str | None
    version: Any


class _Reads(Facts):
    """Reads things as `Facts` do, but so many at most."""

    def __init__(self, app: App) -> None:
        super().__init__(app)
        self._requests = count(1)

    def _get(self, path: str) -> Any:
        return _TOO_MANY if next(self._requests) > _MOST_READS else super()._get(path)

    def _list_credentials(self, vault: str) -> list[Raw] | ApiError:
        return _TOO_MANY if next(self._requests) > _MOST_READS else super()._list_credentials(vault)

    def credentials(self, vault: str) -> list[Raw] | ApiError:
        if vault not in self._credentials:
            self._credentials[vault] = self._list_credentials(vault)
        return self._credentials[vault]

    def page(self, path: str, query: Mapping[str, Any]) -> tuple[list[Raw], bool]:
        """Return the first page of a list, and whether that is all. Raises ApiError."""
        if next(self._requests) > _MOST_READS:
            raise _TOO_MANY
        page: Raw = next(self._app.client.pages(path, {"limit": 100, **query}), {"data": []})
        return list(map(mapping, page["data"])), is_last(page)


class _Comparison:
    """A run beside the last one before it that completed."""

    def __init__(self, app: App, run: Run) -> None:
        self._app = app
        self._run = run
        self._reads = _Reads(app)
        self._unknown: list[Unknown] = []
        self._before: list[Run] = []  # runs of its deployment before it, newest first, their status filled in
        self._is_whole = True
        self._began = run.created or app.client.server_now()
        self._ended = unix(run.completed_at) or app.client.server_now()
        self._worked = 0.0  # when the run began that completed
        self._agent_then = ""  # its agent, as `deploy update --agent` takes it

    def made(self) -> Why:
        run, app = self._run, self._app
        completed = self._last_completed()
        session = self._session(run)
        deployment = self._deployment()
        given = session or (deployment.raw if deployment else {})
        changed: list[SinceChange] = []
        if completed is not None:
            self._worked = completed.created or 0.0
            changed += self._of_settings(completed, given)
            changed += self._of_things(given)
            changed += self._of_deployment(deployment, changed)
        problems = self._problems(deployment)
        elsewhere = self._elsewhere()
        follows = self._next(changed, problems, given)
        return Why(
            run=run.id,
            deployment=run.deployment_id,
            deployment_name=deployment.name if deployment else app.seen_names.name_of(run.deployment_id),
            status=run.status,
            created_at=_time(run.created),
            ended_at=run.completed_at,
            error_type=run.error_type,
            message=self._first_line(run.error_message),
            last_message=self._last_message(),
            compared_with=completed.id if completed else None,
            compared_at=_time(completed.created) if completed else None,
            runs_before=len(self._before),
            is_whole=self._is_whole and all(run.status for run in self._before),
            changed=changed,
            unknown=self._unknown,
            recurrence=self._recurrence(),
            elsewhere=elsewhere,
            check=problems,
            next_because=follows.why,
            next=follows.command,
        )

    def _first_line(self, message: str | None) -> str | None:
        lines = self._app.client.veil(message).strip().splitlines() if message else []
        return shortened(without_tokens(lines[0]), _LONGEST) if lines else None

    def _cannot_tell(self, what: str, says: str, source: str) -> None:
        self._unknown.append(Unknown(what, says, source))

    # What is compared.

    def _last_completed(self) -> Run | None:
        """Return the last run before it that completed, and keep what is known of all that were listed."""
        run, resolver, completed = self._run, Resolver(self._app, most=_MOST_ASKED), None
        if run.deployment_id is None:
            return None
        pages = pages_of_runs(self._app.client, run.deployment_id)
        try:
            for page in islice(pages, _MOST_PAGES):
                older = [other for other in page if other.id != run.id and (other.created or 0.0) <= self._began]
                while older and completed is None:
                    part, older = older[:_AT_ONCE], older[_AT_ONCE:]
                    self._before += resolver.runs([other.raw for other in part])
                    completed = next((other for other in self._before if other.status == "completed"), None)
                known = resolver.kept.outcomes_of(older)
                self._before += [known[other.id].of(other) if other.id in known else other for other in older]
                if completed is not None:
                    break
            self._is_whole = next(pages, None) is None
        except ApiError as error:
            self._is_whole = False
            self._cannot_tell(
                "runs", f"earlier runs could not be read: {error.message}", f"runs of {run.deployment_id}"
            )
        return completed

    def _session(self, run: Run) -> Raw:
        """Return the session of a run as it is shown; empty if it has none, or cannot be read."""
        if run.session_id is None:
            return {}
        session = self._reads.thing("sessions", run.session_id)
        if isinstance(session, dict):
            return session
        why = "it was deleted" if session is None else session.message
        self._cannot_tell("session", f"what run {run.id} was given: {why}", f"session {run.session_id}")
        return {}

    def _deployment(self) -> Deployment | None:
        id = self._run.deployment_id
        shown = None if id is None else self._reads.thing("deployments", id)
        if isinstance(shown, dict):
            return Deployment.read(shown)
        if id is not None:
            self._cannot_tell("deployment", "it is gone" if shown is None else shown.message, f"deployment {id}")
        return None

    def _is_between(self, at: float | None) -> bool:
        """Return whether a time is after the run that completed began, and before this one ended."""
        return at is not None and self._worked < at <= self._ended

    # What a run is given, as it was then and is now.

    def _of_settings(self, completed: Run, now: Raw) -> Iterator[SinceChange]:
        then = self._session(completed)
        agent = _pin(completed, then)
        self._agent_then = f"{agent.id}@{agent.version}"
        yield from self._agent(agent, _pin(self._run, now), mapping(then.get("agent")), now)
        if not then or not now:
            return
        yield from self._prompt(completed)
        source = f"{_called(then)} and {_called(now)}"
        environments = text(then.get("environment_id")), text(now.get("environment_id"))
        if environments[0] != environments[1]:
            yield SinceChange("environment", environments[1], f"{environments[0]} → {environments[1]}", None, source)
        variables = [_variables(settings.get("environment_variables")) for settings in (then, now)]
        if names := [
            name for name in {**variables[0], **variables[1]} if variables[0].get(name) != variables[1].get(name)
        ]:
            yield SinceChange("variables", None, few(names, _LISTED), None, source)
        for what, name in (("vaults", "vault_ids"), ("resources", "resources"), ("budget", "budget")):
            before, after = _comparable(then.get(name)), _comparable(now.get(name))
            if before != after:
                lines = lines_of(FieldChange(name, before, after), Secrets())[:_MOST_LINES]
                yield SinceChange(what, None, f"the {what} of its runs", None, source, lines)

    def _agent(self, then: _Pin, now: _Pin, snapshot: Raw, given: Raw) -> Iterator[SinceChange]:
        if None in (then.id, now.id):
            return self._cannot_tell("agent", "the runs do not say which it was", "the runs")
        if then.id != now.id:
            yield SinceChange("agent", now.id, f"{then.id} → {now.id}", None, "the runs")
            return
        before, after = snapshot, mapping(given.get("agent"))
        if then.version != now.version:
            before, after = (self._version(now.id or "", version) for version in (then.version, now.version))
        fields = self._differing_fields(before, after) if before and after else []
        if then.version != now.version:
            says = f"version {then.version} → {now.version}"
            if fields:
                says += ": " + ", ".join(dict.fromkeys(change.field for change in fields))
            lines = [line for change in fields for line in lines_of(change, Secrets())]
            at = text(after.get("updated_at")) or text(after.get("created_at"))
            yield SinceChange("agent", now.id, says, at, f"versions of {now.id}", lines[:_MOST_LINES])
            return
        for change in fields:
            what = "model" if change.field == "model" else "agent"
            source = "the sessions of the runs"
            yield SinceChange(what, now.id, change.field, None, source, lines_of(change, Secrets())[:_MOST_LINES])

    def _version(self, agent: str, version: Any) -> Raw:
        read = self._reads.version(agent, version)
        if isinstance(read, dict):
            return read
        why = "it is gone" if read is None else read.message
        self._cannot_tell("agent", f"what version {version} was: {why}", f"versions of {agent}")
        return {}

    def _differing_fields(self, before: Raw, after: Raw) -> list[FieldChange]:
        form = form_of(NOUNS["agent"])
        names = form.settable(before).keys() & form.settable(after).keys() & before.keys() & after.keys()
        was, now = ({name: form.settable(settings)[name] for name in sorted(names)} for settings in (before, after))
        return list(differing(form, form.normal(now), form.normal(was)))

    def _prompt(self, completed: Run) -> Iterator[SinceChange]:
        """Tell whether the first message differs."""
        texts = []
        for run in (completed, self._run):
            if run.session_id is None:
                return
            try:
                events, is_all = self._reads.page(f"/sessions/{segment(run.session_id)}/events", {"order": "asc"})
            except ApiError as error:
                return self._cannot_tell("prompt", error.message, f"events of {run.session_id}")
            times = [at for at in map(event_at, events) if at is not None]
            first = next((event for event in events if event.get("type") == "user.message"), None)
            if first is None or (descend(times) and not is_all):
                return self._cannot_tell("prompt", "the first message is not shown", f"events of {run.session_id}")
            texts.append(message_text(first))
        if texts[0] != texts[1]:
            source = f"events of {completed.session_id} and {self._run.session_id}"
            lines = lines_of(FieldChange("message", texts[0], texts[1]), Secrets())[:_MOST_LINES]
            yield SinceChange("prompt", None, "the first message", None, source, lines)

    # What runs refer to, which others may have changed meanwhile.

    def _of_things(self, given: Raw) -> Iterator[SinceChange]:
        if environment := text(given.get("environment_id")):
            yield from self._touched("environment", "environments", environment)
        for vault in map(str, array(given.get("vault_ids"))):
            yield from self._credentials(vault)
        for skill in custom_skills(mapping(given.get("agent"))):
            if text(skill.get("version")) in (None, "latest"):
                yield from self._touched("skill", "skills", str(skill.get("skill_id")))
        for resource in map(mapping, array(given.get("resources"))):
            if store := text(resource.get("memory_store_id")):
                yield from self._memory(store)
            if file := text(resource.get("file_id")):
                yield from self._touched("file", "files", file)

    def _touched(self, what: str, kind: str, id: str) -> Iterator[SinceChange]:
        """Tell of a thing of which no history is kept, but when it was changed last."""
        shown, source = self._reads.thing(kind, id), f"{what} {id}"
        if shown is None:
            yield SinceChange(what, id, "it does not exist any more", None, source)
            return
        if isinstance(shown, ApiError):
            return self._cannot_tell(what, f"{id}: {shown.message}", source)
        for name, says in (("archived_at", "archived"), ("updated_at", "changed")):
            at = unix(shown.get(name))
            if self._is_between(at):
                kept = "" if name == "archived_at" else "; what it was is not kept"
                yield SinceChange(what, id, f"{says} at {shown[name]}{kept}", text(shown[name]), source)
                return
            if at is not None and at > self._ended:
                why = f"{id}: {says} at {shown[name]}, after the run; whether also before is not kept"
                return self._cannot_tell(what, why, source)

    def _credentials(self, vault: str) -> Iterator[SinceChange]:
        rows, source = self._reads.credentials(vault), f"credentials of {vault}"
        if isinstance(rows, ApiError):
            return self._cannot_tell("credential", f"{vault}: {rows.message}", source)
        for row in rows:
            auth = mapping(row.get("auth"))
            moments = [("expired", auth.get("expires_at")), ("archived", row.get("archived_at"))]
            moments += [("added", row.get("created_at")), ("changed", row.get("updated_at"))]
            for says, at in moments:
                if self._is_between(unix(at)):
                    called = text(row.get("display_name")) or text(auth.get("mcp_server_url")) or ""
                    yield SinceChange(
                        "credential", text(row.get("id")), f"{called} {says} at {at}".strip(), text(at), source
                    )
                    break

    def _memory(self, store: str) -> Iterator[SinceChange]:
        """Tell which entries other sessions, or people, wrote."""
        path, source = f"/memory_stores/{segment(store)}/memory_versions", f"memory versions of {store}"
        try:
            rows, is_all = self._reads.page(path, {})
        except ApiError as error:
            return self._cannot_tell("memory", f"{store}: {error.message}", source)
        times = [at for row in rows if (at := created_at(row)) is not None]
        if not is_all and not (descend(times) and times[-1] <= self._worked):
            self._cannot_tell("memory", f"{store}: more was written than one page shows", source)
        for row in rows:
            by = mapping(row.get("created_by"))
            session = text(by.get("session_id"))
            if not self._is_between(created_at(row)) or session == self._run.session_id:
                continue
            whom = f"session {session}" if session else text(by.get("type")) or "somebody"
            says = f"{row.get('path') or row.get('memory_id')} {row.get('operation')} by {whom} at {row['created_at']}"
            yield SinceChange("memory", text(row.get("memory_id")), says, text(row["created_at"]), source)

    def _of_deployment(self, deployment: Deployment | None, changed: Sequence[SinceChange]) -> Iterator[SinceChange]:
        """Tell that a deployment was changed, where nothing shows what of it."""
        raw = deployment.raw if deployment else {}
        if self._is_between(unix(raw.get("updated_at"))) and not any(change.what in _SET for change in changed):
            says = f"changed at {raw['updated_at']}; what it was is not kept"
            yield SinceChange(
                "deployment", text(raw.get("id")), says, text(raw["updated_at"]), f"deployment {raw.get('id')}"
            )

    # What else is known.

    def _recurrence(self) -> Recurrence | None:
        """Return how often the error of this run came in 30 days."""
        kind = self._run.error_type
        if kind is None:
            return None
        recent = [run for run in self._before if (run.created or 0.0) > self._began - _MONTH]
        known = [run for run in (self._run, *recent) if outcome_of(run) != "unknown" and not is_going(run)]
        ended_by = None
        for newer, older in pairwise(known[1:]):
            if ended_by is None and newer.status == "completed" and older.error_type == kind:
                ended_by = newer.id
        failed = sum(run.error_type == kind for run in known)
        unknown = len(recent) + 1 - len(known)
        return Recurrence(failed, len(known), unknown, ended_by, f"runs of {self._run.deployment_id}")

    def _elsewhere(self) -> dict[str, int]:
        """Return how many runs of other deployments failed with this error within an hour, by deployment."""
        kind, around = self._run.error_type, (self._began - _HOUR, self._ended + _HOUR)
        if kind is None:
            return {}
        query = {"created_at[gte]": _time(around[0]), "created_at[lte]": _time(around[1])}
        try:
            rows, is_all = self._reads.page("/deployment_runs", query)
        except ApiError as error:
            self._cannot_tell("other deployments", error.message, "runs of all deployments")
            return {}
        others = [
            run for run in map(Run.read, rows) if run and run.deployment_id not in (None, self._run.deployment_id)
        ]
        others = [run for run in others if around[0] <= (run.created or 0.0) <= around[1]]
        known = KeptOutcomes(self._app.store, self._app.settings, self._app.client.server_now).outcomes_of(others)
        others = [known[run.id].of(run) if run.id in known else run for run in others]
        unread = sum(run.session_id is not None and standing(run) is Standing.ASK_SESSION for run in others)
        if unread or not is_all:
            says = f"how {counted(unread, 'run')} of that hour ended was not asked" if unread else "the list was cut"
            self._cannot_tell("other deployments", says, "runs of all deployments")
        return dict(Counter(run.deployment_id or "" for run in others if run.error_type == kind))

    def _last_message(self) -> str | None:
        if self._run.session_id is None or is_going(self._run):
            return None
        try:
            return self._first_line(final_message(self._app, self._run))
        except ApiError as error:
            self._cannot_tell("last message", error.message, f"events of {self._run.session_id}")
            return None

    def _problems(self, deployment: Deployment | None) -> list[DeploymentFinding]:
        """Return the problems that the deployment has now."""
        if deployment is None:
            return []
        self._reads.prepare([deployment.raw])
        runs = [run for run in (self._run, *self._before) if run.status and not is_going(run)]
        findings = find(deployment, self._reads, History(runs), now=self._app.client.server_now())
        if any(finding.finding in NOT_SEEN for finding in findings):
            source = f"qoder deploy check {deployment.id}"
            self._cannot_tell("check", "not all that the deployment refers to was read", source)
        problems = [finding for finding in findings if finding.weight == "problem" and finding.finding != "failing"]
        return [replace(problem, fix=[self._app.program, *problem.fix]) for problem in problems]

    def _next(self, changed: Sequence[SinceChange], problems: Sequence[DeploymentFinding], given: Raw) -> Next:
        """Return the command that is most likely next, and why."""
        run, program = self._run, self._app.program
        agent = next((change for change in changed if change.what == "agent" and " → " in change.says), None)
        if is_going(run):
            if waits_for_answer(run):
                return Next("it waits for you", [program, "run", "pending", run.id])
            return Next("it is still running", [program, "run", "wait", run.id])
        if run.status == "completed":
            return Next("see what it left", [program, "run", "result", run.id])
        if problems:
            return Next("mend this first", problems[0].fix)
        if run.session_id is None and run.error_type in PAUSED_BY and run.deployment_id:
            return Next("mend this first", [program, *mended_by(run.error_type, run.deployment_id)])
        if "authentication" in (run.error_type or "") and (vaults := array(given.get("vault_ids"))):
            return Next("look at its credentials", [program, "vault", "check", str(vaults[0])])
        if agent is not None and run.deployment_id:
            back = [program, "deploy", "update", run.deployment_id, "--agent", self._agent_then]
            return Next("to go back to the agent of then", back)
        if changed:
            return Next("see what it did", [program, "run", "logs", run.id])
        return Next("nothing changed: start it once more", [program, "run", "retry", run.id])


def _pin(run: Run, given: Raw) -> _Pin:
    """Return the agent of a run, as it says, or as what it was given says."""
    agent = mapping(run.raw.get("agent")) or mapping(given.get("agent"))
    return _Pin(text(agent.get("id")) or text(given.get("agent")), agent.get("version"))


def _variables(value: Any) -> dict[str, str]:
    """Return variables by name: an object in a session, text in a deployment (api.md#sessions)."""
    if isinstance(value, str):
        return dict(assignments(value) or ())
    return {str(name): str(item) for name, item in mapping(value).items()}


def _comparable(value: Any) -> Any:
    """Return a setting without what a session adds to it, in an order of its own."""
    if isinstance(value, list):
        return sorted(map(_comparable, value), key=dump)
    if isinstance(value, dict):
        return {name: _comparable(item) for name, item in value.items() if name not in _ADDED and item is not None}
    return value or None


def _called(given: Raw) -> str:
    return f"{given.get('type') or 'session'} {given.get('id')}"


def _time(at: float | None) -> str | None:
    return None if at is None else utc_text(datetime.fromtimestamp(at, UTC))
