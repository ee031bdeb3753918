"""Skills: read, compared, uploaded once, and unpacked safely (api.md#skills)."""

import io
import os
import re
import stat
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from unicodedata import normalize

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, NoResponse, OutcomeUnknown, UsageError
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Raw, Resource, mapping, text
from qoder_cli.base.plainfile import open_at_once, read_checked, read_most, reason_of
from qoder_cli.base.pool import in_order, throw
from qoder_cli.files.tree import Problem
from qoder_cli.http.readback import READ_WITHIN, Part, Sent, object_write
from qoder_cli.http.write import Write
from qoder_cli.nouns.declared import Declaration
from qoder_cli.nouns.edits.difference import ABSENT, FieldChange
from qoder_cli.nouns.edits.forms import form_of, form_with
from qoder_cli.nouns.edits.owner import CONTENT, content_digest, name_in_mark
from qoder_cli.nouns.edits.step import Origin, Send, Step
from qoder_cli.nouns.file import safe_name, save
from qoder_cli.nouns.how import Content, Exporting, How, Lists, Unexportable
from qoder_cli.nouns.lists import ServerLists
from qoder_cli.nouns.noun import Kind
from qoder_cli.nouns.parts import Metadata, Title
from qoder_cli.nouns.schema import Fields, Size
from qoder_cli.nouns.table import noun, path_of


class Skill(Fields):
    """A skill, as a form; its files stand beside."""

    display_title: Annotated[Title, Size(1, 256)]
    metadata: Metadata


_SKILL = noun(
    *("skill", "skills"),
    columns="id name source version updated",
    more="description metadata created",
    numbered="version name description created",
    sample="release-notes",
    deleted="All versions of the skill are deleted.",
    named_by="_name",
    kept={"display_title": "", "source": "custom", "metadata": {}},
    dated="created_at updated_at",
    takes_file=False,
    body=Skill,
    kind=Kind(rank=5, main="SKILL.md", how="skill:HOW"),
)


Files = Mapping[str, bytes]  # by their paths below the skill's root

LARGEST = 50 * 2**20  # bytes (api.md#limits)
UNPACKED = 4 * LARGEST  # bytes that a zip of the server may become
MAIN = "SKILL.md"
_MOST = 10_000  # files
_LONGEST = 1024  # characters of a path
_IGNORED = ("__MACOSX", "__pycache__")  # and all that begins with a dot
_NAME = re.compile(r"\w[\w .-]{0,63}")
_FRONT = re.compile(r"---[ \t]*\r?\n(.*?\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_NUMBER = re.compile("[0-9]{1,18}")
# What zipfile raises for what is no zip, is broken, or made in an unknown way.
_BROKEN = (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, OSError)


class Unfit(Exception):
    """Not a skill that can be uploaded or unpacked; the message says why."""


def read(path: str) -> tuple[str, Files]:
    """Return a skill's name and files, from a folder or a zip. Raises UsageError."""
    try:
        if os.path.isdir(path):
            files = _checked(_of_folder(Path(path)))
        else:
            files = rooted(unzipped(read_checked(path, None, LARGEST), LARGEST))
        return name_in(files), files
    except Unfit as error:
        hint = f"name a folder, or a zip, whose {MAIN} begins with name: and description: between two lines of ---"
        raise UsageError(f"{path} {error}", hint=hint) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {reason_of(error)}", hint="check the name") from None


def _of_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield a folder's files. Raises Unfit for a link or a device, OSError."""
    left = LARGEST
    for place, folders, names in os.walk(folder, onerror=throw):
        folders[:] = sorted(name for name in folders if not is_ignored(name))
        for name in sorted(names) + folders:
            path = Path(place) / name
            below = path.relative_to(folder).as_posix()
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode) or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise Unfit(f"has {below!r}, which is a link or not a file")
            if stat.S_ISREG(mode) and not is_ignored(below):
                with open_at_once(path) as file:
                    content = read_most(file, left + 1)
                left -= len(content)
                if left < 0:
                    raise Unfit(f"is larger than {LARGEST // 2**20} MiB")
                yield below, content


