"""The body of a create or update, from a file and from options, which win.

A file is read as those of a folder are.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.base.marks import is_ours
from qoder_cli.base.model import Raw
from qoder_cli.base.places import spelled
from qoder_cli.files.tree import BadFiles, Problem
from qoder_cli.nouns.checking import check_body, tokens_in, tree_of
from qoder_cli.nouns.declared import Declaration, Place
from qoder_cli.nouns.how import how_of
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.parts import NOT_THEIRS
from qoder_cli.nouns.schema import Reader, fields_of
from qoder_cli.nouns.table import Operation, of_file, operation
from qoder_cli.nouns.table import body_of as schema_of


def body_of(app: App, noun: Noun, verb: str, options: Mapping[str, Any], *, file: str | None = None) -> Raw:
    """Return the body of a noun's `create` or `update`, checked. Raises UsageError.

    `options` has every field that an option sets, None if not typed. Metadata is merged.
    """
    wanted = operation(noun, verb)
    assert wanted is not None  # asked only for what the API has
    options_by_field = {name: field.option for name, field in fields_of(schema_of(wanted)).items()}
    named = {field: f"--{field}" for field in options}
    named |= {field: option.name for field, option in options_by_field.items() if option and field in options}
    given = {field: value for field, value in options.items() if value is not None}
    for field, value in given.items():
        check_typed(named[field], field, value)
    fields = {} if file is None else _of_file(app, noun, wanted, file)
    body = fields | given
    if "metadata" in fields and "metadata" in given:
        body["metadata"] = (fields["metadata"] or {}) | given["metadata"]
    if verb == "update" and body.get("name") is not None and _is_blank(body["name"]):
        raise UsageError("the name is blank", hint="is a shell variable unset?")
    missing = [field for field in wanted.body if field in wanted.required and _is_blank(body.get(field))]
    if missing and verb == "create":
        names = [f"{named[field]} (in a file: {field})" for field in missing if field in named]
        names += [f"{field} (only in a file)" for field in missing if field not in named]
        plural = "s" if len(names) > 1 else ""
        hint = "pass it, or give a file: -f FILE"
        raise UsageError(f"missing required option{plural}: {', '.join(names)}", hint=hint)
    fields = {field: value for field, value in given.items() if field in options_by_field}
    reader = Reader("file", null_clears=verb == "update")
    problems = check_body(schema_of(wanted), fields, tree_of(fields), reader)
    typed = [problem for problem in problems if problem.at and problem.at[0] in fields]  # what is missing was said
    refuse(typed, named, hint=f"see qoder {' '.join(wanted.command)} --help")
    return body


def declared_by_options(noun: Noun, fields: Raw, named: Mapping[str, str]) -> Declaration:
    """Return what options say, with its references, checked as a file's fields. Raises UsageError as `refuse` does."""
    from qoder_cli.nouns.declaring import references, shorts_of

    for field, value in fields.items():
        check_typed(named[field], field, value)
    spelled, problems = how_of(noun).spell(deepcopy(fields)), list[Problem]()
    tree = tree_of(fields)
    refs = tuple(references(noun, spelled, tree, problems))
    problems += check_body(of_file(noun), spelled, tree, Reader("file"), shorts_of(noun))
    refuse(problems, named)
    return Declaration(noun, Place(""), str(spelled.get("name") or ""), spelled, refs=refs)


def refuse(problems: Iterable[Problem], named: Mapping[str, str], *, hint: str | None = None) -> None:
    """Raise UsageError for problems of what options say; `named` has the options by the places that they set."""
    messages: dict[str, None] = {}
    for problem in problems:
        option = next((option for place, option in named.items() if problem.path.startswith(place)), problem.path)
        key = ""
        if problem.at[:1] == ("metadata",):
            key = spelled(problem.at[1:])
        messages[": ".join(filter(None, (option, key, problem.text)))] = None
    if messages:
        raise UsageError("; ".join(messages), hint=hint)


def pairs(words: Sequence[str] | None) -> dict[str, str]:
    """Return KEY=VALUE pairs of an option. Raises UsageError."""
    split = [word.partition("=") for word in words or ()]
    if wrong := [key + equals for key, equals, _ in split if not (key and equals)]:
        message = f"--metadata: expected KEY=VALUE, got {wrong[0][:80]!r}"
        raise UsageError(message, hint="e.g. --metadata team=core")
    refuse_ours("--metadata", [key for key, _, _ in split])
    return {key: value for key, _, value in split}


def refuse_ours(option: str, keys: Sequence[str] | None) -> None:
    """Raise UsageError for a key of metadata that is ours."""
    if wrong := next(filter(is_ours, keys or ()), None):
        raise UsageError(f"{option}: {wrong[:60]} {NOT_THEIRS}", hint="choose a key without qoder_")


def metadata_change(words: Sequence[str] | None, removed: Sequence[str] | None) -> dict[str, str | None] | None:
    """Return an update's metadata, where null removes a key. Raises UsageError."""
    refuse_ours("--remove-metadata", removed)
    return dict.fromkeys(removed or ()) | pairs(words) or None


def check_typed(option: str, field: str, value: Any) -> None:
    """Raise UsageError for non-UTF-8 and for a token where a field has none, as in a file."""
    text = json.dumps(value, ensure_ascii=False)
    if any(tokens_in(tree_of({field: value}))):
        raise UsageError(f"{option}: a token was given; nothing was sent", hint="set QODER_PAT to it")
    try:
        text.encode()
    except UnicodeEncodeError:  # typed in another encoding, or broken
        raise UsageError(f"{option}: is not UTF-8") from None


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _of_file(app: App, noun: Noun, wanted: Operation, file: str) -> Raw:
    """Return what a file says. Raises BadFiles, with every problem in it."""
    from qoder_cli.files.documents import documents_of
    from qoder_cli.files.filling import Filler
    from qoder_cli.nouns.declaring import add_problems, fill, settable, wrong_in

    filler, body = Filler(app.env, []), dict[str, Any]()
    try:
        documents = list(documents_of(file, filler.problems, stdin=app.stdin))
        if len(documents) != 1:
            line = documents[1].node.line if documents else 0
            raise Problem(f"must be one mapping of the fields of the {noun.called}", line=line)
        reader = Reader("file", null_clears=wanted.id.endswith(".update"))
        read = fill(documents[0], noun, filler)
        body = read.fields
        if read.is_servers:
            ignored = [name for name in body if name not in wanted.body]
            app.progress.note(f"{file}: ignored {', '.join(ignored)}, which only the server sets")
            body = settable(noun, body, wanted.body)
            if not reader.null_clears:
                body = {**noun.holds.absent, **body}
        wrong = wrong_in(read, body, schema_of(wanted), reader)
        # What an option may say instead is reported later, with its option.
        is_later = {field for field in wanted.required if _is_blank(body.get(field))}
        add_problems(filler.problems, (wrong_place for wrong_place in wrong if wrong_place.path not in is_later))
    except Problem as problem:
        filler.problems.append(problem)
    if filler.problems:
        problems = sorted(filler.problems, key=lambda problem: problem.line)
        raise BadFiles([problem.located(file) for problem in problems], "the file")
    return body
