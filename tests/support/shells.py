"""Real shells: what TAB offers behind a line, what it shows, and whether it starts what it should not."""

import os
import select
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest

from qoder_cli.app import App
from qoder_cli.base.plainfile import seal
from qoder_cli.help.completion import FILES, script
from qoder_cli.local.remembered import remember
from qoder_cli.output.screen import Screen
from tests.support.nursery import ENVIRONMENT, PATIENCE, nursery

# Deployments that commands have seen, with names that a shell might take for commands.
NAMES = {
    "dep_1": "nightly-report",
    "dep_2": "Daily report (EMEA)",
    "dep_3": 'it\'s "quoted" \\ twice',
    "dep_4": "$(touch started) `touch started` ; touch started & | > started",
    "dep_5": "two\nlines\tand\x1b[2J escapes",
    "dep_6": "日报",
    "dep_7": "--wait",
    "dep_8": "%F{red}%n [x] {a,b} ~ * ? ! # = : @",
    "dep_9": "nightly-tidy",
}
IDS = set(NAMES)
WITH_NAMES = IDS | {"nightly-report", "nightly-tidy", "日报"}  # the others could steer a shell
# What is offered behind a line, where `seen_home` has been.
LINES: dict[str, set[str]] = {
    "qoder deploy run ": WITH_NAMES,
    "qoder deploy run dep_": IDS,
    "qoder deploy run dep_1": {"dep_1"},
    "qoder deploy get dep_2": {"dep_2"},
    "qoder run list dep_": IDS,
    "qoder deploy run nightly-r": {"nightly-report"},
    "qoder deploy run nightly": {"nightly-report", "nightly-tidy"},
    "qoder deploy run 日": {"日报"},
    "qoder deploy run Dai": set(),
    "qoder deploy run \\$": set(),
    "qoder deploy run --wait dep_9": {"dep_9"},
    "qoder -o json deploy run dep_9": {"dep_9"},
    "qoder deploy run dep_1 --wai": {"--wait"},
    "qoder run get ": {"last", "drun_1", "drun_2"},
    "qoder run wait drun_1 drun_": {"drun_1", "drun_2"},
    "qoder run logs la": {"last"},
    "qoder run logs x drun_2": {"drun_2"},
    "qoder run result drun_1": {"drun_1"},
    "qoder run cancel drun_1": {"drun_1"},
    "qoder run get nightly": set(),
    "qoder --profile work deploy run ": {"dep_work", "work-report"},
    "qoder deploy run --profile work ": {"dep_work", "work-report"},
    "qoder deploy run --profile=work wor": {"work-report"},
    "qoder --profile default deploy run --profile 'work' ": {"dep_work", "work-report"},
    "qoder --profile wor deploy run ": set(),
    "qoder --profile work run wait ": {"last", "drun_work"},
    "qoder agent get ": {"agent_1", "writer"},
    "qoder agent archive wr": {"writer"},
    "qoder session new --agent wr": {"writer"},
    "qoder deploy create --agent agent_": {"agent_1"},
}


def seen_home(folder: Path) -> dict[str, str]:
    """Have deployments, runs and an agent seen, some with another profile or in a sandbox; return the environment."""
    config, state = folder / "config.toml", folder / "state"
    config.write_text('[profiles.work]\ntoken = "pt-work-0123456789"\n')
    config.chmod(0o600)
    state.mkdir()
    sandbox = {"QODER_SANDBOX": "http://127.0.0.1:8001"}
    seal(state, sandbox["QODER_SANDBOX"])
    at = "2026-06-14T08:54:06Z"

    def see(seen: dict[str, dict[str, str]], profile: str | None = None, **env: str) -> None:
        base = {"QODER_PAT": "pt-0123456789abcdef", "QODER_CONFIG": str(config), "QODER_STATE_DIR": str(state)}
        app = App(env=base | env, out=Screen(BytesIO()), err=Screen(BytesIO()))
        app.flags.profile = profile
        for noun, named in seen.items():
            key = "deployment_id" if noun == "run" else "name"
            things = [
                ({"id": id, key: name, "created_at": at}, None if noun == "run" else name) for id, name in named.items()
            ]
            remember(app.store, app.settings, noun, things)
        app.close()

    see({"deploy": NAMES, "run": {"drun_1": "dep_1", "drun_2": "dep_4"}, "agent": {"agent_1": "writer"}})
    see({"deploy": {"dep_work": "work-report"}, "run": {"drun_work": "dep_work"}}, profile="work")
    see({"deploy": {"dep_demo": "nightly"}, "run": {"drun_9": "dep_1"}}, **sandbox)
    return {"QODER_STATE_DIR": str(state)}


def need(*programs: str) -> None:
    """Skip the test, and say why, where one of these programs is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


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
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "QODER_", "PYTHON"))}
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
