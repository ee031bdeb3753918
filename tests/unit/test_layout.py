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
MOST_MODULES = 6  # beside packages on the top level
MOST_ATTRIBUTES = 10  # of a class, in the rooms that say what a kind is and how a folder is applied
DECLARED = ("Fields", "TypedDict")  # what a body, or JSON, has
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


def test_rooms_are_most_of_the_top_level() -> None:
    loose = [path.name for path in HOUSE.glob("*.py")]
    assert len(loose) <= MOST_MODULES, loose


def test_tests_import_from_no_other_test() -> None:
    tests = Path(__file__).parents[1]
    found = {
        str(path.relative_to(tests)): _FROM_A_TEST.findall(path.read_text("utf-8")) for path in tests.rglob("*.py")
    }
    assert {name: lines for name, lines in found.items() if lines} == {}


def _attributes(cls: ast.ClassDef) -> set[str]:
    """Return what a class declares or sets of itself, its methods aside."""
    fields = {
        node.target.id
        for node in cls.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and not ast.unparse(node.annotation).startswith("ClassVar")
    }
    set_in_methods = {
        node.attr
        for node in ast.walk(cls)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }
    return fields | set_in_methods


def test_classes_of_nouns_and_stacks_have_few_attributes() -> None:
    """Fields of a body, and of JSON, are what the API has of them."""
    counts = {
        f"{module}.{node.name}": len(_attributes(node))
        for module, path in MODULES.items()
        if _room(f"{module}.") in ("nouns", "stack")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef) and not any(ast.unparse(base).endswith(DECLARED) for base in node.bases)
    }
    assert {name: count for name, count in counts.items() if count > MOST_ATTRIBUTES} == {}
