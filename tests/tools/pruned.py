"""Draws stacks by chance, and asks whether --prune takes what it may, only what it may, and names all that it keeps.

A cell is a folder that was applied; what others did since: edits, marks typed by people or copied, things of the same
names, agents, deployments and sessions of every state that use things; the folder after some files went, moved, or say
no longer what they declare; options; a list that is told badly; and a colleague who acts before the second apply, once
it has its plan, or right before a removal. What may go is said here by what was done, without the program's own plan.
"""

import random
from argparse import Namespace
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from qoder_cli.nouns.table import NOUNS
from qoder_cli.sandbox.records import ENVIRONMENT, FakeThing
from qoder_cli.sandbox.samples import WRITER
from qoder_cli.sandbox.scripts import Behaviour, asking, call, terminated, turn
from tests.support import stacks
from tests.support.stacks import Truth, TruthTransport, skill
from tests.support.wire import FakeClock
from tests.tools.playing import Played
from tests.tools.typed import typed

PROMISES = (
    "stolen",  # what is not this stack's, or not as it was applied, was removed
    "used",  # removed, though something that stays uses it, or a session that may go on
    "declared",  # removed, though a file declares it
    "unasked",  # removed without --prune, without the whole folder, or more than half of it without --prune-all
    "blind",  # removed although a list could not be read whole, or a file does not say what it declares
    "touched",  # changed, though no file says so
    "cleared",  # a field emptied that somebody changed since
    "left",  # not removed, though all allowed it and the exit is 0
    "unnamed",  # kept, and not named
    "broke",  # a traceback, or an exit that no document knows
)
FOLDERS = {"env": "environments", "vault": "vaults", "memory": "memory_stores", "skill": "skills", "agent": "agents"}
FOLDERS |= {"deploy": "deployments"}
EXITS = {0, 2, 4, 5, 6, 7, 8, 9}
LIES = ("", "", "", "", "", "no has_more", "cut", "no metadata", "foreign row")
BLINDING = ("no has_more", "cut", "foreign row")
MOMENTS = ("", "before", "plan", "late")
DAY = 86_400.0
ENV = {**stacks.SECRETS, "WORDS": "Builds"}
URL = "https://mcp.example.com/mcp"
HI = [{"type": "user.message", "content": [{"type": "text", "text": "Hi."}]}]
Key = tuple[str, str]


class Cell(NamedTuple):
    """One drawn stack."""

    generation: str
    seed: int

    def __str__(self) -> str:
        return f"{self.generation}, seed {self.seed}"


def cells(options: Namespace) -> Iterator[Cell]:
    """Yield drawn stacks: 10,000, or as many as were asked for."""
    for number in range(options.random or 10_000):
        yield Cell(("current", "legacy")[number % 2], options.seed * 1_000_000 + number)


