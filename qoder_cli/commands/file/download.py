"""`qoder file download`."""

from typing import Annotated, Any

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import NotFound, QoderError, Signalled, UsageError
from qoder_cli.base.model import Resource, text
from qoder_cli.cli.options import flag, is_list, named
from qoder_cli.commands.made import change_things, one_argument, things_named
from qoder_cli.help.completion import values
from qoder_cli.nouns.table import NOUNS

_FILE = NOUNS["file"]
Files: Any = one_argument(_FILE, several=True)
Folder = Annotated[
    str | None,
    typer.Option(
        "--output-dir", "-O", metavar="DIR", help="Folder for it (default: .).", autocompletion=values.folders
    ),
]


def download(
    app: App,
    things: Files,
    output_dir: Folder = None,
    stdout: Annotated[bool, flag("--stdout", "Write the content of one file to standard output.")] = False,
) -> int:
    """Download files that agents made.

    Each keeps its name; an existing file is never replaced: the new one gets
    a number. JSON is the file, with a key `path`. Files that were uploaded
    can usually not be downloaded: the API refuses (exit 4).

    Examples:
      qoder file download report.md -O /tmp
      qoder file download report.md --stdout"""
    from qoder_cli.nouns import downloads
    from qoder_cli.nouns.change import Change, Changes, Target, read
    from qoder_cli.output.results import Result

    if stdout:
        return _print(app, things, is_saved=output_dir is not None)
    folder = downloads.prepare_folder("." if output_dir is None else output_dir)
    targets = things_named(app, _FILE, things)

    class Downloads(Changes):
        def _changed(self, target: Target) -> Result[Resource]:
            try:
                raw = read(app, target)
                path = downloads.download(app.client, target.id, text(raw.get("filename")) or target.id, folder)
            except NotFound as error:
                return Result(target.id, error=error.about(target.called))
            except QoderError as error:
                return Result(target.id, error=error)
            except Signalled as signalled:
                self._signalled = signalled
                return Result(target.id, attempted=False)
            app.progress.note(f"saved {path}")
            return Result(target.id, Resource({**raw, "path": str(path)}))

    change = Change("download", "downloading", "downloaded", "GET", "", "downloaded")
    return change_things(app, _FILE, change, targets, as_list=is_list(things), changes=Downloads)


def _print(app: App, things: list[str], *, is_saved: bool) -> int:
    """Write the content of one file to standard output, once all of it is there."""
    from qoder_cli.nouns import downloads
    from qoder_cli.nouns.named import id_of

    words = named(things, app, what="files")
    if len(words) > 1 or is_saved or app.output.format != "table":
        raise UsageError("--stdout is for the content of one file alone", hint="use --output-dir DIR")
    id = id_of(app, _FILE, words[0])
    app.output.content(b"".join(downloads.content_of(app.client, id, largest=downloads.LARGEST_SHOWN)))
    return 0
