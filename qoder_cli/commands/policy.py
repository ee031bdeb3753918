"""`qoder policy`: rules for an agent's calls, checked and tested before they decide, and what they decided."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from qoder_cli.app import App
from qoder_cli.base import jsontext
from qoder_cli.base.errors import NotYet, UsageError
from qoder_cli.base.times import utc_text
from qoder_cli.base.words import counted
from qoder_cli.cli.options import Text, Texts, argument, flag, named, option
from qoder_cli.commands.viewing import View, Viewing
from qoder_cli.help.completion import values
from qoder_cli.output.cells import Fields, Id, Moment, Words
from qoder_cli.output.data import Rows
from qoder_cli.output.listing import ALL, LIMIT, rows_wanted
from qoder_cli.output.visible import visible

if TYPE_CHECKING:
    from qoder_cli.local.decided import PolicyDecision
    from qoder_cli.policy.rules import Policy

_FILE = argument("FILE", "The policy: a YAML or JSON file.", values.policy_files)
_LARGEST_CALL = 4 * 2**20  # characters
_OF_LOG = ("at", "run", "session", "call", "name", "input", "answer", "rule", "line", "file", "policy_sha256", "state")
_FIRST_OF_LOG = ("at", "answer", "name", "input", "line", "rule", "run", "state", "session", "call", "policy_sha256")
_FIRST_OF_TEST = ("answer", "calls", "rule", "group", "example", "line", "runs", "why")
_OF_CASES = ("case", "expected", "answer", "line", "rule", "why")


def check(
    app: App,
    file: str = _FILE,
    strict: bool = flag("--strict", "Exit 8 if a rule opens more than it seems to."),
) -> None:
    """Check a policy: every problem, with its line; then each rule in plain words.

    Each rule is read aloud with what it opens: that the agent can change what a
    command runs, for example. Exits 2 if the policy cannot be used. See
    `qoder help policies`.

    Examples:
      qoder policy check policy.yaml
      qoder policy check policy.yaml --strict"""
    from qoder_cli.policy.aloud import aloud
    from qoder_cli.sessions.guard import loaded

    policy = loaded(app, file)
    remarks = aloud(policy)
    lines = [f"line {each.rule.line}: {each.rule.text}: {each.says}" for each in remarks]
    opened = [f"line {each.rule.line}: {warning}" for each in remarks for warning in each.warnings]
    about = {"file": file, "sha256": policy.sha256, "deployments": [*policy.deployments]}
    data = {**about, "rules": [each.data for each in remarks]}
    app.output.record({**about, "rules": lines, "opens": opened}, data=data, id=policy.sha256)
    if strict and opened:
        raise NotYet(f"{counted(len(opened), 'warning')} in {file}", hint="see what the rules open, above")


def try_out(
    app: App,
    file: str = _FILE,
    what: Texts = argument("RUN|DEPLOYMENT...", "Runs; with --since, deployments (default: all).", default=None),
    since: Text = option("--since", "WHEN", "All runs created since, e.g. 30d or a date."),
    call: Text = option("--call", "JSON", "One call, as `pending --json` prints it, or its event."),
    expect: Text = option("--expect", "FILE", "Calls, each with the decision that you expect.", values.policy_files),
) -> None:
    """Show what a policy would have decided.

    Reads every call that agents made or asked for in past runs, and prints how
    many each rule decides. What is left for a person is counted by command.

    --expect reads a list of calls, each with `answer: allow`, `deny` or `ask`,
    and either `command`, or `name` and `input`; exits 8 if one differs, so
    that CI can test a policy. With it, and with --call, no server is needed.
    Nothing is approved or denied.

    Examples:
      qoder policy test policy.yaml --since 30d
      qoder policy test policy.yaml last
      qoder policy test policy.yaml --expect policy.tests.yaml"""
    from qoder_cli.sessions.guard import loaded

    given = [name for name, value in (("--call", call), ("--expect", expect), ("--since", since)) if value is not None]
    if len(given) > 1:
        raise UsageError(f"{given[0]} and {given[1]} cannot be used together", hint="pass only one of them")
    if call is not None or expect is not None:
        if what:
            raise UsageError(f"{given[0]} needs no runs", hint="leave them out")
        return _test_cases(app, loaded(app, file), call, expect)
    if not what and since is None:
        raise UsageError("name runs, or say --since", hint="for example --since 30d")
    return _test_runs(app, loaded(app, file), what or [], since)


def _test_cases(app: App, policy: "Policy", call: str | None, expect: str | None) -> None:
    from qoder_cli.policy.testing import Case, cases, judged, subject_of_json

    if expect is not None:
        found = [judged(policy, case) for case in cases(expect)]
    else:
        found = [judged(policy, Case(1, subject_of_json(_parsed(str(call)))))]
    rows = Rows[Case](app.output, fields=lambda case: case.row(), data=lambda case: case.row(), first=_OF_CASES)
    with rows:
        rows.show(found)
    wrong = [case for case in found if case.is_wrong]
    if wrong:
        which = ", ".join(str(case.number) for case in wrong[:10])
        raise NotYet(
            f"{len(wrong)} of {len(found)} decisions differ from those expected: {which}", hint="see the list above"
        )
    if expect is not None:
        app.progress.note(f"{len(found)} decisions as expected")


def _parsed(call: str) -> Any:
    """Return the JSON of a call. Raises UsageError."""
    if len(call) > _LARGEST_CALL:
        raise UsageError("--call is too long")
    try:
        return jsontext.parse(call, exact=True)
    except ValueError:
        hint = """for example --call '{"name": "Bash", "input": {"command": "git status"}}'"""
        raise UsageError("--call is not JSON", hint=hint) from None


def _test_runs(app: App, policy: "Policy", what: list[str], since: str | None) -> None:
    from qoder_cli.deployments.lookup import deployment_id_of
    from qoder_cli.history import past
    from qoder_cli.policy.testing import Tally
    from qoder_cli.sessions.by_policy import judged
    from qoder_cli.sessions.guard import with_ids

    policy = with_ids(app, policy)
    if since is None:
        found = past.of_runs(app, named(what, app))
    else:
        start = app.when(since, option="--since")
        found = past.since(app, start, [deployment_id_of(each, app) for each in what] or policy.deployments)
    tally, looked = Tally(), 0
    with app.progress.waiting(lambda: f"looked at {counted(looked, 'run')}", leaving="nothing is changed"):
        for run in found:
            looked += 1
            app.progress.beat()
            for judgement in judged(app, policy, run.asked, run.session, is_past=True):
                tally.add(run.run_id, judgement.subject, judgement.verdict)
            tally.add_unreadable(run.run_id, len(run.asked.unreadable))
    with Rows[dict[str, Any]](
        app.output, fields=_tallied, data=dict, first=_FIRST_OF_TEST, may_go=("runs", "why")
    ) as rows:
        rows.show(list(tally.rows()))
    app.progress.note(f"looked at {counted(looked, 'run')} with {counted(tally.calls, 'call')}; nothing was sent")


def _tallied(row: dict[str, Any]) -> Fields:
    texts = {name: row[name] and Words(visible(str(row[name])), least=12) for name in ("rule", "group", "example")}
    return {**row, **texts}


def log(app: App, limit: int | None = LIMIT, all: bool = ALL, *, viewing: Viewing) -> None:
    """List the decisions of policies on this machine, newest first.

    Each decision has the rule, its line, the file and the SHA-256 of what was in
    it then. State: sending (the command was stopped in between, or the response
    was lost), sent, gone (it was lost, and the call waits no longer).

    Examples:
      qoder policy log
      qoder policy log --all -o jsonl"""
    from qoder_cli.local.decided import all_of

    wanted = rows_wanted(limit, all=all, bounded=False)
    view = View(app, viewing, _OF_LOG)

    def look() -> None:
        found = all_of(app.store, app.settings)
        shown = found if wanted is None else found[:wanted]
        rows = Rows["PolicyDecision"](app.output, fields=_logged, data=_log_data, id="call", first=_FIRST_OF_LOG)
        with rows:
            rows.show(shown)
        if len(shown) < len(found):
            app.progress.note(f"{len(shown)} shown, more match; --all shows them")
        elif not found:
            app.progress.note("no policy has decided anything on this machine")

    view.show(look)


def _log_data(decision: "PolicyDecision") -> dict[str, Any]:
    at = utc_text(datetime.fromtimestamp(decision.at, UTC))
    return {**decision._asdict(), "at": at, "run": decision.run or None}


def _logged(decision: "PolicyDecision") -> Fields:
    data = _log_data(decision)
    ids: Iterator[tuple[str, Any]] = ((name, data[name] and Id(data[name])) for name in ("run", "session", "call"))
    texts = {name: Words(data[name], least=12) for name in ("name", "input", "rule", "file")}
    return {name: {**data, **dict(ids), **texts, "at": Moment(data["at"])}[name] for name in _OF_LOG}


COMMANDS = {"check": check, "test": try_out, "log": log}
