"""The process around `main`: quiet from the start, killed by the signal that stops it."""

# The builtin module: `signal` imports others, and Ctrl-C may come that early. Nothing was
# started, so die by it without a word, not with Python's traceback.
import _signal  # type: ignore[import-not-found]  # typeshed does not describe it

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

import gc
import os
import signal
import sys
from contextlib import suppress
from typing import Any

from qoder_cli.base import signals
from qoder_cli.base.errors import Exit, Signalled, broken_down
from qoder_cli.output.screen import Screen, errors_of_second_signals, format_typed, silence, write_error


def run() -> None:
    """Run this process's command line and exit with its code. Never returns."""
    if "_QODER_COMPLETE" in os.environ and len(sys.argv) == 1:  # with words it is a command
        from qoder_cli.cli.main import command_tree
        from qoder_cli.help.completion.answer import respond

        respond(command_tree("qoder"), os.environ, sys.stdout)
        os._exit(Exit.OK)
    gc.set_threshold(50_000)  # imports make no garbage; looking for it takes 8 % of a short command
    app: Any = None
    try:
        try:
            on_line = sys.stderr is not None and sys.stderr.isatty()
            signals.listen(errors_of_second_signals(format_typed(sys.argv[1:]), on_line=on_line))
            from qoder_cli.app import App
            from qoder_cli.cli.main import main

            app = App.of_this_process()
            code = main(app=app)
        except Signalled as signalled:  # before `main` could begin
            error = signalled.in_words("interrupted; nothing was started")
            write_error(error, Screen.of(sys.stderr, os.environ), format_typed(sys.argv[1:]))
            code = error.exit
    except Exception as failure:
        code = _broke_down(failure, app)
    _end(code)


def _broke_down(failure: Exception, app: Any) -> int:
    """Report an exception that `main` could not put into words, with the run that may go on. Return 70.

    Program files may be gone, as during an upgrade, or no file can be opened. So nothing new is imported here, and
    what fails is left out.
    """
    signals.begin_last_words()
    error = broken_down(failure)
    with suppress(Exception):
        error = app.broken_down(failure)
    with suppress(Exception):
        if app.tracked.run and app.output.is_json and not app.out.has_written:
            app.print_run(app.tracked.run)
    try:
        app.report(error)
    except Exception:
        write_error(error, Screen(sys.stderr.buffer), "table")
    return error.exit


def _end(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        silence(stream)  # while a signal still ends this: perhaps nobody reads it
    signals.deafen()
    if code == Exit.INTERRUPTED and sys.platform != "win32":
        signals.die_by(signal.SIGINT)  # after exit 130 a shell loop would go on; this stops it
    sys.exit(code)


if __name__ == "__main__":
    run()
