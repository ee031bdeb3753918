"""Check a deployment against the documented limits (api/facts.md, 1.2), in the normal form of normal.py.

A rule is `object` (anything), a `Text`, a range of numbers, a tuple of words, `[rule, least, most]`
for a list, a `Table`, `{…}` for a mapping of fields, or a function that returns the rule for a
value. In `{…}`, `?` ends the names of fields that may be absent, and `*` allows others.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

from qoder_cli.base import cron
from qoder_cli.base.errors import UsageError
from qoder_cli.base.ids import NOT_OF_AN_ID, id_or_name
from qoder_cli.base.model import mapping
from qoder_cli.files.normal import ENV_NAME, READ_ONLY, RESERVED, assignments
from qoder_cli.files.tree import Node, Path, Problem, spelled

Rule = Any

_MOST = 1000  # problems of one deployment that are told: looking for near names takes time
MANY = 10**9
_NO_TEXT, _NO_LIST, _NO_MAPPING = "must be text", "must be a list", "must be a mapping of fields"
_MISSING, _UNKNOWN, _EMPTY = "is required", "unknown field", "is empty"
_EVENTS = ("user.message", "user.define_outcome", "system.message")


class _Wrong(NamedTuple):
    """What is wrong; `shown` are words that show the value, unless it came from a variable."""

    path: Path
    text: str
    shown: str = ""


class Text(NamedTuple):
    """A text. A test raises ValueError with what is wrong and, perhaps, words that show the text."""

    least: int = 0
    most: int = MANY
    tests: tuple[Callable[[str], object], ...] = ()


class Table(NamedTuple):
    """A mapping of any names."""

    name: Text
    value: Rule
    most: int = MANY


def _wrong(rule: Rule, value: Any, path: Path) -> Iterator[_Wrong]:
    """Yield what is wrong with a value, and all in it."""
    text = ""
    if isinstance(rule, Text):
        yield from _wrong_text(rule, value, path)
    elif isinstance(rule, dict | Table) and not isinstance(value, dict):
        text = _NO_MAPPING
    elif isinstance(rule, dict):
        yield from _wrong_fields(rule, value, path)
    elif isinstance(rule, Table):
        found = [wrong for name in value for wrong in _wrong(rule.name, name, (*path, name))]
        found += [wrong for name, item in value.items() for wrong in _wrong(rule.value, item, (*path, name))]
        yield from found
        text = f"has more than {rule.most} entries" if len(value) > rule.most and not found else ""
    elif isinstance(rule, list):
        inner, least, most = rule
        if not isinstance(value, list):
            text = _NO_LIST
        elif not least <= len(value) <= most:
            text = f"has more than {most} entries" if value else _EMPTY
        else:
            for index, item in enumerate(value):
                yield from _wrong(inner, item, (*path, index))
    elif isinstance(rule, range):
        if not isinstance(value, int) or isinstance(value, bool):
            text = "must be a whole number"
        elif value not in rule:
            text = f"must be at least {rule[0]}" if value < rule[0] else f"must be at most {rule[-1]}"
    elif isinstance(rule, tuple):
        if value not in rule:
            said = re.sub(", ([^,]*)$", r" or \1", f"must be {', '.join(map(repr, rule))}")
            yield _Wrong(path, said, said + _meant(value, rule[1:] and rule))
    elif rule is not object:
        yield from _wrong(rule(value), value, path)
    if text:
        yield _Wrong(path, text)


def _wrong_text(rule: Text, value: Any, path: Path) -> Iterator[_Wrong]:
    if not isinstance(value, str):
        yield _Wrong(path, _NO_TEXT)
    elif not rule.least <= len(value) <= rule.most:
        yield _Wrong(path, f"has more than {rule.most} characters" if value else _EMPTY)
    else:
        try:
            for test in rule.tests:
                test(value)
        except ValueError as error:
            yield _Wrong(path, *error.args)


def _wrong_fields(fields: Mapping[str, Rule], value: Mapping[str, Any], path: Path) -> Iterator[_Wrong]:
    rules = {key.rstrip("?"): rule for key, rule in fields.items() if key != "*"}
    missing = [name for name in rules if name not in value]
    needed = [name for name in missing if name in fields]
    unknown = [name for name in value if name not in rules]
    for name in unknown if "*" in fields else ():  # first: a misspelt field would be missing
        near = get_close_matches(name.lower(), needed, n=1) or get_close_matches(name.lower(), missing, 1, 0.8)
        if near:
            yield _Wrong(path, f"unknown field {name[:60]}; did you mean {near[0]}?")
            return
    for name, rule in rules.items():
        if name in value:
            yield from _wrong(rule, value[name], (*path, name))
        elif name in needed:
            yield _Wrong((*path, name), _MISSING)
    if "*" not in fields:
        yield from (_Wrong((*path, name), _UNKNOWN) for name in unknown)


def _must(be: Callable[[str], object], or_else: str, *, least: int = 0, most: int = MANY) -> Text:
    """Return the rule for texts that pass a test; `or_else` says what is wrong."""

    def test(text: str) -> None:
        if not be(text):
            raise ValueError(or_else)

    return Text(least, most, (test,))


def _matches(pattern: str, or_else: str) -> Text:
    return _must(re.compile(pattern, re.DOTALL).fullmatch, or_else)


def _id(prefix: str) -> Text:
    return _matches(f"{prefix}.+", f"must be an id that begins with {prefix}")


def _id_or_name(prefix: str, kind: str) -> Text:
    def test(text: str) -> None:
        wanted = f"an id ({prefix}…) or a name"
        try:
            if not text.startswith(prefix) or text == prefix:  # else an id, whatever it is made of
                id_or_name(text, prefix, kind, wanted)
        except UsageError as error:
            raise ValueError(f"must be {wanted}", f"must be {wanted}: {error.message}") from None

    return Text(tests=(test,))


def _alone(id: str) -> None:
    if odd := NOT_OF_AN_ID.search(id):
        raise ValueError("must be only the id", f"must be only the id, without {odd[0]!r}")


def _cron_expression(expression: str) -> None:
    try:
        cron.parse(expression)
    except ValueError as error:
        raise ValueError("invalid cron expression", str(error)) from None


def _time_zone(name: str) -> None:
    try:
        cron.zone(name)
    except ValueError as error:
        if known := _zones():  # without time zone data there is no telling
            near = get_close_matches(name.lower(), known, n=1)
            meant = f"; did you mean {known[near[0]]}?" if near else ""
            raise ValueError("unknown time zone", f"{error}{meant}") from None


@cache
def _zones() -> dict[str, str]:
    import zoneinfo

    return {name.lower(): name for name in sorted(zoneinfo.available_timezones())}


def _meant(wrong: Any, words: Iterable[str]) -> str:
    """Return a suggestion for a mistyped word, or nothing."""
    near = get_close_matches(wrong, words, n=1) if isinstance(wrong, str) else []
    return f"; did you mean {near[0]}?" if near else ""


def or_null(rule: Rule) -> Rule:
    """Return the rule for a value that may be null."""
    return lambda value: object if value is None else rule


def _block(value: Any) -> Rule:
    return {"type": Text(), "*": object} | ({"text": Text()} if mapping(value).get("type") == "text" else {})


def _event(value: Any) -> Rule:
    return _OUTCOME if mapping(value).get("type") == _EVENTS[1] else _MESSAGE


_MESSAGE = {"type": _EVENTS, "content": [_block, 1, MANY], "*": object}
_OUTCOME = {  # the agent's goal, and how it is judged (api/facts.md, 2.3)
    "type": object,
    "description": Text(1),
    "rubric": Table(Text(), object),
    "max_iterations?": range(1, 21),
    "*": object,
}
_RESOURCE = {  # for the session (api/facts.md, 1.2 and 4); the server judges it
    "type": ("file", "github_repository", "git_repository", "memory_store"),
    **dict.fromkeys(("file_id?", "mount_path?", "url?", "checkout?"), object),
    **dict.fromkeys(("authorization_token?", "password?"), or_null(Text())),
    **dict.fromkeys(("memory_store_id?", "access?", "instructions?", "*"), object),
}
_CREDITS = _matches(
    r"(?=.*[1-9])[0-9]{1,12}(\.[0-9]{1,2})?",
    "must be an amount above 0, with at most 12 digits before the point and 2 after it",
)
_AGENT = _id_or_name("agent_", "agent")
_VARIABLES = _must(
    lambda text: assignments(text) is not None,
    "must be NAME=VALUE pairs, each on a line of its own or with ; between them",
)
_VARIABLE = Table(
    _matches(ENV_NAME, "is not a valid variable name: no =, ; or line break, and no space around it"),
    _matches(r"[^;\r\n]*", "must not contain a line break or ;, which the API cannot carry"),
)
_INSIDE: dict[str, dict[str, Rule]] = {
    "agent": {"id": _AGENT, "type": ("agent",), "version?": range(1, MANY)},
    "schedule": {
        "type": ("cron",),
        "expression": Text(tests=(_cron_expression,)),
        "timezone": Text(tests=(_time_zone,)),
    },
    "budget": {"type": ("limit",), "max_credit_cost": _CREDITS},
}
_DEPLOYMENT: dict[str, Rule] = {  # all that a file may have; an update may have any one of them
    "id?": Text(0, 256, (*_id("dep_").tests, _alone)),
    "name?": _must(str.strip, "is blank", most=256),
    "description?": or_null(Text(most=2048)),
    "agent?": lambda value: _AGENT if isinstance(value, str) else _INSIDE["agent"],
    "environment_id?": _id("env_"),
    "environment?": _id_or_name("env_", "environment"),
    "environment_variables?": lambda value: _VARIABLES if isinstance(value, str) else _VARIABLE,
    "schedule?": or_null(_INSIDE["schedule"]),
    "message?": Text(1),  # short for one user.message; normal.py has written out right ones
    "initial_events?": [_event, 1, 50],
    "resources?": [_RESOURCE, 0, 500],
    "vault_ids?": [_id("vault_"), 0, 50],
    "vaults?": [_id_or_name("vault_", "vault"), 0, 50],
    "metadata?": Table(_must(lambda key: key != RESERVED, "is read-only; remove it", most=64), Text(0, 512), 16),
    "budget?": or_null(_INSIDE["budget"]),
}
_SHAPES = {
    "model": "must be the id of a model, or a mapping of fields",
    "agent": "must be an agent's id or name, or a mapping of id and version",
    "environment_variables": "must be a mapping of names and values, or a text of NAME=VALUE lines",
    "schedule": "must be a mapping of expression and timezone, or null",
    "budget": "must be an amount in credits, or null",
}


def check(fields: Mapping[str, Any], said: Node, *, at: Path = (), rules: Rule = _DEPLOYMENT) -> list[Problem]:
    """Return all problems of fields in normal form, with lines and fields of the file.

    `said` is the tree they came from, which knows the lines; `at` is its place in the
    document. No problem shows anything that came from a variable.
    """
    return [_problem(wrong, said, at) for wrong in islice(_wrong(rules, dict(fields), ()), _MOST)]


def _problem(wrong: _Wrong, said: Node, at: Path) -> Problem:
    """Return the problem, at its place in the file, which may have a short form."""
    path: Path = ()
    node, text = said, wrong.text
    for step in wrong.path:
        if child := node.child(step):
            node = child
            path += (step,)
    if text == _MISSING and isinstance(node.content, dict):
        path += wrong.path[-1:]
    elif text == _UNKNOWN:
        text = _unknown(path)
    elif text == _NO_MAPPING:
        text = _SHAPES.get(spelled(path), text)
    elif text == _NO_LIST and node.content == "":  # a text is allowed too
        text = _EMPTY
    elif text == _NO_TEXT and node.content is None:
        text += ", not null"
    elif text == _NO_TEXT and not isinstance(node.content, dict | list):
        text += "; put it in quotes"
    elif not node.has_filled():
        text = wrong.shown or text
    return Problem(text, line=node.line, path=(*at, *path))


def _unknown(path: Path) -> str:
    name, fields = str(path[-1]), _DEPLOYMENT
    if len(path) > 1:
        fields = _INSIDE.get(str(path[0]), _DEPLOYMENT)
    elif name in READ_ONLY:
        return "is read-only; remove it"
    elif parent := next((one for one, inside in _INSIDE.items() if {name, f"{name}?"} & set(inside)), None):
        return f"{_UNKNOWN}; did you mean {parent}.{name}?"
    return _UNKNOWN + _meant(name.lower(), [key.rstrip("?") for key in fields])
