"""`qoder help`: what people read about once, made from the code that does it."""

from collections.abc import Callable
from typing import Annotated

import typer

from qoder_cli.errors import RANKING, Exit, UsageError
from qoder_cli.state import State


def help(
    ctx: typer.Context,
    topic: Annotated[str | None, typer.Argument(metavar="TOPIC", help="exit-codes, environment or output.")] = None,
) -> None:
    """Read about exit codes, environment and output.

    Examples:
      qoder help exit-codes
      qoder help environment"""
    state: State = ctx.obj
    if topic is None:
        state.output.raw("".join(f"qoder help {name:<12} {about}\n" for name, about in ABOUT.items()))
    elif topic in TOPICS:
        state.output.raw(TOPICS[topic]())
    else:
        raise UsageError(f"there is no topic {topic!r}", hint=f"the topics are {', '.join(TOPICS)}")


def exit_codes() -> str:
    """Return the table of exit codes, a line each."""
    lines = "".join(f"{code.value:>4}  {code.name.lower():<16} {code.meaning}\n" for code in Exit)
    return lines + _SAFE_TO_REPEAT


def exit_codes_as_markdown() -> str:
    """Return the same for the README."""
    rows = "".join(f"| {code.value} | {code.name.lower()} | {code.meaning} |\n" for code in Exit)
    return "| Code | Name | When |\n|---|---|---|\n" + rows + _SAFE_TO_REPEAT


_SAFE_TO_REPEAT = f"""
2, 4, 5, 6 and 7 mean that this command started nothing. 10, 124, 130 and 143 name the run
that goes on, if there is one: wait again, do not start again. 9, 70 and death by another
signal settle nothing: `qoder run wait last` does. Of several runs the first that applies
counts: {", ".join(str(code.value) for code in RANKING)}.
"""

ENVIRONMENT = """\
QODER_PAT               the token; QODER_ACCESS_TOKEN is read too
QODER_PAT_FILE          a file that holds the token
QODER_BASE_URL          the server; QODER_MANAGED_BASE_URL is read too
QODER_REGION            global or cn
QODER_WORKSPACE_ID      sent as qoder-workspace-id
QODER_CONFIG            the config file, instead of the usual place (qoder config path)
QODER_STATE_DIR         the folder of the journal of triggers and of what completion remembers
QODER_READ_ONLY=1       refuse everything but reading
QODER_NO_PROGRESS=1     nothing on stderr but warnings and errors
QODER_NO_INPUT=1, CI    never ask a question
QODER_SANDBOX           set by `qoder sandbox --`; nothing inside can reach a real server
NO_COLOR, FORCE_COLOR   colour, with TERM
HTTPS_PROXY, NO_PROXY   proxies; loopback is never proxied
SSL_CERT_FILE, SSL_CERT_DIR   certificates to trust

An option beats the environment, which beats the config file. An empty variable is not set.
"""

OUTPUT = """\
Standard output has the data, standard error everything else. -o chooses how data looks:

table   on a terminal a table in local time; in a pipe tab-separated, without header:
        `key<TAB>value` lines for one thing, a row a run for several
json    one document: an object for one thing named, an array for several or for -
jsonl   one object a line
id      only the id

A run in JSON is the server's object, unchanged. Where the server sends no final status,
`status`, `completed_at`, `duration_ms`, `error` and `usage` are filled in from the run's
session, and `derived` names them: `jq -r .status` works on every server.

`completed` means that the agent finished its turn, not that it did what you wanted.

With JSON output the last line of stderr is `{"error": {…}}` whenever the exit code is not 0.
"""

ABOUT = {
    "exit-codes": "what each exit code means, and which are safe to repeat",
    "environment": "the variables that are read",
    "output": "formats, and what they promise",
}
TOPICS: dict[str, Callable[[], str]] = {
    "exit-codes": exit_codes,
    "environment": lambda: ENVIRONMENT,
    "output": lambda: OUTPUT,
}

COMMANDS = {"help": help}
