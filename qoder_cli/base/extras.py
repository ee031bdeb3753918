"""How to add what an extra of pyproject needs to this installation, with the installer that made it."""

import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PROGRAM = "qoder-cli"  # on no package index: a command that installs it by this name alone could install anybody's
PACKAGES = {"sandbox": ("starlette", "uvicorn"), "postgres": ("psycopg[binary]",)}


def command_for(extra: str) -> str:
    """Return the command, for a shell, that installs the packages of an extra where this process runs.

    pipx and uv leave a file in the environment of each tool. There is often no pip in these, and what a pip installs
    there is gone after the next upgrade.
    """
    environment, packages = Path(sys.prefix), PACKAGES[extra]
    if (environment / "pipx_metadata.json").is_file() and environment.parent.name == "venvs":  # not one of `pipx run`
        return shlex.join(["pipx", "inject", environment.name, *packages])
    if requirements := _receipt_of_uv(environment):
        options = [word for package in (*requirements[1:], *packages) for word in ("--with", package)]
        return shlex.join(["uv", "tool", "install", *options, requirements[0]])
    python = sys.executable or "python3"
    if find_spec("pip") is None:  # as in what uvx and `uv venv` make
        return shlex.join(["uv", "pip", "install", "--python", python, *packages])
    return shlex.join([python, "-m", "pip", "install", *packages])


def _receipt_of_uv(environment: Path) -> list[str]:
    """Return what uv installed, this program first: what is not named again is removed."""
    import tomllib

    try:
        receipt = tomllib.loads((environment / "uv-receipt.toml").read_text("utf-8"))
        program, *others = receipt["tool"]["requirements"]
        if program["name"] != PROGRAM:
            return []
        return [_requirement(program), *map(_requirement, others)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _requirement(row: dict[str, Any]) -> str:
    name = row["name"]
    if row.get("extras"):
        name += f"[{','.join(row['extras'])}]"
    for source in ("directory", "editable", "path", "url"):
        if source in row:
            return f"{name} @ {_without_secret(row[source])}"
    if "git" in row:
        url, _, revision = _without_secret(row["git"]).partition("?rev=")
        if revision:
            url += f"@{revision}"
        return f"{name} @ git+{url}"
    return f"{name}{row.get('specifier', '')}"


def _without_secret(source: str) -> str:
    """Return a path or URL. Raises ValueError for a URL with an account, which may be a token, and is never shown."""
    if "@" in urlsplit(source).netloc:
        raise ValueError(source)
    return source
