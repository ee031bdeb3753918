"""The fields that runs, sessions and deployments show."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, TypeVar

from qoder_cli.app import App
from qoder_cli.base.marks import without_ours
from qoder_cli.base.model import GOING, Deployment, Raw, Run, array, mapping, text
from qoder_cli.base.outcome import Standing, calls_to_answer, evaluations, standing, waits_for_answer
from qoder_cli.base.times import coarse, parse_timestamp
from qoder_cli.base.words import counted, shortened
from qoder_cli.nouns.parts import RESERVED
from qoder_cli.output.cells import (
    WAITS,
    Beside,
    Durations,
    Fields,
    Id,
    Milliseconds,
    Moment,
    Name,
    NamedId,
    Outcomes,
    Status,
    Words,
)

T = TypeVar("T")
LONGEST_MESSAGE = 200  # characters of a deployment's first message


def run_fields(run: Run) -> Fields:
    """Return all fields of a run, in order; absent ones are None."""
    waiting = status_from = None
    if waits_for_answer(run):
        waiting = ", ".join(calls_to_answer(run)) or "an answer"
    if run.derived.keys() - {"requires_action"}:  # the server did not send it
        status_from = "session" if run.session_id else "run"
    return {
        "id": _id(run.raw.get("id")),  # a list may hold anything
        "deployment": _deployment(run.deployment_id, run.deployment_name),
        "status": _text(Status, run.status),
        "adopted": "yes" if run.adopted else None,
        "retry_of": _id(run.retry_of),
        "status_from": status_from,
        "requires_action": waiting,
        "error_type": _text(Words, run.error_type),
        "error_message": run.error_message,
        "trigger": text(mapping(run.raw.get("trigger_context")).get("type")),
        "session": _id(run.session_id),
        "agent": _id(run.agent),
        "attempt": run.extras.get("attempt"),
        "turn": text(run.extras.get("turn_id")),
        "triggered": _moment(run.triggered_at),
        "started": _moment(run.extras.get("started_at")),
        "completed": _moment(run.completed_at),
        "duration": None if run.duration_ms is None else Milliseconds(run.duration_ms),
        "credits": run.credits,
        "deployment_name": _text(Beside, run.deployment_name),
    }


def evaluation_fields(session: dict[str, Any]) -> Fields:
    """Return the evaluations of a session's outcomes, a line each."""
    lines = []
    for evaluation in evaluations(session):
        why = text(evaluation.get("explanation") or evaluation.get("description"))
        lines.append(": ".join(filter(None, (text(evaluation.get("result")) or "unknown", why))))
    if lines:
        return {"outcome": lines}
    return {}


# What is shown of a session and its turn.
TURN_COLUMNS = (
    *("id", "title", "status", "requires_action", "error_type", "error_message"),
    *("deployment", "agent", "created", "completed", "credits", "deployment_name"),
)
# Every table of runs in a pipe, also that of several that were started or waited for; only ever appended to.
RUN_COLUMNS = (
    *("id", "status", "deployment", "triggered", "duration", "error_type", "trigger", "session"),
    *("requires_action", "deployment_name"),
)
# `run list` on a terminal, what matters most first; `listed_run` makes the row.
RUN_FIRST = ("deployment", "status", "error", "triggered", "duration", "trigger", "session", "id")


def run_row(run: Run) -> Fields:
    """Return a run as a row of a list in a pipe."""
    fields = run_fields(run)
    return {name: fields[name] for name in RUN_COLUMNS}


def listed_run(run: Run, *, now: float, name: str | None, is_wide: bool) -> Fields:
    """Return a run as a row of a list on a terminal at `now` (unix seconds).

    `name` stands for its deployment's id, if there is one. If `is_wide`, it has local times, that id, and where its
    status is from.
    """
    row = with_name(run_row(run), run.deployment_id, name, is_wide=is_wide)
    triggered = row["triggered"]
    since = parse_timestamp(triggered and triggered.text)
    if since and run.status in GOING and row["duration"] is None:
        row["duration"] = Milliseconds(max(0, round(1000 * (now - since.timestamp()))))
    if triggered is not None and not is_wide:
        triggered = triggered._replace(now=now)
    error = ": ".join(filter(None, (run.error_type, run.error_message)))
    row |= {"status": waiting_status(run, now) or row["status"], "triggered": triggered, "error": _text(Words, error)}
    shown = {name: row[name] for name in ("id", *RUN_FIRST[:-1])}
    if is_wide:
        shown |= {"deployment_id": row["deployment_id"], "status_from": run_fields(run)["status_from"]}
    return shown


