"""What a check of `qoder doctor` found."""

from dataclasses import dataclass
from typing import Literal

from qoder_cli.base.errors import Exit, QoderError

Status = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Finding:
    """A check's result: what it found, a `fix` unless ok, an exit code if failed."""

    check: str
    found: str
    status: Status = "ok"
    fix: str | None = None
    exit: Exit = Exit.OK

    @property
    def error(self) -> QoderError:
        return QoderError(f"{self.check}: {self.found}", hint=self.fix).with_(exit=self.exit)


def warning(check: str, found: str, *, fix: str) -> Finding:
    """Return a finding that may cause trouble."""
    return Finding(check, found, "warning", fix)


def failed(check: str, found: str, *, fix: str, exit: Exit = Exit.USAGE) -> Finding:
    """Return a finding that ends other commands with this exit code (2, 4 or 7)."""
    return Finding(check, found, "failed", fix, exit)


def broken(check: str, error: QoderError) -> Finding:
    """Return the finding for an error, with its exit code."""
    return failed(check, error.message, fix=error.hint or "fix the setting named above", exit=error.exit)
