"""Deployment files, read and checked: what each deployment in them declares. Leads to PyYAML and pydantic."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

from qoder_cli.base import jsontext
from qoder_cli.base.tokens import NAMES
from qoder_cli.files import jsonread, source, yamlread
from qoder_cli.files.check import check
from qoder_cli.files.normal import REQUIRED, VARIABLES, assignments, spelled_out, without_read_only
from qoder_cli.files.problems import BadFiles, Problem
from qoder_cli.files.tree import Node, Path, spelled
from qoder_cli.files.variables import Filler, names_variable

MOST_PROBLEMS = 1000  # of one file that are told
_SECRET_NAME = re.compile(f"{NAMES}|key", re.IGNORECASE)


@dataclass(frozen=True)
class Declared:
    """A deployment as a file declares it."""

    source: str  # the file as it was typed, "-" for standard input
    line: int  # where it begins, from 1
    fields: dict[str, Any]  # exactly what the file says, in normal form (normal.py), without the id
    id: str | None  # dep_…, where the file has it
    ignored: tuple[str, ...] = ()  # what an object of the API has that only the server sets
    secret_places: frozenset[str] = frozenset()  # never to be shown: tokens of resources, variables filled in by ${VAR}
    unfilled: bool = False  # it has a ${VAR} that stays as it is, for it is an object of the API

    @property
    def name(self) -> str | None:
        """The deployment's name, where the file has it."""
        name: str | None = self.fields.get("name")
        return name


def missing_for_create(declared: Declared) -> list[str]:
    """Return the names of the fields that a create needs and the file does not have."""
    return [name for name in REQUIRED if name not in declared.fields]


def load(paths: Sequence[str], *, stdin: IO[str] | None, env: Mapping[str, str]) -> list[Declared]:
    """Return what the deployments in files, folders and standard input (`-`) declare, in order.

    Raises BadFiles, with all that is wrong in any of them: what cannot be read, YAML or JSON that is none, variables
    that are not set, unknown fields, wrong types, limits (api/facts.md, 1.2), two deployments of one name or id.
    """
    loader = _Loader(stdin, env)
    declared = [one for path in paths for one in loader.declared(path)]
    if loader.told:
        raise BadFiles(loader.told)
    return declared


def declare(fields: Mapping[str, Any]) -> tuple[Declared, list[Problem]]:
    """Return what fields that come from no file declare, and all that is wrong with them; `${` means nothing there."""
    [said] = jsonread.trees(jsontext.dump(dict(fields)), [])
    normal = spelled_out(said.plain())
    return Declared("", 0, normal, None), check(normal, said)


