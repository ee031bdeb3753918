"""Environments, and the work queue of those that are self-hosted (api.md#environments)."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from qoder_cli.base.model import mapping
from qoder_cli.nouns.how import How
from qoder_cli.nouns.noun import Kind
from qoder_cli.nouns.parts import Description, Metadata, Name
from qoder_cli.nouns.schema import UNSET, ByType, Fields, Rule, Size, like, must
from qoder_cli.nouns.table import noun

LONGEST_SETUP = 64 * 1024  # bytes
_HOST = r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?"
_PACKAGES = list[Annotated[str, like(r"[^-\s]\S*", "is not a package; name one each time")]]
_OF_CLOUD = ("networking", "packages", "setup_script")


class _Networking(Fields):
    """What its sessions can reach; limited if it is left out."""

    type: Literal["unrestricted", "limited"] = UNSET
    allowed_hosts: list[Annotated[str, like(_HOST, "is not a host name, such as api.example.com")]] = UNSET
    allow_mcp_servers: bool = UNSET
    allow_package_managers: bool = UNSET


class _Packages(Fields):
    """What is installed."""

    type: Any = UNSET
    apt: _PACKAGES = UNSET
    cargo: _PACKAGES = UNSET
    gem: _PACKAGES = UNSET
    go: _PACKAGES = UNSET
    npm: _PACKAGES = UNSET
    pip: _PACKAGES = UNSET


class _Cloud(Fields):
    """An environment that the service runs."""

    type: Literal["cloud"]
    networking: _Networking = UNSET
    packages: _Packages = UNSET
    setup_script: Annotated[
        str,
        Size(most=LONGEST_SETUP),
        must(
            lambda text: len(text.encode(errors="replace")) <= LONGEST_SETUP,
            "is larger than 64 KB; have it fetch a file",
        ),
        "Run before each session.",
    ] = UNSET


class _SelfHosted(Fields):
    """An environment where workers of your own run."""

    type: Literal["self_hosted"]


def _fits(config: Any) -> None:
    extra = next((name for name in _OF_CLOUD if config.get(name)), None)
    if config.get("type") == "self_hosted" and extra:
        raise ValueError(f"is self-hosted, and takes no {extra}; remove it")


class Environment(Fields):
    """An environment for sessions."""

    name: Name
    description: Description
    config: Annotated[_Cloud | _SelfHosted, ByType(default="cloud"), Rule(_fits), "How it is set up; replaced whole."]
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
    kind=Kind(
        rank=1,
        text="description",
        filled={"config": {"type": "cloud", "networking": {"type": "limited"}}, "scope": "organization"},
        how="env:HOW",
    ),
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


def _remarks(lists: Any, step: Any, *declared: Any) -> Iterator[str]:
    config = mapping(step.wanted.get("config"))
    if step.current is None and config.get("type", "cloud") == "cloud" and "networking" not in config:
        yield "its network is limited: without `networking` nothing outside can be reached"


HOW = How(remarks=_remarks)