def unzipped(content: bytes, most: int) -> Files:
    """Return a zip's files, of at most so many bytes. Raises Unfit."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _checked(_members(archive, most))
    except Exception as error:
        if not isinstance(error, _BROKEN) and type(error).__module__ not in ("zlib", "_lzma", "struct"):
            raise
        raise Unfit(f"is not a zip that can be read ({error})") from None


def _members(archive: zipfile.ZipFile, most: int) -> Iterator[tuple[str, bytes]]:
    members = archive.infolist()
    if sum(member.file_size for member in members) > most:
        raise Unfit(f"has more than {most // 2**20} MiB of files")
    for member in members:
        name = member.orig_filename  # the other one ends at the first NUL
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or member.flag_bits & 1:
            raise Unfit(f"has {name!r}, which is a link, not a file or encrypted")
        if member.is_dir():
            _check(name.rstrip("/"))
            continue
        with archive.open(member) as file:  # gives no more than was declared
            content = file.read(member.file_size + 1)
        if len(content) != member.file_size:
            raise Unfit(f"has {name!r}, which is not as large as it says")
        yield name, content


def _checked(members: Iterator[tuple[str, bytes]]) -> Files:
    """Return files by name. Raises Unfit if any system could not unpack them safely."""
    files: dict[str, bytes] = {}
    plain_names: set[str] = set()
    for name, content in members:
        _check(name)
        if len(plain_names) == _MOST:
            raise Unfit(f"has more than {_MOST:,} files")
        plain = normalize("NFC", name).casefold()
        if plain in plain_names:
            raise Unfit(f"has two files named {name!r}")
        plain_names.add(plain)
        if not is_ignored(name):
            files[name] = content
    folders = {plain[:at] for plain in plain_names for at in range(len(plain)) if plain[at] == "/"}
    if both := folders & plain_names:
        raise Unfit(f"has {min(both)!r} both as a file and as a folder")
    return files


def _check(name: str) -> None:
    parts = [part.lstrip(".") for part in name.split("/")]  # what is hidden is left out later
    if list(map(safe_name, parts)) != parts or len(name) > _LONGEST:
        raise Unfit(f"has {name[:80]!r}, which not every system takes as a path below it")


def is_ignored(name: str) -> bool:
    """Return whether a path is skipped: a hidden file, or one that a system made."""
    return any(part.startswith(".") or part in _IGNORED for part in name.split("/"))


def rooted(files: Files) -> Files:
    """Return a zip's files below its root, or below its only folder."""
    tops = {name.partition("/")[0] for name in files}
    if MAIN in files or len(tops) != 1 or f"{min(tops)}/{MAIN}" not in files:
        return files
    return {name.partition("/")[2]: content for name, content in files.items()}


def zipped(files: Files) -> bytes:
    """Return a zip of files; the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            member = zipfile.ZipInfo(name)
            member.compress_type, member.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(member, files[name])
    return buffer.getvalue()


def name_in(files: Files) -> str:
    """Return the name in SKILL.md's front matter. Raises Unfit."""
    from qoder_cli.files.yamlread import trees

    if MAIN not in files:
        raise Unfit(f"has no {MAIN} at its root")
    name, why = None, "does not begin with front matter between two lines of ---"
    try:
        match = _FRONT.match(files[MAIN].decode("utf-8-sig"))
        if match:
            [document] = trees(match[1], [])
            name = document.child("name")
            why = "its front matter has no name, of letters, digits, hyphens"
    except Problem as problem:
        why = problem.text
    except ValueError:
        why = "is not UTF-8, or its front matter is not one mapping"
    if name and isinstance(name.content, str) and _NAME.fullmatch(name.content):
        return name.content
    raise Unfit(f"has a {MAIN} that cannot be used: {why}")


def find(app: App, name: str) -> Raw | None:
    """Return our skill of this name, if there is one, as its newest version says. Raises UsageError for several."""
    ours = list(filter(is_ours, ServerLists(app).rows(_SKILL)))
    names = in_order(lambda skill: text(skill.get("name")) or name_of(app, skill), ours)
    named = [skill for skill, its in zip(ours, names, strict=True) if its == name]
    if len(named) > 1:
        ids = ", ".join(str(skill["id"]) for skill in named)
        raise UsageError(f"{len(named)} skills are named {name!r}", hint=f"remove all but one: {ids}")
    return next(iter(named), None)


