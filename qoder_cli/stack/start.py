"""A new folder: the files of a template, the editor's schemas, what two CI systems do with it."""

import os
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from qoder_cli.base import jsontext
from qoder_cli.base.errors import Rejected
from qoder_cli.base.words import counted, few
from qoder_cli.stack.export import replace
from qoder_cli.stack.schema import DECLARED, root_schema, schema_of

_STACK = "STACK"  # in a template, where the name of the stack belongs
_COMMON = {
    "qoder.yaml": "qoder.yaml",
    "gitignore": ".gitignore",
    "github.yml": ".github/workflows/qoder.yml",
    "gitlab.yml": ".gitlab-ci.yml",
}
_LISTED = 10  # files that an error names
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
    found = {path: (root / "common" / name).read_bytes() for name, path in _COMMON.items()}
    found["qoder.yaml"] = found["qoder.yaml"].replace(_STACK.encode(), stack.encode())
    folders = [("", root / template)]
    while folders:
        below, folder = folders.pop()
        for child in folder.iterdir():
            path = f"{below}{child.name}"
            if child.is_dir():
                folders.append((f"{path}/", child))
            else:
                found[path] = child.read_bytes()
    for words in DECLARED:
        found[f".qoder/{words}.schema.json"] = _document(schema_of(words))
    found[".qoder/qoder.schema.json"] = _document(root_schema())
    return {path: found[path].replace(b"\r\n", b"\n") for path in sorted(found)}


def _document(schema: object) -> bytes:
    return f"{jsontext.dump(schema, indent=2)}\n".encode()


def name_of_stack(folder: Path, otherwise: str) -> str:
    """Return a name for the stack of a folder: that of the folder, as far as it can be one."""
    name = re.sub("[^A-Za-z0-9_.-]+", "-", folder.resolve().name)[:63].strip("-._")
    return name or otherwise


def put(folder: Path, wanted: dict[str, bytes], *, is_forced: bool) -> tuple[list[str], list[str]]:
    """Write files; return those written, and those of the user's that are kept.

    Raises Rejected, with nothing written, if another one is there and differs; UsageError.
    """
    there = {path for path in wanted if os.path.lexists(folder / path)}
    same = {path for path in there if _has(folder / path, wanted[path])}
    kept = [] if is_forced else sorted(there - same)
    if others := [str(folder / path) for path in kept if path not in YOURS]:
        files_are = counted(len(others), "file is", "files are")
        raise Rejected(
            f"{files_are} there already: {few(others, _LISTED)}; nothing was written",
            hint="name another folder, or pass --force to replace them",
        )
    written = [path for path in wanted if path not in same and path not in kept]
    for path in written:
        replace(folder / path, wanted[path])
    return written, kept


def _has(path: Path, content: bytes) -> bool:
    return path.is_file() and not path.is_symlink() and path.read_bytes() == content


def commands_for(template: Template, folder: str) -> Sequence[tuple[str, ...]]:
    """Return the three commands to type next."""
    where = () if folder in (".", "") else (folder,)
    run: tuple[str, ...] = ("deploy", "run", template.deployment, "--wait")
    last: tuple[str, ...] = ("run", "result", "last")
    if template.asks:
        run += ("--on-ask", f"policy={os.path.join(*where, 'policy.yaml')}")
        last = ("run", "approve", "last", "--all", "--wait", "--result")
    return ("apply", *where), run, last
