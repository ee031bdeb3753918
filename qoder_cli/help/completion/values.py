"""What TAB offers for a parameter's value: functions for typer's `autocompletion`.

Each takes typer's context and the word so far, and returns words, or pairs of a word and
its description. None asks a server or reads a token.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from qoder_cli.local.remembered import Seen

Offer = str | tuple[str, str]

# As a description, these let the shell offer what it knows.
FILES = "\0files"
FOLDERS = "\0folders"

_PLAIN_NAME = re.compile(r"\w[\w.-]*")  # any other could steer a shell
_PROFILE = re.compile(r"""^\s*\[\s*profiles\s*\.\s*["']?([A-Za-z0-9][A-Za-z0-9._-]{0,63})["']?\s*[].]""", re.M | re.A)
_CHOSEN = re.compile(r"""^default_profile\s*=\s*["']([^"']+)["']""", re.M)
_LARGEST_CONFIG = 2**20  # bytes

# Where a parameter's fixed words are, by its Python name.
_WORDS = {
    "region": "qoder_cli.settings.values:REGIONS",
    "method": "qoder_cli.http.answers:METHODS",
    "key": "qoder_cli.settings.configfile:KEYS",
    "setting": "qoder_cli.settings.configfile:SETTINGS",
    "topic": "qoder_cli.help.documented:TOPICS",
    "shell": "qoder_cli.help.completion:SHELLS",
    "kind": "qoder_cli.help.outputs:kinds",
    "printed": "qoder_cli.help.outputs:OUTPUTS",
}


def words_of(name: str) -> list[str]:
    """Return a parameter's fixed words, if it has any."""
    if name not in _WORDS:
        return []
    module, _, variable = _WORDS[name].partition(":")
    words = getattr(import_module(module), variable)
    return list(words() if callable(words) else words)


def one_of(name: str) -> Callable[[str], list[str]]:
    """Return what offers a parameter's words."""
    return lambda incomplete: words_of(name)


def regions(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the regions."""
    return words_of("region")


def value_of_key(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer values for the key typed before."""
    _, _, key = str(ctx.params.get("setting")).rpartition(".")
    return words_of(key)


def runs(ctx: typer.Context, incomplete: str) -> Iterator[Offer]:
    """Offer the newest runs, and `last`."""
    from qoder_cli.base.times import local_time

    yield "last", "the newest that was started here"
    for run in _seen(ctx, "run"):
        what = f"{run.name or run.deployment} {local_time(run.created)[:16]}"
        yield run.id, ", ".join(filter(None, (what.strip(), run.host)))


def retried(ctx: typer.Context, incomplete: str) -> Iterator[Offer]:
    """Offer runs; with --all-failed, deployments."""
    offered = deployments if ctx.params.get("all_failed") else runs
    yield from offered(ctx, incomplete)


def things(noun: str) -> Callable[[typer.Context, str], Iterator[Offer]]:
    """Return what offers a noun's things by id, and by each name that means one of them."""

    def offer(ctx: typer.Context, incomplete: str) -> Iterator[Offer]:
        known = _seen(ctx, noun)
        count = Counter((each.host, each.name) for each in known)
        for known_id in known:
            yield known_id.id, ", ".join(filter(None, (known_id.name, known_id.host)))
            is_like_an_id = known_id.name.startswith(known_id.id.partition("_")[0] + "_")
            if count[known_id.host, known_id.name] == 1 and not is_like_an_id and _PLAIN_NAME.fullmatch(known_id.name):
                yield known_id.name, ", ".join(filter(None, (known_id.id, known_id.host)))

    return offer


deployments, agents, models = map(things, ("deploy", "agent", "model"))


def _seen(ctx: typer.Context, noun: str) -> "list[Seen]":
    """Return what was seen of a noun; hosts only if there are several."""
    from qoder_cli.local.remembered import seen
    from qoder_cli.local.store import Store
    from qoder_cli.settings.configfile import DEFAULT_PROFILE

    profile = None
    if not ctx.obj.env.get("QODER_SANDBOX"):
        chosen = _CHOSEN.search(_config(ctx).partition("[")[0])
        profile = ctx.obj.profile or (chosen and chosen[1]) or DEFAULT_PROFILE
    with closing(Store(ctx.obj.env, warn=lambda complaint: None, looking=True)) as store:
        known = seen(store, noun, profile=profile)
    if len({known_id.host for known_id in known}) > 1:
        return known
    return [known_id._replace(host="") for known_id in known]


def profiles(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the config file's profiles. Only its section heads are read."""
    return list(dict.fromkeys(_PROFILE.findall(_config(ctx))))


def _config(ctx: typer.Context) -> str:
    """Return the text of the config file; empty if there is none."""
    from qoder_cli.settings.configfile import locate

    path = locate(ctx.obj.env)
    if not path.is_file():
        return ""
    with path.open("rb") as stream:
        return stream.read(_LARGEST_CONFIG).decode("utf-8", "replace")


def topics(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Offer topics and commands."""
    from qoder_cli.help.documented import PAGES, TOPICS

    root: Any = ctx.find_root().command
    return [*TOPICS.items(), *PAGES.items(), *root.listed_commands()]


def verbs(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Offer the commands below the topic typed before."""
    group: Any = ctx.find_root().command
    for word in [ctx.params["topic"], *(ctx.params.get("verb") or [])]:
        _, group, _ = group.resolve_command(ctx.find_root(), [word])
    return list(group.listed_commands())


def files(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Leave it to the shell to offer files."""
    return [(incomplete, FILES)]


def folders(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Leave it to the shell to offer folders."""
    return [(incomplete, FOLDERS)]


def kinds_or_files(ctx: typer.Context, incomplete: str) -> list[Any]:
    """Offer the kinds that files declare, and behind `output` what is printed; with --check files."""
    if ctx.params.get("check"):
        return files(ctx, incomplete)
    return words_of("printed" if ctx.params.get("words") else "kind")


def ways_to_ask(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Offer what can be done when the agent asks."""
    return [
        ("stop", "exit 11"),
        ("wait", "until somebody answers elsewhere"),
        ("prompt", "ask on this terminal"),
        ("policy=", "FILE: answer by its rules"),
    ]
