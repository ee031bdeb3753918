"""`qoder dream`: dreams, which tidy memories up."""

from typing import Annotated, Any

from qoder_cli.app import App
from qoder_cli.cli.options import ModelTyped, Text, Texts, is_list, option, several
from qoder_cli.commands import edited, made
from qoder_cli.nouns.change import Change
from qoder_cli.nouns.named import Names
from qoder_cli.nouns.table import NOUNS

_DREAM = NOUNS["dream"]
Dreams: Any = made.one_argument(_DREAM, several=True)
_FROM = several("--from", "STORE|SESSION", "Memory store or session (sess_…).")
_INSTRUCTIONS = option("--instructions", "TEXT|@FILE|-", "What to look for; - reads stdin.")
_INTO = option("--into", "STORE", "Memory store to write to; default: a new one.")


def create(
    app: App,
    sources: Annotated[Texts, _FROM] = None,
    model: ModelTyped = None,
    instructions: Annotated[Text, _INSTRUCTIONS] = None,
    into: Annotated[Text, _INTO] = None,
    file: edited.File = None,
    dry_run: edited.DryRun = False,
) -> int:
    """Have memories and sessions gone through, and memories written from them.

    Requires --from and --model, as options or in a file. It costs credits.
    Nothing marks a dream as ours: if the response was lost, it exits 9.

    Examples:
      qoder dream create --from project --model auto --dry-run
      qoder dream create --from project --into project --model auto"""
    told = edited.text_typed(app, "--instructions", instructions, file)
    inputs: list[dict[str, Any]] = []  # api/facts.md, 4
    names, sessions = Names(app), []
    for word in sources or ():
        if word.startswith("sess_"):
            sessions.append(names.id_of(NOUNS["session"], word))
            continue
        store = {"type": "memory_store", "memory_store_id": names.id_of(NOUNS["memory"], word)}
        inputs += [store] if store not in inputs else []
    if sessions:
        inputs.append({"type": "sessions", "session_ids": list(dict.fromkeys(sessions))})
    output = None
    if into is not None:
        output = {"type": "update_existing", "memory_store_id": names.id_of(NOUNS["memory"], into)}
    fields = {"model": model, "instructions": told, "inputs": inputs or None, "output_behavior": output}
    body = edited.body_of(app, _DREAM, "create", {"file": file}, **fields)
    return edited.create(app, _DREAM, body, dry_run=dry_run)


def cancel(app: App, things: Dreams) -> int:
    """Cancel dreams that have not ended.

    What a dream has written by then stays. Exits 0 if it is (or already was)
    cancelled, 6 if it has ended.

    Examples:
      qoder dream cancel drm_demo"""
    targets = made.things_named(app, _DREAM, things)
    change = Change("cancel", "cancelling", "cancelled", "POST", "/cancel", "canceled")
    refused = "see how it ended: qoder dream get"
    return made.change_things(app, _DREAM, change, targets, as_list=is_list(things), refused=refused)


COMMANDS = made.commands("dream", create=create, cancel=cancel)
