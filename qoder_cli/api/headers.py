"""Headers of one's own, and those that are not one's own to set."""

import re
from collections.abc import Sequence

from qoder_cli.base.errors import UsageError

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_VALUE = re.compile(r"[\x20-\x7e\t]*")
_LONGEST = 8000  # characters

_OF_THE_CONNECTION = (
    "connection content-encoding content-length expect keep-alive proxy-connection te trailer transfer-encoding upgrade"
)

# Why each of these is not taken, or what to use instead.
_REFUSED = {
    "authorization": "the token comes from QODER_PAT or the config file",
    "proxy-authorization": "put a proxy's password into HTTPS_PROXY",
    "x-api-key": "the API takes a bearer token only",
    "cookie": "the API takes a bearer token only",
    "host": "choose the server with --profile, --region or --base-url",
    "idempotency-key": "use --idempotency-key",
    "x-idempotency-key": "use --idempotency-key",
    "qoder-workspace-id": "use --workspace",
    # A gateway that heeds these makes a write of a GET, which is sent again, and is allowed with QODER_READ_ONLY.
    **dict.fromkeys(("x-http-method-override", "x-http-method", "x-method-override"), "use METHOD"),
    **dict.fromkeys(_OF_THE_CONNECTION.split(), "it belongs to the connection"),
}


def read(typed: Sequence[str]) -> dict[str, str]:
    """Return headers typed as `Name: value`, their names in lower case.

    Raises UsageError for what is no header, is given twice, or is not for the caller to set.
    """
    headers: dict[str, str] = {}
    for each in typed:
        name, sign, value = each.partition(":")
        name, value = name.strip().lower(), value.strip()
        if not sign or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value) or len(each) > _LONGEST:
            raise UsageError(  # what was typed is not shown: it may be a secret in the wrong place
                "--header takes 'Name: value' of printable ASCII characters",
                hint="for example: --header 'x-request-id: 7'",
            )
        if name in _REFUSED:
            raise UsageError(f"--header cannot set {name}", hint=_REFUSED[name])
        if name in headers:
            raise UsageError(f"--header sets {name} twice", hint="join its values with a comma")
        headers[name] = value
    return headers
