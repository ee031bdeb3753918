"""The numbers by which a person names calls that wait, as a list on this machine last showed them.

A number is only for where the call is shown again and asked about. What it stands for is bound by the call's id and
hash: where that waits no longer, or is another call, nothing is sent.
"""

import shlex
from collections.abc import Sequence

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import Rejected, UsageError
from qoder_cli.base.words import counted, shortened
from qoder_cli.local.tables import NUMBERED
from qoder_cli.output.visible import visible
from qoder_cli.sessions.asks import Asked, PendingCall, look


def require_question(app: App, words: Sequence[str], *, yes: bool = False) -> None:
    """Raise UsageError for a number among calls, where nobody is asked about what it stands for."""
    for word in words:
        if ids.call_number(word) is not None and (yes or not app.may_ask):
            why = f"{word} is the number of a call, and only works where qoder asks before it sends; nothing was sent"
            hint = "pass the call's id (evt_…) and its --input-sha256, from qoder run pending --json"
            raise UsageError(why, hint=hint)


def read_typed(app: App, session_id: str, words: Sequence[str]) -> tuple[Asked, list[str]]:
    """Return what a session waits for, and the ids of the calls that were typed of it.

    Raises UsageError for a number that no list has shown, Rejected for one whose call is another now, ApiError.
    """
    calls: list[str] = []
    bound: dict[str, tuple[str, str]] = {}  # by the numbers typed, the id and hash of what was shown
    for word in words:
        if (number := ids.call_number(word)) is not None:
            rows = NUMBERED.read(app.store, _scope(app, session_id), "number", "call", "sha256")
            shown = {number: (call, sha256) for number, call, sha256 in rows}
            if number not in shown:
                where = f"session {session_id}{app.client.settings.whereabouts}"
                why = f"no list of calls was shown here of {where}"
                if shown:
                    count = counted(len(shown), "call")
                    why = f"the list last shown here of {where} has {count}, and no number {number}"
                next = app.looking("run", "pending", session_id)
                raise UsageError(f"{why}; nothing was sent", hint="to see the calls and their numbers", next=next)
            bound[word] = shown[number]
        calls.append(bound[word][0] if word in bound else word)
    calls = list(dict.fromkeys(calls))
    asked = look(app.client, session_id, until=calls)
    waiting = {call.id: call.sha256 for call in asked.calls}
    for word, (id, sha256) in bound.items():
        if waiting.get(id, sha256) != sha256:
            which = f"call {word} of the list ({visible(shortened(id, ids.LONGEST))})"
            why = f"{which} is another call now than the one that was shown; nothing was sent"
            next = app.looking("run", "pending", session_id)
            raise Rejected(why, hint="to see the calls and their numbers", next=next)
    return asked, calls


def _scope(app: App, session_id: str) -> dict[str, str]:
    return {"host": app.settings.host, "profile": app.settings.profile, "session": session_id}


def shows_numbers(app: App) -> bool:
    """Return whether a list is for a person, who may type its numbers; elsewhere none are kept."""
    return app.output.is_drawn and app.out.is_terminal


def numbers_of(app: App, asked: Asked) -> dict[str, int]:
    """Return the numbers of the calls of a session that is about to be shown; to a person only those that are kept."""
    numbers = {call.id: number for number, call in enumerate(asked.calls, 1)}
    if numbers and shows_numbers(app):
        scope = _scope(app, asked.session_id)
        row = {**scope, "at": app.clock.now()}
        rows = [{**row, "number": numbers[call.id], "call": call.id, "sha256": call.sha256} for call in asked.calls]
        if not NUMBERED.save(app.store, rows, in_place_of=scope):
            app.progress.warn("the numbers of calls cannot be kept on this machine; name a call by its id")
            return {}
    return numbers


def how_to_decide(app: App, words: Sequence[str], shown: Sequence[PendingCall]) -> str:
    """Return how to answer one of the calls shown by its number; `words` are the runs and sessions that were named."""
    [first, *_] = [waiting.call for waiting in shown if waiting.call]
    target, number = "RUN", "NUMBER"
    if len(words) == 1:
        target, number = words[0], "1"
    verb, more = "approve", ""
    if first.kind == "custom":
        verb, more = "answer", " --with TEXT"
    return f"to decide on one by its number: {shlex.join(app.looking('run', verb, target, number))}{more}"
