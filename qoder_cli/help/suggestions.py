"""What is wrong with a command line, and what may be meant."""

import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

from qoder_cli.base.errors import UsageError
from qoder_cli.base.ids import LAST, a, deployment_of, nearest
from qoder_cli.base.kinds import KINDS_OF_NOUNS
from qoder_cli.help import ALIKE, NOUNS_UNDERSTOOD, VERBS_UNDERSTOOD
from qoder_cli.help.documented import rows_of
from qoder_cli.http.redact import by_shape

# Not understood either; what follows one is never repeated.
NO_TOKEN = (
    "tokens are not accepted on the command line, where others can read them: set QODER_PAT, or run `qoder auth login`"
)
TOKEN_OPTIONS = ("--token", "--pat", "--api-key", "--access-token", "--auth-token")
_TEMPLATES = ("jsonpath", "go-template", "custom-columns", "{{")  # of -o in other tools

# Of `answer`, whose reply was typed behind this option once.
_NO_RESULT = "--result takes no value: it prints the agent's final message; nothing was sent"
_WITH = "pass what the tool returns as --with TEXT|@FILE|-"
# Hints where only a verb was typed; and groups of the thesaurus that act.
_FIRST = "the noun comes first: qoder NOUN VERB; for a list of commands: `qoder help commands`"
_GET = "to show a run: `qoder run get RUN`"
_ACTS = ("@start", "@retry", "@stop", "@delete", "@restore", "@change")
_FURTHEST = 1  # letters that a slip adds or leaves out: `get` is no slip of `agent`
SHORTEST_TOKEN = 4  # characters; what is shorter is part of too many words


class Habit(NamedTuple):
    """A row of the thesaurus: words of other tools, and what to say to who types one."""

    words: frozenset[str]
    where: tuple[str, ...]  # the nouns that were typed before it
    needs: str  # what the noun, or the command, has to have; empty for nothing
    hint: str


class Thesaurus(NamedTuple):
    """What people type who know other tools (`thesaurus.tsv`)."""

    groups: dict[str, tuple[str, ...]]
    habits: tuple[Habit, ...]
    values: dict[str, str]  # of options, with what is meant

    def hint(self, word: str, where: Collection[str], has: Collection[str]) -> str | None:
        """Return the hint for a word, typed in one of these places, in what `has` these commands or options."""
        for habit in self.habits:
            if word in habit.words and not {*where}.isdisjoint(habit.where) and (not habit.needs or habit.needs in has):
                return habit.hint
        return None


@cache
def thesaurus() -> Thesaurus:
    """Return the thesaurus, read once."""
    groups: dict[str, tuple[str, ...]] = {}
    habits: list[Habit] = []
    values: dict[str, str] = {}
    for names, where, hint in rows_of("thesaurus.tsv"):
        if names.startswith("@") and where == "=":
            groups[names] = tuple(hint.split(", "))
            continue
        words = frozenset(word for name in names.split(", ") for word in groups.get(name, (name,)))
        if where == "=":
            values |= dict.fromkeys(words, hint)
            continue
        nouns, _, needs = where.replace("=", "=+").partition("+")
        habits.append(Habit(words, tuple(nouns.split(", ") if nouns else "*"), needs, hint))
    return Thesaurus(groups, tuple(habits), values)


# What takes something away, cannot be undone or lets an agent act: suggested for nothing but itself. What else is not
# reading: suggested for a single slip only, that nobody makes who means something else.
DESTRUCTIVE, CHANGING = (frozenset(thesaurus().groups[name]) for name in ("@destructive", "@changing"))


def meant(context: Any, words: Sequence[str], names: Sequence[str]) -> str:
    """Return a hint for a line whose first word is none of a group's `names`. What was typed is never repeated."""
    root, path = context.find_root(), context.command_path
    noun, word = path.removeprefix(root.info_name).strip(), words[0]
    verb = _verb(word, words[1:])
    if _names_a_run(word) and noun in ("", "run", "deploy"):
        return _GET
    help = f"for a list of commands: {path} --help"
    if noun:
        if hint := _behind(noun, verb, names, path) or _near(word, names, path):
            return hint
        if noun in ("run", "deploy") and all(word.startswith("-") for word in words[1:]):
            return f"{help}; to run a deployment, see: {root.info_name} deploy run --help"
        return help
    groups = {
        name: group.list_commands(root)
        for name in root.command.list_commands(root)
        if hasattr(group := root.command.get_command(root, name), "list_commands")
    }
    if owner := _noun_in(words[1:2]):  # as kubectl has it: the verb, then what it is done to
        verbs, named = groups.get(owner, ()), verb
        if verb == "get" and words[1].endswith("s"):
            named = "list"
        if words[2:3] and words[2] in verbs:  # a noun within it
            return f"the noun comes first; see: {path} {owner} {words[2]} --help"
        if named in verbs and (named == word or named not in DESTRUCTIVE):  # `remove` is `delete` elsewhere only
            return f"the noun comes first: '{path} {owner} {named}'"
        if hint := _behind(owner, word, verbs, f"{path} {owner}"):
            return hint
    for habit in (" ".join(words[:2]), word, verb):
        if hint := thesaurus().hint(habit, "-", ()):
            return hint
    owners = [name for name, verbs in groups.items() if verb in verbs]
    is_verb = any(verb in habit.words and "*" in habit.where for habit in thesaurus().habits)
    if len(owners) != 1 and (is_verb or verb in DESTRUCTIVE | CHANGING):
        return _FIRST
    if owners:
        few = [f"'{path} {name} {verb}'" for name in owners if name not in ALIKE or len(owners) == 1]
        return f"did you mean {' or '.join(few)}?"
    return _near(word, names, path) or help


