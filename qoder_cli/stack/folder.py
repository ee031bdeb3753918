"""The files of a stack's folder: which there are, what kind of thing each declares, and what `qoder.yaml` says."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from qoder_cli.base.plainfile import reason_of
from qoder_cli.files.documents import FRONT, beginning, has_front_matter, read, trees
from qoder_cli.files.tree import BadFiles, Problem
from qoder_cli.nouns.skills import MAIN

# The folder of each kind, in the order in which things are made, and the `type` of one.
FOLDERS = {
    "environments": "env",
    "vaults": "vault",
    "memory_stores": "memory",
    "skills": "skill",
    "agents": "agent",
    "deployments": "deploy",
}
TYPES = {
    "environment": "env",
    "vault": "vault",
    "memory_store": "memory",
    "skill": "skill",
    "agent": "agent",
    "deployment": "deploy",
}
KINDS = tuple(FOLDERS.values())
TYPE_OF = {noun: type for type, noun in TYPES.items()}
ROOT_FILE = "qoder.yaml"
WHAT = "the files"  # in the first line of an error
STACK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")

_SUFFIXES = (".yaml", ".yml", ".json", ".md")
_IGNORED = ("__pycache__", "node_modules", "venv")  # and what begins with a dot
_PEEKED = 65_536  # bytes of a file that are searched for its type
_TYPE = re.compile(rb"""^type[ \t]*:[ \t]*["']?(\w+)""", re.MULTILINE)
_JSON_TYPE = re.compile(rb'"type"\s*:\s*"(agent|environment|skill|memory_store|vault|deployment)"')
_NAMED_KIND = re.compile(rf"({'|'.join(TYPES)})[_-]", re.IGNORECASE)


class Source(NamedTuple):
    """A file, or the folder of a skill, and the kind of what it declares."""

    path: str  # as it is shown
    kind: str


class Fence(NamedTuple):
    """Where a stack lives, as `qoder.yaml` says; None where it does not."""

    region: str | None = None
    base_url: str | None = None
    workspace_id: str | None = None


@dataclass
class Folder:
    """What was found: the files, the stack's name, its fence."""

    sources: list[Source] = field(default_factory=list)
    root: str = ""  # the folder of qoder.yaml; else the one typed
    stack: str | None = None
    fence: Fence = field(default_factory=Fence)
    is_whole: bool = False  # whether all of the folder that has qoder.yaml is meant
    problems: list[str] = field(default_factory=list)


def find(paths: Sequence[str]) -> Folder:
    """Return the files that paths mean, folders with all that is below. Raises BadFiles if one cannot be read."""
    found = Folder()
    roots = {_root_above(path) for path in paths}
    if len(roots) > 1:
        raise BadFiles([f"{' and '.join(paths)} belong to different stacks; apply one at a time"], WHAT)
    [root] = roots
    if root is not None:
        found.root = root
    elif os.path.isdir(paths[0]):
        found.root = paths[0]
    else:
        found.root = os.path.dirname(paths[0]) or "."
    try:
        if root is not None:
            found.stack, found.fence = _settings_of(os.path.join(root, ROOT_FILE))
        identities: dict[str, None] = {}
        for path in paths:
            for source in _of_path(path, os.path.realpath(found.root), found.problems):
                identity = os.path.realpath(source.path)
                if identity not in identities:
                    identities[identity] = None
                    found.sources.append(source)
    except Problem as problem:
        found.problems.append(problem.located(""))
    found.is_whole = root is not None and any(os.path.realpath(path) == os.path.realpath(root) for path in paths)
    return found


def _root_above(path: str) -> str | None:
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


def _settings_of(path: str) -> tuple[str | None, Fence]:
    """Return what a qoder.yaml says. Raises BadFiles."""
    problems: list[Problem] = []
    settings: dict[str, Any] = {}
    try:
        documents = [each for each in trees(path, read(path, stdin=None), problems) if each.content is not None]
        if len(documents) > 1 or not all(isinstance(each.content, dict) for each in documents):
            raise Problem("must be one mapping of fields")
        for name, node in (item for each in documents for item in each.items()):
            settings[str(name)] = node.content
            if name not in ("stack", *Fence._fields):
                names = ", ".join(("stack", *Fence._fields))
                problems.append(Problem(f"unknown field (known: {names})", line=node.line, path=(name,)))
            elif not isinstance(node.content, str) or not node.content.strip():
                problems.append(Problem("must be text", line=node.line, path=(name,)))
            elif name == "stack" and not STACK_NAME.fullmatch(node.content):
                text = "must be letters, digits, hyphens, dots or underscores, at most 63"
                problems.append(Problem(text, line=node.line, path=(name,)))
    except Problem as problem:
        problems.append(problem)
    if problems:
        raise BadFiles([problem.located(path) for problem in problems], ROOT_FILE)
    return settings.get("stack"), Fence(*(settings.get(name) for name in Fence._fields))


def _of_path(path: str, root: str, problems: list[str]) -> Iterator[Source]:
    """Yield the files of a path that was typed. Raises Problem."""
    if not os.path.isdir(path):
        if not os.path.exists(path):
            problems.append(Problem("does not exist").located(path))
        elif os.path.basename(path) != ROOT_FILE:
            kind = "skill" if os.path.basename(path) == MAIN else _kind_of(path)
            if kind is None:
                problems.append(Problem(_UNKNOWN).located(path))
            else:
                yield Source(os.path.dirname(path) or "." if kind == "skill" else path, kind)
        return
    yield from _of_folder(path, root, problems)


