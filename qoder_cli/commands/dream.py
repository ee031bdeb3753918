"""`qoder dream`: dreams, which tidy memories up."""

from typing import Any

from qoder_cli.app import App
from qoder_cli.cli.options import MODEL, Text, Texts, is_list, option, several
from qoder_cli.commands import editing, generic
from qoder_cli.nouns.edits.verbs import Change
from qoder_cli.nouns.named import Names
from qoder_cli.nouns.table import NOUNS

_DREAM = NOUNS["dream"]
_INSTRUCTIONS = option("--instructions", "TEXT|@FILE|-", "What to look for; - reads stdin.")


def create(
    app: App,
    sources: Texts = several("--from", "STORE|SESSION", "Memory store or session (sess_…)."),
    model: Text = MODEL,
    instructions: Text = _INSTRUCTIONS,
    into: Text = option("--into", "STORE", "Memory store to write to; default: a new one."),
    file: Text = editing.FILE,
    dry_run: bool = editing.DRY_RUN,
) -> None:
    """Have an agent review memories and sessions and write new memories from them.

    Requires --from and --model, as options or in a file. It costs credits.
    If the response is lost it exits 9: a dream cannot be recognised as yours.

    Examples:
      qoder dream create --from project --model auto --dry-run
      qoder dream create --from project --into project --model auto"""
    text = editing.text_typed(app, "--instructions", instructions, file)
    inputs: list[dict[str, Any]] = []  # help/pages/api.md#dreams
    names, sessions = Names(app), []
    for word in sources or ():
        if word.startswith("sess_"):
            sessions.append(names.id_of(NOUNS["session"], word))
            continue
        store = {"type": "memory_store", "memory_store_id": names.id_of(NOUNS["memory"], word)}
        if store not in inputs:
            inputs.append(store)
    if sessions:
        inputs.append({"type": "sessions", "session_ids": list(dict.fromkeys(sessions))})
    output = None
    if into is not None:
        output = {"type": "update_existing", "memory_store_id": names.id_of(NOUNS["memory"], into)}
    fields = {"model": model, "instructions": text, "inputs": inputs or None, "output_behavior": output}
    body = editing.body_of(app, _DREAM, "create", {"file": file}, **fields)
    editing.create(app, _DREAM, body, editing.Making(False, False, dry_run))


def cancel(app: App, things: list[str] = generic.one_argument(_DREAM, several=True)) -> None:
    """Cancel dreams that have not ended.

    Memories already written are kept. Exits 0 if they are (or already were)
    cancelled, 6 if it has ended.

    Examples:
      qoder dream cancel drm_demo"""
    targets = generic.things_named(app, _DREAM, things)
    change = Change("cancel", "cancelling", "cancelled", "POST", "/cancel", "canceled")
    refused = "see how it ended: qoder dream get"
    generic.change_things(app, _DREAM, change, targets, as_list=is_list(things), refused=refused)


COMMANDS = generic.commands("dream", create=create, cancel=cancel)
