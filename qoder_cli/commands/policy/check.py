"""`qoder policy check`: read the rules of a policy aloud, what each means, and what it opens beside that."""

import shlex
from typing import Annotated, TypedDict

from qoder_cli.app import App
from qoder_cli.base.errors import NotYet
from qoder_cli.base.words import counted
from qoder_cli.cli.options import argument, flag
from qoder_cli.help.completion import values
from qoder_cli.policy.calls import BASH, Subject
from qoder_cli.policy.deciding import decide
from qoder_cli.policy.rules import Policy, PolicyRule
from qoder_cli.policy.spelling import Place, is_inside, place, spelled

FILE = argument("FILE", "The policy: a YAML or JSON file.", values.files)

_CHECKED = "the policy, and the SHA-256 of what is in it"
# Where programs, what they load, and their configs lie.
_OF_PROGRAMS = ("/bin", "/sbin", "/usr", "/opt", "/etc", "/lib", "/lib64", "/proc", "/sys", "/dev", "/root", "/home")


class RuleData(TypedDict):
    """A rule of a policy, read aloud."""

    line: Annotated[int, "its line in the file"]
    rule: Annotated[str, "its words"]
    says: Annotated[str, "what it means"]
    warnings: Annotated[list[str], "what it opens that it does not say"]


class PolicyData(TypedDict):
    """A policy that was checked."""

    file: Annotated[str, _CHECKED]
    sha256: Annotated[str, _CHECKED]
    deployments: Annotated[list[str], "those that it names"]
    rules: Annotated[
        list[RuleData],
        "each rule: an object with line, rule, says (what it means) and warnings (what it opens that it does not say)",
    ]


_DENIED = {
    "run": "a command that begins with `{0}`; one with these words elsewhere",
    "path": "what names {0} or what is below it; what may reach it",
    "fetch": "WebFetch of {0} and below; any other call that has it",
    "tool": "tools called {0}, built in or of a server; one in other capitals",
    "text": "a call with this in a value; one that has it written otherwise",
}


def _meaning(policy: Policy, rule: PolicyRule) -> tuple[str, list[str]]:
    """Return what a rule means, and what it opens that its words do not say."""
    if not rule.allows:
        return f"denies {_DENIED[rule.verb].format(rule.value)} is left for a person", []
    for deny in policy.denying("path"):
        if rule.place and is_inside(rule.place, deny.place):
            return "allows nothing", [f"never allows anything: line {deny.line} denies {deny.value}"]
    match rule.verb:
        case "read":
            shows = "covers /proc, where other programs show their variables and files"
            return "; ".join(_reading(policy, rule)), [shows] * (rule.place[:1] in ((), ("proc",)))
        case "write":
            says = (
                f"allows Write, Edit, mkdir, touch, cp, mv, rm and tee in {rule.value} and below, but for hidden names"
            )
            return f"{says}; a link there leads out of it", _of_writing(rule)
        case "run":
            return "; ".join(_running(policy, rule)), _of_running(policy, rule)
        case "fetch":
            below = " and of the hosts below it" if rule.site.has_subdomains else ""
            says = f"allows WebFetch of https://{rule.site.written}{below}; a page may lead elsewhere"
            is_wide = below != "" and "." not in rule.site.name
            return says, [f"covers every host in .{rule.site.name}"] * is_wide
        case "search":
            return "allows WebSearch, which sends what is searched for", []
    server, _, tool = rule.value.removeprefix("mcp__").partition("__")
    fields = "those of its input_schema" if rule.fields is None else ", ".join(sorted(rule.fields))
    warnings = [f"covers every tool that {server} has, or will have"] * (tool == "*")
    return f"allows {tool} of the MCP server {server}, with the fields {fields}", warnings


def _reading(policy: Policy, rule: PolicyRule) -> list[str]:
    says = [
        f"allows Read, Grep, Glob, and programs that only read, in {rule.value} and below, and where a link there leads"
    ]
    work = policy.work
    if below := [deny for deny in policy.denying("path") if is_inside(deny.place, rule.place)]:
        says.append(f"what looks through folders above {below[0].value} (Grep, grep -r, find) is left for a person")
    if work is not None and is_inside(work, rule.place):
        top = f"{spelled(work)}, which is taken for the top of its repository,"
        says.append(f"git shows what {top} and its history hold, and starts what its config names")
        if any(is_inside(deny.place, work) for deny in below):
            says[-1] = f"what prints the repository (git diff, git show) is left for a person; {says[-1]}"
        if writing := _writes(policy, work):
            says.append(f"if that is in {writing.value}, which line {writing.line} covers, the agent can change it")
    return says


