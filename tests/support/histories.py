"""Every history of a few commands under shared keys, or in a queue: the protocol itself is played, over one store.

Breadth first, so that what is found is a shortest history. A command is what it was told so far: what it does next
follows from that alone. In each state every command may go on, be killed, or be told that its write was lost, and then
the write was done, was not, or is done at any later time. A trigger may be refused, or be lost in the same three ways.
Where the store says nothing to a read, or cannot be reached, the command gives up before the trigger; afterwards it
goes on without the store. `Explorer` plays keys, `QueueExplorer` the slots of one group.
"""

from collections import Counter, deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from qoder_cli.keys.protocol import (
    ABANDONED,
    NOTHING,
    UNKNOWN,
    UNREAD,
    HasFailed,
    KeyVerdict,
    LookForRun,
    Put,
    Read,
    SendTrigger,
    Started,
    Watch,
    give_back,
    settle,
    start_once,
    why_not_adopted,
)
from qoder_cli.keys.record import KeyRecord, StoredKey
from qoder_cli.keys.slots import LookAround, QueueStep, Slot, Wait, begin_sending, take_slot

HAND = "by hand"
GROUP = "repo"
LONG = ABANDONED + 1
_TRIES = 4  # fewer than a command makes: more of them only repeat what was seen
_SLOT_TRIES = 3
_STEPS = 200  # of a next command, by which it is decided


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
    breaks: str = ""  # `creates`: the store lets two creates both succeed: found, or the explorer sees nothing


class QueueOptions(NamedTuple):
    """What may happen in a queue. `most` has the N of each command."""

    most: tuple[int, ...] = (1, 1)
    faults: int = 1
    crashes: int = 1
    slow: bool = False
    stale: bool = False
    gives_back: bool = False  # a key may be answered by an earlier run, after the slot was taken
    breaks: str = ""  # `creates`, or `time`: slots are freed by time


class Command(NamedTuple):
    """What a command was told; whether it looks for the run of a lost trigger; how it is."""

    told: tuple[Any, ...] = ()
    looking: bool = False
    dead: bool = False
    away: bool = False  # it gave up, because the store was silent


class State(NamedTuple):
    """One moment. A place is the number of a key, or of a slot."""

    slots: tuple[StoredKey | None, ...]
    commands: tuple[Command, ...]
    late: tuple[Any, ...] = ()  # writes of the store, and triggers, that may still be done
    runs: tuple[tuple[Any, ...], ...] = ()  # command and place of each
    over: tuple[int, ...] = ()  # runs that have failed, or in a queue ended
    next_id: int = 1
    faults: int = 0
    crashes: int = 0
    frees: int = 0
    decided: bool = False  # a person freed a key
    seen: tuple[tuple[StoredKey | None, ...], ...] = ()  # what was ever there, for reads that are stale


@cache
def claim_of(number: int, key: str, group: str = "") -> KeyRecord:
    return KeyRecord("claimed", f"owner-{number}", key, "dep_1", "host", group=group)


@cache
def content(record: KeyRecord) -> str:
    """Return what a store keeps of a record: the same few again and again."""
    return record.content


def _after_all(steps: Generator[Any, Any, Any], told: tuple[Any, ...]) -> Any:
    """Return what comes after these answers: a step, or the verdict."""
    try:
        step = next(steps)
        for answer in told:
            step = steps.send(answer)
    except StopIteration as ended:
        return ended.value
    return step


@cache
def _under_key(claim: KeyRecord, until: bool, told: tuple[Any, ...]) -> Any:
    return _after_all(start_once(claim, until_completed=until, most_tries=_TRIES), told)


@cache
def _in_queue(claim: KeyRecord, most: int, told: tuple[Any, ...]) -> Any:
    return _after_all(through_queue(claim, most), told)


@dataclass
class Seen:
    """What an exploration has found: a shortest history of each kind of wrong."""

    states: int = 0
    ended: int = 0
    whole: bool = True
    wrong: dict[str, list[str]] = field(default_factory=dict)


