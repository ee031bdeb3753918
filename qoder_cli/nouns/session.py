"""Sessions, and the threads in them (api.md#sessions, #sending-events, #resources and #threads)."""

from typing import Annotated, Any, Literal

from qoder_cli.app import App
from qoder_cli.base.model import Run
from qoder_cli.nouns.agent import Model, Servers, Skills, Tools
from qoder_cli.nouns.parts import (
    Blocks,
    Budget,
    DefineOutcome,
    EnvironmentId,
    Given,
    Metadata,
    Resources,
    SystemMessage,
    Title,
    UserMessage,
    Variables,
    Vaults,
)
from qoder_cli.nouns.schema import NEEDED_THERE, SECRET, UNSET, ByType, Fields, Range, Short, Size, id_or_name
from qoder_cli.nouns.table import noun
from qoder_cli.nouns.views import SESSION_COLUMNS, SESSION_FIRST, session_fields, session_row, with_name
from qoder_cli.output.cells import Fields as Shown


class _SessionAgent(Fields):
    """An agent, perhaps at one version."""

    id: Annotated[str, id_or_name("agent_", "agent")]
    type: Literal["agent"]
    version: Annotated[int, Range(1)] = UNSET


class _Overridden(Fields):
    """An agent with other settings for this session only."""

    id: Annotated[str, id_or_name("agent_", "agent")]
    type: Literal["agent_with_overrides"]
    version: Annotated[int, Range(1)] = UNSET
    model: Model = UNSET
    system: str = UNSET
    tools: Tools = UNSET
    mcp_servers: Servers = UNSET
    skills: Skills = UNSET


class Session(Fields):
    """A session: an agent at work in an environment."""

    agent: Annotated[
        _SessionAgent | _Overridden,
        ByType(),
        Short("id", "an agent's id, or a mapping of id and version", (("type", "agent"),)),
        "The agent.",
    ]
    environment_id: EnvironmentId
    title: Title
    environment_variables: Variables
    initial_events: Annotated[
        list[Annotated[UserMessage | DefineOutcome, ByType()]], Size(most=50), "The messages that start its first turn."
    ]
    resources: Resources
    vault_ids: Vaults
    metadata: Metadata
    budget: Annotated[Budget, "The most that it may cost, in credits."]


class _AgentChange(Fields):
    tools: Tools = UNSET
    mcp_servers: Servers = UNSET


class _SessionUpdate(Fields):
    """What can be changed of a session."""

    agent: _AgentChange
    environment_variables: Variables
    title: Title
    metadata: Metadata
    budget: Budget


class _Interrupt(Fields):
    type: Literal["user.interrupt"]
    session_thread_id: Any = UNSET


class _Confirmation(Fields):
    type: Literal["user.tool_confirmation"]
    tool_use_id: Given = NEEDED_THERE
    result: Literal["allow", "deny"] = UNSET
    decision: Literal["approve", "deny"] = UNSET  # instead, on older servers
    deny_message: Any = UNSET
    session_thread_id: Any = UNSET


class _ToolResult(Fields):
    type: Literal["user.custom_tool_result"]
    custom_tool_use_id: Given = NEEDED_THERE
    content: Blocks = UNSET
    is_error: Any = UNSET
    session_thread_id: Any = UNSET


_Event = Annotated[UserMessage | DefineOutcome | SystemMessage | _Interrupt | _Confirmation | _ToolResult, ByType()]


class _SentEvents(Fields):
    """What is sent to a session."""

    events: Annotated[list[_Event], Size(1)]


class _Added(Fields):
    """A file that a session gets."""

    type: Literal["file"]
    file_id: Given
    mount_path: Any


class _Renewed(Fields):
    """The new secret of a repository."""

    authorization_token: Annotated[str, SECRET]
    password: Annotated[str, SECRET]


def _row(raw: dict[str, Any], app: App) -> Shown:
    session = Run({**raw, "type": "session"})
    if app.output.is_drawn:
        name = app.seen_names.standing_for(session.deployment_id)
        return with_name(session_row(session), session.deployment_id, name, is_wide=app.output.is_wide)
    return session_row(app.named(session))


noun(
    *("session", "sessions"),
    columns=" ".join(SESSION_COLUMNS),
    statuses="running idle rescheduling terminated",
    sample="sess_demo",
    archived="An archived session accepts no more messages; its events are kept.",
    deleted="The events of a session are deleted too, so the outcome of its run is lost.",
    has_name=False,
    takes_file=False,  # its fields may hold secrets
    moves=True,
    arguments="sessions",
    found_by="qoder_cli.commands.session:found",
    row=_row,
    first=SESSION_FIRST,
    sheet=lambda raw, app: session_fields(app.named(Run(raw))),
    kept={"agent": {}, "environment_id": "", "title": None, "status": "idle", "metadata": {}}
    | {"environment_variables": {}, "resources": [], "vault_ids": [], "deployment_id": None, "budget": None}
    | {"outcome_evaluations": [], "stats": {}, "usage": {}},
    body=Session,
    bodies={
        "update": _SessionUpdate,
        "events.send": _SentEvents,
        "resources.add": _Added,
        "resources.update": _Renewed,
    },
)
noun(
    *("session thread", "sessions.threads"),
    columns="id status agent parent credits created",
    sample="sthr_demo",
    sample_of="sess_demo",
    type="session_thread",
    archived="An archived thread accepts no more messages.",
    has_name=False,
)
