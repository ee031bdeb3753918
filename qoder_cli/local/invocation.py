"""What is needed here of one invocation; `app.State` is one."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from qoder_cli.local.store import Store
    from qoder_cli.settings.config import Settings


class Invocation(Protocol):
    """Its environment, its settings, and the store on this machine."""

    @property
    def env(self) -> Mapping[str, str]:
        """The environment."""

    @property
    def settings(self) -> "Settings":
        """Host, profile and the rest."""

    @property
    def store(self) -> "Store":
        """What this machine remembers."""
