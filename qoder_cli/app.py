"""What one invocation has, each part built on first use, so that a test can pass its own."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from qoder_cli.base.errors import InternalError, QoderError, broken_down
from qoder_cli.base.ids import noun, with_version
from qoder_cli.base.model import text
from qoder_cli.base.times import CLOCK_AHEAD, Clock, parse_when, utc_text
from qoder_cli.base.tokens import encoded
from qoder_cli.output.screen import Screen, write_error
from qoder_cli.settings.values import Flags, is_on, repeated

if TYPE_CHECKING:
    import httpx

    from qoder_cli.base.model import Run
    from qoder_cli.http.client import Client
    from qoder_cli.local.remembered import SeenNames
    from qoder_cli.local.store import Store
    from qoder_cli.output.cells import Fields
    from qoder_cli.output.data import Output
    from qoder_cli.output.progress import Progress
    from qoder_cli.settings.config import Settings


T = TypeVar("T")

# Variables that hold tokens.
_TOKENS = ("QODER_PAT", "QODER_ACCESS_TOKEN", "QODER_PERSONAL_ACCESS_TOKEN", "QODER_REPO_TOKEN", "QODER_SA_KEY")
_SHORTEST_TOKEN = 8  # characters; what is shorter may be part of other words


@dataclass(eq=False, repr=False)
class Tracked:
    """The runs that an invocation is about, as far as they are known by now.

    What starts, reads and awaits runs records them here, so that a signal, a bug or --ci finds them however the
    command ends. Keyed by position on the command line.
    """

    typed: "Sequence[str] | str" = "-"  # the runs or deployments: one, or several, each told of by itself
    started: "list[Run]" = field(default_factory=list)  # what was triggered
    observer: Any = None  # of the one run: a runs.observe.Observer
    retries: dict[str, str] = field(default_factory=dict)  # runs that were started here, to those they retry
    already_started: set[str] = field(default_factory=set)  # runs that keys had before: this command started none
    ids: dict[int, tuple[str, str | None]] = field(default_factory=dict)  # of runs and sessions
    items: dict[int, Any] = field(default_factory=dict)  # what became of each: a runs.ending.Ended
    announce: Callable[[], None] = lambda: None  # called when ids are known: --ci reports them
    awaits: bool = False  # whether a wait for them has begun
    notified: set[tuple[str, ...]] = field(default_factory=set)  # asks of which --notify has told
    said: bool = False  # whether a terminal was told the one run's id and deployment a moment ago

    def begun(self, run_id: str, session_id: str | None = None, *, number: int = 0) -> None:
        """Record a run that is about to be waited for."""
        self.ids[number] = run_id, session_id
        self.announce()

    def ended(self, item: Any, *, number: int = 0) -> None:
        """Record what became of one."""
        self.items[number] = item
        if item.found is not None:
            self.ids[number] = item.found.id, item.found.session_id

    @property
    def run_ids(self) -> list[str]:
        """The ids of the runs, as far as they are known."""
        if self.run:
            return [self.run.id]
        return [id for id, _ in self.ids.values()]

    @property
    def run(self) -> "Run | None":
        """The newest reading of the one run; None if there is none."""
        if not isinstance(self.typed, str):
            return None
        observed: Run | None = self.observer and self.observer.run
        return observed or next(reversed(self.started), None)


@dataclass(eq=False, repr=False)
class Replies:
    """What a person, or a policy, has replied to calls."""

    answered: dict[str, str | None] = field(default_factory=dict)  # the calls, with what said that they wait
    refused: Counter[str] = field(default_factory=Counter)  # how often the answer to a call was
    notes: set[str] = field(default_factory=set)  # what was said of calls that nobody answered here
    guards: list[Any] = field(default_factory=list)  # the one policy.rules.Policy of the profile, once it is read


@dataclass(frozen=True, eq=False, repr=False)
class App:
    """One invocation: environment, streams, clock, options, and what is made from them."""

    env: Mapping[str, str]
    out: Screen
    err: Screen
    stdin: IO[str] | None = None
    clock: Clock = field(default_factory=Clock)
    program: str = "qoder"
    transport: "httpx.BaseTransport | None" = None
    flags: Flags = field(default_factory=Flags)
    tracked: Tracked = field(default_factory=Tracked)
    replies: Replies = field(default_factory=Replies)
    shared_keys: list[Any] = field(default_factory=list)  # the one keys.record.KeyStore, once it is open

    def __post_init__(self) -> None:
        self.keep_secrets()

    def keep_secrets(self, *tokens: str | None) -> set[str]:
        """Keep these tokens, and those in variables, out of stderr, however spelled. Return all of them."""
        all_tokens = filter(None, (*tokens, *map(self.env.get, _TOKENS)))
        secrets = {secret for token in all_tokens if len(secret := token.strip()) >= _SHORTEST_TOKEN}
        self.err.keep_secrets([form for secret in secrets for form in (secret, *encoded(secret))])
        return secrets

    @classmethod
    def of_this_process(cls) -> "App":
        program = Path(sys.argv[0]).stem
        return cls(
            env=os.environ,
            out=Screen.of(sys.stdout, os.environ),
            err=Screen.of(sys.stderr, os.environ),
            stdin=sys.stdin,
            program=program if program in ("qoder", "qoder-cli") else "qoder",
        )

    @cached_property
    def settings(self) -> "Settings":
        """The settings. Raises UsageError, also for a sandbox whose state is outside."""
        from qoder_cli.settings.config import resolve

        settings = resolve(self.flags, self.env)
        if settings.sandbox:
            from qoder_cli.local.store import check_seal

            check_seal(self.env)  # here: before a request is sent and the store opened
        self.keep_secrets(settings.token, settings.account and settings.account.key)
        for warning in settings.warnings:
            self.progress.warn(warning)
        return settings

    @cached_property
    def client(self) -> "Client":
        """The HTTP client for the chosen server. Raises AuthError without a token."""
        from qoder_cli.http.client import Client

        return Client(
            self.settings,
            clock=self.clock,
            progress=self.progress,
            transport=self.transport,
            debug=self.flags.debug,
            keep=self.keep_secrets,
        )

    @property
    def server_now(self) -> float:
        """The server's clock in unix seconds, as far as it is known: ours, before the first response."""
        if "client" in vars(self):
            return self.client.server_now()
        return self.clock.now()

    def when(self, text: str, *, option: str) -> datetime:
        """Return the moment that was typed for an option; an age counts from `server_now`. Raises UsageError."""
        now = self.server_now
        return parse_when(text, option=option, now=now, latest=max(now, self.clock.now()))

    def by_server_clock(self, ask: Callable[[], T]) -> T:
        """Return what `ask` returns, which reads times with `when`.

        If the response shows that our clock is over a minute wrong, so were the times: it is asked once more.
        """
        before = self.server_now
        answer = ask()
        if abs(before - self.server_now) > CLOCK_AHEAD:
            answer = ask()
        return answer

    @property
    def writes(self) -> "Sequence[Any]":
        """Each `http.write.Write` that was sent so far."""
        if "client" in vars(self):
            return self.client.writes
        return ()

    @cached_property
    def output(self) -> "Output":
        from qoder_cli.output.data import Output

        output = Output(self.out, self.flags.output)
        output.on_shortened = self._remember_shown
        return output

    @cached_property
    def progress(self) -> "Progress":
        from qoder_cli.output.progress import Progress

        quiet = self.flags.no_progress or is_on(self.env, "QODER_NO_PROGRESS")
        rings = self.flags.bell or is_on(self.env, "QODER_BELL")
        return Progress(self.err, clock=self.clock, quiet=quiet, rings=rings)

    @cached_property
    def store(self) -> "Store":
        from qoder_cli.local.store import Store

        return Store(self.env, warn=self.progress.warn, shares_keys=lambda: self.settings.keys is not None)

    @cached_property
    def seen_names(self) -> "SeenNames":
        """Names, as this machine saw them."""
        from qoder_cli.local.remembered import SeenNames

        return SeenNames(self.store, self.settings)

    def named(self, run: "Run") -> "Run":
        """Return a run with what this machine knows of it. Nothing is requested."""
        with suppress(ImportError, OSError):  # the program's files may be gone; the run is shown all the same
            id = text(run.raw.get("id"))  # a list may hold anything
            retry_of = self.tracked.retries.get(id or "") or self.seen_names.retries.get(id or "")
            return replace(
                run,
                name_seen=self.seen_names.name_of(run.deployment_id),
                retry_of=retry_of,
                already_started=id in self.tracked.already_started,
            )
        return run

    def _remember_shown(self, ids: "Sequence[str]") -> None:
        from qoder_cli.local.remembered import remember

        at = utc_text(self.clock.now())
        things = [({"id": with_version(id)[0], "created_at": at}, None) for id in ids]
        remember(self.store, self.settings, "shown", things)

    def connect(self) -> "tuple[Client, Store]":
        """Return client and store, made now, before threads make one each. Raises AuthError."""
        return self.client, self.store

    def pace_reads(self) -> None:
        """Space this command's reads from now on, because it makes very many."""
        from qoder_cli.http.pace import READS_PER_SECOND, Pace

        self.client.take_turn = Pace(self.clock, per_second=READS_PER_SECOND).wait_turn

    @property
    def is_piped_into(self) -> bool:
        """Whether standard input is open and not a terminal."""
        return self.stdin is not None and not self.stdin.isatty()

    @property
    def may_ask(self) -> bool:
        """Whether a question can be asked: a terminal at both ends, and nothing forbids it."""
        forbidden = self.flags.no_input or is_on(self.env, "QODER_NO_INPUT") or is_on(self.env, "CI")
        return bool(self.stdin and self.stdin.isatty() and self.err.is_terminal and not forbidden)

    def command(self, *words: str) -> list[str]:
        """Return a command to type next, with the options for profile, host and format."""
        return [self.program, *words, *repeated(self.flags, output=self.flags.output)]

    def wait_again(self, *runs: str) -> list[str]:
        """Return the command that resumes this wait."""
        return self.command(noun(runs[0]), self.flags.wait_verb, *runs, *self.flags.wait_options)

    def looking(self, *words: str) -> list[str]:
        """Return a command to look with, as a table even with -q, or with a format that not all commands have."""
        if self.flags.output in ("id", "csv"):
            return [self.program, *words, *repeated(self.flags)]
        return self.command(*words)

    def print_run(self, run: "Run", fields: "Fields | None" = None) -> None:
        """Print a run with these fields, as JSON without any. Raises InternalError, which names it."""
        from qoder_cli.base.outcome import is_going

        run = self.named(run)
        try:
            self.output.record(fields or {}, data=run.as_json(), id=run.id)
        except InternalError as error:  # a full disk does not make the run unknown
            run_state = "going" if is_going(run) else "ended"
            raise error.with_(run_id=run.id, session_id=run.session_id, run_state=run_state) from error

    def report(self, error: QoderError) -> None:
        from qoder_cli.settings.config import resolve

        with suppress(Exception):  # the token may have been typed by mistake; the settings may be what is wrong
            self.keep_secrets(resolve(self.flags, self.env).token)
        write_error(error, self.err, self.flags.output)

    def broken_down(self, failure: BaseException) -> InternalError:
        """Return the error for an exception that nobody expected, with what waits for the runs that may go on."""
        runs = self.tracked.run_ids
        error = broken_down(failure, runs)
        if runs:
            return error.with_(next=self.wait_again(*runs))
        return error

    def close(self) -> None:
        if "client" in self.__dict__:
            self.client.close()
        if "store" in self.__dict__:
            self.store.close()
