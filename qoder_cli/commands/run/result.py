"""`qoder run result`: what the agent said in the end, and what it delivered."""

from typing import Annotated

import typer

from qoder_cli.app import State
from qoder_cli.base.errors import Exit
from qoder_cli.base.outcome import is_going
from qoder_cli.cli.options import OneRun
from qoder_cli.help.completion import values
from qoder_cli.runs.ending import ending_error, not_ended
from qoder_cli.runs.observe import observer_of


def result(
    ctx: typer.Context,
    run: OneRun,
    output_dir: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Also download the files it delivered into this folder.",
            autocompletion=values.folders,
        ),
    ] = None,
) -> int:
    """Print the agent's final message, and fetch what it delivered.

    Standard output is the message as plain text, or empty if there is none;
    in JSON it is the run with a key `result` (and `files`). The exit code is
    the run's outcome: 0 it completed, 1 it failed; 8 while it is going on.

    The text is as the agent wrote it, so a CI system may find commands in it
    (::error::, ##[error], ##vso[...]): there, send it to a file or use --json.

    A file that --output-dir has already is kept: the new one gets a number.
    A file of more than 1 GiB is not downloaded (exit 7).

    Examples:
      qoder run result last
      qoder run result last --output-dir /tmp/delivered
      qoder run result last --json | jq -r .result

    All exit codes: qoder help exit-codes"""
    from qoder_cli.runs import files as delivered
    from qoder_cli.runs import names
    from qoder_cli.runs import result as results

    state: State = ctx.obj
    folder = None if output_dir is None else delivered.prepare_folder(output_dir)
    found = observer_of(state, names.run(run, state)).read_once()
    if is_going(found):
        raise not_ended(found, state)
    files = []
    if folder is not None:
        for file in results.delivered_files(state.client, found):
            target = delivered.download(state.client, file, folder)
            files.append(str(target))
            state.progress.note(f"{file.file_id} is in {target}")
    results.show_result(state, found, files=files if folder is not None else None)
    if error := ending_error(found, state):
        raise error
    return Exit.OK
