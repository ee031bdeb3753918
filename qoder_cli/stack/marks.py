"""The marks of a stack in an object's metadata: whose it is, which fields its file set, and to what.

A mark counts only on the thing that it names, so that a copied one counts for nothing.
"""

from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Any

from qoder_cli.base import jsontext
from qoder_cli.base.jsontext import Number
from qoder_cli.base.marks import MOST_KEYS, without_ours
from qoder_cli.base.model import mapping, text
from qoder_cli.nouns.edits.difference import ABSENT, FieldChange, Form
from qoder_cli.nouns.edits.step import Step
from qoder_cli.nouns.shown import name_of
from qoder_cli.nouns.table import Noun, operation
from qoder_cli.stack.folder import TYPE_OF

Raw = dict[str, Any]

STACK = "qoder_stack"  # NAME/kind/name
APPLIED = "qoder_applied"  # the fields that the file set, each with the digest of its value
CONTENT = "qoder_sha256"  # of an uploaded file, or of a skill's first version
_LONGEST = 512  # characters of a value (api.md#deployments)
_DIGITS = 12  # of a digest


def mark_of(stack: str, noun: Noun, name: str) -> str:
    """Return the mark of a thing that belongs to a stack."""
    return f"{stack}/{TYPE_OF[noun.words]}/{name}"


def owner_of(noun: Noun, raw: Raw, name: str | None = None) -> str | None:
    """Return the stack that a thing belongs to; None where it has no mark, or that of another thing."""
    parts = (text(mapping(raw.get("metadata")).get(STACK)) or "").split("/", 2)
    if len(parts) == 3 and parts[1] == TYPE_OF[noun.words] and parts[2] == (name_of(raw) if name is None else name):
        return parts[0]
    return None


def digest(value: Any) -> str:
    """Return what tells one value of a field from another."""
    return sha256(jsontext.dump(_sorted(value)).encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def content_digest(files: Mapping[str, bytes]) -> str:
    """Return the digest of files by their paths."""
    found = sha256()
    for path in sorted(files):
        for part in (path.encode(), files[path]):
            found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value) if value[key] not in (None, "", [], {})}
    if isinstance(value, list):
        return [_sorted(each) for each in value]
    if isinstance(value, Number | float):
        return str(value)
    return value


def record_of(fields: Raw, secret: Collection[str] = ()) -> str:
    """Return what is noted of fields that were applied, in normal form; without digests where there is no room.

    Fields that hold a secret have none either: whoever reads it could try what fits.
    """
    names = sorted(name for name in fields if name != "metadata" or fields[name])
    whole = " ".join(name if name in secret else f"{name}={digest(fields[name])}" for name in names)
    if len(whole) <= _LONGEST:
        return whole
    return " ".join(names)[:_LONGEST]


def recorded(raw: Raw) -> dict[str, str]:
    """Return the fields that were set last time, with their digests."""
    return _noted(text(mapping(raw.get("metadata")).get(APPLIED)) or "")


def _noted(record: str) -> dict[str, str]:
    return {name: value for name, _, value in (each.partition("=") for each in record.split())}


def marked(form: Form) -> Form:
    """Return how things of a kind are compared, marks included."""

    def settable(raw: Raw) -> Raw:
        found = form.settable(raw)
        if "metadata" in found:
            ours = {key: value for key, value in mapping(raw.get("metadata")).items() if key in (STACK, APPLIED)}
            found = {**found, "metadata": {**found["metadata"], **ours}}
        return found

    return form._replace(settable=settable)


def has_room(metadata: Raw) -> bool:
    """Return whether both marks can be added to metadata, and the one that settles a lost response."""
    return len(without_ours(metadata)) + 3 <= MOST_KEYS


def add_marks(step: Step, marks: Raw) -> None:
    """Have a step write the marks of a stack, too."""
    step.form = marked(step.form)
    before = mapping((step.current or {}).get("metadata"))
    if "metadata" in step.wanted or step.current is None:
        step.wanted = {**step.wanted, "metadata": {**mapping(step.wanted.get("metadata")), **marks}}
    missing = {key: value for key, value in marks.items() if before.get(key) != value}
    if not missing:
        return
    if set(missing) == {APPLIED} and not step.changes and not _is_news(before.get(APPLIED), marks[APPLIED]):
        return
    step.body = {**step.body, "metadata": {**mapping(step.body.get("metadata")), **missing}}
    updated, version = operation(step.noun, "update"), (step.current or {}).get("version")
    if updated and "version" in updated.body and version is not None:
        step.body["version"] = version
    if step.current is not None and (STACK in missing or not step.changes):
        key = STACK if STACK in missing else APPLIED
        step.changes = [*step.changes, FieldChange(f"metadata.{key}", before.get(key, ABSENT), marks[key])]


def _is_news(noted: Any, now: str) -> bool:
    """Return whether other fields are set than were noted; another spelling of the same value is no news."""
    return _noted(text(noted) or "").keys() != _noted(now).keys()
