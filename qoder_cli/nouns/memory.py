"""Memory stores, the memories in them, and their versions (help/pages/api.md#memory)."""

from typing import Annotated, Any

from qoder_cli.nouns.how import Exporting, How
from qoder_cli.nouns.noun import Kind
from qoder_cli.nouns.parts import Description, Metadata, Name, Text
from qoder_cli.nouns.schema import Fields, Size, like
from qoder_cli.nouns.table import noun


class MemoryStore(Fields):
    """A memory store."""

    name: Name
    description: Description
    metadata: Metadata


class Memory(Fields):
    """A memory: a text at a path."""

    path: Annotated[
        str, Size(1, 1024), like(r"(?!\.{0,2}(?:/|$))(?:(?!/\.{0,2}(?:/|$)).)+", "must be relative"), "Where it is."
    ]
    content: Text
    metadata: Metadata
    content_sha256: str


_DIGEST = {"content": None, "content_sha256": None, "content_size_bytes": None}

noun(
    *("memory", "memory_stores"),
    columns="id name entries bytes status updated archived",
    more="description metadata created",
    sample="project",
    created="Say in --description what it is for: agents read that.",
    archived="An archived memory store can no longer be written to.",
    deleted="The memories in a store are deleted too.",
    kept={"name": "", "description": "", "metadata": {}},
    body=MemoryStore,
    kind=Kind(rank=4, text="description", below="memory entry", how="memory"),
)
noun(
    *("memory entry", "memory_stores.memories"),
    columns="id path bytes updated",
    more="sha256 metadata created",
    sample="conventions.md",
    kept={"memory_store_id": "", "path": "", **_DIGEST, "metadata": {}},
    dated="created_at updated_at",
    takes_file=False,
    body=Memory,
    named_by="path",
    kind=Kind(rank=4, is_declared=False, is_written_once=True, how="memories"),
)
noun(
    *("memory version", "memory_stores.memory_versions"),
    type="memory_version",
    kept={"memory_store_id": "", "memory_id": "", "operation": "created", "path": "", **_DIGEST}
    | {"created_by": {"type": "api_actor", "api_key_id": "key_sandbox"}, "redacted_at": None, "redacted_by": None},
    dated="created_at",
    called="version",
    columns="id path operation bytes by created redacted",
    more="memory sha256",
    sample="memver_1",
)


def _export(export: Exporting, fields: dict[str, Any]) -> dict[str, Any]:
    from qoder_cli.nouns.memories import export_entries

    return export_entries(export, fields)


HOW = How(export=_export)
