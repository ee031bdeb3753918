"""The JSON Schema of declared types: what is printed as JSON is made as one of these, and told of by it.

A shape is a dataclass (printed by `jsontext.declared`), a NamedTuple or a TypedDict. A text that annotates a field says
what it is for:

    class Wait(TypedDict):
        run: Annotated[str, "run id, drun_…"]
        since: NotRequired[str]                 # may be left out
"""

import types
from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from qoder_cli.base.jsontext import Number
from qoder_cli.base.model import OPEN

JSON = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PLAIN = {str: "string", bool: "boolean", int: "integer", float: "number", Number: "number", types.NoneType: "null"}


class Key(NamedTuple):
    """A key of a shape: what it holds, what that is for, and whether it may be left out."""

    name: str
    hint: Any
    about: str
    is_required: bool


def keys_of(shape: Any) -> Iterator[Key]:
    """Yield the keys of a shape, in the order in which they are declared."""
    for name, hint in get_type_hints(shape, include_extras=True).items():
        is_required = not is_typeddict(shape) or name in shape.__required_keys__
        about = ""
        while get_origin(hint) in (Annotated, NotRequired, Required):
            about = next((mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, str)), about)
            hint = get_args(hint)[0]
        yield Key(name, hint, about, is_required)


def schema_of(hint: Any) -> JSON:
    """Return the JSON Schema of a type, complete in itself. Raises TypeError for what is no JSON."""
    named: dict[str, JSON] = {}
    schema = _of(hint, named)
    return {"$schema": DIALECT, **schema, **({"$defs": named} if named else {})}


def _of(hint: Any, named: dict[str, JSON]) -> JSON:
    args = get_args(hint)
    match get_origin(hint):
        case None if hint is Any:
            return {}
        case None if hint in _PLAIN:
            return {"type": _PLAIN[hint]}
        case None if is_typeddict(hint) or is_dataclass(hint) or hasattr(hint, "_fields"):
            if hint.__name__ not in named:
                named[hint.__name__] = {}  # for one that holds itself
                named[hint.__name__] = _object(hint, named)
            return {"$ref": f"#/$defs/{hint.__name__}"}
        case origin if origin is Literal:
            return {"enum": list(args)}
        case origin if origin is Annotated:
            return {**_of(args[0], named), "description": args[1]}
        case origin if origin in (Union, types.UnionType):
            schemas = [_of(arg, named) for arg in args]
            plain = list(dict.fromkeys(schema["type"] for schema in schemas if schema.keys() == {"type"}))
            rest = [schema for schema in schemas if schema.keys() != {"type"}]
            if len(plain) > 1:
                rest.append({"type": plain})
            elif plain:
                rest.append({"type": plain[0]})
            return rest[0] if len(rest) == 1 else {"anyOf": rest}
        case origin if origin in (list, Sequence):
            return {"type": "array", "items": _of(args[0], named)}
        case origin if origin is dict:
            values = _of(args[1], named)
            return {"type": "object", **({"additionalProperties": values} if values else {})}
    raise TypeError(f"{hint} has no JSON Schema")


def _object(shape: Any, named: dict[str, JSON]) -> JSON:
    keys = list(keys_of(shape))
    properties = {key.name: _of(Annotated[key.hint, key.about] if key.about else key.hint, named) for key in keys}
    return {
        "description": " ".join((shape.__doc__ or "").partition("\n\n")[0].split()),
        "type": "object",
        "properties": properties,
        "required": [key.name for key in keys if key.is_required],
        **({} if OPEN in vars(shape) else {"additionalProperties": False}),
    }