@dataclass
class _Loader:
    """Reads one path after another; what is wrong is gathered in `told`."""

    stdin: IO[str] | None
    env: Mapping[str, str]
    told: list[str] = field(default_factory=list)
    _files: set[str] = field(default_factory=set)
    _places: dict[tuple[str, str], str] = field(default_factory=dict)  # of every name and id met so far
    _by_id: set[str] = field(default_factory=set)  # names of which every deployment met so far has an id

    def declared(self, path: str) -> list[Declared]:
        """Return what a path that was typed declares."""
        told_before = len(self.told)
        try:
            found = [one for file in source.files(path) for one in self._of_file(file)]
        except Problem as problem:
            found = []
            self.told.append(problem.told(path))
        if not found and len(self.told) == told_before:
            self.told.append(Problem("contains no deployment").told(path))
        return found

    def _of_file(self, file: str) -> Iterator[Declared]:
        problems: list[Problem] = []
        try:
            self._once(file)
            for tree in _trees(file, source.read(file, stdin=self.stdin), problems):
                for at, document in _documents(tree):
                    if len(problems) >= MOST_PROBLEMS:
                        raise Problem("too many problems; stopped here", line=document.line)
                    yield from self._of_document(document, at, file, problems)
        except Problem as problem:
            problems.append(problem)
        self.told += [problem.told(file) for problem in sorted(problems, key=lambda problem: problem.line)]

    def _once(self, file: str) -> None:
        identity = source.identity(file)
        if identity in self._files:
            raise Problem("appears twice")
        self._files.add(identity)

    def _of_document(self, document: Node, at: Path, file: str, problems: list[Problem]) -> Iterator[Declared]:
        """Yield what a document declares; where it is wrong, nothing, with the reasons added to `problems`."""
        if not isinstance(document.content, dict):
            problems.append(Problem("a deployment must be a mapping of fields", line=document.line, path=spelled(at)))
            return
        filler = Filler(self.env)
        is_servers = _is_servers(document)
        said = document if is_servers else filler.fill(document, at)
        problems += filler.problems
        fields, ignored = without_read_only(said.plain()) if is_servers else (said.plain(), list[str]())
        fields = spelled_out(fields)
        known = {(problem.line, problem.path) for problem in problems}  # what follows from them is not told as well
        wrong = [*check(fields, said, at=at), *_slips(said, at), *self._between_fields(said, at, file)]
        problems += [problem for problem in wrong if (problem.line, problem.path) not in known]
        if not wrong:
            deployment_id = fields.pop("id", None)
            yield Declared(
                file,
                document.line,
                fields,
                deployment_id,
                tuple(ignored),
                frozenset([*_filled_variables(document, said), *_named(fields.get("resources"), ("resources",))]),
                unfilled=is_servers and names_variable(said),
            )

    def _between_fields(self, said: Node, at: Path, file: str) -> Iterator[Problem]:
        """Yield what is wrong between the fields of one deployment, and between those of several."""
        fields = said.content if isinstance(said.content, dict) else {}
        if not {"name", "id"} & set(fields):
            yield Problem("name or id is required, to tell which deployment it is", line=said.line, path=spelled(at))
        if {"message", "initial_events"} <= set(fields):
            path, line = spelled((*at, "message")), fields["message"].line
            yield Problem("is short for initial_events; keep one of the two", line=line, path=path)
        for key in ("name", "id"):
            node = fields.get(key)
            if node is None or not isinstance(node.content, str):
                continue
            is_told_apart = key == "name" and "id" in fields and node.content in self._by_id
            if (first := self._places.get((key, node.content))) and not is_told_apart:
                yield Problem(f"is already used at {first}", line=node.line, path=spelled((*at, key)))
            elif node.content and not first:
                self._places[key, node.content] = f"{file}:{node.line}"
                self._by_id |= {node.content} if key == "name" and "id" in fields else set()


def _is_servers(document: Node) -> bool:
    """Return whether it is an object of the API, as `deploy get --json` shows it."""
    kind = document.child("type")
    return kind is not None and kind.content == "deployment"


def _trees(file: str, text: str, problems: list[Problem]) -> Iterable[Node]:
    """Return the documents of a text: JSON where it is called so or is it, YAML otherwise."""
    if file.lower().endswith(".json"):
        return jsonread.trees(text, problems)
    if text.lstrip()[:1] in ("{", "["):
        met: list[Problem] = []
        with suppress(Problem):
            trees = list(jsonread.trees(text, met))
            problems += met
            return trees
    return yamlread.trees(text, problems)


def _documents(tree: Node) -> Iterator[tuple[Path, Node]]:
    """Yield the deployments of a document and where they are in it: one, those of a list, none where it is empty."""
    if isinstance(tree.content, list):
        yield from (((index,), item) for index, item in enumerate(tree.content))
    elif tree.content is not None:
        yield (), tree


def _slips(said: Node, at: Path) -> Iterator[Problem]:
    """Yield what a shell reads in a text of variables, and a server takes for names. In a mapping it is meant."""
    variables = said.child(VARIABLES)
    if variables is None or not isinstance(variables.content, str) or _is_servers(said):
        return
    if any(re.match(r"#|export\s", name) for name, _ in assignments(variables.content) or ()):
        what = "must not contain comments or `export`; remove them, or write a mapping"
        yield Problem(what, line=variables.line, path=spelled((*at, VARIABLES)))


def _filled_variables(document: Node, said: Node) -> Iterator[str]:
    """Yield the places of the environment variables that `${VAR}` has a part in."""
    written, filled = document.child(VARIABLES), said.child(VARIABLES)
    if filled is None or written is None:
        return
    if isinstance(filled.content, dict):
        yield from (spelled((VARIABLES, name)) for name, value in filled.content.items() if value.has_filled())
    elif filled.filled:
        pieces = re.split(r"[;\r\n]", str(written.content))
        known = dict(pair for piece in pieces for pair in assignments(piece) or ())
        for name, value in assignments(str(filled.content)) or ():
            if known.get(name) != value:
                yield spelled((VARIABLES, name))


def _named(value: Any, path: Path) -> Iterator[str]:
    """Yield the places of what stands in a value under the name of a secret, be it a known one or not."""
    if isinstance(value, dict):
        for name, item in value.items():
            place = (*path, name)
            yield from [spelled(place)] if _SECRET_NAME.search(name) and item else _named(item, place)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _named(item, (*path, index))
