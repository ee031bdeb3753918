"""JSON Schema of the files of a folder: what a body may hold, with what only files have, references above all."""

from collections.abc import Callable
from typing import Any

from qoder_cli.nouns.schema import json_schema
from qoder_cli.nouns.table import NOUNS, of_file
from qoder_cli.settings.values import REGIONS
from qoder_cli.stack.folder import KINDS, STACK_NAME, TYPE_OF
from qoder_cli.stack.things import CREDENTIAL

Schema = dict[str, Any]

DECLARED = tuple(words for words in KINDS if words != "skill")  # a skill is a folder of files
_TEXT = {"type": "string", "minLength": 1}
_VERSION = {"description": "The version that is pinned.", "anyOf": [{"type": "integer"}, _TEXT]}


def schema_of(words: str) -> Schema:
    """Return the schema of a file that declares something of a kind."""
    noun = NOUNS[words]
    found = json_schema(of_file(noun, is_new=True))
    fields = found["properties"]
    about, about_id = "What this file declares, if its folder does not say it.", "Which one it is, if not by its name"
    own = {
        "type": {"description": about, "const": TYPE_OF[words], "type": "string"},
        "id": {"description": f"{about_id}: {noun.prefix}…", "type": "string"},
    }
    found["properties"] = {**own, **fields}
    if more := _MORE.get(words):
        more(found["properties"])
    return found


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
        "properties": {name: {**each, "type": "string"} for name, each in fields.items()},
        "type": "object",
    }


def _object(about: str, **fields: Schema) -> Schema:
    """Return the schema of a mapping whose first field is needed."""
    needed = list(fields)[:1]
    return {
        "description": about,
        "properties": fields,
        "required": needed,
        "additionalProperties": False,
        "type": "object",
    }


def _of_agent(fields: Schema) -> None:
    at_version = _object("A skill of this folder at a version.", path=_TEXT, version=_VERSION)
    item_schema = fields["skills"]["items"]
    fields["skills"] = {
        **fields["skills"],
        "description": "Skills: paths of folders (../skills/NAME), names, or fields.",
        "items": {"anyOf": [_TEXT, at_version, item_schema]},
    }


def _of_deployment(fields: Schema) -> None:
    by_path = _object("An agent of this folder at a version.", path=_TEXT, version=_VERSION)
    by_name = _object("An agent by its name at a version.", name=_TEXT, version=_VERSION)
    agent = fields["agent"]
    fields["agent"] = {
        "anyOf": [*agent["anyOf"], by_path, by_name],
        "description": "The agent: the path of its file (../agents/NAME.md), its name, or its id.",
    }
    fields["environment"]["description"] = "The environment: the path of its file, its name, or its id."
    fields["vaults"]["description"] = "Vaults: paths of their files, names, or ids."
    fields["paused"] = {"description": "Whether its schedule is off; left out: as it is.", "type": "boolean"}
    attached = _object(
        "A text file to upload, or the file of a memory store to attach, by path.",
        path=_TEXT,
        mount_path=_TEXT,
        access=_TEXT,
        instructions={"type": "string"},
        type={"enum": ["file", "memory_store"], "type": "string"},
    )
    fields["resources"]["items"] = {"anyOf": [attached, fields["resources"]["items"]]}


def _of_vault(fields: Schema) -> None:
    credential = json_schema(of_file(NOUNS[CREDENTIAL], is_new=True))
    del credential["$schema"]
    about = "Its credentials; write ${NAME} for each secret, and set that variable."
    fields["credentials"] = {"description": about, "items": credential, "type": "array"}


_MORE: dict[str, Callable[[Schema], None]] = {"agent": _of_agent, "deploy": _of_deployment, "vault": _of_vault}
