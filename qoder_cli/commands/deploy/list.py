"""`qoder deploy list`."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from qoder_cli.app import App
from qoder_cli.base.model import Deployment, mapping, text
from qoder_cli.cli.options import Text, flag, option
from qoder_cli.help.completion import values
from qoder_cli.output.listing import LARGEST_PAGE, All, Limit, Listing, Object, page_size, rows_wanted

Status = Literal["active", "paused"]
_STATUS = option("--status", "STATUS", "Only active, or only paused, deployments.")
_AGENT = option("--agent", "AGENT", "Only deployments of this agent (id or name).", values.things("agent"))


def list_deployments(
    app: App,
    status: Annotated[Status | None, _STATUS] = None,
    agent: Annotated[Text, _AGENT] = None,
    include_archived: Annotated[bool, flag("--include-archived", "Include archived deployments.")] = False,
    limit: Limit = None,
    all: All = False,
) -> None:
    """List deployments, newest first (20 by default).

    Examples:
      qoder deploy list
      qoder deploy list --status paused --all
      qoder deploy list --json | jq -r '.[].name'
    """
    from qoder_cli.local.remembered import MOST, remember
    from qoder_cli.nouns.named import id_of
    from qoder_cli.nouns.table import NOUNS
    from qoder_cli.output.views import DEPLOYMENT_FIRST, deployment_row

    agent = None if agent is None else id_of(app, NOUNS["agent"], agent)
    wanted = rows_wanted(limit, all=all)

    def matches(item: Object) -> bool:
        return (
            (include_archived or not text(item.get("archived_at")))
            and (status is None or item.get("status") == status)
            and (agent is None or agent in (item.get("agent"), mapping(item.get("agent")).get("id")))
        )

    seen: list[Deployment] = []

    def read(objects: Sequence[Object]) -> Iterable[Deployment]:
        found = list(map(Deployment, objects))
        seen.extend(found[: MOST - len(seen)])
        return found

    query: dict[str, Any] = {"limit": page_size(wanted)}
    query |= {} if agent is None else {"agent_id": agent}
    if include_archived:  # not together with a status (api/facts.md, 1.2), which is then filtered here
        query |= {"include_archived": "true"} | ({} if status is None else {"limit": LARGEST_PAGE})
    elif status is not None:
        query["status"] = status
    listing = Listing(app.client.pages("/deployments", query), read=read, limit=wanted, matches=matches)
    listing.print(app.output.rows(fields=deployment_row, data=Deployment.as_json, first=DEPLOYMENT_FIRST))
    is_whole = status is None and agent is None and listing.left_out is None
    remember(app, "deploy", [(each.raw, each.name) for each in seen], whole=is_whole)
    listing.conclude(app.progress, none="no deployments found")
