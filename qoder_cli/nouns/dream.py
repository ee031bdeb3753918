"""Dreams, which tidy memories up (api.md#dreams)."""

from typing import Annotated, Literal

from qoder_cli.nouns.agent import Model
from qoder_cli.nouns.parts import Names, Text
from qoder_cli.nouns.schema import UNSET, ByType, Fields, Option, Size
from qoder_cli.nouns.table import noun


class _StoreInput(Fields):
    """A memory store that it reads."""

    type: Literal["memory_store"]
    memory_store_id: Text


class _SessionsInput(Fields):
    """Sessions that it reads."""

    type: Literal["sessions"]
    session_ids: Names = UNSET


class _New(Fields):
    """It writes to a new memory store."""

    type: Literal["create_new"]


class _Existing(Fields):
    """It writes to a memory store that exists."""

    type: Literal["update_existing"]
    memory_store_id: Text


class Dream(Fields):
    """A dream."""

    model: Model
    inputs: Annotated[
        list[Annotated[_StoreInput | _SessionsInput, ByType()]], Size(1), Option("--from", ""), "What it reads."
    ]
    instructions: Annotated[str, "What to look for."]
    output_behavior: Annotated[_New | _Existing, ByType(), Option("--into", ""), "Where it writes."]


noun(
    *("dream", "dreams"),
    columns="id status model inputs outputs session created ended",
    more="instructions error archived",
    sample="drm_demo",
    archived="Archived dreams are hidden from lists.",
    has_name=False,
    kept={"status": "pending", "inputs": [], "model": {}, "instructions": None, "outputs": []}
    | {"output_behavior": {}, "session_id": None, "usage": None, "error": None, "ended_at": None},
    dated="created_at archived_at",
    body=Dream,
)
