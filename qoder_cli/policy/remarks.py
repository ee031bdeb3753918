"""What is worth saying of a policy that can be read: rules that never decide anything, and rules that allow more than
they seem to."""

from collections.abc import Iterator, Mapping

from qoder_cli.policy import shell
from qoder_cli.policy.regex import Regex
from qoder_cli.policy.rules import Pattern, Policy, PolicyRule
from qoder_cli.policy.tools import BASH, TOOLS

# Tools by which the files of another can be read, or written.
_SAME_FILES = {"Read": ("Grep",), "Grep": ("Read",), "Write": ("Edit",), "Edit": ("Write",)}


def remarks(policy: Policy) -> Iterator[tuple[PolicyRule, str]]:
    """Yield remarks, each with the rule that it is about, in the order of the file."""
    for place, rule in enumerate(policy.rules):
        name = rule.pattern.name
        if rule.pattern.kind == "tool" and name is not None and name.literal and name.literal not in TOOLS:
            yield rule, f"no built-in tool is known as {name.literal}"
        if why := _never(rule, policy.rules, place):
            yield rule, why
        elif not rule.allows:
            yield from ((rule, each) for each in _narrow(rule, policy.rules))
        elif rule.allows:
            yield from ((rule, each) for each in _wide(rule))


def _narrow(deny: PolicyRule, rules: tuple[PolicyRule, ...]) -> Iterator[str]:
    """Yield how a deny may stop less than it seems to: the same files by another tool."""
    for tool in _SAME_FILES.get(deny.pattern.tool or "", ()):
        allowing = next((rule for rule in rules if rule.allows and rule.pattern.tool == tool), None)
        if allowing is not None and not any(_denies_path(rule, tool, deny) for rule in rules):
            yield f"does not stop {tool}, which line {allowing.line} allows ({allowing.text})"


def _denies_path(rule: PolicyRule, tool: str, deny: PolicyRule) -> bool:
    pattern = rule.pattern
    is_about_it = not rule.allows and (pattern.kind == "any" or pattern.tool == tool)
    return is_about_it and (pattern.path is None or _glob_includes(pattern.path, deny.pattern.path))


def _never(rule: PolicyRule, rules: tuple[PolicyRule, ...], place: int) -> str:
    """Return why a rule never decides anything; empty if it may."""
    for at, other in enumerate(rules):
        if rule.allows and not other.allows:
            if _includes(other, rule):
                return f"never allows anything: line {other.line} denies all of it ({other.text})"
            if _may_deny(other.pattern, rule.pattern) and not other.when:
                return f"never allows anything: line {other.line} may mean to deny it ({other.text})"
        elif at < place and rule.allows is other.allows and _includes(other, rule):
            return f"never decides anything: line {other.line} does before ({other.text})"
    return ""


def _includes(one: PolicyRule, other: PolicyRule) -> bool:
    """Return whether one rule certainly fits whatever another does."""
    if not _has_conditions(one.when, other.when) or not _pattern_includes(one, other):
        return False
    return not one.allows or (one.keys >= other.keys and one.any_thread >= other.any_thread)


def _has_conditions(these: Mapping[str, Regex], those: Mapping[str, Regex]) -> bool:
    return all(name in those and those[name].pattern == regex.pattern for name, regex in these.items())


def _pattern_includes(one_rule: PolicyRule, other_rule: PolicyRule) -> bool:
    one, other = one_rule.pattern, other_rule.pattern
    if one.kind == "any" or one.text == other.text:
        return True
    if one.any_name is not None and any(map(one.any_name.fits, _names(other))):
        return True
    if one.kind != other.kind or one.name is None or other.name is None:
        return False
    if not _glob_includes(one.server, other.server) or not _glob_includes(one.name, other.name):
        return False
    if one.words is not None:
        return other.words is not None and _words_include(one_rule, one.words, other, other.words)
    if one.path is not None:
        return other.path is not None and _glob_includes(one.path, other.path)
    return True


def _names(pattern: Pattern) -> Iterator[str]:
    """Yield the names of the one tool of a server that a pattern is about."""
    server, name = (regex and regex.literal for regex in (pattern.server, pattern.name))
    if server and name:
        yield from (name, f"mcp__{server}__{name}")


def _glob_includes(one: Regex | None, other: Regex | None) -> bool:
    """Return whether one fits whatever another does; if that has a wildcard, only if both are written the same."""
    if one is None or other is None:
        return one is other
    if one.glob == other.glob:
        return True
    return other.literal is not None and one.fits(other.literal)


def _words_include(rule: PolicyRule, wanted: tuple[str, ...], other: Pattern, words: tuple[str, ...]) -> bool:
    if not rule.allows:
        wanted, words = shell.lowered(wanted), shell.lowered(words)
    if rule.pattern.is_prefix:
        return shell.begins(words, wanted)
    return not other.is_prefix and words == wanted


def _may_deny(deny: Pattern, allow: Pattern) -> bool:
    """Return whether each command that an allow fits has the words of a deny in it."""
    return deny.words is not None and allow.words is not None and shell.may_hold(allow.words, deny.words)


def _wide(rule: PolicyRule) -> Iterator[str]:
    """Yield how an allow may allow more than it seems to."""
    pattern = rule.pattern
    if pattern.tool == BASH and pattern.words is None and not rule.when:
        yield "allows every simple command, whatever it does"
    if pattern.words is not None and pattern.is_prefix and len(pattern.words) == 1:
        name = pattern.words[0].rpartition("/")[2]
        if name in shell.RUNNERS:
            yield f"{name} runs what its words say, so this allows nearly everything"
    if pattern.tool in ("Write", "Edit") and pattern.path is None and not rule.when:
        yield "allows writing every file"
    if (pattern.kind == "mcp" or pattern.tool not in TOOLS) and not (rule.keys or rule.when):
        yield "fits only calls without input, unless the session shows the tool's fields: name them with keys: [...]"
