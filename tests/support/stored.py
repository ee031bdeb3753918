"""What the store in a folder knows, as a test sees it from outside."""

from contextlib import closing
from pathlib import Path

import pytest

from qoder_cli.local.store import Entry, Store


def entries_in(folder: Path) -> list[Entry]:
    """Return all attempts, on whatever host; nothing is changed for it."""
    with closing(Store({"QODER_STATE_DIR": str(folder)}, warn=pytest.fail, looking=True)) as store:
        hosts = store.read("SELECT DISTINCT host FROM attempts")
        return [entry for (host,) in hosts for entry in store.entries(host)]
