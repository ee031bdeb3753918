"""Decide about a call by a policy. Pure: nothing is read, sent or remembered.

Deny beats allow, and every doubt is against an allow: what cannot be read, or is not named by the rule, is left for a
person. What may be denied is not allowed either.
"""

from collections.abc import Collection, Mapping
from enum import IntEnum
from typing import Any, Literal, NamedTuple

from qoder_cli.base import jsontext
from qoder_cli.policy import paths, shell
from qoder_cli.policy.regex import Regex, TooLong
from qoder_cli.policy.rules import Pattern, Policy, PolicyRule
from qoder_cli.policy.texts import folded, forms, is_readable
from qoder_cli.policy.tools import BASH, PATHS, TOOLS, Tool, called, spellings

LONGEST = 100_000  # characters of one text in an input that is allowed
_ONE_LINE = frozenset(("url", "query", "description", *PATHS))  # fields that have no line breaks, whoever names them
_NOT_SIMPLE = "The command is not simple: use one command of plain and single-quoted words."
_ANOTHER = "it is about another command, or path"

Answer = Literal["allow", "deny", "ask"]


class Fit(IntEnum):
    """Whether a deny fits a call."""

    NO = 0
    MAYBE = 1
    YES = 2


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
    """What a policy says of a call: allow, deny, or ask a person; by which rule, and why not by another.

    Of a deny, `why` is what the rule itself does not say.
    """

    answer: Answer
    rule: PolicyRule | None = None
    why: str = ""

    @property
    def in_words(self) -> str:
        """What it comes to, for a column."""
        if self.rule is None:
            return self.answer
        return f"{self.answer} (line {self.rule.line})"

    @property
    def because(self) -> str | None:
        """The reason of a deny, for the agent: the rule's own, and what it does not say."""
        own = self.rule.because if self.rule is not None else None
        return " ".join(filter(None, (own, self.why))) or None

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
        if fit is Fit.YES:
            return Verdict("deny", rule, _NOT_SIMPLE if _is_not_simple(rule, subject) else "")
    for rule, fit in fits:
        if fit is Fit.MAYBE:
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