class _Draw:
    """What a cell has: drawn from its seed."""

    def __init__(self, cell: Cell) -> None:
        self.chance = chance = random.Random(cell.seed)
        self.truth = Truth(cell.generation, unique_names=False)
        self.world = self.truth.world
        self.files: dict[str, Any] = {"qoder.yaml": "stack: ours\n", "README.md": "# Ours\n"}
        self.paths: dict[Key, str] = {}
        for kind in FOLDERS:
            for name in ("one", "two", "three"):
                if chance.random() < 0.5:
                    self.declare(kind, name)
        self.ids: dict[str, Key] = {}  # of what was applied
        self.spoiled: set[str] = set()  # what is not, or not certainly, as it was applied
        self.keeping: dict[str, str] = {}  # the ids of sessions that keep what they use, with why
        self.declared: set[Key] = set()
        self.hidden = False  # whether a file may declare anything
        self.words = ["--yes", "--json"]
        for word, share in (("--prune", 0.9), ("--prune-all", 0.8)):
            if chance.random() < share and (word != "--prune-all" or "--prune" in self.words):
                self.words.append(word)
        self.is_whole = chance.random() < 0.93
        self.lie, self.lied = chance.choice(LIES), chance.choice([*FOLDERS.values(), "sessions"])
        self.moment = chance.choice(MOMENTS)
        self.met = ""  # the id that a colleague acted on
        self.did = ""

    def declare(self, kind: str, name: str) -> None:
        """Declare a thing, perhaps with references to others of the folder."""
        chance, path = self.chance, f"{FOLDERS[kind]}/{name}.yaml"
        fields: dict[str, Any] = {"name": name}
        if kind == "skill":
            path = f"skills/{name}"
            self.files[f"{path}/SKILL.md"] = skill(name)
        elif kind == "vault":
            auth = {"type": "static_bearer", "token": "${TOKEN}", "mcp_server_url": URL}
            fields = {
                "display_name": name,
                "credentials": [{"display_name": "docs", "auth": auth}][chance.randrange(2) :],
            }
        elif kind == "memory" and chance.random() < 0.5:
            self.files[f"memory_stores/{name}/a.md"] = f"An entry of {name}.\n"
        elif kind == "agent":
            fields |= {"model": "auto", "tools": [stacks.TOOLSET], "system": "Be brief."}
            fields["skills"] = [
                f"../skills/{name}" for key, name in self.paths if key == "skill" and chance.random() < 0.3
            ]
        elif kind == "deploy":
            fields |= {"agent": self.one_of("agent", WRITER), "environment": self.one_of("env", ENVIRONMENT)}
            fields |= {"message": "Hi.", "vaults": [self.one_of("vault", "vault_team")]}
        elif kind == "env":
            fields["config"] = {"type": "cloud", "networking": {"type": "unrestricted"}}
        if kind in ("env", "memory", "agent", "deploy") and chance.random() < 0.6:
            fields["description"] = chance.choice(["As it was", "${WORDS}"])
        if kind != "skill":
            self.files[path] = fields
        self.paths[kind, name] = path

    def one_of(self, kind: str, otherwise: str) -> str:
        known = [name for key, name in self.paths if key == kind]
        return self.chance.choice(known) if known and self.chance.random() < 0.8 else otherwise

    def note_ids(self) -> None:
        """Note what was applied."""
        for kind, path in FOLDERS.items():
            for thing in self.world.alive(path):
                if thing.created >= self.truth.since and thing.archived is None:
                    self.ids[thing.id] = kind, thing.fields.get("_name") or stacks.name_of(thing.fields)

    # What others do.

    def held(self, id: str) -> FakeThing:
        return next(things[id] for things in self.world.things.values() if id in things)

    def edit(self, id: str) -> str:
        """Let somebody write to a thing; say what, and note what that spoils."""
        kind, name = self.ids[id]
        thing, now = self.held(id), self.world.now()
        acts: dict[str, Callable[[], bool]] = {}

        def write(**fields: Any) -> bool:
            newer = {"version": thing.fields["version"] + 1} if "version" in thing.fields else {}
            thing.change(now, **fields, **newer)
            return True

        labels = thing.fields["metadata"]
        if kind in ("env", "memory", "agent", "deploy"):
            recorded = dict(each.partition("=")[::2] for each in labels.get("qoder_applied", "").split())
            is_untold = recorded.get("description") == ""  # which is compared with nothing
            acts["describes"] = lambda: write(description="By a colleague") and not is_untold
            acts["labels"] = lambda: write(metadata={**labels, "team": "core"})
            acts["renames"] = lambda: write(name="renamed")
        if kind in ("env", "memory", "agent", "deploy", "vault"):
            acts["unmarks"] = lambda: write(metadata={"theirs": "1"})
            marked = {**labels, "qoder_stack": f"other/{NOUNS[kind].type}/{name}"}
            acts["takes over"] = lambda: write(metadata=marked)
        if kind == "vault":
            auth = {"type": "static_bearer", "mcp_server_url": "https://x.example/mcp"}
            more = {"id": f"vcred_{self.chance.randrange(10**6)}", "vault_id": id, "display_name": "x", "auth": auth}
            acts["adds a credential"] = lambda: bool(
                self.world.keep("vaults.credentials", id, at=now, metadata={}, **more)
            )
        if kind == "memory":
            acts["adds an entry"] = lambda: bool(self.entry(id, "theirs.md", "Theirs."))
            if inner := [each for each in self.world.alive(f"memory_stores/{id}/memories") if each.deleted is None]:
                text = {"content": "Theirs.", "content_sha256": sha256(b"Theirs.").hexdigest()}
                acts["writes an entry"] = lambda: not inner[0].change(now, **text)  # type: ignore[func-returns-value]
        if kind == "skill":
            acts["adds a version"] = lambda: self.version(id, name, "Others.")
            acts["adds the same version"] = lambda: self.version(id, name, "Short sentences.")
        if kind == "deploy":
            acts["pauses"] = lambda: write(status="paused", paused_reason={"type": "manual"}) and False
        did = self.chance.choice(sorted(acts))
        if acts[did]():
            self.spoiled.add(id)
        return did

    def entry(self, store: str, path: str, text: str) -> FakeThing:
        size = {"content_sha256": sha256(text.encode()).hexdigest(), "content_size_bytes": len(text)}
        more = {"id": f"mem_{self.chance.randrange(10**6)}", "memory_store_id": store, "path": path, "content": text}
        return self.world.keep("memory_stores.memories", store, at=self.world.now(), **more, **size)

    def version(self, id: str, name: str, text: str) -> bool:
        """Add a version to a skill; return whether its content is another."""
        told = {"name": name, "description": "How we write", "directory": name, "skill_id": id}
        content = {"SKILL.md": skill(name, text).encode()}
        number = str(len(self.world.alive(f"skills/{id}/versions")) + 1)
        self.world.keep("skills.versions", id, at=self.world.now(), version=number, _files=content, **told)
        self.spoiled.discard(id)  # the newest is what counts
        return text != "Short sentences."

    def use(self, id: str, *, by_session: bool) -> None:
        """Let something use a thing that is not of the stack: a deployment, an agent, or a session."""
        kind, chance, now = self.ids[id][0], self.chance, self.world.now()
        agent = {"id": id if kind == "agent" else WRITER, "type": "agent", "version": 1}
        uses: dict[str, Any] = {"agent": agent, "environment_id": id if kind == "env" else ENVIRONMENT}
        uses["vault_ids"] = [id] if kind == "vault" else []
        if kind == "memory":
            uses["resources"] = [{"type": "memory_store", "memory_store_id": id, "access": "read_only"}]
        if kind == "skill":
            held = [{"type": "custom", "skill_id": id, "version": "1"}]
            made = self.world.keep(
                "agents", at=now, name="theirs", model={"id": "auto"}, version=1, tools=[], skills=held
            )
            self.world.keep("agents.versions", made.id, at=now, **made.fields)
            uses["agent"] = {"id": made.id, "type": "agent", "version": 1}
        if not by_session:
            if kind not in ("skill", "deploy"):
                self.world.add_deployment(name="theirs", initial_events=HI, **uses)
            return
        state = chance.choice(["running", "rescheduling", "asks", "recent", "idle", "terminated"])
        script = turn(seconds=3)
        age = {"recent": DAY / 2}.get(state, 3 * DAY)
        if state in ("running", "rescheduling"):
            script = turn(seconds=30 * DAY)
        elif state == "asks":
            script = asking(call("git push"), seconds=2)
        elif state == "terminated":
            script, age = terminated(seconds=3), DAY / 2
        uses["resources"] = [self.world.new_resource(each, at=now) for each in uses.get("resources", ())]
        events = {"initial_events": HI}
        session = self.world.add_session(at=now - age, behaviour=Behaviour(script), **events, **uses)
        if state not in ("idle", "terminated"):
            self.keeping[session.id] = state

    def mark(self) -> None:
        """Put things there that are not of the stack, some with a mark that somebody typed or copied."""
        chance, world = self.chance, self.world
        for _ in range(chance.randrange(4)):
            kind = chance.choice(["env", "memory", "vault", "agent"])
            name = chance.choice(["one", "two", "three", "four", "a/b"])
            how = chance.choice(["", "typed", "prefix", "other", "other kind", "copied", "broken"])
            of = {"prefix": "ours2", "other": "other"}.get(how, "ours")
            type, called = NOUNS["deploy" if how == "other kind" else kind].type, "x" if how == "copied" else name
            marks = {"qoder_stack": f"{of}/{type}/{called}"} if how else {}
            if how == "broken":
                marks = {"qoder_stack": chance.choice(["ours", "ours/", f"ours/{type}", f"/{type}/{name}"])}
            if how in ("typed", "copied") and chance.random() < 0.5:
                marks["qoder_applied"] = chance.choice(["description name", "name", "description=0123456789ab", "x=y"])
            fields: dict[str, Any] = {"display_name" if kind == "vault" else "name": name, "metadata": marks}
            if kind == "agent":
                fields |= {"model": {"id": "auto"}, "version": 1, "tools": [stacks.TOOLSET]}
            if kind == "env":
                fields["config"] = {"type": "cloud", "networking": {"type": "unrestricted"}}
            made = world.keep(FOLDERS[kind], at=world.now() - DAY, **fields)
            if kind == "agent":
                world.keep("agents.versions", made.id, at=world.now(), **made.fields)

    def change_files(self, folder: Path) -> None:
        """Remove files, move some, and perhaps put one there that does not say what it declares."""
        chance = self.chance
        for key in [*self.paths][::-1]:  # users before what they use, which stays with them
            needed = {each for user in self.declared for each in self.needs(user)}
            if key in needed or chance.random() < 0.45:
                self.declared.add(key)
        kept: dict[str, Any] = {path: each for path, each in self.files.items() if "/" not in path}
        for kind, name in self.declared:
            path = self.paths[kind, name]
            moved = f"{FOLDERS[kind]}/team/{name}.yaml"
            is_moved = kind in ("env", "vault") and chance.random() < 0.2
            for each, content in self.files.items():
                if each == path or each.startswith((f"{path}/", f"{FOLDERS[kind]}/{name}/")):
                    kept[moved if is_moved and each == path else each] = content
            fields = kept.get(moved if is_moved else path)
            if isinstance(fields, dict) and chance.random() < 0.2:
                fields.pop("description", None)
        if chance.random() < 0.08:
            self.hidden = True
            kept["notes/maybe.yaml"] = "name: maybe\n"
        stacks.write(folder, kept)

    def needs(self, key: Key) -> Iterator[Key]:
        """Yield what the file of a thing refers to."""
        fields = self.files.get(self.paths[key], {})
        for name in fields.get("skills", ()):
            yield "skill", name.rpartition("/")[2]
        for kind, field in (("agent", "agent"), ("env", "environment")):
            yield kind, fields.get(field, "")
        yield from (("vault", name) for name in fields.get("vaults", ()))

    def act(self, id: str) -> None:
        """Let a colleague act on a thing, once."""
        self.met = id
        if self.chance.random() < 0.3:
            self.did = "uses"
            self.use(id, by_session=False)
        else:
            self.did = self.edit(id)


