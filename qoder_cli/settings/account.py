"""A service account: its key, and where that is exchanged for a token (api.md#tokens)."""

from collections.abc import Mapping
from typing import NamedTuple

from qoder_cli.base.errors import UsageError
from qoder_cli.settings.values import REGIONS, host_of, is_loopback, origin, read_token, token_in_file

KEY, KEY_FILE = "QODER_SA_KEY", "QODER_SA_KEY_FILE"
VARIABLES = (KEY, KEY_FILE)
TTL = 3600  # seconds that a token is asked for
LONGEST_TTL = 43_200  # the most that is granted
_PATH = "/api/v1/serviceToken/exchange"
_HOSTS = {"global": "openapi.qoder.sh", "cn": "openapi.qoder.com.cn"}


class Account(NamedTuple):
    """A service account's key, the variable that has it, and the URL that takes it. The key is sent nowhere else."""

    key: str
    source: str
    url: str
    path: str = ""  # of the file that has the key

    def __repr__(self) -> str:
        return f"Account({self.source})"


def account_of(env: Mapping[str, str], base_url: str, *, has_region: bool) -> Account | None:
    """Return the account that the variables name, if any. Raises UsageError, also without a region that was chosen."""
    source = next((name for name in VARIABLES if env.get(name)), None)
    if source is None:
        return None
    path = ""
    if source == KEY_FILE:
        path = env[source]
        key = token_in_file(path, source=source)
    else:
        key = read_token(env[source], source=source)
    if is_loopback(host_of(base_url)):
        return Account(key, source, origin(base_url) + _PATH, path)
    region = next((name for name, url in REGIONS.items() if url == base_url), None)
    if region is None or not has_region:
        hint = "set QODER_REGION to global or cn"
        raise UsageError(f"{source} needs a region, which decides where the key is sent; nothing was sent", hint=hint)
    return Account(key, source, f"https://{_HOSTS[region]}{_PATH}", path)
