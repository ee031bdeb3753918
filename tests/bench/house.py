"""The house in figures: `python -m tests.bench.house [REPOSITORY...]`.

Prints a column for each repository (this one when none is named): size, modules on the top level, circles of imports
(those for types included), lines (mean and share of long ones are of those that are not empty), and what one
`qoder deploy run --wait --json` runs through against a sandbox: files of the package in which a function ran, classes
of which a method ran, and how many functions of the package were deep at most. The sandbox itself is left out of those.
Each is measured with the Python that runs this.
"""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_LONG = 100  # characters; longer lines are counted

# What is run in the child: `main` with a hook that sees every call of a function of the package.
_PROFILED = """
import json, os, sys, threading
from pathlib import Path
package = os.path.join(sys.argv.pop(1), "qoder_cli") + os.sep
told = sys.argv.pop(1)
files, classes, deepest = set(), set(), 0
def ours(frame):
    name = frame.f_code.co_filename
    return name.startswith(package) and not name.startswith(package + "sandbox")
def hook(frame, event, argument):
    global deepest
    if event != "call" or not ours(frame) or not frame.f_code.co_flags & 1:  # bodies of modules and classes
        return
    files.add(frame.f_code.co_filename)
    parts = frame.f_code.co_qualname.split(".")
    if len(parts) > 1 and parts[-2] != "<locals>":
        classes.add((frame.f_code.co_filename, ".".join(parts[:-1])))
    depth = 0
    while frame is not None:
        depth += ours(frame) and frame.f_code.co_flags & 1
        frame = frame.f_back
    deepest = max(deepest, depth)
def tell():
    sys.setprofile(None)
    Path(told).write_text(json.dumps([len(files), len(classes), deepest]))
sys.path.insert(0, os.path.dirname(package.rstrip(os.sep)))
real = os._exit
def leave(code):
    tell()
    real(code)
os._exit = leave
threading.setprofile(hook)
sys.setprofile(hook)
from qoder_cli.__main__ import run
try:
    run()
finally:
    tell()
"""


def sources(folder: Path) -> list[Path]:
    """Return the Python files of a folder."""
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def lines(paths: list[Path]) -> list[str]:
    """Return all lines of files, the empty ones too."""
    return [line for path in paths for line in path.read_text("utf-8").splitlines()]


def circles(package: Path) -> list[list[str]]:
    """Return the groups of modules that import each other in a circle, also inside functions and for types."""
    modules = {_name(path, package): path for path in sources(package)}
    graph = {name: set(_imports(path, modules)) - {name} for name, path in modules.items()}
    reach = {name: _reachable(name, graph) for name in graph}
    groups = {frozenset(other for other in reach[name] if name in reach[other]) | {name} for name in graph}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def _name(path: Path, package: Path) -> str:
    return ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")


def _imports(path: Path, modules: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for each in node.names:
                inner = f"{node.module}.{each.name}"
                if inner in modules:
                    yield inner
                elif node.module in modules and node.module != package_name(modules):
                    yield node.module


def package_name(modules: dict[str, Path]) -> str:
    """Return the name of the package as a whole, the shortest there is."""
    return min(modules, key=len)


def _reachable(name: str, graph: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    todo = [name]
    while todo:
        for imported in graph[todo.pop()] - found:
            found.add(imported)
            todo.append(imported)
    return found


def conditional_expressions(paths: list[Path]) -> float:
    """Return how many `a if b else c` there are in a thousand statements."""
    nodes = [node for path in paths for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    statements = sum(isinstance(node, ast.stmt) for node in nodes)
    return 1000 * sum(isinstance(node, ast.IfExp) for node in nodes) / statements


def trip(repository: Path, told: Path) -> tuple[int, int, int]:
    """Return files, classes and depth of one `deploy run --wait --json` against a sandbox."""
    environment = {**os.environ, "PYTHONPATH": str(repository), "PYTHONDONTWRITEBYTECODE": "1"}
    line = ["deploy", "run", "dep_demo", "--wait", "--json"]
    child = [sys.executable, "-c", _PROFILED, str(repository), str(told), *line]
    command = [sys.executable, "-m", "qoder_cli", "sandbox", "--", *child]
    subprocess.run(command, cwd=repository, env=environment, check=True, stdout=subprocess.DEVNULL)
    files, classes, deepest = json.loads(told.read_text())
    return files, classes, deepest


def figures(repository: Path, told: Path) -> dict[str, str]:
    """Return all figures of a repository, in words."""
    package, tests = repository / "qoder_cli", repository / "tests"
    ours = sources(package)
    text = lines(ours)
    written = [line for line in text if line.strip()]
    long = sum(len(line) > _LONG for line in written)
    groups = circles(package)
    files, classes, deepest = trip(repository, told)
    return {
        "lines of the package": f"{len(text):,}",
        "lines of the tests": f"{len(lines(sources(tests))):,}",
        "modules on the top level": f"{len(list(package.glob('*.py')))}",
        "packages on the top level": f"{sum(1 for _ in package.glob('*/__init__.py'))}",
        "circles of imports": f"{len(groups)}, over {sum(map(len, groups))} modules" if groups else "0",
        "mean length of a line": f"{sum(map(len, written)) / len(written):.1f}",
        f"lines over {_LONG} characters": f"{long} ({100 * long / len(written):.1f} %)",
        "conditional expressions in 1,000 statements": f"{conditional_expressions(ours):.1f}",
        "deploy run --wait --json: files": f"{files}",
        "deploy run --wait --json: classes": f"{classes}",
        "deploy run --wait --json: frames deep": f"{deepest}",
    }


def main() -> None:
    """Print the table."""
    import tempfile

    here = Path(__file__).parents[2]
    repositories = [Path(word).resolve() for word in sys.argv[1:]] or [here]
    with tempfile.TemporaryDirectory() as folder:
        columns = [figures(repository, Path(folder) / "told.json") for repository in repositories]
    for name in columns[0]:
        print(f"{name:<44}", *(f"{column[name]:>22}" for column in columns))


if __name__ == "__main__":
    main()
