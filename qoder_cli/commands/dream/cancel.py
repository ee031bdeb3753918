"""`qoder dream cancel`."""

from typing import Any

import typer

from qoder_cli.cli.options import is_list, named
from qoder_cli.commands.made import change_things, one_argument
from qoder_cli.nouns.table import NOUNS

_DREAM = NOUNS["dream"]
Dreams: Any = one_argument(_DREAM, several=True)


def cancel(ctx: typer.Context, things: Dreams) -> int:
    """Cancel dreams that have not ended.

    What a dream has written by then stays. Exits 0 if it is (or already was)
    cancelled, 6 if it has ended.

    Examples:
      qoder dream cancel drm_demo"""
    from qoder_cli.nouns.change import Change
    from qoder_cli.nouns.named import id_of
    from qoder_cli.nouns.write import target_of

    words = named(things, ctx.obj, what="dreams")
    targets = {word: target_of(_DREAM, id_of(ctx.obj, _DREAM, word)) for word in words}
    change = Change("cancel", "cancelling", "cancelled", "POST", "/cancel", "canceled")
    refused = "see how it ended: qoder dream get"
    return change_things(ctx.obj, _DREAM, change, words, targets, yes=True, as_list=is_list(things), refused=refused)
