"""The numbers by which a person names calls that wait, as a list on this machine last showed them.

A number is only for where the call is shown again and asked about. What it stands for is bound by the call's id and
hash: where that waits no longer, or is another call, nothing is sent.
"""

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import Rejected, UsageError
from qoder_cli.base.words import counted, shortened
from qoder_cli.local.tables import NUMBERED
from qoder_cli.output.visible import visible
from qoder_cli.sessions.asks import Asked, PendingCall


class Numbered(NamedTuple):
    """A call as it was shown: the id of its event, and its hash."""

    call: str
    sha256: str


def _scope(app: App, session_id: str) -> dict[str, str]:
    return {"host": app.settings.host, "profile": app.settings.profile, "session": session_id}


def _keep(app: App, asked: Asked) -> bool:
    """Keep the list that is about to be shown. If this returns False, no numbers may be shown."""
    scope, at = _scope(app, asked.session_id), app.clock.now()
    rows = [
        {**scope, "number": number, "call": call.id, "sha256": call.sha256, "at": at}
        for number, call in enumerate(asked.calls, 1)
    ]
    return NUMBERED.save(app.store, rows, in_place_of=scope)


def _kept(app: App, session_id: str) -> dict[int, Numbered]:
    """Return the calls of the list that was last shown of a session, by their numbers."""
    rows = NUMBERED.read(app.store, _scope(app, session_id), "number", "call", "sha256")
    return {number: Numbered(call, sha256) for number, call, sha256 in rows}


def require_question(app: App, words: Sequence[str], *, yes: bool = False) -> None:
    """Raise UsageError for a number among calls, where nobody is asked about what it stands for."""
    for word in words:
        if ids.call_number(word) is not None and (yes or not app.may_ask):
            why = f"{word} is the number of a call, and only works where qoder asks before it sends; nothing was sent"
            hint = "pass the call's id (evt_…) and its --input-sha256, from qoder run pending --json"
            raise UsageError(why, hint=hint)


def resolved(app: App, session_id: str, words: Sequence[str]) -> tuple[list[str], dict[str, Numbered]]:
    """Return the ids of the calls typed of a session, and by what was typed the calls that are bound to a number.

    Raises UsageError for a number that no list has shown.
    """
    calls: list[str] = []
    bound: dict[str, Numbered] = {}
    for word in words:
        if (number := ids.call_number(word)) is not None:
            shown = _kept(app, session_id)
            if number not in shown:
                where = f"session {session_id}{app.client.settings.whereabouts}"
                why = f"no list of calls was shown here of {where}"
                if shown:
                    why = (
                        f"the list last shown here of {where} has {counted(len(shown), 'call')}, and no number {number}"
                    )
                next = app.looking("run", "pending", session_id)
                raise UsageError(f"{why}; nothing was sent", hint="to see the calls and their numbers", next=next)
            bound[word] = shown[number]
        calls.append(bound[word].call if word in bound else word)
    return list(dict.fromkeys(calls)), bound


def check(app: App, asked: Asked, bound: dict[str, Numbered]) -> None:
    """Raise Rejected for a call that waits, but is another one now than that whose number was shown."""
    waiting = {call.id: call.sha256 for call in asked.calls}
    for number, (id, sha256) in bound.items():
        if waiting.get(id, sha256) != sha256:
            which = f"call {number} of the list ({visible(shortened(id, ids.LONGEST))})"
            why = f"{which} is another call now than the one that was shown; nothing was sent"
            next = app.looking("run", "pending", asked.session_id)
            raise Rejected(why, hint="to see the calls and their numbers", next=next)


def shows_numbers(app: App) -> bool:
    """Return whether a list is for a person, who may type its numbers; elsewhere none are kept."""
    return app.output.is_drawn and app.out.is_terminal


def numbers_of(app: App, asked: Asked) -> dict[str, int]:
    """Return the numbers of the calls of a session that is about to be shown; to a person only those that are kept."""
    if asked.calls and shows_numbers(app) and not _keep(app, asked):
        app.progress.warn("the numbers of calls cannot be kept on this machine; name a call by its id")
        return {}
    return {call.id: number for number, call in enumerate(asked.calls, 1)}


def how_to_decide(app: App, words: Sequence[str], shown: Sequence[PendingCall]) -> str:
    """Return how to answer one of the calls shown by its number; `words` are the runs and sessions that were named."""
    [first, *_] = [waiting.call for waiting in shown if waiting.number and waiting.call]
    target, number = "RUN", "NUMBER"
    if len(words) == 1:
        target, number = words[0], "1"
    verb, more = "approve", ""
    if first.kind == "custom":
        verb, more = "answer", " --with TEXT"
    return f"to decide on one by its number: {shlex.join(app.looking('run', verb, target, number))}{more}"
