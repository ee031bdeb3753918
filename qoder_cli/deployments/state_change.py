"""Deployments paused, unpaused and archived: each by a write that may be repeated."""

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
from qoder_cli.deployments.writing import READ_WITHIN, CannotBe, DeploymentWrite
from qoder_cli.http.write import How
from qoder_cli.output.cells import Fields, Status
from qoder_cli.output.screen import inert
from qoder_cli.output.views import DEPLOYMENT_COLUMNS, DEPLOYMENT_FIRST, deployment_fields, deployment_row

if TYPE_CHECKING:
    from qoder_cli.app import State
    from qoder_cli.output.data import Rows

_SHOWN = 3  # deployments that the first line names


class Change(NamedTuple):
    """What can be done to a deployment's state, in the words for it, and the state it is in afterwards."""

    verb: str  # of the command, and of the path
    doing: str
    participle: str
    state: str


PAUSE = Change("pause", "pausing", "paused", "paused")
UNPAUSE = Change("unpause", "unpausing", "unpaused", "active")
ARCHIVE = Change("archive", "archiving", "archived", "archived")


class Target(NamedTuple):
    """A deployment that was named: the word that was typed, and its id or why it has none."""

    typed: str
    found: str | QoderError


class Outcome(NamedTuple):
    """What became of one deployment: how it is now, or the error; neither when nothing was attempted."""

    deployment: Deployment | None = None
    error: QoderError | None = None

    def as_json(self, typed: str) -> dict[str, Any]:
        """Return the item of a JSON array, for what was typed (contract, section 3)."""
        error = self.error.as_json() if self.error else None
        found = self.deployment.as_json() if self.deployment else {"id": None, "error": error}
        code = 0 if self.deployment else None
        return {**found, "input": without_tokens(typed), "exit_code": error["exit_code"] if error else code}

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
        self._signalled: Signalled | None = None

    def make(self, *, is_wanted: Callable[[Deployment], bool] | None = None) -> int:
        """Change all of them, and print what became of each as it becomes known.

        With `is_wanted` all are read first, and those that are not wanted are left as they are. Returns 0, or raises
        the error that decides the exit code.
        """
        ids = list(dict.fromkeys(target.found for target in self._targets if isinstance(target.found, str)))
        if is_wanted is not None:
            for id in ids:
                self._ask(id, is_wanted)
        self._announce([id for id in ids if id not in self._outcomes])
        try:
            outcomes = self._print() if self._as_list else [self._print_one()]
        except Signalled as signalled:  # while something was printed
            self._signalled = signalled
            outcomes = list(map(self._outcome, self._targets))
        if (error := self._deciding(outcomes)) is not None:
            raise error
        return Exit.OK

    def _ask(self, id: str, is_wanted: Callable[[Deployment], bool]) -> None:
        """Settle beforehand what becomes of a deployment that is so already, is not wanted or cannot be read."""
        try:
            found = find_deployment(self._state, id)
        except ApiError as error:
            self._outcomes[id] = Outcome(error=error)
            return
        if found.state == self._change.state:
            self._outcomes[id] = Outcome(found)
            self._note(id, "already")
        elif not is_wanted(found):
            self._outcomes[id] = Outcome(error=UsageError(f"cancelled; {id} was not {self._change.participle}"))

    def _announce(self, ids: Sequence[str]) -> None:
        typed = {target.found: target.typed for target in reversed(self._targets) if isinstance(target.found, str)}
        words = [id if typed[id] == id else f"{typed[id]} ({id})" for id in ids[:_SHOWN]]
        words += [f"{len(ids) - _SHOWN} more"] if len(ids) > _SHOWN else []
        if words:
            where = self._state.client.settings.whereabouts
            self._state.progress.note(f"{self._change.doing} {', '.join(words)} {where}")

    def _print(self) -> list[Outcome]:
        """Make the changes and print an item for each thing of the input; what is drawn is printed at the end."""
        output = self._state.output
        shown: list[tuple[str, Outcome]] = []
        rows: Rows[tuple[str, Outcome]] = output.rows(
            fields=lambda item: item[1].row(item[0]),
            data=lambda item: item[1].as_json(item[0]),
            first=DEPLOYMENT_FIRST,
        )
        with rows:
            for target in self._targets:
                shown.append((target.typed, self._outcome(target)))
                if output.format != "id" or shown[-1][1].deployment:  # what is not changed has no id to print
                    rows.show([] if output.is_drawn else shown[-1:])
            rows.show(shown if output.is_drawn else [])
        return [outcome for _, outcome in shown]

    def _print_one(self) -> Outcome:
        """Make the change and print the deployment: to a person at a terminal one line is enough."""
        output, outcome = self._state.output, self._outcome(self._targets[0])
        if (found := outcome.deployment) is None:
            return outcome
        if output.is_drawn:
            output.raw(f"{inert(found.name or '-')} ({inert(found.id)}) is {self._change.state}\n")
        else:
            fields = deployment_fields(found, now=self._state.client.server_now())
            output.record(fields, data=found.as_json(), id=found.id)
        return outcome

    def _outcome(self, target: Target) -> Outcome:
        """Return what became of a target, having changed it if that is still to be done."""
        if isinstance(target.found, QoderError):
            return Outcome(error=target.found)
        if self._signalled is None and target.found not in self._outcomes:
            self._outcomes[target.found] = self._changed(target.found)
        return self._outcomes.get(target.found, Outcome())

    def _changed(self, id: str) -> Outcome:
        write = DeploymentWrite(
            self._state,
            f"/deployments/{segment(id)}/{self._change.verb}",
            what=f"{self._change.doing} {id}",
            read=lambda answer: self._if_so(id, Deployment.read(answer)),
            settle=lambda: self._read_back(id),
            look=self._state.looking("deploy", "get", id),
            repeatable=True,
        )
        try:
            try:
                written = write.send()
            except NotFound as error:
                raise explain_missing(error, id, self._state) from None
            self._note(id, written.how)
        except (ApiError, OutcomeUnknown) as error:
            return Outcome(error=error)
        except Signalled as signalled:
            self._signalled = signalled
            if write.result is not None:
                return Outcome(write.result.value)
            return Outcome(error=write.unknown("interrupted before it was confirmed") if write.may_have_acted else None)
        return Outcome(written.value)

    def _if_so(self, id: str, found: Deployment | None) -> Deployment | None:
        """Return a deployment if it is the one and as it was to become."""
        return found if found and found.id == id and found.state == self._change.state else None

    def _read_back(self, id: str) -> Deployment | None:
        """Return the deployment if it is as it was to become. Raises CannotBe when it never will be, ApiError."""
        found = read_deployment(self._state, id, within=READ_WITHIN, retry=False)
        if found.archived_at and self._change is not ARCHIVE:
            raise CannotBe(
                f"{id} was archived on {found.archived_at}, so it cannot be {self._change.participle}",
                hint="create a new deployment; archiving cannot be undone",
            )
        return self._if_so(id, found)

    def _note(self, id: str, how: How) -> None:
        if how == "already":
            self._state.progress.note(f"{id} is already {self._change.state}")
        elif how == "settled":
            self._state.progress.note(f"{id} is {self._change.state} (confirmed by reading it back)")

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
    stopped = signalled.in_words(f"{so_far}stopped by a signal")
    if isinstance(error, OutcomeUnknown):
        stopped.message += f"; {error.message}"
        stopped.hint, stopped.next, stopped.kind = error.hint, error.next, Exit.OUTCOME_UNKNOWN
    return stopped
