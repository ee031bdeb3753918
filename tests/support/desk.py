"""Someone with deployments in files, and the sandbox with hooks."""

import json
from pathlib import Path
from typing import Any

from qoder_cli.base.marks import without_ours
from qoder_cli.sandbox.wire import BASE_PATH
from qoder_cli.sandbox.world import FakeDeployment, World
from tests.conftest import TOKEN, Qoder, Ran
from tests.support.inprocess import with_known
from tests.support.things import Things

LIST = "/deployments?limit=100"


HOST = "localhost:1"  # nobody is asked there: the world is in this process


EVENTS = [{"type": "user.message", "content": [{"type": "text", "text": "Report."}]}]
# A new deployment in a file, and as it is sent.
NEW = {"name": "weekly", "agent": "agent_1", "environment_id": "env_1", "message": "Report."}
BODY = {"name": "weekly", "agent": "agent_1", "environment_id": "env_1", "initial_events": EVENTS}


def unmarked(body: dict[str, Any]) -> dict[str, Any]:
    """Return what was sent without our own mark."""
    labels = without_ours(body.get("metadata", {}))
    rest = {name: value for name, value in body.items() if name != "metadata"}
    is_only_ours = "metadata" in body and not labels and body["metadata"]
    return rest if is_only_ours or "metadata" not in body else {**rest, "metadata": labels}


class Desk:
    """Someone with files, in a world where these faults are on order."""

    def __init__(self, qoder: Qoder, folder: Path, generation: Any) -> None:
        self.qoder = qoder
        self.folder = folder / "files"
        self.folder.mkdir()
        qoder.clock.patience = 20.0
        self.world = with_known(World(clock=qoder.clock.now, generation=generation, token=TOKEN, seed=7))
        self.goes_wrong()

    def goes_wrong(self, *faults: str, **settings: Any) -> None:
        """Lead the user into the world, where this goes wrong from now on."""
        for name, value in settings.items():
            setattr(self.world, name, value)
        self.service = Things(self.qoder, self.world.generation, *faults, world=self.world)
        self.world.requests.clear()

    def file(self, *deployments: Any, name: str = "file.json") -> str:
        path = self.folder / name
        texts = [one if isinstance(one, str) else json.dumps({"type": "deployment", **one}) for one in deployments]
        path.write_text(("\n---\n" if name.endswith("yaml") else "\n").join(texts), "utf-8")
        return str(path)

    def apply(self, *words: str, yes: bool = True) -> Ran:
        return self.qoder("apply", *words, *(["--yes"] if yes else []))

    def apply_these(self, *deployments: Any, words: tuple[str, ...] = (), yes: bool = True) -> Ran:
        """Apply a file that has these."""
        return self.apply(self.file(*deployments), *words, yes=yes)

    def add(self, **fields: Any) -> FakeDeployment:
        """Add a deployment that is a day old."""
        events = {"initial_events": EVENTS}
        return self.world.add_deployment(**{**events, **fields}, at=self.world.now() - 86400)

    def named(self, name: str) -> list[FakeDeployment]:
        """The deployments of a name that there truly are, not archived."""
        with self.world.lock:
            self.world.settle()
        return [one for one in self.world.deployments.values() if one.name == name and one.archived is None]

    @property
    def asked(self) -> list[str]:
        """Every request, in order; a write with its body."""
        return [self._told(seen) for seen in self.world.requests]

    @property
    def sent(self) -> list[Any]:
        """The bodies that were sent, with where to."""
        sent = [seen for seen in self.world.requests if seen.method == "POST"]
        return [(request.path.removeprefix(BASE_PATH), json.loads(request.body)) for request in sent]

    @property
    def writes(self) -> list[Any]:
        """The same, without our own mark."""
        return [(path, unmarked(body)) for path, body in self.sent]

    @staticmethod
    def _told(request: Any) -> str:
        query = f"?{request.query}" if request.query else ""
        return f"{request.method} {request.path.removeprefix(BASE_PATH)}{query}"


# Faults of the sandbox: where a write is done, where its request is lost, and all that may meet one.
ACTED = ("drop-after", "hang-after", "truncated", "garbage", "list", "not-a-run", "act-html", "act-503", "act-503-bare")
LOST = ("drop-before", "hang-before", "html", "503-bare")
FAULTS = (
    *(*ACTED, *LOST, "refused", "late=1", "late=3", "late=30", "slow=20", "slow=90", "act-500", "429=2", "429", "400"),
    *("401", "403", "404", "409", "500", "503", "redirect=https://elsewhere.example/"),
)