class Exploration:
    """All states that can be reached from a first one."""

    def __init__(self, options: Any, places: int, count: int, most: int) -> None:
        self.o = options
        self.most = most
        self.came: dict[Any, tuple[Any, str] | None] = {}
        self.seen = Seen()
        self._first = State((None,) * places, (Command(),) * count, faults=options.faults, crashes=options.crashes)

    def explore(self) -> Seen:
        self.came = {self._first: None}
        todo = deque([self._first])
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
        if what not in self.seen.wrong and state in self.came:
            path = []
            while (came := self.came[state]) is not None:
                state, label = came
                path.append(label)
            self.seen.wrong[what] = path[::-1]

    # What differs between keys and slots.

    def _told(self, number: int, told: tuple[Any, ...]) -> Any:
        """Return what a command does next that was told this, or its verdict."""
        raise NotImplementedError

    def _claim(self, number: int) -> KeyRecord:
        raise NotImplementedError

    def _place(self, step: Any) -> int:
        """Return the place of a write."""
        raise NotImplementedError

    def _happens(self, state: State) -> Iterator[tuple[str, State]]:
        """Yield what happens beside the commands."""
        raise NotImplementedError

    def _own_step(self, state: State, number: int, step: Any, said: str) -> Iterator[tuple[str, State]]:
        """Yield what may come of a step that only these commands have."""
        raise NotImplementedError

    def _gives_up(self, state: State, number: int, said: str) -> Iterator[tuple[str, State]]:
        yield f"{said}, gives up", put(state, number, state.commands[number]._replace(away=True))

    def _check(self, state: State) -> None:
        raise NotImplementedError

    # What may happen.

    def _doing(self, state: State, number: int) -> Any:
        return self._told(number, state.commands[number].told)

    def is_alive(self, state: State, number: int) -> bool:
        command = state.commands[number]
        return not (command.dead or command.away or isinstance(self._doing(state, number), KeyVerdict))

    def _after(self, state: State) -> Iterator[tuple[str, State]]:
        for n, write in enumerate(state.late):
            rest = state._replace(late=state.late[:n] + state.late[n + 1 :])
            if write[0] == "trigger":
                yield f"late: the run of {write[1]}", rest._replace(runs=(*rest.runs, write[1:]))
            else:
                yield f"late: {_words(write[1])}", self._write(rest, write[1])[0]
        yield from self._happens(state)
        for number in range(len(state.commands)):
            if self.is_alive(state, number):
                if state.crashes and state.commands[number].told:
                    dead = state.commands[number]._replace(dead=True)
                    yield f"{number} is killed", put(state, number, dead)._replace(crashes=state.crashes - 1)
                yield from self._step(state, number)

    def _write(self, state: State, step: Any) -> tuple[State, Any]:
        """Do a write where it holds. Return the state, and what the store answers."""
        place = self._place(step)
        there = state.slots[place]
        kept: StoredKey | None = None
        if there != step.found and not (step.found is None and self.o.breaks == "creates"):
            return state, None
        if step.found is None:
            kept = StoredKey(str(state.next_id), step.record, content(step.record))
            state = state._replace(next_id=state.next_id + 1)
        elif step.record is not None:
            kept = StoredKey(step.found.id, step.record, content(step.record))
        if self.o.stale:
            state = state._replace(seen=tuple(dict.fromkeys((*state.seen, state.slots))))
        return state._replace(slots=(*state.slots[:place], kept, *state.slots[place + 1 :])), kept or step.found

    def _step(self, state: State, number: int) -> Iterator[tuple[str, State]]:
        step, me = self._doing(state, number), state.commands[number]
        has_sent = any(isinstance(one, SendTrigger) for one in self._done(number, me.told))
        said = f"{number} {_words(step)}"
        match step:
            case Put():
                done, answer = self._write(state, step)
                yield f"{said}: {'done' if answer else 'refused'}", told(done, number, answer)
                if state.faults:
                    less = state._replace(faults=state.faults - 1)
                    yield f"{said}: lost, done", told(self._write(less, step)[0], number, None)
                    yield f"{said}: lost, not done", told(less, number, None)
                    yield f"{said}: lost, late", told(_later(less, step), number, None)
                    if not has_sent:
                        yield from self._gives_up(less, number, f"{said}: not reached")
            case Read() | Watch():
                if state.faults and has_sent:
                    yield f"{said}: silence", told(state._replace(faults=state.faults - 1), number, UNREAD)
                elif state.faults:
                    yield from self._gives_up(state._replace(faults=state.faults - 1), number, f"{said}: silence")
                place = self._read_at(number, me.told)
                for shown in dict.fromkeys(slots[place] for slots in (state.slots, *state.seen)):
                    if isinstance(step, Read) or shown != step.found:
                        yield f"{said}: {shown_as(shown)}", told(state, number, shown)
                    elif self.o.slow or self.o.stale or not self._owner_is_alive(state, step.found):
                        yield f"{said}: unchanged", told(state, number, shown)
            case SendTrigger() if me.looking:
                run = self._adopted(state, step.found.record)
                yield f"{number} looks: {run}", told(state, number, UNKNOWN if run is None else Started(run, True))
                yield f"{number} does not look", told(state, number, UNKNOWN)
            case SendTrigger():
                new = number, self._place(step)
                started = state._replace(runs=(*state.runs, new))
                yield f"{said}: started", told(started, number, Started(str(len(state.runs))))
                if state.faults:
                    less, looks = state._replace(faults=state.faults - 1), me._replace(looking=True)
                    yield f"{said}: refused", told(less, number, NOTHING)
                    yield f"{said}: lost, not done", put(less, number, looks)
                    yield f"{said}: lost, done", put(less._replace(runs=(*less.runs, new)), number, looks)
                    yield f"{said}: lost, late", put(less._replace(late=(*less.late, ("trigger", *new))), number, looks)
            case LookForRun():
                run = self._adopted(state, step.found.record)
                yield f"{said}: {run}", told(state, number, None if run is None else Started(run, True))
            case _:
                yield from self._own_step(state, number, step, said)

    def _read_at(self, number: int, told: tuple[Any, ...]) -> int:
        """Return the place that a command reads: that of its last write."""
        return self._place(self._done(number, told)[-1])

    def _done(self, number: int, told: tuple[Any, ...]) -> list[Any]:
        """Return the steps that a command has made."""
        return [self._told(number, told[:n]) for n in range(len(told))]

    def _owner_is_alive(self, state: State, found: StoredKey) -> bool:
        """Whether the owner of what is kept is alive: it goes on before it seems abandoned."""
        number = owner_of(found.record)
        return number < len(state.commands) and self.is_alive(state, number)

    def _adopted(self, state: State, mine: KeyRecord) -> str | None:
        """Return the one run that the list shows, where it may be adopted."""
        others = [slot.record for slot in state.slots if slot is not None]
        named = {run for other in others for run in (other.before if other.is_about(mine) else other.runs)}
        left = [str(n) for n in range(len(state.runs)) if str(n) not in named]
        if len(left) != 1 or why_not_adopted(left[0], mine, others) is not None:
            return None
        return left[0]

    def _next(self, number: int, state: State) -> Any:
        """Return the last step of a next command, alone and without faults, and what is kept then: its verdict."""
        said: tuple[Any, ...] = ()
        for _ in range(_STEPS):
            step = self._told(number, said)
            if isinstance(step, KeyVerdict):
                break
            answer: Any = None
            match step:
                case Put():
                    state, answer = self._write(state, step)
                case Read() | Watch():
                    answer = state.slots[self._read_at(number, said)]
                case SendTrigger():
                    answer = Started("99")
                case _:
                    answer = self._answer_of_next(state, step)
            said = (*said, answer)
        return step, state

    def _answer_of_next(self, state: State, step: Any) -> Any:
        """Return what a next command is told where only these commands ask."""
        raise NotImplementedError


