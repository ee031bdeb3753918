"""The seal of a sandbox: inside it, config and state are written in its own folder and nowhere else.

`qoder sandbox` marks that folder with its URL, the value of QODER_SANDBOX. Variables lead there, but a command inside
may set others, or meet a link: what would be written elsewhere is refused.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from qoder_cli.base.errors import UsageError
from qoder_cli.base.plainfile import open_at_once, read_most

_MARK = "sandbox.url"
_LONGEST = 4096  # bytes; a URL is shorter


def seal(folder: Path, url: str) -> None:
    """Mark a folder as that of the sandbox at `url`. Raises OSError."""
    (folder / _MARK).write_text(url, "utf-8")


def refuse_outside(path: Path, env: Mapping[str, str]) -> None:
    """Raise UsageError if this is inside a sandbox and the file at `path` is not in its folder, by any link."""
    url = env.get("QODER_SANDBOX")
    if not url:
        return
    for folder in Path(os.path.realpath(path)).parents:
        with suppress(OSError, ValueError), open_at_once(folder / _MARK) as file:
            if read_most(file, _LONGEST) == url.encode():
                return
    raise UsageError(
        f"{path} is outside the folder of this sandbox; nothing was sent or written",
        hint="run it outside the sandbox, or keep QODER_CONFIG and QODER_STATE_DIR as `qoder sandbox` sets them",
    )
