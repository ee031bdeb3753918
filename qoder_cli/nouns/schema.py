"""What a body may hold, in one vocabulary: classes of annotated fields, and what marks them.

`nouns.checking` tells what is wrong in a file by it, the sandbox refuses by it, and options, JSON Schema and
generated bodies are made from it. pydantic reads it, and is imported only when something is checked.

    class Schedule(Fields):
        type: Literal["cron"]
        expression: Annotated[str, must(cron.parse), "Five fields."]   # a text says what it is for
        timezone: Annotated[str, must(cron.zone)] = UNSET              # may be left out
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple, TypeVar, cast, get_args

from qoder_cli.base.model import filled
from qoder_cli.base.places import Path

F = TypeVar("F", bound=Callable[..., Any])

UNSET: Final[Any] = None  # the field may be left out; where null clears, it may be null
NEEDED_THERE: Final[Any] = "needed there"  # the server needs it, a file may leave that to the server
IMPLIED: Final[Any] = "implied"  # the same: the short form in a file has no such field
KEPT: Final[Any] = "kept"  # it may be left out, and cannot be null

Where = Literal["file", "server"]


class Reader(NamedTuple):
    """Who reads a body: a file of this program, or the server that gets it. Each refuses other things."""

    where: Where
    null_clears: bool = False  # in the body itself: that of an update


class Field(NamedTuple):
    """A field of a class: its annotation, and what marks it."""

    hint: Any
    default: Any = ...
    about: str = ""
    option: "Option | None" = None
    is_secret: bool = False
    is_servers: bool = False  # only the server sets it
    stands_for: str = ""  # the field of the API that it is a short form of, in a file

    @property
    def is_needed(self) -> bool:
        """Return whether the server needs it."""
        return self.default in (..., NEEDED_THERE, IMPLIED)


class Fields:
    """A mapping of fields.

    What else is in it is `refused`; `slips`: kept in a file unless it looks like a mistyped field, for a newer
    server may know it, and refused by this one; or `open`: this one keeps it, too. `called` is what to write
    instead of what is no mapping.
    """

    unknown: ClassVar[Literal["refused", "slips", "open"]] = "slips"
    called: ClassVar[str] = ""
    is_body: ClassVar[bool] = False

    def __init_subclass__(cls, unknown: Any = None, called: str = "") -> None:
        cls.unknown, cls.called = unknown or cls.unknown, called

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema as core

        fields = {
            name: core.typed_dict_field(handler.generate_schema(field.hint), required=field.default is ...)
            for name, field in fields_of(cls).items()
            if not field.is_servers
        }
        extra: Any = "forbid" if cls.unknown == "refused" else "allow"
        inner = core.typed_dict_schema(fields, extra_behavior=extra)
        return core.with_info_wrap_validator_function(lambda *given: _read(cls, *given), inner)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        built = handler(schema)
        fields = {name: field for name, field in fields_of(cls).items() if not field.is_servers}
        for name, field in fields.items():
            built["properties"][name].pop("title", None)  # its name once more
            if field.about:
                built["properties"][name]["description"] = field.about
            if field.is_secret:
                built["properties"][name]["writeOnly"] = True
        built["required"] = [name for name, field in fields.items() if field.is_needed and field.default != IMPLIED]
        if cls.unknown != "refused":
            built.pop("additionalProperties", None)
        if cls.__doc__:
            built = {"description": " ".join(cls.__doc__.split()), **built}
        return built


def _once(function: F) -> F:
    """Return a function with `cache`, for classes: to mypy these are not hashable."""
    return cast(F, cache(function))


@_once
def fields_of(cls: type[Fields]) -> dict[str, Field]:
    """Return the fields of a class, by name."""
    fields = {}
    owner_of = {name: owner for owner in reversed(cls.__mro__[:-2]) for name in owner.__annotations__}
    for name, owner in owner_of.items():
        hint = owner.__annotations__[name]
        marks = getattr(hint, "__metadata__", ())
        about = [mark for mark in marks if isinstance(mark, str)]
        option = next((mark for mark in marks if isinstance(mark, Option)), None)
        stands_for = next((mark.field for mark in marks if isinstance(mark, StandsFor)), "")
        default, is_secret, is_servers = vars(owner).get(name, ...), SECRET in marks, SERVERS in marks
        fields[name] = Field(hint, default, about[-1] if about else "", option, is_secret, is_servers, stands_for)
    return fields


def body(cls: type[Fields], names: Sequence[str], needed: Sequence[str], cleared: Sequence[str]) -> type[Fields]:
    """Return the class of a body: some fields of another class; `needed` ones, and those that null clears."""
    fields = fields_of(cls)
    names = tuple(name for name in fields if name in names)
    space: dict[str, Any] = {"__annotations__": {name: fields[name].hint for name in names}, "__doc__": cls.__doc__}
    space |= {name: UNSET if name in cleared else KEPT for name in names if name not in needed}
    return type(cls.__name__, (Fields,), space | {"is_body": True}, unknown="refused")


def inside(hint: Any) -> Iterator[type[Fields]]:
    """Yield the classes of fields that an annotation names, also within lists and unions."""
    if isinstance(hint, type) and issubclass(hint, Fields):
        yield hint
    for choice in get_args(hint):
        yield from inside(choice)


Marked = Literal["is_secret", "is_servers"]


def secrets_in(cls: type[Fields], value: Any) -> Iterator[tuple[Path, Any]]:
    """Yield the secrets of a mapping, by their places; of a union, those of each class."""
    return _marked(cls, value, "is_secret", ())


def servers_in(cls: type[Fields], value: Any) -> Iterator[tuple[Path, Any]]:
    """Yield what only the server sets of a mapping, by its places."""
    return _marked(cls, value, "is_servers", ())


def _marked(cls: type[Fields], value: Any, mark: Marked, at: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _marked(cls, item, mark, (*at, number))
    if not isinstance(value, dict):
        return
    for name, classes in _leading_to(cls, mark):
        if not classes and name in value:
            yield (*at, name), value[name]
        elif isinstance(value.get(name), dict | list):
            inner = [place for cls in classes for place in _marked(cls, value[name], mark, (*at, name))]
            yield from dict(inner).items()


@_once
def _leading_to(cls: type[Fields], mark: Marked) -> Sequence[tuple[str, Sequence[type[Fields]]]]:
    """Return the fields of a class with a mark, and those with it somewhere inside, by the classes there."""
    fields: list[tuple[str, Sequence[type[Fields]]]] = []
    for name, field in fields_of(cls).items():
        classes = [inner for inner in inside(field.hint) if _leading_to(inner, mark)]
        if getattr(field, mark):
            fields.append((name, ()))
        elif classes:
            fields.append((name, classes))
    return fields


def without(value: Any, places: Iterable[tuple[Path, Any]]) -> Any:
    """Return a JSON value without what stands at some places; nothing of the old one is changed."""
    for (first, *rest), _ in places:
        if isinstance(value, list) and isinstance(first, int):
            value = [without(item, [((*rest,), _)]) if at == first else item for at, item in enumerate(value)]
        elif isinstance(value, dict) and rest and first in value:
            value = {**value, first: without(value[first], [((*rest,), _)])}
        elif isinstance(value, dict):
            value = {name: item for name, item in value.items() if name != first}
    return value


def _read(cls: type[Fields], value: Any, handler: Any, info: Any) -> Any:
    """Return a mapping as it is kept. Raises what pydantic turns into problems."""
    reader: Reader = info.context
    if not isinstance(value, dict):
        if cls.called:
            raise ValueError(f"must be {cls.called}")
        return handler(value)
    fields, is_server = fields_of(cls), reader.where == "server"
    unknown = [name for name in value if name not in fields]
    if unknown and is_server and cls.unknown != "open":
        raise _problem("unknown", unknown[0])
    if cls.unknown != "refused":
        refuse_slips(unknown, {name: field for name, field in fields.items() if name not in value})
    for name, field in fields.items() if is_server else ():
        if field.is_needed and name not in value:
            raise _problem("missing", name)
    clears = is_server or cls.unknown != "refused"
    if cls.is_body and not is_server:
        clears = reader.null_clears
    nulls = {name: None for name in value if clears and value[name] is None and name in fields}
    nulls = {name: None for name in nulls if fields[name].default in (UNSET, NEEDED_THERE)}
    if is_server:
        nulls = {name: None for name in nulls if not fields[name].is_needed}
    kept = handler({name: given for name, given in value.items() if name not in nulls}) | nulls
    if is_server:
        kept = {name: given for name, given in kept.items() if name not in fields or not fields[name].is_secret}
    return {name: kept[name] for name in value if name in kept}


def refuse_slips(names: list[str], missing: dict[str, Field]) -> None:
    """Raise ValueError for a name that looks like that of a field that is missing."""
    needed = [name for name, field in missing.items() if field.is_needed]
    for name in names:
        near = get_close_matches(name.lower(), needed) or get_close_matches(name.lower(), missing, cutoff=0.8)
        if near:
            raise ValueError(f"unknown field {name[:60]}; did you mean {near[0]}?")


def _problem(kind: str, name: str, **more: Any) -> Exception:
    from pydantic_core import PydanticCustomError

    return PydanticCustomError(kind, "{name}", {"name": name, **more})


# What marks a field.


class Option(NamedTuple):
    """The option of a command that sets a field; its help, if it has none, is what the field is for."""

    name: str
    metavar: str
    help: str = ""
    is_repeatable: bool = False


class StandsFor(NamedTuple):
    """Marks a field of a file as a short form of one of the API."""

    field: str


SECRET, SERVERS = object(), object()
ByServer = Annotated[Any, SERVERS]


class Shown(NamedTuple):
    """What JSON Schema says of a field besides: examples, or what else may be written in a file, as `anyOf`."""

    more: dict[str, Any]

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        built = handler(schema)
        if others := self.more.get("anyOf"):
            return {"anyOf": [*others, built]}
        return built | self.more


@dataclass(frozen=True)
class Size:
    """How long a text or a list is."""

    least: int | None = None
    most: int | None = None
    limits: ClassVar = ("min_length", "max_length")

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return handler(source) | filled(dict(zip(self.limits, (self.least, self.most), strict=True)))


class Range(Size):
    """How large a whole number is."""

    limits = ("ge", "le")


class ValueReader(ABC):
    """What reads a value of a field: it may refuse it, and change it before or after all else reads it."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        def read(value: Any, read_on: Any, info: Any) -> Any:
            return self.read(value, read_on, info.context)

        return core_schema.with_info_wrap_validator_function(read, handler(source))

    @abstractmethod
    def read(self, value: Any, read_on: Callable[[Any], Any], reader: Reader) -> Any:
        """Return a value as it is kept; `read_on` is all else. Raises ValueError with what is wrong."""


