"""Amounts of credits: exact decimals, as a server or a person wrote them (api.md#sessions)."""

import re
from collections.abc import Iterable
from decimal import ROUND_FLOOR, Context, Decimal, Inexact

from qoder_cli.base.jsontext import Number

_MOST_DIGITS = 40  # of an amount, before the point and behind it: others are no amounts
_AMOUNT = re.compile(r"\d+(\.\d+)?([eE][+-]?\d{1,4})?", re.ASCII)
_EXACT = Context(prec=200, traps=[Inexact])  # sums of a million such amounts have fewer digits
_CENT = Decimal("0.01")


def amount(value: object) -> Decimal | None:
    """Return an amount as it was written; None for what is none: missing, no number, negative, or absurd."""
    if isinstance(value, bool) or not isinstance(value, int | str | Number):
        return None
    written = str(value).strip()
    if not _AMOUNT.fullmatch(written):
        return None
    number = Decimal(written)
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)  # it is finite
    if number.adjusted() >= _MOST_DIGITS or exponent < -_MOST_DIGITS:
        return None
    return number


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Return the exact sum."""
    whole = Decimal(0)
    for amount in amounts:
        whole = _EXACT.add(whole, amount)
    return whole


def share(amount: Decimal, count: int) -> Decimal:
    """Return what one of several has on average, floored to two places."""
    return (amount / count).quantize(_CENT, rounding=ROUND_FLOOR, context=Context(prec=100))


def as_text(amount: Decimal) -> str:
    """Return an amount with all its digits and no exponent."""
    return f"{amount:f}"