class Explorer(Exploration):
    """All states of commands under keys."""

    def __init__(self, options: Options, most: int = 4_000_000) -> None:
        super().__init__(options, max(options.keys) + 1, len(options.keys), most)
        self._first = self._first._replace(frees=options.frees)

    def _told(self, number: int, told: tuple[Any, ...]) -> Any:
        return _under_key(self._claim(number), self.o.until, told)

    def _claim(self, number: int) -> KeyRecord:
        """Return the claim of a command; beyond those that are played, of a next one under each key."""
        key = (*self.o.keys, *range(len(self._first.slots)))[number]
        return claim_of(number, f"key-{key}")

    def _place(self, step: Any) -> int:
        record = step.found.record if step.found is not None else step.record
        return int(record.key.removeprefix("key-"))

    def _read_at(self, number: int, told: tuple[Any, ...]) -> int:
        return int(self._claim(number).key.removeprefix("key-"))

    def _happens(self, state: State) -> Iterator[tuple[str, State]]:
        if self.o.by_hand and (HAND, HAND) not in state.runs:
            yield "a run is started by hand", state._replace(runs=(*state.runs, (HAND, HAND)))
        for n in range(len(state.runs)) if self.o.until else ():
            if n not in state.over:
                yield f"run {n} fails", _is_over(state, n)
        for key, slot in enumerate(state.slots if state.frees else ()):
            if slot is not None and slot.record.state == "sending" and self._was_told(state, key):
                done = self._write(state, Put(slot, slot.record.freed))[0]
                yield f"a person frees key {key}", done._replace(frees=state.frees - 1, decided=True)

    def _was_told(self, state: State, key: int) -> bool:
        """Whether a command ended in 9 for a key: only then a person thinks of freeing it."""
        ended = [self._doing(state, n) for n, of in enumerate(self.o.keys) if of == key]
        return any(isinstance(each, KeyVerdict) and each.how in ("abandoned", "triggered") for each in ended)

    def _own_step(self, state: State, number: int, step: Any, said: str) -> Iterator[tuple[str, State]]:
        assert isinstance(step, HasFailed)
        has = step.found.record.run is not None and int(step.found.record.run) in state.over
        yield f"{said}: {has}", told(state, number, has)

    def _gives_up(self, state: State, number: int, said: str) -> Iterator[tuple[str, State]]:
        """Let a command end that has sent nothing, as the program does: it may let go of its claim, or try to."""
        me = state.commands[number]
        state = put(state, number, me._replace(away=True))
        yield f"{said}, gives up", state
        claim: StoredKey | None = None  # its own, as far as it was told of one
        for step, answer in zip(self._done(number, me.told), me.told, strict=True):
            if isinstance(step, Put) and step.record is not None and step.record.state == "claimed":
                claim = answer
        if claim is not None:
            step = Put(claim, claim.record.unused)
            yield f"{said}, lets go", self._write(state, step)[0]
            if state.faults:
                yield f"{said}, lets go, late", _later(state, step)._replace(faults=state.faults - 1)

    # What must hold.

    def _check(self, state: State) -> None:
        starts = Counter(
            run[1] for n, run in enumerate(state.runs) if run[0] != HAND and not (self.o.until and n in state.over)
        )
        if any(count > 1 for count in starts.values()):
            self._wrong("started twice after a decision" if state.decided else "started twice", state)
        if any(self.is_alive(state, n) for n in range(len(state.commands))):
            return
        self.seen.ended += 1
        for number, key in enumerate(self.o.keys):
            if not state.commands[number].dead:
                self._check_ended(state, number, key)
        for key in range(len(state.slots)) if not state.late else ():
            step, _ = self._next(len(self.o.keys) + key, state)
            if not isinstance(step, KeyVerdict) or step.how not in ("answered", "triggered", "abandoned"):
                self._wrong("a key is stuck, and nobody is told what to do", state)

    def _check_ended(self, state: State, number: int, key: int) -> None:
        own = any(run[0] == number for run in state.runs)
        if state.commands[number].away:
            if own:
                self._wrong("gave up, and a run was started", state)
            return
        verdict, said = self._doing(state, number), state.commands[number].told
        faultless = (state.faults, state.crashes, self.o.slow) == (self.o.faults, self.o.crashes, False)
        if own and (verdict.how != "triggered" or NOTHING in said):
            self._wrong("told that nothing was started, and a run was", state)
        if verdict.how in ("abandoned", "busy") and faultless and not self.o.stale:
            self._wrong(f"{verdict.how}, though nothing failed", state)
        run = verdict.found and verdict.found.record.run
        if run is not None and state.runs[int(run)][1] not in (key, HAND) and not state.decided:
            self._wrong("answered with the run of another key", state)
        reply = next((one for one in said if isinstance(one, Started) and not one.adopted), None)
        there = state.slots[key]
        is_noted = reply and verdict.noted and not state.decided and not self.o.until
        if reply and is_noted and (there is None or there.record.run != reply.run):
            self._wrong("the store names another run than the response", state)

    def _answer_of_next(self, state: State, step: Any) -> Any:
        return None if isinstance(step, LookForRun) else False


