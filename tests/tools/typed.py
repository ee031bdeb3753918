"""One command line after the other, typed in process against a server that is a transport."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from qoder_cli.base.times import Clock
from tests.support.typed import TOKEN
from tests.support.typed import typed as typed_by

Words = tuple[str, ...]


class Killed(BaseException):
    """The process was killed; nothing in it can catch this."""


@dataclass
class Said:
    words: Words
    code: int
    out: str
    err: str

    @cached_property
    def json(self) -> Any:
        """What stands on standard output; {} if it is empty. Raises ValueError where that is not one document."""
        return json.loads(self.out or "{}")

    @cached_property
    def document(self) -> dict[str, Any]:
        """The object on standard output, the first of an array; {} if there is none, and one of its own if no JSON."""
        try:
            found = self.json[:1] if isinstance(self.json, list) else [self.json]
        except ValueError:
            return {"id": "no JSON"}
        return dict(found[0]) if found else {}

    @cached_property
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
    return {
        "QODER_PAT": TOKEN,
        "QODER_CONFIG": str(folder / "config.toml"),
        "QODER_STATE_DIR": str(folder),
        "QODER_BASE_URL": "http://127.0.0.1:9/api/v1/cloud",
    }


def typed(
    transport: httpx.BaseTransport | None, clock: Clock, folder: Path, *words: str, stdin: str = "", **env: str
) -> Said:
    """Run one command line. `folder` is for its config and state."""
    ran = typed_by(words, env_of(folder) | env, clock=clock, transport=transport, stdin=stdin)
    return Said(words, ran.code, ran.out, ran.err)
