"""`qoder policy test`: try a policy on calls of the past, and on calls for which the answer is known."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, NamedTuple

from qoder_cli.app import App
from qoder_cli.base import jsontext
from qoder_cli.base.errors import NotYet, UsageError, exclude
from qoder_cli.base.words import counted, shortened
from qoder_cli.cli.options import Text, Texts, argument, named, option
from qoder_cli.commands.policy.check import FILE
from qoder_cli.files.tree import BadFiles, Node, Problem
from qoder_cli.help.completion import values
from qoder_cli.output.cells import Fields, Words
from qoder_cli.output.data import Rows
from qoder_cli.output.visible import visible
from qoder_cli.policy.calls import Subject
from qoder_cli.policy.deciding import Verdict, decide
from qoder_cli.policy.rules import Policy
from qoder_cli.policy.verdict import VerdictData
from qoder_cli.sessions.asks import CALL_KINDS

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


def cases(path: str) -> list[Case]:
    """Return the cases in a file: a list of calls with `answer`. Raises BadFiles."""
    from qoder_cli.files.documents import read, trees

    problems: list[Problem] = []
    expected: list[Case] = []
    try:
        documents = [*trees(path, read(path, stdin=None), problems)]
        items = documents[0].content if len(documents) == 1 else None
        if not isinstance(items, list) or not items:
            raise Problem("must be a list of calls, each with `answer`", line=1)
        for number, node in enumerate(items, 1):
            try:
                expected.append(_case(number, node))
            except Problem as problem:
                problems.append(problem)
    except Problem as problem:
        problems.append(problem)
    if problems:
        located = [problem.located(path) for problem in sorted(problems, key=lambda problem: problem.line)]
        raise BadFiles(located, "the expected answers")
    return expected


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
        group, example = (None, None) if subject is None else _told(subject)
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


def _told(subject: Subject) -> tuple[str, str]:
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
    file: str = FILE,
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
    given = [Case(1, subject_of_json(_parsed(str(call))))] if expect is None else cases(expect)
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


def _parsed(call: str) -> Any:
    try:
        return jsontext.parse(call, exact=True)
    except ValueError:
        hint = """for example --call '{"name": "Bash", "input": {"command": "git status"}}'"""
        raise UsageError("--call is not JSON", hint=hint) from None


def _test_runs(app: App, policy: Policy, what: list[str], since: str | None) -> None:
    from qoder_cli.history import past
    from qoder_cli.nouns.lookup import ids_of_all
    from qoder_cli.sessions.by_policy import UNREAD, judged
    from qoder_cli.sessions.guard import with_ids

    policy = with_ids(app, policy)
    if since is None:
        runs = past.of_runs(app, named(what, app))
    else:
        start = app.when(since, option="--since")
        runs = past.since(app, start, ids_of_all(what, app) or policy.deployments)
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
