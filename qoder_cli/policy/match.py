"""Decide about a call by a policy. Pure: nothing is read, sent or remembered.

Deny beats allow, and every doubt is against an allow: what cannot be read, or is not named by the rule, is left for a
person. What may be denied is not allowed either.
"""

import re
import unicodedata
from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple

from qoder_cli.base import jsontext
from qoder_cli.policy import shell
from qoder_cli.policy.regex import Regex, TooLong
from qoder_cli.policy.rules import Policy, Rule
from qoder_cli.policy.tools import BASH, PATHS, TOOLS, Tool, called

LONGEST = 100_000  # characters of one text in an input that is allowed
_LONGEST_PATH = 4_096
_NOT_IN_PATHS = frozenset("\\$`*?[]{}%<>|\"';&~")
_BELOW = re.compile(r"[A-Za-z0-9_.*?][A-Za-z0-9_.*?/-]*", re.ASCII)  # what may name files below a path
_UNREADABLE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # categories: controls, what is invisible, what is nothing
_LAYOUT = "\n\t\r"
_ANOTHER = "it is about another command, or path"

Fit = Literal["yes", "maybe", "no"]
Answer = Literal["allow", "deny", "ask"]


class Subject(NamedTuple):
    """A call, as far as a policy looks at it. `schema` are the fields of its tool's input, where the session says them.

    `is_main` is whether the main agent makes it, as far as that is certain.
    """

    kind: str  # tool, mcp or custom
    name: str
    input: Any
    server: str | None = None
    is_main: bool = True
    schema: frozenset[str] = frozenset()


class Verdict(NamedTuple):
    """What a policy says of a call: allow, deny, or ask a person; by which rule, and why not by another."""

    answer: Answer
    rule: Rule | None = None
    why: str = ""

    @property
    def in_words(self) -> str:
        """What it comes to, for a column."""
        if self.rule is None:
            return self.answer
        return f"{self.answer} (line {self.rule.line})"

    @property
    def data(self) -> dict[str, Any]:
        """What it comes to, for JSON."""
        rule = self.rule
        return {"answer": self.answer, "line": rule and rule.line, "rule": rule and rule.text, "why": self.why or None}


def decide(policy: Policy, subject: Subject) -> Verdict:
    """Return what a policy says of a call. Which deployments it is for, the caller knows."""
    if subject.kind not in ("tool", "mcp"):
        return Verdict("ask", None, "a custom tool takes a result, which no rule gives")
    fits = [(rule, _deny_fit(rule, subject)) for rule in policy.rules if not rule.allows]
    for rule, fit in fits:
        if fit == "yes":
            return Verdict("deny", rule)
    for rule, fit in fits:
        if fit == "maybe":
            return Verdict("ask", rule, f"line {rule.line} may mean to deny it")
    why = ""
    for rule in policy.rules:
        if not rule.allows or not _is_about(rule, subject):
            continue
        try:
            missed = _missed(rule, subject)
        except TooLong:
            missed = "a regular expression takes too long for it"
        if not missed:
            return Verdict("allow", rule)
        if missed != _ANOTHER:
            why = f"line {rule.line} does not fit: {missed}"
    return Verdict("ask", None, why)


def covers_tool(
    policy: Policy, kind: str, name: str, server: str | None = None, *, deployment: Collection[str] = ()
) -> bool:
    """Return whether a policy has a rule about a tool: whether some call of it is decided without a person.

    `kind` is that of its calls: tool, mcp or custom. `deployment` are the id and the name of the deployment.
    """
    subject = Subject(kind, name, {}, server)
    is_for_it = not policy.deployments or not set(policy.deployments).isdisjoint(deployment)
    if kind not in ("tool", "mcp") or not is_for_it:
        return False
    return any(_is_about(rule, subject) if rule.allows else _denies_tool(rule, subject) for rule in policy.rules)


# An allow.


def _is_about(rule: Rule, subject: Subject) -> bool:
    """Return whether an allow is about the tool of a call: kind, server and name, each by itself and to the letter."""
    pattern = rule.pattern
    if pattern.kind != subject.kind or pattern.name is None or len(subject.name) > LONGEST:
        return False
    if pattern.kind == "mcp":
        server = subject.server
        is_server = server is not None and pattern.server is not None and pattern.server.fits(server)
        return is_server and subject.name.isascii() and subject.name.isprintable() and pattern.name.fits(subject.name)
    return subject.server is None and pattern.name.fits(called(subject.name))


