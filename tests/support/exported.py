"""A deployment as `export` writes it, and what a file declares."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from qoder_cli.base.model import Deployment
from qoder_cli.nouns.declared import Declaration
from qoder_cli.nouns.table import NOUNS
from qoder_cli.stack import declarations
from qoder_cli.stack.export import Exportable, Exporter
from qoder_cli.stack.folder import Folder, Source

DEPLOY = NOUNS["deploy"]


class Nothing:
    """The lists of a server that has nothing else."""

    def named(self, *_: Any) -> list[Any]:
        return []

    def of_id(self, *_: Any) -> None:
        return None

    def with_fields(self, _: Any, noun: Any, row: Any) -> Any:
        return row


def export(deployment: Deployment, *plain: str) -> str:
    """Return the file of a deployment; these variables have their values in it."""
    app: Any = SimpleNamespace(env={})
    lists: Any = Nothing()
    [exported] = Exporter(app, lists, [Exportable(DEPLOY, deployment.raw, str(deployment.name))], plain).all()
    [content] = exported.files.values()
    return content.decode()


def taken_back(text: str, suffix: str = ".md", env: Mapping[str, str] | None = None) -> Declaration:
    """Return the deployment that a file with this text declares."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"deployment{suffix}"
        file.write_text(text, "utf-8", newline="")
        [declared] = declarations.read(Folder(folder, [Source(str(file), DEPLOY)]), env or {}, stdin=None).things
    return declared
