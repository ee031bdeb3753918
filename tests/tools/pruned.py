"""Draws stacks by chance, and asks whether --prune, clearing and --adopt touch only what they may.

A cell is a server with things of every kind under few names, whose marks are ours, another stack's, copied, damaged or
missing; a folder that declares some of them; options; a list that may be cut short or without metadata; and a colleague
who writes in between. What may be touched is said here from the world alone, without the program's own plan.
"""

import random
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from qoder_cli.nouns.table import NOUNS
from qoder_cli.sandbox.records import ENVIRONMENT, Thing
from qoder_cli.sandbox.samples import WRITER
from qoder_cli.stack.marks import record_of
from tests.support import stacks
from tests.support.stacks import SECRETS, Truth, TruthTransport, skill
from tests.support.wire import FakeClock
from tests.tools.playing import Played
from tests.tools.typed import typed

PROMISES = (
    "stolen",  # another stack's, or nobody's, was changed without --adopt, or removed at all
    "used",  # removed, though something that stays uses it
    "declared",  # removed, though a file declares it
    "unasked",  # removed without --prune, without the whole folder, or more than half of it without --prune-all
    "blind",  # removed although a list could not be read whole
    "over",  # a colleague's work written over
    "cleared",  # a field emptied that this stack had not set, or that somebody changed since
    "left",  # not removed, though all allowed it and the exit is 0
    "broke",  # a traceback, or an exit that no document knows
)
TYPES = {"env": "environment", "vault": "vault", "memory": "memory_store", "skill": "skill", "agent": "agent"}
TYPES |= {"deploy": "deployment"}
FOLDERS = {"env": "environments", "vault": "vaults", "memory": "memory_stores", "skill": "skills", "agent": "agents"}
FOLDERS |= {"deploy": "deployments"}
MARKS = ("ours", "ours", "ours", "none", "other", "copied", "other kind", "broken", "prefix")
LIES = ("", "", "", "", "no has_more", "cut", "no metadata", "foreign row")
NAMES = ("one", "two", "three", "a/b")  # skills have none with a slash
EXITS = {0, 2, 4, 5, 6, 7, 8, 9}


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
        self.ids: dict[tuple[str, str], str] = {}
        self.marked: dict[str, str] = {}  # by id, what its mark is
        self.noted: dict[str, str] = {}  # whether the description is what was noted that a file set
        for kind in TYPES:
            for name in NAMES[: 3 if kind == "skill" else 4]:
                if chance.random() < 0.55:
                    self.add(kind, name, chance.choice(MARKS))
        self.declared = {key for key in self.ids if chance.random() < 0.5}
        self.declared |= {(kind, name) for kind in TYPES for name in NAMES[:3] if chance.random() < 0.06}
        self.words = ["--yes", "--json"]
        for word, share in (("--prune", 0.8), ("--prune-all", 0.5), ("--adopt", 0.3)):
            if chance.random() < share and (word != "--prune-all" or "--prune" in self.words):
                self.words.append(word)
        fine: tuple[str, ...] = ("ours",)
        if "--adopt" in self.words:
            fine = ("ours", "none", "copied", "other kind")
        if chance.random() < 0.8:  # else it is mostly blocked
            self.declared = {key for key in self.declared if key not in self.ids or self.marked[self.ids[key]] in fine}
        self.is_whole = chance.random() < 0.9
        self.lie = chance.choice(LIES)
        self.lied = chance.choice([*FOLDERS.values()])
        self.meets = chance.choice(["", "", "", "uses", "unmarks", "renames", "describes"])
        self.met: str | None = None  # what a colleague wrote to, or used
        self.was_seen = False  # whether the lists of what uses things were read after that

    def add(self, kind: str, name: str, mark: str) -> None:
        """Keep a thing of a name, with a mark."""
        chance, world = self.chance, self.truth.world
        at, noun = world.now() - 86_400, NOUNS[kind]
        stack = {"other": "other", "prefix": "ours2"}.get(mark, "ours")
        marks: dict[str, str] = {"theirs": "1"}
        if mark != "none":
            of = "vaults" if mark == "other kind" else TYPES[kind]
            marks["qoder_stack"] = f"{stack}/{of}/{'x' if mark == 'copied' else name}"
        if mark == "broken":
            marks["qoder_stack"] = chance.choice(["ours", "ours/", f"ours/{TYPES[kind]}", "", f"/{TYPES[kind]}/{name}"])
        noted = ""
        if mark in ("ours", "copied", "other kind") and kind in ("env", "memory", "agent"):
            noted = chance.choice(["", "same", "other"])
        if noted:
            was = "As it was" if noted == "same" else "As somebody else wrote"
            marks["qoder_applied"] = record_of({"description": was})
        named = {"vault": "display_name", "skill": "display_title"}.get(kind, "name")
        fields: dict[str, Any] = {named: name, "metadata": marks}
        if kind == "env":
            fields["config"] = {"type": "cloud", "networking": {"type": "unrestricted"}}
        if kind in ("env", "memory", "agent"):
            fields["description"] = "As it was"
        if kind == "agent":
            fields |= {"model": {"id": "auto"}, "version": 1, "tools": [stacks.TOOLSET], "skills": []}
            if used := [self.ids[key] for key in self.ids if key[0] == "skill" and chance.random() < 0.3]:
                fields["skills"] = [{"type": "custom", "skill_id": id, "version": "1"} for id in used]
        made: Thing
        if kind == "deploy":
            agent = self.draw("agent", WRITER)
            vaults = [self.draw("vault", "vault_team")]
            fields |= {"agent": {"id": agent, "type": "agent", "version": 1}, "vault_ids": vaults}
            fields |= {"environment_id": self.draw("env", ENVIRONMENT)}
            fields |= {"initial_events": [{"type": "user.message", "content": [{"type": "text", "text": "Hi."}]}]}
            made = world.add_deployment(at=at, **fields)
        else:
            made = world.keep(noun.operations, at=at, **fields)
        if kind == "agent":
            world.keep("agents.versions", made.id, at=at, **made.fields)
        if kind == "skill":
            made.fields["_name"] = name
            files = {"SKILL.md": skill(name).encode()}
            told = {"name": name, "description": "How we write", "directory": name, "skill_id": made.id}
            world.keep("skills.versions", made.id, at=at, version="1", _files=files, **told)
        self.ids[kind, name] = made.id
        self.marked[made.id] = mark
        self.noted[made.id] = noted

    def draw(self, kind: str, default: str) -> str:
        known = [id for key, id in self.ids.items() if key[0] == kind]
        return self.chance.choice(known) if known and self.chance.random() < 0.7 else default

    def write(self, folder: Path) -> None:
        """Write the files of what is declared."""
        files: dict[str, Any] = {"qoder.yaml": "stack: ours\n", "README.md": "# Ours\n"}
        for number, (kind, name) in enumerate(sorted(self.declared)):
            path = f"{FOLDERS[kind]}/{number}.yaml"
            if kind == "skill":
                files[f"skills/s{number}/SKILL.md"] = skill(name)
            elif kind == "vault":
                files[path] = {"display_name": name}
            elif kind == "deploy":
                used = {"agent": WRITER, "environment_id": ENVIRONMENT, "message": "Hi."}
                files[path] = {"name": name, **used}
            else:
                told = {"description": "As wanted"} if self.chance.random() < 0.5 else {}
                files[path] = {"name": name, **told, **({"model": "auto"} if kind == "agent" else {})}
        stacks.write(folder, files)

    def meet(self) -> None:
        """Let a colleague write, once."""
        world, chance = self.truth.world, self.chance
        marked = [id for id, mark in self.marked.items() if mark == "ours"]
        if not marked:
            return
        id = self.met = chance.choice(marked)
        kept = next(held[id] for held in world.things.values() if id in held)
        match self.meets:
            case "uses":
                events = [{"type": "user.message", "content": [{"type": "text", "text": "Hi."}]}]
                agent = id if id.startswith("agent_") else WRITER
                env = id if id.startswith("env_") else ENVIRONMENT
                vaults = [id] if id.startswith("vault_") else []
                used: dict[str, Any] = {"agent": {"id": agent, "type": "agent", "version": 1}, "environment_id": env}
                world.add_deployment(name="theirs", **used, vault_ids=vaults, initial_events=events)
            case "unmarks":
                kept.change(world.now(), metadata={"theirs": "1"})
            case "renames":
                field = next(name for name in ("display_title", "display_name", "name") if name in kept.fields)
                kept.change(world.now(), **{field: "renamed"})
            case "describes":
                newer = {"version": kept.fields["version"] + 1} if "version" in kept.fields else {}
                kept.change(world.now(), description="By a colleague", **newer)


