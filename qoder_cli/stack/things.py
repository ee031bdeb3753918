"""The things that a stack's files declare: checked, with what each refers to."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from qoder_cli.base.errors import UsageError
from qoder_cli.base.ids import with_version
from qoder_cli.base.model import mapping
from qoder_cli.files import normal
from qoder_cli.files import skill as skills
from qoder_cli.files.check import check_body
from qoder_cli.files.documents import Document, documents_of
from qoder_cli.files.load import Filler, Unset
from qoder_cli.files.references import (
    FILE,
    STAND_IN,
    Reference,
    line_of,
    node_at,
    of_deployment,
    pinned,
    reference,
    version_number,
)
from qoder_cli.files.tree import BadFiles, Node, Path, Problem, problems_of_hidden, spelled, tokens_in
from qoder_cli.nouns.files import check_name, read_text
from qoder_cli.nouns.parts import VARIABLES
from qoder_cli.nouns.schema import Reader
from qoder_cli.nouns.table import NOUNS, Noun, of_file
from qoder_cli.stack.folder import TYPE_OF, WHAT, Folder, Source, entries_of
from qoder_cli.stack.marks import content_digest

Raw = dict[str, Any]

CREDENTIAL, ENTRY = "vault credential", "memory entry"
_BELOW = {"agent": "system", "deploy": "message", "env": "description", "memory": "description"}  # the front matter
_NAME_OF = {"vault": "display_name"}  # the field that names a thing, where that is not `name`
_ORDER = ("env", FILE, "vault", CREDENTIAL, "memory", ENTRY, "skill", "agent", "deploy")  # in which they are made
_SERVERS = "created_at"  # what only an object of the API has


@dataclass(eq=False, repr=False)
class Declaration:
    """Something that a file declares."""

    noun: Noun
    file: str
    line: int
    name: str
    fields: Raw = field(default_factory=dict)  # of a create body; a place of `refs` holds a stand-in
    refs: list[Reference] = field(default_factory=list)
    id: str | None = None
    paused: bool | None = None  # of a deployment
    secret_places: frozenset[str] = frozenset()
    parent: "Declaration | None" = None  # the vault of a credential, the store of an entry
    content: Mapping[str, bytes] = field(default_factory=dict)  # of a skill, or of one file
    is_meant: bool = True  # else only something that is meant refers to it

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file

    @property
    def label(self) -> str:
        return f"{self.noun.called} {self.name}"

    def problem(self, text: str, path: Path = (), line: int = 0) -> str:
        """Return a problem of it, with its place."""
        return Problem(text, line=line or self.line, path=path).located(self.file)


def key_of(thing: Declaration) -> str:
    """Return what tells a thing from others of its kind: its name; of an uploaded file its content, too."""
    if thing.noun.words == FILE:
        return f"{content_digest(thing.content)} {thing.name}"
    return thing.name


@dataclass
class Declarations:
    """All that the files of a folder declare, in an order in which it can be made."""

    things: list[Declaration]
    warnings: list[str]


def load(folder: Folder, env: Mapping[str, str], kinds: Sequence[str] = (), *, may_lack: bool = False) -> Declarations:
    """Return what the files declare; `kinds` are all that is meant, if not all.

    Variables that are not set are an error unless they `may_lack`. Raises BadFiles with every problem.
    """
    loader = _Declarer(env, os.path.realpath(folder.root), list(folder.problems), may_lack)
    for source in folder.sources:
        loader.take(source, is_meant=not kinds or source.kind in kinds)
    loader.follow()
    loader.check_names()
    things = loader.in_order()
    if loader.problems:
        raise BadFiles(loader.problems, WHAT)
    return Declarations(things, loader.warnings)


@dataclass
class _Declarer:
    env: Mapping[str, str]
    root: str
    problems: list[str]
    may_lack: bool
    things: list[Declaration] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    by_file: dict[str, list[Declaration]] = field(default_factory=dict)  # by the real path

    def take(self, source: Source, *, is_meant: bool = True) -> None:
        """Read a file, or a skill's folder, and keep what it declares."""
        identity = os.path.realpath(source.path)
        if identity in self.by_file:
            return
        found = self.by_file[identity] = []
        problems: list[Problem] = []
        try:
            if source.kind == "skill":
                found.append(self._skill(source.path))
            else:
                for document in documents_of(source.path, problems):
                    found += self._of_document(document, source, problems)
                if not found and not problems:
                    raise Problem("declares nothing")
        except Problem as problem:
            problems.append(problem)
        for declaration in found:
            declaration.is_meant = is_meant
        self.things += found
        if self.may_lack:
            problems = [problem for problem in problems if not isinstance(problem, Unset)]
        self.problems += [each.located(source.path) for each in sorted(problems, key=lambda each: each.line)]

    def _skill(self, path: str) -> Declaration:
        try:
            files = skills.read(path)
            name = skills.name_in(files, path)
        except UsageError as error:
            raise Problem(error.message.removeprefix(f"{path}: ").removeprefix(f"{path} ")) from None
        return Declaration(NOUNS["skill"], path, 0, name, {"display_title": name}, content=files)

    def _of_document(self, document: Document, source: Source, problems: list[Problem]) -> Iterator[Declaration]:
        noun, written = NOUNS[source.kind], document.node
        if not isinstance(written.content, dict):
            problems.append(Problem(f"must be the fields of the {noun.called}", line=written.line))
            return
        before = len(problems)
        is_servers = _SERVERS in written.content
        node = written if is_servers else Filler(self.env, problems).fill(written, ())
        fields = node.plain()
        if fields.pop("type", TYPE_OF[noun.words]) != TYPE_OF[noun.words]:
            problems.append(Problem(f"must be {TYPE_OF[noun.words]} here", line=node.line, path=("type",)))
        if document.text is not None:
            self._put_text(noun, fields, document, problems)
        thing = Declaration(noun, source.path, written.line, "", id=_text_of(fields.pop("id", None)))
        inner = fields.pop("credentials", None) if noun.words == "vault" else None
        if noun.words == "deploy":
            paused = fields.pop("paused", None)
            if paused is not None and not isinstance(paused, bool):
                line = (node.child("paused") or node).line
                problems.append(Problem("must be true or false", line=line, path=("paused",)))
            thing.paused = paused if isinstance(paused, bool) else None
        if is_servers:
            fields = _settable(noun, fields)
        thing.refs = list(_refs_of(noun, fields, node, problems))
        if noun.words == "deploy":
            fields = normal.spelled_out(fields)
        bad_places = {(each.line, each.path) for each in problems}
        wrong = check_body(of_file(noun, is_new=True), fields, node, Reader("file"))
        wrong += problems_of_hidden(written)
        problems += [each for each in wrong if (each.line, each.path) not in bad_places]
        self._warn_of_secrets(source.path, written, node)
        named_by = _NAME_OF.get(noun.words, "name")
        if not _text_of(fields.get(named_by)):
            if not any(each.path == named_by for each in problems[before:]):
                problems.append(Problem(f"{named_by} is required", line=node.line))
            return
        thing.name, thing.fields = fields[named_by], fields
        thing.secret_places = frozenset(_secret_places(written, node))
        yield thing
        if noun.words == "vault":
            yield from self._credentials(thing, inner, node, problems)
        elif noun.words == "memory":
            for path, text in entries_of(source.path).items():
                below = f"{os.path.splitext(source.path)[0]}/{path}"
                if not text.strip():
                    self.warnings.append(f"{below}: is empty, which no memory can be; left out")
                    continue
                yield Declaration(NOUNS[ENTRY], below, 0, path, {"path": path, "content": text}, parent=thing)

    def _put_text(self, noun: Noun, fields: Raw, document: Document, problems: list[Problem]) -> None:
        name = _BELOW.get(noun.words)
        if name is None:
            what = f"a {noun.called} has no text below the front matter; remove it"
            problems.append(Problem(what, line=document.text_line))
            return
        taken = {name, "initial_events"} if name == "message" else {name}
        if both := sorted(taken & set(fields)):
            what = f"the text below the front matter is {name} too; keep one of the two"
            problems.append(Problem(what, line=document.text_line, path=(both[0],)))
        fields[name] = document.text

    def _credentials(
        self, vault: Declaration, inner: Any, node: Node, problems: list[Problem]
    ) -> Iterator[Declaration]:
        noun, written = NOUNS[CREDENTIAL], node.child("credentials")
        if inner is None or written is None:
            return
        if not isinstance(inner, list):
            problems.append(Problem("must be a list", line=written.line, path=("credentials",)))
            return
        for number, (fields, (_, credential)) in enumerate(zip(inner, written.items(), strict=True)):
            at = ("credentials", number)
            if not isinstance(fields, dict):
                problems.append(Problem("must be the fields of a credential", line=credential.line, path=at))
                continue
            bad_places = {(problem.line, problem.path) for problem in problems}  # what follows from it is not reported
            wrong = check_body(of_file(noun, is_new=True), fields, credential, Reader("file"), at=at)
            problems += [problem for problem in wrong if (problem.line, problem.path) not in bad_places]
            auth = mapping(fields.get("auth"))
            name = _text_of(fields.get("display_name")) or _text_of(auth.get("secret_name"))
            name = name or _text_of(auth.get("mcp_server_url")) or f"credential {number + 1}"
            places = frozenset(_all_filled(credential, ()))
            yield Declaration(noun, vault.file, credential.line, name, fields, secret_places=places, parent=vault)

    def _warn_of_secrets(self, file: str, written: Node, filled: Node) -> None:
        """Warn of secrets in plain text: never by showing them."""
        for problem in tokens_in(written):
            self.warnings.append(problem.located(file))
        for at, node in _secrets_in(written):
            if isinstance(node.content, str) and node.content and "${" not in node.content:
                what = "is a secret in plain text; write ${NAME}, and set that variable"
                self.warnings.append(Problem(what, line=node.line, path=at).located(file))

    def follow(self) -> None:
        """Find what is referred to by path: things of the folder, or texts to be uploaded."""
        number = 0
        while number < len(self.things):
            thing = self.things[number]
            thing.refs = [self._followed(thing, ref) for ref in thing.refs]
            number += 1

    def _followed(self, thing: Declaration, ref: Reference) -> Reference:
        if not ref.path:
            return ref
        folder = os.path.dirname(thing.file)
        path = os.path.normpath(os.path.join(folder, ref.path)).replace(os.sep, "/")
        where, identity = ref.at, os.path.realpath(path)
        if ref.noun == "skill" and os.path.basename(path) == skills.MAIN:
            path, identity = os.path.dirname(path), os.path.dirname(identity)
        if not identity.startswith(os.path.join(self.root, "")):
            self.problems.append(thing.problem(f"{ref.path} leads out of the folder", where, ref.line))
        elif not os.path.exists(path):
            self.problems.append(thing.problem(f"{ref.path} does not exist", where, ref.line))
        elif ref.noun == FILE:
            self._take_file(thing, ref, path, identity)
        else:
            if identity not in self.by_file:
                self.take(Source(path, ref.noun), is_meant=False)
            found = [each for each in self.by_file[identity] if each.noun.words == ref.noun]
            if len(found) == 1:
                return ref._replace(name=found[0].name, path="")
            what = f"{ref.path} declares {len(found)} {NOUNS[ref.noun].plural}; write a name"
            if not found:
                what = f"{ref.path} declares no {NOUNS[ref.noun].called}"
            self.problems.append(thing.problem(what, where, ref.line))
        return ref._replace(path=path)

    def _take_file(self, thing: Declaration, ref: Reference, path: str, identity: str) -> None:
        if identity in self.by_file:
            return
        try:
            name = check_name(os.path.basename(path))
            content = read_text(path)
        except UsageError as error:
            self.problems.append(thing.problem(error.message, ref.at, ref.line))
            return
        file = Declaration(NOUNS[FILE], path, 0, name, content={name: content}, is_meant=thing.is_meant)
        self.by_file[identity] = [file]
        self.things.append(file)

    def check_names(self) -> None:
        """Gather what is declared twice, unless ids tell which is which; then no name does."""
        first: dict[tuple[Any, ...], Declaration] = {}
        doubled: set[tuple[str, str]] = set()
        for thing in self.things:
            if thing.noun.words == FILE:
                continue
            other = first.setdefault((thing.noun.words, thing.parent, thing.name), thing)
            if other is thing:
                continue
            if thing.id and other.id:
                doubled.add((thing.noun.words, thing.name))
            else:
                self.problems.append(thing.problem(f"{thing.label} is declared in {other.place}, too"))
        for thing in self.things:
            for ref in thing.refs:
                if (ref.noun, ref.name) in doubled:
                    what = f"two {NOUNS[ref.noun].plural} here are named {ref.name!r}; write the id of one"
                    self.problems.append(thing.problem(what, ref.at, ref.line))

    def in_order(self) -> list[Declaration]:
        """Return the things, each after those that it needs, or gather the cycle."""
        by_name = {(each.noun.words, each.name): each for each in self.things if each.parent is None}
        files = {each.file: each for each in self.things if each.noun.words == FILE}
        ranks = {words: rank for rank, words in enumerate(_ORDER)}
        graph: dict[Declaration, list[Declaration]] = {}
        for thing in sorted(self.things, key=lambda each: ranks[each.noun.words]):
            needed = []
            for ref in thing.refs:
                if ref.noun == FILE:
                    needed.append(files.get(ref.path))
                else:
                    needed.append(by_name.get((ref.noun, ref.name)))
            graph[thing] = [each for each in (*needed, thing.parent) if each is not None]
        try:
            order = list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            cycle = error.args[1]
            names = " → ".join(each.name for each in reversed(cycle))
            self.problems.append(cycle[0].problem(f"needs itself: {names}"))
            return self.things
        # Kinds together, as far as what they need allows.
        depth: dict[Declaration, int] = {}
        for thing in order:
            depth[thing] = max((depth[each] + 1 for each in graph[thing]), default=0)
        return sorted(order, key=lambda each: (ranks[each.noun.words], depth[each]))


