"""The fence of a stack: where `qoder.yaml` says that it lives. Anywhere else nothing is sent."""

import os
import re
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.files.documents import STDIN
from qoder_cli.files.tree import BadFiles
from qoder_cli.settings.values import REGIONS, host_of, read_base_url
from qoder_cli.stack.folder import ROOT_FILE, Fence, Folder, root_above, settings_in

_NOUN = "stack folder"  # what this machine remembers it as
_URL = re.compile(r'\[remote "[^"]*"\][^\[]*?^\s*url\s*=\s*(.+)$', re.MULTILINE)
_DIGITS = 16


def check(app: App, fence: Fence) -> None:
    """Raise UsageError if this command would talk to another place than a fence says."""
    settings = app.settings
    wanted = None
    if fence.region is not None:
        if fence.region not in REGIONS:
            raise UsageError(f"{ROOT_FILE}: region must be {' or '.join(REGIONS)}", hint="correct the file")
        wanted = REGIONS[fence.region]
    if fence.base_url is not None:
        wanted = read_base_url(fence.base_url, source=f"{ROOT_FILE}: base_url")
    if settings.sandbox:
        return  # nothing there is real
    if wanted is not None and wanted != settings.base_url:
        raise UsageError(
            f"this stack lives on {host_of(wanted)} ({ROOT_FILE}), and this command would go to {settings.host};"
            " nothing was sent",
            hint="choose the profile for it: --profile NAME",
        )
    if fence.workspace_id is not None and fence.workspace_id != settings.workspace_id:
        raise UsageError(
            f"this stack lives in another workspace than this command would use ({ROOT_FILE}); nothing was sent",
            hint=f"pass --workspace {fence.workspace_id}",
        )


def check_file(app: App, file: str) -> None:
    """Raise UsageError if a single file lies in the folder of a stack that lives elsewhere."""
    if file != STDIN and (root := root_above(file)) is not None:
        check(app, settings_in(root)[1])


# Two folders of one name would each prune what the other declares.


def warn_of_twin(app: App, folder: Folder) -> None:
    """Warn of another folder of this stack that was applied from this machine and still stands."""
    from qoder_cli.local.remembered import seen

    id, where = _id_of(folder), _identity(folder.root)
    known = seen(app.store, _NOUN, profile=app.settings.profile, host=app.settings.host) if id else []
    for other in known:
        path = other.name
        if other.id != id or os.path.realpath(path) == os.path.realpath(folder.root):
            continue
        stack = None
        with suppress(BadFiles):
            stack = settings_in(path)[0]
        if where != other.deployment and stack == folder.stack:
            app.progress.warn(
                f"the stack {folder.stack} has another folder, {path}: each would prune what the other declares;"
                f" give one of them another name in its {ROOT_FILE}"
            )


def remember(app: App, folder: Folder) -> None:
    """Remember where the folder of a stack is that was applied."""
    from qoder_cli.local import remembered

    if id := _id_of(folder):
        place = {"id": id, "deployment_id": _identity(folder.root)}
        remembered.remember(app.store, app.settings, _NOUN, [(place, os.path.realpath(folder.root))])


def _id_of(folder: Folder) -> str:
    return f"stack-{folder.stack}-0" if folder.stack else ""


def _identity(folder: str) -> str:
    """Return what two checkouts of one folder share: the digest of its remote in git, and of its place below that."""
    place = top = Path(folder).resolve()
    while not (top / ".git").exists():
        if top.parent == top:
            return ""
        top = top.parent
    config = top / ".git"
    with suppress(OSError, ValueError):
        if config.is_file():  # of a worktree
            config = (top / config.read_text().partition("gitdir:")[2].strip()).resolve().parent.parent
        remote = _URL.search((config / "config").read_text())
        if remote is not None:
            return sha256(f"{remote[1].strip()} {place.relative_to(top)}".encode()).hexdigest()[:_DIGITS]
    return ""