def _verb(word: str, behind: Sequence[str]) -> str:
    """Return the verb that a word is here; a start of a run is a retry, and no new start beside it."""
    groups = thesaurus().groups
    if word.replace("-", "") in groups["@retry"] or (word in groups["@start"] and any(map(_names_a_run, behind))):
        return "retry"
    return VERBS_UNDERSTOOD.get(word, word)


def _noun_in(words: Sequence[str]) -> str | None:
    """Return the noun that a word is, in the plural or not, or whose id it is."""
    for word in words:
        if _names_a_run(word):
            return "run"
        for name, kind in KINDS_OF_NOUNS.items():
            if kind.about and kind.prefix and word.startswith(kind.prefix):
                return name
        understood = NOUNS_UNDERSTOOD.get(word, word)
        return understood if understood in KINDS_OF_NOUNS else None
    return None


def _names_a_run(word: str) -> bool:
    return word in LAST or deployment_of(word) != "" or word.startswith(KINDS_OF_NOUNS["run"].prefix)


def _behind(noun: str, verb: str, verbs: Collection[str], path: str) -> str | None:
    """Return what a verb means that a noun lacks, None if it means nothing there."""
    kind = KINDS_OF_NOUNS.get(noun)
    if kind is None:
        hint = thesaurus().hint(verb, (noun,), verbs)
        return hint and hint.format(path=path)
    hint = thesaurus().hint(verb, (noun, "*"), verbs)
    if hint is None and noun in ("run", "deploy") and not _is_word(verb):
        hint = thesaurus().hint("start", (noun,), verbs)
    if hint is None:
        other = None if _names_a_run(verb) else _noun_in([verb])
        return other and f"to list them: `qoder {other} list`"
    placeholder = "DEPLOYMENT" if noun == "deploy" else noun.split()[-1].upper()
    several = re.sub("ys$", "ies", f"{kind.called}s")
    return hint.format(path=path, a=a(kind.called), all=several, IT=placeholder, verb=verb)


def _is_word(word: str) -> bool:
    """Return whether a word may be a verb: no id and no name with a sign or a digit in it."""
    verbs = {*DESTRUCTIVE}.union(*(thesaurus().groups[name] for name in _ACTS))
    return word.isalpha() or not verbs.isdisjoint(re.split("[^a-z]+", word.lower()))


def _near(word: str, names: Sequence[str], path: str) -> str | None:
    """Return the name that a slip was made in, unless another may have been meant and that does harm."""
    near = [name for name in nearest(word, names) if abs(len(name) - len(word)) <= _FURTHEST]
    if not near or near[0] in DESTRUCTIVE or (near[0] in CHANGING and not _is_one_slip(word, near[0])):
        return None
    return f"did you mean '{path} {near[0]}'?"


def _is_one_slip(word: str, name: str) -> bool:
    """Return whether one letter is too many, missing or wrong, or some changed places."""
    shorter, longer = sorted((word, name), key=len)
    if len(shorter) == len(longer):
        return sorted(word) == sorted(name) or sum(map(str.__ne__, word, name)) == 1
    return any(longer[:at] + longer[at + 1 :] == shorter for at in range(len(longer)))


def explained(mistake: Any, words: Sequence[str]) -> UsageError:
    """Return the error for a mistake, without any typed tokens."""
    error = mistake if isinstance(mistake, UsageError) else _in_our_words(mistake, words)
    command = getattr(getattr(mistake, "ctx", None), "command", None)
    if getattr(command, "name", None) == "answer" and any(word.partition("=")[0] == "--result" for word in words):
        error = UsageError(_NO_RESULT, hint=_WITH)
    hint = error.hint
    if any(word.partition("=")[0] in TOKEN_OPTIONS for word in words):
        hint = NO_TOKEN
    tokens = [word.partition("=")[2] for word in words if word.partition("=")[0] in TOKEN_OPTIONS]
    tokens += [value for word, value in pairwise(words) if word in TOKEN_OPTIONS]
    message = error.message
    for token in ("", *(token for token in tokens if len(token) >= SHORTEST_TOKEN)):
        message, hint = by_shape(message, token), hint and by_shape(hint, token)
    return UsageError(message, hint=hint)


