"""What a server has, as the files of a folder: applied right after, they change nothing."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import NotFound, Rejected, UsageError
from qoder_cli.base.ids import NOT_OF_AN_ID, nearest, with_version
from qoder_cli.base.kinds import KINDS_OF_IDS
from qoder_cli.base.model import Raw, mapping
from qoder_cli.base.plainfile import replace_file
from qoder_cli.base.pool import in_order
from qoder_cli.base.tokens import REDACTED, names_token, without_tokens
from qoder_cli.base.words import few
from qoder_cli.nouns.checking import tokens_in, tree_of
from qoder_cli.nouns.declaring import field_of_held, node_at, places_of, put, shorts_of
from qoder_cli.nouns.edits.forms import form_of, form_with
from qoder_cli.nouns.edits.owner import is_filled_in, owner_of, recorded
from qoder_cli.nouns.file import safe_name
from qoder_cli.nouns.how import Unexportable, how_of
from qoder_cli.nouns.lists import ServerLists
from qoder_cli.nouns.noun import Noun, Refers
from qoder_cli.nouns.parts import VARIABLES, assignments, labels_of
from qoder_cli.nouns.table import NOUNS, creation_of, in_folders
from qoder_cli.output import yamltext
from qoder_cli.output.screen import commandless, inert
from qoder_cli.output.yamltext import Unquoted, has_hidden
from qoder_cli.stack.folder import IGNORED, ROOT_FILE, holds_texts
from qoder_cli.stack.plan import version_of

Became = Literal["written", "replaced", "unchanged", "kept"]

_LONGEST_STEM = 100  # characters
_AT_A_TIME = 8  # reads
# Names that a folder's reader passes over, or takes for something else.
_NOT_A_STEM = ("qoder", *IGNORED)
_NOT_OF_A_PATH = re.compile(r"[^A-Za-z0-9_./-]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NO_SECRET = "no server returns it: set this variable"
_TOKEN = "a token does not belong here: set this variable to something else"


class Exportable(NamedTuple):
    """Something that is to be exported."""

    noun: Noun
    raw: Raw
    name: str

    @property
    def id(self) -> str:
        return str(self.raw["id"])

    @property
    def label(self) -> str:
        return f"{self.noun.called} {self.name}"


class ExportedData(TypedDict):
    """Something that files declare now."""

    kind: Annotated[str, "what it is"]
    name: Annotated[str, "its name"]
    action: Annotated[Became, "what was done with its file"]
    id: Annotated[str, "its id"]
    file: Annotated[str, "the file that declares it"]


# What is meant.


def all_things(lists: ServerLists, *, stack: str | None = None) -> list[Exportable]:
    """Return all that is alive and that files can declare, or what of it carries the mark of a stack.

    Raises NotFound if nothing carries that mark, ApiError.
    """
    rows = [(noun, raw) for noun in in_folders().values() for raw in lists.rows(noun) if how_of(noun).ours(raw)]
    if stack is not None:
        whole = [(noun, lists.with_fields(["metadata"], noun, raw)) for noun, raw in rows]
        rows = [(noun, raw) for noun, raw in whole if owner_of(noun, raw) == stack]
        if not rows:
            raise NotFound(f"nothing carries the mark of the stack {stack}", hint="check the name, and the profile")
    return [exportable(lists, noun, raw) for noun, raw in rows]


def thing_named(lists: ServerLists, word: str) -> Exportable:
    """Return what has an id or a name, of whatever kind. Raises UsageError, ApiError."""
    prefix = next((prefix for prefix in KINDS_OF_IDS if word.startswith(prefix)), None)
    if prefix is not None:
        return _of_id(lists, word, prefix)
    ids.id_or_name(word, "agent_", "thing", "an id or an exact name")
    exportables = all_things(lists)
    same = [exportable for exportable in exportables if exportable.name == word]
    if len(same) == 1:
        return same[0]
    if same:
        which = few([f"{exportable.noun.called} {exportable.id}" for exportable in same])
        raise UsageError(f"{len(same)} things are named {word!r}: {which}", hint="give the id of one")
    near = nearest(word, [exportable.name for exportable in exportables])
    hint = f"did you mean {near[0]!r}?" if near else "give the id or the exact name of one, or --all"
    raise NotFound(f"nothing is named {word!r}", hint=hint)


def _of_id(lists: ServerLists, word: str, prefix: str) -> Exportable:
    noun = next((noun for noun in in_folders().values() if noun.prefix == prefix), None)
    if noun is None:
        kinds = few([noun.called for noun in in_folders().values()])
        raise UsageError(f"{word[:60]!r} is {ids.a(KINDS_OF_IDS[prefix])}", hint=f"name one of: {kinds}")
    if NOT_OF_AN_ID.search(word) or word == prefix:
        raise UsageError(f"{word[:60]!r} is not an id", hint="give an id or an exact name")
    raw = lists.of_id(noun, word) or lists.read(noun, word)
    if raw.get("archived_at"):
        raise Rejected(
            f"{noun.called} {word} is archived, which no file can say; nothing was written",
            hint="name one that is not",
        )
    return exportable(lists, noun, raw)


def exportable(lists: ServerLists, noun: Noun, raw: Raw) -> Exportable:
    """Return something of a server with its name; without one, its id. Raises ApiError."""
    return Exportable(noun, raw, lists.name_of(noun, raw) or str(raw["id"]))


# Variables.


class FileVariables:
    """The variables that stand in files for secrets, and for the values of deployments' own variables."""

    def __init__(self, env: Collection[str], chosen: Sequence[Exportable], plain: Collection[str]) -> None:
        self.names: dict[str, None] = {}  # that an apply needs
        self.plain: dict[str, None] = {}  # written as they are
        self._plain = plain
        values: dict[str, set[str]] = {}
        for item in chosen:
            for name, value in assignments(str(item.raw.get(VARIABLES) or "")) or ():
                values.setdefault(name, set()).add(value)
        same = {name for name, different in values.items() if len(different) == 1 and not _is_ours(name)}
        self._shared = {name for name in same if name not in env and _VARIABLE.fullmatch(name)}

    def secret(self, owner: str, base: str, suffix: str, why: str = _NO_SECRET) -> Unquoted:
        """Return a variable in place of a secret, each with a name of its own; a comment says `why`."""
        name = base if not suffix and _VARIABLE.fullmatch(base) else _as_variable(base)
        if not name.upper().endswith(suffix):
            name += suffix
        return Unquoted(f"${{{self._free(name, owner)}}}", comment(why))

    def of(self, owner: str, name: str, value: str) -> Any:
        """Return a variable in place of a value; a value that was asked for, or is empty, as it is."""
        if name in self._plain or not value:
            self.plain[name] = None
            return value
        if name in self._shared:
            self.names[name] = None
            return Unquoted(f"${{{name}}}")
        return Unquoted(f"${{{self._free(_as_variable(f'{owner}_{name}'), owner)}}}")

    def _free(self, name: str, owner: str) -> str:
        taken = {variable.upper() for variable in (*self.names, *self._shared)}
        if name.upper() in taken:
            name = f"{_as_variable(owner)}_{name}"
        if name[:1].isdigit() or _is_ours(name):
            name = f"SECRET_{name}"
        free, number = name, 1
        while free.upper() in taken:
            number += 1
            free = f"{name}_{number}"
        self.names[free] = None
        return free


