"""What a server has, as the files of a folder: applied right after, they change nothing."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import NotFound, Rejected, UsageError
from qoder_cli.base.ids import NOT_OF_AN_ID, nearest, with_version
from qoder_cli.base.kinds import KINDS_OF_IDS
from qoder_cli.base.marks import without_ours
from qoder_cli.base.model import Deployment, array, mapping, text
from qoder_cli.base.pool import in_order
from qoder_cli.base.tokens import NAMES, names_token
from qoder_cli.base.words import few
from qoder_cli.deployments.commented import notes_of, short_forms
from qoder_cli.files.yamlwrite import comment, entry
from qoder_cli.nouns import memories, skills
from qoder_cli.nouns.deployments import settable
from qoder_cli.nouns.edits.forms import form_with
from qoder_cli.nouns.files import safe_name
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.parts import RESERVED, VARIABLES
from qoder_cli.nouns.shown import found_at, name_of
from qoder_cli.nouns.table import NOUNS, operation
from qoder_cli.output.yamltext import Unquoted, has_hidden
from qoder_cli.stack.folder import FOLDERS, KINDS, ROOT_FILE, TYPE_OF
from qoder_cli.stack.lists import ServerLists
from qoder_cli.stack.marks import STACK, owner_of
from qoder_cli.stack.things import CREDENTIAL, ENTRY

Raw = dict[str, Any]
Files = dict[str, bytes]  # by their paths below the folder, with slashes
Became = Literal["written", "replaced", "unchanged", "kept"]

_FOLDER_OF = {words: folder for folder, words in FOLDERS.items()}
_SUFFIX = {"env": ".yaml", "vault": ".yaml", "memory": ".yaml", "skill": "", "agent": ".md", "deploy": ".md"}
_LONGEST_STEM = 100  # characters
_AT_A_TIME = 8  # reads
_LISTED = 10  # ids or names that an error lists
# Names that a folder's reader passes over, or takes for something else.
_NOT_A_STEM = ("qoder", "readme", "__pycache__", "node_modules", "venv")
_NOT_OF_A_PATH = re.compile(r"[^A-Za-z0-9_./-]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_NAME = re.compile(f"{NAMES}|key", re.IGNORECASE)
_NO_SECRET = "no server returns it: set this variable"
_SCOPE = "organization"  # of an environment that says nothing else


class Exportable(NamedTuple):
    """Something that is to be exported."""

    noun: Noun
    raw: Raw
    name: str

    @property
    def id(self) -> str:
        return str(self.raw["id"])

    @property
    def label(self) -> str:
        return f"{self.noun.called} {self.name}"


@dataclass(eq=False)
class Exported:
    """Something with its files: the first is the one that declares it."""

    found: Exportable
    path: str
    files: Files = field(default_factory=dict)

    def as_json(self, became: Became, folder: str) -> Raw:
        words = self.found.noun.words
        file = os.path.join(folder, *self.path.split("/"))
        return {
            "kind": TYPE_OF[words],
            "name": self.found.name,
            "action": became,
            "id": self.found.id,
            "file": file,
        }


# What is meant.


class Chooser:
    """Finds what is to be exported."""

    def __init__(self, app: App, server: ServerLists) -> None:
        self.app, self.server = app, server

    def everything(self) -> list[Exportable]:
        """Return all that is alive and that files can declare."""
        return [found for words in KINDS for found in self._of_kind(NOUNS[words])]

    def of_stack(self, stack: str) -> list[Exportable]:
        """Return what carries the mark of a stack. Raises NotFound if nothing does."""
        found = [
            each
            for words in KINDS
            for each in self._of_kind(NOUNS[words], of_mark=True)
            if owner_of(each.noun, each.raw, each.name) == stack
        ]
        if not found:
            raise NotFound(f"nothing carries the mark of the stack {stack}", hint="check the name, and the profile")
        return found

    def named(self, typed: str) -> Exportable:
        """Return what has an id or a name, of whatever kind. Raises UsageError, ApiError."""
        prefix = next((each for each in KINDS_OF_IDS if typed.startswith(each)), None)
        if prefix is not None:
            return self._of_id(typed, prefix)
        ids.id_or_name(typed, "agent_", "thing", "an id or an exact name")
        found = [each for words in KINDS for each in self._of_kind(NOUNS[words]) if each.name == typed]
        if len(found) == 1:
            return found[0]
        if found:
            which = few([f"{each.noun.called} {each.id}" for each in found], _LISTED)
            raise UsageError(f"{len(found)} things are named {typed!r}: {which}", hint="give the id of one")
        names = [each.name for words in KINDS for each in self._of_kind(NOUNS[words])]
        near = nearest(typed, names)
        hint = f"did you mean {near[0]!r}?" if near else "give the id or the exact name of one, or --all"
        raise NotFound(f"nothing is named {typed!r}", hint=hint)

    def _of_id(self, typed: str, prefix: str) -> Exportable:
        noun = next((NOUNS[words] for words in KINDS if NOUNS[words].prefix == prefix), None)
        if noun is None:
            kinds = "an agent, a deployment, an environment, a memory store, a skill or a vault"
            raise UsageError(f"{typed[:60]!r} is {ids.a(KINDS_OF_IDS[prefix])}", hint=f"name {kinds}")
        if NOT_OF_AN_ID.search(typed) or typed == prefix:
            raise UsageError(f"{typed[:60]!r} is not an id", hint="give an id or an exact name")
        raw = self.server.of_id(noun, typed) or self.server.read(noun, typed)
        if raw.get("archived_at"):
            raise Rejected(
                f"{noun.called} {typed} is archived, which no file can say; nothing was written",
                hint="name one that is not",
            )
        return Exportable(noun, raw, self.name_of(noun, raw))

    def _of_kind(self, noun: Noun, *, of_mark: bool = False) -> Iterator[Exportable]:
        for raw in self.server.rows(noun):
            if noun.words == "skill" and not skills.is_ours(raw):
                continue
            if not of_mark or mapping(raw.get("metadata")).get(STACK):
                yield Exportable(noun, raw, self.name_of(noun, raw))

    def name_of(self, noun: Noun, raw: Raw) -> str:
        """Return the name of a thing; its id where it has none. Raises ApiError."""
        if noun.words == "skill":
            return text(raw.get("name")) or self.server.name_of_skill(raw) or str(raw["id"])
        return name_of(raw) or str(raw["id"])


# What it is as files.


class Exporter:
    """Makes the files of things, and says what they cannot carry."""

    def __init__(self, app: App, chooser: Chooser, chosen: Sequence[Exportable]) -> None:
        self.app, self.server, self.chooser = app, chooser.server, chooser
        self.notes: list[str] = []  # for the person who exports
        self.broken: list[str] = []  # what cannot be exported at all
        self.variables: list[str] = []  # that an apply needs
        once = {each.id: each for each in chosen}
        self._contents = self._read_skills([each for each in once.values() if each.noun.words == "skill"])
        order = sorted(once.values(), key=lambda each: (KINDS.index(each.noun.words), each.name, each.id))
        order = [each for each in order if each.noun.words != "skill" or each.id in self._contents]
        named = Counter((each.noun.words, each.name) for each in order)
        self.doubled = {each.id for each in order if named[each.noun.words, each.name] > 1}
        self.exported = {each.id: Exported(each, path) for each, path in zip(order, _paths_of(order), strict=True)}
        self._circles = _circles([each.raw for each in order if each.noun.words == "agent"])

    def all(self) -> list[Exported]:
        """Return everything with its files. Raises ApiError."""
        methods: Mapping[str, Callable[[Exported], None]] = {
            "env": self._environment,
            "vault": self._vault,
            "memory": self._store,
            "skill": self._skill,
            "agent": self._agent,
            "deploy": self._deployment,
        }
        for each in self.exported.values():
            methods[each.found.noun.words](each)
        return list(self.exported.values())

    # Kinds.

    def _environment(self, exported: Exported) -> None:
        fields = self._plain(exported.found)
        if fields.get("scope") == _SCOPE:
            del fields["scope"]
        self._declare(exported, fields)

    def _vault(self, exported: Exported) -> None:
        fields = self._plain(exported.found)
        noun = NOUNS[CREDENTIAL]
        rows = self.server.rows(noun, exported.found.id)
        named_rows = [(name_of(row) or "", found_at(row, "auth.mcp_server_url") or "", row) for row in rows]
        credentials = []
        for _, _, row in sorted(named_rows, key=lambda each: (each[0], each[1], str(each[2]["id"]))):
            if (credential := self._credential(row, exported.found)) is not None:
                credentials.append(credential)
        if credentials:
            fields["credentials"] = credentials
        self._declare(exported, fields)

    def _credential(self, row: Raw, vault: Exportable) -> Raw | None:
        auth = {name: value for name, value in mapping(row.get("auth")).items() if value is not None}
        label = name_of(row) or str(row["id"])
        base = label
        if auth.get("type") == "environment_variable":
            base = text(auth.get("secret_name")) or label
            auth["secret_value"] = self._secret(base, "", vault)
        elif auth.get("type") == "static_bearer":
            auth["token"] = self._secret(base, "_TOKEN", vault)
        elif auth.get("type") == "mcp_oauth":
            auth.pop("expires_at", None)  # which changes by itself
            auth["access_token"] = self._secret(base, "_ACCESS_TOKEN", vault)
            if isinstance(refresh := auth.get("refresh"), dict):
                auth["refresh"] = {**refresh, "refresh_token": self._secret(base, "_REFRESH_TOKEN", vault)}
                client = mapping(refresh.get("token_endpoint_auth"))
                if str(client.get("type")).startswith("client_secret"):
                    secret = self._secret(base, "_CLIENT_SECRET", vault)
                    auth["refresh"]["token_endpoint_auth"] = {**client, "client_secret": secret}
        else:
            self.notes.append(f"{vault.label}: the credential {label} is of an unknown type; left out")
            return None
        order = ("type", "secret_name", "mcp_server_url", "secret_value", "token", "access_token")
        auth = {**{name: auth[name] for name in order if name in auth}, **auth}
        credential: Raw = {"display_name": text(row.get("display_name")), "auth": auth}
        credential["metadata"] = _metadata(row)
        return {name: value for name, value in credential.items() if value}

    def _secret(self, base: str, suffix: str, vault: Exportable) -> Unquoted:
        """Return a variable in place of a secret, each with a name of its own."""
        name = re.sub(r"[^A-Za-z0-9]+", "_", unicodedata.normalize("NFKD", base)).strip("_").upper()
        if not suffix and _VARIABLE.fullmatch(base):
            name = base
        name = name or "SECRET"
        if not name.upper().endswith(suffix):
            name += suffix
        if name[0].isdigit() or name.upper().startswith("QODER_"):  # those are this program's own
            name = f"SECRET_{name}"
        return self._variable(name, vault)

    def _variable(self, name: str, owner: Exportable) -> Unquoted:
        names = {each.upper() for each in self.variables}
        free, number = name, 1
        if name.upper() in names:
            prefix = re.sub(r"[^A-Za-z0-9]+", "_", owner.name).strip("_").upper()
            free = name = f"{prefix}_{name}" if prefix and not prefix[0].isdigit() else name
        while free.upper() in names:
            number += 1
            free = f"{name}_{number}"
        self.variables.append(free)
        return Unquoted(f"${{{free}}}", comment(_NO_SECRET))

    def _store(self, exported: Exported) -> None:
        found = exported.found
        self._declare(exported, self._plain(found))
        rows = self.server.rows(NOUNS[ENTRY], found.id)
        below = exported.path.removesuffix(".yaml")
        paths = [memories.path_in(row) for row in rows]
        fits = dict(zip(paths, map(_fits_entry, paths), strict=True))
        taken: dict[str, str] = {}
        for path in sorted(paths):  # what another system takes for the same
            plain = unicodedata.normalize("NFC", path).casefold()
            parts = plain.split("/")
            above = {"/".join(parts[:n]) for n in range(1, len(parts))}
            if plain in taken or above & taken.keys():
                fits[path] = False
            if fits[path]:
                taken[plain] = path
        left_out = sorted(path for path in paths if not fits[path])
        wanted = sorted((row for row in rows if fits[memories.path_in(row)]), key=memories.path_in)

        def whole(row: Raw) -> Raw:
            return memories.whole(self.app, memories.ENTRY, found.id, str(row["id"]))

        for row, read in zip(wanted, in_order(whole, wanted, at_a_time=_AT_A_TIME), strict=True):
            path, content = memories.path_in(row), read.get("content")
            if not isinstance(content, str) or not content.strip():
                left_out.append(path)
                continue
            mark = "\ufeff" if content.startswith("\ufeff") else ""  # the first one is not read
            exported.files[f"{below}/{path}"] = (mark + content).encode("utf-8", "replace")
        if left_out:
            what = few([ascii(path)[1:-1] for path in left_out], _LISTED)
            self.notes.append(f"{found.label}: left out what no file of it can be: {what} (only names like a/b.md)")

    def _skill(self, exported: Exported) -> None:
        content = self._contents[exported.found.id]
        for path in sorted(content, key=lambda each: (each != skills.MAIN, each)):
            exported.files[f"{exported.path}/{path}"] = content[path]

    def _read_skills(self, chosen: Sequence[Exportable]) -> dict[str, skills.Files]:
        """Return the files of skills by id, but for those that cannot be in a folder."""
        named = Counter(each.name for each in chosen)

        def content(skill: Exportable) -> skills.Files | str:
            version = skills.newest(skill.raw)
            if version is None:
                return "has no version"
            if named[skill.name] > 1:
                return f"is one of {named[skill.name]} of that name, which apply cannot tell apart"
            try:
                zipped = skills.content_of(self.app, skill.id, version)
                files = skills.rooted(skills.unzipped(zipped, skills.UNPACKED))
                odd = next((part for path in files for part in path.split("/") if safe_name(part) != part), None)
                if odd is not None:
                    raise skills.Unfit(f"has {odd!r}, which not every system takes as a name")
                skills.name_in(files, skill.name)
            except skills.Unfit as error:
                return str(error)
            except UsageError as error:
                return error.message.removeprefix(f"{skill.name}: ")
            return files

        read = dict(zip([each.id for each in chosen], in_order(content, chosen, at_a_time=_AT_A_TIME), strict=True))
        for skill in chosen:
            if isinstance(why := read[skill.id], str):
                self.broken.append(f"skill {skill.name} ({skill.id}) {why}; left out")
        return {id: files for id, files in read.items() if not isinstance(files, str)}

    def _agent(self, exported: Exported) -> None:
        fields = self._plain(exported.found)
        if isinstance(used := fields.get("skills"), list):
            fields["skills"] = [self._used_skill(each, exported) for each in used]
        if isinstance(roster := fields.get("multiagent"), dict) and isinstance(roster.get("agents"), list):
            agents = [self._pinned(each, exported) for each in roster["agents"]]
            fields["multiagent"] = {**roster, "agents": agents}
        order = ("name", "description", "model", "tools", "mcp_servers", "skills", "multiagent", "metadata")
        fields = {**{name: fields[name] for name in order if name in fields}, **fields}
        self._declare(exported, fields, below="system")

    def _deployment(self, exported: Exported) -> None:
        deployment = Deployment(exported.found.raw)
        all_fields = short_forms(settable(deployment))
        fields = {name: value for name, value in all_fields.items() if value not in (None, "", [], {})}
        notes = {name: [*notes_of(name, value, deployment)] for name, value in fields.items()}
        notes["name"] = notes["agent"] = []
        if "agent" in fields:
            fields["agent"] = self._pinned(settable(deployment)["agent"], exported)
        for name, short, words in (("environment_id", "environment", "env"), ("vault_ids", "vaults", "vault")):
            if isinstance(value := fields.pop(name, None), list):
                fields[short] = [self._named_or_id(words, each, exported) for each in value]
            elif value is not None:
                fields[short] = self._named_or_id(words, value, exported)
        if isinstance(variables := fields.get(VARIABLES), dict):
            secret = [name for name in variables if _SECRET_NAME.search(name) and _VARIABLE.fullmatch(name)]
            fields[VARIABLES] = {**variables, **{name: self._variable(name, exported.found) for name in secret}}
            notes[VARIABLES] = ["Not secret, or written as ${NAME}: see what is left before you commit."]
        if isinstance(resources := fields.get("resources"), list):
            fields["resources"] = [self._resource(each, exported) for each in resources]
            if any(mapping(each).get("type") == "file" for each in resources):
                self.notes.append(f"{exported.found.label}: uploaded files cannot be read back; it keeps their ids")
                notes["resources"].append("Uploaded files cannot be read back: only this account has these ids.")
        if deployment.state == "paused":
            if deployment.paused_because in (None, "manual"):
                fields["paused"] = True
            else:
                why = f"{exported.found.label} was paused by an error ({deployment.paused_because})"
                self.notes.append(f"{why}; its file does not say so")
        order = (
            *("name", "description", "agent", "environment", VARIABLES, "schedule", "paused", "initial_events"),
            *("resources", "vaults", "metadata", "budget"),
        )
        fields = {**{name: fields[name] for name in order if name in fields}, **fields}
        self._declare(exported, fields, below="message", notes=notes)

    def _resource(self, resource: Any, exported: Exported) -> Any:
        id = mapping(resource).get("memory_store_id")
        if not isinstance(id, str):
            return resource
        named = self._named("memory", id, exported)
        others = {key: value for key, value in resource.items() if key not in ("type", "memory_store_id")}
        if isinstance(named, Unquoted):
            return {"path": named, **others}
        return {"type": "memory_store", "memory_store_id": named or id, **others}

    # References.

    def _named(self, words: str, id: str, exported: Exported) -> str | None:
        """Return the path or the name for an id; None where only the id will do."""
        noun = NOUNS[words]
        if id in self.exported and id not in self.doubled:
            path = f"../{self.exported[id].path}"
            return Unquoted(path) if not _NOT_OF_A_PATH.search(path) else Unquoted(_quoted(path))
        raw = self.server.of_id(noun, id)
        if raw is None:
            self.notes.append(
                f"{exported.found.label}: {noun.called} {id} is archived or gone; the file keeps its id,"
                " which no other account has"
            )
            return None
        name = self.chooser.name_of(noun, raw)
        is_odd = name.startswith((noun.prefix, "./", "../")) or names_token(name) or with_version(name)[1] is not None
        if is_odd or len(self.server.named(noun, name)) != 1:
            return None
        return name

    def _named_or_id(self, words: str, id: Any, exported: Exported) -> Any:
        return (self._named(words, id, exported) if isinstance(id, str) else None) or id

    def _pinned(self, pin: Any, exported: Exported) -> Any:
        """Return how a file refers to an agent at a version: without it, where that is the newest."""
        id = text(mapping(pin).get("id"))
        version = mapping(pin).get("version")
        if id is None or (exported.found.id, id) in self._circles:
            return pin
        named = self._named("agent", id, exported)
        raw = self.server.of_id(NOUNS["agent"], id)
        return _at_version(pin, named, version, None if raw is None else raw.get("version"))

    def _used_skill(self, used: Any, exported: Exported) -> Any:
        id = text(mapping(used).get("skill_id"))
        if id is None or used.get("type") == "qoder":
            return used
        named = self._named("skill", id, exported)
        raw = self.server.of_id(NOUNS["skill"], id)
        return _at_version(used, named, used.get("version"), None if raw is None else skills.newest(raw))

    # Files.

    def _plain(self, found: Exportable) -> Raw:
        """Return what can be set of a thing, in normal form, without what is empty."""
        created = operation(found.noun, "create")
        assert created is not None  # each kind of a folder has one
        fields = form_with(created.body).settable(found.raw)
        if "metadata" in fields:
            fields["metadata"] = _metadata(found.raw)
        ordered = {name: fields[name] for name in ("display_name", *created.body) if name in fields}
        return {name: value for name, value in ordered.items() if value not in (None, "", [], {})}

    def _declare(
        self, exported: Exported, fields: Raw, *, below: str = "", notes: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        """Give something the file that declares it, in YAML, or as front matter with a text below."""
        found, lines = exported.found, []
        if len(self.server.named(found.noun, found.name)) > 1:
            lines += [comment(f"Found by its id: another {found.noun.called} has its name."), f"id: {found.id}"]
        text_below = fields.get(below)
        if isinstance(text_below, str) and _can_be_below(text_below):
            del fields[below]
        else:
            text_below = None
        for name, value in fields.items():
            about = (notes or {}).get(name, ())
            if about:
                lines += map(comment, about)
            lines += entry(f"{name}:", value)
        written = "".join(f"{line}\n" for line in lines)
        if below:
            written = f"---\n{written}---\n"
            if text_below is not None:
                written += f"\n{text_below}\n"
        exported.files[exported.path] = written.encode("utf-8", "replace")


def _at_version(pin: Raw, named: str | None, version: Any, newest: Any) -> Any:
    """Return a reference to something at a version."""
    if named is None or (version is None and isinstance(named, Unquoted)):
        return pin  # a path would pin the newest
    if version is None or str(version) == str(newest):
        return named
    return {"path" if isinstance(named, Unquoted) else "name": named, "version": version}


def _metadata(raw: Raw) -> Raw:
    labels = without_ours(mapping(raw.get("metadata"))).items()
    return {key: value for key, value in labels if isinstance(value, str) and key != RESERVED}


def _can_be_below(text: str) -> bool:
    """Return whether a text can stand below front matter: exact, and without what a file would spell otherwise."""
    return text.strip("\n") == text and "\r" not in text and "${" not in text and not has_hidden(text)


def _quoted(path: str) -> str:
    [line] = entry("-", path)
    return line.removeprefix("- ")


def _fits_entry(path: str) -> bool:
    """Return whether the path of a memory can be that of a file, on every system, which is read as a memory."""
    parts = path.split("/")
    return path.lower().endswith(".md") and all(
        safe_name(part) == part and not part.startswith(".") and len(part.encode()) <= 255 for part in parts
    )


def _circles(agents: Sequence[Raw]) -> set[tuple[str, str]]:
    """Return the uses of agents by agents that lead back to the user, by the ids of both: no path may say them."""
    uses = {
        str(raw["id"]): {
            id
            for each in array(mapping(raw.get("multiagent")).get("agents"))
            if (id := text(mapping(each).get("id"))) is not None
        }
        for raw in agents
    }

    def reached(id: str) -> set[str]:
        ids: set[str] = set()
        left = [id]
        while left:
            new = uses.get(left.pop(), set()) - ids
            ids |= new
            left += new
        return ids

    return {(user, used) for user in uses for used in uses[user] if user == used or user in reached(used)}


def _paths_of(order: Sequence[Exportable]) -> Iterator[str]:
    """Yield the path of each thing's file: safe on every system, and no two alike on any."""
    taken: set[str] = set()
    for found in order:
        stem, number = stem_of(found.name, TYPE_OF[found.noun.words]), 1
        folder, suffix = _FOLDER_OF[found.noun.words], _SUFFIX[found.noun.words]
        free = stem
        while not taken.isdisjoint(own := {f"{folder}/{free}".casefold(), f"{folder}/{free}{suffix}".casefold()}):
            number += 1
            free = f"{stem}-{number}"
        taken |= own  # with the folder of a store's entries
        yield f"{folder}/{free}{suffix}"


