"""`qoder init`: a folder to begin with."""

import json
import shlex
import sys
from enum import StrEnum
from typing import Annotated, TypedDict

from qoder_cli.app import App
from qoder_cli.base.errors import Exit
from qoder_cli.cli.options import argument, flag, option
from qoder_cli.help.completion import values

SKILL = ".agents/skills/qoder/SKILL.md"  # for an agent that works in the folder; `apply` reads no hidden folders
# What runs inside of the sandbox: lines of words, each with the exit codes that are well.
_INSIDE = """
import json, shlex, subprocess, sys
for words, fine in json.loads(sys.argv[1]):
    print("$ " + shlex.join(["qoder", *words]), file=sys.stderr, flush=True)
    code = subprocess.call([sys.executable, "-P", "-m", "qoder_cli", *words], stdout=sys.stderr)
    if code not in fine:
        sys.exit(code)
"""


class FileData(TypedDict):
    """A file of a new folder."""

    file: Annotated[str, "its path"]
    action: Annotated[str, "written"]


class TemplateName(StrEnum):
    """What a new folder begins with."""

    HELLO = "hello"
    REPORT = "report"
    REVIEW = "review"
    APPROVE = "approve"


def init(
    app: App,
    folder: str = argument("DIR", "The folder; default: this one.", values.folders, default="."),
    template: TemplateName = option("--template", None, "What it begins with.", default=TemplateName.HELLO),
    sandbox: bool = flag("--sandbox", "Then try it, for free, in a local sandbox."),
    force: bool = flag("--force", "Replace files that are there."),
) -> int | None:
    """Start a folder for `qoder apply`.

    Writes commented files: hello (an agent and its deployment), report (with a
    skill and memories), review (two agents) or approve (an agent that asks,
    and a policy); schemas for your editor; CI jobs for GitHub and GitLab that
    show what a request would change, and apply it once merged; and a SKILL.md
    for an agent that operates qoder. Prints the three commands to type next;
    --sandbox runs them without a token.

    Sends nothing. If a file is there already, nothing is written: exits 6 and
    names it; --force replaces it. A .gitignore stays.

    Examples:
      qoder init
      qoder init reports --template report"""
    from qoder_cli.commands.help import skill_of_agents
    from qoder_cli.nouns.file import prepare_folder
    from qoder_cli.stack.start import TEMPLATES, commands_for, files_of, name_of_stack, put

    chosen = TEMPLATES[template]
    path = prepare_folder(folder, "DIR")
    begun = {**files_of(template, name_of_stack(path, template)), SKILL: skill_of_agents().encode()}
    written, kept = put(path, begun, is_forced=force)
    for name in kept:
        app.progress.note(f"{path / name} is kept as it is")
    rows: list[FileData] = [{"file": str(path / file), "action": "written"} for file in written]
    app.output.records([dict(row) for row in rows], id="file", first=("file", "action"))
    commands = commands_for(chosen, folder)
    if not sandbox:
        app.progress.note("next:")
        for command in commands:
            app.progress.note(f"  {shlex.join([app.program, *command])}")
        trial = ["init", folder, "--template", str(template), "--sandbox"]
        app.progress.note(f"to try that for free first: {shlex.join([app.program, *trial])}")
        return None
    from qoder_cli.commands.sandbox import sandbox as serve

    lines = []
    for number, command in enumerate(commands):
        is_question = number == 0 or "approve" in command
        fine = [0, int(Exit.NEEDS_ANSWER)] if chosen.asks and number == 1 else [0]
        lines.append(([*command, "--yes"] if is_question else list(command), fine))
    inside = [sys.executable or "python3", "-P", "-c", _INSIDE, json.dumps(lines)]
    return serve(app, inside, generation="current", speed=1.0, port=0, fault=None)
