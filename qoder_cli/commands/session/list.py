"""`qoder session list`."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer

from qoder_cli.app import App
from qoder_cli.base.model import Run, mapping, text
from qoder_cli.cli.options import flag, option
from qoder_cli.commands.run.list import ALWAYS, Window
from qoder_cli.help.completion import values
from qoder_cli.output.listing import All, Limit, Listing, Object, page_size, rows_wanted

_ROUNDED = timedelta(seconds=1)


class Status(StrEnum):
    """The statuses that can be asked for (an enum, because typer takes no list of a Literal)."""

    RUNNING = "running"
    IDLE = "idle"
    RESCHEDULING = "rescheduling"
    TERMINATED = "terminated"


def list_sessions(
    app: App,
    deployment: Annotated[
        str | None,
        typer.Option(
            metavar="DEPLOYMENT",
            help="Only sessions of this deployment (id or name).",
            autocompletion=values.deployments,
        ),
    ] = None,
    agent: Annotated[
        str | None,
        option("--agent", "AGENT", "Only sessions of this agent (id or name).", values.things("agent")),
    ] = None,
    status: Annotated[
        list[Status] | None,
        typer.Option(metavar="STATUS", help=f"Only sessions with this status: {', '.join(Status)}. Repeatable."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="Only sessions created since, e.g. 90m, 7d, a date or an RFC 3339 time."),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="WHEN", help="Only sessions created until then.")] = None,
    include_archived: Annotated[bool, flag("--include-archived", "Include archived sessions.")] = False,
    limit: Limit = None,
    all: All = False,
) -> None:
    """List sessions, newest first (20 by default).

    Piped: id, title, status, agent, deployment, environment, credits, created.

    Examples:
      qoder session list
      qoder session list --deployment nightly-report --since 7d --json
      qoder session list --status idle -q | qoder session archive - --yes"""
    from qoder_cli.nouns.named import id_of
    from qoder_cli.nouns.table import NOUNS
    from qoder_cli.output.views import SESSION_FIRST, session_row
    from qoder_cli.runs import names

    window = Window.read(since, until, app=app)
    wanted = rows_wanted(limit, all=all, bounded=window != ALWAYS)
    of = None if deployment is None else names.deployment(deployment, app)
    agent = None if agent is None else id_of(app, NOUNS["agent"], agent)

    def matches(item: Object) -> bool:
        return (
            (include_archived or not text(item.get("archived_at")))
            and (not status or item.get("status") in status)
            and of in (None, item.get("deployment_id"))
            and agent in (None, mapping(item.get("agent")).get("id"))
            and (window == ALWAYS or window.has(item.get("created_at")))
        )

    def read(objects: Sequence[Object]) -> Iterable[Run]:
        return (Run({**each, "type": "session"}) for each in objects)

    query: dict[str, Any] = {"limit": page_size(wanted)}
    query |= window.query("created_at[gte]", "created_at[lte]", slack=_ROUNDED)
    query |= {"statuses[]": tuple(status)} if status else {}
    query |= {} if of is None else {"deployment_id": of}
    query |= {} if agent is None else {"agent_id": agent}
    query |= {"include_archived": "true"} if include_archived else {}
    listing = Listing(app.client.pages("/sessions", query), read=read, limit=wanted, matches=matches)
    listing.print(app.output.rows(fields=session_row, data=Run.as_json, first=SESSION_FIRST))
    listing.conclude(app.progress, none="no sessions found")
