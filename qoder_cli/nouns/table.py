"""The operations of the API, and a row per noun, of which commands, help and completion are made.

Paths, filters and body fields are in `operations.tsv`; here is what a person is told.
What is special about a noun is in a file of its own below `commands/`.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple, cast

from qoder_cli.base.ids import NOT_OF_AN_ID, segment
from qoder_cli.base.model import text
from qoder_cli.output.views import DEPLOYMENT_COLUMNS, SESSION_COLUMNS

Kind = Literal["model", "page", "stream", "binary"]  # of the answer


class Operation(NamedTuple):
    """One operation. `path` has ids as `{names}`; the lists are names."""

    id: str
    method: str
    path: str
    kind: Kind
    required: tuple[str, ...]
    query: tuple[str, ...]
    body: tuple[str, ...]
    command: tuple[str, ...]  # the words of the command that does it

    def has_path(self, path: str) -> bool:
        """Return whether a path below the base URL is this operation's."""
        parts, words = self.path.split("/"), path.split("/")
        return len(parts) == len(words) and all(
            part == word or (part.startswith("{") and word != "") for part, word in zip(parts, words, strict=True)
        )


@cache
def all_operations() -> tuple[Operation, ...]:
    """Return all operations, by their ids."""
    table = (files("qoder_cli.nouns") / "operations.tsv").read_text("utf-8")
    found = []
    for line in table.splitlines():
        id, method, path, kind, *lists, command = line.split("\t")
        required, query, body = (tuple(filter(None, names.split(","))) for names in lists)
        found.append(Operation(id, method, path, cast(Kind, kind), required, query, body, tuple(command.split())))
    return tuple(found)


def search(words: Iterable[str]) -> Iterator[Operation]:
    """Yield the operations whose id, method or path has every word."""
    wanted = [word.lower() for word in words]
    for operation in all_operations():
        text = f"{operation.id} {operation.method} {operation.path}".lower()
        if all(word in text for word in wanted):
            yield operation


def of_path(path: str) -> list[Operation]:
    """Return a path's operations; the word `poll` is not taken for an id of work."""
    found = [operation for operation in all_operations() if operation.has_path(path)]
    fewest = min((operation.path.count("{") for operation in found), default=0)
    return [operation for operation in found if operation.path.count("{") == fewest]


def find(method: str, path: str) -> Operation | None:
    """Return the operation of a method and path, or None."""
    return next((operation for operation in of_path(path) if operation.method == method), None)


def readable(path: str) -> str | None:
    """Return the path that shows a write: its plural, its own, or one above."""
    steps = path.split("/")
    above = ("/".join(steps[:length]) for length in range(len(steps), 1, -1))
    return next((each for each in (f"{path}s", *above) if find("GET", each)), None)


class Noun(NamedTuple):
    """A kind of thing. Columns are those of `nouns.shown`."""

    words: str  # before the verb: `agent`, `env work`
    called: str  # by a person, in a sentence
    operations: str  # the beginning of its operations' ids
    prefix: str  # of its ids; "" where these are numbers
    columns: tuple[str, ...]  # of a list, only ever appended to
    sample: str  # one that the sandbox has, for the examples
    sample_of: str = ""  # what holds that
    more: tuple[str, ...] = ()  # what `get` shows besides
    created: str = ""  # what help says of `create` from plain fields
    archived: str = ""  # what archiving means: a sentence for help and question
    deleted: str = ""  # the same for deleting
    numbered: tuple[str, ...] = ()  # columns of its versions
    statuses: tuple[str, ...] = ()  # to filter a list by; empty allows any word
    has_name: bool = True  # whether a name can replace the id
    is_paged: bool = True

    @property
    def plural(self) -> str:
        """Its name in the plural."""
        return re.sub("ys$", "ies", f"{self.called}s")


def noun(words: str, called: str, operations: str, prefix: str, *, columns: str, **more: Any) -> Noun:
    """Return a row; its columns are words of one text."""
    more |= {name: tuple(more[name].split()) for name in ("more", "numbered", "statuses") if name in more}
    return Noun(words, called, operations, prefix, tuple(columns.split()), **more)


