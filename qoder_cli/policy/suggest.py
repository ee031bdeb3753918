"""Suggest rules for calls that no rule fits: the calls in groups, each with a rule that would fit all of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from posixpath import dirname

from qoder_cli.base import jsontext
from qoder_cli.policy import shell
from qoder_cli.policy.match import Subject, decide
from qoder_cli.policy.rules import Policy, PolicyRule, pattern_of
from qoder_cli.policy.tools import BASH, PATHS, TOOLS, called

_MOST = 50  # calls of a group that a rule is tried on


@dataclass
class Group:
    """Calls that are alike: the same tool, and the same command or folder."""

    key: tuple[str, ...]
    subjects: list[Subject] = field(default_factory=list)

    def add(self, subject: Subject) -> None:
        if len(self.subjects) < _MOST:
            self.subjects.append(subject)

    def rule(self) -> str | None:
        """Return a rule that would allow these calls, as it is written in a file; None if no rule can."""
        keys = sorted({str(name) for each in self.subjects for name in _fields(each)} - self._field_names())
        any_thread = not all(each.is_main for each in self.subjects)
        for written in filter(None, (_pattern(self.key, self.subjects, is_wide=wide) for wide in (False, True))):
            try:
                rule = PolicyRule(
                    True, pattern_of(written, allows=True), 0, keys=frozenset(keys), any_thread=any_thread
                )
            except ValueError:
                continue
            policy = Policy("", "", (rule,))
            if all(decide(policy, each).answer == "allow" for each in self.subjects):
                return _spelled(written, keys, any_thread=any_thread)
        return None

    def _field_names(self) -> set[str]:
        if self.key[0] != "tool" or (tool := TOOLS.get(called(self.key[1]))) is None:
            return set()
        names = {*tool.fields}
        if tool.has_path:
            names |= {*PATHS}
        return names


def key_of(subject: Subject) -> tuple[str, ...]:
    """Return what is the same for calls of a group."""
    given = subject.input if isinstance(subject.input, dict) else {}
    if subject.kind != "tool":
        return subject.kind, subject.name, subject.server or ""
    tool = called(subject.name)
    command = given.get("command")
    if tool == BASH:
        words = shell.words_of(command) if isinstance(command, str) else None
        if words is None:
            return "tool", tool, ""
        return "tool", tool, *words[: 2 if len(words) > 1 and words[1].isalpha() else 1]
    path = next((given[name] for name in PATHS if isinstance(given.get(name), str)), "")
    return "tool", tool, dirname(path)


def _fields(subject: Subject) -> Mapping[str, object]:
    return subject.input if isinstance(subject.input, dict) else {}


def _pattern(key: Sequence[str], subjects: Sequence[Subject], *, is_wide: bool) -> str | None:
    """Return a pattern for a group: for just what its calls did, or for all that begins or lies so."""
    kind, name, *more = key
    if kind == "mcp":
        return f"mcp__{more[0]}__{name}"
    if kind != "tool":
        return None
    if name == BASH:
        commands = {shell.words_of(str(_fields(each).get("command"))) or () for each in subjects}
        if is_wide:
            if len(more) == 1 and more[0] in shell.RUNNERS:
                return None
            return f"{BASH}({_written(more)}:*)"
        return f"{BASH}({_written(commands.pop())})" if len(commands) == 1 else None
    if name in TOOLS and TOOLS[name].has_path and more[0]:
        paths = {str(_fields(each)[path]) for each in subjects for path in PATHS if path in _fields(each)}
        reads_below = TOOLS[name].reads_below
        if is_wide:
            return f"{name}({more[0].rstrip('/')}/{'**' if reads_below else '*'})"
        if len(paths) != 1:
            return None
        [path] = paths
        if reads_below:
            path += "/**"
        return f"{name}({path})"
    return name


def _written(words: Sequence[str]) -> str:
    """Return words as a command has them."""
    return " ".join(word if shell.words_of(f"x {word}") == ("x", word) else f"'{word}'" for word in words)


def _spelled(pattern: str, keys: Sequence[str], *, any_thread: bool) -> str:
    if not keys and not any_thread:
        return f"allow: {pattern}"
    more = {"keys": keys} if keys else {}
    return jsontext.dump({"allow": pattern, **more, **({"threads": "any"} if any_thread else {})})
