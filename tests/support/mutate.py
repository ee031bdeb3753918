"""Do the tests see it when the program is changed? `python -m tests.support.mutate [--random COUNT [SEED]] [WORD…]`.

Each mutation is a small change of meaning, made in a copy of the tree, on which the tests of what it concerns are run:
it is *killed* when one fails, and *survives* when none does: then a test is missing, or the line is not needed. `TABLE`
has those that somebody thought of; a text that is no longer there, or is there twice, is said to apply no longer, and a
file that was moved is found by the text. `--random` makes others by the grammar, in any file of `FILES`. Words choose
those with one of them in their name. Tests that fail without a mutation are left out.
"""

import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGE = "qoder_cli"
TRIGGER = ("test_trigger", "test_servers", "test_matrix", "test_steps", "test_proxy")
WAIT = ("test_run", "test_servers", "test_outcome", "test_listen", "test_roll", "test_result", "test_logs")
MANY = ("test_many", "test_matrix_many", "test_batch", "test_roll", "test_remembered")
TESTS = {
    "trigger": TRIGGER,
    "last": TRIGGER,
    "answers": (*TRIGGER, "test_network", "test_api"),
    "resending": TRIGGER,
    "journal": (*TRIGGER, "test_remembered", "test_many"),
    "launches": MANY,
    "roll": MANY,
    "redact": ("test_redact", "test_api", "test_network"),
    "sse": ("test_sse", "test_feed"),
}  # by a word in the file's name; all others: WAIT
FILES = ("trigger", "wait", "observe", "journal", "outcome", "launches", "redact", "answers", "last", "resending",
         "store", "listen", "poll", "watch", "settle")  # fmt: skip


class Mutation(NamedTuple):
    """A change: in which file, what stands there once, and what it becomes."""

    file: str
    old: str
    new: str

    def __str__(self) -> str:
        old, new = (" ".join(text.split())[:70] for text in (self.old, self.new))
        return f"{self.file}: {old}  =>  {new}"


