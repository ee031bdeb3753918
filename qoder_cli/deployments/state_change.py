"""Deployments paused, unpaused and archived: each by a write that may be repeated, with one answer for all of them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from qoder_cli.base.errors import (
    ApiError,
    Exit,
    NotFound,
    OutcomeUnknown,
    QoderError,
    Signalled,
    UsageError,
    first_by_rank,
)
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Deployment
from qoder_cli.base.tokens import without_tokens
from qoder_cli.deployments.lookup import explain_missing, find_deployment, read_deployment
from qoder_cli.deployments.writing import CannotBe, change
from qoder_cli.http.write import How, Write
from qoder_cli.output.cells import Fields, Status
from qoder_cli.output.views import DEPLOYMENT_COLUMNS, DEPLOYMENT_FIRST, deployment_fields, deployment_row

if TYPE_CHECKING:
    from qoder_cli.app import State
    from qoder_cli.output.data import Rows

READ_WITHIN = 10.0  # seconds for one reading back
_SHOWN = 3  # deployments that the first line names


class Change(NamedTuple):
    """What can be done to a deployment's state, in the words for it, and the test whether it is so."""

    verb: str  # of the command, and of the path
    doing: str
    participle: str
    state: str  # what it is afterwards
    is_so: Callable[[Deployment], bool]


PAUSE = Change("pause", "pausing", "paused", "paused", lambda found: found.state == "paused")
UNPAUSE = Change("unpause", "unpausing", "unpaused", "active", lambda found: found.state == "active")
ARCHIVE = Change("archive", "archiving", "archived", "archived", lambda found: found.state == "archived")
CHANGES = {change.verb: change for change in (PAUSE, UNPAUSE, ARCHIVE)}


class Target(NamedTuple):
    """A deployment that was named: the word that was typed, and its id or why it has none."""

    typed: str
    found: str | QoderError


class Outcome(NamedTuple):
    """What became of one deployment: how it is now, or the error; neither when nothing was attempted."""

    deployment: Deployment | None = None
    error: QoderError | None = None

    @property
    def exit_code(self) -> int | None:
        """The exit code of this one; None when it was not attempted."""
        if self.error is not None:
            return int(self.error.exit)
        return None if self.deployment is None else int(Exit.OK)

    def as_json(self, typed: str) -> dict[str, Any]:
        """Return the item of a JSON array, for what was typed (contract, section 3)."""
        error = self.error.as_json() if self.error else None
        found = self.deployment.as_json() if self.deployment else {"id": None, "error": error}
        return {**found, "input": without_tokens(typed), "exit_code": self.exit_code}

    def row(self, typed: str) -> Fields:
        """Return the row of a table, for what was typed."""
        if self.deployment is not None:
            return deployment_row(self.deployment)
        word = self.error.type_name if self.error else "not_attempted"
        return {**dict.fromkeys(DEPLOYMENT_COLUMNS), "id": without_tokens(typed), "state": Status(word)}


