"""`qoder dream`: dreams, which tidy memories up."""

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, LostSight, QoderError, RunFailed, Signalled, WaitTimeout
from qoder_cli.base.model import GOING, Raw, mapping, text
from qoder_cli.base.polling import doubling
from qoder_cli.base.times import Deadline, Limits, read_limits
from qoder_cli.cli.options import MODEL, TIMEOUT, Text, Texts, flag, is_list, option, several
from qoder_cli.commands import editing, generic
from qoder_cli.nouns.edits.create import creating
from qoder_cli.nouns.edits.forms import form_of
from qoder_cli.nouns.edits.step import as_stored
from qoder_cli.nouns.edits.thing import read, target_of
from qoder_cli.nouns.edits.verbs import Change
from qoder_cli.nouns.named import Names
from qoder_cli.nouns.shown import show
from qoder_cli.nouns.table import NOUNS

_DREAM = NOUNS["dream"]
_ENDED = ("completed", "failed", "canceled")
_PAUSES = (1.0, 15.0)  # seconds between two looks: the first, and the longest
_INSTRUCTIONS = option("--instructions", "TEXT|@FILE|-", "What to look for; - reads stdin.")


def create(
    app: App,
    sources: Texts = several("--from", "STORE|SESSION", "Memory store or session (sess_…)."),
    model: Text = MODEL,
    instructions: Text = _INSTRUCTIONS,
    into: Text = option("--into", "STORE", "Memory store to write to; default: a new one."),
    file: Text = editing.FILE,
    dry_run: bool = editing.DRY_RUN,
    wait: bool = flag("--wait -w", "Wait for it to end, and exit with its outcome."),
    timeout: Text = TIMEOUT,
) -> None:
    """Have an agent review memories and sessions and write new memories from them.

    Requires --from and --model, as options or in a file. It costs credits. A
    lost response is exit 9: nothing marks a dream as yours. With --wait: 0
    completed, 1 failed or cancelled, 124 timed out (it keeps running).

    Examples:
      qoder dream create --from project --model auto --dry-run"""
    limits = read_limits(wait=wait, timeout=timeout, interval=None)
    text = editing.text_typed(app, "--instructions", instructions, file)
    names, words = Names(app), dict.fromkeys(sources or ())
    sessions = [names.id_of(NOUNS["session"], word) for word in words if word.startswith("sess_")]
    stores = dict.fromkeys(names.id_of(NOUNS["memory"], word) for word in words if not word.startswith("sess_"))
    inputs: list[Raw] = [{"type": "memory_store", "memory_store_id": id} for id in stores]  # api.md#dreams
    if sessions:
        inputs.append({"type": "sessions", "session_ids": sessions})
    output = None
    if into is not None:
        output = {"type": "update_existing", "memory_store_id": names.id_of(NOUNS["memory"], into)}
    fields = {"model": model, "instructions": text, "inputs": inputs or None, "output_behavior": output}
    body = editing.body_of(app, _DREAM, "create", {"file": file}, **fields)
    if not wait or dry_run:
        editing.create(app, _DREAM, body, editing.Making(False, False, dry_run))
        return
    app.progress.note(f"creating the dream{app.client.settings.whereabouts}")
    dream = creating(app, _DREAM, body).deliver().raw
    app.progress.note(f"dream {dream['id']} has begun")
    _wait(app, as_stored(app, _DREAM, form_of(_DREAM), body, dream), limits)


def _wait(app: App, dream: Raw, limits: Limits) -> None:
    """Wait for a dream to end, and print it. Raises RunFailed, WaitTimeout, Interrupted, ApiError."""
    deadline, current = Deadline(app.clock, limits), dream
    deadline.start()
    again: Raw = {"hint": "to see it", "next": app.looking("dream", "get", str(dream["id"]))}
    stopped: QoderError | None = None
    try:
        for pause in doubling(*_PAUSES):
            status = current.get("status")
            if status in _ENDED or (status not in GOING and text(current.get("ended_at"))):
                break
            if deadline.left() <= 0:
                stopped = WaitTimeout(f"timed out; dream {dream['id']} is still {current.get('status')}", **again)
                break
            app.clock.sleep(min(pause, deadline.left()))
            current = read(app.client, target_of(_DREAM, str(dream["id"])))
    except Signalled as signalled:
        stopped = signalled.in_words(f"stopped waiting; dream {dream['id']} keeps running", **again)
    except ApiError as error:
        stopped = LostSight(f"lost track of dream {dream['id']}: {error.message}", cause=error, **again)
    show(app, _DREAM, current)
    if stopped is not None:
        raise stopped
    status = current.get("status")
    if status != "completed":
        why = text(mapping(current.get("error")).get("message"))
        became = {"failed": "failed", "canceled": "was cancelled"}
        unrecognised = f"ended with the unrecognised status {status!r}: treated as failed"
        message = f"dream {dream['id']} {became.get(str(status), unrecognised)}"
        raise RunFailed(f"{message}: {why}" if why else message)


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