def is_ours(raw: Raw) -> bool:
    """Return whether a skill is of our own, and not the service's."""
    source = text(raw.get("source")) or text(mapping(raw.get("source")).get("type"))
    return source in (None, "custom")


def newest(raw: Raw) -> str | None:
    """Return the newest version that a skill shows, as it is in paths, or None."""
    return str(raw.get("latest_version") or "") or None


def newest_of(app: App, skill: Raw) -> str | None:
    """Return a skill's newest version; where it shows none, that of its versions. Raises ApiError."""
    if (shown := newest(skill)) is not None:
        return shown
    pages = app.client.pages(f"{path_of(_SKILL, str(skill['id']))}/versions", {"limit": 100}, fresh=True)
    numbers = [number_of(mapping(row).get("version")) for page in pages for row in page["data"]]
    return str(max(numbers, default=0) or "") or None


def name_of(app: App, skill: Raw) -> str | None:
    """Return the name of a skill's newest version; without one, its title. Raises ApiError."""
    version = newest_of(app, skill)
    if version is None:
        return text(skill.get("display_title"))
    numbered = mapping(app.client.get(f"{path_of(_SKILL, str(skill['id']))}/versions/{segment(version)}", fresh=True))
    if (name := text(numbered.get("name"))) is None:
        raise NoResponse(f"version {version} of {skill['id']} shows no name; nothing was sent")
    return name


def files_of(app: App, id: str, version: str, *, retry: bool = True) -> Files:
    """Return the files of a version, whose zip is not JSON (api.md#skills). Raises Unfit, ApiError."""
    client = app.client
    path = f"{path_of(_SKILL, id)}/versions/{segment(version)}/content"

    def ask() -> bytes:
        return client.accept(client.send(client.prepare("GET", path, headers={"accept": "*/*"}))).content

    if retry:
        return rooted(unzipped(client.patiently(ask), UNPACKED))
    return rooted(unzipped(ask(), UNPACKED))


def is_same(app: App, skill: Raw, files: Files) -> bool:
    """Return whether its newest version has these files, as far as it can be compared."""
    if (version := newest_of(app, skill)) is None:
        return False
    try:
        return files_of(app, str(skill["id"]), version) == files
    except (ApiError, Unfit) as error:
        app.progress.note(f"cannot compare it with version {version} ({error}); uploading it")
        return False


def step_of(name: str, files: Files, skill: Raw | None, fields: Raw) -> Step:
    """Return the step that creates a skill with these fields and files, or adds a version to one that is there."""
    # As the official SDK sends them, or as one zip if the API asks for it (api.md#skills).
    parts: list[Part] = [("files[]", f"{name}/{path}", content) for path, content in sorted(files.items())]
    send = Send("create", fields, parts, lambda: ("file", f"{name}.zip", zipped(files)))
    change = FieldChange("files", ABSENT, sorted(files))
    if skill is not None:
        send = send._replace(verb="version", body={}, make=partial(_new_version, files=files))
        change = change._replace(before=f"version {newest(skill)}")
    form = form_of(_SKILL)
    return Step(
        noun=_SKILL, form=form, wanted=fields, current=skill, changes=[change], sends=[send], origin=Origin(name)
    )


def _new_version(app: App, skill: Raw, parts: Sequence[Part], *, files: Files) -> Write[Resource]:
    """Return the write of a version. None is marked as ours; a newer one with our files will do.

    It comes to what the skill shows of it.
    """
    id, before = str(skill["id"]), number_of(newest_of(app, skill))
    path = f"{path_of(_SKILL, id)}/versions"

    def is_ours(number: str) -> bool:
        try:
            return files_of(app, id, number, retry=False) == files
        except Unfit as error:
            raise OutcomeUnknown(f"version {number} cannot be compared: it {error}") from None

    def of(version: Raw) -> Resource | None:
        if version.get("version") and version.get("skill_id") in (None, id):
            return Resource({"id": id, "latest_version": version["version"]})
        return None

    def find() -> Resource | None:
        for page in app.client.pages(path, {"limit": 100}, within=READ_WITHIN, retry=False, fresh=True):
            for row in map(mapping, page["data"]):
                if number_of(row.get("version")) > before and is_ours(str(row["version"])):
                    return of(row)
        return None

    return object_write(
        app.client,
        Sent("POST", path, files=parts),
        parse=lambda value: of(mapping(value)),
        what=f"adding a version to {id}",
        shows=lambda resource: number_of(newest(resource.raw)) > before,
        find=find,
        look=app.looking("skill", "versions", id),
    )


