"""Whose a thing is: the marks of a stack in its metadata, which fields its file set, and to what.

A mark counts only on the thing that it names, so that a copied one counts for nothing.
"""

from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Any

from qoder_cli.base import jsontext
from qoder_cli.base.jsontext import Number
from qoder_cli.base.marks import MOST_KEYS, without_ours
from qoder_cli.base.model import Raw, mapping, text
from qoder_cli.nouns.edits.difference import ABSENT, FieldChange, is_nothing
from qoder_cli.nouns.edits.step import Step
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.shown import KNOWN_BY, found_at

STACK = "qoder_stack"  # NAME/kind/name
APPLIED = "qoder_applied"  # the fields that the file set, each with the digest of its value
CONTENT = "qoder_sha256"  # of an uploaded file, or of a skill's first version
_DIGITS = 12  # of a digest


def owner_of(noun: Noun, raw: Raw) -> str | None:
    """Return the stack that a thing belongs to; None where it has no mark, or that of another thing."""
    stack, _, name = _mark_in(noun, raw)
    return stack if name else None


def name_in_mark(noun: Noun, raw: Raw) -> str:
    """Return the name under which a stack knows a thing; empty where its mark is none, or that of another thing."""
    return _mark_in(noun, raw)[2]


def _mark_in(noun: Noun, raw: Raw) -> tuple[str, str, str]:
    parts = (text(mapping(raw.get("metadata")).get(STACK)) or "").split("/", 2)
    names = {found_at(raw, key) for key in (*KNOWN_BY, noun.naming.named_by)}
    if len(parts) == 3 and parts[1] == noun.type and parts[2] in names:
        return parts[0], parts[1], parts[2]
    return "", "", ""


def digest(value: Any) -> str:
    """Return what tells one value of a field from another; empty is nothing."""
    if is_nothing(value):
        value = None
    return sha256(jsontext.dump(_sorted(value)).encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def content_digest(files: Mapping[str, bytes]) -> str:
    """Return the digest of files by their paths."""
    digest = sha256()
    for path in sorted(files):
        for part in (path.encode(), files[path]):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value) if not is_nothing(value[key])}
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    if isinstance(value, Number | float):
        return str(value)
    return value


NOTHING = digest(None)


def record_of(fields: Raw, secret: Collection[str] = ()) -> str:
    """Return what is noted of fields that were applied, in normal form.

    Fields that hold a secret have no digest: whoever reads it could try what fits.
    """
    return " ".join(name if name in secret else f"{name}={digest(fields[name])}" for name in sorted(fields))


def recorded(raw: Raw) -> dict[str, str]:
    """Return the fields that were set last time, with their digests."""
    record = text(mapping(raw.get("metadata")).get(APPLIED)) or ""
    return {name: value for name, _, value in (part.partition("=") for part in record.split())}


def is_filled_in(noun: Noun, name: str, value: Any) -> bool:
    """Return whether the server fills a field in with this value, where nobody sets it."""
    filled = noun.kind.filled
    return name in filled and digest(filled[name]) == digest(value)


def has_room(metadata: Raw) -> bool:
    """Return whether both marks can be added to metadata, and the one that settles a lost response."""
    return len(without_ours(metadata)) + 3 <= MOST_KEYS


def with_marks(step: Step, marks: Raw) -> Step:
    """Return a step that writes the marks of a stack, too."""
    form = step.form

    def settable(raw: Raw) -> Raw:
        kept = form.settable(raw)
        if "metadata" in kept:
            ours = {key: value for key, value in mapping(raw.get("metadata")).items() if key in (STACK, APPLIED)}
            kept = {**kept, "metadata": {**kept["metadata"], **ours}}
        return kept

    before = mapping(step.before.get("metadata"))
    if "metadata" in step.wanted or step.current is None:
        labels = {**mapping(step.wanted.get("metadata")), **marks}
        step = step.with_(wanted={**step.wanted, "metadata": labels})
    step = step.with_(form=form._replace(settable=settable))
    missing = {key: value for key, value in marks.items() if before.get(key) != value}
    # What was set to something; else it is only spelled otherwise.
    was, now = (
        {name for name, value in recorded({"metadata": each}).items() if value != NOTHING} for each in (before, marks)
    )
    if not missing or (missing.keys() == {APPLIED} and not step.changes and was == now):
        return step
    if step.current is not None and (STACK in missing or not step.changes):
        key = STACK if STACK in missing else APPLIED
        step = step.with_(changes=[*step.changes, FieldChange(f"metadata.{key}", before.get(key, ABSENT), marks[key])])
    return step.sending({**step.body, "metadata": {**mapping(step.body.get("metadata")), **missing}})
