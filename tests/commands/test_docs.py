"""What is written about the program is made from it, or checked against it."""

from pathlib import Path

import qoder_cli
from qoder_cli.local.store import JOURNALS, NAME
from qoder_cli.runs.fleet.conductor import IDS
from tests.conftest import Qoder
from tests.generate import PARTS, README, readme
from tests.support.crowd import Town
from tests.support.wire import FakeClock


def test_the_readme_is_up_to_date() -> None:
    text = README.read_text("utf-8")
    assert readme(text) == text, "run: python -m tests.generate"
    assert [name for name in PARTS if f"<!-- {name}: begin" not in text or f"<!-- {name}: end -->" not in text] == []


def test_the_readme_tells_every_command_and_option(qoder: Qoder) -> None:
    text = README.read_text("utf-8").replace("\\|", "|")
    told = qoder("help", "--json").json
    for command in told["commands"]:
        [line] = [
            line
            for line in text.splitlines()
            if line.startswith(f"| `{' '.join(command['path'])}") and command["summary"] in line
        ]
        assert all(name in line for option in command["options"] for name in option["names"])


def test_the_readme_tells_of_every_room() -> None:
    text = README.read_text("utf-8")
    house = Path(qoder_cli.__file__).parent
    rooms = [f"{path.name}/" for path in house.iterdir() if (path / "__init__.py").is_file()]
    rooms += [path.name for path in house.glob("*.py") if path.name != "__init__.py"]
    assert [room for room in rooms if f"`{room}`" not in text] == []


def test_what_an_uninstall_leaves_is_told(tmp_path: Path) -> None:
    text = README.read_text("utf-8")
    town = Town("current", tmp_path, FakeClock())
    assert town("deploy", "run", "dep_demo", "--wait", "--idempotency-key", "k").code == 0
    assert town("deploy", "list").code == 0
    files = {file.name for file in tmp_path.iterdir()}
    assert files == {NAME, "keys.lock"}
    assert [name for name in (*files, *JOURNALS, IDS) if f"`{name}`" not in text] == []