class StateChanges:
    """One change of several deployments, one after the other, each once; `as_list` says how they are printed."""

    def __init__(self, state: "State", change: Change, targets: Sequence[Target], *, as_list: bool) -> None:
        self._state = state
        self._change = change
        self._targets = targets
        self._as_list = as_list
        self._outcomes: dict[str, Outcome] = {}  # by id
        self._under_way: Write[Deployment] | None = None
        self._signalled: Signalled | None = None

    def make(self, *, is_wanted: Callable[[Deployment], bool] | None = None) -> int:
        """Change all of them, and print what became of each as it becomes known.

        With `is_wanted` all are read first, and those that are not wanted are left as they are. Returns 0, or raises
        the error that decides the exit code.
        """
        ids = list(dict.fromkeys(target.found for target in self._targets if isinstance(target.found, str)))
        self._announce(ids)
        if is_wanted is not None:
            for id in ids:
                self._ask(id, is_wanted)
        try:
            outcomes = self._print() if self._as_list else [self._print_one()]
        except Signalled as signalled:  # while something was printed
            self._signalled = signalled
            outcomes = list(map(self._known, self._targets))
        error = self._deciding(outcomes)
        if error is not None:
            raise error
        return Exit.OK

    def _announce(self, ids: Sequence[str]) -> None:
        typed = {target.found: target.typed for target in reversed(self._targets) if isinstance(target.found, str)}
        words = [id if typed[id] == id else f"{typed[id]} ({id})" for id in ids[:_SHOWN]]
        words += [f"{len(ids) - _SHOWN} more"] if len(ids) > _SHOWN else []
        if words:
            where = self._state.client.settings.whereabouts
            self._state.progress.note(f"{self._change.doing} {', '.join(words)} {where}")

    def _ask(self, id: str, is_wanted: Callable[[Deployment], bool]) -> None:
        """Settle beforehand what becomes of a deployment that is so already, is not wanted or cannot be read."""
        try:
            found = find_deployment(self._state, id)
        except ApiError as error:
            self._outcomes[id] = Outcome(error=error)
            return
        if self._change.is_so(found):
            self._outcomes[id] = Outcome(found)
            self._note(id, "already")
        elif not is_wanted(found):
            self._outcomes[id] = Outcome(error=UsageError(f"{id} was not {self._change.participle}: you said no"))

    def _print(self) -> list[Outcome]:
        """Make the changes and print an item for each thing of the input; what is drawn is printed at the end."""
        output = self._state.output
        shown: list[tuple[str, Outcome]] = []
        with self._rows() as rows:
            for target in self._targets:
                shown.append((target.typed, self._outcome(target)))
                if output.format != "id" or shown[-1][1].deployment:  # what is not changed has no id to print
                    rows.show([] if output.is_drawn else shown[-1:])
            rows.show(shown if output.is_drawn else [])
        return [outcome for _, outcome in shown]

    def _rows(self) -> "Rows[tuple[str, Outcome]]":
        return self._state.output.rows(
            fields=lambda item: item[1].row(item[0]),
            data=lambda item: item[1].as_json(item[0]),
            first=DEPLOYMENT_FIRST,
        )

    def _print_one(self) -> Outcome:
        outcome = self._outcome(self._targets[0])
        if (found := outcome.deployment) is not None:
            fields = deployment_fields(found, now=self._state.client.server_now())
            self._state.output.record(fields, data=found.as_json(), id=found.id)
        return outcome

    def _outcome(self, target: Target) -> Outcome:
        """Return what became of a target, having changed it if that is still to be done."""
        if self._signalled is None and isinstance(target.found, str) and target.found not in self._outcomes:
            try:
                self._outcomes[target.found] = self._changed(target.found)
            except Signalled as signalled:
                self._signalled = signalled
                self._outcomes[target.found] = self._stopped()
        return self._known(target)

    def _known(self, target: Target) -> Outcome:
        if isinstance(target.found, QoderError):
            return Outcome(error=target.found)
        return self._outcomes.get(target.found, Outcome())

    def _changed(self, id: str) -> Outcome:
        self._under_way = change(
            self._state,
            f"/deployments/{segment(id)}/{self._change.verb}",
            what=f"{self._change.doing} {id}",
            read=lambda answer: self._if_so(id, Deployment.read(answer)),
            settle=lambda: self._read_back(id),
            look=self._state.looking("deploy", "get", id),
            repeatable=True,
        )
        try:
            written = self._under_way.send()
        except ApiError as error:
            return Outcome(error=explain_missing(error, id, self._state) if isinstance(error, NotFound) else error)
        except OutcomeUnknown as error:
            return Outcome(error=error)
        self._note(id, written.how)
        return Outcome(written.value)

    def _if_so(self, id: str, found: Deployment | None) -> Deployment | None:
        """Return a deployment if it is the one and as it was to become."""
        return found if found and found.id == id and self._change.is_so(found) else None

    def _read_back(self, id: str) -> Deployment | None:
        """Return the deployment if it is as it was to become. Raises CannotBe when it never will be, ApiError."""
        found = read_deployment(self._state, id, within=READ_WITHIN, retry=False)
        if found.archived_at and self._change is not ARCHIVE:
            raise CannotBe(
                f"{id} is archived since {found.archived_at}, so it cannot be {self._change.participle}",
                hint="archiving cannot be undone; create it anew",
            )
        return self._if_so(id, found)

    def _note(self, id: str, how: How) -> None:
        if how == "already":
            self._state.progress.note(f"{id} was {self._change.state} already")
        elif how == "settled":
            self._state.progress.note(f"{id} is {self._change.state}: reading back shows it")

    def _stopped(self) -> Outcome:
        """Return what is known of the change that a signal stopped."""
        write = self._under_way
        if write is not None and write.result is not None:
            return Outcome(write.result.value)
        if write is not None and write.may_have_acted:
            return Outcome(error=write.unknown("it was stopped before that was settled"))
        return Outcome()

    def _deciding(self, outcomes: Sequence[Outcome]) -> QoderError | None:
        """Return the error that decides the exit code, saying what became of all; None when all went well."""
        error = first_by_rank(outcome.error for outcome in outcomes if outcome.error)
        fine = sum(outcome.deployment is not None for outcome in outcomes)
        so_far = f"{fine} of {len(outcomes)} are {self._change.state}; " if len(outcomes) > 1 else ""
        if self._signalled is not None:
            return _last_words(self._signalled, so_far or (f"it is {self._change.state}; " if fine else ""), error)
        if error is not None:
            error.message = so_far + error.message
        return error


def _last_words(signalled: Signalled, so_far: str, error: QoderError | None) -> QoderError:
    """Return the error of a command that a signal stopped: what was done, and what is not known of it."""
    if not isinstance(error, OutcomeUnknown):
        return signalled.in_words(f"{so_far}stopped by a signal")
    stopped = signalled.in_words(
        f"{so_far}stopped by a signal; {error.message}",
        hint=error.hint,
        next=error.next,
    )
    stopped.kind = Exit.OUTCOME_UNKNOWN
    return stopped