def _refs_of(noun: Noun, fields: Raw, node: Node, problems: list[Problem]) -> Iterator[Reference]:
    """Yield what fields refer to, and put stand-ins there."""
    if noun.words == "deploy":
        yield from of_deployment(fields, node, problems)
    elif noun.words == "agent":
        yield from _refs_of_agent(fields, node)


def _refs_of_agent(fields: Raw, node: Node) -> Iterator[Reference]:
    used: Any = fields.get("skills")
    for number in range(len(used) if isinstance(used, list) else 0):
        skill = used[number]
        if isinstance(skill, dict) and isinstance(skill.get("skill_id"), str) and skill.get("type") != "qoder":
            word, version = skill["skill_id"], version_number(skill.get("version"))
        elif isinstance(skill, dict) and isinstance(skill.get("path"), str):
            word, version = skill["path"], version_number(skill.get("version"))
        elif isinstance(skill, str):
            word, version = with_version(skill)
        else:
            continue
        if word.startswith("skill_"):
            used[number] = {"type": "custom", "skill_id": word, **({"version": str(version)} if version else {})}
            continue
        used[number] = {"type": "custom", "skill_id": f"skill_{STAND_IN}"}
        yield reference(("skills", number), "skill", word, version, "custom", line_of(node, "skills", number))
    roster = fields.get("multiagent")
    agents: Any = roster.get("agents") if isinstance(roster, dict) else None
    for number in range(len(agents) if isinstance(agents, list) else 0):
        at = ("multiagent", "agents", number)
        yield from pinned(agents, number, "agent", at, node_at(node, at), "agent")


