"""What a run leaves behind: the agent's final message, and the files it delivered."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import Exit
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Run, mapping, text
from qoder_cli.base.outcome import ENDING_EVENTS, SessionStory, event_key, in_order, verdict
from qoder_cli.http.client import Client
from qoder_cli.output.screen import inert_lines
from qoder_cli.sessions.story import SAID, StoryReader, events_path, message_text, newest_first

_ENDS = tuple(kind for kind in ENDING_EVENTS if kind not in ("session.status_running", "session.error"))


def final_message(client: Client, run: Run, *, story: SessionStory | None = None) -> str | None:
    """Return the primary thread's last message before the ending of the run or of a turn's `story`.

    None without one. Raises ApiError.
    """
    if run.session_id is None or verdict(run) is Exit.OUTCOME_UNKNOWN:
        return None
    primary: str | None = None
    for event in _back_from_the_ending(client, run, ("agent.message",), story):
        thread = text(event.get("session_thread_id"))
        if thread is not None:
            primary = primary or _primary_thread(client, run.session_id)
        if thread in (None, primary):
            return message_text(event)
    return None


def delivered_files(client: Client, run: Run, *, story: SessionStory | None = None) -> list[tuple[str, str]]:
    """Return id and name of the files delivered before the run's ending, first delivered first. Raises ApiError."""
    if run.session_id is None or verdict(run) is Exit.OUTCOME_UNKNOWN:
        return []
    events = _back_from_the_ending(client, run, ("agent.artifact_delivered",), story)
    found = [
        (file_id, text(event.get("original_filename")) or file_id)
        for event in events
        if (file_id := text(event.get("file_id")))
    ]
    return found[::-1]


def _back_from_the_ending(
    client: Client, run: Run, types: tuple[str, ...], story: SessionStory | None = None
) -> Iterator[dict[str, Any]]:
    """Yield events of these types, newest first, from the ending (if any) back to where it began."""
    path = events_path(run.session_id or "")
    story = story or StoryReader(client, run).read(within=None, retry=True)
    ending = story.ending_key
    starts = SAID if story.starts else ()
    query = {"types[]": (*types, *starts, *(() if ending is None else _ENDS)), "limit": 100}
    reached = ending is None
    met: list[dict[str, Any]] = []
    for events in newest_first(partial(client.pages, path), query):
        for event in events:
            reached = reached or event_key(event) == ending
            if event_key(event) in story.starts:
                return
            if event.get("type") not in types or not story.is_of_its_time(event):
                continue
            if reached:
                yield event
            else:
                met.append(event)
    if not reached:  # the ending stands elsewhere in this list, or not at all: times tell what came before it
        events = in_order([*story.events, *reversed(met)])
        place = next(n for n, event in enumerate(events) if event_key(event) == ending)
        yield from (event for event in reversed(events[:place]) if event.get("type") in types)


def _primary_thread(client: Client, session_id: str) -> str | None:
    """Return the id of the thread without a parent (api/facts.md, 4, threads)."""
    for page in client.pages(f"/sessions/{segment(session_id)}/threads", {"limit": 100}):
        for thread in map(mapping, page["data"]):
            if thread.get("parent_thread_id") is None:
                return text(thread.get("id"))
    return None


def story_of_turn(app: App, run: Run) -> SessionStory | None:
    """Return the story of the session's turn that the command is about; None for a run, which has one of its own."""
    observer = app.known.observed
    return observer.story if run.is_session and observer else None


def show_result(app: App, run: Run, *, files: list[str] | None = None) -> None:
    """Print the agent's final message: as plain text, or with JSON the run with a key `result`."""
    message = final_message(app.client, run, story=story_of_turn(app, run))
    if app.output.is_json:
        delivered = {} if files is None else {"files": files}
        app.output.record({}, data={**run.as_json(), "result": message, **delivered})
    elif app.flags.output == "id":
        app.show_run(run)
    elif message:
        app.out.write_exactly(inert_lines(message).rstrip("\n") + "\n")
    elif verdict(run) is Exit.OK:
        app.progress.note(f"run {run.id} left no final message")
