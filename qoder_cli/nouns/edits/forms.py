"""The normal form of the nouns' fields (api.md#agents and #environments)."""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from qoder_cli.base.jsontext import Number
from qoder_cli.base.marks import without_ours
from qoder_cli.base.model import Raw, mapping
from qoder_cli.base.places import spelled
from qoder_cli.nouns.edits.difference import ABSENT, CONDITIONS, FieldChange, Form, metadata
from qoder_cli.nouns.how import how_of
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.schema import Fields, secrets_in, without
from qoder_cli.nouns.table import operation

_DECIMAL = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,2}))?")
_DEFAULTS = {"enabled": True, "permission_policy": {"type": "always_allow"}}  # of a toolset's tools


@cache
def form_of(noun: Noun) -> Form:
    """Return how a noun's things are compared."""
    if (form := how_of(noun).form) is not None:
        return form
    written = operation(noun, "update") or operation(noun, "create")
    return form_with(written.body if written else (), noun.holds.body)._replace(moves=noun.holds.moves)


def form_with(fields: Sequence[str], body: type[Fields] = Fields) -> Form:
    """Return how things are compared of which these fields can be set; secrets of the body are not."""

    def settable(raw: Raw) -> Raw:
        kept = without_secrets({name: raw.get(name) for name in fields})
        if "metadata" in fields:
            kept["metadata"] = without_ours(mapping(raw.get("metadata")))
        return kept

    def without_secrets(values: Raw) -> Raw:
        stripped: Raw = without(normal(values), secrets_in(body, values))
        return stripped

    return Form(settable, without_secrets, own={"metadata": metadata})


def unseen(noun: Noun, fields: Raw) -> list[FieldChange]:
    """Return the secrets in fields as changes: no server shows what it has."""
    paths = secrets_in(noun.holds.body, fields)
    return [FieldChange(spelled(path), ABSENT, value, is_secret=True) for path, value in paths if value]


def normal(fields: Raw) -> Raw:
    """Return fields in normal form, without conditions."""
    kept = {name: value for name, value in fields.items() if name not in CONDITIONS}
    for name, normalized in _NORMAL.items():
        if name in kept:
            kept[name] = normalized(kept[name])
    return kept


def _model(model: Any) -> Any:
    if isinstance(model, dict) and model.get("id") and not any(value for key, value in model.items() if key != "id"):
        return model["id"]
    return model


def _roster(multiagent: Any) -> Any:
    if not isinstance(multiagent, dict) or not isinstance(multiagent.get("agents"), list):
        return multiagent
    agents = [{"type": "agent", "id": agent} if isinstance(agent, str) else agent for agent in multiagent["agents"]]
    return {**multiagent, "agents": agents}


def _tools(tools: Any) -> Any:
    normal = list(tools) if isinstance(tools, list) else []
    for at, tool in enumerate(normal):
        if default := mapping(mapping(tool).get("default_config")):
            kept = {key: value for key, value in default.items() if _DEFAULTS.get(key) != value}
            normal[at] = {**tool, "default_config": kept}
    return normal or tools


def _network(config: Any) -> Any:
    """Return what has a `networking`, without the permissions that this does not give."""
    if not isinstance(config, dict) or not isinstance(config.get("networking"), dict):
        return config
    network = config["networking"].items()
    kept = {key: value for key, value in network if not (key.startswith("allow_") and value is False)}
    return {**config, "networking": kept}


def _config(config: Any) -> Any:
    """Return the config of an environment; without `networking` it is limited (api.md#environments)."""
    if isinstance(config, dict) and config.get("type", "cloud") == "cloud":
        config = {**config, "networking": {"type": "limited", **mapping(config.get("networking"))}}
    return _network(config)


def budget(budget: Any) -> Any:
    """Return a budget with its type and two decimals; what has an unexpected type as it is."""
    if isinstance(budget, int | str | Number) and not isinstance(budget, bool):
        budget = {"max_credit_cost": budget}
    if not isinstance(budget, dict):
        return budget
    normal = {"type": "limit", **budget}
    cost = budget.get("max_credit_cost")
    if isinstance(cost, int | Number) and not isinstance(cost, bool):
        cost = normal["max_credit_cost"] = str(cost)
    if isinstance(cost, str) and (match := _DECIMAL.fullmatch(cost)):
        normal["max_credit_cost"] = f"{match[1].lstrip('0') or '0'}.{match[2] or '':0<2}"
    return normal


_NORMAL: dict[str, Callable[[Any], Any]] = {"model": _model, "tools": _tools, "multiagent": _roster, "budget": budget}
_NORMAL |= {"config": _config, "auth": _network}
