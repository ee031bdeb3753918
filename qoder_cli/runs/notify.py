"""`--notify`: run a command of the user's when a wait is over, or when an agent asks and the wait goes on.

It never changes the exit code: what goes wrong is a warning. It gets `TIME` seconds, of which this command waits
`PATIENCE`; `notifier.py` ends it after that.
"""

import shlex
import shutil
import subprocess
import sys
import tempfile
from typing import Any, Literal

from qoder_cli.app import App
from qoder_cli.base import jsontext
from qoder_cli.base.errors import QoderError, UsageError
from qoder_cli.base.model import Run
from qoder_cli.base.outcome import calls_to_answer
from qoder_cli.output.screen import inert_lines
from qoder_cli.runs import notifier
from qoder_cli.settings.account import VARIABLES as ACCOUNT_VARIABLES
from qoder_cli.settings.config import KEYS_VARIABLE, TOKEN_VARIABLES

Event = Literal["ended", "asks", "lost"]

TIME = 10.0  # seconds that the command gets
PATIENCE = 1.0  # seconds of them that are waited for
SECRETS = (*TOKEN_VARIABLES, *ACCOUNT_VARIABLES, KEYS_VARIABLE, "QODER_REPO_TOKEN")

_running: list["subprocess.Popen[bytes]"] = []  # which nobody waits for any more


def words_of(command: str, *, source: str) -> list[str]:
    """Return a command's words by the shell's rules; nothing in it is expanded. Raises UsageError."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"{source}: {str(error).lower()}", hint="quote it for a shell: 'notify-send done'") from None
    if not words or not words[0]:
        raise UsageError(f"{source} is empty", hint='is a shell variable empty? Quote it: "$VAR"')
    return words


def check_command(app: App, command: str) -> None:
    """Take the command of `--notify`; warn now if there is no such program. Raises UsageError."""
    app.flags.notify = command
    _is_there(app, words_of(command, source="--notify"))


def _is_there(app: App, words: list[str]) -> bool:
    """Return whether there is such a program; warn if not."""
    is_there = shutil.which(words[0], path=app.env.get("PATH")) is not None
    if not is_there:
        app.progress.warn(f"--notify: {words[0]} was not found")
    return is_there


def notify_of_ask(app: App, run: Run) -> None:
    """Tell, once for each ask, that a run waits for an answer while the wait goes on."""
    ask = run.id, *calls_to_answer(run)
    if ask not in app.tracked.notified:
        app.tracked.notified.add(ask)
        notify(app, "asks", app.named(run).as_json())


def notify(app: App, event: Event, data: Any) -> None:
    """Run the command, if there is one, with these data on its standard input."""
    if not app.flags.may_notify:
        return
    try:
        if app.flags.notify is not None:
            words = words_of(app.flags.notify, source="--notify")
        elif app.settings.notify is not None:
            words = words_of(app.settings.notify.value, source=app.settings.notify.source)
        else:
            return
        _run(app, words, event, data)
    except (QoderError, OSError, ValueError) as error:
        app.progress.warn(f"--notify: {error}")


def _run(app: App, words: list[str], event: Event, data: Any) -> None:
    if not _is_there(app, words):
        return
    with tempfile.TemporaryFile() as input:
        input.write(f"{jsontext.dump(data)}\n".encode())
        input.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-I", notifier.__file__, str(TIME), *words],
            stdin=input,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(app) | {"QODER_EVENT": event},
            start_new_session=True,  # Ctrl-C is not for it
        )
        _running.append(process)
        try:
            printed, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired as late:
            printed = late.output or b""
            app.progress.note(f"--notify: {words[0]} is still running; it has {TIME:g} s in all")
        if text := inert_lines(printed.decode("utf-8", "replace")[:10_000]).rstrip("\n"):
            app.progress.show(text, always=True)
        if process.returncode:
            app.progress.warn(f"--notify: {words[0]} failed with exit code {process.returncode}")


def _environment(app: App) -> dict[str, str]:
    """Return the environment without what holds a token, a key or a store of keys, whatever it is called."""
    return {name: value for name, value in app.env.items() if name not in SECRETS and app.err.veiled(value) == value}
