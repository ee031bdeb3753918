"""Our own keys in an object's `metadata`: they are no part of what people set, compare or export.

When a response is lost, one tells our own work from somebody else's.
"""

from collections.abc import Mapping
from typing import Any

KEY = "qoder_key"  # of the command that made an object, or last changed what nothing else shows
OURS = "qoder_"  # begins all of them
MOST_KEYS = 16  # of metadata (api.md#deployments)


def is_ours(key: object) -> bool:
    """Return whether a key of metadata is one of ours."""
    return isinstance(key, str) and key.startswith(OURS)


def without_ours(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata without our own keys."""
    return {key: value for key, value in metadata.items() if not is_ours(key)}


def has_room(metadata: Mapping[str, Any]) -> bool:
    """Return whether our key can be added to metadata, or is there."""
    return KEY in metadata or len(metadata) < MOST_KEYS