@dataclass(frozen=True)
class Rule(ValueReader):
    """What a value must pass: a function that raises ValueError with what is wrong.

    A second argument of the error shows the value: it is for a value that did not come from a variable.
    """

    check: Callable[[Any], object]
    where: Where | None = None  # the only reader that it is for
    pattern: str = ""  # which says the same
    otherwise: "Callable[[Any], object] | None" = None  # for the other reader

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        built = handler(schema)
        if self.pattern:
            built["pattern"] = f"^(?:{self.pattern})$"
        return built

    def read(self, value: Any, read_on: Callable[[Any], Any], reader: Reader) -> Any:
        value = read_on(value)
        if self.where in (None, reader.where):
            self.check(value)
        elif self.otherwise:
            self.otherwise(value)
        return value


def must(test: Callable[[Any], object], or_else: str, *, where: Where | None = None) -> Rule:
    """Return the rule that a test holds; `or_else` says what is wrong."""

    def check(value: Any) -> None:
        if not test(value):
            raise ValueError(or_else)

    return Rule(check, where)


def like(pattern: str, or_else: str) -> Rule:
    """Return the rule that a text fits a pattern; `or_else` says what is wrong."""

    def check(text: str) -> None:
        if not _compiled(pattern).fullmatch(text):
            raise ValueError(or_else)

    return Rule(check, pattern=pattern)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.DOTALL)


