"""`qoder run pending`: what waits for an answer."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, NeedsAnswer, NoResponse, NotFound, UsageError, exclude
from qoder_cli.base.model import Raw, mapping, says_whether_more, text
from qoder_cli.base.pool import in_order
from qoder_cli.base.times import parse_timestamp, utc_text
from qoder_cli.base.words import counted
from qoder_cli.cli.options import RUNS_OR_LAST, Text, Texts, flag, named, option
from qoder_cli.commands.viewing import View, Viewing
from qoder_cli.help.completion.values import files
from qoder_cli.nouns.views import with_name
from qoder_cli.output.cells import Fields
from qoder_cli.output.data import Rows
from qoder_cli.sessions.asks import COLUMNS, FIRST, MOST_DRAWN, Asked, Call, PendingCall, look
from qoder_cli.sessions.numbering import how_to_decide, numbers_of, shows_numbers
from qoder_cli.sessions.question import HIDDEN, hides_secret
from qoder_cli.sessions.question import named as named_call
from qoder_cli.sessions.state import names_agents, read_session, session_of

if TYPE_CHECKING:
    from qoder_cli.commands.target import TypedSession
    from qoder_cli.policy.deciding import Verdict
    from qoder_cli.policy.rules import Policy

GIVE_UP_AFTER = 8  # sessions that could not be read; the rest would fail too
_OPEN = ("idle", "running", "rescheduling")  # statuses of sessions that are asked for
_OVER = ("terminated", "archived")  # those in which nothing waits; in any other something may
_SINCE = "Without RUN: sessions created since."
# What is the same in every row may go; but never what a person decides by.
_MAY_GO = ("kind", "run", "session", "deployment")


def pending(
    app: App,
    runs: Texts = RUNS_OR_LAST,
    since: str = option("--since", "WHEN", _SINCE, default="24h"),
    exit_status: bool = flag("--exit-status", "Exit 11 if anything waits."),
    policy: Text = option("--policy", "FILE", "Show what this policy would decide.", files),
    *,
    viewing: Viewing,
) -> None:
    """List the calls that wait for an answer.

    Without RUN it asks all sessions of the last 24 hours that have not ended,
    and says how many. On a terminal calls are numbered: `approve last 2` shows
    call 2 again, and asks. In JSON each call has its whole input, its
    `input_sha256`, and under `answer` the commands that answer it (qoder help
    output). Kind is tool, mcp or custom; `unreadable` waits too. With
    --policy, policy is a column, too.

    Examples:
      qoder run pending
      qoder run pending last --json | jq '.[].input'"""
    view = View(app, viewing, COLUMNS if policy is None else (*COLUMNS, "policy"))
    exclude({"--watch": view.is_watched, "--exit-status": exit_status})
    if runs and since != "24h":
        raise UsageError("--since is for looking without a RUN", hint="leave it out, or name no RUN")
    words = named(runs, app) if runs else []
    rules = None
    if policy is not None:
        from qoder_cli.sessions.guard import loaded, with_ids

        rules = with_ids(app, loaded(app, policy))

    any_waits = view.show(lambda: _show(app, words, since, rules))
    if any_waits and exit_status:
        raise NeedsAnswer("calls wait for an answer", hint="use approve, deny or answer", run_state="going")


def _show(app: App, words: list[str], since: str, policy: "Policy | None") -> bool:
    """Print what waits now; return whether anything does."""
    now = app.client.server_now()

    def row(waiting: PendingCall) -> Fields:
        if not app.output.is_drawn:
            return waiting.row(now)
        name = app.seen_names.standing_for(waiting.deployment_id)
        return with_name(waiting.row(now, most=MOST_DRAWN), waiting.deployment_id, name, is_wide=app.output.is_wide)

    first = FIRST if policy is None else ("policy", *FIRST)
    id = "session" if shows_numbers(app) else "call"  # a call has a number, or is named by its id
    rows = Rows[PendingCall](app.output, fields=row, data=PendingCall.as_json, id=id, first=first, may_go=_MAY_GO)
    shown: list[PendingCall] = []
    with rows:
        try:
            for waiting in _waiting(app, words, since):
                calls = _calls_of(app, waiting, policy)
                shown += calls
                if not app.output.is_drawn:
                    rows.show(calls)
                    _warn_of_hidden(app, calls)
        finally:
            if app.output.is_drawn:  # all at once: its columns are made for all of them
                rows.show(shown)
                _warn_of_hidden(app, shown)
    if not shown:
        app.progress.note("nothing waits for an answer")
    elif app.may_ask and shows_numbers(app) and any(one.number for one in shown):
        app.progress.note(how_to_decide(app, words, shown))
    return bool(shown)


class _Waiting(NamedTuple):
    """What waits in a session, as it was read, and how that was named."""

    target: "TypedSession"
    asked: Asked
    session: Raw


def _waiting(app: App, words: Sequence[str], since: str) -> Iterator[_Waiting]:
    """Yield what waits, read now, in the runs and sessions typed; without any, wherever it does. Raises QoderError."""
    from qoder_cli.commands.target import target_of

    if not words:
        yield from _everywhere(app, since)
        return
    for target in [target_of(word, app) for word in words]:
        session = session_of(app, target.session_id)
        asked = look(app.client, target.session_id)
        asked.refuse_unclear(app.progress)
        yield _Waiting(target, asked, session)


def _calls_of(app: App, waiting: _Waiting, policy: "Policy | None") -> list[PendingCall]:
    """Return the waiting calls of a session, each with the commands that answer it, and what a policy says of it.

    The run of the session and the name of its deployment are those that this machine has seen.
    """
    target, asked, session = waiting
    verdicts: dict[str, Verdict] = {}
    if policy is not None:
        from qoder_cli.sessions.by_policy import UNREAD, judged

        verdicts = dict.fromkeys(asked.unreadable, UNREAD)
        verdicts |= {judgement.call.id: judgement.verdict for judgement in judged(app, policy, asked, session)}
    run_id = target.run.id if target.run else app.seen_names.run_of(target.session_id)
    name = app.seen_names.name_of(text(session.get("deployment_id")))
    numbers = numbers_of(app, asked)
    calls: list[tuple[str, Call | None]] = [
        *((call.id, call) for call in asked.calls),
        *((id, None) for id in asked.unreadable),
    ]
    return [
        PendingCall(id, session, call, run_id, _commands(app, target, call), numbers.get(id), name, verdicts.get(id))
        for id, call in calls
    ]


def _commands(app: App, target: "TypedSession", call: Call | None) -> dict[str, list[str]]:
    if call is None:
        return {}
    if call.kind == "custom":
        return {"answer": target.command(app, "answer", call.id, "--with", "-")}
    shown = ("--input-sha256", call.sha256, "--yes")
    verbs = ("deny",) if hides_secret(app, call) else ("approve", "deny")
    return {verb: target.command(app, verb, call.id, *shown) for verb in verbs}


def _warn_of_hidden(app: App, calls: Sequence[PendingCall]) -> None:
    """Say which waiting calls cannot be shown in full, because a secret in them is hidden."""
    for call in filter(None, (waiting.call for waiting in calls)):
        if hides_secret(app, call):
            app.progress.warn(f"{named_call(call.id)} {HIDDEN}")


def _everywhere(app: App, since: str) -> Iterator[_Waiting]:
    """Yield what waits in the sessions created `since`. Raises ApiError.

    Also in those at work, for a sub-agent may ask. A session that cannot be read is a warning, and an error at the end.
    """
    from qoder_cli.commands.target import TypedSession

    app.when(since, option="--since")  # before anything is asked
    app.pace_reads()

    def ask() -> tuple[datetime, Iterator[Raw]]:
        start = app.when(since, option="--since")
        query: Raw = {"statuses[]": _OPEN, "created_at[gte]": utc_text(start), "limit": 100}
        pages = app.client.pages("/sessions", query, fresh=True)
        return start, chain([next(pages)], pages)  # one is read: it tells the server's clock

    start, pages = app.by_server_clock(ask)
    looked, failures = 0, list[ApiError]()

    def read(session: Raw) -> _Waiting | ApiError | None:
        id = str(session["id"])
        try:
            asked = look(app.client, id, threads=names_agents(session) is not False)
            asked.refuse_unclear(app.progress)
        except ApiError as error:
            return None if isinstance(error, NotFound) and _is_deleted(app, id) else error
        return _Waiting(TypedSession(id), asked, session)

    with app.progress.waiting(lambda: f"looked at {counted(looked, 'session')}", leaving="nothing is changed"):
        for waiting in in_order(read, _open_sessions(pages, start)):
            looked += 1
            app.progress.beat()
            if waiting is None:
                continue  # deleted meanwhile
            if isinstance(waiting, ApiError):
                failures.append(waiting)
                if len(failures) >= GIVE_UP_AFTER:
                    raise waiting
            elif waiting.asked.waiting:
                with app.progress.aside():
                    yield waiting
    app.progress.note(f"looked at {counted(looked, 'session')} created since {utc_text(start)}")
    if failures:
        app.progress.warn(f"{counted(len(failures), 'session')} could not be read")
        raise failures[0]


def _is_deleted(app: App, id: str) -> bool:
    """Return whether a session is not found, and not just a part of it."""
    try:
        read_session(app.client, id, retry=False)
    except ApiError as error:
        return isinstance(error, NotFound) and error.enveloped
    return False


def _open_sessions(pages: Iterator[Raw], start: datetime) -> Iterator[Raw]:
    seen: set[str] = set()
    page: Raw = {}
    is_whole = True
    for page in pages:
        for session in map(mapping, page["data"]):
            id, created = text(session.get("id")), parse_timestamp(session.get("created_at"))
            is_meant = session.get("status") not in _OVER and not session.get("archived_at")
            is_whole = is_whole and id is not None
            if id and id not in seen and is_meant and (created is None or created >= start):
                seen.add(id)
                yield session
    if not is_whole:
        raise NoResponse("the list of sessions has one without an id, so more calls may wait")
    if not says_whether_more(page):
        raise NoResponse("the list of sessions does not say whether it is complete, so more calls may wait")