def _of_writing(rule: PolicyRule) -> list[str]:
    warnings = []
    if own := [folder for folder in _OF_PROGRAMS if _overlap(rule.place, place(folder))]:
        warnings.append(f"covers {', '.join(own)}, or a part: there are programs and their configs")
    if any(part.endswith(".git") for part in rule.place):
        warnings.append("covers git's config, so no command of git is allowed")
    elif any(part.startswith(".") for part in rule.place):
        warnings.append("covers a hidden folder, where programs keep their configs")
    return warnings


def _running(policy: Policy, rule: PolicyRule) -> list[str]:
    row = rule.command.row
    says = [f"allows exactly this command, in {spelled(policy.work or ())}"]
    if rule.more:
        says = [f"allows {' '.join(rule.command.words)}, operands inside `read`, and harmless options"]
    if row is None:
        says.append("`qoder` does not know what it does")
    elif row.runs:
        says.append(f"runs {row.runs}")
    if row is not None and row.note:
        says.append(row.note)
    if rule.more and row is not None and row.launched == "python":
        says.append("behind `python -m`, `uv run` or `poetry run`, too, which run and install what work says")
    if (row is None or row.rule == "run") and (deny := next(policy.denying("path"), None)):
        says.append(f"it may open {deny.value} by itself, whatever line {deny.line} denies")
    return says


def _of_running(policy: Policy, rule: PolicyRule) -> list[str]:
    warnings = []
    row, work = rule.command.row, policy.work or ()
    writing = _writes(policy, work)
    if "/" in (program := rule.command.program[0]):
        writing = _writes(policy, place(program, work)) or writing
    if writing is not None and (row is None or row.runs):
        warnings.append(f"line {writing.line} covers files in {writing.value}, so the agent can change what this runs")
    if not rule.more:
        verdict = decide(policy, Subject("tool", BASH, {"command": shlex.join(rule.command.words)}))
        if verdict.answer != "allow":
            warnings.append(f"never allows anything: {verdict.why or verdict.data['rule']}")
    elif row is not None and row.rule == "read" and not any(policy.allowing("read")):
        warnings.append("never allows anything: its operands must be inside `read`, and there is none")
    return warnings


def _writes(policy: Policy, folder: Place) -> PolicyRule | None:
    return next((rule for rule in policy.allowing("write") if _overlap(rule.place, folder)), None)


def _overlap(one: Place, other: Place) -> bool:
    return is_inside(one, other) or is_inside(other, one)


def check(
    app: App,
    file: str = FILE,
    strict: bool = flag("--strict", "Exit 8 if a rule opens more than it seems to."),
) -> None:
    """Check a policy: every problem, with its line; then each rule in plain words.

    Each rule comes with what it opens, for example that the agent can change
    what a command runs. Exits 2 if the policy cannot be used. See `qoder help
    policies`.

    Examples:
      qoder policy check policy.yaml --strict"""
    from qoder_cli.sessions.guard import loaded

    policy = loaded(app, file)
    rules: list[RuleData] = []
    for rule in policy.rules:
        says, warnings = _meaning(policy, rule)
        rules.append({"line": rule.line, "rule": rule.text, "says": says, "warnings": warnings})
    lines = [f"line {rule['line']}: {rule['rule']}: {rule['says']}" for rule in rules]
    opened = [f"line {rule['line']}: {warning}" for rule in rules for warning in rule["warnings"]]
    data: PolicyData = {
        "file": file,
        "sha256": policy.sha256,
        "deployments": [*policy.deployments],
        "rules": rules,
    }
    app.output.record({**data, "rules": lines, "opens": opened}, data=data, id=policy.sha256)
    if strict and opened:
        raise NotYet(f"{counted(len(opened), 'warning')} in {file}", hint="see what the rules open, above")
