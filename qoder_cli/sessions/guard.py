"""The policy of a profile: what nobody may approve with it. It sends nothing; it refuses what is about to be sent."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, Rejected, UsageError
from qoder_cli.base.model import array, mapping, text
from qoder_cli.nouns.named import Names
from qoder_cli.nouns.table import NOUNS
from qoder_cli.output.visible import visible
from qoder_cli.policy.calls import Subject
from qoder_cli.policy.denying import Denial, denied
from qoder_cli.policy.rules import Policy
from qoder_cli.sessions.asks import READ_WITHIN, Call
from qoder_cli.sessions.state import read_session


def loaded(app: App, path: str) -> Policy:
    """Return the policy in a file, with warnings said. Raises BadFiles."""
    if path == "-":
        raise UsageError("a policy must be a file", hint="write it to a file first")
    if path.startswith("~"):
        hint = "write $HOME in place of ~, or --policy, a blank and the file"
        raise UsageError(f"no shell replaces the ~ of {visible(path)} here", hint=hint)
    from qoder_cli.policy.reading import load

    policy = load(path)
    for warning in policy.warnings:
        app.progress.warn(warning)
    return policy


def with_ids(app: App, policy: Policy) -> Policy:
    """Return a policy with the ids of its deployments in place of their names. Raises UsageError, ApiError."""
    names = Names(app)
    return replace(
        policy, deployments=tuple(names.id_of(NOUNS["deploy"], deployment) for deployment in policy.deployments)
    )


def subject_of(call: Call, session: Mapping[str, Any], *, is_main: bool, in_work: bool = True) -> Subject:
    """Return what a policy looks at of a call in a session."""
    server = text(call.event.get("mcp_server_name"))
    fields: set[str] = set()  # of its tool's input, where the session's agent says them (api.md#agents)
    for toolset in map(mapping, array(mapping(session.get("agent")).get("tools"))):
        if server is None or toolset.get("mcp_server_name") != server:
            continue
        for tool in map(mapping, (*array(toolset.get("tools")), *array(toolset.get("configs")))):
            if tool.get("name") == call.event.get("name"):
                fields |= mapping(mapping(tool.get("input_schema")).get("properties")).keys()
    return Subject(call.kind, str(call.event.get("name")), call.input, server, is_main, frozenset(fields), in_work)


def guard_of(app: App) -> Policy | None:
    """Return the policy that the profile names, read once. Raises UsageError for a file that is missing or broken."""
    setting = app.settings.policy
    if setting is None:
        return None
    if not app.replies.guards:
        if not os.path.isabs(setting.value):
            raise UsageError(f"{setting.source} must be an absolute path, from / on", hint="write the absolute path")
        app.replies.guards.append(loaded(app, setting.value))
    guard: Policy = app.replies.guards[0]
    return guard


def guarded(app: App, call: Call, session: Mapping[str, Any]) -> Denial | None:
    """Return the deny of the profile's policy that means a call in a session, or may; {} if that cannot be read.

    A session that shows no deployment, not even null, may be of any. Raises UsageError, ApiError.
    """
    guard = guard_of(app)
    if guard is None:
        return None
    is_known = "deployment_id" in session
    if guard.deployments and is_known and session["deployment_id"] not in with_ids(app, guard).deployments:
        return None
    return denied(guard, subject_of(call, session, is_main=False, in_work=False))


def refuse_guarded(app: App, session_id: str, calls: Sequence[Call]) -> None:
    """Raise Rejected if the profile's policy denies one of these calls, or may, which are to be allowed or answered."""
    guard = guard_of(app) if calls else None
    if guard is None:
        return
    session: dict[str, Any] = {}
    if guard.deployments:
        with suppress(ApiError):  # then it may be for this deployment
            session = read_session(app.client, session_id, within=READ_WITHIN)
    for call in calls:
        if (denial := guarded(app, call, session)) is not None:
            why = f"in the profile's policy ({guard.source}), {denial.in_words}; nothing was sent"
            raise Rejected(f"{visible(call.id)}: {why}", hint="run `qoder run deny`, or change that rule")