_ROWS = (
    noun(
        *("deploy", "deployment", "deployments", "dep_"),
        columns=" ".join(DEPLOYMENT_COLUMNS),
        statuses="active paused",
        sample="nightly-report",
        archived="It can never be run or changed again, its schedule stops,"
        " and it is renamed to NAME_archived_TIMESTAMP.",
    ),
    noun(
        *("agent", "agent", "agents", "agent_"),
        columns="id name model version tools skills mcp updated archived",
        more="description asks system metadata created",
        numbered="version name model tools skills mcp updated",
        sample="writer",
        archived="Nothing can use it any more.",
    ),
    noun(
        *("env", "environment", "environments", "env_"),
        columns="id name type network packages updated archived",
        more="description hosts setup scope metadata created",
        sample="default",
        archived="No new session can use it.",
        deleted="The API refuses while any session refers to it, even a deleted one.",
    ),
    noun(
        *("env work", "work item", "environments.work", "work_"),
        columns="id state session created acknowledged started heartbeat stopped",
        more="metadata",
        sample="work_demo",
        sample_of="workers",
        has_name=False,
    ),
    noun(
        *("file", "file", "files", "file_"),
        columns="id name bytes type session downloadable expires created",
        more="status metadata",
        sample="notes.md",
        deleted="The API refuses while an active session uses it.",
    ),
    noun(
        *("vault", "vault", "vaults", "vault_"),
        columns="id name created archived",
        more="metadata updated",
        sample="team-secrets",
        created="Put secrets into it with qoder vault put.",
        archived="Sessions cannot use its credentials any more.",
        deleted="Its credentials are deleted too.",
    ),
    noun(
        *("vault credential", "credential", "vaults.credentials", "vcred_"),
        columns="id name type for created archived",
        more="network hosts metadata updated",
        sample="github-token",
        sample_of="team-secrets",
        archived="Sessions cannot use it any more.",
        deleted="Its secret cannot be read back.",
    ),
    noun(
        *("skill", "skill", "skills", "skill_"),
        columns="id name source version updated",
        more="description metadata created",
        numbered="version name description created",
        sample="release-notes",
        deleted="All its versions are deleted.",
    ),
    noun(
        *("memory", "memory store", "memory_stores", "memstore_"),
        columns="id name entries bytes status updated archived",
        more="description metadata created",
        sample="project",
        created="Say in --description what it is for: agents read that.",
        archived="Nothing can be written to it any more.",
        deleted="Its memories are deleted too.",
    ),
    noun(
        *("memory entry", "memory", "memory_stores.memories", "mem_"),
        columns="id path bytes updated",
        more="sha256 metadata created",
        sample="conventions.md",
    ),
    noun(
        *("memory version", "version", "memory_stores.memory_versions", "memver_"),
        columns="id path operation bytes by created redacted",
        more="memory sha256",
        sample="memver_1",
    ),
    noun(
        *("dream", "dream", "dreams", "drm_"),
        columns="id status model inputs outputs session created ended",
        more="instructions error archived",
        sample="drm_demo",
        archived="It disappears from lists.",
        has_name=False,
    ),
    noun(
        *("model", "model", "models", ""),
        columns="id name enabled price_factor efforts context source",
        sample="ultimate",
        has_name=False,
        is_paged=False,
    ),
    noun(
        *("session", "session", "sessions", "sess_"),
        columns=" ".join(SESSION_COLUMNS),
        statuses="running idle rescheduling terminated",
        sample="sess_demo",
        archived="It takes no messages any more; its events stay.",
        deleted="Its events are deleted too: nobody can tell any more how its run ended.",
        has_name=False,
    ),
    noun(
        *("session thread", "thread", "sessions.threads", "sthr_"),
        columns="id status agent parent credits created",
        sample="sthr_demo",
        sample_of="sess_demo",
        archived="It takes no messages any more.",
        has_name=False,
    ),
)

NOUNS = {each.words: each for each in _ROWS}


@cache
def operation(noun: Noun, verb: str) -> Operation | None:
    """Return the operation that does this to a noun's things, or None."""
    wanted = f"{noun.operations}.{verb}"
    return next((each for each in all_operations() if each.id == wanted), None)


def parent_of(noun: Noun) -> Noun | None:
    """Return the noun that is this noun's parent: `env` for `env work`."""
    return NOUNS.get(noun.words.rpartition(" ")[0])


def path_of(noun: Noun, *ids: str) -> str:
    """Return the path of a list or a thing; the ids of parents come first."""
    listed = operation(noun, "list")
    assert listed is not None  # all nouns of the table have a list
    path = re.sub(r"\{\w+\}", "{}", listed.path)
    slots = path.count("{}")
    path = path.format(*map(segment, ids[:slots]))
    return "/".join([path, *map(segment, ids[slots:])])


# The operations behind a verb, where they are not called as it is.
_DONE_BY = {"get": ("retrieve", "retrieve_metadata"), "versions": ("versions.list",)}


def words_of(noun: Noun, verb: str, *ids: str) -> tuple[str, ...]:
    """Return the command that does this to a noun's things, as words; `memory ls` lists memories."""
    done_by = [operation(noun, each) for each in _DONE_BY.get(verb, (verb,))]
    command = next((each.command for each in done_by if each), (*noun.words.split(), verb))
    return (*command, *ids)


def has_id(noun: Noun, raw: dict[str, Any]) -> bool:
    """Return whether an object has an id of this noun."""
    id = text(raw.get("id")) or ""
    return id.startswith(noun.prefix) and NOT_OF_AN_ID.search(id) is None
