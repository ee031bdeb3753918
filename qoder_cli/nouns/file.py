"""Files (help/pages/api.md#files)."""

from typing import Annotated

from qoder_cli.nouns.noun import Kind
from qoder_cli.nouns.parts import Metadata
from qoder_cli.nouns.schema import Fields, like
from qoder_cli.nouns.table import noun


class File(Fields):
    """A file, as a form; its content stands beside."""

    name: str
    metadata: Metadata
    expires_in_seconds: Annotated[str, like("[1-9][0-9]{0,8}", "must be seconds")]


noun(
    *("file", "files"),
    columns="id name bytes type session downloadable expires created",
    more="status metadata",
    sample="notes.md",
    deleted="The API refuses while an active session uses the file.",
    named_by="filename",
    kept={"filename": "", "mime_type": "text/plain", "size_bytes": 0, "downloadable": False, "scope": None}
    | {"metadata": {}, "status": "ready", "expires_at": None},
    dated="created_at",
    body=File,
    kind=Kind(rank=2, is_declared=False, is_written_once=True, how="files"),
)
