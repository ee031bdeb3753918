"""Files (api.md#files): texts for the API, and what comes from it: never over another, in part, or outside a folder."""

import errno
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import IO, Annotated

from qoder_cli.app import App
from qoder_cli.base.errors import AuthError, NoResponse, UsageError
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Raw, Resource, mapping, text
from qoder_cli.base.plainfile import read_checked
from qoder_cli.base.times import unix
from qoder_cli.base.tokens import names_token
from qoder_cli.files.tree import Problem
from qoder_cli.http.write import Write
from qoder_cli.nouns.declared import Declaration
from qoder_cli.nouns.edits.create import creating
from qoder_cli.nouns.edits.difference import ABSENT, FieldChange
from qoder_cli.nouns.edits.owner import CONTENT, content_digest
from qoder_cli.nouns.edits.step import Send, Step
from qoder_cli.nouns.how import Content, How, Lists
from qoder_cli.nouns.noun import Kind
from qoder_cli.nouns.parts import Metadata
from qoder_cli.nouns.schema import Fields, like
from qoder_cli.nouns.shown import name_of
from qoder_cli.nouns.table import NOUNS, noun


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
    kind=Kind(rank=2, is_declared=False, is_written_once=True, how="file:HOW"),
)


LARGEST = 5 * 2**20  # bytes; about as much as the API takes (api.md#limits)
LONGEST_NAME = 255  # bytes (api.md#limits); also what ext4, APFS and NTFS allow
UNSEEN = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
LARGEST_FILE = 2**30  # bytes; the API allows about 5 MB (api.md#limits)

# The end of a name, which stays when the rest is cut.
_SUFFIX = re.compile(r"(?:\.tar)?\.[^.]{1,24}$", re.IGNORECASE)
# What Windows takes for a device, whatever follows a dot; folders are shared.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³]) *(?:\.|$)", re.IGNORECASE)
_TAKEN = (errno.ENOTEMPTY, errno.ENOTDIR)  # a name that another was faster to take
_LASTS = 3600.0  # seconds that an uploaded file has to be there still, to be used
_FORBIDDEN = '<>:"|?*'  # on Windows


def read_text(path: str, option: str = "", *, stdin: IO[str] | None = None) -> bytes:
    """Return a text file's bytes, or standard input's for `-`. Raises UsageError."""
    called = "standard input" if path == "-" else path
    prefix = f"{option}: {called}" if option else called
    content = read_checked(path, stdin, LARGEST, option=option, hint="split it")
    try:
        content.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{prefix} is not a UTF-8 text; the API takes only text") from None
    if b"\0" in content:
        raise UsageError(f"{prefix} is a binary file; the API takes only text")
    return content


def check_name(name: str) -> str:
    """Return a name for a file. Raises UsageError."""
    hint = "give it another one: --name NAME"
    if not name.strip() or UNSEEN.search(name):
        raise UsageError(f"{name!r} is not a name for a file", hint=hint)
    if len(name.encode()) > LONGEST_NAME:
        raise UsageError(f"the name {name[:40]}… is longer than {LONGEST_NAME} bytes", hint=hint)
    return name


def upload(app: App, name: str, content: bytes, fields: Raw | None = None) -> Write[Resource]:
    """Return the write that uploads a file, with some fields."""
    return creating(app, NOUNS["file"], fields or {}, files=[("file", name, content)])


def prepare_folder(folder: str = ".", typed_as: str = "--output-dir") -> Path:
    """Return the folder for files; create it if missing. Raises UsageError."""
    if not folder:
        raise UsageError(f"{typed_as} is empty", hint="is a shell variable unset?")
    path = Path(folder)
    if names_token(folder) and not path.exists():
        raise UsageError(f"{typed_as} takes a folder, not a token", hint="set QODER_PAT to it")
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        why = f"{typed_as} {folder}: {error.strerror or error}"
        raise UsageError(why, hint="name a folder that can be written") from None
    return path


def download(app: App, file_id: str, name: str, folder: Path, size: object) -> Path:
    """Download a file, of this `size` if known, into the folder; return its path.

    Raises ApiError, also for more than allowed or another size than announced, and what `save` raises.
    """

    def write(part: Path) -> None:
        with part.open("xb") as stream:
            stream.writelines(_content(app, file_id, size))

    return save(write, f"file {file_id}", name, folder)


