"""The server's objects: the raw object, and the fields we read of it.

Plain code, because importing pydantic costs more than the request, and because a field of
an unexpected type must be tolerated.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Required, Self, TypedDict, TypeVar, cast

from qoder_cli.base.ids import NOT_OF_AN_ID
from qoder_cli.base.times import milliseconds_between, unix

T = TypeVar("T")
Raw = dict[str, Any]  # an object of the server
GOING = frozenset({"pending", "running"})  # statuses of a run that has not ended


def text(value: object) -> str | None:
    """Return `value` when it is a non-empty string, else None."""
    if isinstance(value, str) and value:
        return value
    return None


def mapping(value: object) -> dict[str, Any]:
    """Return `value` when it is a JSON object, else an empty one."""
    if isinstance(value, dict):
        return value
    return {}


def array(value: object) -> list[Any]:
    """Return `value` when it is a JSON array, else an empty one."""
    if isinstance(value, list):
        return value
    return []


OLDEST = 1_577_836_800.0  # the beginning of 2020, in unix seconds: the API is younger


def data_of(shape: type[T], of: object, **own: object) -> T:
    """Return the JSON of something by the keys of its shape: its attributes, where no value of `own` stands for one."""
    return cast(T, {name: own[name] if name in own else getattr(of, name) for name in shape.__annotations__})


def filled(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are not empty."""
    return {name: value for name, value in fields.items() if value}


def created_at(raw: Mapping[str, Any]) -> float | None:
    """Return when an object was created, in unix seconds; a time before 2020 is none."""
    created = unix(raw.get("created_at"))
    if created is not None and created >= OLDEST:
        return created
    return None


OPEN = "__has_fields_of_the_api__"  # marks a shape of JSON (`base/shapes.py`)


def open_shape(shape: type[T]) -> type[T]:
    """Mark a shape of JSON that also has every field that the API sent."""
    setattr(shape, OPEN, True)
    return shape


@open_shape
class ApiObject(TypedDict, total=False):
    """An object of the API: every field that the server sent, as it sent it."""

    id: str


@dataclass(frozen=True)
class Resource:
    """Any object of the API, exactly as the server sent it. Of one kind, its ids begin alike, or its type says so."""

    raw: dict[str, Any]
    _begins, _type = "", ""

    @classmethod
    def read(cls, value: object) -> Self | None:
        """Return the object that a server sent; None if it is not one of this kind."""
        raw = mapping(value)
        id = text(raw.get("id")) or ""
        is_one = id.startswith(cls._begins) or raw.get("type") == cls._type
        if id and is_one and NOT_OF_AN_ID.search(id) is None:
            return cls(raw)
        return None

    @property
    def id(self) -> str:
        return str(self.raw["id"])

    def as_json(self) -> dict[str, Any]:
        return self.raw


class RequiredAction(TypedDict):
    """What a run waits for."""

    event_ids: Annotated[list[str], "ids of the calls that are to be answered"]


class RunId(TypedDict):
    """The id of a run."""

    id: Annotated[str, "run id, drun_…"]


class RunFields(TypedDict, total=False):
    """What a server says of a run. Where servers differ from the pages of the API, any type is taken and shown."""

    type: Annotated[str, "always deployment_run"]
    deployment_id: Annotated[str | None, "deployment id, dep_…"]
    session_id: Annotated[str | None, "session id, sess_…, once there is one"]
    trigger_context: Annotated[dict[str, Any] | str | None, "an object whose type is manual, schedule or retry"]
    agent: Annotated[Any, "an object with id, type and version"]
    created_at: Annotated[str | None, "when it was created"]
    triggered_at: Annotated[str | None, "when it was triggered, if the server says so"]
    cas_run_extras: Annotated[dict[str, Any] | None, "attempt, turn_id and started_at, on older servers"]


class Derived(TypedDict, total=False):
    """What is filled in of a run where its server does not say it. A null takes the server's own away."""

    status: Annotated[str | None, "pending, running, completed, failed or skipped; more may be added"]
    error: Annotated[Any, "why it failed or never started: null, or an object with type and message"]
    deployment_name: Annotated[str | None, "the deployment's name, if the server sent it or this machine has seen it"]
    completed_at: Annotated[str | float | None, "when it ended"]
    duration_ms: Annotated[float | None, "how long it took, when it completed"]
    elapsed_ms: Annotated[Any, "from its trigger to its end, however it ended; missing where its times do not tell"]
    usage: Annotated[
        dict[str, Any] | None,
        "the session's usage (e.g. total_credits), if it was read;"
        " of many runs `session list` has it, never `run list`",
    ]
    requires_action: Annotated[RequiredAction, "the calls that wait, while the agent waits for an answer"]


