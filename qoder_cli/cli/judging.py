"""How a command ends that judges what it read: `report --exit-status`, `deploy check --exit-status`, `usage --over`.

What was not looked at is not well: where the answer depends on something that was not read, it is 7, unless what was
seen decides alone.
"""

from collections.abc import Sequence

from qoder_cli.app import App
from qoder_cli.base.errors import NotYet, Unavailable
from qoder_cli.base.words import counted

_SAID = 3  # things that were not seen


def conclude(
    app: App,
    *,
    finding: str | None,
    unseen: Sequence[str],
    judges: bool,
    hint: str,
    next: list[str] | None = None,
) -> None:
    """End a command by its finding, in words, and by what it could not see. It says the latter in any case.

    If it `judges`, raises NotYet (8) for the finding, else Unavailable (7) for what was not seen.
    """
    missing = "; ".join(unseen[:_SAID])
    if len(unseen) > _SAID:
        missing += f"; and {counted(len(unseen) - _SAID, 'thing')} more"
    if judges and finding is not None:
        if missing:
            app.progress.warn(f"not seen: {missing}")
        raise NotYet(finding, hint=hint, next=next)
    if missing and judges:
        raise Unavailable(f"nothing wrong was seen, but not everything: {missing}", hint=hint, next=next)
    if missing:
        app.progress.warn(f"not seen: {missing}")
