"""Start-up side by side in one run: `python -m tests.bench [ROUNDS]`.

Prints each command's median over the rounds, and its ratio to what it is compared with. The commands take turns, so
that whatever else the machine does hits them alike. Needs the extra `bench` (the official SDK). No test runs it.
"""

import compileall
import importlib.util
import os
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import qoder_cli
from tests.bench import QODER

SDK = """
import os
from qca import Managed
with Managed(base_url=os.environ["QODER_BASE_URL"]) as client:
    print(client.deployments.run("dep_demo").model_dump_json())
"""
COMMANDS = {
    "deploy run -o json": [QODER, "deploy", "run", "dep_demo", "-o", "json"],
    "the same with qca-sdk": [sys.executable, "-c", SDK],
    "import typer, httpx; Client()": [sys.executable, "-c", "import typer, httpx; httpx.Client()"],
    "--version": [QODER, "--version"],
    "deploy run --help": [QODER, "deploy", "run", "--help"],
    "import typer": [sys.executable, "-c", "import typer"],
    "deploy list, on a terminal": [QODER, "deploy", "list"],
    "import typer, httpx, rich.table": [sys.executable, "-c", "import typer, httpx, rich.table; httpx.Client()"],
}
ON_A_TERMINAL = "deploy list, on a terminal"
# (what, against what, goal as a ratio)
GOALS = [
    ("deploy run -o json", "the same with qca-sdk", 0.3),
    ("deploy run -o json", "import typer, httpx; Client()", 1.0),
    ("--version", "import typer", 1.5),
    ("deploy run --help", "import typer", 1.5),
    (ON_A_TERMINAL, "import typer, httpx, rich.table", 1.6),
]


def measure(rounds: int) -> dict[str, float]:
    """Return the median wall time of each command in milliseconds, over so many rounds after one to warm up."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(rounds + 1):
        for name, command in COMMANDS.items():
            began = time.perf_counter()
            if name == ON_A_TERMINAL:
                _run_on_a_terminal(command)
            else:
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if turn:
                times[name].append((time.perf_counter() - began) * 1000)
    return {name: statistics.median(taken) for name, taken in times.items()}


def _run_on_a_terminal(command: list[str]) -> None:
    """Run a command whose standard output and error are a terminal of 80 columns."""
    import pty

    master, slave = pty.openpty()
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "COLUMNS": "80"})
    os.close(slave)
    shown = b""
    with suppress(OSError):  # it is gone once nobody writes to it
        while piece := os.read(master, 65536):
            shown += piece
    os.close(master)
    if process.wait() != 0 or b"next run" not in shown:
        sys.exit(f"it failed: {command}\n{shown.decode()}")


def report(medians: dict[str, float]) -> str:
    lines = [f"{'what':<26} {'ms':>6}   {'against':<32} {'ms':>6}   {'ratio':>5}   goal"]
    for what, against, goal in GOALS:
        ratio = medians[what] / medians[against]
        word = "met" if ratio <= goal else "MISSED"
        lines.append(
            f"{what:<26} {medians[what]:>6.1f}   {against:<32} {medians[against]:>6.1f}   {ratio:>5.2f}   "
            f"at most {goal}: {word}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure inside the sandbox, starting it when this is not yet inside."""
    if importlib.util.find_spec("qca") is None:
        sys.exit("the official SDK is missing: pip install -e '.[bench]'")
    if "QODER_SANDBOX" not in os.environ:
        # As an ordinary installation has it: byte code compiled once, not at every start.
        compileall.compile_dir(Path(qoder_cli.__file__).parent, quiet=1)
        os.execv(QODER, [QODER, "sandbox", "--", sys.executable, "-m", "tests.bench", *sys.argv[1:]])
    print(report(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 15)))


if __name__ == "__main__":
    main()
