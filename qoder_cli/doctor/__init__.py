"""What `qoder doctor` looks at. Each check returns findings, writes nothing, shows no secret."""

from dataclasses import dataclass
from typing import Literal

from qoder_cli.base.errors import Exit, QoderError


@dataclass(frozen=True)
class Finding:
    """The check, what it found, for what is not ok a `fix`, and for what failed the exit code."""

    check: str
    found: str
    status: Literal["ok", "warning", "failed"] = "ok"
    fix: str | None = None
    exit: Exit = Exit.OK

    @property
    def error(self) -> QoderError:
        return QoderError(f"{self.check}: {self.found}", hint=self.fix).with_(exit=self.exit)


def warning(check: str, found: str, *, fix: str) -> Finding:
    """Return something that may be in the way."""
    return Finding(check, found, "warning", fix)


def failed(check: str, found: str, *, fix: str, exit: Exit = Exit.USAGE) -> Finding:
    """Return something that is in the way: other commands end with this exit code (2, 4 or 7)."""
    return Finding(check, found, "failed", fix, exit)


def broken(check: str, error: QoderError) -> Finding:
    """Return the finding that an error is, with its exit code."""
    return failed(check, error.message, fix=error.hint or "fix the setting named above", exit=error.exit)
