"""JSON Schema of the files of a folder: what a body may hold, with what only files have, references above all."""

from collections.abc import Collection
from typing import Any

from qoder_cli.nouns.declaring import shorts_of
from qoder_cli.nouns.noun import Noun, Refers
from qoder_cli.nouns.schema import json_schema
from qoder_cli.nouns.table import NOUNS, of_file
from qoder_cli.settings.values import REGIONS
from qoder_cli.stack.folder import STACK_NAME

Schema = dict[str, Any]

_TEXT = {"type": "string", "minLength": 1}
_VERSION = {"description": "The version that is pinned.", "anyOf": [{"type": "integer"}, _TEXT]}


def schema_of(noun: Noun) -> Schema:
    """Return the schema of a file that declares something of a kind."""
    schema = json_schema(of_file(noun))
    fields = schema["properties"]
    about, about_id = "What this file declares, if its folder does not say it.", "Which one it is, if not by its name"
    own = {
        "type": {"description": about, "const": noun.type, "type": "string"},
        "id": {"description": f"{about_id}: {noun.prefix}…", "type": "string"},
    }
    shorts = shorts_of(noun)
    for name, refers in {str(refers.at[0]): refers for refers in noun.kind.refers}.items():
        _refer(refers, fields, {name, shorts.get(name, name)})
    schema["properties"] = {**own, **fields}
    return schema


def _refer(refers: Refers, fields: Schema, names: Collection[str]) -> None:
    """Let a place hold a name or a path, too: that of a field, which may have two `names`."""
    other = NOUNS[refers.noun]
    folder = f"../{other.operations}/NAME"
    by_path = f"the path of its folder ({folder})" if other.kind.main else f"the path ({folder}.yaml)"
    about = f"The {other.called}: {by_path}, its name, or its id."
    for name in names:
        match refers.at:
            case (_,):
                fields[name] = _named(refers, fields[name], about)
            case (_, "*"):
                fields[name]["items"] = _named(refers, fields[name]["items"], about)
            case (_, "*", _):
                about = "A file of this folder, by its path: a text to upload, or a memory store to attach."
                fields[name]["items"] = {"anyOf": [{**_object("path"), "description": about}, fields[name]["items"]]}


def _named(refers: Refers, schema: Schema, about: str) -> Schema:
    if not refers.pins:
        return {**_TEXT, "description": about}
    return {"description": about, "anyOf": [_TEXT, _object("path"), _object("name"), schema]}


def _object(field: str) -> Schema:
    return {"properties": {field: _TEXT, "version": _VERSION}, "required": [field], "type": "object"}


def root_schema() -> Schema:
    """Return the schema of qoder.yaml."""
    fields: dict[str, Schema] = {
        "stack": {
            "description": "Its name, which everything that is made from this folder carries as a mark.",
            "pattern": f"^(?:{STACK_NAME.pattern})$",
        },
        "region": {"description": "Where it lives; elsewhere nothing is sent.", "enum": list(REGIONS)},
        "base_url": {"description": "Where it lives, as a URL; elsewhere nothing is sent."},
        "workspace_id": {"description": "The workspace that it lives in; elsewhere nothing is sent."},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "additionalProperties": False,
        "description": "A folder whose files are applied together.",
        "properties": {name: {**field, "type": "string"} for name, field in fields.items()},
        "type": "object",
    }
