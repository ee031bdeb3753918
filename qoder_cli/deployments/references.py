"""What a body in a file refers to, by a name or by the path of another file."""

import os
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, NamedTuple

from qoder_cli.base.ids import with_version
from qoder_cli.base.tokens import names_token
from qoder_cli.files.documents import documents_of
from qoder_cli.files.tree import Node, Path, Problem
from qoder_cli.nouns import deployments as normal
from qoder_cli.nouns.table import NOUNS

Raw = dict[str, Any]

FILE = "file"
STAND_IN = "0"  # of an id, while fields are checked


class Reference(NamedTuple):
    """A place that needs the id of something: by a name, or by the path of a file."""

    at: Path  # of the id; where `pins`, of the object with the id and the version
    noun: str
    name: str = ""
    path: str = ""  # of a file of the folder, or of one to upload
    version: int | None = None  # that was asked for
    pins: str = ""  # the type of that object: `agent`, or a skill's `custom`
    line: int = 0


def of_deployment(fields: Raw, node: Node, problems: list[Problem]) -> Iterator[Reference]:
    """Yield what a deployment refers to by name or path, and put stand-ins there; fields get their whole names."""
    for short, whole in normal.NAMED.items():
        if short in fields:
            if whole in fields:
                line = (node.child(short) or node).line
                problems.append(Problem(f"stands for {whole}, too; keep one of the two", line=line, path=(short,)))
            fields[whole] = fields.pop(short)
    if "agent" in fields:
        yield from pinned(fields, "agent", "agent", ("agent",), node.child("agent"), "agent")
    yield from plain(fields, "environment_id", "env", ("environment_id",), node)
    vaults = fields.get("vault_ids")
    if isinstance(vaults, list):
        for number in range(len(vaults)):
            yield from plain(vaults, number, "vault", ("vault_ids", number), node)
    resources = fields.get("resources")
    for number, resource in enumerate(resources if isinstance(resources, list) else []):
        if not isinstance(resource, dict):
            continue
        line = line_of(node, "resources", number)
        if isinstance(path := resource.get("path"), str):
            is_of_stores = os.path.basename(os.path.dirname(path)) == "memory_stores"
            is_store = is_of_stores or (path.endswith((".yaml", ".yml", ".json")) and "access" in resource)
            kind, name, of = ("memory_store", "memory_store_id", "memory") if is_store else (FILE, "file_id", FILE)
            del resource["path"]
            resource.setdefault("type", kind)
            resource[name] = NOUNS[of].prefix + STAND_IN
            yield Reference(("resources", number, name), of, path=path, line=line)
        elif resource.get("type") == "memory_store":
            yield from plain(resource, "memory_store_id", "memory", ("resources", number, "memory_store_id"), node)


def pinned(holder: Any, key: Any, noun: str, at: Path, node: Node | None, type: str) -> Iterator[Reference]:
    """Yield the reference to an agent at one version, if it is none by id."""
    value = holder[key]
    version = None
    if isinstance(value, str):
        word, version = with_version(value)
    elif isinstance(value, dict):
        word = next((value[name] for name in ("path", "name", "id") if isinstance(value.get(name), str)), "")
        version = version_number(value.get("version"))
        if not word:
            return
    else:
        return
    if word.startswith(NOUNS[noun].prefix):
        return
    holder[key] = {"id": NOUNS[noun].prefix + STAND_IN, "type": type}
    yield reference(at, noun, word, version, type, node.line if node else 0)


def plain(holder: Any, key: Any, noun: str, at: Path, node: Node) -> Iterator[Reference]:
    """Yield the reference by name or path at a place, if there is one."""
    value, prefix = holder[key] if not isinstance(holder, dict) else holder.get(key), NOUNS[noun].prefix
    if isinstance(value, str) and value and not value.startswith(prefix) and not names_token(value):
        holder[key] = prefix + STAND_IN
        found = node_at(node, at)
        yield reference(at, noun, value, None, "", found.line if found else node.line)


def reference(at: Path, noun: str, word: str, version: int | None, pins: str, line: int) -> Reference:
    """Return the reference of a word: a path if it begins as one, else a name."""
    if word.startswith(("./", "../")):
        return Reference(at, noun, path=word, version=version, pins=pins, line=line)
    return Reference(at, noun, name=word, version=version, pins=pins, line=line)


def version_number(version: Any) -> int | None:
    """Return a version as a number, if it is one."""
    if isinstance(version, int | str) and not isinstance(version, bool) and str(version).isdigit():
        return int(version)
    return None


def node_at(node: Node, at: Path) -> Node | None:
    """Return the node at a place below one, if it is there."""
    found: Node | None = node
    for step in at:
        found = found.child(step) if found else None
    return found


def line_of(node: Node, *at: str | int) -> int:
    """Return the line of a place below a node, or that of the node."""
    found = node_at(node, at)
    return found.line if found else node.line


def refs_by_path(fields: Raw, node: Node) -> Iterator[Reference]:
    """Yield what a deployment refers to by path, and put stand-ins there; names stay."""
    copy = deepcopy(fields)
    for ref in of_deployment(copy, node, []):
        if not ref.path:
            continue
        whole = str(ref.at[0])
        field = next((short for short, of in normal.NAMED.items() if of == whole and short in fields), whole)
        at = (field, *ref.at[1:2])  # a resource is put there whole
        value: Any = copy
        for step in (whole, *at[1:]):
            value = value[step]
        put(fields, at, value)
        yield ref


def put(fields: Any, at: Path, value: Any) -> None:
    """Put a value at a place of nested fields."""
    for step in at[:-1]:
        fields = fields[step]
    fields[at[-1]] = value


def name_in(path: str, words: str) -> str:
    """Return the name of the one thing that a file declares. Raises Problem."""
    noun = NOUNS[words]
    if not os.path.exists(path):
        raise Problem(f"{os.path.normpath(path)} does not exist")
    found = [each.node.child(noun.naming.named_by) for each in documents_of(path, [])]
    names = [each.content for each in found if each is not None and isinstance(each.content, str)]
    if len(names) != 1 or len(found) != 1:
        raise Problem(f"{os.path.normpath(path)} does not declare one {noun.called} with a name; write its name here")
    return names[0]
