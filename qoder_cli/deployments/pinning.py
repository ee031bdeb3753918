"""The latest versions of agents, read so that pinning one anew sends nothing where it is pinned so already.

No page promises that the agent of a deployment may be read (api/facts.md, 4: GET /agents/{id}). Where it cannot, its
bare id is sent, which pins the latest, whichever that is.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qoder_cli.base.ahead import in_order
from qoder_cli.base.errors import ApiError, QoderError
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Deployment, mapping
from qoder_cli.files.load import Declared
from qoder_cli.files.normal import settable

if TYPE_CHECKING:
    from qoder_cli.app import State

AT_A_TIME = 8  # deployments or agents that are read

Found = Deployment | QoderError | None  # what a declared deployment is now: it, why it cannot be read, or not there


def at_latest(state: "State", declared: Sequence[Declared], found: Sequence[Found]) -> list[Declared]:
    """Return deployments as they are declared, with the latest version of an agent that each has and names without one.

    Each agent is read once. One that cannot be read, or not as new as it is pinned (a replica lags), is left as it is.
    """
    pinned = [_pinned(*pair) for pair in zip(declared, found, strict=True)]
    latest = _latest(state, sorted({agent["id"] for agent in pinned if agent}))
    return [_at(one, agent, latest) for one, agent in zip(declared, pinned, strict=True)]


def _pinned(declared: Declared, found: Found) -> dict[str, Any]:
    """Return the agent that a deployment has and that is named without a version; empty where that is not so."""
    agent = mapping(settable(found).get("agent")) if isinstance(found, Deployment) else {}
    return agent if agent and agent.get("id") == declared.fields.get("agent") else {}


def _latest(state: "State", ids: Sequence[str]) -> dict[str, Any]:
    def read(id: str) -> Any:
        with suppress(ApiError):
            return mapping(state.client.get(f"/agents/{segment(id)}")).get("version")
        return None

    return dict(zip(ids, in_order(read, ids, at_a_time=AT_A_TIME), strict=True))


def _at(declared: Declared, pinned: dict[str, Any], latest: dict[str, Any]) -> Declared:
    now, then = latest.get(pinned.get("id", "")), pinned.get("version")
    if not isinstance(now, int) or not isinstance(then, int) or now < then:
        return declared
    return replace(declared, fields={**declared.fields, "agent": {**pinned, "version": now}})
