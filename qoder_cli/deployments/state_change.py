"""Deployments paused, unpaused and archived: each by a write that may be repeated."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from qoder_cli.app import App
from qoder_cli.base.errors import (
    ApiError,
    Exit,
    NotFound,
    OutcomeUnknown,
    QoderError,
    Signalled,
    UsageError,
)
from qoder_cli.base.ids import called, segment
from qoder_cli.base.model import Deployment
from qoder_cli.base.tokens import without_tokens
from qoder_cli.deployments.lookup import explain_missing, find_deployment, read_deployment
from qoder_cli.deployments.writing import DeploymentWrite
from qoder_cli.http.change import READ_WITHIN, CannotBe
from qoder_cli.http.write import How
from qoder_cli.output.cells import Fields, Status
from qoder_cli.output.results import Printed, Result, deciding_error, last_words
from qoder_cli.output.screen import inert
from qoder_cli.output.views import DEPLOYMENT_COLUMNS, DEPLOYMENT_FIRST, deployment_fields, deployment_row

_SHOWN = 3  # deployments that the first line names


class Change(NamedTuple):
    """What can be done to a deployment, in words, and the state it is in afterwards."""

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


def _row(result: Result[Deployment]) -> Fields:
    if result.found is not None:
        return deployment_row(result.found)
    word = result.error.type_name if result.error else "not_attempted"
    return {**dict.fromkeys(DEPLOYMENT_COLUMNS), "id": without_tokens(result.typed), "state": Status(word)}


class StateChanges:
    """One change of several deployments, one after the other; `as_list` is how they are printed."""

    def __init__(self, app: App, change: Change, targets: Sequence[Target], *, as_list: bool) -> None:
        self._app = app
        self._change = change
        self._targets = targets
        self._as_list = as_list
        self._results: dict[str, Result[Deployment]] = {}  # by id
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
        self._announce([id for id in ids if id not in self._results])
        try:
            results = self._print() if self._as_list else [self._print_one()]
        except Signalled as signalled:  # while something was printed
            self._signalled = signalled
            results = list(map(self._result, self._targets))
        if (error := self._deciding(results)) is not None:
            raise error
        return Exit.OK

    def _ask(self, id: str, is_wanted: Callable[[Deployment], bool]) -> None:
        """Settle beforehand what is so already, is not wanted or cannot be read."""
        try:
            found = find_deployment(self._app, id)
        except ApiError as error:
            self._results[id] = Result(id, error=error)
            return
        if found.state == self._change.state:
            self._results[id] = Result(id, found)
            self._note(id, "already")
        elif not is_wanted(found):
            refused = UsageError(f"cancelled; {id} was not {self._change.participle}")
            self._results[id] = Result(id, error=refused)

    def _announce(self, ids: Sequence[str]) -> None:
        typed = {target.found: target.typed for target in reversed(self._targets) if isinstance(target.found, str)}
        words = [called(typed[id], id) for id in ids[:_SHOWN]]
        words += [f"{len(ids) - _SHOWN} more"] if len(ids) > _SHOWN else []
        if words:
            where = self._app.client.settings.whereabouts
            self._app.progress.note(f"{self._change.doing} {', '.join(words)} {where}")

    def _print(self) -> list[Result[Deployment]]:
        """Make the changes, and print an item for each thing of the input."""
        output, progress = self._app.output, self._app.progress
        printed = Printed(output, progress, len(self._targets), row=_row, first=DEPLOYMENT_FIRST)
        for number, target in enumerate(self._targets):
            printed.put(number, self._result(target))
            if printed.broken:
                raise printed.broken
        printed.end()
        if printed.broken:
            raise printed.broken
        return printed.results

    def _print_one(self) -> Result[Deployment]:
        """Make the change and print the deployment; for a person one line is enough."""
        output, result = self._app.output, self._result(self._targets[0])
        if (found := result.found) is None:
            return result
        if output.is_drawn:
            output.raw(f"{inert(found.name or '-')} ({inert(found.id)}) is {self._change.state}\n")
        else:
            fields = deployment_fields(found, now=self._app.client.server_now())
            output.record(fields, data=found.as_json(), id=found.id)
        return result

    def _result(self, target: Target) -> Result[Deployment]:
        """Return what became of a target, having changed it if that is still to be done."""
        typed, id = target
        if isinstance(id, QoderError):
            return Result(typed, error=id)
        if self._signalled is None and id not in self._results:
            self._results[id] = self._changed(id)
        return self._results.get(id, Result(id, attempted=False)).with_(typed=typed)

    def _changed(self, id: str) -> Result[Deployment]:
        write = DeploymentWrite(
            self._app,
            f"/deployments/{segment(id)}/{self._change.verb}",
            what=f"{self._change.doing} {id}",
            shows=lambda found: self._is_so(id, found),
            settle=lambda: self._read_back(id),
            look=self._app.looking("deploy", "get", id),
            repeatable=True,
        )
        try:
            try:
                written = write.send()
            except NotFound as error:
                raise explain_missing(error, id, self._app) from None
            self._note(id, written.how)
        except (ApiError, OutcomeUnknown) as error:
            return Result(id, error=error)
        except Signalled as signalled:
            self._signalled = signalled
            if write.result is not None:
                return Result(id, write.result.value)
            if write.may_have_acted:
                return Result(id, error=write.unknown("interrupted before it was confirmed"))
            return Result(id, attempted=False)
        return Result(id, written.value)

    def _is_so(self, id: str, found: Deployment) -> bool:
        """Return whether a deployment is the one, and as it was to become."""
        return found.id == id and found.state == self._change.state

    def _read_back(self, id: str) -> Deployment | None:
        """Return the deployment if it is as it was to become. Raises ApiError, CannotBe."""
        found = read_deployment(self._app, id, within=READ_WITHIN, retry=False)
        if found.archived_at and self._change is not ARCHIVE:
            raise CannotBe(
                f"{id} was archived on {found.archived_at}, so it cannot be {self._change.participle}",
                hint="create a new deployment; archiving cannot be undone",
            )
        return found if self._is_so(id, found) else None

    def _note(self, id: str, how: How) -> None:
        if how == "already":
            self._app.progress.note(f"{id} is already {self._change.state}")
        elif how == "settled":
            self._app.progress.note(f"{id} is {self._change.state} (confirmed by reading it back)")

    def _deciding(self, results: Sequence[Result[Deployment]]) -> QoderError | None:
        """Return the error that decides the exit code, saying what became of all; None when all went well."""
        error = deciding_error(results)
        fine = sum(each.found is not None for each in results)
        so_far = f"{fine} of {len(results)} are {self._change.state}" if len(results) > 1 else None
        if self._signalled is None:
            return error and last_words(error, so_far, error.message)
        if fine and so_far is None:
            so_far = f"it is {self._change.state}"
        stopped = self._signalled.in_words("stopped by a signal")
        if not isinstance(error, OutcomeUnknown):
            return last_words(stopped, so_far, stopped.message)
        parts = (so_far, stopped.message, error.message)
        return last_words(stopped, *parts, is_unknown=True, hint=error.hint, next=error.next)