def stem_of(name: str, otherwise: str) -> str:
    """Return a name as one of a file: letters, digits and a few signs, no device and nothing hidden."""
    plain = unicodedata.normalize("NFC", name)
    kept = "".join(
        one if one.isalnum() or one in "_.+=-" or unicodedata.category(one).startswith("M") else "-" for one in plain
    )
    stem = re.sub("-{2,}", "-", kept)[:_LONGEST_STEM].strip(".-").encode()[: 2 * _LONGEST_STEM].decode(errors="ignore")
    stem = stem.rstrip(".-") or otherwise
    if stem.casefold() in _NOT_A_STEM or stem.casefold().startswith("readme"):
        stem = f"_{stem}"
    return safe_name(stem)


# Writing them.


def write(
    exported: Sequence[Exported], folder: Path, *, is_forced: bool
) -> Iterator[tuple[Exported, Became, list[str]]]:
    """Write files, and yield what became of each thing, with the files that are there, differ and were kept.

    Each is written whole or not at all. Raises UsageError for one that cannot be, or would be outside the folder.
    """
    for thing in exported:
        _check_within(thing, folder)
    for thing in exported:
        differs = [path for path, content in thing.files.items() if not _is_there(folder / path, content)]
        old = [path for path in differs if os.path.lexists(folder / path)]
        gone = _others(thing, folder)
        if not differs and not gone:
            yield thing, "unchanged", []
            continue
        if thing.found.noun.words == "skill" and (old or gone) and not is_forced:
            yield thing, "kept", [*old, *gone]  # a mix of two versions would be a broken skill
            continue
        for path in differs:
            if is_forced or path not in old:
                replace(folder / path, thing.files[path])
        for path in gone:
            os.unlink(folder / path)
        if not is_forced and old:
            yield thing, "kept", old
        else:
            yield thing, "replaced" if old or gone else "written", []


