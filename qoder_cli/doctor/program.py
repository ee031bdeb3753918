"""The program: version, Python, and which `qoder` the shell finds."""

import os
import platform
import shlex
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from qoder_cli import __version__
from qoder_cli.doctor import Finding, warning

_LARGEST_LAUNCHER = 2**20  # bytes; pip's are smaller


def version() -> Iterator[Finding]:
    """Return which program this is, and its Python."""
    yield Finding("version", f"qoder {__version__} in {Path(__file__).parent.parent}")
    yield Finding("python", f"{platform.python_version()} ({sys.executable}), {platform.system() or sys.platform}")


def on_path(env: Mapping[str, str]) -> Iterator[Finding]:
    """Find every `qoder` on PATH: the Qoder IDE ships a launcher of that name."""
    found = {name: list(_launchers(name, env)) for name in ("qoder", "qoder-cli")}
    instead = f"run: {shlex.quote(sys.executable)} -m qoder_cli"
    if any(map(is_this, found["qoder-cli"][:1])):
        instead = "qoder-cli is the same program"
    for name, places in found.items():
        if name == "qoder" or places:
            yield _judge(name, places, instead)


def _judge(name: str, places: list[Path], instead: str) -> Finding:
    if not places:
        return warning(name, "not on PATH", fix=f"add {sysconfig.get_path('scripts')} to PATH, or {instead}")
    other = "another program, such as the Qoder IDE's launcher"
    whose = ["this one" if is_this(path) else "another installation" if _is_ours(path) else other for path in places]
    told = [f"{path} ({owner})" for path, owner in zip(places, whose, strict=True)]
    found = f"{told[0]}; further down on PATH: {', '.join(told[1:])}" if told[1:] else told[0]
    if is_this(places[0]):
        return Finding(name, found)
    mine = next((path for path in places if is_this(path)), None)
    first = f"put {mine.parent} first on PATH, or " if mine else ""
    return warning(name, f"the shell runs {found}", fix=f"{first}{instead}")


def _launchers(name: str, env: Mapping[str, str]) -> Iterator[Path]:
    endings = ("", *env.get("PATHEXT", ".EXE;.CMD;.BAT").lower().split(";")) if os.name == "nt" else ("",)
    seen: set[str] = set()
    for folder in env.get("PATH", "").split(os.pathsep):
        for ending in endings if folder else ():
            path = Path(folder) / f"{name}{ending}"
            real = os.path.realpath(path)
            if real not in seen and os.path.isfile(real) and os.access(real, os.X_OK):
                seen.add(real)
                yield path


def is_this(path: Path) -> bool:
    """Return whether a launcher starts the installation that runs now."""
    real = Path(os.path.realpath(path))
    scripts = os.path.realpath(sysconfig.get_path("scripts"))
    return str(real) == os.path.realpath(sys.argv[0]) or (str(real.parent) == scripts and _is_ours(real))


def _is_ours(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as stream:
        return b"qoder_cli" in stream.read(_LARGEST_LAUNCHER)
    return False
