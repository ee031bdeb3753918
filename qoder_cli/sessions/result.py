"""The agent's final message, and the files it delivered."""

from collections.abc import Iterator
from itertools import chain
from math import inf
from pathlib import Path
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, Exit, QoderError, UsageError, first_by_rank
from qoder_cli.base.model import Run, text
from qoder_cli.base.outcome import ENDS, event_at, event_key, verdict
from qoder_cli.base.times import unix
from qoder_cli.base.words import few, shortened
from qoder_cli.http.answers import no_response
from qoder_cli.nouns.file import download
from qoder_cli.output.screen import inert_lines
from qoder_cli.sessions.asks import main_thread
from qoder_cli.sessions.log import LAG_PAUSE, LAGGING, Log, Pages, in_order, message_text
from qoder_cli.sessions.story import SENT, read_story, story_of

LONGEST_NAME = 100  # characters of a file's name in a message
_NAMED = 5  # files that an error names


def final_message(app: App, run: Run, pages: Pages | None = None) -> str | None:
    """Return the primary thread's last message before the ending; `pages` as of a Log. Raises ApiError."""
    primary: str | None = None
    for event in _back_from_the_ending(app, run, "agent.message", pages):
        thread = text(event.get("session_thread_id"))
        if thread is not None and primary is None:
            session_id = run.session_id or ""
            primary = main_thread(app.client, session_id)
            if primary is None:
                raise no_response(f"the threads of session {session_id} do not say which one is the agent's own")
        if thread in (None, primary):
            return message_text(event)
    return None


def save_files(app: App, run: Run, folder: Path) -> tuple[list[str], QoderError | None]:
    """Download the files delivered, each whole or not at all. Return where they are, and the error of the others.

    Raises ApiError if they cannot be listed.
    """
    paths, failed = list[str](), list[tuple[str, QoderError]]()
    events = reversed([*_back_from_the_ending(app, run, "agent.artifact_delivered")])
    files = [event for event in events if text(event.get("file_id"))]
    for event in files:
        id = event["file_id"]
        name = text(event.get("original_filename")) or id
        try:
            paths.append(str(download(app, id, name, folder, event.get("size"))))
            app.progress.note(f"saved {paths[-1]}")
        except (ApiError, UsageError) as error:
            failed.append((f"{shortened(name, LONGEST_NAME)!r} ({id})", error))
            app.progress.warn(f"{failed[-1][0]} was not saved: {error.message}")
    if not files:
        app.progress.note(f"{run.called} delivered no files")
    failure: QoderError | None = None
    if worst := first_by_rank(error for _, error in failed):
        named = few([name for name, _ in failed], _NAMED)
        what = f"{len(failed)} of {len(files)} files were not saved: {named}"
        if len(failed) == 1:
            what = f"file {named} was not saved"
        why = f"{what}: {worst.message}"
        failure = worst.with_(message=why, run_id=run.id, session_id=run.session_id, run_state="ended")
    return paths, failure


def _back_from_the_ending(app: App, run: Run, kind: str, pages: Pages | None = None) -> Iterator[dict[str, Any]]:
    """Yield events of a type, newest first, from the ending, if any, to the beginning.

    A replica may not show the ending of a run that has just completed, nor what was said before it: it is asked again.
    """
    if run.session_id is None or verdict(run) is Exit.OUTCOME_UNKNOWN:
        return
    client, lags_until = app.client, -inf
    if run.status == "completed":
        lags_until = (unix(run.completed_at) or -inf) + LAGGING
    log = Log(client, run.session_id, pages=pages, patience=max(lags_until - client.server_now(), 0.0))
    while True:
        may_lag = client.server_now() < lags_until
        if run.is_session and app.tracked.observer:  # the turn that the command is about
            story = app.tracked.observer.state.story
        else:
            story = story_of(run, client.server_now())
            read_story(log, story)
        ending = story.ending_key
        starts = SENT if story.starts else ()
        types = (kind, *starts, *(() if ending is None else ENDS))
        reached = ending is None and not may_lag
        met: list[dict[str, Any]] = []
        for event in chain.from_iterable(log.back(types) if ending or reached else ()):
            reached = reached or event_key(event) == ending
            if event_key(event) in story.starts:
                break
            if event.get("type") != kind or not story.is_since(event_at(event)):
                continue
            if reached:
                yield event
            else:
                met.append(event)
        if reached or not may_lag:
            break
        client.clock.sleep(LAG_PAUSE)
    if not reached:  # the ending is elsewhere or missing: go by times
        events = in_order([*story.events, *reversed(met)])
        place = next(n for n, event in enumerate(events) if event_key(event) == ending)
        yield from (event for event in reversed(events[:place]) if event.get("type") == kind)


def show_result(app: App, run: Run, *, files: list[str] | None = None) -> None:
    """Print the final message: plain text, or in JSON the run's key `result`."""
    message = final_message(app, run)
    if app.output.is_json:
        delivered = {} if files is None else {"files": files}
        app.output.record({}, data={**app.named(run).as_json(), "result": message, **delivered})
    elif app.flags.output == "id":
        app.print_run(run)
    elif message:
        app.out.write_exactly(inert_lines(message).rstrip("\n") + "\n")
    elif verdict(run) is Exit.OK:
        app.progress.note(f"run {run.id} left no final message")
