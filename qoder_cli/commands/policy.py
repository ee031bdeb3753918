"""`qoder policy`: read a policy's rules aloud, try them on calls of the past, and list what policies decided here."""

import math
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypedDict

from qoder_cli.app import App
from qoder_cli.base import jsontext
from qoder_cli.base.errors import NotYet, UsageError, exclude
from qoder_cli.base.model import data_of
from qoder_cli.base.times import utc_text
from qoder_cli.base.words import counted, shortened
from qoder_cli.cli.options import Text, Texts, argument, flag, named, option
from qoder_cli.commands.viewing import View, Viewing
from qoder_cli.files.tree import Node, Problem, Problems
from qoder_cli.help.completion import values
from qoder_cli.output.cells import Fields, Id, Moment, Words
from qoder_cli.output.data import Rows
from qoder_cli.output.listing import ALL, LIMIT, rows_wanted
from qoder_cli.output.visible import visible
from qoder_cli.policy.calls import BASH, Subject
from qoder_cli.policy.deciding import Verdict, decide
from qoder_cli.policy.rules import Policy, PolicyRule
from qoder_cli.policy.spelling import Place, is_inside, place, spelled
from qoder_cli.policy.verdict import VerdictData
from qoder_cli.sessions.asks import CALL_KINDS

if TYPE_CHECKING:
    from qoder_cli.sessions.by_policy import PolicyDecision

_FILE_TYPED = argument("FILE", "The policy: a YAML or JSON file.", values.files)

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
            warnings = []
            if own := [folder for folder in _OF_PROGRAMS if _overlap(rule.place, place(folder))]:
                warnings.append(f"covers {', '.join(own)}, or a part: there are programs and their configs")
            if any(part.endswith(".git") for part in rule.place):
                warnings.append("covers git's config, so no command of git is allowed")
            elif any(part.startswith(".") for part in rule.place):
                warnings.append("covers a hidden folder, where programs keep their configs")
            return f"{says}; a link there leads out of it", warnings
        case "run":
            return _of_running(policy, rule)
        case "fetch":
            below = " and of the hosts below it" if rule.site.has_subdomains else ""
            says = f"allows WebFetch of https://{rule.site.written}{below}; a page may lead elsewhere"
            is_wide = below != "" and "." not in rule.site.name
            return says, [f"covers every host in .{rule.site.name}"] * is_wide
        case "search":
            return "allows WebSearch, which sends what is searched for", []
    server, _, tool = rule.value.removeprefix("mcp__").partition("__")
    fields = "of its input_schema" if rule.fields is None else ", ".join(sorted(rule.fields))
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


def _of_running(policy: Policy, rule: PolicyRule) -> tuple[str, list[str]]:
    command, row, work = rule.command, rule.command.row, policy.work or ()
    says = [f"allows exactly this command, in {spelled(work)}"]
    if rule.more:
        says = [f"allows {' '.join(command.words)}, operands inside `read`, and harmless options"]
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
    warnings = []
    writing = _writes(policy, work)
    if "/" in command.program[0]:
        writing = _writes(policy, place(command.program[0], work)) or writing
    if writing is not None and (row is None or row.runs):
        warnings.append(f"line {writing.line} covers files in {writing.value}, so the agent can change what this runs")
    if not rule.more:
        verdict = decide(policy, Subject("tool", BASH, {"command": shlex.join(command.words)}))
        if verdict.answer != "allow":
            warnings.append(f"never allows anything: {verdict.why or verdict.data['rule']}")
    elif row is not None and row.rule == "read" and not any(policy.allowing("read")):
        warnings.append("never allows anything: its operands must be inside `read`, and there is none")
    return "; ".join(says), warnings


def _writes(policy: Policy, folder: Place) -> PolicyRule | None:
    return next((rule for rule in policy.allowing("write") if _overlap(rule.place, folder)), None)


def _overlap(one: Place, other: Place) -> bool:
    return is_inside(one, other) or is_inside(other, one)


