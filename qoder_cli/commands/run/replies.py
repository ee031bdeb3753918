"""`qoder run approve`, `deny`, `answer` and `send`: what answers an agent."""

from typing import Any, NamedTuple

import typer

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import UsageError, exclude
from qoder_cli.base.plainfile import text_of
from qoder_cli.cli.options import (
    ONE_RUN,
    YES,
    Text,
    Texts,
    WaitOptions,
    argument,
    flag,
    one_named,
    option,
    options_typed,
    require_guard,
    wanted_of,
)

_CALLS = argument("CALL...", "Ids (evt_…), or numbers that `pending` showed.", default=None)
_SAME = "Exit 6 unless the call has this hash. Once per call."
_WITH = option("--with", "TEXT|@FILE|-", "What the tool returns; - reads stdin.", default=...)


class Chosen(NamedTuple):
    """The calls that are meant, as typed. These are the options, too."""

    calls: Texts = _CALLS
    every: bool = flag("--all", "All calls that wait in this session.")
    yes: bool = YES
    hashes: Texts = option("--input-sha256", "HEX", _SAME)


def approve(app: App, run: str = ONE_RUN, *, chosen: Chosen, waiting: WaitOptions) -> Any:
    """Allow calls that the agent wants to make.

    Shows what the agent said last and each call with its input, and asks: y
    allows, n denies, w denies with a reason, a allows all equal calls, r
    denies the rest. Scripts name calls by id, or pass --all, with --yes. Right
    before sending, each call is read again: if it changed, nothing is sent
    (exit 6). With --input-sha256 it must be what `pending --json` showed: the
    same input, tool, MCP server, kind and thread.

    Exit codes: 0 answered, or with --all nothing waited; 6 it no longer waits;
    9 unknown whether it arrived (never sent twice). With --wait: the run's
    exit code.

    Examples:
      qoder run approve last evt_1 --input-sha256 HEX --yes --wait --result"""
    return _decide(app, run, chosen, waiting, "approve", None)


def deny(
    app: App,
    run: str = ONE_RUN,
    *,
    chosen: Chosen,
    because: Text = option("--because", "TEXT", "Tell the agent why."),
    waiting: WaitOptions,
) -> Any:
    """Refuse calls that the agent wants to make.

    The agent learns of it, and continues without the call. Otherwise it works
    like `approve`; y and a do nothing.

    Examples:
      qoder run deny last --all --because "not on a Friday" --yes
      qoder run deny sess_demo evt_1 --yes --wait"""
    return _decide(app, run, chosen, waiting, "deny", because)


def _decide(app: App, run: str, chosen: Chosen, waiting: WaitOptions, verb: str, because: str | None) -> Any:
    from qoder_cli.commands.run.answering import decide, deliver
    from qoder_cli.commands.target import target_of
    from qoder_cli.sessions.numbering import require_question

    call_words, every, yes, hashes = chosen
    _require_run(run, verb)
    wanted, run = wanted_of(app, waiting), one_named(run, app)
    calls = [ids.call(word) for word in dict.fromkeys(call_words or [])]
    exclude({"CALL": calls, "--all": every})
    require_question(app, calls, yes=yes)
    if not (calls or every) and (yes or not app.may_ask):
        raise UsageError(f"name the calls to {verb}, or pass --all", hint="list them: qoder run pending")
    if not (yes or app.may_ask):
        raise UsageError(f"to {verb} a call requires confirmation", hint="confirm with --yes")
    if verb == "approve":
        require_guard(app)
    target = target_of(run, app, writes=True)
    write = decide(app, target, calls, verb, every=every, yes=yes, hashes=hashes or [], because=because)
    return deliver(app, target, write, wanted)


def _require_run(run: str, verb: str) -> None:
    """Raise UsageError for a call's number in place of the run."""
    if run.isdecimal():
        raise UsageError(
            f"{run} names no run", hint=f"name the run before the number, e.g. qoder run {verb} last {run}"
        )


def answer(
    app: App,
    run: str = ONE_RUN,
    call: str = argument("CALL", "Id (evt_…), or a number that `pending` showed."),
    reply: str = _WITH,
    error: bool = flag("--error", "The tool failed, and this says why."),
    *,
    waiting: WaitOptions,
) -> Any:
    """Give the result of a custom tool that the agent called.

    Shows a call named by its number first, and asks.

    Exit codes: 0 given, 2 not a call of a custom tool, 6 it no longer waits, 9
    unknown whether it arrived. With --wait: the run's exit code.

    Examples:
      qoder run answer last evt_1 --with "build 512 is green"
      ./lookup.sh | qoder run answer sess_demo evt_1 --with - --wait"""
    from qoder_cli.commands.run.answering import deliver, with_result
    from qoder_cli.commands.target import target_of
    from qoder_cli.sessions.numbering import require_question

    wanted = wanted_of(app, waiting)
    require_guard(app)
    _require_run(run, "answer")
    require_question(app, [call])
    text = text_of(reply, stdin=app.stdin, option="--with")
    run, call = one_named(run, app), ids.call(call)
    target = target_of(run, app, writes=True)
    return deliver(app, target, with_result(app, target, call, text, is_error=error), wanted)


def send(
    ctx: typer.Context,
    run: str = ONE_RUN,
    message: str = option("--message -m", "TEXT|@FILE|-", "What to say; - reads stdin.", default=...),
    interrupt: bool = flag("--interrupt", "Interrupt what the agent is doing first."),
    when_idle: bool = flag("--when-idle", "Wait until the agent is idle first."),
    *,
    waiting: WaitOptions,
) -> Any:
    """Send a message to a session, which continues with it.

    A message does not change the outcome of a run that has ended. With --wait
    you get that of the message, or exit 10 if the session rests for a minute
    without working on it. A busy session refuses it (exit 6): use --when-idle
    or --interrupt. An error says if nothing was sent.

    Examples:
      qoder run send last -m "Now do the same for June." --wait --result
      qoder session send sess_demo -m @notes.txt --when-idle"""
    from qoder_cli.commands.run.answering import ToSay, send_message
    from qoder_cli.commands.target import target_of

    app: App = ctx.obj
    exclude({"--interrupt": interrupt, "--when-idle": when_idle})
    wanted = wanted_of(app, waiting, wait=when_idle or interrupt)
    stays = waiting.wait or waiting.follow or waiting.result
    text = text_of(message, stdin=app.stdin, option="--message")
    if not text.strip():
        raise UsageError("the message is empty", hint="is a shell variable unset?")
    options = options_typed(ctx, without=("message", "interrupt", "when_idle"))
    to_say = ToSay(message, text, interrupt, when_idle, options)
    run, began = one_named(run, app), app.clock.monotonic()
    return send_message(app, target_of(run, app, writes=True), to_say, began=began, wanted=wanted, stays=stays)
