"""`qoder file upload`."""

from pathlib import PurePath
from typing import Annotated

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.cli.options import argument
from qoder_cli.help.completion import values


def upload(
    app: App,
    paths: Annotated[list[str], argument("PATH...", "Text files; - is standard input.", values.files)],
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name for it; by default that of the file.")] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Set a metadata key. Repeatable.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="D", help="Let it expire after this long, e.g. 90m, 24h.")
    ] = None,
) -> int:
    """Upload text files, for agents to read.

    The API takes UTF-8 texts of up to about 5 MB. All files are read before
    the first is sent. Each upload makes a new file, even under a known name.
    With several files JSON is an array, an item for each.

    Exits 9 if the response was lost and the file is not in the list.

    Examples:
      qoder file upload notes.md --metadata team=core
      qoder file upload notes.md --name today.md --expires 24h"""
    from qoder_cli.base.times import parse_duration
    from qoder_cli.commands.made import change_things
    from qoder_cli.nouns import files
    from qoder_cli.nouns.body import pairs
    from qoder_cli.nouns.change import Change, Changes, Target
    from qoder_cli.nouns.table import NOUNS
    from qoder_cli.nouns.write import Create

    if name is not None and len(paths) > 1:
        raise UsageError("--name is that of one file", hint="name one file at a time")
    if "-" in paths and name is None:
        raise UsageError("standard input has no name", hint="pass --name NAME")
    if paths.count("-") > 1:
        raise UsageError("standard input can only be read once", hint="pass - once")
    fields = {"metadata": pairs("--metadata", metadata)}
    files.check_metadata(fields["metadata"])
    more = {}
    if expires is not None:
        more["expires_in_seconds"] = int(parse_duration(expires, option="--expires"))
        if not more["expires_in_seconds"]:
            raise UsageError("--expires must be at least one second", hint="e.g. 24h")
    read = {
        path: (
            files.check_name(PurePath(path).name if name is None else name),
            files.read_text(path, stdin=app.stdin),
        )
        for path in dict.fromkeys(paths)
    }
    targets = [(path, Target("/files", path, path, ("file", "list"))) for path in paths]

    class Uploads(Changes):
        def prepare(self, target: Target) -> Create:
            return files.upload(app, *read[target.id], {**fields, **more})

    change = Change("upload", "uploading", "uploaded", "POST", "", "uploaded")
    return change_things(app, NOUNS["file"], change, targets, as_list=len(paths) > 1, changes=Uploads)
