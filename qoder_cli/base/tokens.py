"""Recognise tokens by their shape, so that no message repeats one. Kept light: every line passes here."""

import re
from functools import cache
from typing import Any

REDACTED = "[redacted]"

# A token may stand behind `-o`, or behind an escape such as `\n`, `\u001b` or `%2F`.
_BEFORE = r"(?:(?<![A-Za-z0-9])|(?<=-[A-Za-z])|(?<=\\[nrt])|(?<=\\x[0-9a-f]{2})"
_BEFORE += r"|(?<=\\u[0-9a-f]{4})|(?<=%[0-9A-Fa-f]{2}))"
# The hyphen of a token, also as a URL spells it, or a word processor.
_HYPHEN = "(?:-|%2D|\u2010|\u2011)"
# A personal access token, or a JSON web token, which service accounts use (api.md#tokens), also
# one that was cut.
# `pt-br` and `pt-pt` are languages.
_SHAPE = _BEFORE + r"(?:(?i:pt" + _HYPHEN + r"(?!(?:br|pt)\b)[\w.~+/=-]{6,})|eyJ[\w-]{5,}(?:\.[\w-]*)*)"
_SURE = _BEFORE + r"(?:pt-(?!(?:br|pt)\b)(?=[\w.~+=-]*[0-9A-Z])[\w.~+=-]{10,}|eyJ[\w-]{5,}\.[\w-]+\.[\w-]*)"
# Tokens of others: GitHub, GitLab, OpenAI and Anthropic, Stripe, Slack, Hugging Face, npm, PyPI, AWS, Google; a key.
_OTHERS = (
    _BEFORE + r"(?:gh[pousr]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}"
    r"|[sr]k[-_](?=[\w-]*[0-9])(?=[\w-]*[A-Za-z0-9]{16})[\w-]{16,}|xox[abeoprs]-[\w-]{10,}"
    r"|hf_[A-Za-z0-9]{20,}|npm_[A-Za-z0-9]{20,}|pypi-AgE[\w-]{16,}|AKIA[0-9A-Z]{16}(?!\w)|AIza[\w-]{30,})"
    r"|-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"
)
_BEGINNINGS = (
    *("eyj", "pt-", "pt%2d", "pt\u2010", "pt\u2011", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-"),
    *("sk-", "sk_", "rk-", "rk_", "xox", "hf_", "npm_", "pypi-", "akia", "aiza", "private key"),
)
# User and password in a URL, also in one that is itself quoted in a URL.
_USER_INFO = r"(?i)(:\\{0,4}/\\{0,4}/)(?!\*+@)[^\s/?#\"'<>\\]+@|(%3A%2F%2F)(?:(?!%2F|%3F|%23)[^\s&\"'<>])+?%40"
_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"  # RFC 3986, 2.3

# Names of what is a secret: of headers, fields of JSON, and parameters of queries and forms.
NAMES = (
    r"authorization|\bauth\b|cookie|token|secret|passw|pass_?phrase|pass_?code|pwd|credential|signature|\bjwt\b"
    r"|(?:api|private|access|auth|session|signing|encryption|deploy|ssh|account|master|shared|license)[-_]?key"
    r"|connection_?string|environment_variables|headers\b"
)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Return a pattern, compiled when first needed: that takes a millisecond."""
    return re.compile(pattern)


def is_token(text: str) -> bool:
    """Return whether a text is a token, and nothing else."""
    return _compiled(_SHAPE).fullmatch(text.strip()) is not None


def names_token(path: str) -> bool:
    """Return whether a text contains what can only be a token, ours or another's; `pt-weekly` may be a folder."""
    may_begin = any(map(path.lower().__contains__, _BEGINNINGS))
    return may_begin and _compiled(f"{_SURE}|{_OTHERS}").search(path) is not None


def without_tokens(text: str) -> str:
    """Return a text without tokens, and without the user and password of URLs."""
    if any(map(text.lower().__contains__, _BEGINNINGS)):  # before a pattern is needed
        text = _compiled(f"{_SHAPE}|{_OTHERS}").sub(REDACTED, text)
    if "@" in text or "%40" in text:
        text = _compiled(_USER_INFO).sub(rf"\g<1>\g<2>{REDACTED}@", text)
    return text


@cache
def encoded(secret: str) -> tuple[str, ...]:
    """Return a secret as base 64, hexadecimal and a URL spell it, also within a longer text."""
    from binascii import b2a_base64  # cheaper than the modules around it: every command comes by here

    data = secret.encode("utf-8", "replace")
    spellings = [data.hex(), data.hex().upper()]
    for case in ("02x", "02X"):
        spellings += ["".join(f"%{byte:{case}}" for byte in data)]
        spellings += ["".join(chr(byte) if byte in _UNRESERVED else f"%{byte:{case}}" for byte in data)]
    for before in range(3):
        code = b2a_base64(bytes(before) + data, newline=False).decode().rstrip("=")
        core = code[(before * 8 + 5) // 6 :]  # what stands before shares the first character
        core = core[: len(core) - bool((len(data) + before) % 3)]
        spellings += [core, core.translate(str.maketrans("+/", "-_"))]
    return tuple(spellings)


def shown(value: Any) -> Any:
    """Return a JSON value without tokens."""
    if isinstance(value, str):
        return without_tokens(value)
    if isinstance(value, list):
        return [shown(item) for item in value]
    if isinstance(value, dict):
        return {without_tokens(key): shown(item) for key, item in value.items()}
    return value
