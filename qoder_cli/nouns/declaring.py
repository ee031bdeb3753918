"""Read documents as declarations, checked: the one reader of folders, files, standard input and `-f`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from qoder_cli.base.errors import UsageError
from qoder_cli.base.ids import NOT_OF_AN_ID, id_or_name, with_version
from qoder_cli.base.model import Raw
from qoder_cli.base.places import Path, spelled
from qoder_cli.base.tokens import NAMES, names_token
from qoder_cli.files.documents import Document
from qoder_cli.files.filling import DOLLAR, Filler, is_unset, unset_in
from qoder_cli.files.tree import Node, Problem
from qoder_cli.nouns.checking import check_body, places_in, problems_of_hidden, tokens_in
from qoder_cli.nouns.declared import Declaration, Place, Reference
from qoder_cli.nouns.how import how_of
from qoder_cli.nouns.noun import Noun, Refers
from qoder_cli.nouns.parts import VARIABLES, assignments, labels_of
from qoder_cli.nouns.schema import Fields, Reader, fields_of, secrets_in, servers_in, without
from qoder_cli.nouns.shown import known_as
from qoder_cli.nouns.table import NOUNS, creation_of, of_file

STAND_IN = "0"  # of an id, while fields are checked
_SECRETS = (
    "token",
    "secret_value",
    "access_token",
    "refresh_token",
    "client_secret",
    "authorization_token",
    "password",
)
_SERVERS = frozenset(("created_at", "archived_at"))  # which only an object of the API has
_SECRET_NAME = re.compile(f"{NAMES}|key", re.IGNORECASE)


class Filled(NamedTuple):
    """A document's fields, and the trees that they came from: as it was written, and with its variables."""

    fields: Raw
    written: Node
    node: Node
    is_servers: bool  # an object of the API, taken as it is


def fill(document: Document, noun: Noun, filler: Filler) -> Filled:
    """Return a document with its variables filled in, and the text below its front matter. Raises Problem."""
    written, problems = document.node, filler.problems
    if not isinstance(written.content, dict):
        raise Problem(f"must be the fields of the {noun.called}", line=written.line)
    is_servers = not _SERVERS.isdisjoint(written.content)
    node = written if is_servers else filler.fill(written, ())
    if document.text is not None:  # in which no variable is filled in: it may be a script
        below = noun.kind.text
        wholes = [whole for whole, short in shorts_of(noun).items() if short == below]
        both = next((name for name in (below, *wholes) if document.node.child(name)), None)
        if both:
            what = f"the text below the front matter is {below} too; keep one of the two"
            problems.append(Problem(what, line=document.text_line, path=(both,)))
        elif below:
            text = {below: Node(document.text_line, document.text)}
            written, node = (Node(tree.line, {**_fields_of(tree), **text}) for tree in (written, node))
        else:
            what = f"a {noun.called} has no text below the front matter; remove it"
            problems.append(Problem(what, line=document.text_line))
    fields = node.plain()
    if fields.pop("type", noun.type) != noun.type:
        problems.append(_problem_at(node, ("type",), f"must be {noun.type} here"))
    return Filled(fields, written, node, is_servers)


def _fields_of(node: Node) -> dict[str, Node]:
    return {str(name): child for name, child in node.items()}


def shorts_of(noun: Noun) -> dict[str, str]:
    """Return the short forms that files have, by the fields of the API."""
    fields = fields_of(of_file(noun))
    return {field.stands_for: name for name, field in fields.items() if field.stands_for}


def wrong_in(
    read: Filled,
    fields: Raw,
    schema: type[Fields],
    reader: Reader,
    *,
    shorts: Mapping[str, str] = MappingProxyType({}),
    filled: bool = True,
) -> Iterator[Problem]:
    """Yield what is wrong with a document: by its schema, tokens where something else belongs, hidden secrets.

    Tokens that are `filled` from variables may be left out.
    """
    yield from check_body(schema, fields, read.node, reader, shorts)
    sent, written = read.node, read.written
    if read.is_servers:
        sent = written = Node(sent.line, {name: child for name, child in _fields_of(sent).items() if name in fields})
    yield from tokens_in(sent, filled=filled)
    yield from problems_of_hidden(written)


def add_problems(problems: list[Problem], more: Iterator[Problem]) -> None:
    """Add problems, but for those of places that are wrong already: what follows from them is not reported."""
    bad_places = {(problem.line, problem.path) for problem in problems}
    problems += [problem for problem in more if (problem.line, problem.path) not in bad_places]


