"""Every history of a few commands that queue for the slots of one group: the protocol itself is played.

As `histories` plays keys, breadth first: in each state every command may go on, be killed, or be told that its write
was lost, which was done, was not, or is done at any later time; a trigger may be refused, or be lost in the same three
ways. A run may end at any time. A command that finds no slot free goes on only once it sees something else.
"""

from collections.abc import Generator, Iterator
from functools import cache
from typing import Any, NamedTuple

from qoder_cli.keys.protocol import (
    ABANDONED,
    NOTHING,
    UNKNOWN,
    UNREAD,
    Free,
    KeyVerdict,
    LookForRun,
    Move,
    Read,
    SendTrigger,
    Started,
    Take,
    give_back,
    trigger_once,
    why_not_adopted,
)
from qoder_cli.keys.record import KeyRecord, StoredKey
from qoder_cli.keys.slots import LookAround, QueueStep, Slot, Wait, begin_sending, take_slot
from tests.support.histories import Exploration, content, put, shown_as

GROUP = "repo"
LONG = ABANDONED + 1
_TRIES = 3


class Options(NamedTuple):
    """What may happen. `most` has the N of each command."""

    most: tuple[int, ...] = (1, 1)
    faults: int = 1
    crashes: int = 1
    slow: bool = False  # commands that are alive may seem abandoned
    stale: bool = False  # reads may be of any age
    gives_back: bool = False  # a key may be answered by an earlier run, after the slot was taken
    breaks: str = ""  # what is made wrong: found, or the explorer sees nothing


class Command(NamedTuple):
    told: tuple[Any, ...] = ()
    looking: bool = False  # for the run of a lost trigger
    dead: bool = False
    away: bool = False


class State(NamedTuple):
    slots: tuple[StoredKey | None, ...]
    commands: tuple[Command, ...]
    late: tuple[Any, ...] = ()
    runs: tuple[int, ...] = ()  # by which command each was started
    over: tuple[int, ...] = ()  # those that have ended
    next_id: int = 1
    faults: int = 0
    crashes: int = 0
    seen: tuple[tuple[StoredKey | None, ...], ...] = ()  # what ever was there


class Ready(NamedTuple):
    """A slot was taken. Result: whether the trigger is about to be sent; otherwise the slot is given back."""

    found: StoredKey


class TakenOver(NamedTuple):
    """Another took the slot: the command queues again."""


def claim(number: int) -> KeyRecord:
    return KeyRecord("claimed", f"owner-{number}", f"slot {GROUP} 1", "dep_1", "host", group=GROUP)


def owner_of(record: KeyRecord) -> int:
    return int(record.owner.removeprefix("owner-"))


def through_queue(number: int, most: int) -> Generator[QueueStep | Ready | TakenOver, Any, KeyVerdict]:
    """Yield what a command does, as `fleet.queue.QueuedTrigger` does it."""
    taken_over: list[StoredKey] = []
    while True:
        taken = yield from take_slot(claim(number), most, taken_over)
        if not (yield Ready(taken)):
            return (yield from give_back(taken))
        sending = yield from begin_sending(taken, _TRIES)
        if sending is not None:
            return (yield from trigger_once(sending))
        taken_over.append(taken)
        yield TakenOver()


@cache
def doing(number: int, most: int, told: tuple[Any, ...]) -> Any:
    """Return what a command does next, or its verdict."""
    steps = through_queue(number, most)
    try:
        step = next(steps)
        for answer in told:
            step = steps.send(answer)
    except StopIteration as ended:
        return ended.value
    return step


