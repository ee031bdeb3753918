"""`qoder run result`: what the agent said in the end, and what it delivered."""

import typer

from qoder_cli.app import App
from qoder_cli.base.outcome import is_going
from qoder_cli.cli.options import RUN_OR_LAST, Text, option, or_last
from qoder_cli.help.completion import values
from qoder_cli.runs.ending import ending_error, not_ended
from qoder_cli.runs.turn import any_observer, is_of_sessions

_DOWNLOAD = "Also download the files it delivered into this folder."


def result(
    ctx: typer.Context,
    run: Text = RUN_OR_LAST,
    output_dir: Text = option("--output-dir", "DIR", _DOWNLOAD, values.folders),
) -> None:
    """Print the agent's final message; optionally download its files.

    Standard output is the message as plain text, or empty if there is none;
    in JSON it is the run with a key `result` (and `files`). The exit code is
    the run's outcome: 0 completed, 1 failed, 8 still running.
    On a terminal RUN defaults to `last`.

    A CI system may find commands in the text (::error::, ##[error],
    ##vso[...]): there, send it to a file or use --json. With --output-dir
    existing files are kept: a new one gets a number.

    Examples:
      qoder run result last
      qoder run result last --output-dir /tmp/delivered
      qoder run result last --json | jq -r .result"""
    from qoder_cli.nouns import files as downloads
    from qoder_cli.runs import names
    from qoder_cli.runs import result as results
    from qoder_cli.runs.answering import sessions_of

    app: App = ctx.obj
    folder = None if output_dir is None else downloads.prepare_folder(output_dir)
    typed = or_last(run, app)
    id = sessions_of([typed], app)[0] if is_of_sessions(ctx) else names.run(typed, app)
    found = any_observer(app, id).read_once()
    if is_going(found):
        raise not_ended(found, app)
    files: list[str] | None = None
    if folder is not None:
        files = []
        for id, name in results.delivered_files(app, found):
            files.append(str(downloads.download(app, id, name, folder)))
            app.progress.note(f"saved {files[-1]}")
        if not files:
            app.progress.note(f"{found.called} delivered no files")
    results.show_result(app, found, files=files)
    if error := ending_error(found, app):
        raise error