TABLE = [Mutation(*each) for each in (
    # The trigger: who is adopted, when it is sent again, what is written down.
    ("runs/trigger.py", "created.timestamp() >= math.floor(attempted)", "created.timestamp() >= attempted"),
    ("runs/trigger.py", 'get("type")) != "manual"', 'get("type")) == "schedule"'),
    ("runs/trigger.py", "if client.clock.now() - intent.at < OLD else (0.0,)", "if True else (0.0,)"),
    ("runs/trigger.py", "LOOKS = (0.5, 1.0, 2.0, 4.0, 8.0)", "LOOKS = (0.5, 1.0, 2.0, 4.0)"),
    ("runs/trigger.py", "seen |= {run.id", "seen = {run.id"),
    ("runs/trigger.py", "if resends and error.http_status == 409:", "if False:"),
    ("runs/trigger.py", "GATEWAY = (502, 504)", "GATEWAY = (502,)"),
    ("runs/trigger.py", "if resends == RESENDS or pause > LONGEST_RETRY_AFTER:", "if resends == RESENDS:"),
    ("runs/trigger.py", "mine[-1] if mine else None", "mine[0] if mine else None"),
    ("runs/trigger.py", "if self.pace and error.http_status == 429:", "if self.pace:"),
    ("runs/trigger.py", "RIVAL = 120.0", "RIVAL = 12.0"),
    ("runs/last.py", "if age > CERTAIN:", "if age > 60:"),
    ("http/answers.py", 'if "certificate" in said.lower():', 'if "ssl" in said.lower():'),
    ("http/answers.py", 'is_enveloped = envelope.get("type") == "error" and', 'is_enveloped ='),
    ("http/resending.py", "return error.http_status == 429 or 300 <=", "return 300 <="),
    # What is remembered.
    ("journal.py", "if os.write(descriptor, data) < len(data):", "if os.write(descriptor, data) < 0:"),
    ("journal.py", "> _STALE:", "< _STALE:"),
    ("journal.py", 'nothing = run is None and not line.get("open")', "nothing = run is None"),
    ("journal.py", "entry.intent.profile == profile and not entry.nothing", "entry.intent.profile == profile"),
    ("journal.py", "if entry.intent.key == key]", "if entry.intent.key]"),
    # How a run ended.
    ("outcome.py", "if not self.worked and (reason is None or reason in _TURN_DONE):", "if not self.worked:"),
    ("outcome.py", "self.worked, self._fatal_error = True, None", "self.worked = True"),
    ("outcome.py", 'in ("exhausted", "terminal")', 'in ("exhausted",)'),
    ("outcome.py", "status not in GOING and run.completed_at is not None", "status not in GOING"),
    ("outcome.py", '_TURN_DONE = frozenset({"end_turn", "stop_sequence"})', '_TURN_DONE = frozenset({"end_turn"})'),
    ("outcome.py", "if self.ending is None:\n            self._judge", "if True:\n            self._judge"),
    ("runs/observe.py", "DISAGREEMENT_AFTER = 60.0", "DISAGREEMENT_AFTER = 6.0"),
    ("runs/observe.py", "YOUNG = 60.0", "YOUNG = 6.0"),
    ("runs/observe.py", "self._read_to = last or self._read_to", "self._read_to = last"),
    ("runs/observe.py", "if run is None or run.id != self.run_id:", "if run is None:"),
    ("runs/observe.py", "known.minded = now\n", "pass\n"),
    # Waiting.
    ("waiting/wait.py", "LONGEST_SILENCE if watch.is_known else FIRST_WORD", "LONGEST_SILENCE"),
    ("waiting/wait.py", "ALERT = 5.0", "ALERT = 0.0"),
    ("waiting/wait.py", "if left < -LAST_LOOK and watch.looked:", "if left < -LAST_LOOK:"),
    ("waiting/wait.py", "min(self._request_timeout, max(left, LAST_LOOK))", "self._request_timeout"),
    ("waiting/wait.py", "if overslept > ASLEEP:", "if False:"),
    ("waiting/wait.py", "now - watch._missing_since > LAGGING", "now - watch._missing_since > 3 * LAGGING"),
    ("waiting/wait.py", "min(watch._pause * 2, longest)", "watch._pause * 2"),
    # Many at once; secrets.
    ("several/launches.py", "if trigger is None or not trigger.may_have_started:", "if trigger is None:"),
    ("several/launches.py", "_unknown(trigger, why) if trigger.may_have_started else Internal", "Internal"),
    ("several/launches.py", "if error.next is None and error.run_id is None:", "if error.next is None:"),
    ("http/redact.py", "max(len(whole) - len(self._secret) + 1, 0)", "max(len(whole) - len(self._secret) + 2, 0)"),
    ("http/redact.py", "if _SECRET_NAME.search(name) and item else", "if _SECRET_NAME.search(name) else"),
)]  # fmt: skip

_SWAPPED = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==", ast.Is: "is not",
    ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip


def of_grammar(path: Path) -> Iterator[Mutation]:
    """Yield what can be changed in a file by the grammar: comparisons, and/or, not, numbers, conditions."""
    source = path.read_text()
    lines = [0]
    for line in source.splitlines(keepends=True):
        lines.append(lines[-1] + len(line))

    def at(line: int, column: int) -> int:
        begins = lines[line - 1]
        return begins + len(source[begins:].encode()[:column].decode())

    def changed(begin: int, end: int, text: str) -> Mutation:
        # The lines around it, so that it is there once.
        first, last = source.rfind("\n", 0, begin) + 1, source.find("\n", end)
        while source.count(source[first:last]) > 1 and first > 0:
            first = source.rfind("\n", 0, first - 1) + 1
        name = str(path.relative_to(ROOT / PACKAGE))
        return Mutation(name, source[first:last], source[first:begin] + text + source[end:last])

    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                begin, end = at(left.end_lineno or 0, left.end_col_offset or 0), at(right.lineno, right.col_offset)
                if set(source[begin:end]) <= set("<>=! isnotin"):
                    yield changed(begin, end, f" {_SWAPPED[type(op)]} ")
            case ast.BoolOp(op=op, values=[first, second, *_]):
                begin, end = at(first.end_lineno or 0, first.end_col_offset or 0), at(second.lineno, second.col_offset)
                if source[begin:end].strip() in ("and", "or"):
                    yield changed(begin, end, " or " if isinstance(op, ast.And) else " and ")
            case ast.UnaryOp(op=ast.Not()):
                begin = at(node.lineno, node.col_offset)
                yield changed(begin, begin + len("not "), "")
            case ast.Constant(value=bool(value)):
                yield changed(*_span(node, at), str(not value))
            case ast.Constant(value=int(value) | float(value)):
                yield changed(*_span(node, at), repr(value * 3 + 1))
            case ast.If(test=test):
                yield changed(*_span(test, at), "False")


