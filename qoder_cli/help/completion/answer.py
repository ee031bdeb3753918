"""The answer to a completion script: what can follow the line, up to the cursor.

Scripts set `_QODER_COMPLETE`, `_QODER_LINE` to the line up to the cursor and, if known,
`_QODER_REST` to the rest, and run the program without words. It prints lines: `words`, or
`files`, `folders` for what the shell knows; what precedes the value in the word
(`--region=`, or nothing); the value so far; each word, a tab, its description. Else nothing.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, TextIO

import typer.completion

from qoder_cli.help.completion.values import FILES, FOLDERS
from qoder_cli.output.screen import Screen, inert

LINE = "_QODER_LINE"
REST = "_QODER_REST"

# Typer's line reader, through a public module: typer._click is private.
_typer: Any = typer.completion
_typer.completion_init()
_CURSOR = "\0"
_STEERING = re.compile(r"[\0-\x1f\x7f]")
_KINDS = {FILES: "files", FOLDERS: "folders"}


def item(value: str, about: str) -> Any:
    """Return one thing to offer, as typer's commands and parameters do."""
    return _typer.shell_completion.CompletionItem(value, help=about)


def respond(tree: Any, env: Mapping[str, str], stdout: TextIO) -> None:
    """Answer a script. Failures are silent: nobody who presses TAB can mend them."""
    with suppress(Exception):
        stdout.buffer.write(_answer(tree, env).encode())
        stdout.buffer.flush()


def _answer(tree: Any, env: Mapping[str, str]) -> str:
    split: Callable[[str], list[str]] = _typer.shell_completion.split_arg_string
    _, *words = split(env[LINE] + _CURSOR)
    incomplete = words.pop().removesuffix(_CURSOR)
    parts = [part for word in (*words, *split(env.get(REST, ""))) for part in word.split("=", 1)]
    profile = next((after for before, after in reversed([*pairwise(parts)]) if before == "--profile"), None)
    # Stands in for the `App` while a line is completed; its flags are set, and not used.
    app = SimpleNamespace(env=env, profile=profile, flags=SimpleNamespace(), out=Screen(None), err=Screen(None))
    option, sign, value = incomplete.partition("=")
    is_value = incomplete.startswith("-") and bool(sign)
    before, begun = (option + sign, value) if is_value else ("", incomplete)
    reader = _typer.shell_completion.get_completion_class("bash")(tree, {"obj": app}, tree.name, "")
    offered = [(item.value, item.help or "") for item in reader.get_completions(words, incomplete)]
    if not offered or _STEERING.search(incomplete):
        return ""
    kind = next((_KINDS[about] for _, about in offered if about in _KINDS), "words")
    offers = {value: inert(" ".join(about.split()).rstrip(".")) for value, about in offered}  # each value once
    rows = [f"{value}\t{about}" for value, about in offers.items() if kind == "words" and not _STEERING.search(value)]
    return "".join(f"{line}\n" for line in (kind, before, begun, *rows))
