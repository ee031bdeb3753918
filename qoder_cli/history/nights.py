"""Read what a report covers: deployments, runs and how they ended, credits. What cannot be read becomes a problem.

Runs are read that were created in the span, and as long before it as a session lasts; those that had not ended when
this machine last looked; and, on a machine that does not know what was before, some older ones.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property, partial
from itertools import chain, islice, pairwise
from math import inf
from operator import itemgetter
from typing import Any, NamedTuple

from qoder_cli.app import App
from qoder_cli.base.credits import amount, total
from qoder_cli.base.errors import ApiError, NotFound, UsageError, or_error
from qoder_cli.base.model import OLDEST, Deployment, Run, created_at, mapping, says_whether_more, text
from qoder_cli.base.pool import in_order
from qoder_cli.base.times import utc_text
from qoder_cli.base.words import counted
from qoder_cli.history.fires import Fires, fires_of
from qoder_cli.history.listed import Resolver, read_run, runs_in
from qoder_cli.history.records import LAG, LATE, RunRecord
from qoder_cli.history.usage import AT_REST
from qoder_cli.history.window import Window, is_below, runs_within
from qoder_cli.local.remembered import MOST_RUNS, remember_runs
from qoder_cli.local.reports import ReaderMemory
from qoder_cli.nouns.lookup import find_deployment, read_deployment, read_pages
from qoder_cli.runs.observe import LONGEST_RUN
from qoder_cli.sessions.asks import Call, look
from qoder_cli.sessions.log import is_last

REACH = 30 * 86400.0  # seconds; runs that were created longer ago are not looked for
MOST_ASKED = 5000  # sessions, without --all
_REMEMBERED = 100  # runs of which nobody could tell how they ended; of more it is remembered where to list again
_FEWEST = 500  # sessions that are asked before older runs are left out, of which this machine knows nothing
_MOST_CALLS = 20  # waiting runs of which the call is read


@dataclass(frozen=True)
class Unread:
    """Something that was not read, or not whole, and why, in words."""

    what: str
    message: str


class ReportOptions(NamedTuple):
    """What a report is asked for: deployments by id, the span, and whether all sessions are to be asked."""

    deployments: Sequence[str]
    since: str
    until: str | None = None
    is_news: bool = False
    asks_all: bool = False
    fires_only: bool = False  # nothing else of the runs than when they came


@dataclass
class Night:
    """What was read, all times in unix seconds on the server's clock.

    `deployments` are those asked about, by id. `runs` were created since `listed_from`, or had not ended when this
    machine last looked; `whole` says that none of them may be missing. What happened later than `after` is to be told.
    """

    options: ReportOptions
    memory: ReaderMemory | None  # of earlier reports, as far as it can be believed
    since: float = 0.0
    until: float = 0.0
    after: float = 0.0
    now: float = 0.0
    listed_from: float = 0.0
    known_from: float = 0.0  # runs created before it were never looked at
    left_from: float = inf  # when the oldest run was created that was not asked, or read
    deployments: dict[str, Deployment] = field(default_factory=dict)
    runs: list[RunRecord] = field(default_factory=list)
    before: Counter[str] = field(default_factory=Counter)  # runs of as long a time before, by deployment
    whole: bool = True
    # Credits, and of how many runs: by deployment and day, as there may be 200,000 of them.
    spent: dict[tuple[str, str], tuple[Decimal, int]] = field(default_factory=dict)
    calls: dict[str, list[Call]] = field(default_factory=dict)  # what a run waits for
    problems: list[Unread] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)  # runs that had not ended, and could not be read again

    @cached_property
    def newest(self) -> list[RunRecord]:
        """The runs, newest first, once all were read."""
        return sorted(self.runs, key=lambda run: run.order, reverse=True)

    @cached_property
    def runs_of(self) -> dict[str, list[RunRecord]]:
        """The same by deployment."""
        runs_of: dict[str, list[RunRecord]] = defaultdict(list)
        for run in self.newest:
            runs_of[run.deployment].append(run)
        return runs_of

    def has(self, run: RunRecord) -> bool:
        """Return whether a run was created within the span; one that does not say may be of now."""
        return self.since < self._made(run) <= self.until

    def fires_of(self, deployment: Deployment, *, until: float | None = None) -> Fires:
        """Return what is to be told of a deployment's fires as of a time."""
        until = self.until if until is None else until
        span = {"since": self.listed_from, "after": self.since, "until": until, "now": self.now}
        return fires_of(deployment, self.runs_of.get(deployment.id, ()), **span, whole=self.whole)

    def day_of(self, run: RunRecord) -> str:
        """Return the day on which a run was created, in the local time zone."""
        return datetime.fromtimestamp(self._made(run)).date().isoformat()

    def _made(self, run: RunRecord) -> float:
        return run.created or self.until


