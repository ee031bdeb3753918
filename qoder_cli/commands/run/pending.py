"""`qoder run pending`: what waits for an answer."""

from qoder_cli.app import App
from qoder_cli.base.errors import NeedsAnswer, UsageError
from qoder_cli.cli.options import RUNS_OR_LAST, Texts, flag, named, option
from qoder_cli.commands.viewing import View, Viewing
from qoder_cli.output.data import Rows
from qoder_cli.sessions.asks import COLUMNS, FIRST, Waiting

_SINCE = "Without RUN: look at sessions created since, e.g. 90m, 7d or a date."


def pending(
    app: App,
    runs: Texts = RUNS_OR_LAST,
    since: str = option("--since", "WHEN", _SINCE, default="24h"),
    exit_status: bool = flag("--exit-status", "Exit 11 if anything waits."),
    *,
    viewing: Viewing,
) -> None:
    """List the calls that wait for an answer.

    Without RUN it looks at all sessions of the last 24 hours that have not
    ended, with one request each (two where the agent works: a sub-agent may
    ask), and says how many those were. In JSON each call has its whole
    input, an `input_sha256`, and under `answer` the commands that answer it.
    The hash is that of the object with the keys kind, name, mcp_server_name,
    thread and input as JSON (keys sorted, no spaces).
    Piped: run, session, deployment, call, kind, name, input, asked, waits,
    credits, length of the input in characters. Kind is tool, mcp or custom;
    `unreadable` waits too.

    Examples:
      qoder run pending
      qoder run pending last --json | jq '.[].input'
      qoder session pending --since 7d --exit-status"""
    view = View(app, viewing, COLUMNS)
    if exit_status and view.is_watched:
        raise UsageError("--watch and --exit-status cannot be used together", hint="give only one of them")
    if runs and since != "24h":
        raise UsageError("--since is for looking without a RUN", hint="leave it out, or name no RUN")
    words = named(runs, app) if runs else []
    any_waits = False

    def look() -> None:
        nonlocal any_waits
        any_waits = _look(app, words, since)

    view.show(look)
    if any_waits and exit_status:
        raise NeedsAnswer("calls wait for an answer", hint="use approve, deny or answer", run_state="going")


def _look(app: App, words: list[str], since: str) -> bool:
    """Print what waits now; return whether anything does."""
    from qoder_cli.runs.target import target_of
    from qoder_cli.sessions import answering as waiting

    if words:
        found = waiting.in_targets(app, (target_of(word, app) for word in words))
    else:
        found = waiting.everywhere(app, since)
    now = app.client.server_now()
    rows = Rows[Waiting](app.output, fields=lambda one: one.row(now), data=Waiting.as_json, id="call", first=FIRST)
    any_waits = False
    with rows:
        for batch in found:
            rows.show(batch)
            any_waits = any_waits or bool(batch)
            waiting.warn_of_hidden(app, batch)
    if not any_waits:
        app.progress.note("nothing waits for an answer")
    return any_waits
