"""What a policy says of a call, in JSON."""

from typing import Annotated, Literal, TypedDict

Answer = Literal["allow", "deny", "ask"]

_RULE = "the rule that decides, or null"


class VerdictData(TypedDict):
    """What a policy says of a call."""

    answer: Annotated[Answer, "allow, deny, or ask: left for a person"]
    line: Annotated[int | None, _RULE]
    rule: Annotated[str | None, _RULE]
    why: Annotated[str | None, "why it is left for a person, or null"]
