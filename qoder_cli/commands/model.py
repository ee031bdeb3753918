"""`qoder model`: the models that agents can use."""

from typing import Any

import typer

from qoder_cli.app import App
from qoder_cli.base.model import Resource, mapping, text
from qoder_cli.output.cells import Fields, Id, Words


def list_models(ctx: typer.Context) -> None:
    """List the models that agents and sessions can use.

    Piped: id, name, enabled, price_factor, efforts, context, source.

    Examples:
      qoder model list
      qoder model list --json | jq -r '.[] | select(.is_enabled) | .id'"""
    app: App = ctx.obj
    models = [Resource(mapping(each)) for page in app.client.pages("/models", {}) for each in page["data"]]
    with app.output.rows(fields=_row, data=Resource.as_json) as rows:
        rows.show(models)


def _row(model: Resource) -> Fields:
    raw = model.raw
    efforts: Any = raw.get("efforts")
    name = text(raw.get("display_name"))
    return {
        "id": Id(text(raw.get("id")) or "-"),
        "name": Words(name) if name else None,
        "enabled": raw.get("is_enabled"),
        "price_factor": raw.get("price_factor"),
        "efforts": ", ".join(map(str, efforts)) if isinstance(efforts, list) and efforts else None,
        "context": raw.get("default_context_window") or raw.get("max_input_tokens"),
        "source": text(raw.get("source")),
    }


COMMANDS = {"list": list_models}
