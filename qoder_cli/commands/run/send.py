"""`qoder run send`: say something to the session of a run."""

from typing import Annotated

from qoder_cli.api.body import text_of
from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.cli.options import OneRun, Waiting, flag, one_named, option, wanted_of


def send(
    app: App,
    run: OneRun,
    message: Annotated[str, option("--message -m", "TEXT|@FILE|-", "What to say; - reads stdin.")],
    interrupt: Annotated[bool, flag("--interrupt", "Interrupt what the agent is doing first.")] = False,
    when_idle: Annotated[bool, flag("--when-idle", "Wait until the agent is idle first.")] = False,
    *,
    waiting: Waiting,
) -> int:
    """Send a message to a session, which continues with it.

    The outcome of a run does not change by what is said later: with --wait
    you get the outcome of this message. A session that is busy refuses it
    (exit 6): wait with --when-idle, or use --interrupt.

    Examples:
      qoder run send last -m "Now do the same for June." --wait --result
      qoder session send sess_demo -m @notes.txt --when-idle"""
    from qoder_cli.runs.answering import ToSay, send_message

    if interrupt and when_idle:
        raise UsageError("--interrupt and --when-idle cannot be used together", hint="pass only one of them")
    wanted = wanted_of(app, waiting, wait=when_idle or interrupt)
    waits = waiting.wait or waiting.follow or waiting.result
    said = text_of(message, stdin=app.stdin, option="--message")
    if not said.strip():
        raise UsageError("the message is empty", hint="is a shell variable unset?")
    to_say = ToSay(message, said, when_idle)
    return send_message(app, one_named(run, app), to_say, wanted, interrupts=interrupt, waits=waits)