def read_night(app: App, options: ReportOptions, memory: ReaderMemory | None) -> Night:
    """Return what a report tells of. Raises UsageError, and ApiError where nothing could be read, or is not there."""
    Window.read(options.since, options.until, app=app)  # before anything is asked
    app.pace_reads()
    return _NightReader(app, options, memory).read()


class _NightReader:
    def __init__(self, app: App, options: ReportOptions, memory: ReaderMemory | None) -> None:
        self._app = app
        self._options = options
        self._night = Night(options, memory)
        self._taken = set[str]()
        self._counted = set[str]()  # runs of the time before
        self._open = set[str]()  # runs that had not ended when this machine last looked, or lasted long
        self._newest: list[Run] = []
        self._listed_before = 0.0  # from when on runs are counted, to compare with the time before
        self._failures: dict[str, ApiError] = {}  # by what could not be listed
        self._lists: Sequence[str | None] = options.deployments or [None]  # of deployments, or of all
        most = None if options.asks_all else MOST_ASKED
        self._resolver = Resolver(app, ask=not options.fires_only, most=most)

    def read(self) -> Night:
        app, night = self._app, self._night
        with app.progress.waiting(
            lambda: f"read {counted(len(self._taken), 'run')}, asked {counted(self._resolver.asked, 'session')}",
            leaving="nothing is changed",
        ):
            self._read_deployments()
            self._set_span()
            self._resolver.looks_since = night.after - LAG
            self._read_runs()
            if {"deployments", "runs"} <= self._failures.keys():
                raise self._failures["deployments"]
            if not self._options.fires_only:
                self._read_open()
                self._read_credits()
                self._read_calls()
        if not self._options.fires_only:
            self._note_problems()
        remember_runs(app.store, app.settings, self._newest)
        return night

    def _read_deployments(self) -> None:
        night = self._night
        night.deployments = {id: find_deployment(self._app, id) for id in self._options.deployments}
        if self._options.deployments:
            return
        try:
            for page in read_pages(self._app, archived=True):
                self._app.progress.beat()
                deployments = list(filter(None, map(Deployment.read, page["data"])))
                if len(deployments) < len(page["data"]):
                    night.problems.append(Unread("deployments", "some items of the list are not deployments"))
                self._doubt_end(page, "deployments")
                night.deployments |= {deployment.id: deployment for deployment in deployments}
        except ApiError as error:
            self._note(error, "deployments")
        # A list may show less. One that cannot be read stays unexplained, which the report says.
        paused = [id for id, deployment in night.deployments.items() if deployment.is_paused_unexplained]
        whole = in_order(or_error(partial(read_deployment, self._app)), paused)
        night.deployments |= {read.id: read for read in whole if isinstance(read, Deployment)}

    def _note(self, error: ApiError, what: str) -> None:
        """Note that a list could not be read. Raises the error if nobody is logged in."""
        if error.is_logged_out:
            raise error
        self._failures[what] = error
        self._lacks(what, error.message)

    def _doubt_end(self, page: dict[str, Any], what: str) -> None:
        """Note that a list may be longer, if its last page does not say that it is the last."""
        if is_last(page) and not says_whether_more(page):
            self._lacks(what, "the list does not say whether it is complete")

    def _lacks(self, what: str, message: str) -> None:
        """Note that runs may be missing: none counts as one that did not come."""
        problem = Unread(what, message)
        self._night.whole = False
        self._night.problems += [problem] if problem not in self._night.problems else []

    def _set_span(self) -> None:
        """Work out the span, and from when on runs are to be listed, on the server's clock."""
        app, night, memory = self._app, self._night, self._night.memory
        night.now = night.until = app.server_now
        if self._options.until is not None:
            night.until = min(app.when(self._options.until, option="--until").timestamp(), night.now)
        if memory is not None and memory.ended > night.now + LAG:  # a clock was set back: what was told is still known
            memory = memory._replace(ended=memory.began, back_to=memory.began)
        if memory is not None and memory.ended > night.now + LAG:
            memory = None
        night.memory = memory
        if self._options.is_news and memory is not None:
            night.since, night.after = min(memory.ended, night.now), memory.began
        else:
            night.since = night.after = max(app.when(self._options.since, option="--since").timestamp(), OLDEST)
        if night.since > night.until and self._options.until is not None:
            raise UsageError("--since is later than --until", hint="swap them")
        night.since = min(night.since, night.until)  # this machine's clock may be ahead
        night.listed_from = night.since - LONGEST_RUN
        night.known_from = night.listed_from
        if memory is not None:
            night.listed_from = min(night.listed_from, max(min(memory.ended - LAG, memory.back_to), night.now - REACH))
            night.known_from = min(night.listed_from, memory.known_from)
            runs = memory.open_runs.items()
            self._open = {id for id, ended in runs if (ended or inf) + LAG > night.after}
        self._listed_before = night.listed_from
        if not self._options.is_news:
            self._listed_before = max(2 * night.since - night.until, OLDEST)

    def _read_runs(self) -> None:
        """Read the runs created since `listed_from`, and count those of the time before.

        Where this machine knows nothing of what was before, some hundreds of older ones are read, too: they may still
        wait, or have ended only now.
        """
        night, options, older = self._night, self._options, list[tuple[float, dict[str, Any]]]()
        floor, reach = min(night.listed_from, self._listed_before), night.now - REACH
        is_known = night.known_from <= reach or options.fires_only
        digs = not is_known and (night.memory is None or options.asks_all)
        most, is_all, is_in_order = inf if options.asks_all else _FEWEST, True, True
        for of in self._lists:
            before = len(older)
            for rows, has_ended in self._pages(of, min(floor, reach) if digs else floor):
                self._take(rows)
                times = ((created_at(row), row) for row in rows)
                older += [(at, row) for at, row in times if at is not None and at < night.known_from]
                # A server may ignore the time that was asked for.
                if has_ended or is_below(rows, min(floor, reach)):
                    break
                if is_below(rows, floor) and (not digs or len(older) - before >= most):
                    is_all = False
                    break
            is_in_order = is_in_order and all(later[0] >= sooner[0] for later, sooner in pairwise(older[before:]))
        if digs and night.whole:
            older.sort(key=itemgetter(0), reverse=True)
            asked = older[: None if options.asks_all else max(_FEWEST - self._resolver.asked, 0)]
            self._take([row for _, row in asked], older=True)
            if is_all and len(asked) == len(older):
                night.known_from = 0.0
            elif asked and is_in_order:  # each list was read at least so far back
                night.known_from = asked[-1][0]
        if night.whole and not is_known and night.known_from > reach:
            when = datetime.fromtimestamp(night.known_from).strftime("%Y-%m-%d %H:%M")
            message = f"those created before {when} were not looked at (--all does, and this machine remembers it)"
            night.problems.append(Unread("older runs", message))

    def _pages(self, of: str | None, since: float) -> Iterator[tuple[list[dict[str, Any]], bool]]:
        """Yield the runs of a list that were created since a time, or more; with the last page, that it is.

        A list that cannot be read ends, and is noted as not whole.
        """
        window = Window(datetime.fromtimestamp(max(since, OLDEST), UTC), None)
        try:
            for page in runs_within(self._app.client, of, window, fresh=True):
                self._app.progress.beat()
                rows = [run.raw for run in runs_in(page, of)]
                if lacking := len(page["data"]) - len(rows):
                    self._lacks("runs", f"{lacking} items of the list are not runs of a deployment that was asked for")
                self._doubt_end(page, "runs")
                yield rows, is_last(page)
        except ApiError as error:
            self._note(error, "runs")
            yield [], True

    def _take(self, rows: Sequence[dict[str, Any]], *, older: bool = False) -> None:
        """Take runs of a list, each once, with how they ended; those of the time before are only counted."""
        night, new = self._night, list[dict[str, Any]]()
        for row in rows:
            id, created, deployment = row["id"], created_at(row), str(row["deployment_id"])
            if self._options.deployments and deployment not in night.deployments:
                continue
            if id in self._taken:  # of two different runs with one id the report shows the first
                again = RunRecord.of(Run(row))
                listed = chain(night.runs, (RunRecord.of(Run(other)) for other in new))
                first = next((record for record in listed if record.id == again.id), again)
                sessions, times = {first.session, again.session}, {first.created, again.created}
                if first.deployment != again.deployment or len(sessions - {None}) > 1 or len(times - {None}) > 1:
                    self._lacks("runs", f"the list has two runs with the id {again.id}")
                continue
            is_before = created is not None and self._listed_before < created <= night.since
            if is_before and id not in self._counted:
                self._counted.add(id)
                night.before[deployment] += 1
            if older or created is None or created >= night.listed_from or id in self._open:
                self._taken.add(id)
                new.append(row)
        resolver = self._resolver
        for run in resolver.runs(new):
            self._app.progress.beat()
            if len(self._newest) < MOST_RUNS:
                self._newest.append(run)
            left, is_idle = resolver.left.pop(run.id, None), run.id in resolver.idle or run.status == "pending"
            record = RunRecord.of(run, left=left, is_idle=is_idle)
            night.runs.append(record)
            if record.outcome == "unread":
                night.left_from = min(night.left_from, record.created or night.listed_from)

    def _read_open(self) -> None:
        """Read the runs again that had not ended when this machine last looked, and are not listed."""
        night = self._night
        ids = [id for id in self._open if id not in self._taken]

        read = or_error(partial(read_run, self._app.client))
        rows, failures = list[dict[str, Any]](), list[ApiError]()
        for id, answer in zip(ids, in_order(read, ids), strict=True):
            self._app.progress.beat()
            if isinstance(answer, Run) and answer.deployment_id is not None:
                rows.append(answer.raw)
            elif isinstance(answer, NotFound) and answer.enveloped:
                night.runs.append(RunRecord(id, "", None, None, None, None, "unknown", ended=None))
            else:
                night.lost.append(id)
                failures += [answer] if isinstance(answer, ApiError) else []
        self._take(rows, older=True)
        if night.lost:
            why = f": {failures[0].message}" if failures else ""
            what = f"{counted(len(night.lost), 'run')} that had not ended could not be read again{why}"
            night.problems.append(Unread("runs", what))

    def _read_credits(self) -> None:
        """Read what the runs of the span cost: from sessions, a hundred a page, but for those that are known."""
        night, kept = self._night, self._resolver.kept
        of_span = [] if self._options.is_news else filter(night.has, night.runs)
        wanted = {run.session or "": run for run in of_span if run.session}
        for id, spent in kept.credits_of(wanted).items():
            self._spend(wanted.pop(id), spent)
        if not wanted:
            return
        oldest = night.since - LATE
        query: dict[str, Any] = {"created_at[gte]": utc_text(oldest), "include_archived": "true", "limit": 100}
        if len(self._options.deployments) == 1:
            query["deployment_id"] = self._options.deployments[0]
        final: dict[str, Decimal] = {}
        try:
            for page in self._app.client.pages("/sessions", query):
                self._app.progress.beat()
                for session in map(mapping, page["data"]):
                    id, used = str(session.get("id")), amount(mapping(session.get("usage")).get("total_credits"))
                    if id not in wanted or used is None:
                        continue
                    run = wanted.pop(id)
                    self._spend(run, used)
                    if run.is_over and text(session.get("status")) in AT_REST:
                        final[id] = used
                if not wanted or is_below(page["data"], oldest):
                    break  # the server ignores the time that was asked for
        except ApiError as error:
            if error.is_logged_out:
                raise
            night.problems.append(Unread("credits", error.message))
        kept.keep_credits(final)

    def _spend(self, run: RunRecord, credits: Decimal) -> None:
        key = run.deployment, self._night.day_of(run)
        spent, count = self._night.spent.get(key, (Decimal(0), 0))
        self._night.spent[key] = total((spent, credits)), count + 1

    def _read_calls(self) -> None:
        for run in islice((run for run in self._night.runs if run.detail.asks is not None), _MOST_CALLS):
            try:
                self._night.calls[run.id] = list(look(self._app.client, run.session or "", retry=False).calls)
            except ApiError:
                continue  # that it waits is known

    def _note_problems(self) -> None:
        night, resolver = self._night, self._resolver
        unlisted = {run.deployment for run in night.runs if (run.created or night.now) <= night.now - LAG}
        unlisted -= night.deployments.keys() | {""}
        if unlisted and not any(problem.what == "deployments" for problem in night.problems):
            message = f"the list lacks {len(unlisted)} of which there are runs"
            night.problems.append(Unread("deployments", message))
        why = f" ({resolver.failure.message})" if resolver.failure else ""
        for count, what in (
            (resolver.unread, f"could not be read: how the runs ended is unknown{why}"),
            (resolver.unasked, f"could not be read: whether the runs wait for you is unknown{why}"),
            (resolver.left_out, f"were not asked, as they are more than {MOST_ASKED:,} (--all asks all)"),
        ):
            if count:
                night.problems.append(Unread("sessions", f"{counted(count, 'session')} {what}"))
        if resolver.failure and not (resolver.unread or resolver.unasked):  # of runs that completed
            night.problems.append(Unread("sessions", resolver.failure.message))


