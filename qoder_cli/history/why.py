"""What changed since a deployment last worked: a run beside the last one before it that completed.

A change is never called the cause: the server keeps what was set, not why a run ended. What it keeps no history of is
`unknown`. Requests are bounded: what none was left for is unknown, too.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice, takewhile
from typing import Annotated, Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError
from qoder_cli.base.ids import segment
from qoder_cli.base.jsontext import dump
from qoder_cli.base.model import Deployment, Raw, Run, array, created_at, mapping, text
from qoder_cli.base.outcome import Standing, is_going, standing, waits_for_answer
from qoder_cli.base.times import descend, unix
from qoder_cli.base.words import counted, few, first_line, shortened
from qoder_cli.history.facts import TOO_MANY, Facts, History, custom_skills
from qoder_cli.history.findings import NOT_SEEN, DeploymentFinding, find
from qoder_cli.history.listed import Resolver, newest_first, pages_of_runs
from qoder_cli.history.records import outcome_of, time_text
from qoder_cli.history.window import Window
from qoder_cli.nouns.edits.difference import FieldChange, Secrets, differing, lines_of
from qoder_cli.nouns.edits.forms import form_of
from qoder_cli.nouns.parts import assignments
from qoder_cli.nouns.table import NOUNS
from qoder_cli.runs.observe import any_observer
from qoder_cli.sessions.asks import with_asks
from qoder_cli.sessions.log import in_order, is_last, message_text
from qoder_cli.sessions.result import final_message

_MOST_READS = 17  # the run, its list and what it said last are up to 8 more
_MOST_ASKED = 15  # runs whose ending only their session knows
_AT_ONCE = 4  # of them
_MOST_PAGES = 2  # of a hundred runs
_MOST_OF_LOG = 4  # pages of events: a server that ignores types shows many behind the last message
_MOST_LINES = 40  # of a difference
_LONGEST = 300  # characters of a message
_LISTED = 5
_MONTH, _HOUR = 30 * 86400.0, 3600.0  # seconds
_ADDED = ("id", "created_at", "updated_at")  # to the resources of a session
_GIVEN = {
    "environment": "environment_id",
    "variables": "environment_variables",
    "vaults": "vault_ids",
    "resources": "resources",
    "budget": "budget",
}
_SET = ("agent", "prompt", *_GIVEN)  # by a deployment


@dataclass(frozen=True)
class SinceChange:
    """Something that is not as it was when the deployment last worked."""

    what: Annotated[str, "agent, prompt, deployment, environment, variables, vaults, credential, skill, memory, …"]
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
    unknown: Annotated[int, "runs that may have ended in an unknown way"]
    is_whole: Annotated[bool, "whether these are all its runs of 30 days"]
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


class _Comparison:
    """A run beside the last one before it that completed."""

    def __init__(self, app: App, run: Run) -> None:
        self._app = app
        self._run = run
        self._reads = Facts(app, most=_MOST_READS)
        self._unknown: list[Unknown] = []
        self._before: list[Run] = []  # runs of its deployment before it, newest first, their status filled in
        self._is_whole = False
        self._pages_of_log = 0
        self._began = run.created or app.client.server_now()
        # A run that never had a session ended as it began, and may not say so.
        self._ended = unix(run.completed_at) or (app.client.server_now() if is_going(run) else self._began)
        self._source = f"runs of {run.deployment_id}"
        self._worked = 0.0  # when the run began that completed
        self._agent_then = ""  # its agent, as `deploy update --agent` takes it

    def made(self) -> Why:
        app = self._app
        try:
            self._run = with_asks(app.client, self._run, threads=False)
        except ApiError as error:
            source = f"events of {self._run.session_id}"
            self._cannot_tell("answer", f"whether it waits for one: {error.message}", source)
        run = self._run
        completed = self._last_completed()
        session = self._session(run)
        deployment = self._deployment()
        given = session or self._given_by(deployment)
        changed: list[SinceChange] = []
        if completed is not None:
            self._worked = completed.created or 0.0
            changed += self._of_settings(completed, given)
            changed += self._of_things(given)
            changed += self._of_deployment(deployment, changed)
            changed = [replace(change, says=self._veiled(change.says)) for change in changed]
        problems = self._problems(deployment)
        elsewhere = self._elsewhere()
        next_because, command = self._next(changed, problems, deployment)
        return Why(
            run=run.id,
            deployment=run.deployment_id,
            deployment_name=deployment.name if deployment else app.seen_names.name_of(run.deployment_id),
            status=run.status,
            created_at=time_text(run.created),
            ended_at=run.completed_at,
            error_type=run.error_type,
            message=first_line(self._veiled(run.error_message or "")),
            last_message=self._last_message(),
            compared_with=completed.id if completed else None,
            compared_at=time_text(completed.created) if completed else None,
            runs_before=len(self._before),
            is_whole=self._is_whole and all(run.status for run in self._before),
            changed=changed,
            unknown=self._unknown,
            recurrence=self._recurrence(),
            elsewhere=elsewhere,
            check=problems,
            next_because=next_because,
            next=[app.program, *command],
        )

    def _veiled(self, says: str) -> str:
        return shortened(self._app.client.veil(says), _LONGEST)

    def _cannot_tell(self, what: str, says: str, source: str) -> None:
        self._unknown.append(Unknown(what, says, source))

    def _read(self, kind: str, id: str, what: str, about: str, source: str, more: str = "") -> Raw:
        """Return a thing as it is shown; empty, and what it is `about` is unknown, where it cannot be read."""
        thing = self._reads.thing(kind, id, more)
        if isinstance(thing, dict):
            return thing
        self._cannot_tell(what, f"{about}: {'it is gone' if thing is None else thing.message}", source)
        return {}

    def _session(self, run: Run) -> Raw:
        """Return the session of a run as it is shown; empty if it has none, or cannot be read."""
        id, about = run.session_id, f"what run {run.id} was given"
        return {} if id is None else self._read("sessions", id, "session", about, f"session {id}")

    # What is compared.

    def _last_completed(self) -> Run | None:
        """Return the last run before it that completed, and keep what is known of all that were listed."""
        run, resolver, completed = self._run, Resolver(self._app, most=_MOST_ASKED), None
        if run.deployment_id is None:
            return None
        began = datetime.fromtimestamp(self._began, UTC)
        pages = pages_of_runs(self._app.client, run.deployment_id, Window(None, began))
        listed = {run.id}
        try:
            for page in islice(pages, _MOST_PAGES):
                older = [other for other in newest_first(page, pages) if (other.created or 0.0) <= self._began]
                older = list({other.id: other for other in older if other.id not in listed}.values())
                if all(other.created for other in older):
                    older.sort(key=lambda other: other.created or 0.0, reverse=True)
                listed |= {other.id for other in older}
                while older and completed is None:
                    part, older = older[:_AT_ONCE], older[_AT_ONCE:]
                    self._before += resolver.runs([other.raw for other in part])
                    completed = next((other for other in self._before if other.status == "completed"), None)
                self._before += resolver.kept.filled(older)
                if completed is not None:
                    break
            self._is_whole = next(pages, None) is None
        except ApiError as error:
            self._cannot_tell("runs", f"earlier runs could not be read: {error.message}", self._source)
        since = takewhile(lambda other: other is not completed, self._before)
        if completed is not None and (unread := sum(other.status is None for other in since)):
            says = f"how {counted(unread, 'run')} after {completed.id} ended is unknown: it may have completed"
            self._cannot_tell("runs", says, self._source)
        return completed

    def _deployment(self) -> Deployment | None:
        id = self._run.deployment_id
        if id is None:
            return None
        return Deployment.read(self._read("deployments", id, "deployment", id, f"deployment {id}"))

    def _given_by(self, deployment: Deployment | None) -> Raw:
        """Return what a run without a session was given: its deployment, unless that was changed since."""
        if deployment is None:
            return {}
        changed = unix(deployment.raw.get("updated_at"))
        if changed is not None and changed <= self._began:
            return deployment.raw
        when = "it does not say when it was changed" if changed is None else "it was changed since"
        says = f"what it gave run {self._run.id}: {when}"
        self._cannot_tell("deployment", says, f"deployment {deployment.id}")
        return {}

    def _is_between(self, at: float | None) -> bool:
        """Return whether a time is after the run that completed began, and before this one ended."""
        return at is not None and self._worked < at <= self._ended

    # What a run is given, as it was then and is now.

    def _of_settings(self, completed: Run, now: Raw) -> Iterator[SinceChange]:
        then = self._session(completed)
        agent, version = _agent_of(completed)
        self._agent_then = f"{agent}@{version}" if version else ""
        yield from self._agent(completed)
        if not then or not now:
            return
        yield from self._prompt(completed)
        for what, name in _GIVEN.items():
            comparable = _variables if what == "variables" else _comparable
            before, after = (comparable(settings.get(name)) for settings in (then, now))
            if (before or None) == (after or None):
                continue
            source = f"{_called(then)} and {_called(now)}"
            # A session without a budget does not show one (api.md#sessions).
            if what != "budget" and (silent := [settings for settings in (then, now) if name not in settings]):
                self._cannot_tell(what, f"{_called(silent[0])} does not show it", source)
            elif what == "variables":
                names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
                yield SinceChange(what, None, few(names, _LISTED), None, source)
            elif what == "environment":
                yield SinceChange(what, text(after), f"{before} → {after}", None, source)
            else:
                lines = lines_of(FieldChange(name, before, after), Secrets())[:_MOST_LINES]
                yield SinceChange(what, None, f"the {what} of its runs", None, source, lines)

    def _agent(self, completed: Run) -> Iterator[SinceChange]:
        """Tell whether the agent differs; a version of it never changes."""
        id, version = _agent_of(self._run)
        id_then, version_then = _agent_of(completed)
        if None in (id, version, id_then, version_then):
            return self._cannot_tell("agent", "the runs do not say which version it was", "the runs")
        if id_then != id:
            yield SinceChange("agent", id, f"{id_then} → {id}", None, "the runs")
        elif version != version_then:
            source = f"versions of {id}"
            before, after = (
                self._read("agents", str(id), "agent", f"what version {one} was", source, f"?version={one}")
                for one in (version_then, version)
            )
            form = form_of(NOUNS["agent"])  # where one could not be read, nothing differs
            names = form.settable(before).keys() & form.settable(after).keys() & before.keys() & after.keys()
            was, now = ({name: form.settable(shown)[name] for name in sorted(names)} for shown in (before, after))
            fields = list(differing(form, form.normal(now), form.normal(was)))
            says = f"version {version_then} → {version}"
            if fields:
                says += ": " + ", ".join(dict.fromkeys(change.field for change in fields))
            lines = [line for change in fields for line in lines_of(change, Secrets())]
            at = text(after.get("updated_at")) or text(after.get("created_at"))
            yield SinceChange("agent", id, says, at, source, lines[:_MOST_LINES])

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
            oldest_first = in_order(events)
            first = next((event for event in oldest_first if event.get("type") == "user.message"), None)
            if first is None or (not is_all and oldest_first[:1] != events[:1]):  # a page of the end, maybe
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
            yield from _first(self._credentials(vault))
        for skill in custom_skills(mapping(given.get("agent"))):
            if text(skill.get("version")) in (None, "latest"):
                yield from self._touched("skill", "skills", str(skill.get("skill_id")))
        for resource in map(mapping, array(given.get("resources"))):
            if store := text(resource.get("memory_store_id")):
                yield from _first(self._memory(store))
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
        if unix(shown.get("updated_at")) is None and what != "file":  # which nobody can change
            self._cannot_tell(what, f"{id}: it does not say when it was changed", source)

    def _credentials(self, vault: str) -> Iterator[SinceChange]:
        rows, source = self._reads.credentials(vault), f"credentials of {vault}"
        if isinstance(rows, ApiError):
            return self._cannot_tell("credential", f"{vault}: {rows.message}", source)
        for row in rows:
            auth = mapping(row.get("auth"))
            moments = [("expired", auth.get("expires_at")), ("archived", row.get("archived_at"))]
            moments += [("added", row.get("created_at")), ("changed", row.get("updated_at"))]
            called = text(row.get("display_name")) or text(auth.get("mcp_server_url")) or str(row.get("id"))
            for says, at in moments:
                if self._is_between(unix(at)):
                    yield SinceChange("credential", text(row.get("id")), f"{called} {says} at {at}", text(at), source)
                    break
            else:
                changed = unix(row.get("updated_at"))
                if changed is None or (changed > self._ended and (created_at(row) or 0.0) <= self._ended):
                    self._cannot_tell("credential", self._veiled(f"{called}: whether it changed is not kept"), source)

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
        for row in {str(row.get("id")): row for row in rows}.values():
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
            at, id = raw["updated_at"], raw.get("id")
            says = f"changed at {at}; what it was is not kept"
            yield SinceChange("deployment", text(id), says, text(at), f"deployment {id}")

    # What else is known.

    def _recurrence(self) -> Recurrence | None:
        """Return how often the error of this run came in 30 days."""
        kind = self._run.error_type
        if kind is None:
            return None
        recent = [run for run in self._before if (run.created or 0.0) > self._began - _MONTH]
        known = [run for run in (self._run, *recent) if outcome_of(run) not in ("unknown", "going")]
        ended_by = next_completed = None
        for run in recent:  # newest first
            if outcome_of(run) == "unknown":
                next_completed = None  # it may be that one
            elif run.status == "completed":
                next_completed = run.id
            elif run.error_type == kind and next_completed is not None:
                ended_by = next_completed
                break
        failed = sum(run.error_type == kind for run in known)
        unknown = sum(outcome_of(run) == "unknown" for run in recent)
        is_whole = self._is_whole or len(recent) < len(self._before)
        return Recurrence(failed, len(known), unknown, is_whole, ended_by, self._source)

    def _elsewhere(self) -> dict[str, int]:
        """Return how many runs of other deployments failed with this error within an hour, by deployment."""
        kind, around = self._run.error_type, (self._began - _HOUR, self._ended + _HOUR)
        if kind is None:
            return {}
        query = {"created_at[gte]": time_text(around[0]), "created_at[lte]": time_text(around[1])}
        try:
            rows, is_all = self._reads.page("/deployment_runs", query)
        except ApiError as error:
            self._cannot_tell("other deployments", error.message, "runs of all deployments")
            return {}
        listed = {run.id: run for run in filter(None, map(Run.read, rows))}.values()
        others = [run for run in listed if run.deployment_id not in (None, self._run.deployment_id)]
        others = [run for run in others if around[0] <= (run.created or 0.0) <= around[1]]
        others = Resolver(self._app).kept.filled(others)
        unread = sum(run.session_id is not None and standing(run) is Standing.ASK_SESSION for run in others)
        doubts = {f"how {counted(unread, 'run')} of that hour ended was not asked": unread > 0}
        doubts["there may have been more runs than one page shows"] = not is_all
        for says in filter(doubts.get, doubts):
            self._cannot_tell("other deployments", says, "runs of all deployments")
        return dict(Counter(run.deployment_id or "" for run in others if run.error_type == kind))

    def _last_message(self) -> str | None:
        if self._run.session_id is None or is_going(self._run):
            return None
        try:
            return first_line(self._veiled(final_message(self._app, self._run, self._few_pages) or ""))
        except ApiError as error:
            self._cannot_tell("last message", error.message, f"events of {self._run.session_id}")
            return None

    def _few_pages(self, path: str, query: Mapping[str, Any], **how: Any) -> Iterator[Raw]:
        """Yield the first pages of a log. Raises ApiError, also where more follow."""
        for page in self._app.client.pages(path, query, **how):
            yield page
            self._pages_of_log += 1
            if self._pages_of_log >= _MOST_OF_LOG and not is_last(page):
                raise TOO_MANY

    def _problems(self, deployment: Deployment | None) -> list[DeploymentFinding]:
        """Return the problems that the deployment has now."""
        if deployment is None:
            return []
        runs = [run for run in (self._run, *self._before) if run.status and not is_going(run)]
        findings = find(deployment, self._reads, History(runs), now=self._app.client.server_now())
        if any(finding.finding in NOT_SEEN for finding in findings):
            source = f"qoder deploy check {deployment.id}"
            self._cannot_tell("check", "not all that the deployment refers to was read", source)
        problems = [finding for finding in findings if finding.weight == "problem" and finding.finding != "failing"]
        return [replace(problem, fix=[self._app.program, *problem.fix]) for problem in problems]

    def _next(
        self,
        changed: Sequence[SinceChange],
        problems: Sequence[DeploymentFinding],
        deployment: Deployment | None,
    ) -> tuple[str, Sequence[str]]:
        """Return the command that is most likely next, as words behind `qoder`, after why that one."""
        run = self._run
        if is_going(run):
            if waits_for_answer(run):
                return "it waits for you", ["run", "pending", run.id]
            return "it is still running", ["run", "wait", run.id]
        if run.status == "completed":
            return "see what it left", ["run", "result", run.id]
        if problems:
            return "mend this first", problems[0].fix[1:]
        if deployment and any(change.what == "agent" and " → " in change.says for change in changed):
            now = mapping(deployment.raw.get("agent"))
            if self._agent_then not in ("", f"{now.get('id')}@{now.get('version')}"):
                back = ["deploy", "update", deployment.id, "--agent", self._agent_then]
                return "to go back to the agent of then", back
        if changed or self._unknown or not self._worked:
            return "see what it did", ["run", "logs", run.id]
        return "nothing changed: start it once more", ["run", "retry", run.id]


def _agent_of(run: Run) -> tuple[str | None, str | None]:
    """Return id and version of the agent of a run."""
    agent = mapping(run.raw.get("agent"))
    version = agent.get("version")
    return text(agent.get("id")), None if version is None else str(version)


def _first(changes: Iterable[SinceChange]) -> Iterator[SinceChange]:
    """Yield the first few changes, and how many more there are."""
    changes = list(changes)
    yield from changes[:_LISTED]
    if len(changes) > _LISTED:
        yield replace(changes[0], id=None, at=None, says=f"{len(changes) - _LISTED} more")


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
