"""What `-o json` prints: for each output its commands, and the declared types that its JSON is made as.

The one table of that: `qoder schema output` makes JSON Schemas from it, `qoder help output` its lists of keys,
and every test that runs a command holds what is printed against it.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from importlib import import_module
from itertools import groupby
from typing import Any, NamedTuple

from qoder_cli.base.shapes import DIALECT, keys_of, schema_of
from qoder_cli.help.documented import CI, Named

_NAMED = 3  # commands that a title names


class Output(NamedTuple):
    """A kind of output. `commands` are words, or end in ` *` for those that no other row names.

    `one` is the type of an object, `each` that of what is in an array: the words of a command line decide which it is.
    """

    about: str
    commands: tuple[str, ...] = ()
    one: str = ""
    each: str = ""
    told: str = ""  # the type whose keys help lists, if it is another

    @property
    def title(self) -> str:
        """What it is, in help and as the title of its schema."""
        if not self.commands:
            return f"JSON on standard error: {self.about}"
        more = ", …" if len(self.commands) > _NAMED else ""
        return f"JSON of {', '.join(f'`{words}`' for words in self.commands[:_NAMED])}{more}: {self.about}"


_RUNS = ("deploy run", "run get", "run wait", "run result", "run retry", "run cancel")
_ANSWERS = ("run approve", "run deny", "run answer", "run send")
_SESSION_ANSWERS = ("session approve", "session deny", "session answer", "session send")
_SESSIONS = ("session get", "session wait", "session result", "session cancel", "session new", "session update")
_NOUNS = ("deploy *", "session *", "agent *", "env *", "file *", "vault *", "skill *", "memory *", "dream *", "model *")
_DRY_RUN = "commands.deploy.dry_run"

OUTPUTS = {
    "run": Output(
        "a run, or several", (*_RUNS, *_ANSWERS), "runs.ending:AnyRun", "runs.ending:AnyItem", told="base.model:RunData"
    ),
    "runs": Output("a run each", ("run list",), each="base.model:RunRow", told="base.model:RunData"),
    "error": Output("what ends standard error", one="base.errors:ErrorLine"),
    "finding": Output("a finding each", ("deploy check",), each="deployments.findings:DeploymentFinding"),
    "usage": Output("a row each", ("usage",), each="history.usage:UsageSum"),
    "pending": Output(
        "a call each; the keys are names of its columns, and only `waits` has none",
        ("run pending", "session pending"),
        each="sessions.asks:WaitingData",
    ),
    "answered": Output("without --wait", (*_ANSWERS, *_SESSION_ANSWERS), "sessions.answering:Answered"),
    "policy_check": Output("a policy", ("policy check",), "commands.policy.check:PolicyData"),
    "policy_test": Output("a rule or a group of calls each", ("policy test",), each="commands.policy.test:TallyData"),
    "policy_case": Output(
        "with --call or --expect, a call each", ("policy test",), each="commands.policy.test:CaseData"
    ),
    "policy_log": Output(
        "a decision each, whose columns these are but `call_sha256` and `asked_by`",
        ("policy log",),
        each="commands.policy.log:DecisionData",
    ),
    "dry_run": Output("with --dry-run", ("deploy run", "run retry"), f"{_DRY_RUN}:DryRun", f"{_DRY_RUN}:AnyRequest"),
    "apply": Output(
        "adds to the keys of the thing",
        ("apply", "diff", "deploy create", "deploy update"),
        "nouns.edits.step:AppliedData",
        "nouns.edits.step:AppliedData",
    ),
    "export": Output("a thing each", ("export",), each="stack.export:ExportedData"),
    "key": Output("a key, or all", ("key get", "key list"), "commands.key:KeyData", "commands.key:KeyData"),
    "key_free": Output("the key", ("key free",), "commands.key:FreedKey"),
    "key_init": Output("the store", ("key init",), "commands.key:NewStore"),
    "auth_status": Output("what is in use", ("auth status",), "commands.auth:AuthStatus"),
    "config_list": Output("a setting each", ("config list",), each="commands.config:SettingData"),
    "config_get": Output("the one that was asked for", ("config get", "config path"), "commands.config:OneSetting"),
    "doctor": Output("a check each", ("doctor",), each="commands.doctor:CheckData"),
    "report": Output("a report", ("report",), "report.entries:Report"),
    "why": Output("how a run ended, and what changed", ("run why",), "history.why:Why"),
    "api_list": Output("with --list, an operation each", ("api",), each="commands.api:OperationData"),
    "logs": Output(
        "the server's events; of several runs, the runs",
        ("run logs", "session logs"),
        each="commands.run.logs_of_many:AnyLogged",
        told="sessions.showing:EventData",
    ),
    "session": Output(
        "a session, or several", (*_SESSIONS, *_SESSION_ANSWERS), "base.model:SessionData", "runs.ending:AnySession"
    ),
    "schema": Output("with --check, what is declared", ("schema",), each="commands.schema:DeclaredData"),
    "init": Output("a file each", ("init",), each="commands.init:FileData"),
    "help": Output("the reference, or a part", ("help",), "help.reference:Reference"),
    "page": Output("with PAGE", ("help",), "help.reference:PageData"),
    "work": Output(
        "an item of work, or null", ("env work poll",), "commands.env.work:Polled", told="base.model:ApiObject"
    ),
    "object": Output(
        "an object of the API, or several, with every field",
        ("deploy create", "deploy update", *_NOUNS),
        "base.model:ApiObject",
        "output.results:AnyObject",
        told="base.model:ApiObject",
    ),
}


def kinds() -> list[str]:
    """Return what `qoder schema` knows: the kinds that are in files, and `output`."""
    from qoder_cli.nouns.table import in_files

    return [*in_files(), "output"]


def outputs_of(command: str) -> list[str]:
    """Return the names of what a command may print, by its words."""
    named = [name for name, output in OUTPUTS.items() if command in output.commands]
    if named:
        return named
    return [name for name, output in OUTPUTS.items() if any(fnmatchcase(command, each) for each in output.commands)]


def shape(name: str) -> Any:
    """Return a type that is named as `module:type`, within this package."""
    module, _, variable = name.partition(":")
    return getattr(import_module(f"qoder_cli.{module}"), variable)


def shapes(names: Iterable[str], *, in_lines: bool = False) -> Any:
    """Return the type of what may be printed; `in_lines` of a line of JSON lines."""
    hints = []
    for output in (OUTPUTS[name] for name in names):
        if output.one:
            hints.append(shape(output.one))
        if output.each:
            hints.append(shape(output.each) if in_lines else list[shape(output.each)])  # type: ignore[misc]  # made as it runs
    found = hints[0]
    for hint in hints[1:]:
        found |= hint
    return found


def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of an output."""
    return {"$schema": DIALECT, "title": OUTPUTS[name].title, **schema_of(shapes([name]))}


def keys() -> dict[str, tuple[Named, ...]]:
    """Return the keys of each output, and what they are for."""
    found = {name: keys_in(output.told or output.one or output.each) for name, output in OUTPUTS.items()}
    error, item = keys_in("base.errors:ErrorData"), keys_in("output.results:NotFoundItem")
    return {**found, "error": error, "item": item, "ci": CI}


def keys_in(name: str) -> tuple[Named, ...]:
    """Return the keys of a type; those in a row that are for the same stand together."""
    by_use = groupby((key for key in keys_of(shape(name)) if key.about), key=lambda key: key.about)
    return tuple(Named(tuple(key.name for key in those), about) for about, those in by_use)