def _check_within(exported: Exported, folder: Path) -> None:
    root = os.path.realpath(folder)
    for path in exported.files:
        above = os.path.realpath((folder / path).parent)
        if above != root and not above.startswith(os.path.join(root, "")):
            raise UsageError(
                f"{folder / path} would be written outside of the folder, through a link; nothing was written",
                hint="remove the link, or name another folder with -O",
            )


def _is_there(path: Path, content: bytes) -> bool:
    try:
        if path.is_symlink() or not path.is_file():
            return False
        there = path.read_bytes()
    except OSError:
        return False
    return there == content or (b"\r" not in content and there.replace(b"\r\n", b"\n") == content)


def _others(exported: Exported, folder: Path) -> list[str]:
    """Return the files that a skill's folder has besides: applied, they would be part of it."""
    if exported.found.noun.words != "skill":
        return []
    found = []
    for place, _, names in os.walk(folder / exported.path):
        for name in names:
            path = (Path(place) / name).relative_to(folder).as_posix()
            if path not in exported.files and not skills.is_ignored(path.removeprefix(f"{exported.path}/")):
                found.append(path)
    return sorted(found)


def replace(path: Path, content: bytes) -> None:
    """Write a file whole, in the place of what is there. Raises UsageError."""
    part = path.parent / f".qoder-{os.getpid()}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as stream:
                stream.write(content)
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        hint = "free some space, or name another folder with -O"
        raise UsageError(f"{path} cannot be written: {error.strerror or error}", hint=hint) from None


def root_file(stack: str) -> bytes:
    """Return the qoder.yaml of a stack."""
    return f"stack: {stack}\n".encode()


def put_root(folder: Path, stack: str) -> bool:
    """Write qoder.yaml where there is none; return whether another one is there."""
    path = folder / ROOT_FILE
    if not os.path.lexists(path):
        replace(path, root_file(stack))
        return False
    return not _is_there(path, root_file(stack))