class _Told(TruthTransport):
    """Tells one list badly, and lets a colleague write before anything is read again, or written."""

    def __init__(self, draw: _Draw, clock: FakeClock) -> None:
        super().__init__(draw.truth, clock)
        self.draw, self.is_first = draw, True
        self.read = set[str]()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        last = request.url.path.rpartition("/")[2]
        self.read.add(last)
        is_planned = self.read >= {FOLDERS[kind] for kind, _ in self.draw.declared}
        if (request.method != "GET" or (is_planned and last not in FOLDERS.values())) and self.is_first:
            self.is_first = False
            self.draw.meet()
        answer = super().handle_request(request)
        draw = self.draw
        draw.was_seen = draw.was_seen or (draw.met is not None and last == "agents")
        if request.method != "GET" or not request.url.path.endswith(f"/{draw.lied}") or not draw.lie:
            return answer
        value = answer.json()
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
        return httpx.Response(200, json=value)


def play(cell: Cell, folder: Path) -> Played:
    """Play one cell, and judge what was touched."""
    draw = _Draw(cell)
    draw.write(folder / "files")
    clock = FakeClock(draw.truth.time)
    clock.patience = 0.02
    before = stacks.digest(draw.truth.world)
    where = folder / "files"
    if not draw.is_whole:
        where = next((each for each in sorted(where.iterdir()) if each.is_dir()), where)
    said = typed(_Told(draw, clock), clock, folder / "state", "apply", str(where), *draw.words, **SECRETS)
    after = stacks.digest(draw.truth.world)
    return _judged(draw, said.code, before, after, said.err)


