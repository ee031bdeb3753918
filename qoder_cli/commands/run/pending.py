"""`qoder run pending`: what waits for an answer."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from qoder_cli.app import App
from qoder_cli.base.errors import NeedsAnswer, UsageError, exclude
from qoder_cli.cli.options import RUNS_OR_LAST, Text, Texts, flag, named, option
from qoder_cli.commands.viewing import View, Viewing
from qoder_cli.help.completion.values import files
from qoder_cli.nouns.views import with_name
from qoder_cli.output.cells import Fields
from qoder_cli.output.data import Rows
from qoder_cli.sessions.asks import COLUMNS, FIRST, PendingCall

if TYPE_CHECKING:
    from qoder_cli.policy.rules import Policy

_SINCE = "Without RUN: sessions created since."


# What is the same in every row may go; but never what a person decides by.
_MAY_GO = ("kind", "run", "session", "deployment")


def pending(
    app: App,
    runs: Texts = RUNS_OR_LAST,
    since: str = option("--since", "WHEN", _SINCE, default="24h"),
    exit_status: bool = flag("--exit-status", "Exit 11 if anything waits."),
    policy: Text = option("--policy", "FILE", "Show what this policy would decide.", files),
    *,
    viewing: Viewing,
) -> None:
    """List the calls that wait for an answer.

    Without RUN it asks all sessions of the last 24 hours that have not ended,
    and says how many. On a terminal calls are numbered: `approve last 2` shows
    call 2 again, and asks. In JSON each call has its whole input, its
    `input_sha256`, and under `answer` the commands that answer it (qoder help
    output). Kind is tool, mcp or custom; `unreadable` waits too. With
    --policy, policy is a column, too.

    Examples:
      qoder run pending
      qoder run pending last --json | jq '.[].input'"""
    view = View(app, viewing, COLUMNS if policy is None else (*COLUMNS, "policy"))
    exclude({"--watch": view.is_watched, "--exit-status": exit_status})
    if runs and since != "24h":
        raise UsageError("--since is for looking without a RUN", hint="leave it out, or name no RUN")
    words = named(runs, app) if runs else []
    any_waits = False
    rules = None
    if policy is not None:
        from qoder_cli.sessions.guard import loaded, with_ids

        rules = with_ids(app, loaded(app, policy))

    def look() -> None:
        nonlocal any_waits
        any_waits = _look(app, words, since, rules)

    view.show(look)
    if any_waits and exit_status:
        raise NeedsAnswer("calls wait for an answer", hint="use approve, deny or answer", run_state="going")


def _look(app: App, words: list[str], since: str, policy: "Policy | None") -> bool:
    """Print what waits now; return whether anything does."""
    from qoder_cli.sessions.answering import warn_of_hidden
    from qoder_cli.sessions.numbering import how_to_decide, shows_numbers, to_show

    now = app.client.server_now()

    def row(waiting: PendingCall) -> Fields:
        if not app.output.is_drawn:
            return waiting.row(now)
        name = app.seen_names.standing_for(waiting.deployment_id)
        return with_name(waiting.drawn_row(now), waiting.deployment_id, name, is_wide=app.output.is_wide)

    first = FIRST if policy is None else ("policy", *FIRST)
    id = "session" if shows_numbers(app) else "call"  # a call has a number, or is named by its id
    rows = Rows[PendingCall](app.output, fields=row, data=PendingCall.as_json, id=id, first=first, may_go=_MAY_GO)
    shown: list[PendingCall] = []
    drawn: list[PendingCall] = []  # on a terminal all at once: its columns are made for all of them
    with rows:
        try:
            for batch in waiting_calls(app, words, since):
                calls = to_show(app, batch)
                if policy is not None:
                    from qoder_cli.sessions.by_policy import with_verdicts

                    calls = with_verdicts(app, policy, calls)
                shown += calls
                if app.output.is_drawn:
                    drawn += calls
                    continue
                rows.show(calls)
                warn_of_hidden(app, calls)
        finally:
            rows.show(drawn)
            warn_of_hidden(app, drawn)
    if not shown:
        app.progress.note("nothing waits for an answer")
    elif app.may_ask and shows_numbers(app) and any(one.number for one in shown):
        app.progress.note(how_to_decide(app, words, shown))
    return bool(shown)


def waiting_calls(app: App, words: Sequence[str], since: str) -> Iterator[list[PendingCall]]:
    """Yield what waits, read now, in the runs and sessions typed; without any, wherever it does. Raises QoderError."""
    from qoder_cli.commands.target import target_of
    from qoder_cli.sessions.answering import everywhere, in_targets

    if words:
        return in_targets(app, (target_of(word, app) for word in words))
    return everywhere(app, since)
