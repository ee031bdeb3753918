"""A command inside the sandbox: its environment, signals and exit code."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory

from qoder_cli.base.errors import UsageError
from qoder_cli.help import NOUNS
from qoder_cli.sandbox.wire import BASE_PATH, FORWARD_PATH

# What would lead a command inside to another profile, server, workspace or token.
MISLEADING = (
    "QODER_PROFILE",
    "QODER_REGION",
    "QODER_WORKSPACE_ID",
    "QODER_PAT_FILE",
    "QODER_SA_KEY",  # the official SDK exchanges it for a token, always at a real server
)


@contextmanager
def folder() -> Iterator[Path]:
    """Yield a folder for config and state, removed afterwards. Raises UsageError."""
    try:
        made = TemporaryDirectory(prefix="qoder-sandbox-", ignore_cleanup_errors=True)
    except OSError as error:
        raise UsageError(
            f"cannot create a temporary folder for the sandbox's config and state: {error.strerror}",
            hint="set TMPDIR to a writable folder",
        ) from None
    with made as name:
        yield Path(name)


def variables(base: Mapping[str, str], *, base_url: str, token: str, folder: Path) -> dict[str, str]:
    """Return what leads every client with the environment `base` into the sandbox.

    qoder and the official SDK (api/facts.md, 3.1 and 7.2) get its server and token, and
    config and state in `folder`. What must not be set is empty.
    """
    servers = ("QODER_SANDBOX", "QODER_BASE_URL", "QODER_MANAGED_BASE_URL")
    proxies = ("NO_PROXY",) if sys.platform == "win32" else ("NO_PROXY", "no_proxy")
    given = list(dict.fromkeys(base[name] for name in proxies if base.get(name)))
    no_proxy = "*" if "*" in given else ",".join(["127.0.0.1", "localhost", *given])
    tokens = ("QODER_PAT", "QODER_ACCESS_TOKEN", "QODER_PERSONAL_ACCESS_TOKEN")
    return {
        **dict.fromkeys(servers, base_url),
        "QODER_FORWARD_BASE_URL": base_url.removesuffix(BASE_PATH) + FORWARD_PATH,
        **dict.fromkeys(tokens, token),
        "QODER_CONFIG": str(folder / "config.toml"),
        "QODER_STATE_DIR": str(folder / "state"),
        **dict.fromkeys(MISLEADING, ""),
        **dict.fromkeys(proxies, no_proxy),
    }


def environment(base: Mapping[str, str], inside: Mapping[str, str]) -> dict[str, str]:
    """Return `base` with `inside`, and our `qoder` first on PATH."""
    # The folder of this program's console script, or else of its Python. Where pipx has put the
    # script, its own Python is elsewhere, and `python` inside stays the user's.
    own = Path(sys.argv[0]).absolute().parent
    if not any((own / name).is_file() for name in ("qoder", "qoder.exe")):
        own = Path(sys.executable).parent
    folders = [str(own), *filter(None, [base.get("PATH")])]
    env = {**base, **inside, "PATH": os.pathsep.join(folders)}
    return {name: value for name, value in env.items() if value or name not in MISLEADING}


def run(command: Sequence[str], env: Mapping[str, str]) -> int:
    """Run `command` and return its exit code; 128+N if signal N killed it.

    Passes signals on meanwhile. Raises UsageError if it cannot be started.
    """
    child: subprocess.Popen[bytes] | None = None
    early: list[int] = []  # signals that arrive before the child exists

    def pass_on(signum: int) -> None:
        if child is None:
            early.append(signum)
        elif not (signum == signal.SIGINT and _typed_at_our_terminal()):  # it has told the child
            child.send_signal(signum)  # does nothing once the child has been waited for

    with _catching(pass_on):
        child = _start(command, env)
        for signum in early:
            child.send_signal(signum)
        code = child.wait()
    return 128 - code if code < 0 else code


def _start(command: Sequence[str], env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    program = command[0]
    if sys.platform == "win32":  # it would look in our own PATH, not in that of `env`
        program = which(program, path=env["PATH"]) or program
    try:
        return subprocess.Popen([program, *command[1:]], env=dict(env))
    except (OSError, ValueError) as error:  # ValueError: a null byte
        why = getattr(error, "strerror", None) or str(error)
        if isinstance(error, FileNotFoundError):
            why = "command not found"
        example = shlex.join(["qoder", *command] if command[0] in NOUNS else ["qoder", "--help"])
        hint = f"put a command after --, for example: qoder sandbox -- {example}"
        raise UsageError(f"cannot run {command[0]!r}: {why}", hint=hint) from None


def _typed_at_our_terminal() -> bool:
    """Return whether a SIGINT now is a Ctrl-C, which the child gets as well."""
    if sys.platform == "win32":  # a console gives Ctrl-C to all its processes
        return True
    with suppress(OSError), open("/dev/tty", "rb", buffering=0) as terminal:
        return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    return False


@contextmanager
def _catching(act: Callable[[int], None]) -> Iterator[None]:
    """Call `act` with each signal in the block; what was ignored stays ignored."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    present = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {signum: signal.getsignal(signum) for signum in present}
    before = {signum: handler for signum, handler in before.items() if handler != signal.SIG_IGN}
    for signum in before:
        signal.signal(signum, lambda signum, frame: act(signum))
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def until_signal() -> int:
    """Wait for SIGINT, SIGTERM or SIGHUP, and return its number."""
    arrived: list[int] = []
    with _catching(arrived.append):
        while not arrived:
            time.sleep(0.2)  # a signal ends it early, except on Windows
    return arrived[0]
