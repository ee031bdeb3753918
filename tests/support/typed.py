"""One command line, typed in this process, and what a user would see of it."""

import io
import json
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from qoder_cli.app import App
from qoder_cli.base.times import Clock
from qoder_cli.cli.main import main
from qoder_cli.output.screen import Screen

TOKEN = "pt-planted-0123456789abcdef"


Words = tuple[str, ...]


class Killed(BaseException):
    """The process was killed; nothing in it can catch this."""


class Mortal(httpx.BaseTransport):
    """A way to a server on which the process dies after so many requests, at the next; None if it never does.

    The server may hear of that one.
    """

    def __init__(self, server: httpx.BaseTransport, left: int | None, *, is_heard: bool = False) -> None:
        self._server, self._left, self._is_heard = server, left, is_heard

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self._left is not None and not request.url.path.endswith("/events/stream"):
            self._left -= 1
            if self._left < 0:
                if self._is_heard:
                    self._server.handle_request(request)
                raise Killed
        return self._server.handle_request(request)


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


@dataclass
class Said(Ran):
    """What may have gone wrong in any way: nothing here asserts."""

    words: Words = ()

    @property
    def json(self) -> Any:
        """What stands on standard output; {} if it is empty. Raises ValueError where that is not one document."""
        return json.loads(self.out or "{}")

    @property
    def document(self) -> dict[str, Any]:
        """The object on standard output, the first of an array; {} if there is none, and one of its own if no JSON."""
        try:
            shown = self.json[:1] if isinstance(self.json, list) else [self.json]
        except ValueError:
            return {"id": "no JSON"}
        return dict(shown[0]) if shown else {}

    @property
    def error(self) -> dict[str, Any]:
        """The error that ends standard error."""
        last = (self.err.splitlines() or [""])[-1]
        return dict(json.loads(last)["error"]) if last.startswith('{"error"') else {}

    @property
    def next(self) -> Words:
        """What it says is next, if that starts something or waits for it."""
        words = tuple(self.error.get("next") or ())[1:]
        return words if words[:2] in (("deploy", "run"), ("run", "wait")) else ()

    @property
    def run(self) -> str | None:
        return self.document.get("id") or self.error.get("run_id")

    @property
    def starts(self) -> bool:
        return self.words[:2] == ("deploy", "run")


def env_of(folder: Path) -> dict[str, str]:
    """Return the environment of a command whose config and state are in a folder."""
    home = {"QODER_CONFIG": str(folder / "config.toml"), "QODER_STATE_DIR": str(folder)}
    return {"QODER_PAT": TOKEN, "QODER_BASE_URL": "http://127.0.0.1:9/api/v1/cloud", **home}


def typed_in(
    folder: Path, clock: Clock, transport: httpx.BaseTransport | None, *words: str, stdin: str = "", **env: str
) -> Said:
    """Run one command line whose config and state are in a folder."""
    ran = typed(words, env_of(folder) | env, clock=clock, transport=transport, stdin=stdin)
    return Said(ran.code, ran.out, ran.err, words=words)
