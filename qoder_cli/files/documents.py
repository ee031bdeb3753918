"""What a YAML, JSON or Markdown file declares, document by document."""

import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import IO, NamedTuple

from qoder_cli.base.plainfile import open_at_once, read_typed, reason_of
from qoder_cli.files import jsonread, yamlread
from qoder_cli.files.tree import LARGEST, Node, Problem

STDIN = "-"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
FRONT = re.compile(r"---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)


class Document(NamedTuple):
    """What a file declares: its fields, and the text below its front matter."""

    node: Node
    text: str | None = None
    text_line: int = 0


def documents_of(path: str, problems: list[Problem], *, stdin: IO[str] | None = None) -> Iterator[Document]:
    """Yield what a YAML, JSON or Markdown file declares. Raises Problem."""
    text = read(path, stdin=stdin)
    if not path.lower().endswith(".md"):
        for tree in trees(path, text, problems):
            if isinstance(tree.content, list):
                yield from (Document(item) for item in tree.content)
            elif tree.content is not None:
                yield Document(tree)
        return
    front = FRONT.match(text)
    if front is None:
        what = "its front matter has no end: add a line of ---"
        if not text.startswith("---"):
            what = "has no front matter: begin it with a line of ---, its fields, and another line of ---"
        raise Problem(what, line=1)
    fronts = [tree for tree in trees(f"{path}.yaml", "\n" + front[1], problems) if tree.content is not None]
    if len(fronts) != 1:
        raise Problem("its front matter must be one mapping of fields", line=1)
    below = text[front.end() :]
    line = text.count("\n", 0, front.end()) + 1
    yield Document(fronts[0], below.strip("\n") or None, line)


def read(path: str, *, stdin: IO[str] | None) -> str:
    """Return the text of a file, or of stdin for `-`, of at most 4 MB. Raises Problem."""
    try:
        data = read_typed(path, stdin, LARGEST + 1)
    except (OSError, ValueError) as error:
        raise Problem(f"cannot be read: {reason_of(error)}") from None
    if len(data) > LARGEST:
        raise Problem(f"is larger than {LARGEST // 2**20} MB, the limit for a file")
    if data.startswith(_UTF_16):
        raise Problem("is UTF-16; save it as UTF-8", line=1)
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Problem(f"byte {error.start} (0x{data[error.start]:02x}) is not UTF-8", line=line) from None


def trees(file: str, text: str, problems: list[Problem]) -> Iterable[Node]:
    """Return a text's documents: JSON by file name or content, else YAML."""
    if file.lower().endswith(".json"):
        return jsonread.trees(text, problems)
    if text.lstrip()[:1] in ("{", "["):
        met: list[Problem] = []
        with suppress(Problem):
            trees = list(jsonread.trees(text, met))
            problems += met
            return trees
    return yamlread.trees(text, problems)


def beginning(path: str, most: int) -> bytes:
    """Return at most so many first bytes of a file, in UTF-8 without a mark of the order of bytes. Raises Problem.

    Of UTF-16, too: what is passed over here is never read, and nobody would be told what is wrong with it.
    """
    try:
        with open_at_once(path) as file:
            data = file.read(most) or b""
    except (OSError, ValueError) as error:
        raise Problem(f"cannot be read: {reason_of(error)}") from None
    if data.startswith(_UTF_16):
        return data.decode("utf-16", "replace").encode()
    return data.removeprefix(BOM_UTF8)
