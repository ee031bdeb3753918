"""`qoder schema`: what a file may hold, for editors, and what is printed, for scripts."""

from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.cli.options import Text, argument, flag
from qoder_cli.help.completion import values
from qoder_cli.nouns.table import NOUNS, in_files, of_file


def schema(
    app: App,
    kind: str = argument("KIND", "deploy, agent, env, vault, memory or dream; or output.", values.one_of("kind")),
    printed: Text = argument("NAME", "With output: run, report, error or another.", values.outputs, default=None),
    update: bool = flag("--update", "For a file that updates one: nothing is required."),
) -> None:
    """Print the JSON Schema of what a file may hold.

    It is for files that `qoder apply` and -f FILE read, as of JSON Schema
    2020-12, complete in itself; -f takes no paths, and no fields of a folder
    (type, paused, credentials). In Visual Studio Code, and wherever else the
    YAML language server runs, begin a file with the line
      # yaml-language-server: $schema=agent.schema.json
    `qoder init` does that. A skill is a folder of files, and has no schema.

    `output NAME` is what -o json prints: `qoder help output` has the names of
    most keys. An object of the API has every field that was sent, so its schema
    allows more; all others are complete.

    Examples:
      qoder schema agent
      qoder schema output run
      qoder schema deploy --update > deploy.schema.json"""
    from qoder_cli.base import jsontext
    from qoder_cli.nouns.schema import json_schema
    from qoder_cli.stack.schema import DECLARED, schema_of

    if kind == "output":
        app.out.write(jsontext.dump(_output(printed), indent=2) + "\n")
        return
    if printed is not None:
        raise UsageError(f"{kind[:60]} takes no second word", hint="for what is printed: qoder schema output NAME")
    kinds = in_files()
    if kind not in kinds:
        raise UsageError(f"{kind[:60]!r} is not in files", hint=f"use one of {', '.join(kinds)}")
    found = json_schema(of_file(NOUNS[kind], is_new=not update))
    if kind in DECLARED and not update:
        found = schema_of(kind)
    app.out.write(jsontext.dump(found, indent=2) + "\n")


def _output(name: str | None) -> dict[str, Any]:
    """Return the schema of an output. Raises UsageError."""
    from qoder_cli.help import outputs

    if name in outputs.OUTPUTS:
        return outputs.schema(name)
    what = "missing argument NAME" if name is None else f"there is no output {name[:60]!r}"
    raise UsageError(what, hint=f"use one of {', '.join(outputs.OUTPUTS)}")
