"""Check the program: its version, Python, and which `qoder` is on PATH."""

import os
import platform
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from qoder_cli import __version__
from qoder_cli.doctor import Finding, warning

_LARGEST_LAUNCHER = 2**20  # bytes; pip's are smaller


def version() -> Iterator[Finding]:
    """Yield which program this is, and its Python."""
    yield Finding("version", f"qoder {__version__} in {Path(__file__).parent.parent}")
    yield Finding("python", f"{platform.python_version()} ({sys.executable}), {platform.system() or sys.platform}")


def on_path(env: Mapping[str, str]) -> Finding:
    """Find the `qoder` that a shell runs: the Qoder IDE's launcher has that name."""
    first, other = (shutil.which(name, path=env.get("PATH", "")) for name in ("qoder", "qoder-cli"))
    scripts, instead = sysconfig.get_path("scripts"), f"run: {shlex.quote(sys.executable)} -m qoder_cli"
    if other and is_this(Path(other)):
        instead = "use qoder-cli, the same program"
    if first is None:
        return warning("qoder", "not on PATH", fix=f"add {scripts} to PATH, or {instead}")
    if is_this(Path(first)):
        return Finding("qoder", f"{first} (this one)")
    whose = "another program, such as the Qoder IDE's launcher"
    if _is_ours(Path(first)):
        whose = "another installation"
    return warning("qoder", f"the shell runs {first} ({whose})", fix=f"put {scripts} first on PATH, or {instead}")


def is_this(path: Path) -> bool:
    """Return whether a launcher starts this installation."""
    real = Path(os.path.realpath(path))
    scripts = os.path.realpath(sysconfig.get_path("scripts"))
    return str(real) == os.path.realpath(sys.argv[0]) or (str(real.parent) == scripts and _is_ours(real))


def _is_ours(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as stream:
        return b"qoder_cli" in stream.read(_LARGEST_LAUNCHER)
    return False
