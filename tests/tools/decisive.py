"""A pytest plugin that tells which conditions no test decides: `pytest -p tests.tools.decisive tests/commands`.

Most changes by chance that survive are such: the half of an `and` or `or` that never made a difference, a limit that
nothing met, a filter that kept all. One run shows them all, where `mutations` draws some. What is told may still be
decided in a process, or be there for the checker of types; a half that was not evaluated counts where that is harmless.
"""

import ast
import builtins
import operator
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple, cast

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("base", "http", "nouns", "runs", "sessions")
_LIMITS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
# What may be called although the program would not: it changes nothing.
_HARMLESS = {
    *("all", "any", "array", "bool", "callable", "float", "int", "isinstance", "len", "mapping", "max", "min", "set"),
    *("sorted", "str", "text", "tuple", "unix", "endswith", "fullmatch", "get", "isdecimal", "isdisjoint", "items"),
    *("keys", "lower", "match", "search", "startswith", "strip", "values"),
}
_UNKNOWN, _FAILED = object(), object()


class Place(NamedTuple):
    """A condition, and what would have to decide it."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"


_places: list[Place] = []
_decided: set[int] = set()


# What is put into the program


def _limit(place: int, left: Any, right: Any, kind: int) -> Any:
    """Compare; note whether both are equal, which is where `<` and `<=` differ."""
    if place not in _decided and left == right:
        _decided.add(place)
    return [*_LIMITS.values()][kind](left, right)


def _filter(place: int, condition: Any) -> Any:
    if not condition:
        _decided.add(place)
    return condition


def _halves(first: int, is_and: bool, is_test: bool, harmless: Sequence[bool], *halves: Callable[[], Any]) -> Any:
    """Return what `and` or `or` comes to; note which half makes a difference."""
    values = []
    for half in halves:
        values.append(half())
        if bool(values[-1]) is not is_and:
            break
    result = values[-1]
    left = [n for n in range(len(halves)) if first + n not in _decided]
    if left:
        values += map(_tried, halves[len(values) :], harmless[len(values) :])
    for n in left:
        without = _result([*values[:n], *values[n + 1 :]], is_and)
        if without is not _UNKNOWN and not _is_same(without, result, is_test):
            _decided.add(first + n)
    return result


def _tried(half: Callable[[], Any], is_harmless: bool) -> Any:
    if not is_harmless:
        return _UNKNOWN
    try:
        return half()
    except Exception:
        return _FAILED


def _result(values: Sequence[Any], is_and: bool) -> Any:
    for value in values:
        if value in (_UNKNOWN, _FAILED) if type(value) is object else bool(value) is not is_and:
            return value
    return values[-1]


def _is_same(one: Any, other: Any, is_test: bool) -> bool:
    if one is _FAILED:
        return False
    return bool(one) == bool(other) if is_test else one is other or (type(one) is type(other) and bool(one == other))


class _Marked(ast.NodeTransformer):
    """Puts these into what functions do; values of constants, defaults and types stay."""

    def __init__(self, file: str) -> None:
        self._file, self._depth = file, 0

    def _place(self, node: ast.expr, what: str) -> ast.Constant:
        _places.append(Place(self._file, node.lineno, f"{what} of {ast.unparse(node)[:120]}"))
        return ast.Constant(len(_places) - 1)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self._depth += 1
        node.body = [self.visit(each) for each in node.body]
        self._depth -= 1
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.value = node.value and self.visit(node.value)
        return node

    def visit_BoolOp(self, node: ast.BoolOp, *, is_test: bool = False) -> ast.AST:
        # What is named within, or is the class's own, is not known in a function of its own.
        binds = any(isinstance(each, ast.NamedExpr) or getattr(each, "id", "") == "super" for each in ast.walk(node))
        if binds or not self._depth:
            return self.generic_visit(node)
        first, *_ = [self._place(node, f"{ast.unparse(each)[:60]!r}") for each in node.values]
        flags: list[Any] = [isinstance(node.op, ast.And), is_test, tuple(map(_is_harmless, node.values))]
        nothing = ast.arguments([], [], None, [], [], None, [])
        halves = [ast.Lambda(nothing, self._test(each) if is_test else self.visit(each)) for each in node.values]
        return ast.Call(ast.Name("_halves", ast.Load()), [first, *(ast.Constant(each) for each in flags), *halves], [])

    def _test(self, node: ast.expr) -> Any:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            node.operand = self._test(node.operand)
            return node
        return self.visit_BoolOp(node, is_test=True) if isinstance(node, ast.BoolOp) else self.visit(node)

    def _with_test(self, node: Any) -> ast.AST:
        test = self._test(node.test)
        node.test = ast.Constant(True)
        self.generic_visit(node)
        node.test = test
        return cast(ast.AST, node)

    visit_If = visit_While = visit_IfExp = _with_test

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        return self._test(node) if isinstance(node.op, ast.Not) else self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        if not self._depth or len(node.ops) > 1 or type(node.ops[0]) not in _LIMITS:
            return self.generic_visit(node)
        place, kind = self._place(node, "the limit"), ast.Constant([*_LIMITS].index(type(node.ops[0])))
        self.generic_visit(node)
        return ast.Call(ast.Name("_limit", ast.Load()), [place, node.left, *node.comparators, kind], [])

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        places = [self._place(each, "the filter") for each in node.ifs] if self._depth else []
        node.iter, tests = self.visit(node.iter), [self._test(each) for each in node.ifs]
        node.ifs = [
            ast.Call(ast.Name("_filter", ast.Load()), [*each], []) for each in zip(places, tests, strict=True)
        ] if self._depth else tests  # fmt: skip
        return node


def _is_harmless(half: ast.AST) -> bool:
    functions = [each.func for each in ast.walk(half) if isinstance(each, ast.Call)]
    names = [str(getattr(each, "attr", None) or getattr(each, "id", "")) for each in functions]
    return all(name in _HARMLESS or name.lstrip("_").startswith(("is_", "has_")) for name in names)


# How


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        """Compile a module with marks; nothing compiled is kept."""
        path = Path(self.get_filename(fullname))
        file = path.relative_to(ROOT / "qoder_cli").as_posix()
        marked = ast.fix_missing_locations(_Marked(file).visit(ast.parse(path.read_bytes())))
        return compile(marked, path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not name.startswith(tuple(f"qoder_cli.{room}" for room in ROOMS)):
            return None
        file = ROOT.joinpath(*name.split("."))
        folder = [str(file)] if file.is_dir() else None
        file = file / "__init__.py" if folder else file.with_suffix(".py")
        if not file.exists():
            return None
        return spec_from_file_location(name, file, loader=_Loader(name, str(file)), submodule_search_locations=folder)


def pytest_load_initial_conftests() -> None:
    """Have the program read with marks, before anything of it is imported."""
    vars(builtins).update(_halves=_halves, _limit=_limit, _filter=_filter)
    sys.meta_path.insert(0, _Finder())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    left = sorted(place for number, place in enumerate(_places) if number not in _decided)
    terminalreporter.section(f"{len(left)} of {len(_places)} conditions were decided by nothing")
    for place in left:
        terminalreporter.line(str(place))
