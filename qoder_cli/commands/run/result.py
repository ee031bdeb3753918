"""`qoder run result`: what the agent said in the end, and what it delivered."""

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import first_by_rank
from qoder_cli.base.outcome import is_going
from qoder_cli.cli.options import RUN_OR_LAST, Text, is_of_sessions, option, or_last
from qoder_cli.help.completion import values
from qoder_cli.runs.ending import ending_error, not_ended
from qoder_cli.runs.observe import any_observer

_DOWNLOAD = "Also download the files that it delivered."


def result(
    ctx: typer.Context,
    run: Text = RUN_OR_LAST,
    output_dir: Text = option("--output-dir -O", "DIR", _DOWNLOAD, values.folders),
) -> None:
    """Print the agent's final message; optionally download its files.

    Prints the message as plain text, nothing if there is none; JSON has it
    under the key `result` (and `files`). The exit code is the outcome: 0
    completed, 1 failed, 8 still running.
    On a terminal RUN defaults to `last`.

    In CI, send it to a file or use --json: such text as ::error:: would be a
    command there. With --output-dir existing files are kept: a new one gets a
    number. If one cannot be saved, the others are, and the exit code says so.

    Examples:
      qoder run result last
      qoder run result last -O /tmp/delivered
      qoder session result sess_demo"""
    from qoder_cli.commands.target import target_of
    from qoder_cli.history import names
    from qoder_cli.nouns import file as downloads
    from qoder_cli.sessions import result as results

    app: App = ctx.obj
    folder = None if output_dir is None else downloads.prepare_folder(output_dir)
    word = or_last(run, app, of_sessions=is_of_sessions(ctx))
    if is_of_sessions(ctx):
        id = target_of(word, app).session_id
    else:
        id = names.run(word, app)
    current = any_observer(app, id).read_once()
    if is_going(current):
        raise not_ended(current, app)
    paths, failure = None, None
    if folder is not None:
        paths, failure = results.save_files(app, current, folder)
    results.show_result(app, current, files=paths)
    if error := first_by_rank(filter(None, [ending_error(current, app), failure])):
        raise error
