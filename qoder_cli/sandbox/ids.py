"""Ids as the live service makes them: a prefix, and 20 digits of base 36 (api/facts.md, 7.2)."""

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
LENGTH = 20


def base36(number: int, length: int) -> str:
    """Return the last `length` digits of a number in base 36, with zeros in front of a small one."""
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 36)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
