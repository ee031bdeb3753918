"""The sandbox is one world: whatever it names is there."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from qoder_cli.sandbox.records import LAYOUTS
from qoder_cli.sandbox.samples import PRESETS
from tests.sandbox.desk import OPERATIONS, Desk
from tests.tools.generate import PAGES, README

_NOT_READ = ("evt", "sesr", "sthr")  # the parts of a session: read with it
_KINDS = {form.prefix: form.what for form in LAYOUTS.values() if form.prefix not in ("", *_NOT_READ)}
_ID = re.compile(rf"\b(?:{'|'.join(_KINDS)})_[a-z0-9_]+")
LISTS = [each for each in OPERATIONS.values() if each.id.endswith(".list") and each.id != "models.list"]


def texts(value: Any, field: str = "") -> Iterator[str]:
    """Yield all texts in an object, but its types."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from texts(each, name)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each, field)
    elif isinstance(value, str) and field != "type":
        yield value


def whole(desk: Desk, path: str) -> list[dict[str, Any]]:
    """Return all of a list, page by page."""
    archived = {"include_archived": "true"}
    page = desk.get(path, limit=100, **archived)
    found = page["data"]
    while page["has_more"]:
        page = desk.get(path, limit=100, after_id=page["last_id"], **archived)
        found += page["data"]
    return list(found)


def everything(desk: Desk) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each object with the path of its list, also those that others hold."""
    held: dict[str, list[str]] = {}
    for operation in sorted(LISTS, key=lambda each: each.path.count("{")):
        what = operation.id.removesuffix(".list")
        above, steps = what.rpartition(".")[0], operation.path.split("/")
        parents = held.get(above, []) if above else [""]
        for parent in parents:
            if what == "environments.work" and parent != "/environments/env_workers":
                continue  # others have no work
            path = f"{parent}/{steps[-1]}"
            for row in whole(desk, path):
                held.setdefault(what, []).append(f"{path}/{row.get(LAYOUTS[what].key)}")
                yield path, row


@pytest.mark.parametrize("has_worked", [False, True])
def test_sandbox_has_all_that_it_names_in_its_list_and_by_its_id(desk: Desk, has_worked: bool) -> None:
    desk.world.seed_session()
    if has_worked:
        for preset in PRESETS:
            if preset.word not in ("paused", "archived"):
                desk.run(preset.id)
        desk.made("/dreams")
        desk.made("/sessions", environment_id="env_workers")
        desk.clock.sleep(120)
    listed: set[str] = set()
    named: dict[str, str] = {}
    for path, row in everything(desk):
        listed |= {str(row["id"])} if "id" in row else set()
        if not path.endswith("/events"):
            id = row["version"] if path.endswith("/versions") else row["id"]
            one = f"{path}/{id}"
            if path.startswith("/agents/"):
                one = f"{path.removesuffix('/versions')}?version={id}"
            assert desk.http.get(one).json()["id"] == row["id"]
        named |= dict.fromkeys((id for text in texts(row) for id in _ID.findall(text)), path)
    assert {id: path for id, path in named.items() if id not in listed} == {}


def test_sandbox_has_what_readme_and_help_name(current: Desk) -> None:
    current.world.seed_session()
    listed = {str(row.get("id")) for _, row in everything(current)}
    fields = {field for operation in OPERATIONS.values() for field in (*operation.body, *operation.query)}
    # `agent_reporter` is the beginning of a file's name, `file_path` a field of a tool's input.
    written = "".join(page.read_text("utf-8") for page in (README, *PAGES.glob("*.md")))
    named = {
        id for id in _ID.findall(written) if not re.search(r"\d{2}|_$|_error$|^agent_reporter$|^file_path$", id)
    } - fields
    assert (named - listed, len(named) > 15) == (set(), True)