def _text_of(value: Any) -> str:
    return value if isinstance(value, str) and value.strip() else ""


def _settable(noun: Noun, fields: Raw) -> Raw:
    """Return what of an object of the API can be set."""
    if noun.words == "deploy":
        return normal.without_read_only(fields)[0]
    from qoder_cli.base.marks import without_ours
    from qoder_cli.nouns.table import operation

    created = operation(noun, "create")
    values = {name: fields[name] for name in (created.body if created else ()) if fields.get(name) is not None}
    if isinstance(values.get("metadata"), dict):
        values["metadata"] = without_ours(values["metadata"])
    return values


_SECRETS = (
    "token",
    "secret_value",
    "access_token",
    "refresh_token",
    "client_secret",
    "authorization_token",
    "password",
)


def _secrets_in(node: Node, at: Path = ()) -> Iterator[tuple[Path, Node]]:
    for step, child in node.items():
        if step in _SECRETS:
            yield (*at, step), child
        yield from _secrets_in(child, (*at, step))


def _secret_places(written: Node, filled: Node) -> Iterator[str]:
    """Yield the places of a deployment that may hold a secret: variables that were filled in, tokens of resources."""
    if (found := filled.child(VARIABLES)) is not None:
        yield from _all_filled(found, (VARIABLES,))
    found = filled.child("resources")
    if found is not None:
        yield from (spelled(("resources", *at)) for at, _ in _secrets_in(found))


def _all_filled(node: Node, at: Path) -> Iterator[str]:
    if node.filled:
        yield spelled(at)
    for step, child in node.items():
        yield from _all_filled(child, (*at, step))
