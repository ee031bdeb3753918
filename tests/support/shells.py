"""Real shells: what TAB offers behind a line, what it shows, and whether it starts what it should not."""

import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qoder_cli.help.completion import FILES, script
from tests.support.nursery import ENVIRONMENT, PATIENCE, nursery
from tests.support.programs import need


@dataclass
class Session:
    """What a shell offered for each line, the line then, all that it showed, and whether another `qoder` was."""

    offers: dict[str, set[str]]
    typed: dict[str, str]
    screen: str
    started: bool


# TAB inserts all that it would offer into the line, or with $LISTED lists it, or with $WHOLE completes it. Ctrl-X w
# writes the line down in $TYPED. No terminal acts on these keys by itself, so none is lost when the shell is not
# reading yet.
SETUP = {
    "bash": r"""PS1= HISTFILE=; set -u; shopt -s failglob
COMP_WORDBREAKS=${BREAKS-$COMP_WORDBREAKS}
written() { printf '%s\n' "$READLINE_LINE" >>"$TYPED"; READLINE_LINE= READLINE_POINT=0; }
bind 'set bell-style none'; bind 'set show-all-if-ambiguous on'
[[ ${LISTED-}${WHOLE-} ]] || bind '"\t": insert-completions'; bind -x '"\C-xw": written'
. "$SCRIPT"; echo ready >>"$TYPED"
""",
    "zsh": r"""PS1=; unset HISTFILE; unsetopt beep
[[ -v BREAKS ]] || fpath=(${SCRIPT:h} $fpath)
autoload -Uz compinit; compinit -D -u
[[ -v BREAKS ]] && . $SCRIPT
zle -C all complete-word _generic; [[ -v LISTED || -v WHOLE ]] || bindkey '^I' all
zstyle ':completion:all:*' completer _all_matches _complete
zstyle ':completion:all:*' insert true
written() { print -r -- $BUFFER >>$TYPED; BUFFER=; }
zle -N written; bindkey '^Xw' written
echo ready >>$TYPED
""",
    "fish": r"source $argv[1]; for line in $argv[2..]; printf '\x1e'; complete -C $line; end",
}


def press_tab(shell: str, lines: list[str], folder: Path, **more: str) -> Session:
    """Put the completion script into a real shell, and TAB behind each line."""
    need(shell)
    completion, typed = folder / FILES[shell], list[str]()
    completion.write_text(script(shell), encoding="utf-8")
    (folder / "letter.txt").touch()
    ours = f"{nursery().programs}/qoder-cli"
    env = {
        **environment(folder, ours),
        **ENVIRONMENT,
        "SCRIPT": str(completion),
        "TYPED": str(folder / "typed"),
        **more,
    }
    if shell == "fish":
        command = ["fish", "--no-config", "-c", SETUP["fish"], str(completion), *lines]
        ran = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=True)
        answers = [[row.partition("\t")[0] for row in part.splitlines()] for part in ran.stdout.split("\x1e")[1:]]
        screen = ran.stderr
    else:
        typed, screen = type_into([shell, {"bash": "--norc", "zsh": "-f"}[shell], "-i"], SETUP[shell], lines, env)
        offered = [] if "WHOLE" in more else zip(lines, typed, strict=True)
        answers = [inserted(line, after) for line, after in offered]
    offers = {line: {bare(word) for word in words} for line, words in zip(lines, answers, strict=False)}
    return Session(offers, dict(zip(lines, typed, strict=False)), screen, started=(folder / "started").exists())


def environment(folder: Path, ours: str = f"'{sys.executable}' -m qoder_cli") -> dict[str, str]:
    """Return an environment with a home of its own, and a `qoder` that is another program, as the Qoder IDE's.

    `ours` is the command that `qoder-cli` is.
    """
    programs = folder / "bin"
    programs.mkdir()
    commands = {"qoder": f"echo qoder >>'{folder}/started'", "qoder-cli": f'exec {ours} "$@"'}
    for name, command in commands.items():
        (programs / name).write_text(f"#!/bin/sh\n{command}\n")
        (programs / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "QODER_"))}
    return {**kept, "HOME": str(folder), "PATH": f"{programs}:{os.environ['PATH']}", "TERM": "dumb"}


def type_into(command: list[str], setup: str, lines: list[str], env: Mapping[str, str]) -> tuple[list[str], str]:
    """Type each line, TAB, and the key that writes it down; return what was written, and all that was shown."""
    import fcntl  # there are none on Windows, and no such shells
    import termios

    written, folder = Path(env["TYPED"]), Path(env["HOME"])
    (folder / "setup").write_text(setup)
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 100, 150, 0, 0))
    screen = bytearray()

    def press(keys: str, *, answers: int) -> None:
        """Press keys and wait until so many lines are written down, reading what is shown."""
        os.write(ours, keys.encode())
        end = time.monotonic() + PATIENCE
        while not written.exists() or written.read_text().count("\n") < answers:
            assert time.monotonic() < end, f"after {keys!r} the shell shows {screen!r}"
            if select.select([ours], [], [], 0.002)[0]:
                screen.extend(os.read(ours, 65536))

    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=folder, start_new_session=True
    ) as process:
        try:
            press(". ./setup\r", answers=1)
            del screen[:]  # what the shell says of a terminal that is not its own
            for number, line in enumerate(lines, start=2):
                press(f"{line}\t\x18w", answers=number)
            while select.select([ours], [], [], 0.05)[0]:
                screen.extend(os.read(ours, 65536))
        finally:
            process.kill()
            os.close(theirs)
            os.close(ours)
    return written.read_text().splitlines()[1:], screen.decode()


def inserted(line: str, after: str) -> list[str]:
    """Return the words that TAB put in the place of the last one."""
    head = line[: line.rindex(" ") + 1]
    assert after.startswith(head)
    return [] if after == line else after[len(head) :].split()


def bare(word: str) -> str:
    """Return a word as typed alone: shells offer --name=, and --name=value whole."""
    return word.removesuffix("=").rpartition("=")[2]
