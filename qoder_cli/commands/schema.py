"""`qoder schema`: what files may hold, and whether they hold just that; what -o json prints."""

import os
from typing import Annotated, TypedDict

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.cli.options import Texts, argument, flag
from qoder_cli.help.completion import values
from qoder_cli.nouns.table import NOUNS, in_files, of_file

_WORDS = argument(
    "KIND|PATH...",
    "agent, deployment, environment, memory_store, vault …; or `output NAME`; with --check files and folders, default:"
    " this folder.",
    values.kinds_or_files,
    default=None,
)


class DeclaredData(TypedDict):
    """What a file declares."""

    kind: Annotated[str, "what it is"]
    name: Annotated[str, "its name"]
    file: Annotated[str, "file and line"]


def schema(
    app: App,
    words: Texts = _WORDS,
    check: bool = flag("--check", "Check files as `qoder apply` does, without a server or a token."),
) -> None:
    """Print the JSON Schema of a file or an output, or check files.

    For files that `qoder apply` and -f FILE read, in JSON Schema 2020-12; -f
    takes no paths, and no fields of a folder (type, paused, credentials). For
    Visual Studio Code, or another editor with the YAML language server, begin
    a file with the line
      # yaml-language-server: $schema=agent.schema.json
    `qoder init` does that. A skill is a folder of files, and has no schema.

    `output NAME` is what -o json prints: run, report, error and others. What is
    the API's may have more fields; all else is declared.

    --check lists what files and folders declare, or exits 2 with every
    problem, its file and line. Variables need not be set.

    Examples:
      qoder schema agent
      qoder schema deployment > deployment.schema.json
      qoder schema output run
      qoder schema --check agents deployments/nightly.md"""
    if check:
        from qoder_cli.stack.declarations import read
        from qoder_cli.stack.folder import ROOT_FILE, find

        paths = words or ["."]
        reading = read(find(paths), app.env, stdin=app.stdin, may_lack=True)
        if not reading.things and any(os.path.basename(path) != ROOT_FILE for path in paths):
            raise UsageError(f"{', '.join(paths)}: nothing is declared here", hint="start with: qoder init")
        for warning in reading.warnings:
            app.progress.warn(warning)
        rows: list[DeclaredData] = [
            {"kind": declaration.noun.kind_name, "name": declaration.name, "file": str(declaration.place)}
            for declaration in reading.things
        ]
        app.output.records([dict(row) for row in rows], id="name")
        return
    from qoder_cli.base import jsontext
    from qoder_cli.nouns.schema import json_schema
    from qoder_cli.stack.schema import schema_of

    words = words or []
    if words[:1] == ["output"]:
        from qoder_cli.help import outputs

        hint = f"use one of {', '.join(outputs.OUTPUTS)}"
        if len(words) != 2:
            raise UsageError("one NAME of an output is needed", hint=hint)
        if words[1] not in outputs.OUTPUTS:
            raise UsageError(f"unknown output {words[1][:60]!r}", hint=hint)
        app.out.write(jsontext.dump(outputs.schema(words[1]), indent=2) + "\n")
        return
    nouns = [NOUNS[words] for words in in_files()]
    types = ", ".join(noun.type for noun in nouns)
    hint = f"use one of {types}, or `output NAME`; to check files: qoder schema --check PATH..."
    if len(words) != 1:
        raise UsageError("one KIND is needed", hint=hint)
    [kind] = words
    noun = next((noun for noun in nouns if kind in (noun.words, noun.type, noun.operations)), None)
    if noun is None:
        raise UsageError(f"{kind[:60]!r} is not in files", hint=hint)
    document = schema_of(noun) if noun.kind.is_declared else json_schema(of_file(noun))
    app.out.write(jsontext.dump(document, indent=2) + "\n")
