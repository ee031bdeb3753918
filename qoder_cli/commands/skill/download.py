"""`qoder skill download`."""

from typing import Annotated, Any

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import NotFound
from qoder_cli.base.model import text
from qoder_cli.cli.options import flag
from qoder_cli.commands.file.download import Folder
from qoder_cli.commands.made import one_argument
from qoder_cli.nouns.named import read_one
from qoder_cli.nouns.table import NOUNS

_SKILL = NOUNS["skill"]
Skill: Any = one_argument(_SKILL)


def download(
    ctx: typer.Context,
    skill: Skill,
    version: Annotated[int | None, typer.Option(min=1, metavar="N", help="This version (default: the latest).")] = None,
    output_dir: Folder = None,
    zip: Annotated[bool, flag("--zip", "Keep the zip as it comes, instead of unpacking it.")] = False,
) -> None:
    """Download a skill into a folder of its name.

    Nothing that is there is replaced: a second download gets a number. JSON
    is the version, with a key `path`.

    Examples:
      qoder skill download release-notes -O /tmp
      qoder skill download release-notes --version 1 --zip -O /tmp"""
    from qoder_cli.nouns import downloads, skills
    from qoder_cli.nouns.shown import fields, name_of

    app: App = ctx.obj
    folder = downloads.prepare_folder("." if output_dir is None else output_dir)
    raw = read_one(app, _SKILL, skill)
    id = str(raw["id"])
    number = version or skills.number_of(skills.newest(raw))
    if not number:
        raise NotFound(f"{id} has no version", next=app.looking("skill", "versions", id))
    found = read_one(app, _SKILL, id, version=number)
    name = text(found.get("name")) or name_of(raw) or id
    content = skills.content_of(app, id, str(number))
    if zip:
        path = downloads.save([content], f"skill {name}", f"{name}.zip", folder)
    else:
        path = skills.unpack(content, name, folder)
    app.progress.note(f"saved {path}")
    shown = {**fields(found, ("id", *_SKILL.numbered)), "path": str(path)}
    app.output.record(shown, data={**found, "path": str(path)}, id=str(found.get("id")))
