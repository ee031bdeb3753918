"""What each command refuses before anything is sent, or sends no write for."""

import shlex
from typing import Any

import httpx
import pytest

from qoder_cli.cli.options import _FOR_TOKENS
from qoder_cli.sandbox.records import stamp
from qoder_cli.sandbox.wire import Generation
from qoder_cli.settings.allowed import LEVELS, Level
from tests.conftest import TOKEN
from tests.contract.clauses import Clauses, where_it_asks
from tests.contract.lines import JUDGES, Command
from tests.contract.scene import Answer, Lie, Played, Scene, check_ending, usual

CLAUSES = Clauses()


def is_usage_error(scene: Scene, ran: Played) -> None:
    """Hold a line to exit 2, with nothing sent and nothing on stdout."""
    assert ran.code == 2
    assert scene.sent == []
    assert ran.out == ""
    check_ending(ran)
    assert ran.error["type"] == "usage"


@CLAUSES.add("unknown option")
def an_unknown_option_sends_nothing(scene: Scene) -> None:
    is_usage_error(scene, scene.run("--no-such-option", "--json"))


@CLAUSES.add("unknown format")
def an_unknown_format_sends_nothing(scene: Scene) -> None:
    ran = scene.run("-o", "xml", words=[word for word in scene.words if word != "--json"])
    assert ran.code == 2
    assert scene.sent == []
    assert ran.out == ""
    assert len(ran.errors) == 1


def takes_so_many(command: Command) -> bool:
    return all(param.nargs != -1 for param in command.arguments)


@CLAUSES.add("a word too many", takes_so_many)
def a_word_too_many_sends_nothing(scene: Scene) -> None:
    optional = [param for param in scene.command.arguments if not param.required]
    is_usage_error(scene, scene.run(*["one-more"] * (len(optional) + 1), "--json"))


def needs_a_word(command: Command) -> bool:
    return any(param.required for param in command.arguments)


@CLAUSES.add("a word missing", needs_a_word)
def a_missing_word_sends_nothing(scene: Scene) -> None:
    places = scene.command.places(scene.words)
    is_usage_error(scene, scene.run(words=[*scene.words[: places[0].at], "--json"]))


@CLAUSES.add("an option without its value", lambda command: any(not each.is_flag for each in command.options.values()))
def an_option_without_its_value_sends_nothing(scene: Scene) -> None:
    for name, param in scene.command.options.items():
        if not param.is_flag:
            is_usage_error(scene, scene.run(name, "--json"))


# Arguments that are no ids or names of things on a server.
NO_IDS = {
    "CALL": "also the beginning of one: it is looked for among those that wait",
    "DIR|ZIP": "a path of this machine",
    "KEY": "of a config file, or a person's own",
    "METHOD": "a word of HTTP",
    "NAME": "what a new secret shall be called",
    "PATH": "a path of this machine, or in a memory store",
    "SHELL": "one of a few words",
    "TOPIC": "one of a few words",
    "VALUE": "any",
}
BAD_IDS = ("", " ", "\t", "x" * 257, "a\x00b", "a\nb", "a\x1b[31mb", ".", "..", "../x", "evil_1\u0085")
OTHER_KINDS = ("dep_1", "drun_1", "agent_1", "env_1", "vault_1", "skill_1", "memstore_1", "drm_1", "work_1", "vcred_1")


def names_things(command: Command) -> bool:
    return command.asks and any(str(param.metavar).rstrip(".") not in NO_IDS for param in command.arguments)


def with_another(scene: Scene, other: str) -> Any:
    """Yield the line with this in the place of each id."""
    for place in scene.command.places(scene.words):
        if place.metavar not in NO_IDS:
            yield place, [*scene.words[: place.at], other, *scene.words[place.at + 1 :], "--json"]


@CLAUSES.add("bad ids", names_things)
def what_can_be_no_id_sends_nothing(scene: Scene) -> None:
    for bad in BAD_IDS:
        for _, words in with_another(scene, bad):
            is_usage_error(scene, scene.run(words=words))


