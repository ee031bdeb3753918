"""The deployments that are there to try, each with a behaviour of its own."""

from dataclasses import dataclass

from qoder_cli.sandbox.scripts import Behaviour, Script, asking, exhausted, terminated, turn

_REPORT = "Status report: 2 commits since yesterday. Uploads are retried once. All checks pass."

DEMO = Behaviour(turn(seconds=3, message=_REPORT))


@dataclass(frozen=True, slots=True)
class Preset:
    """A deployment that exists when the sandbox starts. Its id is `dep_` and `word`."""

    word: str
    description: str
    behaviour: Behaviour = DEMO
    title: str | None = None
    cron: str | None = None
    paused: bool = False
    archived: bool = False
    budget: str | None = None  # in credits

    @property
    def id(self) -> str:
        """Return the readable id."""
        return f"dep_{self.word}"

    @property
    def name(self) -> str:
        """Return the name: the word, unless the preset has another title."""
        return self.title or self.word


def _acts(word: str, description: str, script: Script) -> Preset:
    return Preset(word, description, Behaviour(script))


PRESETS = (
    Preset("demo", "Completes in about 3 s, with a final message."),
    _acts("minute", "Completes in 60 s.", turn(seconds=60, steps=9, message=_REPORT)),
    _acts("fail", "Fails in 3 s: the model calls fail until the retries are used up.", exhausted(seconds=3)),
    _acts("terminated", "Fails in 3 s: an error terminates its session.", terminated(seconds=3)),
    Preset(
        "nostart",
        "Never starts: the trigger answers 200 with an error, because the environment is archived.",
        Behaviour(error=("environment_archived_error", "The deployment's environment is archived.")),
    ),
    Preset(
        "skip",
        "Skipped, as if too many were going. The current API has no skips; there the session is rejected.",
        Behaviour(error=("session_creation_rejected_error", "Too many runs of it are going."), skipped=True),
    ),
    _acts("ask", "Stops after 2 s to ask whether it may push, and waits for ever.", asking(seconds=2)),
    Preset(
        "budget",
        "Fails in 3 s: its credit budget is used up.",
        Behaviour(turn(seconds=3, reason="budget_reached")),
        budget="0.30",
    ),
    _acts("silent", "Completes in 3 s without any message.", turn(seconds=3)),
    _acts(
        "slow",
        "Its session idles for 5 s before the turn starts; completes in 8 s.",
        turn(seconds=8, start=5, message=_REPORT, idles=True),
    ),
    _acts(
        "idle",
        "Its session says that it is idle before the turn starts; completes in 3 s.",
        turn(seconds=3, message=_REPORT, idles=True),
    ),
    Preset("paused", "Paused: cannot be run until it is unpaused.", paused=True),
    Preset(
        "archived",
        "Archived for good, although its status is still active.",
        title="old-report",
        archived=True,
    ),
    Preset(
        "scheduled",
        "Fires every day at 09:00 UTC; by hand it behaves as demo.",
        title="nightly-report",
        cron="0 9 * * *",
    ),
)