class QueueExplorer(Exploration):
    """All states of commands that queue."""

    def __init__(self, options: Options, most: int = 3_000_000) -> None:
        super().__init__(most)
        self.o = options

    def _first(self) -> State:
        o = self.o
        return State((None,) * max(o.most), (Command(),) * len(o.most), faults=o.faults, crashes=o.crashes)

    def _doing(self, state: State, number: int) -> Any:
        return doing(number, self.o.most[number], state.commands[number].told)

    def is_alive(self, state: State, number: int) -> bool:
        command = state.commands[number]
        return not (command.dead or command.away or isinstance(self._doing(state, number), KeyVerdict))

    # What may happen.

    def _after(self, state: State) -> Iterator[tuple[str, State]]:
        for n, write in enumerate(state.late):
            rest = state._replace(late=state.late[:n] + state.late[n + 1 :])
            if write[0] == "trigger":
                yield f"late: the run of {write[1]}", rest._replace(runs=(*rest.runs, write[1]))
            else:
                yield f"late: {_words(write[1])}", self._write(rest, write[1])[0]
        for n in range(len(state.runs)):
            if n not in state.over:
                yield f"run {n} ends", state._replace(over=tuple(sorted((*state.over, n))))
        for number in range(len(state.commands)):
            if self.is_alive(state, number):
                if state.crashes and state.commands[number].told:
                    dead = state.commands[number]._replace(dead=True)
                    yield f"{number} is killed", put(state, number, dead)._replace(crashes=state.crashes - 1)
                yield from self._step(state, number)

    def _write(self, state: State, step: Any) -> tuple[State, Any]:
        """Do a write where it holds. Return the state, and what the store answers."""
        number = (step.record if isinstance(step, Take) else step.found.record).number
        there = state.slots[number - 1]
        if isinstance(step, Take):
            if there is not None and self.o.breaks != "creates":
                return state, None
            put: StoredKey | None = StoredKey(str(state.next_id), step.record, content(step.record))
            state = state._replace(next_id=state.next_id + 1)
        elif there != step.found:
            return state, None if isinstance(step, Move) else False
        elif isinstance(step, Move):
            put = StoredKey(step.found.id, step.record, content(step.record))
        else:
            put = None
        if self.o.stale:
            state = state._replace(seen=tuple(dict.fromkeys((*state.seen, state.slots))))
        return state._replace(slots=(*state.slots[: number - 1], put, *state.slots[number:])), put or True

    def _step(self, state: State, number: int) -> Iterator[tuple[str, State]]:
        step, me = self._doing(state, number), state.commands[number]
        has_sent = any(isinstance(one, SendTrigger) for one in self._done(number, me.told))

        def told(state: State, answer: Any) -> State:
            moved: State = put(state, number, Command((*me.told, answer)))
            return moved

        said = f"{number} {_words(step)}"
        match step:
            case Take() | Move() | Free():
                done, answer = self._write(state, step)
                refused = False if isinstance(step, Free) else None
                yield f"{said}: {'done' if answer else 'refused'}", told(done, answer)
                if state.faults:
                    less = state._replace(faults=state.faults - 1)
                    yield f"{said}: lost, done", told(self._write(less, step)[0], refused)
                    yield f"{said}: lost, not done", told(less, refused)
                    late = tuple(sorted((*less.late, ("write", step)), key=repr))
                    yield f"{said}: lost, late", told(less._replace(late=late), refused)
                    if not has_sent:
                        yield f"{said}: not reached", put(less, number, me._replace(away=True))
            case Read():
                if state.faults and has_sent:
                    yield f"{said}: silence", told(state._replace(faults=state.faults - 1), UNREAD)
                done = self._done(number, me.told)[-1]
                at = (done.record if isinstance(done, Take) else done.found.record).number - 1
                for shown in dict.fromkeys(slots[at] for slots in (state.slots, *state.seen)):
                    yield f"{said}: {shown_as(shown)}", told(state, shown)
            case LookAround():
                for slots in dict.fromkeys((state.slots, *state.seen)):
                    for slots_seen in self._views(state, number, slots):
                        yield f"{said}: {_listed(slots_seen)}", told(state, slots_seen)
            case Wait():
                if self._sees_other(state, number):
                    done_steps = self._done(number, me.told)
                    is_new = not any(isinstance(one, LookForRun | TakenOver) for one in done_steps)
                    again = Command(() if is_new else (*me.told, None))
                    yield f"{said}: over", put(state, number, again)
            case Ready():
                yield f"{said}: sends", told(state, True)
                if self.o.gives_back:
                    yield f"{said}: its key is answered", told(state, False)
            case TakenOver():
                yield said, told(state, None)
            case SendTrigger() if me.looking:
                run = self._adopted(state, claim(number)._replace(key=step.found.record.key))
                yield f"{number} looks: {run}", told(state, UNKNOWN if run is None else Started(run, True))
                yield f"{number} does not look", told(state, UNKNOWN)
            case SendTrigger():
                yield f"{said}: started", told(self._run(state, number), Started(str(len(state.runs))))
                if state.faults:
                    less, looks = state._replace(faults=state.faults - 1), me._replace(looking=True)
                    yield f"{said}: refused", told(less, NOTHING)
                    yield f"{said}: lost, not done", put(less, number, looks)
                    yield f"{said}: lost, done", put(self._run(less, number), number, looks)
                    late = (*less.late, ("trigger", number))
                    yield f"{said}: lost, late", put(less._replace(late=late), number, looks)
            case LookForRun(found):
                run = self._adopted(state, found.record)
                yield f"{said}: {run}", told(state, None if run is None else Started(run, True))

    def _run(self, state: State, number: int) -> State:
        return state._replace(runs=(*state.runs, number))

    def _views(self, state: State, number: int, slots: tuple[StoredKey | None, ...]) -> Iterator[tuple[Slot, ...]]:
        """Yield what a command may see of the slots: unchanged for long, where their owner is not alive."""
        views: list[tuple[Slot, ...]] = [()]
        for found in filter(None, slots):
            record = found.record
            is_over = record.run is not None and int(record.run) in state.over
            may_seem = self.o.slow or not self._owner_is_alive(state, found)
            ages = [LONG] if may_seem and record.state in ("claimed", "sending") else [0.0]
            if self.o.slow and ages == [LONG]:
                ages = [0.0, LONG]
            if self.o.breaks == "time":
                is_over = record.state == "started"
            views = [(*view, Slot(found, age, is_over)) for view in views for age in ages]
        yield from views

    def _owner_is_alive(self, state: State, found: StoredKey) -> bool:
        number = owner_of(found.record)
        return number < len(state.commands) and self.is_alive(state, number)

    def _sees_other(self, state: State, number: int) -> bool:
        """Whether a command that waits would see something else than when it looked last."""
        told = state.commands[number].told
        done = self._done(number, told)
        at = max(n for n, one in enumerate(done) if isinstance(one, LookAround))
        last = told[at]
        if any(isinstance(one, Take | Move | Free) for one in done[at:]):
            return True  # what it tried was refused, or lost
        return any(view != last for view in self._views(state, number, state.slots))

    def _done(self, number: int, told: tuple[Any, ...]) -> list[Any]:
        return [doing(number, self.o.most[number], told[:n]) for n in range(len(told))]

    def _adopted(self, state: State, mine: KeyRecord) -> str | None:
        """Return the one run that the list shows, where it may be adopted."""
        others = [slot.record for slot in state.slots if slot is not None]
        named = {run for other in others for run in (other.before if other.is_about(mine) else other.runs)}
        left = [str(n) for n in range(len(state.runs)) if str(n) not in named]
        if len(left) != 1 or why_not_adopted(left[0], mine, others) is not None:
            return None
        return left[0]

    # What must hold.

    def _check(self, state: State) -> None:
        if len(state.runs) - len(state.over) > max(self.o.most):
            self._wrong("more than N at once", state)
        if any(self.is_alive(state, n) and not self._is_waiting(state, n) for n in range(len(state.commands))):
            return
        if state.late or len(state.over) < len(state.runs):
            return
        self.seen.ended += 1
        for number, command in enumerate(state.commands):
            if command.dead or command.away:
                continue
            doubtful = sum(slot is not None and slot.record.state == "sending" for slot in state.slots)
            if self.is_alive(state, number):
                held = sum(slot is not None and slot.record.state != "free" for slot in state.slots)
                if doubtful < self.o.most[number] and held < self.o.most[number]:
                    self._wrong("waits, though a slot is free", state)
                continue
            verdict = self._doing(state, number)
            self.seen.verdicts[verdict.how] += 1
            own = [n for n, owner in enumerate(state.runs) if owner == number]
            if own and NOTHING in command.told:
                self._wrong("told that nothing was started, and a run was", state)
        self._check_next(state)

    def _is_waiting(self, state: State, number: int) -> bool:
        return isinstance(self._doing(state, number), Wait) and not self._sees_other(state, number)

    def _check_next(self, state: State) -> None:
        """A next command, alone and without faults, gets a slot, or is told which ones are in doubt."""
        number, ended, most = len(self.o.most), state, max(self.o.most)
        told: tuple[Any, ...] = ()
        for _ in range(200):
            step = doing(number, most, told)
            if isinstance(step, KeyVerdict):
                return
            answer: Any = None
            match step:
                case Take() | Move() | Free():
                    state, answer = self._write(state, step)
                case Read():
                    done = doing(number, most, told[:-1])
                    answer = state.slots[(done.record if isinstance(done, Take) else done.found.record).number - 1]
                case LookAround():
                    answer = tuple(
                        Slot(slot, LONG, slot.record.run is not None) for slot in state.slots if slot is not None
                    )
                case LookForRun(found):
                    run = self._adopted(state, found.record)
                    answer = None if run is None else Started(run, True)
                case Ready():
                    answer = True
                case SendTrigger():
                    answer = Started("99")
                case Wait():
                    if all(slot is not None and slot.record.state == "sending" for slot in state.slots):
                        return self._check_told(ended)
            told = (*told, answer)
        self._wrong("the group is stuck, and nobody is told why", ended)

    def _check_told(self, state: State) -> None:
        """Each slot in doubt is that of a command that was killed, or that was told so."""
        for slot in filter(None, state.slots):
            owner = owner_of(slot.record)
            command = state.commands[owner]
            is_told = UNKNOWN in command.told or command.dead or command.away
            verdict = self._doing(state, owner)
            if not is_told and not (isinstance(verdict, KeyVerdict) and not verdict.noted):
                self._wrong("a slot is lost without a word", state)


def _listed(slots: tuple[Slot, ...]) -> str:
    return ", ".join(f"{shown_as(slot.stored)} for {slot.unchanged:.0f} s" for slot in slots) or "nothing"


def _words(step: Any) -> str:
    to = ""
    if isinstance(step, Take | Move):
        to = f" {step.record.number} -> {step.record.state} of {step.record.owner}"
    return f"{type(step).__name__.lower()}{to}"
