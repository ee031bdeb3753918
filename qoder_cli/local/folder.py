"""Where this machine's state is kept."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from qoder_cli.base.plainfile import replace_file
from qoder_cli.base.tokens import names_token


def state_folder(env: Mapping[str, str]) -> Path:
    """Return the folder for state: QODER_STATE_DIR, else systemd's STATE_DIRECTORY, else the system's.

    Raises RuntimeError when there is no home folder, or it would be called as a token that was put in the wrong place.
    """
    if folder := env.get("QODER_STATE_DIR"):
        if names_token(folder):
            raise RuntimeError("QODER_STATE_DIR holds a token, not the path of a folder")
        return Path(folder).expanduser()
    # systemd makes it for a service, for its user alone; of several, which colons part, the first is taken
    if (folder := env.get("STATE_DIRECTORY", "").partition(":")[0]) and os.path.isabs(folder):
        return Path(folder)
    from platformdirs import user_state_path

    with suppress(RuntimeError):
        path = user_state_path("qoder", appauthor=False)
        if path.is_absolute():  # older versions leave a `~` that stands for nothing
            return path
    raise RuntimeError("there is no home folder; set HOME or QODER_STATE_DIR")


def keep(env: Mapping[str, str], name: str, text: str) -> Path:
    """Write a file into the folder for state, for its owner alone, in the place of the one before; return where it is.

    Raises OSError, RuntimeError.
    """
    path = state_folder(env) / name
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    replace_file(path, text.encode())
    return path
