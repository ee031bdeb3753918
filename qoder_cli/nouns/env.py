"""Environments, and the work queue of those that are self-hosted (api.md#environments)."""

from typing import Annotated, Any, Literal

from qoder_cli.nouns.parts import Description, Metadata, Name, Names
from qoder_cli.nouns.schema import UNSET, ByType, Fields, Size
from qoder_cli.nouns.table import noun

LONGEST_SETUP = 64 * 1024  # bytes


class _Networking(Fields):
    """What its sessions can reach; limited if it is left out."""

    type: Literal["unrestricted", "limited"] = UNSET
    allowed_hosts: Names = UNSET
    allow_mcp_servers: bool = UNSET
    allow_package_managers: bool = UNSET


class _Packages(Fields):
    """What is installed."""

    type: Any = UNSET
    apt: Names = UNSET
    cargo: Names = UNSET
    gem: Names = UNSET
    go: Names = UNSET
    npm: Names = UNSET
    pip: Names = UNSET


class _Cloud(Fields):
    """An environment that the service runs."""

    type: Literal["cloud"]
    networking: _Networking = UNSET
    packages: _Packages = UNSET
    setup_script: Annotated[str, Size(most=LONGEST_SETUP), "Run before each session."] = UNSET


class _SelfHosted(Fields):
    """An environment where workers of your own run."""

    type: Literal["self_hosted"]


class Environment(Fields):
    """An environment for sessions."""

    name: Name
    description: Description
    config: Annotated[_Cloud | _SelfHosted, ByType(default="cloud"), "How it is set up; replaced whole."]
    scope: Annotated[Literal["organization", "account"], "Who can use it."]
    metadata: Metadata


class Work(Fields):
    """A work item."""

    metadata: Metadata


class _Stop(Fields):
    force: bool


noun(
    *("env", "environments"),
    columns="id name type network packages updated archived",
    more="description hosts setup scope metadata created",
    sample="default",
    archived="No new session can use an archived environment.",
    kept={"name": "", "description": "", "metadata": {}, "config": {}, "scope": "organization"},
    deleted="The API refuses while any session, even a deleted one, refers to the environment.",
    body=Environment,
)
noun(
    *("env work", "environments.work"),
    columns="id state session created acknowledged started heartbeat stopped",
    more="metadata",
    sample="work_demo",
    sample_of="workers",
    has_name=False,
    body=Work,
    type="work",
    kept={"data": {}, "state": "queued", "metadata": {}, "acknowledged_at": None, "started_at": None}
    | dict.fromkeys(("latest_heartbeat_at", "stop_requested_at", "stopped_at")),
    dated="created_at",
    bodies={"stop": _Stop},
)
