"""`qoder file`: texts for agents, and what they made."""

from pathlib import PurePath

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.base.model import Raw, Resource, text
from qoder_cli.base.times import parse_duration
from qoder_cli.cli.options import Text, Texts, argument, is_list, option
from qoder_cli.commands import generic
from qoder_cli.commands.editing import METADATA
from qoder_cli.commands.generic import change_things, one_argument, things_named
from qoder_cli.help.completion import values
from qoder_cli.nouns import file as files
from qoder_cli.nouns.bodies import pairs
from qoder_cli.nouns.edits.thing import Target, read
from qoder_cli.nouns.edits.verbs import Change, changed
from qoder_cli.nouns.table import NOUNS

_FILE = NOUNS["file"]


def upload(
    app: App,
    paths: list[str] = argument("PATH...", "Text files; - is standard input.", values.files),
    name: Text = option("--name", "NAME", "Name for it; by default that of the file."),
    metadata: Texts = METADATA,
    expires: Text = option("--expires", "D", "Let it expire after this long, e.g. 90m, 24h."),
) -> None:
    """Upload text files, for agents to read.

    Takes UTF-8 texts of up to about 5 MB, and reads all before it sends the
    first. Each upload makes a new file, even under a known name. Exits 9 if
    the response was lost and the file is not listed.

    Examples:
      qoder file upload notes.md --metadata team=core"""
    if name is not None and len(paths) > 1:
        raise UsageError("--name is that of one file", hint="name one file at a time")
    if "-" in paths and name is None:
        raise UsageError("standard input has no name", hint="pass --name NAME")
    fields: Raw = {"metadata": pairs(metadata)}
    if expires is not None:
        fields["expires_in_seconds"] = int(parse_duration(expires, option="--expires"))
        if not fields["expires_in_seconds"]:
            raise UsageError("--expires must be at least one second", hint="e.g. 24h")
    names = {path: files.check_name(PurePath(path).name if name is None else name) for path in paths}
    contents = {path: files.read_text(path, stdin=app.stdin) for path in names}
    targets = [(path, Target("/files", path, path, ("file", "list"))) for path in paths]

    change = Change("upload", "uploading", "uploaded", "POST", "", "uploaded")

    def upload_one(target: Target) -> Resource:
        uploaded = changed(app, target, change, files.upload(app, names[target.id], contents[target.id], fields))
        if expires is not None and uploaded.raw.get("expires_at") is None:
            app.progress.warn(f"{uploaded.id} may not expire: the response shows no expires_at")
        return uploaded

    change_things(app, _FILE, change, targets, as_list=len(paths) > 1, perform=upload_one)


FOLDER = option("--output-dir -O", "DIR", "Folder for it.", values.folders, default=".")


def download(app: App, things: list[str] = one_argument(_FILE, several=True), output_dir: str = FOLDER) -> None:
    """Download files that agents made.

    Each keeps its name; an existing file is never replaced: the new one gets a
    number. JSON is the file, with a key `path`. The API usually refuses files
    that you uploaded (exit 4).

    Examples:
      qoder file download report.md -O /tmp"""
    folder = files.prepare_folder(output_dir)
    targets = things_named(app, _FILE, things)

    def save(target: Target) -> Resource:
        raw = read(app.client, target)
        name, size = text(raw.get("filename")) or target.id, raw.get("size_bytes")
        path = files.download(app, target.id, name, folder, size)
        app.progress.note(f"saved {path}")
        return Resource({**raw, "path": str(path)})

    change = Change("download", "downloading", "downloaded", "GET", "", "downloaded")
    change_things(app, _FILE, change, targets, as_list=is_list(things), perform=save)


COMMANDS = generic.commands("file", upload=upload, download=download)
