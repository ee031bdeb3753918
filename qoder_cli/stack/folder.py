"""The files of a stack's folder: which there are, what kind of thing each declares, and what `qoder.yaml` says."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from qoder_cli.base.model import Raw, mapping
from qoder_cli.base.plainfile import reason_of
from qoder_cli.base.tokens import names_token
from qoder_cli.files.documents import FRONT, STDIN, beginning, read, trees
from qoder_cli.files.tree import BadFiles, Problem
from qoder_cli.nouns.declaring import field_of_held
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.schema import fields_of
from qoder_cli.nouns.table import in_folders, of_file

ROOT_FILE = "qoder.yaml"
STACK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")

_SUFFIXES = (".yaml", ".yml", ".json", ".md")
IGNORED = ("__pycache__", "node_modules", "venv")  # and what begins with a dot
_PEEKED = 65_536  # bytes of a file that are searched for its type
_TYPE = re.compile(rb"""^type[ \t]*:[ \t]*["']?(\w+)""", re.MULTILINE)
_NAMED = re.compile(rb"^(?:display_)?name[ \t]*:", re.MULTILINE)
UNCLEAR = (
    "what it declares is not clear; put it into a folder such as agents/,"
    " begin its name with agent_, or add type: agent"
)


class Source(NamedTuple):
    """A file, or the folder of a skill, and the kind of what it declares; None where each document has to say it."""

    path: str  # as it is shown
    noun: Noun | None


class Fence(NamedTuple):
    """Where a stack lives, as `qoder.yaml` says; None where it does not."""

    region: str | None = None
    base_url: str | None = None
    workspace_id: str | None = None


_NO_FENCE = Fence()


@dataclass(frozen=True)
class Folder:
    """The files that are meant, the stack's name, its fence."""

    root: str  # the folder of qoder.yaml; else the one that the paths share
    sources: Sequence[Source] = ()
    stack: str | None = None
    fence: Fence = _NO_FENCE
    is_whole: bool = False  # whether all of the folder that has qoder.yaml is meant
    skipped: Sequence[str] = ()  # files that look as if they declared something, and do not say what
    problems: Sequence[str] = ()


def find(paths: Sequence[str]) -> Folder:
    """Return the files that paths mean, folders with all that is below. Raises BadFiles if a root cannot be read."""
    roots = {os.path.realpath(root): root for path in paths if (root := root_above(path)) is not None}
    if len(roots) > 1 or (roots and any(root_above(path) is None for path in paths)):
        raise BadFiles([f"{' and '.join(paths)} belong to different stacks; apply one at a time"])
    root = next(iter(roots.values()), None) or _shared_by(paths)
    stack, fence = settings_in(root) if roots else (None, Fence())
    finder = _Finder(os.path.realpath(root))
    sources: dict[str, Source] = {}
    for path in paths:
        for source in finder.of_path(path):
            sources.setdefault(os.path.realpath(source.path), source)
    is_whole = bool(roots) and any(os.path.realpath(path) == os.path.realpath(root) for path in paths)
    return Folder(root, [*sources.values()], stack, fence, is_whole, finder.skipped, finder.problems)


def root_above(path: str) -> str | None:
    """Return the folder, this one or one above, that has a qoder.yaml."""
    folder = path if os.path.isdir(path) else os.path.dirname(path) or "."
    while True:
        if os.path.isfile(os.path.join(folder, ROOT_FILE)):
            return folder
        above = os.path.dirname(folder) or "."
        if set(folder.split(os.sep)) <= {".", "..", ""}:
            above = os.path.join(folder, "..")
        if os.path.realpath(above) == os.path.realpath(folder):
            return None
        folder = above


def _shared_by(paths: Sequence[str]) -> str:
    """Return the folder that paths share: their files may refer to each other, those in `agents/` to its neighbours."""
    folders = []
    for path in paths:
        folder = os.path.abspath(path if os.path.isdir(path) else os.path.dirname(path) or ".")
        parts = folder.split(os.sep)
        named = next((number for number, part in enumerate(parts) if part.lower() in in_folders()), len(parts))
        folders.append(os.sep.join(parts[:named]) or os.sep)
    try:
        return os.path.relpath(os.path.commonpath(folders))
    except ValueError:  # on several drives of Windows
        return "."