@CLAUSES.add("ids of another kind", names_things)
def an_id_of_another_kind_sends_nothing(scene: Scene) -> None:
    for other in OTHER_KINDS:
        for place, words in with_another(scene, other):
            if not fits(other, place.metavar):
                is_usage_error(scene, scene.run(words=words))


def fits(id: str, metavar: str) -> bool:
    """Return whether an id of this kind is what an argument is for."""
    prefix = id.partition("_")[0]
    taken = {
        "DEPLOYMENT": ("dep",),
        **dict.fromkeys(
            ("RUN", "SESSION"), ("drun", "sess", "dep")
        ),  # a deployment's newest is DEPLOYMENT@last, as its hint says
        "MEMORY": ("memstore",),
        "STORE": ("memstore",),
        "CREDENTIAL": ("vcred",),
        "DREAM": ("drm",),
        "VERSION": ("memver",),
    }
    return prefix in taken.get(metavar, (metavar.lower(),))


@CLAUSES.add("token typed")
def a_token_typed_elsewhere_is_never_shown_or_sent(scene: Scene) -> None:
    stranger = "pt-stranger-0123456789abcdef"
    typed = [
        [*scene.words[: place.at], stranger, *scene.words[place.at + 1 :]]
        for place in scene.command.places(scene.words)
        if place.metavar not in ("VALUE",)
    ]
    typed += [
        [*scene.words, name, stranger]
        for name, param in scene.command.options.items()
        if not param.is_flag and param.name not in _FOR_TOKENS and param.type.name == "text"
    ]
    for words in typed:
        ran = scene.run(words=[*words, "--json"])
        is_usage_error(scene, ran)
        assert stranger not in ran.err


# What the environment forbids.


@CLAUSES.add("read-only", lambda command: command.writes)
def read_only_refuses_every_write(scene: Scene) -> None:
    scene.env["QODER_READ_ONLY"] = "1"
    ran = scene.run("--json")
    assert scene.writes == []
    assert ran.code == 2
    check_ending(ran)
    assert "QODER_READ_ONLY" in ran.error["message"]


@CLAUSES.add("read-only reads", lambda command: not command.writes and command.name != "key free")
def read_only_reads(scene: Scene) -> None:
    scene.env["QODER_READ_ONLY"] = "1"
    assert scene.run("--json").code == usual(scene.command.name).code


def needs(command: Command) -> Level:
    """Return what a command needs, said here once more: whatever writes, beside what is named, needs all."""
    if command.name in ("deploy run", "deploy run in a fleet", "run retry", "run cancel", "session cancel"):
        return "run"
    if command.name.split()[1:] in (["approve"], ["deny"], ["answer"], ["send"], ["chat"]):
        return "answer"
    return "all" if command.writes or command.name in SETTERS else "read"


BY_OPTION = ("api POST", "session files --add")  # commands that read, but for their options
SETTERS = ("auth login", "auth logout", "auth switch", "auth token", "config set", "config unset", "key free")


@CLAUSES.add("allowed", lambda command: needs(command) != "all" and command.name != "sandbox")
def what_is_allowed_does_what_it_does(scene: Scene) -> None:
    scene.env["QODER_ALLOW"] = needs(scene.command)
    assert scene.run("--json").code == usual(scene.command.name).code


@CLAUSES.add("not allowed", lambda command: needs(command) != "read")
def what_is_not_allowed_sends_nothing(scene: Scene) -> None:
    level = needs(scene.command)
    scene.env["QODER_ALLOW"] = LEVELS[LEVELS.index(level) - 1]
    ran = scene.run("--json")
    if scene.env["QODER_ALLOW"] == "read" or scene.command.name in BY_OPTION:  # refused at the first write
        assert (ran.code, scene.writes) == (2, [])
    else:
        is_usage_error(scene, ran)
        assert f"needs {level!r}; nothing was sent" in ran.error["message"]
    assert "QODER_ALLOW allows only" in ran.error["message"]


@CLAUSES.add("allowed is misspelt", where_it_asks)
def a_misspelt_level_sends_nothing(scene: Scene) -> None:
    scene.env["QODER_ALLOW"] = "al"
    is_usage_error(scene, scene.run("--json"))


