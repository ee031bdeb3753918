"""`qoder sandbox`: run a command against a local fake server, with its environment and signals."""

import math
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
from typing import TYPE_CHECKING

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.base.extras import command_for
from qoder_cli.base.plainfile import seal
from qoder_cli.cli.options import Texts, argument, option, several
from qoder_cli.help import NOUNS
from qoder_cli.help.completion import values
from qoder_cli.sandbox.wire import BASE_PATH, FORWARD_PATH, Generation

if TYPE_CHECKING:
    from qoder_cli.sandbox.server import Server


_INSIDE = "The command to run inside."
_GENERATION = "API version: legacy (runs have a status) or current (they do not)."


def sandbox(
    app: App,
    command: Texts = argument("-- COMMAND...", _INSIDE, values.files, default=None),
    generation: Generation = option("--generation", None, _GENERATION, default="current"),
    speed: float = option("--speed", "N", "Speed up sessions N times.", default=1.0),
    port: int = option("--port", "N", "Port (0 picks a free one).", default=0, min=0, max=65535),
    fault: Texts = several("--fault", "WHERE:WHAT[=VALUE][*TIMES]", "Inject a fault."),
) -> int:
    """Run a command against a local fake server.

    Exits with the exit code of the command after `--` (2 if it cannot be run).
    Without a command, serves until Ctrl-C and prints the variables to export.
    Nothing is real or charged: inside, qoder and the official SDK reach no
    other server, and use a temporary config and state.

    Examples:
      qoder sandbox -- qoder deploy run dep_demo --wait
      qoder sandbox --generation legacy -- sh
      qoder sandbox --fault trigger:503 -- qoder deploy run dep_demo --wait

    Deployments to try: dep_demo completes, dep_fail fails, dep_ask waits for
    an approval. `qoder help sandbox` lists all, and says how it is sealed.

    Faults. WHERE is trigger, run, list, deployment, session, events, stream,
    agent or any; for changes to deployments create, update, pause, unpause,
    archive, or write for all five; for sessions send (events) or session-write
    (all else). TIMES is 1 by default; *inf means always. WHAT, before the
    server acts:
      503 429=5 503-bare    a status; with Retry-After 5; without a body
      drop-before           the connection closes without a response
      hang-before           no response, ever
    WHAT, after the server has acted:
      act-503 act-503-bare drop-after hang-after    as above
      late=S late-503=S     drops the connection, or 503; acts S seconds later
      slow=S                responds byte by byte, taking S seconds
      truncated             half of the response
    Lasting conditions:
      lagging=S             what is younger than S seconds is not visible yet
      cut=S                 event streams close after S seconds
      silent                event streams stay open and send nothing"""
    if not 0 < speed < math.inf:
        raise UsageError(f"--speed must be above 0, not {speed:g}", hint="use --speed 60 to make a minute a second")
    with _folder() as own, _listen(app, generation, speed, port, fault or []) as server:
        seal(own, server.base_url)
        inside = variables(app.env, base_url=server.base_url, token=server.world.token, folder=own)
        if command:
            return _run(command, environment(app.env, inside), server)
        server.start()
        app.out.write("".join(f"export {name}={shlex.quote(value)}\n" for name, value in inside.items()))
        app.err.print("paste these lines into another shell; press Ctrl-C here to stop\n")
        arrived: list[int] = []
        with _catching(arrived.append):
            while not arrived:
                time.sleep(0.2)  # a signal ends it early, except on Windows
        return 128 + arrived[0]


def _listen(app: App, generation: Generation, speed: float, port: int, orders: list[str]) -> "Server":
    """Return a server that is to be started, and say that nothing in it is real. Raises UsageError."""
    from qoder_cli.sandbox.faults import Faults
    from qoder_cli.sandbox.world import World

    try:
        from qoder_cli.sandbox.server import Server
    except ModuleNotFoundError:
        why = "the sandbox needs starlette and uvicorn, which are not installed"
        raise UsageError(why, hint=f"install them: {command_for('sandbox')}") from None
    faults = Faults(*orders)
    try:
        server = Server(World(generation=generation, speed=speed), faults=faults, port=port)
    except OSError as error:
        hint = "omit --port to use a free one"
        raise UsageError(f"--port {port} cannot be used: {error.strerror}", hint=hint) from None
    how = [f"{generation} API"]
    if speed != 1:
        how.append(f"speed {speed:g}")
    if orders:
        how.append(f"faults: {', '.join(map(str, faults.on_order))}")
    app.err.print(f"sandbox at {server.origin} ({', '.join(how)}); nothing here is real or charged\n")
    return server


# What would lead a command inside to another profile, server, workspace, token, account or state.
MISLEADING = (
    "QODER_PROFILE",
    "QODER_REGION",
    "QODER_WORKSPACE_ID",
    "QODER_PAT_FILE",
    "QODER_SA_KEY",  # the official SDK exchanges it for a token, always at a real server
    "QODER_SA_KEY_FILE",
    "QODER_KEYS",
    "STATE_DIRECTORY",
)


@contextmanager
def _folder() -> Iterator[Path]:
    """Yield a folder for config and state, removed afterwards. Raises UsageError."""
    try:
        folder = TemporaryDirectory(prefix="qoder-sandbox-", ignore_cleanup_errors=True)
    except OSError as error:
        raise UsageError(
            f"cannot create a temporary folder for the sandbox's config and state: {error.strerror}",
            hint="set TMPDIR to a writable folder",
        ) from None
    with folder as name:
        yield Path(name)


def variables(base: Mapping[str, str], *, base_url: str, token: str, folder: Path) -> dict[str, str]:
    """Return what leads every client with the environment `base` into the sandbox.

    qoder and the official SDK (api.md#hosts-and-regions) get its server and token, and
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


def _run(command: Sequence[str], env: Mapping[str, str], server: "Server") -> int:
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
        program = command[0]
        if sys.platform == "win32":  # it would look in our own PATH, not in that of `env`
            program = which(program, path=env["PATH"]) or program
        try:
            child = subprocess.Popen([program, *command[1:]], env=dict(env))
        except (OSError, ValueError) as error:  # ValueError: a null byte
            why = getattr(error, "strerror", None) or str(error)
            if isinstance(error, FileNotFoundError):
                why = "command not found"
            example = shlex.join(["qoder", *command] if command[0] in NOUNS else ["qoder", "--help"])
            hint = f"put a command after --, for example: qoder sandbox -- {example}"
            raise UsageError(f"cannot run {command[0]!r}: {why}", hint=hint) from None
        server.start()  # only now: to fork a process with several threads may hang it
        for signum in early:
            child.send_signal(signum)
        code = child.wait()
    if code < 0:
        return 128 - code
    return code


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