def made_up(app: App, keys: Iterable[str]) -> dict[str, str]:
    """Return the runs that make up fires, by their keys: those known here, and to the store that machines share.

    Raises QoderError if that store cannot be read.
    """
    from qoder_cli.keys.opening import shared_records

    wanted = dict.fromkeys(keys)
    runs = {key: entry.run for key in wanted for entry in app.store.of_key(key, host=app.settings.host) if entry.run}
    for record in shared_records(app) if wanted else ():
        is_started = record.state == "started" and record.workspace == app.settings.workspace_id
        if is_started and record.key in wanted and record.run is not None:
            runs[record.key] = record.run
    return runs


def to_remember(night: Night, states: dict[str, float]) -> ReaderMemory:
    """Return what is to be remembered of a report: the states that were told, and the runs that had not ended.

    Of plain reports also those that lasted long: the look back of other spans does not reach them.
    """
    old = night.memory or ReaderMemory(night.after, night.since, night.now, night.listed_from, {}, {})
    are_many = sum(run.outcome == "unread" for run in night.runs) > _REMEMBERED
    kept = {id: at for id, at in old.open_runs.items() if (at or 0.0) > night.now - REACH}
    open_runs: dict[str, float | None] = kept | dict.fromkeys(night.lost)
    for run in night.runs:
        first, last = run.certain(night.now)
        open_runs.pop(run.id, None)
        if not run.is_over or first > night.now:
            if run.outcome != "unread" or not are_many:
                open_runs[run.id] = None
        elif not night.options.is_news and first == last > run.order + LONGEST_RUN:
            open_runs[run.id] = run.ended
    back_to = night.left_from if are_many else inf
    if not night.whole or any(problem.what == "deployments" for problem in night.problems):
        return old._replace(states=states, open_runs=open_runs)
    return ReaderMemory(old.began, night.now, night.known_from, back_to, states, open_runs)
