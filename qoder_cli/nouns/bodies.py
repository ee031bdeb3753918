"""The body of a create or update, from a file and from options, which win.

`${VAR}` in a file is expanded. An object of the API, with its `type`, is taken as it is,
without what only the server sets.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.base.marks import is_ours, without_ours
from qoder_cli.base.tokens import names_token
from qoder_cli.files.tree import BadFiles, Node, Problem
from qoder_cli.nouns.checking import problems_of_hidden, tokens_in
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.parts import NOT_THEIRS
from qoder_cli.nouns.schema import Reader, fields_of
from qoder_cli.nouns.table import Operation, operation
from qoder_cli.nouns.table import body_of as schema_of

Raw = dict[str, Any]


def body_of(
    app: App,
    noun: Noun,
    verb: str,
    options: Mapping[str, Any],
    *,
    file: str | None = None,
) -> Raw:
    """Return the body of a noun's `create` or `update`, checked. Raises UsageError.

    `options` has every field that an option sets, None if not typed. Metadata is merged.
    """
    wanted = operation(noun, verb)
    assert wanted is not None  # asked only for what the API has
    options_by_field = {name: field.option for name, field in fields_of(schema_of(wanted)).items()}
    named = {field: f"--{field}" for field in options}
    named |= {field: option.name for field, option in options_by_field.items() if option and field in options}
    typed = {field: value for field, value in options.items() if value is not None}
    for field, value in typed.items():
        check_typed(named[field], value)
    fields = {} if file is None else _of_file(app, noun, wanted, file)
    body = fields | typed
    if "metadata" in fields and "metadata" in typed:
        body["metadata"] = (fields["metadata"] or {}) | typed["metadata"]
    if verb == "update" and body.get("name") is not None and _is_blank(body["name"]):
        raise UsageError("the name is blank", hint="is a shell variable unset?")
    missing = [field for field in wanted.body if field in wanted.required and _is_blank(body.get(field))]
    if missing and verb == "create":
        raise _missing(missing, named)
    _check_options(wanted, typed, named)
    return body


def _check_options(wanted: Operation, typed: Raw, named: Mapping[str, str]) -> None:
    """Raise UsageError for what options say and the schema refuses, as it would in a file."""
    from qoder_cli.nouns.checking import problems_of

    if not typed:
        return
    fields = {field: value for field, value in typed.items() if field in fields_of(schema_of(wanted))}
    found = problems_of(schema_of(wanted), fields, Reader("file", null_clears=wanted.id.endswith(".update")))
    messages: dict[str, None] = {}
    for path, words in found:
        field = re.split(r"[.\[]", path)[0]
        if field in fields:  # what is missing is another matter
            inner = path.removeprefix(field).lstrip(".")
            messages[": ".join(filter(None, (named[field], inner, words)))] = None
    if messages:
        raise UsageError("; ".join(messages), hint=f"see qoder {' '.join(wanted.command)} --help")


def pairs(typed: Sequence[str] | None) -> dict[str, str]:
    """Return KEY=VALUE pairs of an option. Raises UsageError."""
    split = [word.partition("=") for word in typed or ()]
    if wrong := [key + equals for key, equals, _ in split if not (key and equals)]:
        message = f"--metadata: expected KEY=VALUE, got {wrong[0][:80]!r}"
        raise UsageError(message, hint="e.g. --metadata team=core")
    refuse_ours("--metadata", [key for key, _, _ in split])
    return {key: value for key, _, value in split}


def refuse_ours(option: str, keys: Sequence[str] | None) -> None:
    """Raise UsageError for a key of metadata that is ours."""
    if wrong := next(filter(is_ours, keys or ()), None):
        raise UsageError(f"{option}: {wrong[:60]} {NOT_THEIRS}", hint="choose a key without qoder_")


def metadata_change(typed: Sequence[str] | None, removed: Sequence[str] | None) -> dict[str, str | None] | None:
    """Return an update's metadata, where null removes a key. Raises UsageError."""
    refuse_ours("--remove-metadata", removed)
    return dict.fromkeys(removed or ()) | pairs(typed) or None