def declare(document: Document, noun: Noun, file: str, filler: Filler) -> Iterator[Declaration]:
    """Yield what a document declares: the thing, and what it holds. What is wrong is added to the filler's problems.

    Raises Problem where nothing of it can be read.
    """
    problems, before = filler.problems, len(filler.problems)
    read = fill(document, noun, filler)
    node, schema = read.node, of_file(noun)
    created = creation_of(noun)
    fields = settable(noun, read.fields, ("id", *created.body)) if read.is_servers else read.fields
    id = _id_in(noun, fields.pop("id", None), node, problems)
    fields = how_of(noun).spell(fields)
    refs = tuple(references(noun, fields, node, problems))
    # Whether a token in a variable would be sent is known once a plan is made.
    add_problems(problems, wrong_in(read, fields, schema, Reader("file"), shorts=shorts_of(noun), filled=False))
    own = {name: fields.pop(name) for name in [*fields] if name not in created.body and name in fields_of(schema)}
    named_by = noun.naming.named_by
    name = fields.get(named_by, id)
    if not isinstance(name, str) or not name.strip():
        if not any(problem.path == named_by for problem in problems[before:]):
            problems.append(Problem(f"{named_by} is required, or the id of one that is there", line=node.line))
        return
    parts_field = field_of_held(noun)
    parts = own.pop(parts_field, None)
    declaration = Declaration(
        noun,
        Place(file, node.line),
        name,
        fields,
        own | ({"id": id} if id else {}),
        refs,
        secrets=frozenset(_secret_places(noun, fields, read)),
        unset=tuple(
            name
            for at, child in places_in(node)
            if at[:1] != (parts_field,) or len(at) < 3  # deeper is what is held, and says it itself
            for name in unset_in(child.content)
        ),
    )
    yield declaration
    if isinstance(parts, list):
        yield from _held(declaration, parts, node)


def field_of_held(noun: Noun) -> str:
    """Return the field of a file that has what a thing holds; empty if none has."""
    if not noun.kind.below:
        return ""
    return NOUNS[noun.kind.below].operations.rpartition(".")[2]


def _held(holder: Declaration, held: Sequence[Any], node: Node) -> Iterator[Declaration]:
    noun = NOUNS[holder.noun.kind.below]
    for number, fields in enumerate(held):
        child = node_at(node, (field_of_held(holder.noun), number))
        if not isinstance(fields, dict) or child is None:
            continue  # which was reported, or is a variable that is not set
        name = known_as(fields) or f"{noun.called} {number + 1}"
        secrets = {spelled(path) for path, _ in secrets_in(noun.holds.body, fields)} | {*_filled_in(child)}
        yield Declaration(
            noun,
            Place(holder.place.file, child.line),
            name,
            fields,
            secrets=frozenset(secrets),
            unset=tuple(name for _, place in places_in(child) for name in unset_in(place.content)),
            parent=holder,
        )


def settable(noun: Noun, fields: Raw, names: Sequence[str]) -> Raw:
    """Return the fields of these names of an object of the API, without what only the server sets in them."""
    values = {name: fields[name] for name in names if fields.get(name) is not None}
    if isinstance(values.get("metadata"), dict):
        values["metadata"] = labels_of(values)
    kept: Raw = without(values, servers_in(noun.holds.body, values))
    return kept


def _id_in(noun: Noun, id: Any, node: Node, problems: list[Problem]) -> str | None:
    if id is None:
        return None
    is_id = isinstance(id, str) and id.startswith(noun.prefix) and id != noun.prefix and not NOT_OF_AN_ID.search(id)
    if is_id or is_unset(id):
        return str(id)
    problems.append(_problem_at(node, ("id",), f"must be only the id, which begins with {noun.prefix}"))
    return None


# What it refers to.


def references(noun: Noun, fields: Raw, node: Node, problems: list[Problem]) -> Iterator[Reference]:
    """Yield what fields refer to by name or path, and put stand-ins there; fields get their whole names."""
    shorts, all_refers = shorts_of(noun), noun.kind.refers
    for whole, short in shorts.items():
        if {whole, short} <= node.plain().keys():
            problems.append(_problem_at(node, (short,), f"stands for {whole}, too; keep one of the two"))
        if short in fields and any(refers.at[0] == whole for refers in all_refers):
            fields[whole] = fields.pop(short)
    for refers in all_refers:
        for holder, key, at in places_of(refers, fields):
            # Where a file has it: in a short form of the field, or as a `path`.
            place, short = at, shorts.get(str(at[0]), "")
            if node.child(short):
                place = (short, *at[1:])
            by_path = (*place[:-1], "path")
            if node_at(node, place) is None and node_at(node, by_path) is not None:
                place = by_path
            try:
                if (reference := _reference(refers, holder, key, at)) is not None:
                    yield reference._replace(line=line_of(node, place), written=place)
            except UsageError as error:
                what, written = f"must be an id ({NOUNS[refers.noun].prefix}…) or a name", node_at(node, place)
                if written is None or not written.has_filled():  # a variable may be a secret
                    what = f"{what}: {error.message}"
                add_problems(problems, iter([_problem_at(node, place, what)]))