@CLAUSES.add("no token", where_it_asks)
def without_a_token_nothing_is_sent(scene: Scene) -> None:
    del scene.env["QODER_PAT"]
    ran = scene.run("--json")
    assert scene.sent == []
    assert ran.code == 4
    assert ran.out == ""
    check_ending(ran)


@CLAUSES.add("wrong token", where_it_asks)
def a_token_that_is_refused_is_4(scene: Scene) -> None:
    refused = {"type": "error", "error": {"type": "authentication_error", "message": f"{TOKEN} is no token."}}
    scene.lie = lambda request, answer: httpx.Response(401, json=refused)
    ran = scene.run("--json")
    check_ending(ran)
    assert ran.code == 4
    assert scene.done == []
    assert "token" in f"{ran.error['message']} {ran.error['hint']}"


def would_ask(command: Command) -> bool:
    """Where all is well, a line that judges has nothing to ask about."""
    return "--yes" in shlex.split(command.line or "") and command.name not in JUDGES


@CLAUSES.add("no yes", would_ask)
def without_a_yes_nothing_is_written_in_a_script(scene: Scene) -> None:
    ran = scene.run("--json", words=[word for word in scene.words if word != "--yes"])
    assert (ran.code, ran.out, scene.writes) == (2, "", [])
    check_ending(ran)
    assert "--yes" in ran.error["hint"]


@CLAUSES.add("dry run", lambda command: "--dry-run" in command.options)
def a_dry_run_sends_no_write(scene: Scene) -> None:
    ran = scene.run("--dry-run", "--json", "--no-progress")
    check_ending(ran)
    assert (ran.code, ran.err, scene.writes) == (0, "", [])
    assert ran.out


# A name that something else has.


def names_a_new_thing(command: Command) -> bool:
    return "--if-missing" in command.options


def made(scene: Scene) -> str:
    """Create the thing of the line, and return its id."""
    scene.world.unique_names = False  # of deployments, by the server
    return str(scene.run("--json").json["id"])


def is_taken(scene: Scene, ran: Played, *ids: str) -> None:
    assert (ran.code, ran.out, scene.writes) == (6, "", [])
    check_ending(ran)
    assert [id for id in ids if id not in ran.error["message"]] == []
    assert len(ids) != 1 or ids[0] in ran.error["next"], "it shows what is there"


@CLAUSES.add("taken name", names_a_new_thing, on_both=True)
def a_name_that_is_taken_is_6_and_sends_no_write(scene: Scene) -> None:
    id = made(scene)
    for more in ((), ("--dry-run",)):
        is_taken(scene, scene.run("--json", *more), id)


@CLAUSES.add("taken name, if missing", names_a_new_thing, on_both=True)
def what_is_not_missing_is_shown(scene: Scene) -> None:
    id = made(scene)
    for more in ((), ("--dry-run",)):
        ran = scene.run("--json", "--if-missing", *more)
        assert (ran.code, ran.json["id"], scene.writes) == (0, id, [])
        assert f"is there already ({id}); nothing was created" in ran.err
        assert "not as asked for" not in ran.err


@CLAUSES.add("if missing", names_a_new_thing)
def what_is_missing_is_created(scene: Scene) -> None:
    assert scene.run("--json", "--if-missing").code == 0
    assert len(scene.done) == 1


@CLAUSES.add("taken name, allowed", names_a_new_thing)
def a_second_one_of_a_name_is_created_where_that_is_allowed(scene: Scene) -> None:
    first = made(scene)
    second = scene.run("--json", "--allow-duplicate")
    assert (second.code, len(scene.done)) == (0, 1)
    for more in ((), ("--if-missing",)):
        is_taken(scene, scene.run("--json", *more), first, second.json["id"])


@CLAUSES.add("if missing and allowed", names_a_new_thing)
def two_answers_to_a_taken_name_send_nothing(scene: Scene) -> None:
    is_usage_error(scene, scene.run("--json", "--if-missing", "--allow-duplicate"))


