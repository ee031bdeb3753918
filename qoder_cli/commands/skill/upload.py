"""`qoder skill upload`."""

from typing import Annotated, Any

import typer

from qoder_cli.app import App
from qoder_cli.cli.options import argument
from qoder_cli.commands.edited import Metadata
from qoder_cli.help.completion import values
from qoder_cli.nouns.shown import show
from qoder_cli.nouns.table import NOUNS


def upload(
    ctx: typer.Context,
    path: Annotated[str, argument("DIR|ZIP", "Folder, or zip, with SKILL.md at its root.", values.files)],
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="Title of a new skill; default: its name.")] = None,
    metadata: Metadata = None,
) -> None:
    """Upload a skill: a new one, or a new version of the one with its name.

    The name is the one in SKILL.md. Nothing is sent if the newest version has
    the same files. What begins with a dot and __pycache__ are not uploaded;
    links are refused. At most 50 MiB.

    Exits 9 if the response was lost and it is unclear whether it was added.

    Examples:
      qoder skill upload release-notes
      qoder skill upload release-notes.zip --title 'Release notes'"""
    from qoder_cli.nouns import skills
    from qoder_cli.nouns.body import pairs
    from qoder_cli.nouns.change import read
    from qoder_cli.nouns.write import target_of

    app: App = ctx.obj
    noun = NOUNS["skill"]
    labels = pairs("--metadata", metadata)
    files = skills.read(path)
    name = skills.name_in(files, path)
    known = skills.find(app, name)
    if known is None:
        app.progress.note(f"creating skill {name} ({len(files)} files) {app.client.settings.whereabouts}")
        fields: dict[str, Any] = {"display_title": title or name, "metadata": labels}
        show(app, noun, skills.create(app, name, fields, files))
        return
    id = str(known["id"])
    if title or metadata:
        app.progress.warn(f"{name} is there already ({id}): --title and --metadata are for a new skill")
    if skills.is_same(app, known, files):
        app.progress.note(f"version {skills.newest(known)} of {name} ({id}) has these files; nothing was sent")
    else:
        app.progress.note(f"adding a version to skill {name} ({id}) {app.client.settings.whereabouts}")
        version = skills.add_version(app, known, name, files)
        app.progress.note(f"{name} has version {version['version']}")
    show(app, noun, read(app, target_of(noun, id)))