def _content(app: App, file_id: str, size: object) -> Iterator[bytes]:
    """Yield a file's bytes; the storage host gets no token of ours (api.md#files)."""
    try:
        link = mapping(app.client.get(f"/files/{segment(file_id)}/content"))
    except AuthError as error:
        if error.http_status != 403:
            raise
        hint = "name a file that an agent made; what was uploaded usually cannot be downloaded"
        raise error.with_(hint=hint) from None
    url, came = text(link.get("url")), 0
    if url is None:
        raise NoResponse(f"no download link for file {file_id}")
    for chunk in app.client.fetch_elsewhere(url, largest=LARGEST_FILE):
        came += len(chunk)
        yield chunk
    if isinstance(size, int) and came != size:
        raise NoResponse(f"file {file_id} is not whole: {came:,} bytes came, not {size:,}", hint="try again")


def save(write: Callable[[Path], None], what: str, name: str, folder: Path) -> Path:
    """Have a new file or folder written, whole or not at all; return its path.

    What has the name already is kept, and this one gets a number. Raises UsageError.
    """
    try:
        # On the same disk; what is made in it has the mode of the umask.
        with tempfile.TemporaryDirectory(prefix=".qoder-", dir=folder, ignore_cleanup_errors=True) as new_folder:
            write(Path(new_folder) / "part")
            return _move(Path(new_folder) / "part", folder, name)
    except OSError as error:
        reason = f"{what} cannot be saved in {folder}: {error.strerror or error}"
        raise UsageError(reason, hint="free some space, or name another folder") from None


def _move(part: Path, folder: Path, name: str) -> Path:
    """Give it its name, or a free numbered one. Raises OSError, UsageError."""
    is_folder = part.is_dir()
    for free in _names(safe_name(name)):
        target = folder / free
        if os.path.lexists(target):
            continue  # also a link that leads nowhere
        try:
            if not is_folder:
                target.open("xb").close()  # the name is ours now
            os.replace(part, target)
        except OSError as error:
            if isinstance(error, FileExistsError) or (is_folder and error.errno in _TAKEN):
                continue
            if not is_folder:
                target.unlink(missing_ok=True)
            raise
        return target
    raise AssertionError("there is always another number")


def safe_name(name: str) -> str:
    """Return a server's name as a file name here: no path and no device."""
    base = name.replace("\\", "/").rpartition("/")[2]
    shown = "".join("_" if one in _FORBIDDEN or not one.isprintable() else one for one in base)
    safe = shown.strip(". ") or "file"
    if _DEVICE.match(safe):
        return f"_{safe}"
    return safe


def _names(name: str) -> Iterator[str]:
    """Yield a name, then numbered ones, each short enough for a file."""
    match = _SUFFIX.search(name)
    suffix = match[0] if match else ""
    stem = name.removesuffix(suffix)
    for number in count(1):
        end = suffix if number == 1 else f"-{number}{suffix}"
        size = LONGEST_NAME - len(end.encode())
        yield stem.encode()[:size].decode(errors="ignore") + end


# In a folder: a text that a deployment names by its path is uploaded once.


def _read(path: str) -> Content:
    try:
        name = check_name(os.path.basename(path))
        return Content(name, {}, {name: read_text(path)})
    except UsageError as error:
        raise Problem(error.message) from None


def _find(lists: Lists, declared: Declaration, parents: Sequence[str]) -> list[Raw]:
    """Return the files with this content and name that are there for an hour at least."""
    wanted, until = content_digest(declared.content), lists.app.clock.now() + _LASTS
    rows = [row for row in lists.rows(declared.noun) if name_of(row) == declared.name]
    rows = [row if row.get("metadata") else lists.whole(declared.noun, row) for row in rows]
    rows = [row for row in rows if mapping(row.get("metadata")).get(CONTENT) == wanted]
    return [row for row in rows if (unix(row.get("expires_at")) or until + 1) > until]


def _plan(lists: Lists, declared: Declaration, step: Step) -> Step:
    size = f"{sum(map(len, declared.content.values()))} bytes"
    parts = [("file", name, content) for name, content in declared.content.items()]
    send = Send("create", {"metadata": {CONTENT: content_digest(declared.content)}}, parts)
    return step.with_(changes=[FieldChange("content", ABSENT, size)], sends=[send])


HOW = How(read=_read, find=_find, plan=_plan)