@CLAUSES.add("taken name, archived", names_a_new_thing)
def the_name_of_something_archived_is_free(scene: Scene) -> None:
    id, now = made(scene), scene.world.now()
    [thing] = [things[id] for things in scene.world.things.values() if id in things]
    thing.change(now, archived_at=stamp(now))
    ran = scene.run("--json")
    assert (ran.code, ran.json["id"] == id) == (0, False)


def in_lists(change: dict[str, Any], path: str = "") -> Lie:
    def lie(request: httpx.Request, answer: Answer) -> httpx.Response:
        said = answer()
        if request.method == "GET" and "data" in said.json() and request.url.path.endswith(path):
            return httpx.Response(200, json=said.json() | change)
        return said

    return lie


@CLAUSES.add("taken name, list that lags", names_a_new_thing)
def a_name_that_this_machine_saw_is_taken_before_a_list_shows_it(scene: Scene) -> None:
    id = made(scene)
    scene.lie = in_lists({"data": []}, scene.done[0].path)
    is_taken(scene, scene.run("--json"), id)


@CLAUSES.add("taken name, list that is cut", names_a_new_thing)
def a_list_that_is_not_whole_frees_no_name(scene: Scene) -> None:
    scene.lie = in_lists({"data": [], "has_more": True, "next_page": None})
    ran = scene.run("--json")
    assert (ran.code, ran.out, scene.writes) == (7, "", [])
    check_ending(ran)


@CLAUSES.add("taken name, not found", names_a_new_thing)
def a_listed_thing_that_cannot_be_found_keeps_its_name(scene: Scene) -> None:
    id = made(scene)

    def lie(request: httpx.Request, answer: Answer) -> httpx.Response:
        if request.url.path.endswith(id):
            return httpx.Response(404, json={"error": {"type": "not_found_error", "message": "Not found."}})
        return answer()

    scene.lie = lie
    is_taken(scene, scene.run("--json"), id)
    assert scene.run("--json", "--if-missing").code == 5
    assert scene.writes == []


# Ids on standard input.


def piped(scene: Scene, *more: str) -> Played:
    """Run the line with `-` in the place of the things that it names last."""
    place = scene.command.places(scene.words)[-1]
    return scene.run(*more, words=[*scene.words[: place.at], "-", *scene.words[place.at + 1 :], "--json"])


def reads_stdin(command: Command) -> bool:
    return command.reads_stdin and len(command.places(shlex.split(command.line or "")[1:])) <= len(command.arguments)


@CLAUSES.add("empty input", reads_stdin)
def an_empty_list_is_refused(scene: Scene) -> None:
    for empty in ("", "\n", "  \n# a comment\n", "\ufeff\n"):
        scene.stdin = empty
        is_usage_error(scene, piped(scene))


@CLAUSES.add("empty input allowed", reads_stdin)
def an_empty_list_may_be_allowed(scene: Scene) -> None:
    scene.stdin = "\n"
    ran = piped(scene, "--allow-empty")
    assert ran.code == 0
    assert scene.writes == []
    assert ran.json == []


@CLAUSES.add("input that is no list", reads_stdin)
def a_bad_line_sends_no_write(scene: Scene) -> None:
    scene.stdin = f"{scene.words[scene.command.places(scene.words)[-1].at]}\n..\n"
    is_usage_error(scene, piped(scene))


@CLAUSES.add("input", reads_stdin)
def a_list_of_one_is_an_array(scene: Scene) -> None:
    scene.stdin = f"# those\n{scene.words[scene.command.places(scene.words)[-1].at]}\n"
    ran = piped(scene)
    check_ending(ran)
    assert ran.code == usual(scene.command.name).code
    items = ran.json
    assert isinstance(items, list)
    assert len(items) == 1
    assert items[0]["input"] == scene.stdin.splitlines()[1]
    assert items[0]["exit_code"] == ran.code


@pytest.mark.parametrize(("name", "about", "generation"), CLAUSES.cases())
def test_refused(name: str, about: str, generation: Generation) -> None:
    CLAUSES.play(name, about, generation)