_UNKNOWN = (
    "what it declares is not clear; put it into a folder such as agents/,"
    " begin its name with agent_, or add type: agent"
)


def _of_folder(folder: str, root: str, problems: list[str]) -> Iterator[Source]:
    """Yield the files of a folder and of those below."""
    if os.path.isfile(os.path.join(folder, MAIN)):
        yield Source(folder, "skill")
        return
    if os.path.realpath(folder) != root and os.path.isfile(os.path.join(folder, ROOT_FILE)):
        problems.append(Problem(f"has a {ROOT_FILE} of its own; apply it by itself").located(folder))
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        problems.append(Problem(f"cannot be listed: {reason_of(error)}").located(folder))
        return
    entries = [each for each in entries if not each.name.startswith(".") and each.name not in _IGNORED]
    here = [os.path.join(folder, each.name) if folder != "." else each.name for each in entries]
    is_of_stores = os.path.basename(os.path.abspath(folder)) == "memory_stores"
    kinds: dict[str, str | None] = {}  # of the files
    followed = []
    for entry, path in zip(entries, here, strict=True):
        try:
            if entry.is_symlink() and (what := _wrong_with_link(entry, path, root)):
                raise Problem(what)
            if entry.name.lower().endswith(_SUFFIXES) and entry.is_file() and entry.name != ROOT_FILE:
                kinds[path] = _kind_of(path)
        except Problem as problem:  # what is passed over in silence would count as no longer declared
            problems.append(problem.located(path))
        else:
            followed.append((entry, path))
    stores = {os.path.splitext(path)[0] for path, kind in kinds.items() if kind == "memory" and is_of_stores}
    for entry, path in followed:
        if entry.is_dir(follow_symlinks=False):
            if not is_of_stores:
                yield from _of_folder(path, root, problems)
            elif path not in stores:
                text = f"has no {entry.name}.yaml beside it, which declares the memory store"
                problems.append(Problem(text).located(path))
        elif (kind := kinds.get(path)) is not None and not _is_text_about(path):
            yield Source(path, kind)


def _wrong_with_link(entry: os.DirEntry[str], path: str, root: str) -> str | None:
    """Return why a link is refused."""
    is_file = entry.name.lower().endswith(_SUFFIXES)
    above = os.path.basename(os.path.dirname(os.path.abspath(path)))
    holds_things = entry.name in FOLDERS or FOLDERS.get(above, "memory") != "memory"  # a store's folder may be a link
    if not _is_within(path, root):
        if is_file or entry.is_dir():
            return "is a link that leads out of the folder; copy the file instead"
        return None
    if entry.is_dir():
        if holds_things:
            return "is a link to a folder, and these are not followed; move the folder here"
        return None
    if not entry.is_file() and (is_file or holds_things):
        return "is a link to nothing"
    return None


def _is_within(path: str, root: str) -> bool:
    return os.path.realpath(path).startswith(os.path.join(root, ""))


def _is_text_about(path: str) -> bool:
    """Return whether a Markdown file declares nothing: a README without front matter."""
    name = os.path.basename(path).lower()
    return name.startswith("readme") and name.endswith(".md") and not has_front_matter(path)


def _kind_of(path: str) -> str | None:
    """Return the noun of what a file declares: by its `type`, its folder, or its name; None if it declares nothing.

    Raises Problem for a file that cannot be read.
    """
    if not path.lower().endswith(_SUFFIXES) or os.path.isdir(path):
        return None
    if kind := TYPES.get(_type_in(path)):
        return kind
    folder = os.path.basename(os.path.dirname(os.path.abspath(path)))
    if folder in FOLDERS:
        return FOLDERS[folder]
    named = _NAMED_KIND.match(os.path.basename(path))
    return TYPES[named[1].lower()] if named else None


def _type_in(path: str) -> str:
    """Return the `type` at the top of a file; empty if there is none."""
    begins = beginning(path, _PEEKED)
    if begins.lstrip()[:1] in (b"{", b"["):
        if not (named := _JSON_TYPE.search(begins)):  # of most files there is no need to read more
            return ""
        try:
            found = json.loads(read(path, stdin=None))
        except ValueError:
            return named[1].decode()  # so that it is said what is wrong with it
        first = found[0] if isinstance(found, list) and found else found
        return str(first.get("type")) if isinstance(first, dict) else ""
    if path.lower().endswith(".md"):
        front = FRONT.match(begins.decode("utf-8", "replace"))
        if front is not None:
            begins = front[1].encode()
        elif not begins.startswith(b"---"):  # else its end is missing, and that is said
            return ""
    match = _TYPE.search(begins)
    return match[1].decode() if match else ""


def entries_of(path: str) -> Mapping[str, str]:
    """Return the entries of a memory store by their paths: the texts in the folder of its name. Raises Problem."""
    folder = os.path.splitext(path)[0]
    found: dict[str, str] = {}
    if not os.path.isdir(folder):
        return found
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in sorted([*names, *links]):
            file = os.path.join(place, name)
            if name.startswith(".") or (name not in links and not name.lower().endswith(".md")):
                continue
            if os.path.islink(file) and not _is_within(file, os.path.realpath(folder)):
                raise Problem(f"{file} is a link that leads out of the folder")
            if name in links:
                continue
            found[os.path.relpath(file, folder).replace(os.sep, "/")] = read(file, stdin=None)
    return found
