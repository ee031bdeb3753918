"""A new folder: the files of a template, the editor's schemas, what two CI systems do with it."""

import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path, PurePath
from typing import NamedTuple

from qoder_cli.base import jsontext
from qoder_cli.base.errors import Rejected
from qoder_cli.base.words import counted, few
from qoder_cli.files.tree import BadFiles
from qoder_cli.nouns.table import in_folders
from qoder_cli.stack.export import is_there, replace
from qoder_cli.stack.folder import settings_in
from qoder_cli.stack.schema import root_schema, schema_of

_STACK = "STACK"  # in a template, where the name of the stack belongs
_COMMON = {
    "qoder.yaml": "qoder.yaml",
    "gitignore": ".gitignore",
    "github.yml": ".github/workflows/qoder.yml",
    "gitlab.yml": ".gitlab-ci.yml",
}
_CHARACTERS, _RANDOM = "abcdefghjkmnpqrstuvwxyz23456789", 4  # none that look alike
_LONGEST = 58  # characters of a folder's name in that of its stack
YOURS = (".gitignore",)  # which most repositories have already: then theirs is kept


class Template(NamedTuple):
    """What a template shows, and the deployment that it declares."""

    about: str
    deployment: str
    asks: bool = False  # whether its agent asks for approval


TEMPLATES = {
    "hello": Template("an agent, and a deployment that starts it", "hello"),
    "report": Template("a report with a skill, and a memory of the last ones", "daily-report"),
    "review": Template("a review of a repository by two agents", "code-review"),
    "approve": Template("an agent that asks before it runs a command, and a policy", "prepare-release", asks=True),
}


def files_of(template: str, stack: str) -> dict[str, bytes]:
    """Return the files of a new folder by their paths, for a stack of this name."""
    root = files("qoder_cli.stack") / "templates"
    files_by_path = {path: (root / "common" / name).read_bytes() for name, path in _COMMON.items()}
    files_by_path["qoder.yaml"] = files_by_path["qoder.yaml"].replace(_STACK.encode(), stack.encode())
    folders = [("", root / template)]
    while folders:
        below, folder = folders.pop()
        for child in folder.iterdir():
            path = f"{below}{child.name}"
            if child.is_dir():
                folders.append((f"{path}/", child))
            else:
                files_by_path[path] = child.read_bytes()
    for noun in in_folders().values():
        if not noun.kind.main:
            files_by_path[f".qoder/{noun.words}.schema.json"] = _document(schema_of(noun))
    files_by_path[".qoder/qoder.schema.json"] = _document(root_schema())
    return {path: files_by_path[path].replace(b"\r\n", b"\n") for path in sorted(files_by_path)}


def _document(schema: object) -> bytes:
    return f"{jsontext.dump(schema, indent=2)}\n".encode()


def name_of_stack(folder: Path, otherwise: str) -> str:
    """Return the name of the stack of a folder: the one that it has, else its own name and a few random characters.

    So two folders of one name, of two people or in two repositories, are two stacks.
    """
    with suppress(BadFiles):
        if (name := settings_in(str(folder))[0]) is not None:
            return name
    name = re.sub("[^A-Za-z0-9_.-]+", "-", folder.resolve().name)[:_LONGEST].strip("-._")
    return f"{name or otherwise}-{''.join(secrets.choice(_CHARACTERS) for _ in range(_RANDOM))}"


def put(folder: Path, wanted: dict[str, bytes], *, is_forced: bool) -> tuple[list[str], list[str]]:
    """Write files; return those written, and those of the user's that are kept.

    Raises Rejected, with nothing written, if another one is there and differs; UsageError.
    """
    there = {path for path in wanted if os.path.lexists(folder / path)}
    same = {path for path in there if is_there(folder / path, wanted[path])}
    kept = [] if is_forced else sorted(there - same)
    if others := [str(folder / path) for path in kept if path not in YOURS]:
        files_are = counted(len(others), "file is", "files are")
        raise Rejected(
            f"{files_are} there already: {few(others)}; nothing was written",
            hint="name another folder, or pass --force to replace them",
        )
    above = dict.fromkeys(folder / parent for path in wanted for parent in PurePath(path).parents)
    if no_folder := next((path for path in above if os.path.lexists(path) and not path.is_dir()), None):
        raise Rejected(f"{no_folder} is not a folder; nothing was written", hint="move it away, or name another folder")
    written = [path for path in wanted if path not in same and path not in kept]
    for path in written:
        replace(folder / path, wanted[path])
    return written, kept


def commands_for(template: Template, folder: str) -> Sequence[tuple[str, ...]]:
    """Return the three commands to type next."""
    where = () if folder in (".", "") else (folder,)
    run: tuple[str, ...] = ("deploy", "run", template.deployment, "--wait")
    last: tuple[str, ...] = ("run", "result", "last")
    if template.asks:
        run += ("--on-ask", f"policy={os.path.join(*where, 'policy.yaml')}")
        last = ("run", "approve", "last", "--all", "--wait", "--result")
    return ("apply", *where), run, last
