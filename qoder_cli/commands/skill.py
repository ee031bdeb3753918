"""`qoder skill`: skills, uploaded and downloaded."""

from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import NotFound
from qoder_cli.base.model import text
from qoder_cli.base.words import counted
from qoder_cli.cli.options import Text, Texts, argument, option
from qoder_cli.commands import generic
from qoder_cli.commands.editing import METADATA, write
from qoder_cli.commands.file import FOLDER
from qoder_cli.help.completion import values
from qoder_cli.nouns import skill as skills
from qoder_cli.nouns.bodies import pairs
from qoder_cli.nouns.edits.thing import read, target_of
from qoder_cli.nouns.file import prepare_folder
from qoder_cli.nouns.named import read_one
from qoder_cli.nouns.shown import fields, name_of, show
from qoder_cli.nouns.table import NOUNS

_SKILL = NOUNS["skill"]


def upload(
    app: App,
    path: str = argument("DIR|ZIP", "Folder, or zip, with SKILL.md at its root.", values.files),
    title: Text = option("--title", "TEXT", "Title of a new skill; default: its name."),
    metadata: Texts = METADATA,
) -> None:
    """Upload a skill, or a new version of an existing one.

    Its name is in SKILL.md. Sends nothing if the newest version has the same
    files. Skips hidden files and __pycache__, refuses symbolic links and over
    50 MiB. Exits 9 if the response was lost and it is unclear whether it was
    added.

    Examples:
      qoder skill upload release-notes.zip --title 'Release notes'"""
    labels = pairs(metadata)
    name, files = skills.read(path)
    fields: dict[str, Any] = {"display_title": title or name, "metadata": labels}
    where = app.client.settings.whereabouts
    skill = skills.find(app, name)
    if skill is None:
        app.progress.note(f"creating skill {name} ({counted(len(files), 'file')}){where}")
        write(app, skills.step_of(name, files, None, fields))
        return
    id = str(skill["id"])
    skill = read(app.client, target_of(_SKILL, id), fresh=True)  # now: once a version is added, no error may hide that
    if title or metadata:
        app.progress.warn(f"{name} is there already ({id}): --title and --metadata are for a new skill")
    if skills.is_same(app, skill, files):
        app.progress.note(f"version {skills.newest(skill)} of {name} ({id}) has these files; nothing was sent")
        show(app, _SKILL, skill)
    else:
        app.progress.note(f"adding a version to skill {name} ({id}){where}")
        skill = write(app, skills.step_of(name, files, skill, fields))
        app.progress.note(f"{name} has version {skills.newest(skill)}")


def download(
    app: App,
    skill: str = generic.one_argument(_SKILL),
    version: int | None = option("--version", "N", "This version (default: the latest).", min=1),
    output_dir: str = FOLDER,
) -> None:
    """Download a skill into a folder of its name.

    Nothing that is there is replaced: a second download gets a number. JSON is
    the version, with a key `path`.

    Examples:
      qoder skill download release-notes -O /tmp"""
    folder = prepare_folder(output_dir)
    raw = read_one(app, _SKILL, skill)
    id = str(raw["id"])
    number = version or skills.number_of(skills.newest_of(app, raw))
    if not number:
        raise NotFound(f"{id} has no version", next=app.looking("skill", "versions", id))
    numbered = read_one(app, _SKILL, id, version=number)
    name = text(numbered.get("name")) or name_of(raw) or id
    path = skills.unpack(app, id, str(number), name, folder)
    app.progress.note(f"saved {path}")
    shown = {**fields(numbered, ("id", *_SKILL.listing.numbered)), "path": str(path)}
    app.output.record(shown, data={**numbered, "path": str(path)}, id=str(numbered.get("id")))


COMMANDS = generic.commands("skill", upload=upload, download=download)