def _as_variable(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", unicodedata.normalize("NFKD", text)).strip("_").upper() or "SECRET"


def _is_ours(name: str) -> bool:
    return name.upper().startswith("QODER_")  # which are this program's own


# What it is as files.


@dataclass(eq=False)
class Draft:
    """Something, or one that it holds, as it becomes files: these by their paths below the folder, with slashes."""

    exporter: "Exporter"
    source: Exportable
    raw: Raw
    path: str = ""  # of the file, or the folder, that declares it
    files: dict[str, bytes] = field(default_factory=dict)
    comments: dict[str, list[str]] = field(default_factory=dict)  # above the fields of that file

    @property
    def lists(self) -> ServerLists:
        return self.exporter.lists

    @property
    def is_content(self) -> bool:
        """Whether it is the files of a folder, and no document."""
        return how_of(self.source.noun).read is not None

    def note(self, text: str) -> None:
        self.exporter.notes.append(f"{self.source.label}: {text}")

    def secret(self, name: str, suffix: str = "") -> Unquoted:
        return self.exporter.variables.secret(self.source.name, name, suffix)

    def variable(self, name: str, value: str) -> Any:
        return self.exporter.variables.of(self.source.name, name, value)

    def as_json(self, became: Became, folder: str) -> ExportedData:
        source, file = self.source, os.path.join(folder, *self.path.split("/"))
        return {"kind": source.noun.type, "name": source.name, "action": became, "id": source.id, "file": file}


class Exporter:
    """Makes the files of things, and says what they cannot carry."""

    def __init__(self, app: App, lists: ServerLists, chosen: Sequence[Exportable], plain: Collection[str] = ()) -> None:
        self.lists = lists
        self.notes: list[str] = []  # for the person who exports
        self.broken: list[str] = []  # what cannot be exported at all
        listed = list({item.id: item for item in chosen}.values())
        once = {item.id: item for item in in_order(self._whole, listed, at_a_time=_AT_A_TIME) if item}
        ranks = [*in_folders().values()]
        order = sorted(once.values(), key=lambda item: (ranks.index(item.noun), item.name, item.id))
        self.variables = FileVariables(app.env.keys(), order, plain)
        named = Counter((item.noun, item.name) for item in order)
        self.doubled = {item.id for item in order if named[item.noun, item.name] > 1}
        self.paths = {item.id: path for item, path in zip(order, _paths_of(order), strict=True)}
        self._order = order
        self._circles = _circles(order)

    def all(self) -> list[Draft]:
        """Return everything with its files. Raises ApiError."""
        drafts = [Draft(self, item, item.raw, self.paths[item.id]) for item in self._order]
        contents = [draft for draft in drafts if draft.is_content]
        for draft, why in zip(contents, in_order(self._why_not, contents, at_a_time=_AT_A_TIME), strict=True):
            if why:
                source = draft.source
                self.broken.append(f"{source.noun.called} {source.name} ({source.id}) {why}; left out")
                del self.paths[source.id]
        exported = [draft for draft in drafts if draft.source.id in self.paths]
        for draft in exported:
            if not draft.is_content:
                self._declare(draft, self._fields_of(draft))
        for path, content in (file for draft in exported for file in draft.files.items()):
            for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
                # What a message, or a file, has is nobody's to take out.
                if REDACTED in line:
                    self.notes.append(f"{path}:{number}: {REDACTED} stands for a secret; apply will refuse this file")
                elif without_tokens(line) != line:
                    self.notes.append(f"{path}:{number}: looks like a token or a password; check before you commit it")
        return exported

    def _whole(self, item: Exportable) -> Exportable | None:
        """Return something with all its fields, of which a list may show less; None, noted, if it is gone."""
        try:
            return item._replace(raw=self._whole_row(item.noun, item.raw))
        except NotFound as error:
            self.broken.append(f"{item.noun.called} {item.name} ({item.id}): {error.message}; left out")
            return None

    def _whole_row(self, noun: Noun, row: Raw, *parents: str) -> Raw:
        return self.lists.with_fields(creation_of(noun).body, noun, row, *parents)

    def _why_not(self, draft: Draft) -> str:
        """Give something the files that it is; return why it cannot have them, or nothing."""
        export = how_of(draft.source.noun).export
        assert export is not None  # who is read from files is written as files
        if draft.source.id in self.doubled:
            return "is one of several of that name, which apply cannot tell apart"
        try:
            export(draft, {})
        except Unexportable as error:
            return str(error)
        return ""

    def _fields_of(self, draft: Draft) -> Raw:
        item, noun = draft.source, draft.source.noun
        fields = _plain(noun, item.raw)
        for refers in noun.kind.refers:
            self._refer(item, refers, fields)
        naming = {refers.at[0] for refers in noun.kind.refers}  # other fields keep their names
        shorts = {whole: short for whole, short in shorts_of(noun).items() if whole in naming}
        fields = {shorts.get(name, name): value for name, value in fields.items()}
        if held := field_of_held(noun):
            fields[held] = [] if holds_texts(noun) else [*self._held(item)]
        if (export := how_of(noun).export) is not None:
            fields = export(draft, fields)
        fields = {name: value for name, value in fields.items() if value not in (None, "", [], {})}
        tree = tree_of(fields)
        for token in tokens_in(tree):  # which apply would refuse to send
            node = node_at(tree, token.at)
            if node is None or not isinstance(node.content, str):
                continue  # it is a key, which no variable can be
            variable = self.variables.secret(item.name, _as_variable(f"{item.name}_{token.at[-1]}"), "", _TOKEN)
            put(fields, token.at, variable)
            self.notes.append(f"{item.label}: {token.path} holds a token or a password, which others can read there")
        return fields

    def _held(self, holder: Exportable) -> Iterator[Raw]:
        noun = NOUNS[holder.noun.kind.below]
        whole = [self._whole_row(noun, row, holder.id) for row in self.lists.rows(noun, holder.id)]
        rows = [(self.lists.name_of(noun, row) or "", str(row["id"]), row) for row in whole]
        for name, id, row in sorted(rows, key=lambda row: row[:2]):
            export, fields = how_of(noun).export, _plain(noun, row)
            try:
                yield export(Draft(self, holder, row), fields) if export else fields
            except Unexportable as error:
                self.notes.append(f"{holder.label}: the {noun.called} {name or id} {error}; left out")

    # References.

    def _refer(self, item: Exportable, refers: Refers, fields: Raw) -> None:
        noun = NOUNS[refers.noun]
        if not noun.kind.is_declared:
            return
        for holder, key, _ in places_of(refers, fields):
            value = holder[key]
            if refers.pins and mapping(value).get("type", refers.pins) == refers.pins:
                holder[key] = self._pinned(item, refers, noun, value)
            elif isinstance(value, str):
                holder[key] = self._named(item, noun, value) or value

    def _named(self, item: Exportable, noun: Noun, id: str) -> str | None:
        if id in self.paths and id not in self.doubled:
            path = f"../{self.paths[id]}"
            if _NOT_OF_A_PATH.search(path):
                path = next(entry("-", path)).removeprefix("- ")  # in quotes
            return Unquoted(path)
        raw = self.lists.of_id(noun, id)
        if raw is None:
            why = f"{noun.called} {id} is archived or gone; the file keeps its id, which no other account has"
            self.notes.append(f"{item.label}: {why}")
            return None
        name = self.lists.name_of(noun, raw) or id
        is_odd = name.startswith((noun.prefix, "./", "../")) or names_token(name) or with_version(name)[1] is not None
        if is_odd or len(self.lists.named(noun, name)) != 1:
            return None
        return name

    def _pinned(self, item: Exportable, refers: Refers, noun: Noun, pin: Any) -> Any:
        """Return how a file refers to something at a version: without it, where that is the newest."""
        id, version = mapping(pin).get(refers.key), mapping(pin).get("version")
        if not isinstance(id, str) or (item.id, id) in self._circles:
            return pin
        named, raw = self._named(item, noun, id), self.lists.of_id(noun, id)
        if named is None or (version is None and isinstance(named, Unquoted)):
            return pin  # a path would pin the newest
        if version is None or str(version) == str(version_of(raw or {})):
            return named
        return {"path" if isinstance(named, Unquoted) else "name": named, "version": version}

    # Files.

    def _declare(self, draft: Draft, fields: Raw) -> None:
        """Give something the file that declares it, in YAML, or as front matter with a text below."""
        item, lines = draft.source, list[str]()
        if len(self.lists.named(item.noun, item.name)) > 1:
            lines += [comment(f"Found by its id: another {item.noun.called} has its name."), f"id: {item.id}"]
        below = item.noun.kind.text if draft.path.endswith(".md") else ""
        text: Any = fields.get(below)
        is_exact = isinstance(text, str) and text.strip("\n") == text
        if is_exact and "${" not in text and not has_hidden(text):
            del fields[below]
        else:
            text = None  # a file would spell it otherwise
        for name, value in fields.items():
            lines += [*map(comment, draft.comments.get(name, ())), *entry(f"{name}:", value)]
        written = "".join(f"{line}\n" for line in lines)
        if draft.path.endswith(".md"):
            written = f"---\n{written}---\n" + (f"\n{text}\n" if text is not None else "")
        draft.files = {draft.path: written.encode("utf-8", "replace"), **draft.files}


def _plain(noun: Noun, raw: Raw) -> Raw:
    """Return what can be set of a thing, in normal form, but for what the server filled in and no file set."""
    created = creation_of(noun).body
    fields = deepcopy({**form_with(created).settable(raw), **form_of(noun).settable(raw)})
    if "metadata" in fields:
        fields["metadata"] = labels_of(raw)
    noted, order = recorded(raw), [noun.naming.named_by, *created]
    return {
        name: fields[name]
        for name in dict.fromkeys(order)
        if fields.get(name) not in (None, "", [], {}) and (name in noted or not is_filled_in(noun, name, fields[name]))
    }


def _circles(order: Sequence[Exportable]) -> set[tuple[str, str]]:
    """Return the uses of things by things of their kind that lead back to the user, by ids: no path may say them."""
    uses: dict[str, set[str]] = {}
    for item in order:
        for refers in item.noun.kind.refers:
            if refers.noun == item.noun.words:
                pins = [holder[key] for holder, key, _ in places_of(refers, item.raw)]
                uses[item.id] = {str(mapping(pin).get(refers.key)) for pin in pins}

    def reached(id: str) -> set[str]:
        ids: set[str] = set()
        left = [id]
        while left:
            new = uses.get(left.pop(), set()) - ids
            ids |= new
            left += new
        return ids

    return {(user, used) for user in uses for used in uses[user] if user == used or user in reached(used)}


def _paths_of(order: Sequence[Exportable]) -> Iterator[str]:
    """Yield the path of each thing's file: safe on every system, and no two alike on any."""
    taken: set[str] = set()
    for item in order:
        noun, kind = item.noun, item.noun.kind
        suffix = "" if kind.main else ".md" if kind.refers else ".yaml"
        stem, number = stem_of(item.name, noun.type), 1
        folder, free = noun.operations, stem
        while not taken.isdisjoint(own := {f"{folder}/{free}".casefold(), f"{folder}/{free}{suffix}".casefold()}):
            number += 1
            free = f"{stem}-{number}"
        taken |= own  # with the folder of a store's entries
        yield f"{folder}/{free}{suffix}"


def stem_of(name: str, otherwise: str) -> str:
    """Return a name as one of a file: letters, digits and a few signs, no device and nothing hidden."""
    plain = unicodedata.normalize("NFC", name)
    kept = "".join(
        one if one.isalnum() or one in "_.+=-" or unicodedata.category(one).startswith("M") else "-" for one in plain
    )
    stem = re.sub("-{2,}", "-", kept)[:_LONGEST_STEM].strip(".-").encode()[: 2 * _LONGEST_STEM].decode(errors="ignore")
    stem = stem.rstrip(".-") or otherwise
    if stem.casefold() in _NOT_A_STEM:
        stem = f"_{stem}"
    return safe_name(stem)


def entry(head: str, value: Any) -> Iterator[str]:
    """Yield the lines of a value behind `head`: a key and its colon, or a dash. No text in it names a variable."""
    return yamltext.entry(head, value, spell=lambda text: text.replace("${", "$${"))


def comment(note: str) -> str:
    """Return a line of comment."""
    return f"# {yamltext.spelled(commandless(inert(note)))}"


# Writing them.


def write(exported: Sequence[Draft], folder: Path, *, is_forced: bool) -> Iterator[tuple[Draft, Became, list[str]]]:
    """Write files, and yield what became of each thing, with the files that are there, differ and were kept.

    Each is written whole or not at all; nothing is deleted. Raises UsageError for one that cannot be written, or would
    be outside the folder.
    """
    root = os.path.realpath(folder)
    for path in (path for item in exported for path in item.files):
        above = os.path.realpath((folder / path).parent)
        if above != root and not above.startswith(os.path.join(root, "")):
            raise UsageError(
                f"{folder / path} would be written outside of the folder, through a link; nothing was written",
                hint="remove the link, or name another folder with -O",
            )
    for item in exported:
        differs = [path for path, content in item.files.items() if not is_there(folder / path, content)]
        old = [path for path in differs if os.path.lexists(folder / path)]
        others = _others(item, folder)
        if not differs and not others:
            yield item, "unchanged", []
        elif (old or others) and item.is_content and not is_forced:
            yield item, "kept", [*old, *others]  # a mix of two versions would be broken
        else:
            for path in differs:
                if is_forced or path not in old:
                    replace(folder / path, item.files[path])
            if not is_forced and old:
                yield item, "kept", old
            else:
                yield item, "replaced" if old or others else "written", others


def is_there(path: Path, content: bytes) -> bool:
    """Return whether a file has this content already, whatever ends its lines."""
    try:
        if not path.is_file():
            return False
        there = path.read_bytes()
    except OSError:
        return False
    return there == content or (b"\r" not in content and there.replace(b"\r\n", b"\n") == content)


def _others(draft: Draft, folder: Path) -> list[str]:
    """Return the files that the folder of a thing has besides: applied, they would be part of it."""
    from qoder_cli.nouns.skill import is_ignored

    if not draft.is_content:
        return []
    others = []
    for place, _, names in os.walk(folder / draft.path):
        for name in names:
            path = (Path(place) / name).relative_to(folder).as_posix()
            if path not in draft.files and not is_ignored(path.removeprefix(f"{draft.path}/")):
                others.append(path)
    return sorted(others)


def replace(path: Path, content: bytes) -> None:
    """Write a file whole, in the place of what is there. Raises UsageError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content, is_private=False)
    except OSError as error:
        hint = "free some space, or name another folder"
        raise UsageError(f"{path} cannot be written: {error.strerror or error}", hint=hint) from None


def put_root(folder: Path, stack: str) -> bool:
    """Write qoder.yaml where there is none; return whether another one is there."""
    path, content = folder / ROOT_FILE, f"stack: {stack}\n".encode()
    if not os.path.lexists(path):
        replace(path, content)
    return not is_there(path, content)
