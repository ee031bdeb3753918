"""Every history of a few commands under shared keys: the protocol itself is played, against a store that decides.

Breadth first, so that what is found is a shortest history. A command is what it was told so far: what it does next
follows from that alone. In each state every command may go on, be killed, or be told that its write was lost, and then
the write was done, was not, or is done at any later time. A trigger may be refused, or be lost in the same three ways.
Where the store says nothing to a read, or cannot be reached, the command gives up before the trigger, and may let go of
its claim; afterwards it goes on without the store.
"""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from qoder_cli.keys.protocol import (
    NOTHING,
    UNKNOWN,
    UNREAD,
    Free,
    HasFailed,
    KeyVerdict,
    LookForRun,
    Move,
    Read,
    SendTrigger,
    Started,
    Take,
    Watch,
    start_once,
    why_not_adopted,
)
from qoder_cli.keys.record import KeyRecord, StoredKey

HAND = "by hand"
_TRIES = 4  # fewer than a command makes: more of them only repeat what was seen


class Options(NamedTuple):
    """What may happen. `keys` has the key of each command; all are of one deployment."""

    keys: tuple[int, ...] = (0, 0)
    faults: int = 2
    crashes: int = 1
    frees: int = 0  # decisions of a person
    slow: bool = False  # commands that are alive may seem abandoned
    stale: bool = False  # reads may be of any age
    by_hand: bool = False  # somebody starts a run without a key
    until: bool = False  # --key-until completed, and any run may fail
    breaks: bool = False  # the store lets two creates both succeed: found, or the explorer sees nothing


class Command(NamedTuple):
    """What a command was told; whether it looks for the run of a lost trigger; how it is."""

    told: tuple[Any, ...] = ()
    looking: bool = False
    dead: bool = False
    away: bool = False  # it gave up, because the store was silent


class State(NamedTuple):
    """One moment."""

    slots: tuple[StoredKey | None, ...]
    commands: tuple[Command, ...]
    late: tuple[Any, ...] = ()  # writes of the store, and triggers, that may still be done
    runs: tuple[tuple[Any, ...], ...] = ()  # command and key of each
    failed: tuple[int, ...] = ()
    next_id: int = 1
    faults: int = 0
    crashes: int = 0
    frees: int = 0
    decided: bool = False  # a person freed a key
    seen: tuple[StoredKey | None, ...] = ()  # what was ever there, for reads that are stale


def claim(number: int, key: int) -> KeyRecord:
    return KeyRecord("claimed", f"owner-{number}", f"key-{key}", "dep_1", "host")


@cache
def content(record: KeyRecord) -> str:
    """Return what a store keeps of a record: the same few again and again."""
    return record.content


@cache
def doing(number: int, key: int, until: bool, told: tuple[Any, ...]) -> Any:
    """Return what a command does next, or its verdict."""
    steps = start_once(claim(number, key), until_completed=until, most_tries=_TRIES)
    try:
        step = next(steps)
        for answer in told:
            step = steps.send(answer)
    except StopIteration as ended:
        return ended.value
    return step


@dataclass
class Seen:
    """What an exploration has found: a shortest history of each kind of wrong."""

    states: int = 0
    ended: int = 0
    whole: bool = True
    wrong: dict[str, list[str]] = field(default_factory=dict)
    count: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)


