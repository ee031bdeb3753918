"""Places in a JSON value."""

import re

Path = tuple[str | int, ...]  # of keys and places in lists

_PLAIN_NAME = re.compile(r"[\w$-]{1,64}", re.ASCII)


def spelled(path: Path) -> str:
    """Return a path as people read it: `initial_events[0].content`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_NAME.fullmatch(part):
            text += f".{part}"
        else:
            text += "." + repr(part[:40] + "…" * (len(part) > 40))
    return text.removeprefix(".")
