"""What each command prints where all is well, in every format, and where nobody can read it."""

import json
import re
from typing import Any, get_args

import pytest
import yaml

from qoder_cli.output.screen import Format
from qoder_cli.sandbox.wire import Generation
from tests.contract.clauses import Clauses, where_it_writes
from tests.contract.lines import Command
from tests.contract.scene import Played, Scene, check_ending, usual
from tests.support.wire import Unwritable

CLAUSES = Clauses()


def ends_well(scene: Scene, ran: Played) -> None:
    """Hold a quiet ending, where all is well, to its code and an empty stderr; and to what it does in JSON."""
    assert ran.code == scene.command.ends
    if ran.code == 0:
        assert [line for line in ran.err.splitlines() if not line.startswith("warning:")] == []
    check_same_writes(scene)


def check_same_writes(scene: Scene) -> None:
    """The format never changes what a command does."""
    writes = tuple((one.method, re.sub(r"_[0-9a-z]{16,}", "", one.path)) for one in scene.sent if one.method != "GET")
    before = usual(scene.command.name, scene.generation).writes
    assert writes == tuple((method, re.sub(r"_[0-9a-z]{16,}", "", path)) for method, path in before)


@CLAUSES.add("json", on_both=True)
def json_is_one_document(scene: Scene) -> None:
    ran = scene.run("--json", "--no-progress")
    check_ending(ran)
    ends_well(scene, ran)
    assert bool(scene.writes) == scene.command.writes, "what lines.py says of its writes"


@CLAUSES.add("jsonl", on_both=True)
def jsonl_is_an_object_a_line(scene: Scene) -> None:
    ran = scene.run("-o", "jsonl", "--no-progress")
    ends_well(scene, ran)
    lines = ran.out.split("\n")
    assert lines.pop() == ""
    for line in lines:
        assert isinstance(json.loads(line), dict)


@CLAUSES.add("id", on_both=True)
def quiet_prints_ids(scene: Scene) -> None:
    ran = scene.run("-q", "--no-progress")
    ends_well(scene, ran)
    for line in ran.out.splitlines():
        assert re.fullmatch(r"\S+", line)
    shown = json.loads(usual(scene.command.name, scene.generation).out or "null")
    if isinstance(shown, list):  # what would be created has no id yet
        shown = [each for each in shown if each.get("action") != "would_create"]
    assert ran.out or not shown, "what JSON shows has an id"


@CLAUSES.add("yaml", on_both=True)
def yaml_is_the_same_value_as_json(scene: Scene) -> None:
    ran = scene.run("-o", "yaml", "--no-progress")
    ends_well(scene, ran)
    before = usual(scene.command.name, scene.generation).out
    assert "\x1b" not in ran.out
    assert shape(yaml.safe_load(ran.out)) == shape(json.loads(before or "null"))


def is_piped_text(scene: Scene, ran: Played) -> None:
    ends_well(scene, ran)
    assert "\x1b" not in ran.out
    assert not ran.out or ran.out.endswith("\n")


# Every other format that the program has, as soon as it has it; a table is what is printed where nothing is said.
for _format in get_args(Format):
    if _format not in ("markdown", "html", "otlp", "json", "jsonl", "yaml", "id"):

        @CLAUSES.add(_format, on_both=_format == "table")
        def another_format_is_plain_text(scene: Scene, format: str = _format) -> None:
            is_piped_text(scene, scene.run("-o", format, "--no-progress"))


# Formats of a few commands: whose, and what such output begins with.
_OF_FEW = {
    "markdown": (("diff", "report", "report --exit-status", "run why"), "**"),
    "html": (("report", "report --exit-status", "usage", "usage --over"), "<!DOCTYPE html>"),
    "otlp": (("run logs", "session logs"), '{"resourceSpans":[{'),
}
for _format in _OF_FEW:

    @CLAUSES.add(_format)
    def a_format_of_few_commands_is_refused_by_others(scene: Scene, format: str = _format) -> None:
        names, beginning = _OF_FEW[format]
        ran = scene.run("-o", format, "--no-progress", words=[word for word in scene.words if word != "--json"])
        if scene.command.name in names:
            is_piped_text(scene, ran)
            assert ran.out.startswith(beginning)
        else:
            assert (ran.code, ran.out, scene.sent, len(ran.errors)) == (2, "", [], 1)


