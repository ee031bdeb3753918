"""Whether a run left anything: a message, a tool call or a file. Told by the same request that tells how it ended."""

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from qoder_cli.base.model import Run, mapping, text
from qoder_cli.base.outcome import event_at, event_key
from qoder_cli.sessions.log import Log, in_order, is_last, message_text
from qoder_cli.sessions.state import SessionState
from qoder_cli.sessions.story import Story, read_story, story_of

if TYPE_CHECKING:
    from qoder_cli.http.client import Client

LEAVES = (  # events by which a run leaves something
    *("agent.message", "agent.tool_use", "agent.mcp_tool_use", "agent.custom_tool_use"),
    "agent.artifact_delivered",
)


class Looking:
    """A look at a run's session, whose `state` an observer reads.

    The first page that is asked for has what the run left, too. Where that is not all, the log goes on with what
    decides alone: a long one is not read in full.
    """

    def __init__(self, client: "Client", run: Run) -> None:
        self._client = client
        self._first: list[dict[str, Any]] | None = None  # the events of that page
        self._is_all = False
        self.story: Story = story_of(run, client.server_now())
        self.log = Log(client, run.session_id or "", pages=self._pages)

    @cached_property
    def state(self) -> SessionState:
        return SessionState(self.log, self.story, quiet_since=self._client.clock.monotonic())

    def read(self) -> None:
        """Read the session of a run of which its own fields tell how it ended. Raises ApiError."""
        read_story(self.log, self.story)

    @property
    def has_begun(self) -> bool:
        """Whether any work was seen."""
        judged = self.story.judged
        return judged.worked or judged.asks is not None

    @property
    def left(self) -> bool | None:
        """Whether it left anything before its ending; None if that was not read."""
        if self._first is None:
            return None
        end = self.story.ending_key
        for event in in_order(self._first):
            if event_key(event) == end:
                return False
            kind = text(event.get("type"))
            is_empty = kind == "agent.message" and not message_text(event, kinds=True).strip()
            if self.story.is_since(event_at(event)) and kind in LEAVES and not is_empty:
                return True
        return False if self._is_all else None

    def _pages(self, path: str, query: dict[str, Any], **how: Any) -> Iterator[dict[str, Any]]:
        if self._first is None:
            types = dict.fromkeys((*query.get("types[]", ()), *LEAVES))
            page = next(self._client.pages(path, {**query, "types[]": tuple(types)}, **how))
            self._first = list(map(mapping, page["data"]))
            self._is_all = is_last(page)
            yield page
            if self._is_all:
                return
        yield from self._client.pages(path, query, **how)
