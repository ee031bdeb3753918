"""A client that waits for its turn before each read, for commands that make very many."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from qoder_cli.http.client import Client, Pending, Stream
from qoder_cli.http.pace import Pace


class PacedClient(Client):
    """A client with `pace` between its reads, also the pages of a list and the opening of event streams.

    It has the connections of the client that it is made from, which goes on without it.
    """

    def __init__(self, client: Client, pace: Pace) -> None:
        vars(self).update(vars(client))
        self._pace = pace

    def prepare(self, method: str, path: str, **options: Any) -> Pending:
        """Return what Client.prepare does; a read in its turn."""
        if method == "GET":
            self._pace.take()
        return super().prepare(method, path, **options)

    @contextmanager
    def open_stream(self, path: str, **options: Any) -> Iterator[Stream]:
        """Do what Client.open_stream does, in its turn."""
        self._pace.take()
        with super().open_stream(path, **options) as stream:
            yield stream