def show_run(app: App, run: Run, **more: Any) -> None:
    """Print a run, or a session's turn, with `more` fields in a table."""
    run = app.named(run)
    fields = run_fields(run)
    if run.is_session:
        title, created = text(run.raw.get("title")), _moment(run.raw.get("created_at"))
        fields = {**fields, "title": title, "created": created}
        fields = {name: fields[name] for name in TURN_COLUMNS}
    fields |= more
    hidden: tuple[str, ...] = ()
    if app.output.is_drawn:
        fields["status"] = waiting_status(run, app.server_now) or fields["status"]
        hidden = () if app.output.is_wide else ("status_from",)
        if app.tracked.said and app.out.is_terminal:  # the lines above have these
            hidden += ("id", "deployment")
    app.print_run(run, {name: value for name, value in fields.items() if name not in hidden})


def waiting_status(run: Run, now: float) -> Status | None:
    """Return what is said of a run that waits for a person, and how long it has; None if it does not."""
    if not waits_for_answer(run):
        return None
    if run.asks_since is None:
        return Status(WAITS)
    return Status(f"{WAITS} {coarse(now - run.asks_since)}")


def missing_row(word: str, status: str) -> Fields:
    """Return the row of a run that could not be read: what was typed, and why in a word.

    A session's id stands under `session`, what is no id under `deployment`: the first
    column has only ids of runs.
    """
    row: Fields = {**dict.fromkeys(RUN_COLUMNS), "id": "", "status": Status(status)}
    column = {"drun_": "id", "sess_": "session"}.get(word[:5])
    if column is None:
        return {**row, "deployment": Name(word)}
    return {**row, column: Id(word)}


# As those of a run.
DEPLOYMENT_COLUMNS = (
    *("id", "name", "state", "paused_because", "schedule", "timezone"),
    *("next_run", "last_run", "agent", "environment", "created"),
)
DEPLOYMENT_FIRST = (
    *("name", "state", "next_run", "schedule", "paused_because", "timezone"),
    *("last_run", "agent", "environment", "created", "id"),
)


def deployment_fields(deployment: Deployment, *, now: float | None = None) -> Fields:
    """Return a deployment's fields, in order; absent ones are None, lists have a line a value.

    With `now` (unix seconds), next fires are worked out if the server tells none.
    """
    raw, schedule = deployment.raw, deployment.schedule
    agent = raw.get("agent")
    agent_id = text(mapping(agent).get("id")) or text(agent)
    zone = text(schedule.get("timezone"))
    budget = mapping(raw.get("budget")).get("max_credit_cost")
    events = _objects(raw.get("initial_events"))
    content = next((event.get("content") for event in events if event.get("type") == "user.message"), None)
    message = text(content) or " ".join(text(block.get("text")) or "" for block in _objects(content))
    fires, words = deployment.next_fires, None
    if schedule:
        from qoder_cli.base.cron import next_fires, words_of

        words = words_of(schedule)
        if now is not None and not deployment.archived_at:
            fires = next_fires(schedule, now=now)
    return {
        "id": _id(raw.get("id")),
        "name": deployment.name,
        "description": text(raw.get("description")),
        "state": Status(deployment.state),
        "paused_because": deployment.paused_because,
        "archived": _moment(deployment.archived_at),
        "agent": _id(agent_id and f"{agent_id}@{mapping(agent).get('version', '?')}"),
        "environment": _id(raw.get("environment_id")),
        "variables": _variable_names(raw.get("environment_variables")),
        "schedule": text(schedule.get("expression")),
        "timezone": zone,
        "last_run": _moment(schedule.get("last_run_at")),
        "next_run": [Moment(fire, zone=zone) for fire in fires],
        "resource": [_resource(each) for each in _objects(raw.get("resources"))],
        "vault": list(map(str, array(raw.get("vault_ids")))),
        "budget": None if budget is None else f"{budget} credits a run",
        "metadata": _keys(without_ours(mapping(raw.get("metadata"))).keys() - {RESERVED}),
        "first_message": shortened(" ".join(message.split()), LONGEST_MESSAGE) or None,
        "created": _moment(raw.get("created_at")),
        "updated": _moment(raw.get("updated_at")),
        "schedule_words": words,
    }


def deployment_row(deployment: Deployment) -> Fields:
    """Return a deployment as a row of a list; columns are only ever appended."""
    fields = deployment_fields(deployment)
    fields["name"] = Name(deployment.name or "-")
    fields["next_run"] = _moment(next(iter(deployment.next_fires), None))
    return {name: fields[name] for name in DEPLOYMENT_COLUMNS}


# As those of a run.
SESSION_COLUMNS = (
    *("id", "title", "status", "agent", "deployment", "environment", "credits", "created"),
    "deployment_name",
)
SESSION_FIRST = ("title", "deployment", "status", "created", "agent", "credits", "environment", "id")


