"""How this program was installed, and so how another package is put beside it: it is on no index."""

import shlex
import sys
import sysconfig
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

SANDBOX_NEEDS = ("starlette", "uvicorn")  # what the extra `sandbox` asks for


def how_to_add(packages: Sequence[str]) -> str:
    """Return the command line that installs packages where this program finds them.

    That of pipx or uv where one of these made the environment, else that of the interpreter that runs now.
    """
    python = sys.executable or "python3"
    prefix = Path(sys.prefix)
    if (prefix / "pipx_metadata.json").is_file():
        words = ["pipx", "inject", prefix.name, *packages]
    elif (prefix / "uv-receipt.toml").is_file() or find_spec("pip") is None:  # uv makes environments without pip
        words = ["uv", "pip", "install", "--python", python, *packages]
    elif sys.prefix == sys.base_prefix and Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").is_file():
        # pip refuses to change what belongs to the system (PEP 668)
        words = [python, "-m", "pip", "install", "--user", "--break-system-packages", *packages]
    else:
        words = [python, "-m", "pip", "install", *packages]
    return shlex.join(words)
