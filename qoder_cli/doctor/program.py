"""The program: version, Python, which `qoder` the shell finds, completion, the sandbox's extra."""

import os
import platform
import shlex
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from qoder_cli import __version__
from qoder_cli.base.errors import UsageError
from qoder_cli.doctor import Finding, warning
from qoder_cli.settings.values import is_on

SANDBOX_NEEDS = ("starlette", "uvicorn")  # what the extra `sandbox` asks for
_NAMES = ("qoder", "qoder-cli")
_LARGEST_LAUNCHER = 2**20  # bytes; pip's are smaller
_STARTED_BY = {  # where a shell may load the script itself: below the home folder
    "bash": (".bashrc", ".bash_profile"),
    "zsh": (".zshrc",),
    "fish": (".config/fish/config.fish",),
}


def version() -> Iterator[Finding]:
    """Return which program this is, and its Python."""
    yield Finding("version", f"qoder {__version__} in {Path(__file__).parent.parent}")
    yield Finding("python", f"{platform.python_version()} ({sys.executable}), {platform.system() or sys.platform}")


def on_path(env: Mapping[str, str]) -> Iterator[Finding]:
    """Find every `qoder` on PATH: the Qoder IDE ships a launcher of that name."""
    found = {name: list(_launchers(name, env)) for name in _NAMES}
    instead = f"run: {shlex.quote(sys.executable)} -m qoder_cli"
    if any(map(is_this, found["qoder-cli"][:1])):
        instead = "qoder-cli is the same program"
    for name, places in found.items():
        if name == "qoder" or places:
            yield _judge(name, places, instead)


def _judge(name: str, places: list[Path], instead: str) -> Finding:
    if not places:
        return warning(name, "not on PATH", fix=f"add {sysconfig.get_path('scripts')} to PATH, or {instead}")
    told = [f"{path} ({_whose(path)})" for path in places]
    found = f"{told[0]}; further down on PATH: {', '.join(told[1:])}" if told[1:] else told[0]
    if is_this(places[0]):
        return Finding(name, found)
    mine = next((path for path in places if is_this(path)), None)
    first = f"put {mine.parent} first on PATH, or " if mine else ""
    return warning(name, f"the shell runs {found}", fix=f"{first}{instead}")


def _launchers(name: str, env: Mapping[str, str]) -> Iterator[Path]:
    """Yield the programs of this name in the order in which a shell finds them, each once."""
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


def _whose(path: Path) -> str:
    if is_this(path):
        return "this one"
    return "another installation" if _is_ours(path) else "another program, such as the Qoder IDE's launcher"


def completion(env: Mapping[str, str]) -> Finding:
    """Check whether the shell in use has the completion script of this version."""
    from qoder_cli.help.completion import places, script

    shell = Path(env.get("SHELL", "")).name
    try:
        paths = places(shell, env)
    except UsageError:
        return Finding("completion", "skipped: there is no home folder")
    if not paths:
        return Finding("completion", f"skipped: SHELL is {env.get('SHELL') or 'not set'}")
    path = paths[0]
    install = f"qoder completion {shell} --install"
    try:
        installed = path.read_text("utf-8", "replace") if path.is_file() else None
    except OSError as error:
        return warning("completion", f"{path} cannot be read: {error.strerror}", fix=install)
    if installed == script(shell):
        return Finding("completion", f"installed for {shell} ({path})")
    if installed is not None:
        return warning("completion", f"{path} is from another version", fix=install)
    if started := _in_start_file(shell, env):
        return Finding("completion", f"installed for {shell} (in {started})")
    if is_on(env, "CI"):
        return Finding("completion", "not installed (CI, not needed)")
    return warning("completion", f"not installed for {shell} ({path})", fix=install)


def _in_start_file(shell: str, env: Mapping[str, str]) -> Path | None:
    """Return the startup file in which a shell loads the script, None when none is found."""
    home = Path(env.get("HOME") or os.path.expanduser("~"))
    for path in (home / name for name in _STARTED_BY[shell]):
        with suppress(OSError):
            if "qoder completion" in path.read_text("utf-8", "replace"):
                return path
    return None


def sandbox_extra() -> Finding:
    """Check whether the sandbox can be started."""
    missing = [name for name in SANDBOX_NEEDS if find_spec(name) is None]
    if not missing:
        return Finding("sandbox", "installed")
    return Finding("sandbox", f"not installed; to add it: {how_to_add(SANDBOX_NEEDS)}")


def how_to_add(packages: Sequence[str]) -> str:
    """Return the command line that installs packages beside this program, which is on no index.

    That of pipx or uv where one of these made the environment, else that of this interpreter.
    """
    python = sys.executable or "python3"
    prefix, stdlib = Path(sys.prefix), Path(sysconfig.get_path("stdlib"))
    if (prefix / "pipx_metadata.json").is_file():
        words = ["pipx", "inject", prefix.name, *packages]
    elif (prefix / "uv-receipt.toml").is_file() or find_spec("pip") is None:  # uv makes environments without pip
        words = ["uv", "pip", "install", "--python", python, *packages]
    elif sys.prefix == sys.base_prefix and (stdlib / "EXTERNALLY-MANAGED").is_file():
        # pip refuses to change what belongs to the system (PEP 668)
        words = [python, "-m", "pip", "install", "--user", "--break-system-packages", *packages]
    else:
        words = [python, "-m", "pip", "install", *packages]
    return shlex.join(words)
