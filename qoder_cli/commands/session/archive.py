"""`qoder session archive` and `delete`, of one session or many."""

from typing import TYPE_CHECKING, Any

import typer

from qoder_cli.app import App
from qoder_cli.base.model import Run, text
from qoder_cli.cli.options import AllowEmpty, Runs, Yes, confirmed, is_list, named
from qoder_cli.commands.made import need_a_yes

if TYPE_CHECKING:
    from qoder_cli.nouns.change import Change


def archive(ctx: typer.Context, runs: Runs, yes: Yes = False, allow_empty: AllowEmpty = False) -> int:
    """Archive sessions. This cannot be undone.

    An archived session takes no messages and disappears from lists; its
    events stay. Asks before each one; scripts need --yes. Exits 0 if it is
    (or already was) archived.

    Examples:
      qoder session archive sess_demo --yes
      qoder session list --status idle -q | qoder session archive - --yes"""
    from qoder_cli.nouns.change import ARCHIVE

    return _change(ctx.obj, ARCHIVE, runs, yes, allow_empty, "It takes no messages any more; its events stay.")


def delete(ctx: typer.Context, runs: Runs, yes: Yes = False, allow_empty: AllowEmpty = False) -> int:
    """Delete sessions and their events for good.

    How a run ended cannot be known any more once its session is deleted.
    Asks before each one; scripts need --yes. Exits 5 if there is no such
    session.

    Examples:
      qoder session delete sess_demo --yes"""
    from qoder_cli.nouns.change import DELETE

    return _change(ctx.obj, DELETE, runs, yes, allow_empty, "Its events are deleted too.")


def _change(app: App, change: "Change", typed: list[str], yes: bool, allow_empty: bool, about: str) -> int:
    from qoder_cli.base import ids
    from qoder_cli.nouns.change import Changes
    from qoder_cli.nouns.table import NOUNS
    from qoder_cli.nouns.write import target_of
    from qoder_cli.output.views import SESSION_FIRST, session_fields, session_row
    from qoder_cli.runs.answering import target_of as session_named

    need_a_yes(app, change, yes)
    words = named(typed, app, what="sessions", allow_empty=allow_empty)
    for word in words:
        ids.run(word)  # before anything is changed, all of them are checked
    noun = NOUNS["session"]

    def is_wanted(raw: dict[str, Any]) -> bool:
        title, id = text(raw.get("title")), raw.get("id")
        called = f"'{title}' ({id})" if title else id
        running = " It is running." if raw.get("status") == "running" else ""
        return confirmed(app, f"{change.verb.title()} session {called}?{running} {about} This cannot be undone.")

    changes = Changes(
        app,
        change,
        lambda word: target_of(noun, session_named(word, app).session_id),
        None if yes else is_wanted,
        row=lambda raw: session_row(Run(raw)),
        sheet=lambda raw: session_fields(Run(raw)),
        columns=noun.columns,
        first=SESSION_FIRST,
    )
    return changes.make(words, as_list=is_list(typed))