def check_typed(option: str, value: Any, *, is_prompt: bool = False) -> None:
    """Raise UsageError for non-UTF-8 and, except in prompts, for a token."""
    text = json.dumps(value, ensure_ascii=False)
    if names_token(text) and not is_prompt:
        raise UsageError(f"{option}: a token was given; nothing was sent", hint="set QODER_PAT to it")
    try:
        text.encode()
    except UnicodeEncodeError:  # typed in another encoding, or broken
        raise UsageError(f"{option}: is not UTF-8") from None


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _missing(fields: Sequence[str], named: Mapping[str, str]) -> UsageError:
    names = [f"{named[field]} (in a file: {field})" for field in fields if field in named]
    names += [f"{field} (only in a file)" for field in fields if field not in named]
    plural = "s" if len(names) > 1 else ""
    hint = "pass it, or give a file: -f FILE"
    return UsageError(f"missing required option{plural}: {', '.join(names)}", hint=hint)


def _of_file(app: App, noun: Noun, wanted: Operation, file: str) -> Raw:
    """Return what a file says. Raises BadFiles, with every problem in it."""
    from qoder_cli.files.documents import read, trees
    from qoder_cli.files.filling import Filler

    problems: list[Problem] = []
    body: Raw = {}
    try:
        documents = list(trees(file, read(file, stdin=app.stdin), problems))
        documents = [each for each in documents if each.content is not None]
        if len(documents) != 1 or not isinstance(documents[0].content, dict):
            more = documents[1].line if len(documents) > 1 else 0
            raise Problem(f"must be one mapping of the fields of the {noun.called}", line=more)
        [written] = [document] = documents
        kind = document.child("type")
        # As `get --json` shows it: `agent`, `memory_store`.
        is_object = kind is not None and kind.content == noun.called.replace(" ", "_")
        if is_object:
            body = _settable(app, noun, document, wanted, file)
        else:
            document = Filler(app.env, problems).fill(document, ())
            body = document.plain()
        paths = {problem.path for problem in problems}  # what follows from them is left out
        wrong = _wrong(document, wanted, body)
        if not is_object:
            wrong += tokens_in(document)
        not_sent = [str(name) for name, _ in written.items() if is_object and name not in wanted.body]
        wrong += problems_of_hidden(written, ignored=not_sent)
        problems += [problem for problem in wrong if problem.path not in paths]
    except Problem as problem:
        problems.append(problem)
    if problems:
        messages = [problem.located(file) for problem in sorted(problems, key=lambda problem: problem.line)]
        raise BadFiles(messages, "the file")
    return body


def _settable(app: App, noun: Noun, document: Node, wanted: Operation, file: str) -> Raw:
    """Return the settable fields of an API object."""
    plain = document.plain()
    body = {field: plain[field] for field in wanted.body if plain.get(field) is not None}
    if wanted == operation(noun, "create"):
        for field, value in noun.holds.absent.items():
            body.setdefault(field, value)
    if ignored := [field for field in plain if field not in wanted.body]:
        app.progress.note(f"{file}: ignored {', '.join(ignored)}, which only the server sets")
    if isinstance(body.get("metadata"), dict):
        body["metadata"] = without_ours(body["metadata"])
    return body


def _wrong(document: Node, wanted: Operation, body: Raw) -> list[Problem]:
    """Return what is wrong with a body that a document says."""
    from qoder_cli.nouns.checking import check_body

    problems = check_body(schema_of(wanted), body, document, Reader("file", null_clears=wanted.id.endswith(".update")))
    for problem in problems:
        if problem.text.startswith("unknown field") and problem.path not in wanted.body and problem.path in body:
            problem.text += f" (known: {', '.join(wanted.body)})"
    # What an option may say instead is reported later, with its option.
    return [each for each in problems if not (each.path in wanted.required and _is_blank(body.get(each.path)))]