def _span(node: ast.expr, at: Callable[[int, int], int]) -> tuple[int, int]:
    return at(node.lineno, node.col_offset), at(node.end_lineno or 0, node.end_col_offset or 0)


def locate(tree: Path, mutation: Mutation) -> Path | None:
    """Return the one file in which the old text stands once: the named one, or another if it was moved."""
    named = tree / PACKAGE / mutation.file
    found = [path for path in (tree / PACKAGE).rglob("*.py") if path.read_text().count(mutation.old) == 1]
    return named if named in found else found[0] if len(found) == 1 else None


def tests_of(file: str) -> tuple[str, ...]:
    """Return the names of the test files that concern a file."""
    return next((tests for word, tests in TESTS.items() if word in file), WAIT)


@cache
def failing(tests: tuple[str, ...]) -> tuple[str, ...]:
    """Return the tests that fail without any mutation, which tell nothing."""
    with copied() as tree:
        return tuple(line.removeprefix("FAILED ").split(" - ")[0] for line in run(tree, tests)[1])


def run(tree: Path, tests: Sequence[str], *options: str) -> tuple[int, list[str]]:
    """Run tests in a tree; return pytest's exit code and what it says of those that failed. Raises TimeoutExpired."""
    there = [f"tests/{test}.py" for test in tests if (tree / "tests" / f"{test}.py").exists()]
    env = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "1000"}
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-n", "2", *options, *there]
    ended = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, timeout=900)
    failed = [line for line in ended.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return ended.returncode, failed or [ended.stdout[-200:]] * bool(ended.returncode)


@contextmanager
def copied() -> Iterator[Path]:
    """Give a copy of what is needed to run the tests."""
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name)
        for part in (PACKAGE, "tests"):
            shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        for part in ("pyproject.toml", "README.md", "CHANGELOG.md"):
            shutil.copy(ROOT / part, tree)
        yield tree


def try_out(mutation: Mutation) -> str:
    """Return what became of a mutation, in words."""
    if locate(ROOT, mutation) is None:
        return "APPLIES NO LONGER"
    tests = tests_of(mutation.file)
    known = failing(tests)
    with copied() as tree:
        path = locate(tree, mutation)
        assert path is not None
        path.write_text(path.read_text().replace(mutation.old, mutation.new))
        try:
            code, failed = run(tree, tests, "-x", *(f"--deselect={test}" for test in known))
        except subprocess.TimeoutExpired:
            return "killed, by hanging"
    return f"killed by {failed[0].split(' - ')[0].removeprefix('FAILED ')}" if code else "SURVIVED"


def main(words: Sequence[str]) -> None:
    """Try mutations out and say what became of each, and how many survived."""
    words = list(words)
    wanted = TABLE
    if words[:1] == ["--random"]:
        count, seed = int(words[1]), 1
        words = words[2:]
        if words and words[0].isdigit():
            seed = int(words.pop(0))
        paths = [path for path in sorted((ROOT / PACKAGE).rglob("*.py")) if path.stem in FILES]
        every = [mutation for path in paths for mutation in of_grammar(path)]
        every = [mutation for mutation in every if not words or any(word in str(mutation) for word in words)]
        wanted = random.Random(seed).sample(every, min(count, len(every)))
    elif words:
        wanted = [mutation for mutation in TABLE if any(word in str(mutation) for word in words)]
    became: list[str] = []
    for mutation in wanted:
        became.append(try_out(mutation))
        print(f"{became[-1]:<60} {mutation}", flush=True)
    survived, gone = became.count("SURVIVED"), became.count("APPLIES NO LONGER")
    print(f"{len(became)} mutations: {survived} survived, {gone} apply no longer")


if __name__ == "__main__":
    main(sys.argv[1:])
