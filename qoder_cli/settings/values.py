"""Read options, tokens, regions and base URLs as typed.

No message here repeats what it refuses: it may be a token in the wrong place.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from qoder_cli.base.errors import UsageError
from qoder_cli.base.plainfile import read_typed, reason_of
from qoder_cli.base.tokens import is_token, without_tokens
from qoder_cli.output.screen import Format
from qoder_cli.settings.allowed import Purpose

# The choices of options of `deploy run`.
OnLost = Literal["adopt", "resend", "fail"]  # when the response to the trigger is lost
KeyUntil = Literal["started", "completed"]  # how long a key stands for its run
Keys = Literal["required"]  # whether a key needs a store that machines share
OnSkip = Literal["fail", "ok"]  # when the run is skipped
OnLeave = Literal["detach", "cancel"]  # when a wait ends before its run
OnAsk = Literal["stop", "wait", "prompt"]  # when the agent waits for an answer

API_PATH = "/api/v1/cloud"
REGIONS = {  # api.md#hosts-and-regions
    "global": "https://api.qoder.com" + API_PATH,
    "cn": "https://api.qoder.com.cn" + API_PATH,
}
LONGEST_TOKEN = 16 * 1024  # characters; most servers refuse longer headers
_LONGEST_WORKSPACE = 256
_NOT_PRINTABLE = re.compile(r"[^\x21-\x7e]")
_LAST_NEWLINE = re.compile(r"\r?\n\Z")
# Narrower than RFC 3986, so that no other reader can see another host in the text.
_URL = re.compile(
    r"(?:(?P<scheme>https?)://)?"
    r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_][a-z0-9_-]{0,62}(?:\.[a-z0-9_-]{1,63})*\.?)"
    r"(?::(?P<port>[^/]*))?"
    r"(?P<path>/[a-z0-9._~!$&'()*+,;=:%/-]*)?",
    re.ASCII | re.IGNORECASE,
)
_LOOPBACK_NAME = re.compile(r"(?:.+\.)?localhost|127(?:\.\d+){3}|\[::1\]", re.ASCII)


def written(options: Mapping[str, Any]) -> list[str]:
    """Return the options that are given, by their names, as words; a value that looks like an option is bound to it."""
    words: list[str] = []
    for name, given in options.items():
        for value in given if isinstance(given, list | tuple) else [given]:
            if value is True:
                words.append(name)
            elif value is not None and value is not False and str(value).startswith("-"):
                words.append(f"{name}={value}")
            elif value is not None and value is not False:
                words += [name, str(value)]
    return words


@dataclass(eq=False, repr=False)
class Flags:
    """The options that more than one room needs, as typed; None and False if not given."""

    output: Format = "table"
    profile: str | None = None
    region: str | None = None
    base_url: str | None = None
    workspace: str | None = None
    request_timeout: str | None = None
    no_progress: bool = False
    bell: bool = False
    no_input: bool = False
    debug: bool = False
    yes: bool = False
    purpose: Purpose = "all"  # what the command is for
    on_leave: OnLeave = "detach"  # what becomes of a run that a timeout or a signal leaves going
    notify: str | None = None  # the command of --notify
    may_notify: bool = False  # whether this command waits, and may run it
    wait_verb: str = "wait"  # of a command that waits on
    wait_options: Sequence[str] = ()  # its options, as words


def repeated(flags: Flags, *, output: Format = "table") -> list[str]:
    """Return the options for a next command: the same profile and server, and this format."""
    given = {
        "--profile": flags.profile,
        "--region": flags.region,
        "--base-url": flags.base_url,
        "--workspace": flags.workspace,
        "--no-progress": flags.no_progress,
    }
    if output not in ("table", "markdown", "html", "otlp"):  # few commands make those
        given["-o"] = output
    return written(given)


def is_on(env: Mapping[str, str], name: str) -> bool:
    """Return whether a variable is set, and neither empty nor 0."""
    return env.get(name, "") not in ("", "0")


def origin(base_url: str) -> str:
    """Return scheme, host and port of a base URL: what a token belongs to."""
    return "/".join(base_url.split("/")[:3])


def host_of(base_url: str) -> str:
    """Return the `host` or `host:port` of a base URL."""
    return base_url.split("/")[2]


def mask(token: str) -> str:
    """Return a masked token: kind and last four characters; nothing of a short one."""
    if len(token) < 12:
        return "****"
    return f"{'pt-' if token.startswith('pt-') else ''}****{token[-4:]}"


def read_token(text: str, *, source: str) -> str:
    """Return the token in a text, without one newline at its end.

    Raises UsageError, never showing the text, if it is empty, over 16 KiB, or has spaces, control
    or non-ASCII characters. Any shape will do: service tokens are JWTs (api.md#tokens).
    """
    token = _LAST_NEWLINE.sub("", text)
    if not token:
        raise UsageError(f"the token from {source} is empty", hint="use a token that begins with pt-, or a JWT")
    if len(token) > LONGEST_TOKEN:
        raise UsageError(f"the token from {source} is longer than {LONGEST_TOKEN // 1024} KiB")
    if token.lower().startswith("bearer "):
        raise UsageError(f"the token from {source} begins with 'Bearer'", hint="set the token only, without 'Bearer'")
    if token[0] in "\"'":
        raise UsageError(f"the token from {source} begins with a quote", hint="remove the quotes around the token")
    if _NOT_PRINTABLE.search(token):
        what = "contains a space, a line break, or another character that no token has"
        hint = "copy the token again, without anything around it"
        raise UsageError(f"the token from {source} {what}", hint=hint)
    return token


def token_in_file(path: str, *, source: str) -> str:
    """Return the token in a file that a variable names. Raises UsageError, which shows neither: it may hold a token."""
    try:
        text = read_typed(os.path.expanduser(path), None, LONGEST_TOKEN + len("\r\n") + 1).decode("latin-1")
    except (OSError, ValueError) as error:
        hint = f"set {source} to the path of a file that contains only the token"
        raise UsageError(f"cannot read the file of {source}: {reason_of(error)}", hint=hint) from None
    return read_token(text, source=source)


def refuse_token(text: str, *, source: str) -> None:
    """Raise UsageError, never showing the text, if it contains a token."""
    if without_tokens(text) != text:
        what = f"{source} contains a token, or a user name and password; nothing was sent"
        raise UsageError(what, hint="set QODER_PAT to it, or: qoder auth login")


def read_region(text: str, *, source: str) -> str:
    """Return a region's name. Raises UsageError if it is unknown."""
    if text not in REGIONS:
        raise UsageError(f"{source} must be {' or '.join(REGIONS)}", hint="for another server, give its base URL")
    return text


def read_workspace(text: str, *, source: str) -> str:
    """Return a workspace id. Raises UsageError for a token, or what no header takes."""
    refuse_token(text, source=source)
    if len(text) > _LONGEST_WORKSPACE or not text or _NOT_PRINTABLE.search(text):
        raise UsageError(f"{source} must be 1 to {_LONGEST_WORKSPACE} printable ASCII characters without spaces")
    return text


def read_base_url(text: str, *, source: str) -> str:
    """Return a base URL in one spelling: lowercase host, no default port, no final slash.

    A missing scheme is https (http on loopback), a missing path the API's. Raises
    UsageError for what is not plainly a server: user names, queries, fragments, other
    schemes, bad ports; and for plain http to another machine.
    """
    match = _URL.fullmatch(text) if len(text) <= 2048 else None
    if match is None:
        raise _no_url(source)
    # A token as host would reach a name server. `pt-portal.example.com` is none; a JSON web
    # token has dots.
    path, may_be_token = match["path"] or "", "." not in match["host"] or match["host"].startswith("eyJ")
    if (may_be_token and is_token(match["host"])) or without_tokens(path) != path:
        refuse_token(text, source=source)
    host = _host(match["host"].lower(), source)
    scheme = (match["scheme"] or ("http" if is_loopback(host) else "https")).lower()
    if scheme == "http" and not is_loopback(host):
        raise UsageError(
            f"{source} is plain http: the token is not sent unencrypted to {host}",
            hint="use https; http is only allowed for localhost",
        )
    port, path = match["port"], path.rstrip("/")
    if port is not None:
        number = 0
        if port.isascii() and port.isdigit() and len(port) < 6:
            number = int(port)
        if not 1 <= number <= 65535:
            raise _no_url(source)
        if number != {"http": 80, "https": 443}[scheme]:
            host += f":{number}"
    if {"", ".", ".."} & set(path.lower().replace("%2e", ".").split("/")[1:]):
        raise _no_url(source)
    return f"{scheme}://{host}{path or API_PATH}"


def _no_url(source: str) -> UsageError:
    return UsageError(f"{source} is not a valid URL", hint="use https://HOST or https://HOST:PORT/api/v1/cloud")


def _host(host: str, source: str) -> str:
    bracketed, numeric = host.startswith("["), host.rstrip(".").rpartition(".")[2].isdigit()
    if not bracketed and not numeric:
        return host
    from ipaddress import IPv4Address, IPv6Address

    try:
        return f"[{IPv6Address(host[1:-1])}]" if bracketed else str(IPv4Address(host))
    except ValueError:
        raise _no_url(source) from None


def is_loopback(host: str) -> bool:
    """Return whether a `host` or `host:port` is this machine."""
    return _LOOPBACK_NAME.fullmatch(re.sub(r":\d+\Z", "", host) if host[-1:] != "]" else host) is not None
