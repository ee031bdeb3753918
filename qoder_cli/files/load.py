"""Read and check deployment files.

`${VAR}` in texts, not in keys, is filled in once from the environment.
`${VAR:-text}` is the text if VAR is unset or empty. `$${` is `${`; any other
`$` is a `$`. An object of the API (`"type": "deployment"`) is taken as it is.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

from qoder_cli.base import jsontext
from qoder_cli.base.plainfile import reason_of
from qoder_cli.base.tokens import NAMES
from qoder_cli.files import jsonread
from qoder_cli.files.check import check
from qoder_cli.files.documents import LONGEST, documents_of, has_front_matter, read, trees
from qoder_cli.files.normal import NAMED, REQUIRED, VARIABLES, assignments, spelled_out, without_read_only
from qoder_cli.files.references import FILE, Reference, name_in, refs_by_path
from qoder_cli.files.tree import BadFiles, Node, Path, Problem, problems_of_hidden, spelled, tokens_in

STDIN = "-"
_SUFFIXES = (".yaml", ".yml", ".json", ".md")
MOST_PROBLEMS = 1000  # reported of one file
_SECRET_NAME = re.compile(f"{NAMES}|key", re.IGNORECASE)
_DOLLAR = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")


@dataclass(frozen=True)
class Declared:
    """A deployment as a file declares it."""

    source: str  # the file as it was typed, "-" for standard input
    line: int  # where it begins, from 1
    fields: dict[str, Any]  # what the file says, in normal form, without the id
    id: str | None  # dep_…, where the file has it
    ignored: tuple[str, ...] = ()  # fields of an API object that only the server sets
    secret_places: frozenset[str] = frozenset()  # tokens of resources, ${VAR} in variables
    unfilled: bool = False  # an API object with a ${VAR} left as it is
    paused: bool | None = None  # as it is to be; None leaves that alone
    refs: tuple[Reference, ...] = ()  # by names of things that other files declare; stand-ins are in their places

    @property
    def name(self) -> str | None:
        name: str | None = self.fields.get("name")
        return name


def missing_for_create(declared: Declared) -> list[str]:
    """Return the fields that a create needs and the file lacks."""
    there = {NAMED.get(name, name) for name in declared.fields}
    return [name for name in REQUIRED if name not in there]


def load(paths: Sequence[str], *, stdin: IO[str] | None, env: Mapping[str, str]) -> list[Declared]:
    """Return the deployments that files, folders and `-` declare. Raises BadFiles."""
    loader = _Loader(stdin, env)
    declared = [one for path in paths for one in loader.declared(path)]
    if loader.messages:
        raise BadFiles(loader.messages)
    return declared


def declare(fields: Mapping[str, Any]) -> tuple[Declared, list[Problem]]:
    """Return what fields of no file declare, and the problems; `${` means nothing."""
    [tree] = jsonread.trees(jsontext.dump(dict(fields)), [])
    normal = spelled_out(tree.plain())
    return Declared("", 0, normal, None), check(normal, tree)


@dataclass
class _Loader:
    """Reads one path after another; problems are gathered in `messages`."""

    stdin: IO[str] | None
    env: Mapping[str, str]
    messages: list[str] = field(default_factory=list)
    _files: set[str] = field(default_factory=set)
    # For each name and id so far: its place, and whether the deployment has an id.
    _places: dict[tuple[str, str], tuple[str, bool]] = field(default_factory=dict)

    def declared(self, path: str) -> list[Declared]:
        """Return what a typed path declares."""
        messages_before = len(self.messages)
        found: list[Declared] = []
        try:
            for file in _files(path):
                found += self._of_file(file)
            if not found and len(self.messages) == messages_before:
                raise Problem("contains no deployment")
        except Problem as problem:
            self.messages.append(problem.located(path))
        return found

    def _of_file(self, file: str) -> Iterator[Declared]:
        problems: list[Problem] = []
        try:
            if (identity := _identity(file)) in self._files:
                raise Problem("appears twice")
            self._files.add(identity)
            for tree in self._trees(file, problems):
                documents: list[tuple[Path, Node]] = [((), tree)]
                if isinstance(tree.content, list):
                    documents = [((index,), item) for index, item in enumerate(tree.content)]
                elif tree.content is None:
                    documents = []
                for at, document in documents:
                    if len(problems) >= MOST_PROBLEMS:
                        raise Problem("too many problems; stopped here", line=document.line)
                    yield from self._of_document(document, at, file, problems)
        except Problem as problem:
            problems.append(problem)
        self.messages += [problem.located(file) for problem in sorted(problems, key=lambda problem: problem.line)]

    def _trees(self, file: str, problems: list[Problem]) -> Iterable[Node]:
        """Return a file's documents; text below front matter is the first message. Raises Problem."""
        if not file.lower().endswith(".md"):
            return trees(file, read(file, stdin=self.stdin), problems)
        [found] = documents_of(file, problems)
        if found.text is None or not isinstance(found.node.content, dict):
            return [found.node]
        if "message" in found.node.content:
            what = "the text below the front matter is message too; keep one of the two"
            raise Problem(what, line=found.text_line, path=("message",))
        return [Node(found.node.line, {**found.node.content, "message": Node(found.text_line, found.text)})]

    def _of_document(self, document: Node, at: Path, file: str, problems: list[Problem]) -> Iterator[Declared]:
        """Yield what a document declares, or add the reasons to `problems`."""
        if not isinstance(document.content, dict):
            problems.append(Problem("a deployment must be a mapping of fields", line=document.line, path=at))
            return
        ignored: list[str] = []
        if is_servers := _is_servers(document):
            filled = document
            fields, ignored = without_read_only(filled.plain())
        else:
            filled = Filler(self.env, problems).fill(document, at)
            fields = filled.plain()
        paused, refs = None, []
        if not is_servers:
            paused = fields.pop("paused", None)
            refs = [self._named(ref, file, at, problems) for ref in refs_by_path(fields, filled)]
        if not isinstance(paused, bool | None):
            line = (filled.child("paused") or filled).line
            problems.append(Problem("must be true or false", line=line, path=(*at, "paused")))
        fields = spelled_out(fields)
        bad_places = {(problem.line, problem.path) for problem in problems}  # what follows from it is not reported
        wrong = [*check(fields, filled, at=at), *self._between_fields(filled, at, file)]
        if not is_servers:
            wrong += tokens_in(filled, at)
        wrong += problems_of_hidden(document, at, ignored=ignored)
        problems += [problem for problem in wrong if (problem.line, problem.path) not in bad_places]
        if not wrong:
            deployment_id = fields.pop("id", None)
            secret_places = {*_filled_variables(document, filled), *_named(fields.get("resources"), ("resources",))}
            yield Declared(
                file,
                document.line,
                fields,
                deployment_id,
                tuple(ignored),
                frozenset(secret_places),
                unfilled=is_servers and _names_variable(filled),
                paused=paused if isinstance(paused, bool) else None,
                refs=tuple(refs),
            )

    def _named(self, ref: Reference, file: str, at: Path, problems: list[Problem]) -> Reference:
        """Return a reference with the name that the other file declares."""
        try:
            if ref.noun == FILE:
                raise Problem("only qoder apply uploads files; apply this one with it, or give a file_id")
            return ref._replace(name=name_in(os.path.join(os.path.dirname(file), ref.path), ref.noun))
        except Problem as problem:
            problems.append(Problem(problem.text, line=ref.line, path=(*at, *ref.at)))
            return ref

    def _between_fields(self, tree: Node, at: Path, file: str) -> Iterator[Problem]:
        fields = dict(tree.items())
        variables = fields.get(VARIABLES)
        if variables and isinstance(variables.content, str) and not _is_servers(tree):
            slips = [name for name, _ in assignments(variables.content) or () if re.match(r"#|export\s", name)]
            if slips:  # a shell reads them, a server takes them for names
                what = "must not contain comments or `export`; remove them, or write a mapping"
                yield Problem(what, line=variables.line, path=(*at, VARIABLES))
        if not {"name", "id"} & set(fields):
            yield Problem("name or id is required, to tell which deployment it is", line=tree.line, path=at)
        for short, whole in (*NAMED.items(), ("message", "initial_events")):
            if {short, whole} <= set(fields):
                text = f"stands for {whole}, too; keep one of the two"
                yield Problem(text, line=fields[short].line, path=(*at, short))
        for key in ("name", "id"):
            node = fields.get(key)
            if node is None or not node.content or not isinstance(node.content, str):
                continue
            here = f"{file}:{node.line}", "id" in fields
            first = self._places.setdefault((key, node.content), here)
            is_distinct = key == "name" and first[1] and here[1]
            if first is not here and not is_distinct:
                yield Problem(f"is already used at {first[0]}", line=node.line, path=(*at, key))