def check(
    app: App,
    file: str = _FILE_TYPED,
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


# What a policy would have decided.

_FIRST_OF_TEST = ("answer", "calls", "rule", "group", "example", "line", "runs", "why")
_OF_CASES = ("case", "expected", "answer", "line", "rule", "why")
_ANSWERS = ("allow", "deny", "ask")
_OF_CASE = ("command", "name", "kind", "mcp_server_name", "input", "thread", "answer")
_DECIDING = ("name", "kind", "type", "mcp_server_name", "input", "thread", "session_thread_id")
# What else `pending` prints of a call, and what else its event has.
_OTHER = (
    *("run_id", "session_id", "deployment_id", "deployment_name", "call", "input_sha256", "asked_at", "credits"),
    *("answer", "length", "number", "policy"),
    *("id", "created_at", "processed_at", "evaluated_permission"),
)
_IN_FILE = "with --call and --expect: the place in the file, and what it expects, or null"
_COUNTED = "how many calls of past runs that is about, and how many runs had them"
_LONGEST = 200  # characters of an example


class CaseData(VerdictData):
    """What a policy says of a call that was given (--call, --expect)."""

    case: Annotated[int, _IN_FILE]
    expected: Annotated[str | None, _IN_FILE]


class TallyData(VerdictData):
    """The calls of past runs that count as one row."""

    calls: Annotated[int, _COUNTED]
    runs: Annotated[int, _COUNTED]
    group: Annotated[str | None, "the command or tool of calls that are left for a person, or null"]
    example: Annotated[str | None, "the first of these calls"]


class Case(NamedTuple):
    """A call, and the answer that is expected."""

    number: int
    subject: Subject
    expected: str | None = None


def subject_of_json(call: Any) -> Subject:
    """Return a call from the JSON that `pending` prints of one, or from its event. Raises UsageError.

    Nothing in it is passed over that might make another call of it.
    """
    if not isinstance(call, dict) or isinstance(call, jsontext.Repeated):
        raise UsageError("a call must be an object with `name` and `input`, each field once")
    if unknown := [name for name in call if name not in (*_DECIDING, *_OTHER)]:
        raise UsageError(f"a call has no field {unknown[0]}; what decides is {', '.join(_DECIDING)}")
    server, name = call.get("mcp_server_name"), call.get("name")
    kind = call.get("kind", "mcp" if server else "tool")
    if "type" in call:
        of_type = CALL_KINDS.get(str(call["type"]))
        kind = of_type if of_type == call.get("kind", of_type) else None
    if not name or not isinstance(name, str) or not isinstance(server, str | None) or kind not in CALL_KINDS.values():
        raise UsageError("a call must have a `name`, and a `kind` of tool, mcp or custom")
    is_main = call.get("thread") is None and call.get("session_thread_id") is None
    return Subject(kind, name, call.get("input"), server, is_main=is_main)


def _items(path: str, problems: Problems) -> list[Node]:
    from qoder_cli.files.documents import read, trees

    documents = [*trees(path, read(path, stdin=None), problems)]
    items = documents[0].content if len(documents) == 1 else None
    if not isinstance(items, list) or not items:
        raise Problem("must be a list of calls, each with `answer`", line=1)
    return items


def _case(number: int, node: Node) -> Case:
    at = (number - 1,)
    if not isinstance(node.content, dict):
        raise Problem("must be a call with `answer`", line=node.line, path=at)
    for name, child in node.content.items():
        if name not in _OF_CASE:
            raise Problem(f"unknown field; there are {', '.join(_OF_CASE)}", line=child.line, path=(*at, name))
    fields = node.plain()
    if fields.get("answer") not in _ANSWERS:
        raise Problem(f"must be one of {', '.join(_ANSWERS)}", line=node.line, path=(*at, "answer"))
    if ("command" in fields) is ("name" in fields):
        raise Problem("must have either `command`, or `name` and `input`", line=node.line, path=at)
    if "command" in fields:
        fields |= {"name": "Bash", "input": {"command": fields.pop("command")}}
    try:
        return Case(number, subject_of_json(fields), fields["answer"])
    except UsageError as error:
        raise Problem(error.message, line=node.line, path=at) from None


def _rows(decided: Iterable[tuple[str, Subject | None, Verdict]]) -> list[TallyData]:
    """Return a row for each rule, in the order of the file, and then for each group of calls, the largest first.

    `decided` are the ids of runs, a call of each, None if it cannot be read, and what the policy says of it.
    """
    rows: dict[Any, TallyData] = {}
    runs = defaultdict[Any, set[str]](set)
    for run_id, subject, verdict in decided:
        group, example = (None, None) if subject is None else _group_and_line(subject)
        key = (verdict.answer, verdict.rules, None if verdict.rules else group)
        data = verdict.data
        row = rows.setdefault(
            key,
            {
                "answer": data["answer"],
                "calls": 0,
                "runs": 0,
                "line": data["line"],
                "rule": data["rule"],
                "group": key[-1],
                "example": example,
                "why": data["why"],
            },
        )
        row["calls"] += 1
        runs[key].add(run_id)
        row["runs"] = len(runs[key])
    return sorted(rows.values(), key=lambda row: (row["line"] or math.inf, -row["calls"]))


def _group_and_line(subject: Subject) -> tuple[str, str]:
    """Return what a call is counted by if it is left for a person, its program or tool; and the call in a line."""
    group = name = f"{subject.server}/{subject.name}" if subject.server else subject.name
    if subject.command is not None:
        group = "a command that cannot be read"
        for command in subject.commands[:1]:
            group = command.program[0] if command.row is None else command.row.name
    given = subject.input
    if isinstance(given, dict) and isinstance(given.get("command"), str):
        given = given["command"]
    return group, shortened(f"{name}: {given if isinstance(given, str) else jsontext.dump(given)}", _LONGEST)


def try_out(
    app: App,
    file: str = _FILE_TYPED,
    what: Texts = argument("RUN|DEPLOYMENT...", "Runs; with --since, deployments (default: all).", default=None),
    since: Text = option("--since", "WHEN", "All runs created since, e.g. 30d or a date."),
    call: Text = option("--call", "JSON", "One call, as `pending --json` prints it, or its event."),
    expect: Text = option("--expect", "FILE", "Calls, each with the decision that you expect.", values.files),
) -> None:
    """Show what a policy would have decided.

    Reads every call in past runs, and prints how many each rule decides; what
    is left for a person is counted by command.

    --expect reads calls, each with `answer: allow`, `deny` or `ask`, and
    either `command`, or `name` and `input`; exits 8 if one differs. It and
    --call need no server. Nothing is approved or denied.

    Examples:
      qoder policy test policy.yaml --since 30d
      qoder policy test policy.yaml --expect policy.tests.yaml"""
    from qoder_cli.sessions.guard import loaded

    given = [name for name, value in (("--call", call), ("--expect", expect), ("--since", since)) if value is not None]
    exclude(dict.fromkeys(given, True))
    if call is not None or expect is not None:
        if what:
            raise UsageError(f"{given[0]} needs no runs", hint="leave them out")
        return _test_cases(app, loaded(app, file), call, expect)
    if not what and since is None:
        raise UsageError("name runs, or say --since", hint="for example --since 30d")
    return _test_runs(app, loaded(app, file), what or [], since)


def _test_cases(app: App, policy: Policy, call: str | None, expect: str | None) -> None:
    if expect is not None:
        problems = Problems()
        items = problems.of(_items, expect, problems) or []
        judged = [problems.of(_case, number, node) for number, node in enumerate(items, 1)]
        problems.refuse(expect, "the expected answers")
        given = list(filter(None, judged))
    else:
        try:
            parsed = jsontext.parse(str(call), exact=True)
        except ValueError:
            hint = """for example --call '{"name": "Bash", "input": {"command": "git status"}}'"""
            raise UsageError("--call is not JSON", hint=hint) from None
        given = [Case(1, subject_of_json(parsed))]
    decided: list[CaseData] = [  # which deployments the policy is for does not matter here
        {"case": case.number, "expected": case.expected, **decide(policy, case.subject).data} for case in given
    ]
    with Rows[CaseData](app.output, fields=lambda case: {**case}, data=dict, first=_OF_CASES) as rows:
        rows.show(decided)
    wrong = [str(case["case"]) for case in decided if case["expected"] not in (None, case["answer"])]
    if wrong:
        which = ", ".join(wrong[:10])
        raise NotYet(
            f"{len(wrong)} of {len(decided)} decisions differ from those expected: {which}", hint="see the list above"
        )
    if expect is not None:
        app.progress.note(f"{len(decided)} decisions as expected")


def _test_runs(app: App, policy: Policy, what: list[str], since: str | None) -> None:
    from qoder_cli.history import past
    from qoder_cli.nouns.lookup import ids_of_all
    from qoder_cli.sessions.by_policy import UNREAD, judged
    from qoder_cli.sessions.guard import with_ids

    policy = with_ids(app, policy)
    if since is None:
        runs = past.of_runs(app, named(what, app))
    else:
        app.when(since, option="--since")  # before anything is asked
        runs = past.since(app, since, ids_of_all(what, app) or policy.deployments)
    looked = called = 0

    def decided() -> Iterator[tuple[str, Subject | None, Verdict]]:
        nonlocal looked, called
        for run in runs:
            looked += 1
            app.progress.beat()
            for judgement in judged(app, policy, run.asked, run.session, is_past=True):
                yield run.run_id, judgement.subject, judgement.verdict
            for _ in run.asked.unreadable:
                yield run.run_id, None, UNREAD
            called += len(run.asked.waiting)

    with app.progress.waiting(lambda: f"looked at {counted(looked, 'run')}", leaving="nothing is changed"):
        rows_to_show = _rows(decided())
    with Rows[TallyData](app.output, fields=_tallied, data=dict, first=_FIRST_OF_TEST, may_go=("runs", "why")) as rows:
        rows.show(rows_to_show)
    app.progress.note(f"looked at {counted(looked, 'run')} with {counted(called, 'call')}; nothing was sent")


def _tallied(row: TallyData) -> Fields:
    texts = {"rule": row["rule"], "group": row["group"], "example": row["example"]}
    return {**row, **{name: text and Words(visible(text), least=12) for name, text in texts.items()}}


# What policies decided.

_FIRST_OF_LOG = ("at", "answer", "name", "input", "line", "rule", "run", "state", "session", "call", "policy_sha256")


_IDS = "ids; run is null where only the session was named"
_CALLED = "the tool, and the beginning of its input in one line"
_FILE = "the policy, and the SHA-256 of what was in it"
_RULE = "the rule that decided"


class DecisionData(TypedDict):
    """A decision of a policy."""

    at: Annotated[str, "when it was decided"]
    run: Annotated[str | None, _IDS]
    session: Annotated[str, _IDS]
    call: Annotated[str, _IDS]
    call_sha256: Annotated[str, "the input_sha256 of the call, as of pending"]
    asked_by: Annotated[str, "id of the event that asked"]
    name: Annotated[str, _CALLED]
    input: Annotated[str, _CALLED]
    answer: Annotated[str, "allow or deny"]
    rule: Annotated[str, _RULE]
    line: Annotated[int, _RULE]
    file: Annotated[str, _FILE]
    policy_sha256: Annotated[str, _FILE]
    state: Annotated[str, "sending, sent or gone"]


_OF_LOG = tuple(name for name in DecisionData.__annotations__ if name not in ("call_sha256", "asked_by"))


def log(app: App, limit: int | None = LIMIT, all: bool = ALL, *, viewing: Viewing) -> None:
    """List decisions of policies on this machine, newest first (20 by default).

    Each has the rule, its line, the file and the SHA-256 of its content then.
    State: sending (stopped in between, or the response was lost), sent, gone
    (lost, and the call waits no longer).

    Examples:
      qoder policy log
      qoder policy log --all -o jsonl"""
    wanted = rows_wanted(limit, all=all, bounded=False)
    view = View(app, viewing, _OF_LOG)

    def look() -> None:
        from qoder_cli.sessions.by_policy import PolicyDecision, kept_decisions

        decisions = kept_decisions(app)
        shown = decisions if wanted is None else decisions[:wanted]
        rows = Rows[PolicyDecision](app.output, fields=_logged, data=_log_data, id="call", first=_FIRST_OF_LOG)
        with rows:
            rows.show(shown)
        if len(shown) < len(decisions):
            app.progress.note(f"{len(shown)} shown, more match; --all shows them")
        elif not decisions:
            app.progress.note("no policy has decided anything on this machine")

    view.show(look)


def _log_data(decision: "PolicyDecision") -> DecisionData:
    return data_of(DecisionData, decision, at=utc_text(decision.at), run=decision.run or None)


def _logged(decision: "PolicyDecision") -> Fields:
    data = _log_data(decision)
    fields: Fields = {name: data[name] for name in _OF_LOG}  # type: ignore[literal-required]  # names from its columns
    fields |= {name: fields[name] and Id(fields[name]) for name in ("run", "session", "call")}
    fields |= {name: Words(fields[name], least=12) for name in ("name", "input", "rule", "file")}
    return {**fields, "at": Moment(data["at"])}


COMMANDS = {"check": check, "test": try_out, "log": log}
