"""How to add what an extra of pyproject needs to this installation, with the installer that made it."""

import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = {"sandbox": ("starlette", "uvicorn"), "postgres": ("psycopg[binary]",)}


def command_for(extra: str) -> str:
    """Return the command, for a shell, that installs the packages of an extra where this process runs.

    pipx and uv leave a file in the environment of each tool. There is often no pip in these, and what a pip installs
    there is gone after the next upgrade.
    """
    environment, packages = Path(sys.prefix), PACKAGES[extra]
    if (environment / "pipx_metadata.json").is_file() and environment.parent.name == "venvs":  # not one of `pipx run`
        return shlex.join(["pipx", "inject", environment.name, *packages])
    if (environment / "uv-receipt.toml").is_file():  # what is not named again is removed
        options = [word for package in packages for word in ("--with", package)]
        return f"{shlex.join(['uv', 'tool', 'install', *options])} SOURCE, with SOURCE and options as at first"
    python = sys.executable or "python3"
    if find_spec("pip") is None:  # as in what uvx and `uv venv` make
        return shlex.join(["uv", "pip", "install", "--python", python, *packages])
    return shlex.join([python, "-m", "pip", "install", *packages])
