"""Deployments (api.md#deployments)."""

from functools import cache
from typing import Annotated, Any, Literal

from qoder_cli.base import model
from qoder_cli.nouns.noun import Kind, Refers
from qoder_cli.nouns.parts import (
    Blocks,
    Budget,
    DefineOutcome,
    EnvironmentId,
    Metadata,
    Name,
    Resources,
    SystemMessage,
    Text,
    TextBlocks,
    UserMessage,
    VariablesText,
    Vaults,
)
from qoder_cli.nouns.schema import (
    IMPLIED,
    UNSET,
    ByServer,
    ByType,
    Fields,
    Range,
    Rule,
    Short,
    Shown,
    Size,
    StandsFor,
    id_or_name,
    must,
)
from qoder_cli.nouns.table import noun
from qoder_cli.nouns.views import DEPLOYMENT_COLUMNS, DEPLOYMENT_FIRST, deployment_fields, deployment_row

# cronsim and difflib are loaded only where a schedule is checked or shown.


def _expression(text: str) -> None:
    from qoder_cli.base import cron

    try:
        cron.parse(text)
    except ValueError as error:
        raise ValueError("invalid cron expression", str(error)) from None


def _zone(name: str) -> None:
    from difflib import get_close_matches

    from qoder_cli.base import cron

    try:
        cron.zone(name)
    except ValueError as error:
        if zones := _zones():  # without time zone data there is no telling
            near = get_close_matches(name.lower(), zones, n=1)
            meant = f"; did you mean {zones[near[0]]}?" if near else ""
            raise ValueError("unknown time zone", f"{error}{meant}") from None


@cache
def _zones() -> dict[str, str]:
    import zoneinfo

    return {name.lower(): name for name in sorted(zoneinfo.available_timezones())}


class Schedule(Fields, unknown="refused", called='a mapping like {expression: "0 9 * * *", timezone: UTC}, or null'):
    """When it runs by itself."""

    type: Literal["cron"] = IMPLIED
    # Names of months and days are not documented.
    expression: Annotated[
        str,
        Rule(_expression),
        must(lambda text: not any(map(str.isalpha, text)), "must be five fields of digits", where="server"),
        Shown({"examples": ["0 9 * * 1-5"]}),
        "Five fields of cron: minute, hour, day, month, weekday.",
    ]
    timezone: Annotated[str, Rule(_zone), Shown({"examples": ["Europe/Berlin"]}), "Its time zone."]
    last_run_at: ByServer = UNSET
    upcoming_runs_at: ByServer = UNSET


class _DeployedAgent(Fields, unknown="refused"):
    """An agent, perhaps at one version."""

    id: Annotated[str, id_or_name("agent_", "agent")]
    type: Literal["agent"] = IMPLIED
    version: Annotated[int, Range(1)] = UNSET


# In a file a text will do: it is sent as a block. A server takes only blocks, although older ones show texts.
_OR_TEXT = Shown({"anyOf": [{"type": "string", "minLength": 1}]})


class _UserMessage(UserMessage):
    """A message of the user."""

    content: Annotated[Blocks, _OR_TEXT]


class _SystemMessage(SystemMessage):
    """Instructions for the agent, besides the messages of the user."""

    content: Annotated[TextBlocks, _OR_TEXT]


_Event = Annotated[
    _UserMessage | _SystemMessage | DefineOutcome,
    ByType(whole="user.message, user.define_outcome or system.message"),
]


class Deployment(Fields, unknown="refused"):
    """A deployment: an agent, its environment, and the messages that start each run."""

    name: Name = UNSET
    description: Annotated[Annotated[str, Size(most=2048)] | None, "Description."] = UNSET
    agent: Annotated[
        _DeployedAgent,
        Short("id", "an agent's id or name, or a mapping of id and version", (("type", "agent"),)),
        "The agent, by id; its latest version is pinned.",
    ] = UNSET
    environment_id: EnvironmentId = UNSET
    environment_variables: VariablesText = UNSET
    schedule: Annotated[Schedule | None, "When it runs by itself; null: never."] = UNSET
    initial_events: Annotated[list[_Event], Size(1, 50), "What each run begins with."] = UNSET
    resources: Resources = UNSET
    vault_ids: Vaults = UNSET
    metadata: Metadata = UNSET
    budget: Annotated[
        Budget | None, Shown({"anyOf": [{"type": "number"}]}), "The most that a run may cost, in credits."
    ] = UNSET
    type: ByServer = UNSET
    status: ByServer = UNSET
    paused_reason: ByServer = UNSET
    created_at: ByServer = UNSET
    updated_at: ByServer = UNSET
    archived_at: ByServer = UNSET


class InFile(Deployment, unknown="refused"):
    """A deployment as a file declares it. An update may have any of its fields."""

    environment: Annotated[
        str, id_or_name("env_", "environment"), StandsFor("environment_id"), "The environment, by id or name."
    ] = UNSET
    message: Annotated[Text, StandsFor("initial_events"), "Short for one user.message in initial_events."] = UNSET
    paused: Annotated[bool, "Whether its schedule is off; left out: as it is."] = UNSET
    vaults: Annotated[
        list[Annotated[str, id_or_name("vault_", "vault")]],
        Size(most=50),
        StandsFor("vault_ids"),
        "Vaults, by id or name.",
    ] = UNSET


def _fires(raw: dict[str, Any]) -> str:
    from qoder_cli.base import cron

    fires = cron.words_of(model.mapping(raw.get("schedule")))
    if fires:
        return f"Its schedule: {fires}. "
    return ""


noun(
    *("deploy", "deployments"),
    columns=" ".join(DEPLOYMENT_COLUMNS),
    statuses="active paused",
    sample="nightly-report",
    needed="--name --agent --env --message",
    archived="An archived deployment can never be run or changed again. Its schedule stops, and it is renamed to "
    "NAME_archived_TIMESTAMP.",
    kept={"name": "", "description": None, "agent": {}, "environment_id": "", "environment_variables": ""}
    | {"initial_events": [], "metadata": {}, "paused_reason": None, "resources": [], "schedule": None}
    | {"status": "active", "vault_ids": []}
    | dict.fromkeys(("created_at", "updated_at", "archived_at", "budget")),
    body=Deployment,
    in_file=InFile,
    kind=Kind(
        rank=7,
        text="message",
        refers=(
            Refers(("agent",), "agent", pins="agent"),
            Refers(("environment_id",), "env"),
            Refers(("vault_ids", "*"), "vault"),
            Refers(("resources", "*", "memory_store_id"), "memory"),
            Refers(("resources", "*", "file_id"), "file"),
        ),
        how="deployments:HOW",
    ),
    arguments="deployments",
    found_by="qoder_cli.nouns.lookup:ids_to_change",
    explained_by="qoder_cli.nouns.lookup:explain_missing",
    warned=_fires,
    row=lambda raw, app: deployment_row(model.Deployment(raw)),
    first=DEPLOYMENT_FIRST,
    sheet=lambda raw, app: deployment_fields(model.Deployment(raw), now=app.client.server_now()),
)