class FilledIn(TypedDict, total=False):
    """What no server says of a run."""

    derived: Annotated[
        list[str], "the keys that were filled in: from its session, its times, or what this machine has seen"
    ]
    adopted: Annotated[bool, "true if the run was found in the run list after a lost response"]
    already_started: Annotated[bool, "true if this command started nothing: its key has this run, from before"]
    retry_of: Annotated[str, "the run that was started once more with this one, by `run retry` on this machine"]
    result: Annotated[str | None, "the agent's final message or null, with --result and `run result`"]
    files: Annotated[list[str], "paths of downloaded files, with `run result -O DIR`"]
    events: Annotated[list[dict[str, Any]], "its session's events, with `run logs` of several runs"]


@open_shape
class RunData(RunId, RunFields, Derived, FilledIn):
    """A run: the object that the server sent, every field of it, with what was filled in."""


@open_shape
class RunRow(RunFields, Derived, FilledIn, total=False):
    """A run of a list. A row that lacks fields is shown with what it has."""

    id: Annotated[Any, "run id, drun_…"]


@open_shape
class SessionData(TypedDict, total=False):
    """A session: the object that the server sent, every field of it."""

    id: Required[Annotated[str, "session id, sess_…"]]
    turn: Annotated[Derived, "how its latest turn went"]
    derived: Annotated[list[str], "the keys that were filled in"]


@dataclass(frozen=True)
class Run(Resource):
    """A run of a deployment (api.md#runs), on either generation of server.

    `derived` holds the fields filled in here because the server sent no final status. It wins where both
    have a field; a None takes the server's away.
    """

    derived: Derived = field(default_factory=Derived)
    adopted: bool = False  # its trigger's response was lost, and it was found in the run list
    already_started: bool = False  # the command was to start a run, and its key had this one
    retry_of: str | None = None  # the run that it is a retry of, as this machine knows
    name_seen: str | None = None  # its deployment's, as this machine saw it last
    asks_since: float | None = None  # when the agent began to wait for an answer, in unix seconds of the server's clock

    _begins, _type = "drun_", "deployment_run"

    @property
    def is_session(self) -> bool:
        """Whether this is a session, whose last turn is shown like a run."""
        return self.raw.get("type") == "session"

    @property
    def is_scheduled(self) -> bool:
        """Whether it says that a schedule started it."""
        context = self.raw.get("trigger_context")
        return (text(context) or text(mapping(context).get("type"))) == "schedule"

    @property
    def called(self) -> str:
        if self.is_session:
            return f"session {self.id}"
        return f"run {self.id}"

    def get(self, name: str) -> Any:
        """Return a field, as filled in or as sent. A session's own status is not that of a turn."""
        sent = self.raw.get(name)
        if name in ("status", "error") and self.raw.get("type") == "session":
            sent = None
        return cast(dict[str, Any], self.derived).get(name, sent)

    @property
    def status(self) -> str | None:
        return text(self.get("status"))

    @property
    def deployment_id(self) -> str | None:
        return text(self.raw.get("deployment_id"))

    @property
    def deployment_name(self) -> str | None:
        """Its deployment's name: the server's, if it says one, else as it was seen."""
        return text(self.raw.get("deployment_name")) or self.name_seen

    @property
    def session_id(self) -> str | None:
        if self.is_session:
            return self.id
        return text(self.raw.get("session_id"))

    @property
    def error(self) -> dict[str, Any]:
        """Its error: an object with a type or a message, or text; empty if there is none."""
        error = self.get("error")
        if isinstance(error, dict):
            if any(error.get(name) for name in ("type", "message")):
                return error
            return {}
        is_text = isinstance(error, str) and bool(error.strip())
        if is_text:
            return {"type": "unknown_error", "message": error}
        return {}

    @property
    def error_type(self) -> str | None:
        return text(self.error.get("type")) or ("unknown_error" if self.error else None)

    @property
    def error_message(self) -> str | None:
        return text(self.error.get("message"))

    @property
    def created(self) -> float | None:
        """When it was created, as `created_at` tells."""
        return created_at(self.raw)

    @property
    def triggered_at(self) -> str | None:
        """When the run was triggered; the current generation only says when it was created."""
        return text(self.raw.get("triggered_at")) or text(self.raw.get("created_at"))

    @property
    def completed_at(self) -> str | None:
        return text(self.get("completed_at"))

    @property
    def extras(self) -> dict[str, Any]:
        """The older generation's `cas_run_extras`: attempt, turn_id, started_at."""
        return mapping(self.raw.get("cas_run_extras"))

    @property
    def credits(self) -> Any:
        """The credits used so far (api.md#sessions), or None."""
        return mapping(self.get("usage")).get("total_credits")

    @property
    def agent(self) -> str | None:
        agent = mapping(self.raw.get("agent"))
        agent_id, version = text(agent.get("id")), agent.get("version")
        if agent_id and version is not None:
            return f"{agent_id}@{version}"
        return agent_id

    @property
    def duration_ms(self) -> int | None:
        """How long the run took in milliseconds: the server's figure, else from its timestamps."""
        sent = self.get("duration_ms")
        if isinstance(sent, int) and not isinstance(sent, bool) and sent >= 0:
            return sent
        return milliseconds_between(self.triggered_at, self.completed_at)

    def as_json(self) -> dict[str, Any]:
        """Return the server's object, with what was filled in and a key `derived` that names it."""
        if self.is_session:
            turn = {name: value for name, value in self.derived.items() if value is not None}
            if turn:
                return {**self.raw, "turn": turn, "derived": ["turn"]}
            return self.raw
        derived: Derived = {**self.derived}
        elapsed = milliseconds_between(self.triggered_at, self.completed_at)
        if elapsed is not None and self.status not in GOING and "elapsed_ms" not in self.raw:
            derived["elapsed_ms"] = elapsed
        if self.name_seen and "deployment_name" not in self.raw:
            derived["deployment_name"] = self.name_seen
        added: FilledIn = {}
        if derived:
            added["derived"] = list(derived)
        if self.adopted:
            added["adopted"] = True
        if self.already_started:
            added["already_started"] = True
        if self.retry_of:
            added["retry_of"] = self.retry_of
        shown = {**self.raw, **derived, **added}
        return {name: value for name, value in shown.items() if value is not None or name not in derived}


