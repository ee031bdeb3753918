"""The runs of one deployment, newest first on both generations of server (api/facts.md, 1.3)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qoder_cli.base.ids import segment
from qoder_cli.base.model import Run

if TYPE_CHECKING:
    from qoder_cli.http.client import Client


def newest_runs(
    client: "Client", deployment_id: str, count: int, *, within: float | None = None, retry: bool = True
) -> list[Run]:
    """Return up to `count` (100 at most) of the newest runs, in one page. Raises ApiError."""
    return next(_pages(client, deployment_id, count, within, retry))


def all_runs(client: "Client", deployment_id: str) -> Iterator[Run]:
    """Yield all runs, the pages asked for as they are needed. Raises ApiError."""
    for page in _pages(client, deployment_id, 100, None, True):
        yield from page


def _pages(client: "Client", deployment_id: str, limit: int, within: float | None, retry: bool) -> Iterator[list[Run]]:
    path = f"/deployments/{segment(deployment_id)}/runs"
    for page in client.pages(path, {"limit": limit}, within=within, retry=retry):
        yield [run for item in page["data"] if (run := Run.read(item))]