def _missed(rule: Rule, subject: Subject) -> str:
    """Return why an allow that is about the tool does not fit the call; empty if it does. Raises TooLong."""
    given, pattern = subject.input, rule.pattern
    if not (subject.is_main or rule.any_thread):
        return "another agent's thread makes the call; threads: any allows that"
    if not isinstance(given, dict) or jsontext.is_repeated(given):
        return "the input is no object, or names a field twice"
    if unnamed := _unnamed(rule, subject):
        return unnamed
    for name, regex in rule.when.items():
        value = given.get(name)
        if not isinstance(value, str) or len(value) > LONGEST or not regex.fits(value):
            return f"its {name} is not what `when` says"
    if pattern.tool == BASH:
        return _missed_command(rule, given.get("command"))
    if pattern.tool is not None and TOOLS[pattern.tool].has_path:
        return _missed_path(rule, given)
    return ""


def _unnamed(rule: Rule, subject: Subject) -> str:
    """Return what of the input the rule does not name, or cannot be read; empty if all is well."""
    tool = TOOLS.get(rule.pattern.tool or "")
    types: Mapping[str, type] = {}
    if tool is not None:
        types = {**tool.fields, **(dict.fromkeys(PATHS, str) if tool.has_path else {})}
    for name, value in subject.input.items():
        if name in types:
            if type(value) is not types[name]:
                return f"its {_quoted(name)} is not of the type that is known"
        elif name not in rule.keys and name not in rule.when and name not in subject.schema:
            return f"it has {_quoted(name)}, which the rule does not name (keys: [{_quoted(name)}])"
        if not _is_plain(value):
            return f"its {_quoted(name)} is too long, is no plain value, or has characters that cannot be seen"
    return ""


def _quoted(name: str) -> str:
    if name.isascii() and name.isprintable() and len(name) < 40:
        return name
    return "a field"


def _is_plain(value: Any) -> bool:
    """Return whether a value is text that can be read, a number, true, false or null, or a list of such."""
    if isinstance(value, str):
        return len(value) <= LONGEST and _is_readable(value)
    if isinstance(value, list):
        return len(value) <= LONGEST and all(not isinstance(each, list) and _is_plain(each) for each in value)
    return value is None or isinstance(value, int | jsontext.Number)


def _is_readable(text: str) -> bool:
    is_simple = text.isascii() and text.isprintable()
    return is_simple or all(each in _LAYOUT or unicodedata.category(each) not in _UNREADABLE for each in text)


def _missed_command(rule: Rule, command: Any) -> str:
    words = shell.words_of(command) if isinstance(command, str) else None
    if words is None:
        return "its command is not one simple command of plain and single-quoted words"
    wanted = rule.pattern.words
    if wanted is None or words == wanted or (rule.pattern.is_prefix and shell.begins(words, wanted)):
        return ""
    return _ANOTHER


def _missed_path(rule: Rule, given: Mapping[str, Any]) -> str:
    """Return why the path of a call does not fit; a tool that has a path must name it in one way."""
    wanted = rule.pattern.path
    if wanted is None and not rule.when.keys() & set(PATHS):
        return ""
    paths = [given[name] for name in PATHS if name in given]
    if len(paths) != 1:
        return "it names no path, or two"
    if not _is_whole_path(paths[0]):
        return "its path is not whole and plain: from / on, without . and .. and special characters"
    tool = TOOLS[str(rule.pattern.tool)]
    if not _stays_below(tool, given):
        return "its pattern may lead out of the path"
    # Of a tool that reads a folder, the rule must fit whatever is in it.
    reached = f"{paths[0]}/x" if tool.reads_below else paths[0]
    if wanted is not None and not wanted.fits(reached):
        return _ANOTHER
    return ""


def _stays_below(tool: Tool, given: Mapping[str, Any]) -> bool:
    """Return whether the patterns of a call certainly name nothing but files below its path."""
    patterns = [value for name, value in given.items() if _folded(name) in tool.patterns]
    return all(isinstance(each, str) and _names_below(each) for each in patterns)


