"""`qoder schema`: what a file may hold, for editors."""

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.cli.options import argument, flag
from qoder_cli.help.completion import values
from qoder_cli.nouns.table import NOUNS, in_files, of_file


def schema(
    app: App,
    kind: str = argument("KIND", "agent, deployment, environment, memory_store, vault …", values.one_of("kind")),
    update: bool = flag("--update", "For a file that updates one: nothing is required."),
) -> None:
    """Print the JSON Schema of what a file may hold.

    It is for files that `qoder apply` and -f FILE read, as of JSON Schema
    2020-12, complete in itself; -f takes no paths, and no fields of a folder
    (type, paused, credentials). In Visual Studio Code, and wherever else the
    YAML language server runs, begin a file with the line
      # yaml-language-server: $schema=agent.schema.json
    `qoder init` does that. A skill is a folder of files, and has no schema.

    Examples:
      qoder schema agent
      qoder schema deployment --update > deployment.schema.json"""
    from qoder_cli.base import jsontext
    from qoder_cli.nouns.schema import json_schema
    from qoder_cli.stack.schema import schema_of

    nouns = [NOUNS[words] for words in in_files()]
    noun = next((noun for noun in nouns if kind in (noun.words, noun.type, noun.operations)), None)
    if noun is None:
        raise UsageError(f"{kind[:60]!r} is not in files", hint=f"use one of {', '.join(noun.type for noun in nouns)}")
    is_of_folder = noun.kind is not None and noun.kind.is_declared and not update
    found = schema_of(noun) if is_of_folder else json_schema(of_file(noun, is_new=not update))
    app.out.write(jsontext.dump(found, indent=2) + "\n")