@CLAUSES.add("terminal")
def json_on_a_terminal_is_the_same_value(scene: Scene) -> None:
    scene.is_terminal = True
    ran = scene.run("--json", "--no-progress")
    assert ran.code == scene.command.ends
    before = usual(scene.command.name, scene.generation).out
    assert shape(json.loads(ran.out or "null")) == shape(json.loads(before or "null"))


def shape(value: Any) -> Any:
    """Return JSON without what is new each time: ids, times and hashes."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value]
    return None if isinstance(value, str | int | float) else value


@CLAUSES.add("drawn")
def a_drawn_table_steers_no_terminal(scene: Scene) -> None:
    scene.is_terminal = True
    ran = scene.run("--no-progress")
    ends_well(scene, ran)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", ran.out), "there is no colour without a terminal's"


@CLAUSES.add("options before")
def global_options_work_before_the_words(scene: Scene) -> None:
    ran = scene.run(words=["--json", "--no-progress", *scene.words])
    check_ending(ran)
    ends_well(scene, ran)
    before = usual(scene.command.name, scene.generation).out
    assert shape(json.loads(ran.out or "null")) == shape(json.loads(before or "null"))


@CLAUSES.add("no progress")
def a_variable_keeps_stderr_empty(scene: Scene) -> None:
    scene.env["QODER_NO_PROGRESS"] = "1"
    ends_well(scene, scene.run())


def where_it_writes_to_what_is_there(command: Command) -> bool:
    """Return whether a clause holds that plays elsewhere: there, no run is `last`."""
    return where_it_writes(command) and " last" not in str(command.line)


@CLAUSES.add("whereabouts", where_it_writes)
def a_write_says_where_it_writes(scene: Scene) -> None:
    assert "(profile" not in scene.run().err, "what is the default goes without saying"


@CLAUSES.add("whereabouts elsewhere", where_it_writes_to_what_is_there)
def a_write_says_where_it_writes_if_that_is_not_the_default(scene: Scene) -> None:
    scene.env["QODER_BASE_URL"] = "https://api.qoder.com.cn"
    ran = scene.run()
    assert ran.code == 0
    assert "(api.qoder.com.cn)" in ran.err


@CLAUSES.add("closed pipe", on_both=True)
def a_reader_that_goes_away_is_141_and_no_error(scene: Scene) -> None:
    ran = scene.run("--json", out=Unwritable(BrokenPipeError()))
    said = usual(scene.command.name, scene.generation).out
    assert ran.code == (141 if said else scene.command.ends)
    assert "error" not in ran.err or not said


@CLAUSES.add("full disk", on_both=True)
def output_that_cannot_be_written_is_70(scene: Scene) -> None:
    ran = scene.run("--json", out=Unwritable(OSError(28, "No space left on device")))
    said = usual(scene.command.name, scene.generation).out
    assert ran.code == (70 if said else scene.command.ends)
    if said:
        error = ran.error
        assert "cannot write to standard output" in error["message"]
        begun = [json.loads(one.answer)["id"] for one in scene.done if _begins(scene.command, one.path)]
        told = (error["run_id"], error["session_id"], *re.findall(r"[a-z]+_\w+", error["message"]))
        assert len(begun) != 1 or begun[0] in told


def _begins(command: Command, path: str) -> bool:
    """Return whether a write makes something of which nobody would know without its id."""
    return path.endswith("/run") or path == "/sessions" or command.words[-1] == "create"


@pytest.mark.parametrize(("name", "about", "generation"), CLAUSES.cases())
def test_output(name: str, about: str, generation: Generation) -> None:
    CLAUSES.play(name, about, generation)