class Ready(NamedTuple):
    """A slot was taken. Result: whether the trigger is about to be sent; otherwise the slot is given back."""

    found: StoredKey


class TakenOver(NamedTuple):
    """Another took the slot: the command queues again."""


def through_queue(claim: KeyRecord, most: int) -> Generator[QueueStep | Ready | TakenOver, Any, KeyVerdict]:
    """Yield what a command does, as `fleet.queue.HeldSlot` does it."""
    taken_over: list[StoredKey] = []
    while True:
        taken = yield from take_slot(claim, most, taken_over)
        if not (yield Ready(taken)):
            return (yield from give_back(taken))
        sending = yield from begin_sending(taken, _SLOT_TRIES)
        if sending is not None:
            return (yield from settle(sending, (yield SendTrigger(sending))))
        taken_over.append(taken)
        yield TakenOver()


class QueueExplorer(Exploration):
    """All states of commands that queue. One that finds no slot free goes on only once it sees something else."""

    def __init__(self, options: QueueOptions, most: int = 3_000_000) -> None:
        super().__init__(options, max(options.most), len(options.most), most)

    def _told(self, number: int, told: tuple[Any, ...]) -> Any:
        return _in_queue(self._claim(number), (*self.o.most, max(self.o.most))[number], told)

    def _claim(self, number: int) -> KeyRecord:
        return claim_of(number, f"slot {GROUP} 1", GROUP)

    def _place(self, step: Any) -> int:
        record: KeyRecord = step.found.record if step.found is not None else step.record
        return record.number - 1

    def _happens(self, state: State) -> Iterator[tuple[str, State]]:
        for n in range(len(state.runs)):
            if n not in state.over:
                yield f"run {n} ends", _is_over(state, n)

    def _own_step(self, state: State, number: int, step: Any, said: str) -> Iterator[tuple[str, State]]:
        match step:
            case LookAround():
                for slots in dict.fromkeys((state.slots, *state.seen)):
                    for view in self._views(state, slots):
                        shown = ", ".join(f"{shown_as(slot.stored)} for {slot.unchanged:.0f} s" for slot in view)
                        yield f"{said}: {shown or 'nothing'}", told(state, number, view)
            case Wait():
                if self._sees_other(state, number):
                    me = state.commands[number]
                    is_new = not any(isinstance(one, LookForRun | TakenOver) for one in self._done(number, me.told))
                    yield f"{said}: over", put(state, number, Command(() if is_new else (*me.told, None)))
            case Ready():
                yield f"{said}: sends", told(state, number, True)
                if self.o.gives_back:
                    yield f"{said}: its key is answered", told(state, number, False)
            case TakenOver():
                yield said, told(state, number, None)

    def _views(self, state: State, slots: tuple[StoredKey | None, ...]) -> list[tuple[Slot, ...]]:
        """Return what a command may see of the slots: unchanged for long, where their owner is not alive."""
        views: list[tuple[Slot, ...]] = [()]
        for found in filter(None, slots):
            record = found.record
            is_over = record.run is not None and int(record.run) in state.over
            ages = [0.0]
            if record.state in ("claimed", "sending"):
                if self.o.slow:
                    ages = [0.0, LONG]
                elif not self._owner_is_alive(state, found):
                    ages = [LONG]
            if self.o.breaks == "time":
                is_over = record.state == "started"
            views = [(*view, Slot(found, age, is_over)) for view in views for age in ages]
        return views

    def _sees_other(self, state: State, number: int) -> bool:
        """Whether a command that waits would see something else than when it looked last."""
        said = state.commands[number].told
        done = self._done(number, said)
        at = max(n for n, one in enumerate(done) if isinstance(one, LookAround))
        if any(isinstance(one, Put) for one in done[at:]):
            return True  # what it tried was refused, or lost
        return any(view != said[at] for view in self._views(state, state.slots))

    # What must hold.

    def _check(self, state: State) -> None:
        if len(state.runs) - len(state.over) > max(self.o.most):
            self._wrong("more than N at once", state)
        if any(self.is_alive(state, n) and not self._is_waiting(state, n) for n in range(len(state.commands))):
            return
        if state.late or len(state.over) < len(state.runs):
            return
        self.seen.ended += 1
        doubtful = sum(slot is not None and slot.record.state == "sending" for slot in state.slots)
        held = sum(slot is not None and slot.record.state != "free" for slot in state.slots)
        for number, command in enumerate(state.commands):
            if command.dead or command.away:
                continue
            if self.is_alive(state, number):
                if doubtful < self.o.most[number] and held < self.o.most[number]:
                    self._wrong("waits, though a slot is free", state)
            elif NOTHING in command.told and any(run[0] == number for run in state.runs):
                self._wrong("told that nothing was started, and a run was", state)
        self._check_next(state)

    def _is_waiting(self, state: State, number: int) -> bool:
        return isinstance(self._doing(state, number), Wait) and not self._sees_other(state, number)

    def _check_next(self, state: State) -> None:
        """A next command gets a slot, or each slot is in doubt, and its command was killed, or told so."""
        step, now = self._next(len(self.o.most), state)
        if isinstance(step, KeyVerdict):
            return
        if not all(slot is not None and slot.record.state == "sending" for slot in now.slots):
            self._wrong("the group is stuck, and nobody is told why", state)
            return
        for slot in filter(None, state.slots):
            owner = owner_of(slot.record)
            command, verdict = state.commands[owner], self._doing(state, owner)
            is_told = UNKNOWN in command.told or command.dead or command.away
            if not is_told and not (isinstance(verdict, KeyVerdict) and not verdict.noted):
                self._wrong("a slot is lost without a word", state)

    def _answer_of_next(self, state: State, step: Any) -> Any:
        match step:
            case LookAround():
                return tuple(Slot(slot, LONG, slot.record.run is not None) for slot in state.slots if slot is not None)
            case LookForRun(found):
                run = self._adopted(state, found.record)
                return None if run is None else Started(run, True)
            case Ready():
                return True
        return None


def put(state: Any, number: int, command: Any) -> Any:
    """Return a state in which a command is so."""
    return state._replace(commands=(*state.commands[:number], command, *state.commands[number + 1 :]))


def told(state: State, number: int, answer: Any) -> Any:
    """Return a state in which a command was told an answer."""
    return put(state, number, Command((*state.commands[number].told, answer)))


def _later(state: State, step: Any) -> State:
    return state._replace(late=tuple(sorted((*state.late, ("write", step)), key=repr)))


def _is_over(state: State, run: int) -> State:
    return state._replace(over=tuple(sorted((*state.over, run))))


def owner_of(record: KeyRecord) -> int:
    return int(record.owner.removeprefix("owner-"))


def shown_as(found: StoredKey | None) -> str:
    return "nothing" if found is None else f"{found.record.state} by {found.record.owner}"


def _words(step: Any) -> str:
    to = ""
    if isinstance(step, Put) and step.record is not None:
        to = f" {step.record.key} -> {step.record.state} of {step.record.owner}"
    return f"{type(step).__name__.lower()}{to}"
