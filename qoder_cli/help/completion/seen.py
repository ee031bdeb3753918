"""What commands have seen on this machine, as TAB offers it. Whatever is in the store's place, nothing is raised."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import NamedTuple

from qoder_cli.local.remembered import Seen, seen_deployments, seen_runs
from qoder_cli.local.store import Store


class Offered(NamedTuple):
    """A deployment or a run: its id, the name of a deployment (empty if it has none), and what is told beside it."""

    id: str
    name: str
    about: str


def deployments(env: Mapping[str, str], profile: str) -> Iterator[Offered]:
    """Yield the deployments that commands have seen with a profile, newest first."""
    with closing(_store(env)) as store:
        found = seen_deployments(store, _whose(env, profile))
    for each in found:
        yield Offered(each.id, each.name, _about(each, found, each.name))


def runs(env: Mapping[str, str], profile: str) -> Iterator[Offered]:
    """Yield the newest runs that commands have seen with a profile."""
    from qoder_cli.base.times import local_time

    with closing(_store(env)) as store:
        found = seen_runs(store, _whose(env, profile))
    for each in found:
        when = local_time(each.when)[:16]
        yield Offered(each.id, "", _about(each, found, f"{each.name or each.deployment} {when}".strip()))


def _store(env: Mapping[str, str]) -> Store:
    return Store(env, warn=lambda complaint: None, looking=True)


def _whose(env: Mapping[str, str], profile: str) -> str | None:
    """Return the profile, None for all that is of the sandbox, where profiles do not differ."""
    return None if env.get("QODER_SANDBOX") else profile


def _about(each: Seen, found: list[Seen], known_as: str) -> str:
    """Return what people know it by, with its host where what was found is of several."""
    hosts = {other.host for other in found}
    return ", ".join(filter(None, (known_as, each.host if len(hosts) > 1 else "")))