def number_of(version: Any) -> int:
    """Return a version's number; 0 if it has none."""
    if _NUMBER.fullmatch(str(version)):
        return int(version)
    return 0


def unpack(app: App, id: str, version: str, name: str, folder: Path) -> Path:
    """Unpack a version into a new folder within one, whole or not at all; return its path.

    Raises NoResponse if it is unsafe to unpack, UsageError if it cannot be written, ApiError.
    """
    try:
        files = files_of(app, id, version)
    except Unfit as error:
        raise NoResponse(f"the response {error}") from None

    def write(part: Path) -> None:
        part.mkdir()
        for path, content in files.items():
            target = part / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                file.write(content)

    return save(write, f"skill {name}", name, folder)


# In a folder: one is a folder with SKILL.md, found by the name in it, and compared by its content.


def _read_folder(path: str) -> Content:
    try:
        name, files = read(path)
    except UsageError as error:
        raise Problem(error.message.removeprefix(f"{path} ")) from None
    return Content(name, {"display_title": name}, files)


def _name_of(lists: Lists, row: Raw) -> str | None:
    # Of one that the list does not name, the newest version is asked, once.
    known = text(row.get("name")) or name_in_mark(_SKILL, row)
    name: str | None = known or lists.once(("name", row["id"]), lambda: name_of(lists.app, row))
    return name


def _plan(lists: Lists, declared: Declaration, step: Step) -> Step:
    """Return a step that uploads the files, unless the newest version has them."""
    files, current = declared.content, step.current
    if current is not None:
        noted = mapping(current.get("metadata")).get(CONTENT)
        if noted and newest_of(lists.app, current) in ("1", None):
            is_as_wanted = noted == content_digest(files)
        else:
            is_as_wanted = is_same(lists.app, current, files)
        if is_as_wanted:
            return step.with_(changes=(), sends=(), wanted={})
    uploading = step_of(declared.name, files, current, step.body)
    if current is None:
        marks = {CONTENT: content_digest(files), **mapping(step.body.get("metadata"))}
        uploading = step_of(declared.name, files, current, {**step.body, "metadata": marks})
    fields = step.wanted if current is None else {}  # the title of one that is there stays
    return step.with_(changes=uploading.changes, sends=uploading.sends, wanted=fields)


def _differs(lists: Lists, raw: Raw) -> str:
    """Return why a skill is not as its mark says: only the content of its first version is noted."""
    version, noted = newest(raw), mapping(raw.get("metadata")).get(CONTENT)
    if version is None or not noted:
        return "nothing says what its content was"
    try:
        files = files_of(lists.app, str(raw["id"]), version)
    except Unfit as error:
        return f"its version {version} {error}"
    return "" if content_digest(files) == noted else f"its version {version} is not what was uploaded first"


def _export(export: Exporting, fields: Raw) -> Raw:
    """Write the files of a skill; no document says what it is."""
    version = newest_of(export.lists.app, export.raw)
    if version is None:
        raise Unexportable("has no version")
    try:
        files = files_of(export.lists.app, str(export.raw["id"]), version)
        name_in(files)
    except Unfit as error:
        raise Unexportable(str(error)) from None
    for path in sorted(files, key=lambda path: (path != MAIN, path)):
        export.files[f"{export.path}/{path}"] = files[path]
    return {}


_PLAIN = form_with(("display_title", "metadata"))
HOW = How(
    read=_read_folder,
    name=_name_of,
    ours=is_ours,
    # The newest version says whether somebody added one.
    form=_PLAIN._replace(settable=lambda raw: {**_PLAIN.settable(raw), "latest_version": newest(raw)}),
    plan=_plan,
    differs=_differs,
    export=_export,
)
