"""Where this machine's state is kept: what was triggered, and what completion remembers."""

from collections.abc import Mapping
from pathlib import Path


def state_folder(env: Mapping[str, str]) -> Path:
    """Return the folder for state: QODER_STATE_DIR, else the system's. The completion scripts look in the same places.

    Raises RuntimeError when there is no home folder.
    """
    if folder := env.get("QODER_STATE_DIR"):
        return Path(folder).expanduser()
    from platformdirs import user_state_path

    return user_state_path("qoder", appauthor=False)
