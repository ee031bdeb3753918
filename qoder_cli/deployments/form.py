"""How deployments are compared (api.md#deployments).

An agent named without a version stays pinned: its bare id would pin the latest.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from qoder_cli.base.model import Deployment, mapping
from qoder_cli.files.normal import VARIABLES, WRITE_ONLY, assignments, comparable, filled_in, settable
from qoder_cli.files.tree import spelled
from qoder_cli.nouns.edits.difference import ABSENT, FieldChange, Form, by_key, metadata

LATEST = "latest"  # stands for an agent's newest version


def secrets_of(wanted: Mapping[str, Any]) -> list[FieldChange]:
    """Return the secrets of resources as changes: no server shows them."""
    return [
        FieldChange(spelled(("resources", index, name)), ABSENT, resource[name])
        for index, resource in enumerate(wanted.get("resources", []))
        for name in WRITE_ONLY
        if resource.get(name)
    ]


def _agent(before: Any, after: Any) -> Iterator[FieldChange] | None:
    if not isinstance(after, str) or before is ABSENT:
        return None
    pinned = _pin(before)
    is_other = pinned.get("id") != after
    return iter([FieldChange("agent.id", pinned.get("id", ABSENT), after)] if is_other else [])


def _agent_anew(before: Any, after: Any) -> Iterator[FieldChange] | None:
    if not isinstance(after, str) or _pin(before).get("id") != after:
        return _agent(before, after)
    return iter([FieldChange("agent.version", _pin(before).get("version", ABSENT), LATEST)])


def _pin(agent: Any) -> dict[str, Any]:
    return {"id": agent} if isinstance(agent, str) else mapping(agent)


def _variables(before: Any, after: Any) -> Iterator[FieldChange] | None:
    had, has = _by_name(before), _by_name(after)
    if had is None or has is None:
        return None
    return by_key(VARIABLES, had, has)


def _by_name(variables: Any) -> dict[str, str] | None:
    """Return a text of variables by name; None if one repeats or is malformed."""
    if variables is ABSENT:
        return {}
    pairs = assignments(variables) if isinstance(variables, str) else None
    if pairs is not None and len(dict(pairs)) == len(pairs):
        return dict(pairs)
    return None


FORM = Form(
    lambda raw: settable(Deployment(raw)),
    comparable,
    {"agent": _agent, "metadata": metadata, VARIABLES: _variables},
    filled_in,
    is_exact=True,
    is_read_back=True,
)
REPINNING = FORM._replace(own={**FORM.own, "agent": _agent_anew})  # an agent without a version is to get its latest