class _Told(TruthTransport):
    """Tells one list badly, and lets a colleague act once there is a plan, or right before a removal."""

    def __init__(self, draw: _Draw, clock: FakeClock) -> None:
        super().__init__(draw.truth, clock)
        self.draw = draw
        self.at_end: dict[str, int] = {}  # the number of the newest request to each path
        self.count, self.acted_at = 0, 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        draw, path = self.draw, request.url.path.removeprefix("/api/v1/cloud/")
        self.count += 1
        is_removal = request.method == "DELETE" or path.endswith("/archive")
        is_planned = request.method != "GET" or (path.count("/") == 1 and path.split("/")[0] in FOLDERS.values())
        if (
            not self.acted_at
            and draw.ids
            and ((draw.moment == "late" and is_removal) or (draw.moment == "plan" and is_planned))
        ):
            self.acted_at = self.count
            draw.act(draw.chance.choice(sorted(draw.ids)))
        self.at_end[f"{request.method} {path}"] = self.count
        answer = super().handle_request(request)
        if request.method != "GET" or not request.url.path.endswith(f"/{draw.lied}"):
            return self._rescheduled(answer, path)
        value = self._rescheduled(answer, path).json()
        match draw.lie:
            case "no has_more":
                value.pop("has_more", None)
                value.pop("next_page", None)
            case "cut":
                return httpx.Response(200, content=answer.content[: len(answer.content) // 2])
            case "no metadata":
                for row in value["data"]:
                    row.pop("metadata", None)
            case "foreign row":
                value["data"].append({"id": "x_1", "type": "other"})
        return httpx.Response(answer.status_code, json=value, headers=answer.headers)

    def _rescheduled(self, answer: httpx.Response, path: str) -> httpx.Response:
        """Return the sessions as they are drawn: none of the sandbox is ever rescheduling."""
        if not path.startswith("sessions") or "rescheduling" not in self.draw.keeping.values():
            return answer
        value = answer.json()
        for row in [value, *value.get("data", ())]:
            if self.draw.keeping.get(str(row.get("id"))) == "rescheduling":
                row["status"] = "rescheduling"
        return httpx.Response(answer.status_code, json=value, headers=answer.headers)


def play(cell: Cell, folder: Path) -> Played:
    """Play one cell, and judge what was removed."""
    draw = _Draw(cell)
    clock = FakeClock(draw.truth.time)
    clock.patience = 0.02
    stacks.write(folder / "first", draw.files)
    first = typed(
        TruthTransport(draw.truth, clock), clock, folder / "state", "apply", str(folder / "first"), "--yes", **ENV
    )
    draw.note_ids()
    if first.code and draw.paths:
        return Played([f"first {first.code}"]).breaks(first.err[-300:], broke=True)
    clock.sleep(DAY)
    draw.truth.time = clock.now()
    draw.change_files(folder / "files")
    draw.mark()
    for id in sorted(draw.ids):
        if draw.chance.random() < 0.12:
            draw.edit(id)
        if draw.chance.random() < 0.2 and draw.ids[id][0] != "deploy":
            draw.use(id, by_session=draw.chance.random() < 0.7)
    if draw.moment == "before" and draw.ids:
        draw.act(draw.chance.choice(sorted(draw.ids)))
    before = stacks.digest(draw.world)
    where = folder / "files"
    if not draw.is_whole:
        where = next(
            (each for each in sorted(where.iterdir()) if each.is_dir() and each.name in FOLDERS.values()), where
        )
    told = _Told(draw, clock)
    said = typed(told, clock, folder / "state", "apply", str(where), *draw.words, **ENV)
    return _judged(draw, told, said.code, before, stacks.digest(draw.world), said.err, where == folder / "files")


def _judged(
    draw: _Draw, told: _Told, code: int, before: dict[str, Any], after: dict[str, Any], err: str, is_whole: bool
) -> Played:
    found: dict[str, list[str]] = {promise: [] for promise in PROMISES}
    raced: list[str] = []
    of_id = {key.split("/")[1]: key for key in before if key.count("/") == 1}
    gone = {id for id, key in of_id.items() if key not in after or _is_new_archive(before[key], after[key])}
    may_prune = "--prune" in draw.words and is_whole and not draw.hidden and draw.lie not in BLINDING
    expected = _expected(draw, after)
    for id in gone:
        what = f"{draw.ids.get(id)} {id}"
        path = of_id[id]
        was_read = max(told.at_end.get(f"GET {path}", 0), told.at_end.get("GET sessions", 0))
        is_race = id == draw.met and told.acted_at > was_read
        if id not in draw.ids or id in draw.spoiled:
            (raced if is_race else found["stolen"]).append(what)
        elif draw.ids[id] in draw.declared:
            found["declared"].append(what)
        elif id not in expected:
            is_late = draw.did == "uses" and told.acted_at > told.at_end.get("GET sessions", 0)
            (raced if is_race or is_late else found["used"]).append(what)
        if not ("--prune" in draw.words and is_whole):
            found["unasked"].append(what)
        if draw.lie in BLINDING or draw.hidden:
            found["blind"].append(what)
    mine = [id for id in draw.ids if _has_mark(draw.ids[id], before[of_id[id]])]
    typed_too = [id for id, row in before.items() if id.count("/") == 1 and _is_marked(row)]
    if "--prune-all" not in draw.words and 2 * len(gone) > len(typed_too):
        found["unasked"].append(f"{len(gone)} of {len(typed_too)}")
    _look_for_changes(draw, before, after, of_id, gone, found)
    if code == 0 and may_prune and draw.lie == "" and draw.moment in ("", "before"):
        found["left"] += [f"{draw.ids[id]} {id}" for id in expected - gone]
    if may_prune and draw.lie == "" and (code == 0 or gone) and draw.moment != "late":
        kept = [id for id in mine if id not in gone and draw.ids[id] not in draw.declared and f"{id}" not in err]
        found["unnamed"] += [f"{draw.ids[id]} {id}" for id in kept if id != draw.met]
    if code not in EXITS or "Traceback" in err or "a bug in qoder" in err:
        found["broke"].append(f"{code} {err[-300:]}")
    detail = f"exit {code}, {' '.join(draw.words)}, lie {draw.lie!r} of {draw.lied}, {draw.did!r} {draw.moment}"
    played = Played([f"{code}{'-' if gone else ''}"])
    for promise, those in found.items():
        played.breaks(f"{those[:3]} {detail}", is_borne=False, **{promise: bool(those)})
    return played.breaks(f"{raced} {detail}", is_borne=True, used=bool(raced))


def _is_new_archive(before: dict[str, Any], after: dict[str, Any]) -> bool:
    return bool(after.get("archived_at") and not before.get("archived_at"))


def _has_mark(key: Key, fields: dict[str, Any]) -> bool:
    """Return whether a thing has the mark of its kind and name."""
    names = {fields.get(name) for name in ("name", "display_name", "display_title")}
    return (
        _is_marked(fields, NOUNS[key[0]].type)
        and fields["metadata"]["qoder_stack"].endswith(f"/{key[1]}")
        and key[1] in names
    )


def _is_marked(fields: dict[str, Any], type: str = "") -> bool:
    return str((fields.get("metadata") or {}).get("qoder_stack")).startswith(f"ours/{type}")


def _expected(draw: _Draw, after: dict[str, Any]) -> set[str]:
    """Return what may go, by what was done: intact, in no file, and used by nothing that stays."""
    doomed = {id for id, key in draw.ids.items() if key not in draw.declared and id not in draw.spoiled}
    users: list[tuple[str, set[str]]] = []
    for key, row in after.items():
        kind, _, id = key.partition("/")
        if kind in ("deployments", "agents") and "/" not in id and not row.get("archived_at"):
            users.append((id, {*_texts({name: value for name, value in row.items() if name != "id"})}))
    for session in draw.world.sessions.values():
        if session.id in draw.keeping:
            users.append((session.id, {*_texts(session.fields)}))
    while used := {text for user, texts in users if user not in doomed for text in texts} & doomed:
        doomed -= used
    return doomed


def _look_for_changes(
    draw: _Draw, before: dict[str, Any], after: dict[str, Any], of_id: dict[str, str], gone: set[str], found: Any
) -> None:
    for id, key in of_id.items():
        if id in gone or id == draw.met or key.split("/")[0] not in FOLDERS.values() or key not in after:
            continue
        changed = [name for name in before[key] if before[key][name] != after[key].get(name)]
        kind = next(kind for kind, folder in FOLDERS.items() if folder == key.split("/")[0])
        of_mark = before[key]["metadata"].get("qoder_stack", "").removeprefix(f"ours/{NOUNS[kind].type}/")
        is_ours_by_mark = (kind, of_mark) in draw.declared  # whoever wrote that
        if changed and draw.ids.get(id) not in draw.declared and not is_ours_by_mark:
            found["touched"].append(f"{draw.ids.get(id)} {id} {changed}")
        was = before[key].get("description")
        if was == "By a colleague" and after[key]["description"] in (None, ""):
            found["cleared"].append(f"{draw.ids.get(id)} {id}")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(each)
