"""`qoder sandbox`: rehearse against a server on this machine."""

import math
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from qoder_cli.app import State
from qoder_cli.base.errors import UsageError
from qoder_cli.help.completion import values
from qoder_cli.sandbox.child import environment, folder, run, until_signal, variables
from qoder_cli.sandbox.wire import Generation

if TYPE_CHECKING:
    from qoder_cli.sandbox.server import Server


def sandbox(
    ctx: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- COMMAND...",
            help="What to run inside; nothing: serve until Ctrl-C.",
            autocompletion=values.command_inside,
        ),
    ] = None,
    generation: Annotated[
        Generation, typer.Option(help="Which API to speak: runs with a status, or without one.")
    ] = "current",
    speed: Annotated[float, typer.Option(metavar="N", help="How many times faster sessions go.")] = 1.0,
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="Where to listen; 0 is any free port.")] = 0,
    deployments: Annotated[
        int, typer.Option(min=0, max=10_000, metavar="N", help="Add N that behave as dep_demo, seed-0000 and so on.")
    ] = 0,
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="WHERE:WHAT[=VALUE][*TIMES]", help="Let this go wrong; repeatable."),
    ] = None,
) -> int:
    """Rehearse against a server on this machine, where nothing is real.

    With a command after `--` it runs that command against the server, and exits
    with its exit code, or with 2 if it cannot be run. Alone it serves until
    Ctrl-C and prints what to export. Inside, qoder and the official SDK reach
    no other server, and have a config and a state of their own, which are
    removed at the end.

    Examples:
      qoder sandbox -- qoder deploy run dep_demo --wait
      qoder sandbox --generation legacy -- sh
      qoder sandbox --fault trigger:503 -- qoder deploy run dep_demo --wait
      qoder sandbox --deployments 200 -- qoder deploy list --all

    Deployments to try: dep_demo, dep_slow and dep_idle complete, dep_minute
    takes 60 s, dep_silent says nothing. dep_fail, dep_terminated, dep_budget
    fail, dep_nostart never starts, dep_skip is skipped with --generation legacy
    and never starts with current, dep_ask waits for an answer. dep_paused and
    dep_archived refuse; dep_scheduled has a schedule.

    Faults: WHERE is trigger, run, list, deployment, session, events, stream,
    agent or any; for what changes deployments create, update, pause, unpause,
    archive, or write for all of them.
    TIMES is 1 if not given, *inf is always. WHAT, when the server does not act:
      503 429=5 503-bare    a status, with Retry-After 5, without a body
      html html=503         a gateway's page, 502 if not given
      redirect=URL          302
      drop-before           the connection closes without an answer
      hang-before           no answer, ever
    when it acts:
      act-503 act-503-bare act-html drop-after hang-after    as above
      late=S                drops the connection, acts S seconds later
      slow=S                answers byte by byte, taking S seconds
      truncated garbage     half of the answer; broken JSON
      list not-a-run        [] for an answer; another kind of object
      stranger              someone else does the same just before
    and what goes on, beside the others:
      skew=S no-date        the server's clock is S seconds off; is not told
      lagging=S             what is younger than S seconds is not seen
      half-written=S        so young runs have neither session nor error
      no-idempotency        the Idempotency-Key means nothing
      echo-token            errors repeat the token
      cut=S                 an event stream is closed after S seconds
      silent                an event stream is open, and nothing comes

    All exit codes: qoder help exit-codes
    """
    state: State = ctx.obj
    if not 0 < speed < math.inf:
        raise UsageError(f"--speed {speed:g} is not above 0", hint="--speed 60 makes a minute last a second")
    with folder() as own, _serving(state, generation, speed, port, fault or []) as server:
        server.world.seed_deployments(deployments)
        inside = variables(state.env, base_url=server.base_url, token=server.world.token, folder=own)
        return run(command, environment(state.env, inside)) if command else _serve(state, inside)


@contextmanager
def _serving(state: State, generation: Generation, speed: float, port: int, orders: list[str]) -> "Iterator[Server]":
    """Serve, and say that nothing is real. Raises UsageError: bad fault, taken port, extra not installed."""
    from qoder_cli.sandbox.faults import Faults
    from qoder_cli.sandbox.world import World

    try:
        from qoder_cli.sandbox.server import serve
    except ModuleNotFoundError as error:
        from qoder_cli.help.installed import SANDBOX_NEEDS, how_to_add

        raise UsageError(
            f"the sandbox needs {' and '.join(SANDBOX_NEEDS)}: {error}", hint=how_to_add(SANDBOX_NEEDS)
        ) from None
    faults = Faults(*orders)
    try:
        serving = serve(World(generation=generation, speed=speed), faults=faults, port=port)
    except OSError as error:
        raise UsageError(
            f"--port {port} cannot be used: {error.strerror}", hint="leave --port out to take a free one"
        ) from None
    with serving as server:
        told = f"; faults: {', '.join(map(str, faults.on_order))}" if orders else ""
        state.err.tell(f"sandbox: nothing real is running; {server.origin}, {generation} API, speed {speed:g}{told}\n")
        yield server


def _serve(state: State, inside: dict[str, str]) -> int:
    """Print what to export, and serve until a signal; 128 and its number is the exit code."""
    state.out.write("".join(f"export {name}={shlex.quote(value)}\n" for name, value in inside.items()))
    state.err.tell("sandbox: paste the exports into another shell; Ctrl-C here stops it\n")
    return 128 + until_signal()


COMMANDS = {"sandbox": sandbox}
