"""`qoder completion`: print or install a shell completion script."""

import os
import shlex
from itertools import count
from pathlib import Path

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.base.plainfile import refuse_outside, replace_file
from qoder_cli.cli.options import Text, argument, flag
from qoder_cli.help.completion import SHELLS, SIGNATURE, places, script, values


def completion(
    app: App,
    shell: Text = argument("SHELL", "bash, zsh, fish or powershell.", values.one_of("shell"), default=None),
    install: bool = flag("--install", "Install it in the standard location."),
) -> None:
    """Print or install a shell completion script.

    Completes commands, options, and ids and names that this profile has seen.
    It never contacts the server.

    --install writes it to the standard location for bash (needs
    bash-completion), zsh or fish, by default the one in $SHELL; it keeps a
    file that qoder did not write as FILE.bak. Or add a line to your startup
    file:
      ~/.bashrc                   eval "$(qoder completion bash)"
      ~/.zshrc, below compinit    eval "$(qoder completion zsh)"
      config.fish                 qoder completion fish | source
      $PROFILE                    qoder completion powershell | Out-String | iex

    Examples:
      qoder completion bash --install
      qoder completion zsh > _qoder"""
    shells = ", ".join(SHELLS)
    if shell is None:
        if not install:
            raise UsageError("missing argument SHELL", hint=f"use one of {shells}")
        shell = Path(app.env.get("SHELL", "")).name
        if shell not in SHELLS:
            why = f"$SHELL is {shell}, which has no completion script" if shell else "$SHELL is not set"
            raise UsageError(why, hint=f"name your shell: qoder completion SHELL --install, with one of {shells}")
    if shell not in SHELLS:
        raise UsageError(f"unsupported shell {shell!r}", hint=f"use one of {shells}")
    text = script(shell)
    if not install:
        app.out.write_exactly(text)
        return
    if not (paths := places(shell, app.env)):
        hint = f"add to $PROFILE: qoder completion {shell} | Out-String | iex"
        raise UsageError("PowerShell has no completion folder", hint=hint)
    for path in paths:
        refuse_outside(path, app.env)
    for path in paths:
        _write(app, path, text)
        app.progress.note(f"wrote {path}")
    left = "open a new shell to use it"
    if shell == "bash":
        file = shlex.quote(str(paths[0]))
        left += f" (needs bash-completion; otherwise add to ~/.bashrc: source {file})"
    elif shell == "zsh":
        folder = shlex.quote(str(paths[0].parent))
        left = f"if TAB does nothing in a new shell, add to ~/.zshrc, above compinit: fpath=({folder} $fpath)"
    app.progress.note(left)


def _write(app: App, path: Path, text: str) -> None:
    """Write the script; a foreign file is kept as FILE.bak, FILE.bak2, ..."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_ours = path.is_file() and SIGNATURE.encode() in path.read_bytes()
        if os.path.lexists(path) and not is_ours:
            names = (path.with_name(f"{path.name}.bak{number if number > 1 else ''}") for number in count(1))
            kept = path.replace(next(name for name in names if not os.path.lexists(name)))
            app.progress.note(f"kept the old file as {kept}")
        replace_file(path.resolve(), text.encode())
    except OSError as error:
        why = f"cannot write {path}: {error.strerror}"
        raise UsageError(why, hint="drop --install to print it instead") from None
