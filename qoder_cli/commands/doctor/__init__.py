"""`qoder doctor`: checks what decides how commands work, and suggests fixes."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, TypedDict

from qoder_cli.app import App
from qoder_cli.base.model import data_of
from qoder_cli.cli.options import flag
from qoder_cli.commands.doctor.finding import Finding, Status

_SIGNS = {"ok": "✓", "warning": "!", "failed": "✗"}
_PROBE = flag("--probe", "Also test the shared store of keys (QODER_KEYS) by writing to it.")


class CheckData(TypedDict):
    """What a check of the setup found."""

    check: Annotated[str, "name of the check"]
    status: Annotated[Status, "ok, warning or failed"]
    found: Annotated[str, "what was found"]
    fix: Annotated[str | None, "what to do, or null"]


def doctor(
    app: App, offline: bool = flag("--offline", "Skip checks that contact the server."), probe: bool = _PROBE
) -> None:
    """Check your setup and suggest fixes.

    Checks config file, token, server, connection, clock, proxy, certificates,
    local state, and other programs named qoder. Changes nothing without
    --probe; shows no secrets. Piped: check, status (ok, warning or failed),
    found, fix. Exits 0 if there are only warnings, otherwise with the code of
    the first failed check (2, 4 or 7).

    Examples:
      qoder doctor
      qoder doctor --json | jq -r '.[] | select(.status != "ok") | .fix'"""
    from qoder_cli.http.redact import by_shape

    findings = [
        replace(
            finding, found=by_shape(finding.found), fix=finding.fix and by_shape(finding.fix)
        )  # no token, wherever it was
        for finding in _findings(app, offline=offline, probe=probe)
    ]
    _show(app, findings)
    errors = [finding.error for finding in findings if finding.status == "failed"]
    if len(errors) > 1:
        raise errors[0].with_(message=f"{len(errors)} checks failed; the first: {errors[0].message}")
    if errors:
        raise errors[0]


def _findings(app: App, *, offline: bool, probe: bool) -> Iterator[Finding]:
    from qoder_cli.commands.doctor import checks

    env = app.env
    yield from checks.version()
    settings, of_settings = checks.settings(app)
    yield from of_settings
    if settings is not None:
        yield checks.proxy(settings, env)
        yield checks.certificates(env)
        if not offline:
            with app.progress.waiting(f"contacting {settings.host}", leaving="nothing is changed"):
                answers = list(checks.server(app, settings))
            yield from answers
            if settings.keys is not None:
                yield from checks.shared_keys(app, settings, probe=probe)
    yield from checks.memory(app, settings)
    yield checks.on_path(env)


def _show(app: App, findings: list[Finding]) -> None:
    rows = [data_of(CheckData, finding) for finding in findings]
    if not app.output.is_drawn:
        app.output.records([dict(row) for row in rows], data=rows, id="check")
        return
    sheet: dict[str, list[str]] = {}
    for finding in findings:
        lines = sheet.setdefault(finding.check, [])
        lines.append(f"{_SIGNS[finding.status]} {finding.found}")
        if finding.fix:
            lines.append(f"  fix: {finding.fix}")
    app.output.record(sheet)
