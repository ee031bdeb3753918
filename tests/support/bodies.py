"""Bodies that a JSON Schema allows, and what is wrong with one once it was changed."""

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]

_TEXT = st.text("abcXYZ_19", min_size=1, max_size=12)
# Null is none of them: a server may take it for what is not there, and a file asks what was meant.
_ODD: tuple[Any, ...] = (7, True, [], "", {"odd": 1})


def bodies(schema: Json) -> st.SearchStrategy[Any]:
    """Return what generates values that a schema allows: what `qoder schema` prints, and no more of JSON Schema."""
    if "examples" in schema:
        return st.sampled_from(schema["examples"])
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.one_of(*map(bodies, schema["anyOf"]))
    match schema.get("type"):
        case "object":
            fields = {name: bodies(inner) for name, inner in schema.get("properties", {}).items()}
            needed = {name: fields.pop(name) for name in schema.get("required", ())}
            return st.fixed_dictionaries(needed, optional=fields)
        case "array":
            most = min(schema.get("maxItems", 3), 3)
            return st.lists(bodies(schema["items"]), min_size=schema.get("minItems", 0), max_size=most)
        case "string" if "pattern" in schema:
            return st.from_regex(schema["pattern"].replace(".+", "[a-z0-9]+"), fullmatch=True)
        case "integer":
            return st.integers(schema.get("minimum", 1), schema.get("maximum", 9))
        case "number":
            return st.integers(1, 9)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
    return _TEXT


def spoiled(body: Any) -> Iterator[Any]:
    """Yield a body with one thing changed: a value of another kind, a field gone, a field too many."""
    yield from _ODD
    if isinstance(body, dict):
        yield {**body, "tunnel_id": "t"}
        for name, inner in body.items():
            yield {key: value for key, value in body.items() if key != name}
            yield {f"{key}s" if key == name else key: value for key, value in body.items()}
            for each in spoiled(inner):
                yield {**body, name: each}
    elif isinstance(body, list):
        for at, inner in enumerate(body):
            for each in spoiled(inner):
                yield [*body[:at], each, *body[at + 1 :]]
