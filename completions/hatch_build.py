"""Builds the man pages into the wheel, so that the repository does not hold what `--help` says a second time."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManPages(BuildHookInterface):  # type: ignore[type-arg]  # no configuration of its own
    """Adds `share/man/man1` to the wheel, which is where `man` looks beside the `bin` of an environment on PATH."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the pages into a folder that lives until the wheel is built. An editable install has none.

        Ends with a line that says so where this Python is too old, for pip asks for the wheel before it looks.
        """
        sys.path.insert(0, self.root)
        import qoder_cli as qoder_cli

        if version == "editable":
            return
        from qoder_cli.commands.help import man_pages

        self._folder = TemporaryDirectory()
        for name, text in man_pages().items():
            Path(self._folder.name, name).write_text(text, "utf-8", newline="\n")
        build_data["shared_data"][self._folder.name] = "share/man/man1"
