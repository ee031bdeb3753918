"""Fields that several nouns have (api.md#operations, #limits and #sending-events)."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from qoder_cli.base.marks import MOST_KEYS, is_ours, without_ours
from qoder_cli.base.model import mapping
from qoder_cli.nouns.schema import (
    IMPLIED,
    NEEDED_THERE,
    SECRET,
    UNSET,
    ByType,
    Fields,
    Option,
    Range,
    Reader,
    Rule,
    ServerWords,
    Shown,
    Size,
    ValueReader,
    id_of,
    like,
    must,
)

VARIABLES = "environment_variables"
RESERVED = "cas_config"  # the server's own key in metadata (api.md#deployments)
NOT_THEIRS = "is a key of qoder's own, which tells who created this; remove it"
ENV_NAME = r"[^=;\s](?:[^=;\r\n]*[^=;\s])?"  # of a file; the server takes fewer
IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"
# Names that the service sets itself are refused (api.md#sessions).
VARIABLE = rf"(?!QODER_|CAW_|(?:SERVER_ENDPOINT|USER_ID|WORK_DIR)\Z){IDENTIFIER}"
UPLOADS = "/mnt/session/uploads/"  # where a file is mounted by default (api.md#resources)

_ASSIGNMENT = re.compile(rf"\s*({ENV_NAME})=(.*)")


def labels_of(raw: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata of a thing that people set: no keys of ours, nor the server's own."""
    labels = without_ours(mapping(raw.get("metadata"))).items()
    return {key: value for key, value in labels if isinstance(value, str) and key != RESERVED}


def assignments(text: str) -> list[tuple[str, str]] | None:
    """Return names and values of `K=V` pairs in a text; None if one is malformed."""
    pieces = [piece for piece in re.split(r"[;\r\n]", text) if piece.strip()]
    pairs = [match.groups() for piece in pieces if (match := _ASSIGNMENT.fullmatch(piece))]
    if len(pairs) == len(pieces):
        return [(name, value) for name, value in pairs]
    return None


# Names and texts.

Text = Annotated[str, Size(1)]
Name = Annotated[str, Size(most=256), must(str.strip, "is blank"), Option("--name", "NAME"), "Name."]
Title = Annotated[str, Option("--title", "TEXT"), "Title."]
Description = Annotated[str, Option("--description", "TEXT"), "Description."]
Given = Annotated[Any, must(bool, "must be given", where="server")]
Names = list[str]
Url = Annotated[str, like(r"https?://[^\s/?#]\S*", "must be a URL, such as https://mcp.example.com/mcp")]

# Metadata.


class _Json(ValueReader):
    """What a form has as JSON in a text."""

    def read(self, value: Any, read_on: Callable[[Any], Any], reader: Reader) -> Any:
        if isinstance(value, str) and reader.where == "server":
            value = json.loads(value)
        return read_on(value)


class _Deletes(ValueReader):
    """Null, which in an update deletes a key."""

    def read(self, value: Any, read_on: Callable[[Any], Any], reader: Reader) -> Any:
        if value is None and (reader.where == "server" or reader.null_clears):
            return None
        return read_on(value)


_KEY = Annotated[
    str,
    Size(most=64),
    must(lambda key: key != RESERVED, "is read-only; remove it", where="file"),
    must(lambda key: not is_ours(key), NOT_THEIRS, where="file"),
]
Metadata = Annotated[
    dict[_KEY, Annotated[str, Size(most=512), _Deletes()]],
    must(
        lambda metadata: sum(value is not None for value in metadata.values()) <= MOST_KEYS,
        f"has more than {MOST_KEYS} entries",
    ),
    _Json(),
    Option("--metadata", "KEY=VALUE", "Set a metadata key.", is_repeatable=True),
    "Keys and texts of your own: at most 16.",
]

# What deployments and sessions have.


@dataclass(frozen=True)
class _Variables(ValueReader):
    """Environment variables: a mapping, or a text of NAME=VALUE pairs, which is all that some servers take."""

    of_server: tuple[type, ...]

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        return {"anyOf": [{"type": "string", "examples": ["LOG_LEVEL=info;FLAG=on"]}, handler(schema)]}

    def read(self, value: Any, read_on: Callable[[Any], Any], reader: Reader) -> Any:
        is_server = reader.where == "server"
        if not isinstance(value, self.of_server if is_server else (str, dict)):
            raise ValueError("must be a mapping of names and values, or a text of NAME=VALUE lines")
        if isinstance(value, str) and assignments(value) is None and not (is_server and _lines(value)):
            raise ValueError("must be NAME=VALUE pairs, each on a line of its own or with ; between them")
        if is_server:
            pairs: Any = value
            if isinstance(value, str):
                pairs = variables_in(value)
            for name, text in pairs.items():
                if not re.fullmatch(VARIABLE, name):
                    raise ValueError(f"cannot have the name {name!r}")
                if not isinstance(text, str):
                    raise ValueError(f"must have a text for {name}")
        elif isinstance(value, str) and any(re.match(r"#|export\s", name) for name, _ in assignments(value) or ()):
            # A server would take for names what only a shell reads.
            raise ValueError("must not contain comments or `export`; remove them, or write a mapping")
        if is_server or isinstance(value, str):
            return value
        return read_on(value)


