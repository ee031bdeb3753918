"""What tests share of: Hearing the end of a run."""

import queue
from typing import Any


class FakeFeed:
    """A feed that says only what a test puts into the inbox."""

    made: "list[FakeFeed]"

    def __init__(self, client: object, session_id: str, *, inbox: "queue.SimpleQueue[Any]", after: str | None) -> None:
        self.session_id, self.inbox, self.after, self.stopped = session_id, inbox, after, False
        self.made.append(self)

    def start(self) -> None:
        pass

    def stop(self) -> None:
        self.stopped = True