def id_of(prefix: str) -> Rule:
    """Return the rule for ids of one kind."""
    return like(f"{prefix}.+", f"must be an id that begins with {prefix}")


def id_or_name(prefix: str, kind: str) -> Rule:
    """Return the rule for what is an id or, in a file, a name."""

    def check(text: str) -> None:
        from qoder_cli.base import ids
        from qoder_cli.base.errors import UsageError

        wanted = f"an id ({prefix}…) or a name"
        if text.startswith(prefix) and text != prefix:
            return  # an id, whatever it is made of
        try:
            ids.id_or_name(text, prefix, kind, wanted)
        except UsageError as error:
            raise ValueError(f"must be {wanted}", f"must be {wanted}: {error.message}") from None

    return Rule(check, "file", otherwise=id_of(prefix).check)


@dataclass(frozen=True)
class ServerWords(ValueReader):
    """Words that the server knows; a file may have newer ones, but none that looks like a slip."""

    words: tuple[str, ...]

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        return handler(schema) | {"examples": list(self.words)}

    def read(self, value: Any, read_on: Callable[[Any], Any], reader: Reader) -> Any:
        word = read_on(value)
        near = slip_of(word, self.words)
        if word not in self.words and (near or reader.where == "server"):
            raise _one_of(self.words, near)
        return word


def slip_of(word: str, words: tuple[str, ...]) -> str | None:
    """Return the word that a mistyped one is meant to be; only digits differ in that of a newer version."""
    if re.sub("[0-9]", "0", word) in [re.sub("[0-9]", "0", known) for known in words]:
        return None
    return next(iter(get_close_matches(word, words, n=1)), None)


