"""Vaults, and the credentials in them (api.md#vaults)."""

from typing import Annotated, Any, Literal

from qoder_cli.nouns.noun import Kind
from qoder_cli.nouns.parts import IDENTIFIER, Metadata, Name, Text, Url
from qoder_cli.nouns.schema import KEPT, SECRET, UNSET, ByType, Fields, like
from qoder_cli.nouns.table import noun

# Unlike those of environments, these may be * or have an underscore, as names of services have.
HOST = r"[A-Za-z0-9*_][A-Za-z0-9*._-]{0,252}(?::[0-9]{1,5})?"
Secret = Annotated[str, SECRET, "Never shown again."]


class Vault(Fields):
    """A vault."""

    display_name: Name
    metadata: Metadata


class _AnyHost(Fields):
    """The secret may go anywhere."""

    type: Literal["unrestricted"]


class _AllowedHosts(Fields):
    """Where the secret may go."""

    type: Literal["limited"]
    allowed_hosts: list[Annotated[str, like(HOST, "is not a host")]]


Hosts = Annotated[_AnyHost | _AllowedHosts, ByType()]


class _NewClient(Fields, unknown="open"):
    client_secret: Secret = UNSET


class _ClientAuth(_NewClient, unknown="open"):
    """How the client shows who it is."""

    type: Literal["none", "client_secret_basic", "client_secret_post"]


class _NewRefresh(Fields, unknown="open"):
    refresh_token: Secret = UNSET
    token_endpoint_auth: _NewClient = UNSET


class _Refresh(_NewRefresh, unknown="open"):
    """How a new access token is had."""

    client_id: Text
    refresh_token: Annotated[Text, SECRET]
    token_endpoint: Url
    token_endpoint_auth: _ClientAuth


class _NewBearer(Fields):
    """What an update changes of a token for an MCP server."""

    type: Literal["static_bearer"]
    token: Secret = UNSET


class _Bearer(_NewBearer):
    """A token for an MCP server."""

    token: Annotated[Text, SECRET]
    mcp_server_url: Url


class _NewVariable(Fields):
    """What an update changes of an environment variable."""

    type: Literal["environment_variable"]
    secret_value: Secret = UNSET
    networking: Hosts = UNSET
    injection_location: Any = UNSET


class _Variable(_NewVariable):
    """An environment variable."""

    secret_name: Annotated[str, like(IDENTIFIER, "must be the name of a variable: letters, digits and _")]
    secret_value: Annotated[Text, SECRET]
    networking: Hosts


class _NewOAuth(Fields):
    """What an update changes of an OAuth token for an MCP server."""

    type: Literal["mcp_oauth"]
    access_token: Secret = UNSET
    expires_at: Any = UNSET
    refresh: _NewRefresh = UNSET


class _OAuth(_NewOAuth):
    """An OAuth token for an MCP server."""

    access_token: Annotated[Text, SECRET]
    mcp_server_url: Url
    refresh: _Refresh = UNSET


class Credential(Fields, unknown="refused"):
    """A credential."""

    auth: Annotated[_Bearer | _Variable | _OAuth, ByType(), "The secret, and what it is for."]
    display_name: Name = KEPT
    metadata: Metadata = KEPT


class _CredentialUpdate(Fields):
    """What can be changed of a credential."""

    auth: Annotated[_NewBearer | _NewVariable | _NewOAuth, ByType()]
    metadata: Metadata


class InFile(Fields, unknown="refused"):
    """A vault, with the credentials in it."""

    display_name: Name
    metadata: Metadata = KEPT
    credentials: Annotated[
        list[Credential], "Its credentials; write ${NAME} for each secret, and set that variable."
    ] = KEPT


noun(
    *("vault", "vaults"),
    columns="id name created archived",
    more="metadata updated",
    sample="team-secrets",
    created="Put secrets into it with qoder vault put.",
    archived="Sessions can no longer use the credentials of an archived vault.",
    deleted="The credentials in a vault are deleted too.",
    named_by="display_name",
    kept={"display_name": "", "metadata": {}},
    body=Vault,
    in_file=InFile,
    kind=Kind(rank=3, below="vault credential"),
)
noun(
    *("vault credential", "vaults.credentials"),
    columns="id name type for created archived",
    more="network hosts metadata updated",
    sample="github-token",
    sample_of="team-secrets",
    archived="Sessions can no longer use an archived credential.",
    deleted="The secret is gone for good: it cannot be read back.",
    type="vault_credential",
    named_by="display_name",
    kept={"vault_id": "", "display_name": None, "auth": {}, "metadata": {}},
    takes_file=False,
    body=Credential,
    kind=Kind(
        rank=3,
        is_declared=False,
        refused="the API may not replace secrets; delete it, then add it",
        how="secrets",
    ),
    bodies={"update": _CredentialUpdate},
)
