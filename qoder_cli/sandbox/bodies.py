"""What callers may write in create and update: what the schemas of the nouns say, in a server's words."""

from qoder_cli.nouns.schema import Reader, Violation, check
from qoder_cli.nouns.table import Operation
from qoder_cli.nouns.table import body_of as schema_of
from qoder_cli.sandbox.wire import Refusal, Shape, invalid, unknown_field

_SERVER = Reader("server")
_WORDS = {
    "string_type": "a text",
    "text": "a text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "string_too_short": "a text of at least {min_length} characters",
    "string_too_long": "a text of at most {max_length} characters",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
    "literal_error": "{expected}",
    "one_of": "{expected}",
}


def body_of(operation: Operation, body: Shape) -> Shape:
    """Return the fields that a body sets, without its secrets. Raises Refusal, naming the field at fault."""
    kept, wrong = check(schema_of(operation), body, _SERVER)
    for problem in wrong:
        raise _refusal(problem)
    fields: Shape = kept
    return fields


def _refusal(wrong: Violation) -> Refusal:
    at, context = ".".join(map(str, wrong.path)), wrong.context
    if wrong.kind == "missing":
        return invalid(f"Missing required field: {at}", at)
    if wrong.kind in ("unknown", "extra_forbidden"):
        return unknown_field(str(wrong.path[-1]), at)
    if wrong.kind == "value_error":
        return invalid(f"{at} {context['error'].args[-1]}.", at)
    return invalid(f"{at} must be {_WORDS.get(wrong.kind, 'something else').format_map(context)}.", at)