def _one_of(words: tuple[str, ...], near: str | None, *, name: str = "") -> Exception:
    quoted = [f"'{word}'" for word in words]
    expected = " or ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))
    return _problem("one_of", name, expected=expected, near=near, words=words)


@dataclass(frozen=True)
class Short(ValueReader):
    """A mapping that may be written as the text of one of its fields."""

    field: str
    called: str  # what may be written
    more: tuple[tuple[str, str], ...] = ()  # what else the mapping has then

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        return {"anyOf": [{"type": "string", "minLength": 1}, handler(schema)]}

    def read(self, value: Any, read_on: Callable[[Any], Any], reader: Reader) -> Any:
        if isinstance(value, str):
            value = {self.field: value, **dict(self.more)}
        if not isinstance(value, dict):
            raise ValueError(f"must be {self.called}")
        return read_on(value)


class ByType(NamedTuple):
    """A union discriminated by `type`. A last class without types of its own takes every other type.

    A file may have a `newer` type, that only a server knows. With `whole`, what is wrong is said of the mapping.
    """

    newer: bool = False
    default: str = ""  # the type of a file without one
    whole: str = ""
    judge: Where | None = None  # the only reader that looks into it

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema as core

        by_type = dict(types_of(source))
        choices = {f"[{type}]": handler.generate_schema(cls) for type, cls in by_type.items()}

        def tag(value: Any) -> str:
            type = value.get("type") if isinstance(value, dict) else next(iter(by_type))
            return f"[{type if type in by_type else ''}]"

        union = core.tagged_union_schema(choices, tag)
        return core.with_info_wrap_validator_function(lambda *given: self._chosen(by_type, *given), union)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        built = handler(schema)
        choices = built.get("oneOf", [built])
        if self.newer:
            named = [choice["properties"]["type"] for choice in choices]
            types = [type for schema in named for type in schema.get("enum") or [schema["const"]]]
            type = {"type": "string", "not": {"enum": types}}
            choices = [*choices, {"type": "object", "properties": {"type": type}, "required": ["type"]}]
        return {"anyOf": choices}

    def _chosen(self, by_type: dict[str, type[Fields]], value: Any, handler: Any, info: Any) -> Any:
        is_server, types = info.context.where == "server", tuple(filter(None, by_type))
        if not isinstance(value, dict):
            return handler(value)
        if self.judge not in (None, info.context.where):
            return value
        if self.default and not is_server:
            if not value:
                raise ValueError("is empty, and the API refuses that; give it a type")
            value = {"type": self.default, **value}
        if "type" not in value:
            if not is_server:
                refuse_slips(list(value), {"type": Field(str)})
            if self.whole and not is_server:
                raise ValueError(f"needs a type: {self.whole}")
            raise _problem("missing", "type")
        type = value.get("type")
        if not isinstance(type, str):
            raise _problem("text", "type")
        if type not in by_type and "" not in by_type:
            near = slip_of(type, types)
            if self.newer and not is_server and near is None:
                return value
            if self.whole and not is_server:
                raise _problem("whole", "", expected=", ".join(f"'{type}'" for type in types), near=near)
            raise _one_of(types, near, name="type")
        return handler(value)


def types_of(union: Any) -> Iterator[tuple[str, type[Fields]]]:
    """Yield the types of a union's classes, each with its class; that of all others is empty."""
    for cls in get_args(union):
        named = get_args(fields_of(cls)["type"].hint)
        for type in named or ("",):
            yield type, cls


class Violation(NamedTuple):
    """Something wrong: a kind of pydantic's or of ours, where it is, and what its words need."""

    kind: str
    path: tuple[str | int, ...]
    context: dict[str, Any]


@_once  # each takes a moment to make
def _adapter(cls: type[Fields]) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def check(cls: type[Fields], value: Any, reader: Reader, *, most: int = 1) -> tuple[Any, list[Violation]]:
    """Return the validated body, and its violations, at most `most`. The body is None if there are any."""
    from pydantic import ValidationError

    try:
        return _adapter(cls).validate_python(value, strict=True, context=reader), []
    except ValidationError as error:
        violations = []
        for detail in error.errors(include_url=False, include_input=False)[:most]:
            context = detail.get("ctx", {})
            path = [step for step in detail["loc"] if not str(step).startswith("[")]  # our tags, or `[key]`
            violations.append(Violation(detail["type"], (*path, *filter(None, [context.get("name")])), context))
        return None, violations


def json_schema(cls: type[Fields]) -> dict[str, Any]:
    """Return the JSON Schema of a body, whole in itself."""
    built: dict[str, Any] = _adapter(cls).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **built}
