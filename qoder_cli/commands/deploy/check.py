"""`qoder deploy check`: why the next run of a deployment may fail."""

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from qoder_cli.app import App
from qoder_cli.base.errors import exclude, or_error
from qoder_cli.base.jsontext import declared
from qoder_cli.base.model import Deployment, says_whether_more
from qoder_cli.base.pool import in_order
from qoder_cli.base.words import counted, few
from qoder_cli.cli.judging import conclude
from qoder_cli.cli.options import Text, Texts, argument, flag, named, option
from qoder_cli.commands.viewing import View, Viewing
from qoder_cli.help.completion import values
from qoder_cli.history.facts import Facts, agent_id, histories_of
from qoder_cli.history.findings import NOT_SEEN, WEIGHTS, DeploymentFinding, find
from qoder_cli.nouns.lookup import find_deployment, ids_of_all, read_deployment, read_pages
from qoder_cli.output.cells import Fields, Id, NamedId, Words
from qoder_cli.output.data import Rows
from qoder_cli.output.layout import wrapped
from qoder_cli.output.screen import inert, terminal_width
from qoder_cli.settings.values import repeated

if TYPE_CHECKING:
    from qoder_cli.policy.rules import Policy

COLUMNS = ("deployment", "finding", "weight", "says", "fix", "name")
_FIRST = ("deployment", "finding", "weight", "says", "fix")
_SIGNS = {"problem": "✗", "warning": "!", "note": "·"}
_PACED = 20  # deployments from which on requests are spaced
_INDENT = 4  # columns
_MANY = 3  # deployments with the same note, from which on it is said once
_NAMED = 8  # of them

_OF = "Ids (dep_…) or exact names; - reads stdin. Default: all."
_PROBE = flag("--probe", "Also have the API try OAuth credentials and renew them.")
_EXIT = flag("--exit-status", "Exit 8 for a problem, 7 if something was unreadable.")


def check(
    app: App,
    deployments: Texts = argument("DEPLOYMENT...", _OF, values.deployments, default=None),
    probe: bool = _PROBE,
    exit_status: bool = _EXIT,
    policy: Text = option("--policy", "FILE", "Do not warn of tools that these rules decide.", values.files),
    *,
    viewing: Viewing,
) -> None:
    """Say why the next run of a deployment may fail.

    Reads what each deployment refers to and how its last runs went: things
    archived or gone, credentials, network, tools that wait for a person, the
    schedule. Each finding names the command that mends it. A problem makes the
    next run fail, a warning may. Changes nothing; only --probe has credentials
    renewed.

    What could not be read is a finding, too (`unread`). It cannot foresee rate
    limits, failing models or disabled organizations. Piped: deployment,
    finding, weight, says, fix, name.

    Examples:
      qoder deploy check
      qoder deploy check nightly-report --exit-status"""
    view = View(app, viewing, COLUMNS)
    exclude({"--watch": view.is_watched, "--exit-status": exit_status})
    words = named(deployments, app, what="deployments") if deployments else []
    rules = None
    if policy is not None:
        from qoder_cli.sessions.guard import loaded

        rules = loaded(app, policy)

    def look() -> tuple[list[DeploymentFinding], list[str]]:
        deployments, unlisted = _deployments(app, words)
        return _look(app, deployments, probe=probe, policy=rules), unlisted

    findings, unlisted = view.show(look)
    problems = sum(finding.weight == "problem" for finding in findings)
    conclude(
        app,
        finding=f"{counted(problems, 'problem')} found" if problems else None,
        unseen=[*unlisted, *dict.fromkeys(finding.says for finding in findings if finding.finding in NOT_SEEN)],
        judges=exit_status,
        hint="run the commands that are named with them" if problems else "see the findings above",
    )


def _deployments(app: App, words: Sequence[str]) -> tuple[list[Deployment], list[str]]:
    """Return the deployments typed, or all, each once, and what could not be read of them. Raises QoderError."""
    if words:
        named = in_order(lambda id: find_deployment(app, id), ids_of_all(words, app))
        return list(named), []
    pages = list(read_pages(app))
    listed = [Deployment.read(row) for page in pages for row in page["data"]]
    deployments = {one.id: one for one in listed if one is not None}
    alive = [deployment for deployment in deployments.values() if deployment.archived_at is None]
    short = [
        one.id
        for one in alive
        if agent_id(one.raw) is None or not one.raw.get("environment_id") or one.is_paused_unexplained
    ]
    if len(short) > _PACED:
        app.pace_reads()
    read = in_order(or_error(lambda id: read_deployment(app, id)), short)
    whole = {one.id: one for one in read if isinstance(one, Deployment)}
    alive = [whole.get(one.id, one) for one in alive]
    unlisted = []
    if unread := listed.count(None):
        unlisted.append(f"{counted(unread, 'item')} of the list of deployments")
    if not says_whether_more(pages[-1]):
        unlisted.append("the list of deployments does not say whether it is complete")
    return alive, unlisted