def _names_below(pattern: str) -> bool:
    """Return whether every reader of globs takes one for files below where it begins. `.*` may stand for `..`."""
    if len(pattern) > _LONGEST_PATH or not _BELOW.fullmatch(pattern):
        return False
    return not any(".." in part or (part.startswith(".") and {*"*?"} & {*part}) for part in pattern.split("/"))


def _is_whole_path(path: Any) -> bool:
    """Return whether a path is in the only spelling in which an allow takes it."""
    if not isinstance(path, str) or not path.startswith("/") or len(path) > _LONGEST_PATH:
        return False
    is_straight = all(part.strip(" .") for part in path[1:].split("/"))
    is_plain = path.isprintable() and unicodedata.normalize("NFKC", path) == path and not _NOT_IN_PATHS & set(path)
    return is_straight and is_plain


# A deny.


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _denies_tool(rule: Rule, subject: Subject) -> bool:
    """Return whether a deny is about the tool of a call, in any case and any look."""
    pattern, name = rule.pattern, _folded(subject.name)
    if pattern.kind == "any":
        return True
    if pattern.kind != subject.kind or pattern.name is None:
        return False
    try:
        if pattern.kind == "mcp":
            server = _folded(subject.server or "")
            bare = name.removeprefix(f"mcp__{server}__")
            is_server = pattern.server is not None and pattern.server.fits(server)
            return is_server and (pattern.name.fits(name) or pattern.name.fits(bare))
        return pattern.name.fits(name) or pattern.name.fits(called(name))
    except TooLong:
        return True


def _deny_fit(rule: Rule, subject: Subject) -> Fit:
    """Return whether a deny fits a call, or may be meant to."""
    if not _denies_tool(rule, subject):
        return "no"
    fit = _fit_inside(rule, subject)
    for name, regex in rule.when.items():
        if fit == "no" or not _is_met(name, regex, subject):
            return "no"
    return fit


def _fit_inside(rule: Rule, subject: Subject) -> Fit:
    """Return whether what stands in ( ) fits."""
    pattern = rule.pattern
    given = subject.input if isinstance(subject.input, dict) else {}
    if pattern.words is not None:
        command = given.get("command")
        words = shell.words_of(command) if isinstance(command, str) else None
        if words is None:
            return "yes"  # nobody knows what it does
        lowered, wanted = shell.lowered(words), shell.lowered(pattern.words)
        if lowered == wanted or (pattern.is_prefix and shell.begins(lowered, wanted)):
            return "yes"
        return "maybe" if shell.may_hold(words, pattern.words) else "no"
    if pattern.path is not None:
        return _fit_path(pattern.path, given, TOOLS[str(pattern.tool)])
    return "yes"


def _fit_path(pattern: Regex, given: Mapping[str, Any], tool: Tool) -> Fit:
    paths = [value for name, value in given.items() if _folded(name) in PATHS]
    if not paths or not all(isinstance(path, str) and len(path) <= _LONGEST_PATH for path in paths):
        return "yes"  # nobody knows which it is
    fits: Fit = "no" if _stays_below(tool, given) else "maybe"
    for path in paths:
        normal = _normal(path)
        try:
            if pattern.fits(normal):
                return "yes"
            if tool.reads_below and pattern.may_fit_below(f"{normal.rstrip('/')}/", anywhere=False):
                fits = "maybe"
        except TooLong:
            return "yes"
        if not _is_whole_path(path):
            fits = "maybe"
    return fits


def _normal(path: str) -> str:
    """Return a path without case, `.` and `..`."""
    parts: list[str] = []
    for part in _folded(path).replace("\\", "/").split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def _is_met(wanted: str, regex: Regex, subject: Subject) -> bool:
    """Return whether a condition of a deny is met: by a part of the text, or because nobody can say that it is not."""
    if not isinstance(subject.input, dict):
        return True
    values = [value for name, value in subject.input.items() if _folded(name) == _folded(wanted)]
    is_command = subject.kind == "tool" and called(_folded(subject.name)) == BASH and _folded(wanted) == "command"
    for value in values:
        if not isinstance(value, str) or jsontext.is_repeated(subject.input):
            return True
        forms = {value, unicodedata.normalize("NFKC", value)}
        if is_command:
            if (words := shell.words_of(value)) is None:
                return True
            forms.add(" ".join(words))
        try:
            if any(regex.is_in(form) for form in forms):
                return True
        except TooLong:
            return True
    return False
