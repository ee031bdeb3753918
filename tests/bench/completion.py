"""How long TAB takes in the real shells, with all remembered that can be: `python -m tests.bench.completion`.

The goal is under 100 ms for any word. Measured in bash and zsh: fish has no clock of its own.
"""

import io
import shutil
import statistics
import subprocess
import tempfile
import uuid
from pathlib import Path

from qoder_cli.app import App
from qoder_cli.base.model import Run
from qoder_cli.help.completion import FILES
from qoder_cli.local.remembered import MOST, MOST_RUNS, remember, remember_runs
from qoder_cli.output.screen import Screen
from tests.support.completions import FOLDER
from tests.support.shells import environment, type_into

TIMES = 20
LINES = {
    "commands": "qoder deploy ",
    "nouns": "qoder ",
    "options": "qoder deploy run --",
    "fixed values": "qoder run get -o ",
    "deployments": "qoder deploy run ",
    "a name": "qoder deploy run nightly-report-29",
    "runs": "qoder run get ",
}

# Each writes milliseconds into $TYPED.
BASH = r"""
. "$SCRIPT"; COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=33; read -ra COMP_WORDS <<<"$1"
[[ $1 == *' ' ]] && COMP_WORDS+=(''); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
for ((i = 0; i < $2; i++)); do
    a=$EPOCHREALTIME; _qoder_cli qoder "${COMP_WORDS[COMP_CWORD]}"; b=$EPOCHREALTIME
    a=${a/[.,]/} b=${b/[.,]/}; printf '%d.%03d\n' $(((b - a) / 1000)) $(((b - a) % 1000)) >>"$TYPED"
done
"""
ZSH = r"""PS1=; unset HISTFILE; unsetopt beep; zmodload zsh/datetime
fpath=(${SCRIPT:h} $fpath); autoload -Uz compinit; compinit -D -u
zle -C all complete-word _generic; zstyle ':completion:all:*' completer _all_matches _complete
zstyle ':completion:all:*' insert true
timed() { local -F begun=$EPOCHREALTIME; zle all; print $(( (EPOCHREALTIME - begun) * 1000 )) >>$TYPED; BUFFER=; }
zle -N timed; bindkey '^I' timed; bindkey '^Xw' beep
echo ready >>$TYPED
"""


def fill(folder: Path) -> None:
    env = {"QODER_STATE_DIR": str(folder), "QODER_CONFIG": "/nonexistent/config.toml"}
    app = App(env=env, out=Screen(io.BytesIO()), err=Screen(io.BytesIO()))
    remember(
        app.store,
        app.settings,
        "deploy",
        [({"id": f"dep_{uuid.uuid4().hex}"}, f"nightly-report-{n}") for n in range(MOST)],
    )
    at = "2026-06-14T08:54:06Z"
    remember_runs(
        app.store,
        app.settings,
        [Run({"id": f"drun_{uuid.uuid4().hex}", "deployment_id": "dep_1", "created_at": at}) for _ in range(MOST_RUNS)],
    )


def in_bash(line: str, env: dict[str, str]) -> list[float]:
    subprocess.run(["bash", "--norc", "-c", BASH, "bash", line, str(TIMES)], env=env, check=True)
    return [float(each) for each in Path(env["TYPED"]).read_text().split()]


def in_zsh(line: str, env: dict[str, str]) -> list[float]:
    typed, _ = type_into(["zsh", "-f", "-i"], ZSH, [line] * TIMES, env)
    return [float(each) for each in typed]


def main() -> None:
    """Print the median for each shell and kind of word."""
    print(f"{'median ms a TAB':<16}" + "".join(f"{what:>14}" for what in LINES))
    for shell, measure in {"bash": in_bash, "zsh": in_zsh}.items():
        if shutil.which(shell):
            found = []
            for line in LINES.values():
                with tempfile.TemporaryDirectory() as folder:
                    home = Path(folder)
                    script = shutil.copy(FOLDER / FILES[shell], home)
                    env = environment(home) | {"SCRIPT": str(script), "TYPED": str(home / "typed")}
                    fill(home / ".local/state/qoder")
                    found.append(statistics.median(measure(line, env)))
            print(f"{shell:<16}" + "".join(f"{each:14.1f}" for each in found))


if __name__ == "__main__":
    main()
