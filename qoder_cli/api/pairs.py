"""What is typed as NAME=VALUE, in the options that take it."""

import re

from qoder_cli.base.errors import UsageError

_TAKES = {
    "-f": ("KEY=VALUE", "name=nightly"),
    "-F": ("KEY=VALUE", "budget=null"),
    "--form": ("KEY=VALUE", "file=@report.txt"),
    "--query": ("NAME=VALUE", "limit=5"),
}
_UNDECODED = re.compile("[\ud800-\udfff]")  # what Python makes of bytes in a command line that are not UTF-8


def split(typed: str, option: str) -> tuple[str, str]:
    """Return name and value. Raises UsageError for what has none, or cannot be sent as UTF-8."""
    name, sign, value = typed.partition("=")
    if not name or not sign:
        takes, example = _TAKES[option]
        raise UsageError(f"{option} takes {takes}, not {typed[:60]!r}", hint=f"for example: {option} {example}")
    if _UNDECODED.search(typed):
        raise UsageError(f"{option} {name[:60]!r} has bytes that are not UTF-8", hint="write it in UTF-8")
    return name, value
