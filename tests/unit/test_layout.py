"""The house is as the README says: rooms in one order, imports only go down, those for types included."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import qoder_cli

HOUSE = Path(qoder_cli.__file__).parent

# From the top down. A room imports from those below it, and from nothing above.
ROOMS = (
    "__main__",
    "commands",
    "sandbox",
    "cli",
    "help",
    "fleet",
    "history",
    "runs",
    "stack",
    "sessions",
    "policy",
    "keys",
    "nouns",
    "app",
    "http",
    "local",
    "settings",
    "files",
    "input",
    "output",
    "base",
)
# To parse these lines alone takes a tenth of the time that a whole module does.
_STATEMENT = re.compile(r"^ *((?:from qoder_cli\S* import|import qoder_cli\b)(?: \([^)]*\)|.*))$", re.MULTILINE)
_FROM_A_TEST = re.compile(r"^ *from tests\..*\btest_\w+ import .*|^ *from tests\.\S+ import .*\btest_\w+", re.MULTILINE)


def _name(path: Path) -> str:
    return ".".join(path.relative_to(HOUSE.parent).with_suffix("").parts).removesuffix(".__init__")


# `_version.py` is written where the package is built or installed.
MODULES = {_name(path): path for path in HOUSE.rglob("*.py") if path.name != "_version.py"}


@cache
def _imports(module: str) -> frozenset[str]:
    """Return the modules of ours that a module imports, also inside functions and for types only."""
    statements = _STATEMENT.findall(MODULES[module].read_text("utf-8"))
    return frozenset(_imported(ast.parse("\n".join(statements))) - {"qoder_cli"})


def _imported(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{each.name}" for each in node.names}
            found |= inner & set(MODULES) or {node.module} & set(MODULES)
        elif isinstance(node, ast.Import):
            found |= {each.name for each in node.names} & set(MODULES)
    return found


def _room(module: str) -> str:
    """Return the package or the module right below `qoder_cli`."""
    return module.split(".")[1]


def _arrows() -> Iterator[tuple[str, str]]:
    """Yield each import from one room into another."""
    for module in MODULES.keys() - {"qoder_cli"}:
        for imported in _imports(module):
            if _room(imported) != _room(module):
                yield module, imported


def test_rooms_have_each_a_place() -> None:
    assert sorted({_room(module) for module in MODULES if module != "qoder_cli"}) == sorted(ROOMS)


def test_imports_only_go_down() -> None:
    floor = {room: number for number, room in enumerate(ROOMS)}
    upwards = [
        f"{module} imports {imported}"
        for module, imported in _arrows()
        if floor[_room(module)] > floor[_room(imported)]
    ]
    assert sorted(upwards) == []


def test_imports_go_in_no_circle() -> None:
    graph = {module: _imports(module) - {module} for module in MODULES.keys() - {"qoder_cli"}}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle
    assert len(order) >= len(ROOMS)


def test_tests_import_from_no_other_test() -> None:
    tests = Path(__file__).parents[1]
    found = {
        str(path.relative_to(tests)): _FROM_A_TEST.findall(path.read_text("utf-8")) for path in tests.rglob("*.py")
    }
    assert {name: lines for name, lines in found.items() if lines} == {}
