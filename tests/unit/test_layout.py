"""The house is as the README says: imports go one way, between modules and between packages."""

import ast
from collections.abc import Callable, Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import qoder_cli

HOUSE = Path(qoder_cli.__file__).parent
MODULES = {".".join(path.relative_to(HOUSE.parent).with_suffix("").parts): path for path in HOUSE.rglob("*.py")}


@cache
def _imports(path: Path) -> frozenset[str]:
    """Return what a module imports, also inside functions, but for what only types need."""
    return frozenset(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text("utf-8"))
    for_types = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node not in for_types:
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield inner if inner in MODULES else node.module or ""


def _room(module: str) -> str:
    """Return the package or the module right below `qoder_cli`."""
    return module.split(".")[1]


def _graph(of: Callable[[str], str]) -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        inside = {of(each) for each in _imports(path) if each.startswith("qoder_cli.")}
        graph.setdefault(of(name), set()).update(inside - {of(name)})
    return graph


@pytest.mark.parametrize("of", [str, _room], ids=["modules", "packages"])
def test_imports_go_one_way(of: Callable[[str], str]) -> None:
    order = list(TopologicalSorter(_graph(of)).static_order())  # raises CycleError, which names the circle
    assert len(order) > 20