def _judged(draw: _Draw, code: int, before: dict[str, Any], after: dict[str, Any], err: str) -> Played:
    found: dict[str, list[str]] = {promise: [] for promise in PROMISES}
    gone = {
        key
        for key in before
        if key not in after or (after[key].get("archived_at") and not before[key].get("archived_at"))
    }
    gone_ids = {key.split("/")[-1] for key in gone if key.split("/")[0] in FOLDERS.values() and key.count("/") == 1}
    kind_of = {id: key for key, id in draw.ids.items()}
    mine = [id for id, mark in draw.marked.items() if mark == "ours"]
    used = {
        text: row["id"]
        for key, row in after.items()
        if key.split("/")[0] in ("deployments", "agents") and key.count("/") == 1 and not row.get("archived_at")
        for text in _texts({name: value for name, value in row.items() if name != "id"})
    }
    may_prune = "--prune" in draw.words and draw.is_whole and draw.lie not in ("no has_more", "cut", "foreign row")
    doomed = [id for id in mine if kind_of[id] not in draw.declared]
    for id in gone_ids:
        known = kind_of.get(id)
        what = f"{known} {draw.marked.get(id)}"
        if known is None or draw.marked[id] != "ours" or (id == draw.met and draw.meets in ("unmarks", "renames")):
            found["stolen"].append(what)
        if known in draw.declared:
            found["declared"].append(what)
        is_late = id == draw.met and draw.meets == "uses" and not draw.was_seen  # no server tells of that
        if id in used and not is_late:
            found["used"].append(f"{what} by {used[id]}")
        if not ("--prune" in draw.words and draw.is_whole):
            found["unasked"].append(what)
        if draw.lie in ("no has_more", "cut", "foreign row"):
            found["blind"].append(what)
    if "--prune-all" not in draw.words and 2 * len(gone_ids) > len(mine):
        found["unasked"].append(f"{len(gone_ids)} of {len(mine)}")
    for id, mark in draw.marked.items():
        key = f"{FOLDERS[kind_of[id][0]]}/{id}"
        is_theirs = id == draw.met and draw.meets
        if is_theirs and draw.meets == "describes" and key in after and after[key]["description"] != "By a colleague":
            found["over"].append(f"{kind_of[id]}")
        if id in gone_ids or key not in after or is_theirs:
            continue
        changed = [name for name in before[key] if before[key][name] != after[key].get(name)]
        may_change = kind_of[id] in draw.declared and (mark == "ours" or (mark != "other" and "--adopt" in draw.words))
        if mark == "prefix":
            may_change = False
        if changed and not may_change:
            found["stolen"].append(f"{kind_of[id]} {mark} {changed}")
        is_empty = "description" in changed and after[key]["description"] in (None, "")
        if is_empty and (mark != "ours" or draw.noted[id] != "same"):
            found["cleared"].append(f"{kind_of[id]} {mark} {draw.noted[id]}")
        if after[key]["metadata"].get("theirs") != "1":
            found["cleared"].append(f"{kind_of[id]} metadata")
    if code == 0 and may_prune and draw.lie != "no metadata" and not draw.meets:
        left = [id for id in doomed if id not in gone_ids and id not in used]
        found["left"] += [str(kind_of[id]) for id in left]
    if code not in EXITS or "Traceback" in err or "a bug in qoder" in err:
        found["broke"].append(f"{code} {err[-300:]}")
    detail = f"exit {code}, {' '.join(draw.words)}, lie {draw.lie!r} of {draw.lied}, colleague {draw.meets!r}"
    played = Played([f"{code}{'-' if gone_ids else ''}"])
    for promise, those in found.items():
        played.breaks(f"{those[:3]} {detail}", is_borne=False, **{promise: bool(those)})
    return played


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(each)
