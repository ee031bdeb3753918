"""The fence of a stack: where `qoder.yaml` says that it lives. Anywhere else nothing is sent."""

import os
import re
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.files.tree import BadFiles
from qoder_cli.settings.config import server_of
from qoder_cli.settings.values import host_of
from qoder_cli.stack.folder import ROOT_FILE, Fence, Folder, root_above, settings_in

_NOUN = "stack folder"  # what this machine remembers it as
_URL = re.compile(r'\[remote "[^"]*"\][^\[]*?^\s*url\s*=\s*(.+)$', re.MULTILINE)


def check(app: App, fence: Fence) -> None:
    """Raise UsageError if this command would talk to another place than a fence says."""
    settings = app.settings
    server = server_of({f"{ROOT_FILE}: base_url": fence.base_url, f"{ROOT_FILE}: region": fence.region})
    if settings.sandbox:
        return  # nothing there is real
    if server is not None and server.value != settings.base_url:
        raise UsageError(
            f"this stack lives on {host_of(server.value)} ({ROOT_FILE}), and this command would go to {settings.host};"
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
    if (root := root_above(file)) is not None:
        check(app, settings_in(root)[1])


# Two folders of one name would each prune what the other declares.


def warn_of_twin(app: App, folder: Folder) -> None:
    """Warn of another folder of this stack that was applied from this machine and still stands."""
    from qoder_cli.local.remembered import seen

    where, here = _identity(folder.root), os.path.realpath(folder.root)
    known = seen(app.store, _NOUN, profile=app.settings.profile, host=app.settings.host) if folder.stack else []
    for other in known:
        stack, path = None, other.name
        with suppress(BadFiles):
            stack = settings_in(path)[0]
        if stack == folder.stack and where != other.deployment and here != os.path.realpath(path):
            app.progress.warn(
                f"the stack {folder.stack} has another folder, {path}: each would prune what the other declares;"
                f" give one of them another name in its {ROOT_FILE}"
            )


def remember(app: App, folder: Folder) -> None:
    """Remember where the folder of a stack is that was applied."""
    from qoder_cli.local import remembered

    if folder.stack:
        place = {"id": f"stack-{folder.stack}-0", "deployment_id": _identity(folder.root)}
        remembered.remember(app.store, app.settings, _NOUN, [(place, os.path.realpath(folder.root))])


def _identity(folder: str) -> str | None:
    """Return what checkouts of one folder share: the digest of its remote in git, and of its place below; else None."""
    place = Path(folder).resolve()
    top = next((above for above in (place, *place.parents) if (above / ".git").exists()), None)
    if top is None:
        return None
    config = top / ".git"
    with suppress(OSError, ValueError):
        if config.is_file():  # of a worktree
            config = (top / config.read_text().partition("gitdir:")[2].strip()).resolve().parent.parent
        remote = _URL.search((config / "config").read_text())
        if remote is not None:
            return sha256(f"{remote[1].strip()} {place.relative_to(top)}".encode()).hexdigest()
    return None