def has_rule_about(
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


def _is_about(rule: PolicyRule, subject: Subject) -> bool:
    """Return whether an allow is about the tool of a call: kind, server and name, each by itself and to the letter."""
    pattern = rule.pattern
    if pattern.kind != subject.kind or pattern.name is None or len(subject.name) > LONGEST:
        return False
    if pattern.kind == "mcp":
        server = subject.server
        is_server = server is not None and pattern.server is not None and pattern.server.fits(server)
        # A name with a space may stand for the one without, which a deny names.
        is_plain = subject.name.isascii() and subject.name.isprintable() and " " not in subject.name
        return is_server and is_plain and pattern.name.fits(subject.name)
    return subject.server is None and pattern.name.fits(called(subject.name))


def _missed(rule: PolicyRule, subject: Subject) -> str:
    """Return why an allow that is about the tool does not fit the call; empty if it does. Raises TooLong."""
    given, pattern = subject.input, rule.pattern
    if not (subject.is_main or rule.any_thread):
        return "another agent's thread makes the call; threads: any allows that"
    if not isinstance(given, dict) or jsontext.is_repeated(given):
        return "the input is not an object, or names a field twice"
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


def _unnamed(rule: PolicyRule, subject: Subject) -> str:
    """Return what of the input the rule does not name, or cannot be read; empty if all is well."""
    tool = TOOLS.get(rule.pattern.tool or "")
    types: Mapping[str, type] = {}
    if tool is not None:
        types = {**tool.fields, **(dict.fromkeys(PATHS, str) if tool.has_path else {})}
    for name, value in subject.input.items():
        if name in types:
            if type(value) is not types[name]:
                return f"its {_quoted(name)} is not of the type that is known"
        elif name not in rule.keys and name not in rule.when and not (tool is None and name in subject.schema):
            return f"it has {_quoted(name)}, which the rule does not name (keys: [{_quoted(name)}])"
        with_layout = tool.layout if tool is not None else (rule.keys | rule.when.keys()) - _ONE_LINE
        if not _is_plain(value, may_have_layout=name in with_layout):
            return f"its {_quoted(name)} is too long, is not a plain value, or has characters that cannot be seen"
    return ""


def _quoted(name: str) -> str:
    if name.isascii() and name.isprintable() and len(name) < 40:
        return name
    return "a field"


def _is_plain(value: Any, *, may_have_layout: bool) -> bool:
    """Return whether a value is text that can be read, a number, true, false or null, or a list of such."""
    if isinstance(value, str):
        return len(value) <= LONGEST and is_readable(value, may_have_layout=may_have_layout)
    if isinstance(value, list):
        are_flat = len(value) <= LONGEST and not any(isinstance(each, list) for each in value)
        return are_flat and all(_is_plain(each, may_have_layout=may_have_layout) for each in value)
    return value is None or isinstance(value, int | jsontext.Number)


def _missed_command(rule: PolicyRule, command: Any) -> str:
    words = shell.words_of(command) if isinstance(command, str) else None
    if words is None:
        return "its command is not one simple command of plain and single-quoted words"
    wanted = rule.pattern.words
    if wanted is None or words == wanted or (rule.pattern.is_prefix and shell.begins(words, wanted)):
        return ""
    return _ANOTHER


def _missed_path(rule: PolicyRule, given: Mapping[str, Any]) -> str:
    """Return why the path of a call does not fit; a tool that has a path must name it in one way."""
    wanted = rule.pattern.path
    named = [given[name] for name in PATHS if name in given]
    if len(named) != 1:
        return "it names no path, or two"
    if not paths.is_whole(named[0]):
        return "its path is not whole and plain: from / on, without . and .. and special characters"
    tool = TOOLS[str(rule.pattern.tool)]
    if not _stays_below(tool, given):
        return "its pattern may lead out of the path"
    # Of a tool that reads a folder, the rule must fit whatever is in it.
    reached = f"{named[0]}/x" if tool.reads_below else named[0]
    if wanted is not None and not wanted.fits(reached):
        return _ANOTHER
    return ""


def _stays_below(tool: Tool, given: Mapping[str, Any]) -> bool:
    """Return whether the patterns of a call certainly name nothing but files below its path."""
    return all(paths.names_below(value) for name, value in given.items() if folded(name) in tool.patterns)


# A deny.


def _denies_tool(rule: PolicyRule, subject: Subject) -> bool:
    """Return whether a deny is about the tool of a call, in any case and any look."""
    pattern, name = rule.pattern, folded(subject.name)
    if pattern.kind == "any":
        return True
    if pattern.name is None:
        return False
    try:
        if subject.kind == "mcp":
            return _denies_mcp(pattern, name, folded(subject.server or ""))
        return pattern.kind == "tool" and any(map(pattern.name.fits, spellings(name)))
    except TooLong:
        return True


def _denies_mcp(pattern: Pattern, name: str, server: str) -> bool:
    """Return whether a deny is about a tool of a server, by any of its names. Raises TooLong."""
    bare = name.removeprefix(f"mcp__{server}__")
    if pattern.any_name is not None and any(map(pattern.any_name.fits, (name, bare, f"mcp__{server}__{bare}"))):
        return True
    if pattern.server is None or pattern.name is None or not pattern.server.fits(server):
        return False
    return pattern.name.fits(name) or pattern.name.fits(bare)


def _deny_fit(rule: PolicyRule, subject: Subject) -> Fit:
    """Return whether a deny fits a call, or may be meant to."""
    if not _denies_tool(rule, subject):
        return Fit.NO
    fits = [_fit_condition(name, regex, subject) for name, regex in rule.when.items()]
    return min((_fit_inside(rule, subject), *fits))


def _is_not_simple(rule: PolicyRule, subject: Subject) -> bool:
    """Return whether a deny fits a call because nobody knows what its command does."""
    looks_at_it = rule.pattern.words is not None or "command" in map(folded, rule.when)
    if not looks_at_it or not isinstance(subject.input, dict):
        return False
    command = subject.input.get("command")
    return isinstance(command, str) and shell.words_of(command) is None


def _fit_inside(rule: PolicyRule, subject: Subject) -> Fit:
    """Return whether what stands in ( ) fits."""
    pattern = rule.pattern
    given = subject.input if isinstance(subject.input, dict) else {}
    if pattern.words is not None:
        command = given.get("command")
        words = shell.words_of(command) if isinstance(command, str) else None
        if words is None:
            return Fit.YES  # nobody knows what it does
        lowered, wanted = shell.lowered(words), shell.lowered(pattern.words)
        if lowered == wanted or (pattern.is_prefix and shell.begins(lowered, wanted)):
            return Fit.YES
        return Fit.MAYBE if shell.may_hold(words, pattern.words) else Fit.NO
    if pattern.path is not None:
        return _fit_path(pattern.path, given, TOOLS[str(pattern.tool)])
    return Fit.YES


def _fit_path(pattern: Regex, given: Mapping[str, Any], tool: Tool) -> Fit:
    named = [value for name, value in given.items() if folded(name) in PATHS]
    if not named or not all(isinstance(path, str) and len(path) <= paths.LONGEST for path in named):
        return Fit.YES  # nobody knows which it is
    fits = [Fit.NO if _stays_below(tool, given) else Fit.MAYBE]
    for path in named:
        normal = paths.normal(path)
        try:
            if pattern.fits(normal):
                return Fit.YES
            is_above = tool.reads_below and pattern.may_fit_below(f"{normal.rstrip('/')}/", anywhere=False)
        except TooLong:
            return Fit.YES
        fits.append(Fit.MAYBE if is_above or not paths.is_whole(path) else Fit.NO)
    return max(fits)


def _fit_condition(wanted: str, regex: Regex, subject: Subject) -> Fit:
    """Return whether a condition of a deny is met: by a part of the text, or because nobody can say that it is not."""
    given, wanted = subject.input, folded(wanted)
    if not isinstance(given, dict):
        return Fit.YES
    tool = TOOLS.get(called(folded(subject.name))) if subject.kind == "tool" else None
    if wanted in PATHS and tool is not None and tool.has_path:
        values = [value for name, value in given.items() if folded(name) in PATHS]
        fits = [Fit.NO if values and _stays_below(tool, given) else Fit.MAYBE]
    else:
        values = [value for name, value in given.items() if folded(name) == wanted]
        fits = [Fit.NO]
    for value in values:
        if not isinstance(value, str) or jsontext.is_repeated(given):
            return Fit.YES
        try:
            if wanted in PATHS:
                fits.append(_fit_path_condition(regex, value, tool))
            elif wanted == "command":
                fits.append(_fit_command_condition(regex, value))
            else:
                fits.append(_fit_text(regex, value, may_have_layout=wanted not in _ONE_LINE))
        except TooLong:
            return Fit.YES
    return max(fits)


def _fit_text(regex: Regex, value: str, *, may_have_layout: bool = False) -> Fit:
    """Return whether a part of a text fits; what has more in it than is seen may. Raises TooLong."""
    if any(regex.is_in(form) for form in forms(value)):
        return Fit.YES
    return Fit.NO if is_readable(value, may_have_layout=may_have_layout) else Fit.MAYBE


def _fit_command_condition(regex: Regex, command: str) -> Fit:
    """Return whether a part of a command fits; one that is not simple does. Raises TooLong."""
    words = shell.words_of(command)
    if words is None or regex.is_in(" ".join(words)) or regex.is_in(shell.one_spaced(words)):
        return Fit.YES
    return _fit_text(regex, command)


def _fit_path_condition(regex: Regex, path: str, tool: Tool | None) -> Fit:
    """Return whether a part of a path fits, in any spelling; for a server's tool it may be relative. Raises TooLong."""
    normal = paths.normal(path)
    if any(regex.is_in(form) for form in (normal, normal.removeprefix("/"))):
        return Fit.YES
    is_above = tool is not None and tool.reads_below and regex.may_fit_below(f"{normal.rstrip('/')}/", anywhere=True)
    is_whole = paths.is_whole(path) or (tool is None and paths.is_whole(f"/{path}"))
    return max(_fit_text(regex, path), Fit.MAYBE if is_above or not is_whole else Fit.NO)
