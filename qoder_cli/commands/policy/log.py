"""`qoder policy log`: what policies have decided on this machine."""

from typing import Annotated, TypedDict

from qoder_cli.app import App
from qoder_cli.base.model import data_of
from qoder_cli.base.times import utc_text
from qoder_cli.commands.viewing import View, Viewing
from qoder_cli.local.decided import PolicyDecision, all_of
from qoder_cli.output.cells import Fields, Id, Moment, Words
from qoder_cli.output.data import Rows
from qoder_cli.output.listing import ALL, LIMIT, rows_wanted

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
        decisions = all_of(app.store, app.settings)
        shown = decisions if wanted is None else decisions[:wanted]
        rows = Rows[PolicyDecision](app.output, fields=_logged, data=_log_data, id="call", first=_FIRST_OF_LOG)
        with rows:
            rows.show(shown)
        if len(shown) < len(decisions):
            app.progress.note(f"{len(shown)} shown, more match; --all shows them")
        elif not decisions:
            app.progress.note("no policy has decided anything on this machine")

    view.show(look)


def _log_data(decision: PolicyDecision) -> DecisionData:
    return data_of(DecisionData, decision, at=utc_text(decision.at), run=decision.run or None)


def _logged(decision: PolicyDecision) -> Fields:
    data = _log_data(decision)
    fields: Fields = {name: data[name] for name in _OF_LOG}  # type: ignore[literal-required]
    fields |= {name: fields[name] and Id(fields[name]) for name in ("run", "session", "call")}
    fields |= {name: Words(fields[name], least=12) for name in ("name", "input", "rule", "file")}
    return {**fields, "at": Moment(data["at"])}
