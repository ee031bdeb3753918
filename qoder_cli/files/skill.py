"""Skills: read, compared, uploaded once, and unpacked safely."""

import io
import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unicodedata import normalize

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, NoResponse, OutcomeUnknown, Rejected, UsageError
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Resource, mapping, text
from qoder_cli.base.plainfile import open_at_once, read_checked, read_most, reason_of
from qoder_cli.base.pool import in_order, throw
from qoder_cli.files.tree import Problem
from qoder_cli.http.readback import READ_WITHIN, Part, Sent, object_write
from qoder_cli.http.write import Write
from qoder_cli.nouns.edits.create import creating
from qoder_cli.nouns.files import safe_name, save
from qoder_cli.nouns.named import alive
from qoder_cli.nouns.table import NOUNS, path_of

Files = Mapping[str, bytes]  # by their paths below the skill's root
Raw = dict[str, Any]

LARGEST = 50 * 2**20  # bytes (api.md#limits)
UNPACKED = 4 * LARGEST  # bytes that a zip of the server may become
MAIN = "SKILL.md"
_SKILL = NOUNS["skill"]
_MOST = 10_000  # files
_LONGEST = 1024  # characters of a path
_AT_A_TIME = 8  # skills to read, if lists lack names
_IGNORED = ("__MACOSX", "__pycache__")  # and all that begins with a dot
_NAME = re.compile(r"\w[\w .-]{0,63}")
_FRONT = re.compile(r"---[ \t]*\r?\n(.*?\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_NUMBER = re.compile("[0-9]{1,18}")
_DRIVE = re.compile("[A-Za-z]:")
_FORM = re.compile(r"\bfiles?\b")
# What zipfile raises for what is no zip, is broken, or made in an unknown way.
_BROKEN = (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, OSError)


class Unfit(Exception):
    """Not a skill that can be uploaded or unpacked; the message says why."""


def read(path: str) -> Files:
    """Return a skill's files, from a folder or a zip. Raises UsageError."""
    try:
        if os.path.isdir(path):
            files = _checked(_of_folder(Path(path)))
        else:
            files = rooted(unzipped(read_checked(path, None, LARGEST), LARGEST))
        if MAIN not in files:
            raise Unfit(f"has no {MAIN} at its root")
    except Unfit as error:
        hint = f"name a folder, or a zip, with {MAIN} at its root"
        raise UsageError(f"{path} {error}", hint=hint) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {reason_of(error)}", hint="check the name") from None
    return files


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
    if len(members) > _MOST or sum(member.file_size for member in members) > most:
        raise Unfit(f"has more than {_MOST:,} files, or {most // 2**20} MiB of them")
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
        if len(files) == _MOST:
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
    parts = name.split("/")
    if {"", ".", ".."} & set(parts) or "\\" in name or _DRIVE.match(name) or len(name) > _LONGEST:
        raise Unfit(f"has {name[:80]!r}, which leads out of it or is not a path")
    if not name.isprintable():
        raise Unfit(f"has {name[:80]!r}, which contains control characters")


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


def name_in(files: Files, path: str) -> str:
    """Return the name in SKILL.md's front matter. Raises UsageError."""
    from qoder_cli.files.yamlread import trees

    name, why = None, "does not begin with front matter between two lines of ---"
    try:
        found = _FRONT.match(files[MAIN].decode("utf-8-sig"))
        if found:
            [document] = trees(found[1], [])
            name = document.child("name")
            why = "its front matter has no name, of letters, digits, hyphens"
    except Problem as problem:
        why = problem.text
    except ValueError:
        why = "is not UTF-8, or its front matter is not one mapping"
    if name and isinstance(name.content, str) and _NAME.fullmatch(name.content):
        return name.content
    hint = "write a name: and a description: between two lines of --- at its beginning"
    raise UsageError(f"{path}: {MAIN}: {why}", hint=hint)


def find(app: App, name: str) -> Raw | None:
    """Return our skill of this name, if there is one. Raises UsageError for several."""
    rows = alive(app.client, _SKILL, whole=True)
    ours = list(filter(is_ours, rows))
    named = [each for each in ours if each.get("name") == name]
    if not named:
        silent = [each for each in ours if not text(each.get("name"))]
        names = in_order(lambda each: name_of(app, each), silent, at_a_time=_AT_A_TIME)
        named = [each for each, its in zip(silent, names, strict=True) if its == name]
    if len(named) > 1:
        found = ", ".join(str(each["id"]) for each in named)
        raise UsageError(f"{len(named)} skills are named {name!r}", hint=f"remove all but one: {found}")
    return next(iter(named), None)


def is_ours(raw: Raw) -> bool:
    """Return whether a skill is of our own, and not the service's."""
    source = text(raw.get("source")) or text(mapping(raw.get("source")).get("type"))
    return source in (None, "custom")


def newest(raw: Raw) -> str | None:
    """Return a skill's newest version, as it is in paths, or None."""
    found = raw.get("latest_version")
    if found in (None, ""):
        return None
    return str(found)


def name_of(app: App, skill: Raw) -> str | None:
    """Return the name of a skill's newest version; without one, its title. Raises ApiError."""
    version = newest(skill)
    if version is None:
        return text(skill.get("display_title"))
    found = mapping(app.client.get(f"{path_of(_SKILL, str(skill['id']))}/versions/{segment(version)}", fresh=True))
    if (name := text(found.get("name"))) is None:
        raise NoResponse(f"version {version} of {skill['id']} shows no name; nothing was sent")
    return name


def content_of(app: App, id: str, version: str, *, retry: bool = True) -> bytes:
    """Return a version's zip, which is not JSON (api.md#skills). Raises ApiError."""
    client = app.client
    path = f"{path_of(_SKILL, id)}/versions/{segment(version)}/content"

    def ask() -> bytes:
        return client.accept(client.send(client.prepare("GET", path, headers={"accept": "*/*"}))).content

    if retry:
        return client.patiently(ask)
    return ask()


def is_same(app: App, skill: Raw, files: Files) -> bool:
    """Return whether its newest version has these files, as far as it can be compared."""
    version = newest(skill)
    if version is None:
        return False
    try:
        return rooted(unzipped(content_of(app, str(skill["id"]), version), UNPACKED)) == files
    except (ApiError, Unfit) as error:
        app.progress.note(f"cannot compare it with version {version} ({error}); uploading it")
        return False


def upload(
    app: App,
    name: str,
    files: Files,
    skill: Raw | None,
    fields: Raw,
    sending: Callable[[Write[Resource]], None] = lambda write: None,
) -> Raw:
    """Add a version to a skill, or create one; return what was made. Raises QoderError.

    `sending` gets the write before it is sent, for one who may not wait for it.
    """

    def write(parts: list[Part]) -> Write[Resource]:
        if skill:
            upload = _new_version(app, skill, files, parts)
        else:
            upload = creating(app, _SKILL, fields, files=parts)
        sending(upload)
        return upload

    # As the official SDK sends them, or as one zip if the API asks for it (api.md#skills).
    parts: list[Part] = [("files[]", f"{name}/{path}", content) for path, content in sorted(files.items())]
    try:
        return write(parts).deliver().raw
    except Rejected as error:
        if error.http_status != 400 or not _FORM.search(error.message):
            raise
    app.progress.note("the API takes only a zip; sending one")
    return write([("file", f"{name}.zip", zipped(files))]).deliver().raw


def _new_version(app: App, skill: Raw, files: Files, parts: list[Part]) -> Write[Resource]:
    """Return the write of a version. None is marked as ours; a newer one with our files will do."""
    id, before = str(skill["id"]), number_of(newest(skill))
    path = f"{path_of(_SKILL, id)}/versions"

    def is_ours(number: str) -> bool:
        try:
            return rooted(unzipped(content_of(app, id, number, retry=False), UNPACKED)) == files
        except Unfit as error:
            raise OutcomeUnknown(f"version {number} cannot be compared: it {error}") from None

    def find() -> Resource | None:
        for page in app.client.pages(path, {"limit": 100}, within=READ_WITHIN, retry=False, fresh=True):
            for row in map(mapping, page["data"]):
                if number_of(row.get("version")) > before and is_ours(str(row["version"])):
                    return Resource(row)
        return None

    return object_write(
        app.client,
        Sent("POST", path, files=parts),
        parse=lambda value: Resource(mapping(value)) if mapping(value).get("version") else None,
        what=f"adding a version to {id}",
        shows=lambda found: number_of(found.raw.get("version")) > before,
        find=find,
        look=app.looking("skill", "versions", id),
    )


def number_of(version: Any) -> int:
    """Return a version's number; 0 if it has none."""
    if _NUMBER.fullmatch(str(version)):
        return int(version)
    return 0


def unpack(content: bytes, name: str, folder: Path) -> Path:
    """Unpack a zip into a new folder within one, whole or not at all; return its path.

    Raises NoResponse if it is unsafe to unpack, UsageError if it cannot be written.
    """
    try:
        files = rooted(unzipped(content, UNPACKED))
        for part in {part for path in files for part in path.split("/")}:
            if safe_name(part) != part:
                raise Unfit(f"has {part!r}, which not every system takes as a name")
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
