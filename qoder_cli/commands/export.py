"""`qoder export`: what a server has, as the files of a folder."""

from qoder_cli.app import App
from qoder_cli.base.errors import Rejected, UsageError
from qoder_cli.base.words import counted, few
from qoder_cli.cli.options import Text, Texts, argument, flag, option, several
from qoder_cli.help.completion import values

_LISTED = 5  # files that an error names
_FIRST = ("kind", "name", "action", "file", "id")  # as there is room


def export(
    app: App,
    names: Texts = argument("NAME...", "Ids or exact names of things of any kind.", default=None),
    everything: bool = flag("--all", "Everything that is not archived."),
    stack: Text = option("--stack", "NAME", "All that apply marked as part of this stack."),
    output_dir: str = option("--output-dir -O", "DIR", "Folder to write into.", values.folders, default="."),
    plain: Texts = several("--plain", "NAME", "Write the value of this environment variable."),
    force: bool = flag("--force", "Replace files that differ."),
) -> None:
    """Write agents and all they need as files for `qoder apply`.

    Writes agents/NAME.md, deployments/NAME.md, environments/NAME.yaml and so
    on; applied right after, they change nothing. What is exported too is
    referred to by path, all else by name. ${NAME} stands for each secret and
    each environment variable of a deployment, which may be one; stderr lists
    them, and --plain writes the value. Deployments keep the ids of uploaded
    files.

    An existing file that differs is kept: exits 6 and names it; --force
    replaces it. Nothing is deleted.

    Examples:
      qoder export nightly-report writer -O stack
      qoder export --all -O stack"""
    from qoder_cli.nouns.file import prepare_folder
    from qoder_cli.nouns.lists import ServerLists
    from qoder_cli.stack.export import Exporter, all_things, put_root, thing_named, write
    from qoder_cli.stack.folder import STACK_NAME

    if bool(names) + everything + (stack is not None) != 1:
        raise UsageError("say what to export: names or ids, --all, or --stack NAME", hint="list them: qoder agent list")
    if stack is not None and not STACK_NAME.fullmatch(stack):
        raise UsageError("--stack is not the name of a stack", hint="give the one in qoder.yaml")
    lists = ServerLists(app)
    if names:
        chosen = [thing_named(lists, name) for name in names]
    else:
        chosen = all_things(lists, stack=stack)
    exporter = Exporter(app, lists, chosen, plain or ())
    exported = exporter.all()
    folder = prepare_folder(output_dir)
    kept, rows = [], []
    for item, became, differing in write(exported, folder, is_forced=force):
        rows.append(item.as_json(became, output_dir if output_dir != "." else ""))
        kept += differing
    if stack is not None and put_root(folder, stack):
        app.progress.warn(f"{folder / 'qoder.yaml'} is kept as it is; this is the stack {stack}")
    for note in dict.fromkeys((*exporter.notes, *exporter.broken)):
        app.progress.warn(note)
    if variables := exporter.variables.names:
        needed = ", ".join(variables)
        app.progress.note(f"not in the files; apply needs these variables: {needed}")
    if written := exporter.variables.plain:
        app.progress.note(f"written with their values: {', '.join(written)}")
    if unknown := [name for name in plain or () if name not in exporter.variables.plain]:
        app.progress.warn(f"--plain: no exported deployment has the variable {few(unknown, _LISTED)}")
    app.output.records([dict(row) for row in rows], id="id", first=_FIRST)
    if kept and force:
        raise Rejected(
            f"kept {counted(len(kept), 'file')} that the server does not have: {few(kept, _LISTED)}",
            hint="apply would upload them with the rest of their folder; remove what you do not want",
        )
    if kept:
        raise Rejected(
            f"kept {counted(len(kept), 'existing file')} that differ: {few(kept, _LISTED)}",
            hint="compare them, then pass --force to replace them, or export into another folder with -O",
        )
    if exporter.broken:
        raise Rejected(f"{counted(len(exporter.broken), 'thing')} could not be exported", hint="see the warnings above")