def settings_in(root: str) -> tuple[str | None, Fence]:
    """Return what the qoder.yaml of a folder says: the stack's name, and its fence. Raises BadFiles."""
    path, problems = os.path.join(root, ROOT_FILE), list[Problem]()
    settings: dict[str, Any] = {}
    try:
        documents = [tree for tree in trees(path, read(path, stdin=None), problems) if tree.content is not None]
        if len(documents) > 1 or not all(isinstance(document.content, dict) for document in documents):
            raise Problem("must be one mapping of fields")
        for name, node in (item for document in documents for item in document.items()):
            settings[str(name)] = node.content
            if name not in ("stack", *Fence._fields):
                names = ", ".join(("stack", *Fence._fields))
                problems.append(Problem(f"unknown field (known: {names})", line=node.line, path=(name,)))
            elif not isinstance(node.content, str) or not node.content.strip():
                problems.append(Problem("must be text", line=node.line, path=(name,)))
            elif name == "stack" and not STACK_NAME.fullmatch(node.content):
                text = "must be letters, digits, hyphens, dots or underscores, at most 63"
                problems.append(Problem(text, line=node.line, path=(name,)))
            elif names_token(node.content):  # it goes into the metadata of all that is made
                problems.append(Problem("is, or holds, a token; choose another name", line=node.line, path=(name,)))
    except Problem as problem:
        problems.append(problem)
    if problems:
        raise BadFiles([problem.located(path) for problem in problems], ROOT_FILE)
    return settings.get("stack"), Fence(*(settings.get(name) for name in Fence._fields))


class _Head(NamedTuple):
    """What the beginning of a file says, so that most of those that declare nothing need not be read."""

    type: str = ""
    looks_declared: bool = False  # it has a `name`, or front matter
    is_text: bool = False  # Markdown without front matter
    is_array: bool = False  # of JSON, which declares nothing: what a command printed, for example