class Exploration:
    """All states that can be reached from a first one."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.came: dict[Any, tuple[Any, str] | None] = {}
        self.seen = Seen()

    def _first(self) -> Any:
        raise NotImplementedError

    def _after(self, state: Any) -> Iterator[tuple[str, Any]]:
        raise NotImplementedError

    def _check(self, state: Any) -> None:
        raise NotImplementedError

    def explore(self) -> Seen:
        start = self._first()
        self.came = {start: None}
        todo = deque([start])
        while todo:
            if len(self.came) > self.most:
                self.seen.whole = False
                break
            state = todo.popleft()
            self._check(state)
            for label, after in self._after(state):
                if after not in self.came:
                    self.came[after] = state, label
                    todo.append(after)
        self.seen.states = len(self.came)
        return self.seen

    def _wrong(self, what: str, state: Any) -> None:
        self.seen.count[what] += 1
        if what not in self.seen.wrong and state in self.came:
            path = []
            while (came := self.came[state]) is not None:
                state, label = came
                path.append(label)
            self.seen.wrong[what] = path[::-1]


class Explorer(Exploration):
    """All states of commands under keys."""

    def __init__(self, options: Options, most: int = 4_000_000) -> None:
        super().__init__(most)
        self.o = options

    def _first(self) -> State:
        o = self.o
        slots = (None,) * (max(o.keys) + 1)
        return State(slots, (Command(),) * len(o.keys), faults=o.faults, crashes=o.crashes, frees=o.frees)

    def _doing(self, state: State, number: int) -> Any:
        return doing(number, self.o.keys[number], self.o.until, state.commands[number].told)

    def is_alive(self, state: State, number: int) -> bool:
        command = state.commands[number]
        return not (command.dead or command.away or isinstance(self._doing(state, number), KeyVerdict))

    # What may happen.

    def _after(self, state: State) -> Iterator[tuple[str, State]]:
        for n, write in enumerate(state.late):
            rest = state._replace(late=state.late[:n] + state.late[n + 1 :])
            if write[0] == "trigger":
                yield f"late: the run of {write[1]}", rest._replace(runs=(*rest.runs, (write[1], write[2])))
            else:
                yield f"late: {_words(write[1])}", self._write(rest, *write[1:])[0]
        if self.o.by_hand and (HAND, HAND) not in state.runs:
            yield "a run is started by hand", state._replace(runs=(*state.runs, (HAND, HAND)))
        for n in range(len(state.runs)) if self.o.until else ():
            if n not in state.failed:
                yield f"run {n} fails", state._replace(failed=tuple(sorted((*state.failed, n))))
        for number in range(len(state.commands)):
            if self.is_alive(state, number):
                if state.crashes and state.commands[number].told:
                    dead = state.commands[number]._replace(dead=True)
                    yield f"{number} is killed", put(state, number, dead)._replace(crashes=state.crashes - 1)
                yield from self._step(state, number)
        if state.frees:
            for key, slot in enumerate(state.slots):
                if slot is not None and slot.record.state == "sending" and self._was_told(state, key):
                    freed = slot.record.freed
                    assert freed is not None
                    done = self._write(state, Move(slot, freed), key)[0]
                    yield f"a person frees key {key}", done._replace(frees=state.frees - 1, decided=True)

    def _was_told(self, state: State, key: int) -> bool:
        """Whether a command ended in 9 for a key: only then a person thinks of freeing it."""
        ended = [self._doing(state, n) for n, of in enumerate(self.o.keys) if of == key]
        return any(isinstance(each, KeyVerdict) and each.how in ("abandoned", "triggered") for each in ended)

    def _write(self, state: State, step: Any, key: int) -> tuple[State, Any]:
        """Do a write where it holds. Return the state, and what the store answers."""
        there = state.slots[key]
        if isinstance(step, Take):
            if there is not None and not self.o.breaks:
                return state, None
            put: StoredKey | None = StoredKey(str(state.next_id), step.record, content(step.record))
            state = state._replace(next_id=state.next_id + 1)
        elif there != step.found:
            return state, None if isinstance(step, Move) else False
        elif isinstance(step, Move):
            put = StoredKey(step.found.id, step.record, content(step.record))
        else:
            put = None
        seen = state.seen
        if self.o.stale:
            seen = tuple(dict.fromkeys((*seen, there)))
        state = state._replace(slots=(*state.slots[:key], put, *state.slots[key + 1 :]), seen=seen)
        return state, put or True

    def _step(self, state: State, number: int) -> Iterator[tuple[str, State]]:
        step, key, me = self._doing(state, number), self.o.keys[number], state.commands[number]
        has_sent = any(isinstance(one, SendTrigger) for one in self._done(number, me.told))

        def told(state: State, answer: Any, **how: Any) -> State:
            moved: State = put(state, number, Command((*me.told, answer), **how))
            return moved

        said = f"{number} {_words(step)}"
        match step:
            case Take() | Move() | Free():
                done, answer = self._write(state, step, key)
                refused = False if isinstance(step, Free) else None
                yield f"{said}: {'done' if answer else 'refused'}", told(done, answer)
                if state.faults:
                    less = state._replace(faults=state.faults - 1)
                    yield f"{said}: lost, done", told(self._write(less, step, key)[0], refused)
                    yield f"{said}: lost, not done", told(less, refused)
                    late = tuple(sorted((*less.late, ("write", step, key)), key=repr))
                    yield f"{said}: lost, late", told(less._replace(late=late), refused)
                    if not has_sent:
                        yield from self._gives_up(less, number, f"{said}: not reached")
            case Read() | Watch():
                if state.faults and has_sent:
                    yield f"{said}: silence", told(state._replace(faults=state.faults - 1), UNREAD)
                elif state.faults:
                    yield from self._gives_up(state._replace(faults=state.faults - 1), number, f"{said}: silence")
                old = state.seen if self.o.stale else ()
                for shown in dict.fromkeys((state.slots[key], *old)):
                    if isinstance(step, Read) or shown != step.found:
                        yield f"{said}: {shown_as(shown)}", told(state, shown)
                    elif self.o.slow or self.o.stale or not self._may_go_on(state, step):
                        yield f"{said}: unchanged", told(state, shown)
            case SendTrigger() if me.looking:
                run = self._adopted(state, number)
                yield f"{number} looks: {run}", told(state, UNKNOWN if run is None else Started(run, True))
                yield f"{number} does not look", told(state, UNKNOWN)
            case SendTrigger():
                new = (number, key)
                started = state._replace(runs=(*state.runs, new))
                yield f"{said}: started", told(started, Started(str(len(state.runs))))
                if state.faults:
                    less, looks = state._replace(faults=state.faults - 1), me._replace(looking=True)
                    yield f"{said}: refused", told(less, NOTHING)
                    yield f"{said}: lost, not done", put(less, number, looks)
                    yield f"{said}: lost, done", put(less._replace(runs=(*less.runs, new)), number, looks)
                    late = (*less.late, ("trigger", number, key))
                    yield f"{said}: lost, late", put(less._replace(late=late), number, looks)
            case LookForRun():
                run = self._adopted(state, number)
                yield f"{said}: {run}", told(state, None if run is None else Started(run, True))
            case HasFailed():
                has = step.found.record.run is not None and int(step.found.record.run) in state.failed
                yield f"{said}: {has}", told(state, has)

    def _gives_up(self, state: State, number: int, said: str) -> Iterator[tuple[str, State]]:
        """Let a command end that has sent nothing, as the program does: it may let go of its claim, or try to."""
        me, key = state.commands[number], self.o.keys[number]
        state = put(state, number, me._replace(away=True))
        yield f"{said}, gives up", state
        claim = self._unused_claim(number, me.told)
        if claim is not None:
            unused = claim.record.unused
            step = Free(claim) if unused is None else Move(claim, unused)
            yield f"{said}, lets go", self._write(state, step, key)[0]
            if state.faults:
                late = tuple(sorted((*state.late, ("write", step, key)), key=repr))
                yield f"{said}, lets go, late", state._replace(late=late, faults=state.faults - 1)

    def _unused_claim(self, number: int, told: tuple[Any, ...]) -> StoredKey | None:
        """Return a command's own claim, as far as it was told of one."""
        claim: StoredKey | None = None
        for step, answer in zip(self._done(number, told), told, strict=True):
            if isinstance(step, Take) or (isinstance(step, Move) and step.record.state == "claimed"):
                claim = answer
        return claim

    def _done(self, number: int, told: tuple[Any, ...]) -> list[Any]:
        """Return the steps that a command has made."""
        return [doing(number, self.o.keys[number], self.o.until, told[:n]) for n in range(len(told))]

    def _may_go_on(self, state: State, step: Watch) -> bool:
        """Whether the owner of what is watched is alive: it goes on before it seems abandoned."""
        owners = [n for n, key in enumerate(self.o.keys) if claim(n, key).owner == step.found.record.owner]
        return any(self.is_alive(state, n) for n in owners)

    def _adopted(self, state: State, number: int) -> str | None:
        """Return the one run that the list shows, where it may be adopted."""
        others = [slot.record for slot in state.slots if slot is not None]
        mine = claim(number, self.o.keys[number])
        named = {run for other in others for run in (other.before if other.name == mine.name else other.runs)}
        left = [str(n) for n in range(len(state.runs)) if str(n) not in named]
        if len(left) != 1 or why_not_adopted(left[0], mine, others) is not None:
            return None
        return left[0]

    # What must hold.

    def _check(self, state: State) -> None:
        starts = Counter(
            run[1] for n, run in enumerate(state.runs) if run[0] != HAND and not (self.o.until and n in state.failed)
        )
        if any(count > 1 for count in starts.values()):
            self._wrong("started twice after a decision" if state.decided else "started twice", state)
        if any(self.is_alive(state, n) for n in range(len(state.commands))):
            return
        self.seen.ended += 1
        for number, key in enumerate(self.o.keys):
            if not state.commands[number].dead:
                self._check_ended(state, number, key)
        if not state.late:
            for key in range(len(state.slots)):
                self._check_next(state, key)

    def _check_ended(self, state: State, number: int, key: int) -> None:
        verdict = self._doing(state, number)
        told = state.commands[number].told
        if state.commands[number].away:
            self.seen.verdicts["away"] += 1
            if any(run[0] == number for run in state.runs):
                self._wrong("gave up, and a run was started", state)
            return
        self.seen.verdicts[verdict.how] += 1
        own = [str(n) for n, run in enumerate(state.runs) if run[0] == number]
        faultless = (state.faults, state.crashes, self.o.slow) == (self.o.faults, self.o.crashes, False)
        if own and (verdict.how != "triggered" or NOTHING in told):
            self._wrong("told that nothing was started, and a run was", state)
        if verdict.how in ("abandoned", "busy") and faultless and not self.o.stale:
            self._wrong(f"{verdict.how}, though nothing failed", state)
        run = verdict.found and verdict.found.record.run
        if run is not None and state.runs[int(run)][1] not in (key, HAND) and not state.decided:
            self._wrong("answered with the run of another key", state)
        reply = next((one for one in told if isinstance(one, Started) and not one.adopted), None)
        there = state.slots[key]
        is_noted = reply and verdict.noted and not state.decided and not self.o.until
        if reply and is_noted and (there is None or there.record.run != reply.run):
            self._wrong("the store names another run than the response", state)

    def _check_next(self, state: State, key: int) -> None:
        """A next command, alone and without faults, must be decided: no key is stuck without a word."""
        number, ended = len(self.o.keys), state
        told: tuple[Any, ...] = ()
        for _ in range(60):
            step = doing(number, key, self.o.until, told)
            if isinstance(step, KeyVerdict):
                break
            match step:
                case Take() | Move() | Free():
                    state, answer = self._write(state, step, key)
                case Read() | Watch():
                    answer = state.slots[key]
                case SendTrigger():
                    answer = Started("0")
                case LookForRun():
                    answer = None
                case _:
                    answer = False
            told = (*told, answer)
        if not isinstance(step, KeyVerdict) or step.how not in ("answered", "triggered", "abandoned"):
            self._wrong("a key is stuck, and nobody is told what to do", ended)


def put(state: Any, number: int, command: Any) -> Any:
    """Return a state in which a command is so."""
    return state._replace(commands=(*state.commands[:number], command, *state.commands[number + 1 :]))


def shown_as(found: StoredKey | None) -> str:
    return "nothing" if found is None else f"{found.record.state} by {found.record.owner}"


def _words(step: Any) -> str:
    to = f" -> {step.record.state} of {step.record.owner}" if isinstance(step, Take | Move) else ""
    return f"{type(step).__name__.lower()}{to}"