def _is_servers(document: Node) -> bool:
    kind = document.child("type")
    return kind is not None and kind.content == "deployment"


def _files(path: str) -> Iterator[str]:
    """Yield a path's files: itself, or the YAML and JSON files in a folder, by name.

    Hidden files and subfolders are ignored. Raises Problem for a folder that cannot
    be listed or has none.
    """
    if path == STDIN or not os.path.isdir(path):
        yield path
        return
    named = [os.path.join(path, name) for name in _names_in(path) if name.lower().endswith(_SUFFIXES)]
    found = [file for file in named if not os.path.isdir(file)]
    found = [file for file in found if not file.lower().endswith(".md") or has_front_matter(file)]
    if not found:
        more = "; subfolders are ignored" if folders_in(path) else ""
        raise Problem(f"has no .yaml, .yml or .json file{more}")
    yield from found


def folders_in(path: str) -> list[str]:
    """Return the names of the subfolders that are ignored, but for hidden ones."""
    with suppress(Problem):
        if path != STDIN and os.path.isdir(path):
            return [name for name in _names_in(path) if os.path.isdir(os.path.join(path, name))]
    return []


def _names_in(folder: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise Problem(f"cannot be listed: {reason_of(error)}") from None


def _identity(path: str) -> str:
    """Return what is equal for two paths of one file. Raises Problem."""
    try:
        if path == STDIN:
            return path
        return os.path.realpath(path)
    except ValueError:  # a NUL inside
        raise Problem("is not a valid path") from None


def _filled_variables(document: Node, expanded: Node) -> Iterator[str]:
    """Yield the places of variables that a `${VAR}` is part of."""
    written, filled = document.child(VARIABLES), expanded.child(VARIABLES)
    if filled is None or written is None:
        return
    if isinstance(filled.content, dict):
        yield from (spelled((VARIABLES, name)) for name, value in filled.content.items() if value.has_filled())
    elif filled.filled:
        pieces = re.split(r"[;\r\n]", str(written.content))
        pairs = dict(pair for piece in pieces for pair in assignments(piece) or ())
        for name, value in assignments(str(filled.content)) or ():
            if pairs.get(name) != value:
                yield spelled((VARIABLES, name))


def _named(value: Any, path: Path) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            place = (*path, name)
            yield from [spelled(place)] if _SECRET_NAME.search(name) and item else _named(item, place)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _named(item, (*path, index))


def _names_variable(node: Node) -> bool:
    """Return whether a text in a tree has a `${VAR}`."""
    if isinstance(node.content, str):
        return any(found[1] for found in _DOLLAR.finditer(node.content))
    return any(_names_variable(child) for _, child in node.items())


class Unset(Problem):
    """A variable that is not set."""


@dataclass
class Filler:
    """Fills in the variables of one deployment; adds what is wrong to `problems`."""

    env: Mapping[str, str]
    problems: list[Problem]
    _room: int = LONGEST  # characters; what aliases repeat counts each time

    def fill(self, node: Node, path: Path) -> Node:
        """Return the tree, filled in. Raises Problem if it gets too long."""
        content = node.content
        if isinstance(content, dict):
            return Node(node.line, {key: self.fill(child, (*path, key)) for key, child in content.items()})
        if isinstance(content, list):
            return Node(node.line, [self.fill(child, (*path, index)) for index, child in enumerate(content)])
        if not isinstance(content, str):
            return node
        self._take(len(content), node.line)
        is_filled = any(found[1] and self.env.get(found[1]) for found in _DOLLAR.finditer(content))
        return Node(node.line, _DOLLAR.sub(lambda found: self._value(found, node.line, path), content), is_filled)

    def _value(self, found: re.Match[str], line: int, path: Path) -> str:
        """Return the text for one `$…`; nothing if it is wrong."""
        name, default = found[1], found[2]
        value = self.env.get(name or "", "")  # an empty variable is not set
        wrong = ""
        if found[0] == "$${":
            value = "${"
        elif name is None:
            wrong = "${ must be followed by a name: ${NAME} or ${NAME:-text}; write $${ for a literal ${"
        elif default and "${" in default:
            wrong = f"the default of {name} cannot contain a variable"
        elif not value and default is None:
            what = f"{name} is not set; set it, or give a default: ${{{name}:-text}}"
            self.problems.append(Unset(what, line=line, path=path))
        elif any("\ud800" <= character <= "\udfff" for character in value):
            wrong = f"{name} is not UTF-8"
        if wrong:
            self.problems.append(Problem(wrong, line=line, path=path))
            return ""
        self._take(len(value or default or ""), line)
        return value or default or ""

    def _take(self, characters: int, line: int) -> None:
        self._room -= characters
        if self._room < 0:
            raise Problem("larger than 4 MB after expansion", line=line)
