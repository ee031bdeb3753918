"""One command line, typed in this process, and what a user would see of it."""

import io
import json
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import httpx

from qoder_cli.app import App
from qoder_cli.base.times import Clock
from qoder_cli.cli.main import main
from qoder_cli.output.screen import Screen

TOKEN = "pt-planted-0123456789abcdef"


@dataclass
class Ran:
    code: int
    out: str
    err: str
    app: App | None = field(default=None, repr=False, compare=False)  # that of this process

    @property
    def json(self) -> Any:
        """Standard output, which must be exactly one JSON document."""
        assert self.out.endswith("\n")
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The error that ends stderr with JSON output."""
        last = self.err.splitlines()[-1]
        error: dict[str, Any] = json.loads(last)["error"]
        assert error["exit_code"] in (self.code, 128 - self.code)  # a process that a signal killed has a negative code
        return error

    @property
    def errors(self) -> list[str]:
        """The error lines on stderr."""
        return [line for line in self.err.splitlines() if line.startswith("error:")]


def typed(
    words: Iterable[str],
    env: Mapping[str, str],
    *,
    clock: Clock,
    transport: httpx.BaseTransport | None = None,
    stdin: Any = "",
    terminals: tuple[bool, bool] = (False, False),
    out: BinaryIO | None = None,
    err: BinaryIO | None = None,
    keys: Any = None,
) -> Ran:
    """Run the real `main`. `stdin` is a text, or what is read from; `terminals` says of both outputs whether they are
    one; `out` and `err` are who reads these, if it is anybody special; `keys` is a shared store that is open.
    """
    out, err = out or io.BytesIO(), err or io.BytesIO()
    app = App(
        env=env,
        out=Screen(out, is_terminal=terminals[0]),
        err=Screen(err, is_terminal=terminals[1]),
        stdin=io.StringIO(stdin) if isinstance(stdin, str) else stdin,
        clock=clock,
        transport=transport,
        shared_keys=[] if keys is None else [keys],
    )
    with closing(app):  # `main` does, but where it is killed
        code = main(list(words), app)
    told, said = (each.getvalue().decode() if isinstance(each, io.BytesIO) else "" for each in (out, err))
    return Ran(code, told, said, app)
