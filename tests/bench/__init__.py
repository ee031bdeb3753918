"""What is measured, `python -m tests.bench`, `tests.bench.lists`…, and how."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

QODER = str(Path(sys.executable).with_name("qoder"))
TOKEN = "pt-bench"
# A process begins with the peak memory of the one that started it: a small one has to.
_LAUNCHER = """
import os, sys, time
began = time.perf_counter()
_, status, used = os.wait4(os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ), 0)
took = time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
print(os.waitstatus_to_exitcode(status), *took, file=sys.stderr)
"""


class Figures(NamedTuple):
    """What a command took: its wall time and that of the processor in seconds, its peak memory in MiB."""

    code: int
    time: float
    computed: float
    memory: float
    out: str
    err: list[str]


def run(command: list[str], base_url: str, **env: str) -> Figures:
    """Run a command with a server."""
    whole = {**os.environ, "QODER_BASE_URL": base_url, "QODER_PAT": TOKEN, "QODER_ACCESS_TOKEN": TOKEN, **env}
    launcher = [sys.executable, "-S", "-E", "-c", _LAUNCHER, *command]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out:
        said = subprocess.run(launcher, env=whole, stdout=out, stderr=subprocess.PIPE, text=True, check=False).stderr
        out.seek(0)
        *err, last = said.splitlines()
        code, took, computed, memory = map(float, last.split())
        return Figures(int(code), took, computed, memory, out.read(), err)


@contextmanager
def beside(serve: Callable[..., None], *given: object) -> Iterator[Connection]:
    """Have something served in a process of its own, which is handed the other end of what is yielded."""
    mine, its = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=[*given, its])
    server.start()
    try:
        yield mine
    finally:
        server.kill()