class _Finder:
    """Walks folders; gathers what is wrong, and what is skipped and should not be."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.skipped: list[str] = []
        self.problems: list[str] = []

    def of_path(self, path: str) -> Iterator[Source]:
        """Yield the files of a path that was typed."""
        try:
            if path == STDIN:
                yield Source(path, None)
            elif os.path.isdir(path):
                yield from self._of_folder(path)
            elif not os.path.exists(path):
                raise Problem("does not exist")
            elif not os.path.isfile(path):  # a pipe, which can be read only once
                yield Source(path, None)
            elif os.path.basename(path) != ROOT_FILE:
                noun = _noun_of_main(os.path.basename(path))
                yield (
                    Source(os.path.dirname(path) or ".", noun)
                    if noun
                    else Source(path, self._noun_of(path, _head_of(path)))
                )
        except Problem as problem:
            self.problems.append(problem.located(path))

    def _of_folder(self, folder: str) -> Iterator[Source]:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            self.problems.append(Problem(f"cannot be listed: {reason_of(error)}").located(folder))
            return
        names = [entry.name for entry in entries]
        if noun := next(filter(None, map(_noun_of_main, names)), None):
            yield Source(folder, noun)
            return
        if ROOT_FILE in names and os.path.realpath(folder) != self.root:
            problem = Problem(f"has a {ROOT_FILE} of its own; apply it by itself")
            self.problems.append(problem.located(folder))
            return
        sources: list[Source] = []
        folders: list[str] = []
        for entry in entries:
            path = os.path.join(folder, entry.name) if folder != "." else entry.name
            if entry.name.startswith(".") or entry.name in IGNORED or entry.name == ROOT_FILE:
                continue
            try:
                if entry.is_symlink():
                    self._check_link(entry, path)
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                elif entry.name.lower().endswith(_SUFFIXES):
                    if not entry.is_file():
                        raise Problem("is neither a file nor a folder")
                    sources += self._of_file(path)
            except (Problem, OSError) as error:  # what is passed over in silence would count as no longer declared
                problem = error if isinstance(error, Problem) else Problem(f"cannot be read: {reason_of(error)}")
                self.problems.append(problem.located(path))
        yield from sources
        holders = {os.path.splitext(source.path)[0] for source in sources if source.noun and holds_texts(source.noun)}
        for path in folders:
            if path in holders:  # these are the texts that it holds
                continue
            noun = _noun_above(path, self.root)
            below = [name.lower() for _, _, names in os.walk(path) for name in names]
            has_documents = any(name.endswith(_SUFFIXES[:-1]) for name in below)
            if noun is not None and holds_texts(noun) and not has_documents:
                text = f"has no {os.path.basename(path)}.yaml beside it, which declares the {noun.called}"
                self.problems.append(Problem(text).located(path))
            else:
                yield from self._of_folder(path)

    def _of_file(self, path: str) -> Iterator[Source]:
        head = _head_of(path)
        noun = self._noun_of(path, head)
        is_readme = head.is_text and os.path.basename(path).lower().startswith("readme")
        if is_readme or (noun is not None and head.is_array):
            return
        if noun is not None and noun.kind.main:
            raise Problem(f"belongs to no {noun.called}: its folder has no {noun.kind.main}")
        if noun is not None:
            yield Source(path, noun)
        elif head.looks_declared:
            self.skipped.append(path)

    def _check_link(self, entry: os.DirEntry[str], path: str) -> None:
        """Raise Problem for a link that is refused; OSError for one that leads to itself."""
        is_file = entry.name.lower().endswith(_SUFFIXES)
        above = _noun_above(path, self.root)
        holds_things = entry.name.lower() in in_folders() or (above is not None and not holds_texts(above))
        if not is_within(path, self.root):
            if is_file or entry.is_dir():
                raise Problem("is a link that leads out of the folder; copy the file instead")
        elif entry.is_dir():
            if holds_things:
                raise Problem("is a link to a folder, and these are not followed; move the folder here")
        elif not entry.is_file() and (is_file or holds_things):
            raise Problem("is a link that leads nowhere")

    def _noun_of(self, path: str, head: _Head) -> Noun | None:
        """Return what a file declares by its `type`, the nearest folder above, or its name; None if it says nothing."""
        if noun := in_types().get(head.type):
            return noun
        if noun := _noun_above(path, self.root):
            return noun
        beginning_of_name = re.match(r"([a-z]+(?:_store)?)[_-]", os.path.basename(path).lower())
        return in_types().get(beginning_of_name[1]) if beginning_of_name else None


def in_types() -> Mapping[str, Noun]:
    """Return the nouns of a folder by the `type` of one."""
    return {noun.type: noun for noun in in_folders().values()}


def holds_texts(noun: Noun) -> bool:
    """Return whether the folder beside a file has the texts that the thing holds."""
    field = field_of_held(noun)
    return bool(field) and field not in fields_of(of_file(noun))


def _noun_of_main(name: str) -> Noun | None:
    return next((noun for noun in in_folders().values() if noun.kind.main == name), None)


def _noun_above(path: str, root: str) -> Noun | None:
    """Return the noun of the nearest folder above a file, up to the root, that is called as one, in any case."""
    above = os.path.dirname(os.path.abspath(path))
    while True:
        if noun := in_folders().get(os.path.basename(above).lower()):
            return noun
        if os.path.realpath(above) == root or os.path.dirname(above) == above:
            return None
        above = os.path.dirname(above)


def is_within(path: str, root: str) -> bool:
    """Return whether a path, its links followed, is below a folder."""
    return os.path.realpath(path).startswith(os.path.join(root, ""))


def _head_of(path: str) -> _Head:
    """Return what the beginning of a file says. Raises Problem for one that cannot be read."""
    begins = beginning(path, _PEEKED)
    is_markdown = path.lower().endswith(".md")
    if is_markdown and not begins.startswith(b"---"):
        return _Head(is_text=True)
    if is_markdown and (
        front := FRONT.match(begins.decode("utf-8", "replace"))
    ):  # else its end is missing: that is said
        begins = front[1].encode()
    first = begins.lstrip()[:1]
    if first == b"[":
        return _Head(looks_declared=is_markdown, is_array=path.lower().endswith(".json"))
    if first == b"{":
        words = (*in_types(), "name", "display_name")
        content: Raw = {}
        if any(f'"{word}"'.encode() in begins for word in words):
            with suppress(ValueError, RecursionError):
                content = mapping(json.loads(read(path, stdin=None)))
        named = re.search(rb'"type"\s*:\s*"(\w+)"', begins)
        type = str(content.get("type"))
        if named and not content:  # it is broken, and that is said
            type = named[1].decode()
        return _Head(type, is_markdown or not content.keys().isdisjoint(("name", "display_name")))
    match = _TYPE.search(begins)
    return _Head(match[1].decode() if match else "", is_markdown or _NAMED.search(begins) is not None)


def texts_of(path: str) -> Mapping[str, str]:
    """Return the texts in the folder beside a file, of its name, by their paths. Raises Problem."""
    folder = os.path.splitext(path)[0]
    texts: dict[str, str] = {}
    if not os.path.isdir(folder):
        return texts
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = [name for name in names if name.lower().endswith(".md") and not name.startswith(".")]
        for name in sorted([*names, *folders]):
            file = os.path.join(place, name)
            if os.path.islink(file) and not is_within(file, os.path.realpath(folder)):
                raise Problem(f"{file} is a link that leads out of the folder")
            if name in names:
                texts[os.path.relpath(file, folder).replace(os.sep, "/")] = read(file, stdin=None)
    return texts