def session_fields(session: Run) -> Fields:
    """Return a session's fields, with its latest turn's outcome; absent ones are None."""
    raw, turn = session.raw, run_fields(session)
    budget = mapping(raw.get("budget")).get("max_credit_cost")
    model = mapping(raw.get("agent")).get("model")
    return {
        "id": Id(session.id),
        "title": _text(Name, raw.get("title")),
        "status": Status("archived" if raw.get("archived_at") else text(raw.get("status")) or "unknown"),
        "latest_turn": turn["status"],
        **{name: turn[name] for name in ("requires_action", "error_type", "error_message", "agent")},
        "model": text(model) or text(mapping(model).get("id")),
        "deployment": turn["deployment"],
        "environment": _id(raw.get("environment_id")),
        "variables": _variable_names(raw.get("environment_variables")),
        "resource": [_resource(each) for each in _objects(raw.get("resources"))],
        "vault": list(map(str, array(raw.get("vault_ids")))),
        "budget": None if budget is None else f"{budget} credits",
        "metadata": _keys(without_ours(mapping(raw.get("metadata"))).keys()),
        **evaluation_fields(raw),
        "credits": turn["credits"],
        "created": _moment(raw.get("created_at")),
        "updated": _moment(raw.get("updated_at")),
        "archived": _moment(raw.get("archived_at")),
        "deployment_name": turn["deployment_name"],
    }


def session_row(session: Run) -> Fields:
    """Return a session as a row of a list in a pipe."""
    fields = session_fields(session)
    return {name: fields[name] for name in SESSION_COLUMNS}


RESOURCE_COLUMNS = ("id", "type", "what", "mount", "created")
RESOURCE_FIRST = ("what", "mount", "type", "created", "id")


def resource_row(raw: Raw) -> Fields:
    """Return a session's resource as a row of a list; no field of it is a secret."""
    return {
        "id": Id(text(raw.get("id")) or "-"),
        "type": text(raw.get("type")),
        "what": _text(Name, "@".join(_what(raw))),
        "mount": _text(Words, raw.get("mount_path"), least=12),
        "created": _moment(raw.get("created_at")),
    }


def _variable_names(variables: Any) -> str | None:
    """Return names only: values may be secrets. `;` or newlines part them (api.md#deployments)."""
    pairs = (text(variables) or "").replace("\n", ";").split(";")
    names = [*mapping(variables), *(pair.partition("=")[0].strip() for pair in pairs)]
    return ", ".join(filter(None, names)) or None


def _resource(resource: dict[str, Any]) -> str:
    kind, mount = text(resource.get("type")) or "unknown", text(resource.get("mount_path"))
    parts = (kind, *_what(resource), text(resource.get("access")), mount and f"at {mount}")
    return " ".join(filter(None, parts))


def _what(resource: dict[str, Any]) -> list[str]:
    checkout = mapping(resource.get("checkout"))
    scheme, separator, rest = (text(resource.get("url")) or "").rpartition("://")
    host, slash, path = rest.partition("/")
    url = f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"  # without a login
    what = text(resource.get("file_id")) or text(resource.get("memory_store_id")) or url
    return list(filter(None, (what, text(checkout.get("name")) or text(checkout.get("sha")))))


def _keys(keys: Collection[object]) -> str | None:
    if not keys:
        return None
    return counted(len(keys), "key")


def _objects(value: Any) -> list[dict[str, Any]]:
    return list(map(mapping, array(value)))


def _text(kind: Callable[..., T], value: Any, **look: int) -> T | None:
    """Return a text as one of this kind; None if it is none, or empty."""
    if not text(value):
        return None
    return kind(value, **look)


_id, _moment = partial(_text, Id), partial(_text, Moment)


def with_name(row: Fields, id: str | None, name: str | None, *, is_wide: bool) -> Fields:
    """Return a row for a terminal: with the name that stands for a deployment's id, if `is_wide` with that too."""
    row = {**row, "deployment": _deployment(id, name) or row["deployment"]}
    del row["deployment_name"]
    if is_wide:
        row["deployment_id"] = _id(id)
    return row


def _deployment(id: str | None, name: str | None) -> Id | NamedId | Name | None:
    if id and name:
        return NamedId(id, name)
    return _id(id) or _text(Name, name)


def recent_fields(runs: Sequence[Run]) -> Fields:
    """Summarise runs, newest first: outcomes, durations, success rate, median."""
    from statistics import median

    oldest_first = list(reversed(runs))
    if not runs:
        return {"recent_runs": "none yet"}
    completed = [run for run in runs if run.status == "completed"]
    took = [run.duration_ms for run in completed if run.duration_ms is not None]
    ran = sum(standing(run) is Standing.ENDED and run.status not in (None, "skipped") for run in runs)
    rate = None
    if ran:
        rate = f"{100 * len(completed) // ran}% ({len(completed)} of {ran})"
    return {
        "recent_runs": Outcomes(tuple(run.status for run in oldest_first)),
        "durations": Durations(tuple(run.duration_ms for run in oldest_first)),
        "success_rate": rate,
        "usual_duration": Milliseconds(round(median(took))) if took else None,
    }