def variables_in(text: str) -> dict[str, str]:
    """Return the variables that a server reads in a text; none if it is malformed."""
    return dict(assignments(text) or _lines(text) or ())


def _lines(variables: str) -> dict[str, str] | None:
    """Return the pairs of a text in lines, whose values may have a `;`."""
    lines = [line.partition("=") for line in variables.splitlines()]
    if len(lines) > 1 and all(equals for _, equals, _ in lines):
        return {name: value for name, _, value in lines}
    return None


_Pairs = dict[
    Annotated[str, like(ENV_NAME, "is not a valid variable name: no =, ; or line break, and no space around it")],
    Annotated[str, like(r"[^;\r\n]*", "must not contain a line break or ;, which the API cannot carry")],
]
VariablesText = Annotated[_Pairs, _Variables((str,)), "Environment variables."]
Variables = Annotated[_Pairs, _Variables((str, dict)), "Environment variables."]


class Budget(Fields, unknown="refused", called="an amount in credits, or null"):
    """The most that a session may cost."""

    type: Literal["limit"] = IMPLIED
    max_credit_cost: Annotated[
        str,
        like(
            r"(?=.*[1-9])[0-9]{1,12}(\.[0-9]{1,2})?",
            "must be an amount above 0, with at most 12 digits before the point and 2 after it",
        ),
        Shown({"examples": ["100.00"]}),
        "Credits, as a text.",
    ]


class MountedFile(Fields):
    """A file for the session."""

    type: Literal["file"]
    file_id: Given = NEEDED_THERE
    mount_path: Any = UNSET


class _Repository(Fields):
    type: str
    url: Given = NEEDED_THERE
    mount_path: Any = UNSET
    checkout: Any = UNSET


class GithubRepository(_Repository):
    """A repository on GitHub."""

    type: Literal["github_repository"]
    authorization_token: Annotated[str | None, SECRET, "Never shown again."] = UNSET


class GitRepository(_Repository):
    """A repository elsewhere."""

    type: Literal["git_repository"]
    password: Annotated[str | None, SECRET, "Never shown again."] = UNSET


class MemoryStore(Fields):
    """Memories that the agent reads, and may write."""

    type: Literal["memory_store"]
    memory_store_id: Given = NEEDED_THERE
    access: Annotated[str, ServerWords(("read_write", "read_only"))] = UNSET
    instructions: Annotated[str, Size(most=4096), "What the memories are for."] = UNSET


def _mounted_once(resources: list[dict[str, Any]]) -> None:
    taken = set[str]()
    for resource in resources:
        path, file_id = resource.get("mount_path"), resource.get("file_id")
        if path is None and isinstance(file_id, str):
            path = f"{UPLOADS}{file_id}"
        if not isinstance(path, str):
            continue
        if path in taken:
            raise ValueError("has two at the same path", f"has two at the path {path}")
        taken.add(path)


Resource = Annotated[MountedFile | GithubRepository | GitRepository | MemoryStore, ByType()]
Resources = Annotated[list[Resource], Size(most=500), Rule(_mounted_once), "Files, repositories and memory stores."]
Vaults = Annotated[list[Annotated[str, id_of("vault_")]], Size(most=50), "Ids of vaults."]
EnvironmentId = Annotated[str, id_of("env_"), "Id of an environment."]


class TextBlock(Fields, unknown="open"):
    """Text."""

    type: Literal["text"]
    text: str


class Block(Fields, unknown="open"):
    """An image, a document, a kind to come."""

    type: str


Blocks = Annotated[list[Annotated[TextBlock | Block, ByType()]], Size(1)]
TextBlocks = Annotated[list[TextBlock], Size(1)]


class UserMessage(Fields):
    """A message of the user."""

    type: Literal["user.message"]
    content: Blocks


class SystemMessage(Fields):
    """Instructions for the agent, besides the messages of the user."""

    type: Literal["system.message"]
    content: TextBlocks


class _TextRubric(Fields):
    """How an outcome is judged, as text."""

    type: Literal["text"]
    content: Annotated[str, Size(1, 262_144)]


class _FileRubric(Fields):
    """How an outcome is judged, in a file."""

    type: Literal["file"]
    file_id: Annotated[str, id_of("file_")]


class DefineOutcome(Fields):
    """The agent's goal, and how it is judged."""

    type: Literal["user.define_outcome"]
    description: Text
    rubric: Annotated[_TextRubric | _FileRubric, ByType(judge="server")]
    max_iterations: Annotated[int, Range(1, 20)] = UNSET