def places_of(refers: Refers, fields: Any, at: Path = ()) -> Iterator[tuple[Any, Any, Path]]:
    """Yield the places of fields that refer to something: what holds the value, its key there, and the whole path."""
    step, is_last = refers.at[len(at)], len(at) + 1 == len(refers.at)
    keys: Sequence[Any] = ()
    if step == "*" and isinstance(fields, list):
        keys = range(len(fields))
    elif isinstance(fields, dict) and step in fields:
        keys = [step]
    for key in keys:
        if is_last:
            yield fields, key, (*at, key)
        else:
            yield from places_of(refers, fields[key], (*at, key))


def _reference(refers: Refers, holder: Any, key: Any, at: Path) -> Reference | None:
    """Return what a place refers to by name or path, and put a stand-in there; None where it has an id, or nothing.

    Raises UsageError for a text that can be neither.
    """
    value, noun = holder[key], NOUNS[refers.noun]
    word, version = value, None
    if refers.pins and isinstance(value, str):
        word, version = with_version(value)
    elif refers.pins and isinstance(value, dict) and value.get("type", refers.pins) == refers.pins:
        word = next((value[name] for name in ("path", "name", refers.key) if isinstance(value.get(name), str)), None)
        if str(value.get("version")).isdigit():
            version = int(value["version"])
    if not isinstance(word, str) or is_unset(word) or names_token(word):
        return None
    stands_in: Any = f"{noun.prefix}{STAND_IN}"
    if refers.pins:
        stands_in = {"type": refers.pins, refers.key: stands_in}
    holder[key] = stands_in  # in place of what is wrong, too: it is reported once
    if word.startswith(("./", "../")):
        return Reference(at, noun, "", word, version, refers.pins, refers.key)
    if not id_or_name(word, noun.prefix, noun.called, ""):
        return Reference(at, noun, word, "", version, refers.pins, refers.key)
    holder[key] = value
    if refers.pins and refers.key != "id":  # an id alone is no short form there
        holder[key] = {**stands_in, refers.key: word, **({"version": str(version)} if version else {})}
    return None


def put(fields: Any, at: Path, value: Any) -> None:
    """Put a value at a place of nested fields."""
    for step in at[:-1]:
        fields = fields[step]
    fields[at[-1]] = value


# Lines, secrets, variables.


def node_at(node: Node, at: Path) -> Node | None:
    """Return the node at a place below one, if it is there."""
    child: Node | None = node
    for step in at:
        child = child.child(step) if child else None
    return child


def line_of(node: Node, at: Path) -> int:
    """Return the line of a place below a node, or that of the node."""
    child = node_at(node, at)
    return child.line if child else node.line


def _problem_at(node: Node, at: Path, what: str) -> Problem:
    return Problem(what, line=line_of(node, at), path=at)


def _secret_places(noun: Noun, fields: Raw, read: Filled) -> Iterator[str]:
    """Yield the places that may hold a secret: by the schema, by their name, and variables that were filled in."""
    yield from (spelled(path) for path, value in secrets_in(noun.holds.body, fields) if value)
    for at, place in places_in(read.node):
        if at[:1] == ("resources",) and _SECRET_NAME.search(str(at[-1])) and place.content:
            yield spelled(at)
    written, variables = read.written.child(VARIABLES), read.node.child(VARIABLES)
    if variables is None or written is None:
        return
    if isinstance(variables.content, dict):
        yield from _filled_in(variables, VARIABLES)
    elif variables.filled:
        pairs = dict(pair for piece in re.split(r"[;\r\n]", str(written.content)) for pair in assignments(piece) or ())
        for name, value in assignments(str(variables.content)) or ():
            if pairs.get(name) != value:
                yield spelled((VARIABLES, name))


def _filled_in(node: Node, *at: str) -> Iterator[str]:
    return (spelled(path) for path, place in places_in(node, at) if place.filled)


def plain_secrets(written: Node) -> Iterator[Problem]:
    """Yield the secrets that a file has in plain text, by their places; none is shown."""
    for path, place in places_in(written):
        content = place.content
        if path and path[-1] in _SECRETS and isinstance(content, str) and content:
            defaults = [match[2] for match in DOLLAR.finditer(content) if match[1]]
            if not defaults or any(defaults):  # a default is shown, too
                what = "is a secret in plain text; write ${NAME}, and set that variable"
                yield Problem(what, line=place.line, path=path)