class Deployment(Resource):
    """A deployment (api.md#deployments)."""

    _begins, _type = "dep_", "deployment"

    @property
    def name(self) -> str | None:
        return text(self.raw.get("name"))

    @property
    def archived_at(self) -> str | None:
        """When it was archived; the only reliable test for archived (api.md#deployments)."""
        return text(self.raw.get("archived_at"))

    @property
    def state(self) -> str:
        """Its state in one word: archived, or the server's status."""
        if self.archived_at:
            return "archived"
        return text(self.raw.get("status")) or "unknown"

    @property
    def paused_because(self) -> str | None:
        """Why it is paused: `manual`, or the type of the error that paused it; None without a reason."""
        reason = self.raw.get("paused_reason")
        if not reason:
            return None
        error_type = text(mapping(mapping(reason).get("error")).get("type"))
        return error_type or text(mapping(reason).get("type")) or text(reason) or "unknown_error"

    @property
    def is_paused_unexplained(self) -> bool:
        """Whether it is paused, without the reason that belongs to that (api.md#deployments)."""
        return self.state == "paused" and self.paused_because is None

    @property
    def paused_by_error(self) -> str | None:
        """The type of the error that paused it; None if it is not paused, or was by a person."""
        if self.state != "paused" or self.paused_because == "manual":
            return None
        return self.paused_because

    @property
    def unreadable(self) -> list[str]:
        """The fields that are of another type than the API's; elsewhere they count as empty."""
        types = {"schedule": dict, "vault_ids": list, "resources": list}
        return [name for name, type in types.items() if self.raw.get(name) and not isinstance(self.raw[name], type)]

    @property
    def schedule(self) -> dict[str, Any]:
        return mapping(self.raw.get("schedule"))

    @property
    def next_fires(self) -> list[str]:
        return [fire for fire in array(self.schedule.get("upcoming_runs_at")) if text(fire)]


def is_new(key: str, keys: dict[str, None], *, most: int) -> bool:
    """Return whether a key is new, and remember it; the last `most` are kept."""
    if key in keys:
        return False
    if len(keys) >= 2 * most:
        for old in list(keys)[:most]:
            del keys[old]
    keys[key] = None
    return True


def next_cursor(page: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the query parameter and value for the next page; None at the end."""
    if following := text(page.get("next_page")):
        return "page", following
    if page.get("has_more") is not True:
        return None
    last_item = page["data"][-1] if page["data"] else None
    last = text(page.get("last_id")) or text(mapping(last_item).get("id"))
    if last:
        return ("after_id", last)
    return None


def says_whether_more(page: Mapping[str, Any]) -> bool:
    """Return whether `has_more` or `next_page` says if more follows (api.md#lists-and-pages)."""
    if "has_more" in page and not isinstance(page["has_more"], bool):
        return False
    if "next_page" in page and not isinstance(page["next_page"], str | None):
        return False
    return "has_more" in page or "next_page" in page