def _look(
    app: App, deployments: Sequence[Deployment], *, probe: bool, policy: "Policy | None"
) -> list[DeploymentFinding]:
    """Print what there is to say now, and return it. Raises ApiError."""
    if len(deployments) > _PACED:
        app.pace_reads()
    facts = Facts(app)
    with app.progress.waiting(f"checking {counted(len(deployments), 'deployment')}", leaving="nothing is changed"):
        histories, now = histories_of(app, deployments), app.client.server_now()

        def findings_of(deployment: Deployment) -> list[DeploymentFinding]:
            history = histories[deployment.id]
            return find(deployment, facts, history, now=now, policy=policy, probes=probe)

        by_deployment = list(in_order(findings_of, deployments))
    by_deployment.sort(key=lambda one: min((WEIGHTS.index(finding.weight) for finding in one), default=len(WEIGHTS)))
    where = repeated(replace(app.flags, no_progress=False))  # profile and host
    findings = [replace(finding, fix=[app.program, *finding.fix, *where]) for one in by_deployment for finding in one]
    _show(app, findings)
    counts = Counter(one.weight for one in findings)
    summary = ", ".join(counted(counts[weight], weight) for weight in WEIGHTS if counts[weight])
    app.progress.note(f"{counted(len(deployments), 'deployment')} checked: {summary or 'nothing found'}")
    return findings


def _show(app: App, findings: Sequence[DeploymentFinding]) -> None:
    def row(finding: DeploymentFinding) -> Fields:
        id, name = finding.deployment_id, finding.deployment_name
        return {
            "deployment": NamedId(id, name) if name else Id(id),
            "finding": finding.finding,
            "weight": finding.weight,
            "says": Words(finding.says, least=30),
            "fix": Words(shlex.join(finding.fix), least=20),
            "name": name,
        }

    if app.output.is_drawn and app.output.columns is None and not app.output.is_wide:
        app.output.screen.write("\n".join(_blocks(app, findings)))
        return
    if app.output.format == "id":  # each deployment once
        findings = list({each.deployment_id: each for each in findings}.values())
    id = "deployment"
    if app.output.news is not None and app.output.format != "id":  # what is new, by that
        id = "says"
    with Rows[DeploymentFinding](app.output, fields=row, data=declared, id=id, first=_FIRST) as rows:
        rows.show(findings)


def _blocks(app: App, findings: Sequence[DeploymentFinding]) -> Iterator[str]:
    """Yield what is said of each deployment; notes that many have stand once, at the end."""
    many = Counter((other.finding, other.says) for other in findings if other.weight == "note")
    common = {note for note, count in many.items() if count > _MANY}
    sheet: dict[str, list[str]] = {}
    for row in findings:
        called = row.deployment_id
        if row.deployment_name:
            called = f"{row.deployment_name} ({row.deployment_id})"
        if (row.finding, row.says) not in common:
            sheet.setdefault(called, []).extend([f"{_SIGNS[row.weight]} {row.says}", f"  {shlex.join(row.fix)}"])
    yield from (_block(app, called, lines) for called, lines in sheet.items())
    for finding, says in sorted(common):
        those = [other for other in findings if (other.finding, other.says) == (finding, says)]
        fix = ["DEPLOYMENT" if word == those[0].deployment_id else word for word in those[0].fix]
        if finding == "no_budget":
            says = says.replace("no budget", f"{len(those)} deployments have no budget", 1)
        names = few([one.deployment_name or one.deployment_id for one in those], _NAMED)
        title = counted(len(those), "deployment")
        yield _block(app, title, [f"{_SIGNS['note']} {says}: {names}", f"  {shlex.join(fix)}"])


def _block(app: App, name: str, lines: Sequence[str]) -> str:
    """Return what is said of one deployment, wrapped for the terminal."""
    text = app.output.screen.styled(inert(name), "bold") + "\n"
    for line in lines:
        first, *rest = wrapped(inert(line), terminal_width() - _INDENT)
        text += f"  {first}\n" + "".join(f"    {further}\n" for further in rest)
    return text