def _in_our_words(mistake: Any, words: Sequence[str]) -> UsageError:
    """Return typer's mistake as our error; its `str` leaves the message out."""
    path = mistake.ctx.command_path
    see = f"see: {path} --help"
    param, option = getattr(mistake, "param", None), getattr(mistake, "option_name", None)
    message = str(mistake.format_message()).rstrip(".")
    if option and hasattr(mistake, "possibilities"):
        options = [param for param in mistake.ctx.command.params if param.param_type_name == "option"]
        names = {name.strip("-"): name for param in options for name in (*param.opts, *param.secondary_opts)}
        noun = (*path.split()[1:2], "-")[0]
        has = {*names.values()}
        hint = thesaurus().hint(option, (noun, "*"), has) or _option_meant(option, names)
        hint = hint and hint.replace("{path}", path)
        return UsageError(f"{path} has no option {option}", hint=f"{hint} ({see})" if hint else see)
    if option and not message.endswith("argument"):
        return UsageError(f"{option} is a flag and takes no value", hint=f"drop the value; {see}")
    if option:
        return UsageError(f"{option} needs a value", hint=see)
    if param is not None:
        return _of_a_value(param, mistake, words, see)
    if not message.startswith("Got unexpected extra argument"):
        return UsageError(message, hint=see)
    params = mistake.ctx.command.params  # never repeat what was typed: it may be a token
    arguments = [param for param in params if param.param_type_name == "argument" and not param.hidden]
    takes = " ".join(argument.metavar for argument in arguments)
    if takes:
        return UsageError(f"{path} takes only {takes}", hint=see)
    instead = [name for name in ("--name", "--deployment") if any(name in param.opts for param in params)]
    hint = f"did you mean {instead[0]}? ({see})" if instead else see
    return UsageError(f"{path} takes no arguments", hint=hint)


def _option_meant(option: str, names: Mapping[str, str]) -> str | None:
    """Return which of a command's options was meant, by their `names` without hyphens; never the opposite."""
    if option.startswith("--no-") and option.removeprefix("--no-") in names:
        return f"drop it: that is so without {option.replace('--no-', '--')}"
    near = nearest(option.strip("-"), names)
    if near and option.startswith("--no-") == names[near[0]].startswith("--no-"):
        return f"did you mean {names[near[0]]}?"
    return None


def _of_a_value(param: Any, mistake: Any, words: Sequence[str], see: str) -> UsageError:
    name = param.metavar or param.name.upper()
    kind = param.param_type_name
    if kind == "option":
        names_typed = (word.partition("=")[0] for word in words)
        name = next((word for word in names_typed if word in param.opts), max(param.opts, key=len))
    if hasattr(mistake, "param_type"):
        nouns = ("run", "session", "agent", "env", "vault", "skill", "dream")
        lists = {noun.upper(): f"qoder {noun} list" for noun in nouns}
        lists |= {"DEPLOYMENT": "qoder deploy list", "KEY": "qoder config list"}
        listed = lists.get(name.removesuffix("..."))
        hint = f"list them: {listed}; {see}" if listed else see
        return UsageError(f"missing {kind} {name.removesuffix('...')}", hint=hint)
    value, _, why = mistake.message.partition(" is not ")
    if not why:
        return UsageError(f"{name}: {mistake.message}", hint=see)
    choices = [str(choice) for choice in getattr(param.type, "choices", ())]
    least, most = getattr(param.type, "min", None), getattr(param.type, "max", None)
    wanted = " or ".join(filter(None, (", ".join(choices[:-1]), *choices[-1:]))) or "a number"
    if most is not None:
        wanted = f"a number from {least} to {most}"
    elif least is not None:
        wanted = f"a number of at least {least}"
    plain = value.strip("'").lower()
    near = [word_near for word_near in (plain, thesaurus().values.get(plain)) if word_near in choices] or nearest(
        plain, choices
    )
    hint = f"did you mean {near[0]}? ({see})" if near else see
    if of_value := thesaurus().hint(plain, "=", choices):
        hint = of_value.replace("{value}", plain)
    if plain == "all" and param.name == "limit":
        hint = f"to show all: --all ({see})"
    if plain.startswith(_TEMPLATES) and "jsonl" in choices:
        hint = f"pipe JSON to jq: --json | jq FILTER, or choose columns: --columns NAMES ({see})"
    if "jsonl" in choices and any("--output-dir" in param.opts for param in mistake.ctx.command.params) and not near:
        hint = f"to name a folder: -O DIR ({see})"
    return UsageError(f"{name} takes {wanted}, not {value}", hint=hint)
