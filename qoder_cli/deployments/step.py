"""One deployment of a plan: how it is wanted, how it is, and what is to become of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from qoder_cli.base.errors import QoderError
from qoder_cli.base.model import Deployment
from qoder_cli.deployments.changes import LATEST, Change, difference, secrets_of
from qoder_cli.deployments.hiding import Secrets
from qoder_cli.files.load import Declared
from qoder_cli.files.normal import WRITE_ONLY, settable

if TYPE_CHECKING:
    from qoder_cli.http.write import Write


@dataclass
class Step:
    """One declared deployment, and what is to become of it.

    `current` is the deployment as it is, None when it is to be created; `changes` are what differs, and `body` says
    so to the server; `error` is why it cannot be.
    """

    declared: Declared
    current: Deployment | None = None
    changes: Sequence[Change] = ()
    body: Mapping[str, Any] | None = None
    error: QoderError | None = None
    write: "Write[Deployment] | None" = None  # once it is under way

    @property
    def place(self) -> str | None:
        """The file and line where it is declared; None where it was typed."""
        return f"{self.declared.source}:{self.declared.line}" if self.declared.source else None

    @property
    def name(self) -> str:
        """What it is called."""
        return (self.current and self.current.name) or self.declared.name or self.declared.id or "?"

    @property
    def done(self) -> Literal["created", "changed"]:
        """What it is once it is written."""
        return "changed" if self.current else "created"

    @property
    def known(self) -> str:
        """What it is called, with its id where it has one."""
        return f"{self.name} ({self.current.id})" if self.current else self.name

    @property
    def is_open(self) -> bool:
        """Whether there is something to write."""
        return self.error is None and bool(self.changes)

    @property
    def repins(self) -> bool:
        """Whether the agent is pinned to its latest version, whichever that is."""
        return any(change.path == "agent.version" and change.after == LATEST for change in self.changes)

    @property
    def shows(self) -> bool:
        """Whether reading back can show that it was written: secrets of resources are never told."""
        return any(change.path.rpartition(".")[2] not in WRITE_ONLY for change in self.changes)

    @property
    def unsent(self) -> list[str]:
        """The secrets that are not sent, for there is nothing on the server to compare them with."""
        if self.current is None or self.error is not None or "resources" in (self.body or {}):
            return []
        return [change.path for change in secrets_of(self.declared.fields)]

    @cached_property
    def secrets(self) -> Secrets:
        """What must not be shown of it."""
        return Secrets(self.declared.secret_places)

    def differs(self, found: Deployment) -> list[Change]:
        """Return what is not as it is declared; a version that the file leaves to the server never differs."""
        return difference(self.declared.fields, settable(found)).changes
