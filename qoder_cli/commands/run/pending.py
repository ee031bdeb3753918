"""`qoder run pending`: what waits for an answer."""

from collections.abc import Iterator, Sequence

from qoder_cli.app import App
from qoder_cli.base.errors import NeedsAnswer, UsageError
from qoder_cli.cli.options import RUNS_OR_LAST, Texts, flag, named, option
from qoder_cli.output.cells import Fields
from qoder_cli.output.data import Rows
from qoder_cli.sessions.asks import FIRST, Waiting

_SINCE = "Without RUN: look at sessions created since, e.g. 90m, 7d or a date."


def pending(
    app: App,
    runs: Texts = RUNS_OR_LAST,
    since: str = option("--since", "WHEN", _SINCE, default="24h"),
    exit_status: bool = flag("--exit-status", "Exit 11 if anything waits."),
) -> None:
    """List the calls that wait for an answer.

    Without RUN it looks at all sessions of the last 24 hours that have not
    ended, with one request each (two where the agent works: a sub-agent may
    ask), and says how many those were. On a terminal the calls of each session
    are numbered: `approve last 2` shows call 2 again, and asks.
    In JSON each call has its whole input, an `input_sha256`, and under `answer`
    the commands that answer it; qoder help output has all keys.
    Piped: run, session, deployment, call, kind, name, input, asked, waits,
    credits, length, number, mcp_server_name, thread, input_sha256.

    Examples:
      qoder run pending
      qoder run pending last --json | jq '.[].input'
      qoder session pending --since 7d --exit-status"""
    from qoder_cli.sessions.answering import warn_of_hidden
    from qoder_cli.sessions.numbering import how_to_decide, to_show

    if runs and since != "24h":
        raise UsageError("--since is for looking without a RUN", hint="leave it out, or name no RUN")
    words = named(runs, app) if runs else []
    now = app.client.server_now()

    def row(one: Waiting) -> Fields:
        return one.drawn_row(now) if app.output.is_drawn else one.row(now)

    shown: list[Waiting] = []
    with Rows[Waiting](app.output, fields=row, data=Waiting.as_json, id="call", first=FIRST) as rows:
        for batch in waiting_calls(app, words, since):
            calls = to_show(app, batch)
            rows.show(calls)
            shown += calls
            warn_of_hidden(app, calls)
    if not shown:
        app.progress.note("nothing waits for an answer")
    elif app.may_ask and any(one.number for one in shown):
        app.progress.note(how_to_decide(app, words, shown))
    if shown and exit_status:
        raise NeedsAnswer("calls wait for an answer", hint="use approve, deny or answer", run_state="going")


def waiting_calls(app: App, words: Sequence[str], since: str) -> Iterator[list[Waiting]]:
    """Yield what waits, read now, in the runs and sessions typed; without any, wherever it does. Raises QoderError."""
    from qoder_cli.runs.target import target_of
    from qoder_cli.sessions.answering import everywhere, in_targets

    if words:
        return in_targets(app, (target_of(word, app) for word in words))
    return everywhere(app, since)
