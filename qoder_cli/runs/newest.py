"""The runs of one deployment, newest first on both generations of server (api/facts.md, 1.3)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qoder_cli.base.ids import segment
from qoder_cli.base.model import Run

if TYPE_CHECKING:
    from qoder_cli.http.client import Client


def newest_runs(client: "Client", deployment_id: str, count: int) -> list[Run]:
    """Return up to `count` (100 at most) of the newest runs, in one page. Raises ApiError."""
    return next(_pages(client, deployment_id, count))


def all_runs(client: "Client", deployment_id: str) -> Iterator[Run]:
    """Yield all runs, the pages asked for as they are needed. Raises ApiError."""
    for page in _pages(client, deployment_id, 100):
        yield from page


def _pages(client: "Client", deployment_id: str, limit: int) -> Iterator[list[Run]]:
    for page in client.pages(f"/deployments/{segment(deployment_id)}/runs", {"limit": limit}):
        yield [run for item in page["data"] if (run := Run.read(item))]
