"""`qoder sandbox`: run commands against a local fake server."""

import math
import shlex
import sys
from typing import TYPE_CHECKING

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.cli.options import Texts, argument, option, several
from qoder_cli.help.completion import values
from qoder_cli.sandbox.child import environment, folder, run, until_signal, variables
from qoder_cli.sandbox.wire import Generation

if TYPE_CHECKING:
    from qoder_cli.sandbox.server import Server


_INSIDE = "The command to run inside. Without one, serve until Ctrl-C."
_GENERATION = "API version: legacy (runs have a status) or current (they do not)."
_SEED = "Add N deployments like dep_demo, named seed-0000, …."


def sandbox(
    app: App,
    command: Texts = argument("-- COMMAND...", _INSIDE, values.command_inside, default=None),
    generation: Generation = option("--generation", None, _GENERATION, default="current"),
    speed: float = option("--speed", "N", "Speed up sessions N times.", default=1.0),
    port: int = option("--port", "N", "Port (0 picks a free one).", default=0, min=0, max=65535),
    deployments: int = option("--deployments", "N", _SEED, default=0, min=0, max=10_000),
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
      qoder sandbox --deployments 200 -- qoder deploy list --all

    Deployments to try: dep_demo, dep_slow and dep_idle complete, dep_minute
    takes 60 s, dep_silent writes no message. dep_fail, dep_terminated and
    dep_budget fail, dep_nostart never starts, dep_skip is skipped with
    --generation legacy and never starts with current. dep_ask waits for an
    approval, dep_askmany for three at once, dep_askthrice for one after the
    other, dep_custom for the result of a custom tool; dep_selfask asks and
    continues by itself. dep_paused and dep_archived refuse to run;
    dep_scheduled has a schedule. A session of agent_ask and the like behaves
    as the runs of dep_ask do.

    Faults. WHERE names the requests: trigger, run, list, deployment, session,
    events, stream, agent or any; for changes to deployments create, update,
    pause, unpause, archive, or write for all five; for sessions send (events)
    and session-write (anything else that changes one).
    TIMES is 1 by default; *inf means always. WHAT, before the server acts:
      503 429=5 503-bare    a status; with Retry-After 5; without a body
      html html=503         a gateway's page, 502 by default
      redirect=URL          302
      drop-before           the connection closes without a response
      hang-before           no response, ever
    WHAT, after the server has acted:
      act-503 act-503-bare act-html drop-after hang-after    as above
      late=S                drops the connection, acts S seconds later
      slow=S                responds byte by byte, taking S seconds
      truncated garbage     half of the response; broken JSON
      list not-a-run        [] as the response; an object of another kind
      stranger              someone else does the same just before
    Lasting conditions:
      skew=S no-date        the server's clock is S seconds off; no Date header
      lagging=S             what is younger than S seconds is not visible yet
      half-written=S        such young runs have neither session nor error
      no-idempotency        the Idempotency-Key is ignored
      echo-token            errors repeat the token
      cut=S                 event streams close after S seconds
      silent                event streams stay open and send nothing"""
    if not 0 < speed < math.inf:
        raise UsageError(f"--speed must be above 0, not {speed:g}", hint="use --speed 60 to make a minute a second")
    with folder() as own, _serve(app, generation, speed, port, fault or []) as server:
        server.world.seed_deployments(deployments)
        inside = variables(app.env, base_url=server.base_url, token=server.world.token, folder=own)
        if command:
            return run(command, environment(app.env, inside))
        app.out.write("".join(f"export {name}={shlex.quote(value)}\n" for name, value in inside.items()))
        app.err.tell("paste these lines into another shell; press Ctrl-C here to stop\n")
        return 128 + until_signal()


def _serve(app: App, generation: Generation, speed: float, port: int, orders: list[str]) -> "Server":
    """Return a server, and say that nothing in it is real. Raises UsageError."""
    from qoder_cli.sandbox.faults import Faults
    from qoder_cli.sandbox.world import World

    try:
        from qoder_cli.sandbox.server import serve
    except ModuleNotFoundError:
        command = shlex.join([sys.executable or "python3", "-m", "pip", "install", "starlette", "uvicorn"])
        why = "the sandbox needs starlette and uvicorn, which are not installed"
        raise UsageError(why, hint=f"install them: {command}") from None
    faults = Faults(*orders)
    try:
        server = serve(World(generation=generation, speed=speed), faults=faults, port=port)
    except OSError as error:
        hint = "omit --port to use a free one"
        raise UsageError(f"--port {port} cannot be used: {error.strerror}", hint=hint) from None
    how = [f"{generation} API"]
    if speed != 1:
        how.append(f"speed {speed:g}")
    if orders:
        how.append(f"faults: {', '.join(map(str, faults.on_order))}")
    app.err.tell(f"sandbox at {server.origin} ({', '.join(how)}); nothing here is real or charged\n")
    return server


COMMANDS = {"sandbox": sandbox}
