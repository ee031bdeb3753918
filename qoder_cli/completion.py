"""Completion scripts for bash, zsh, fish and PowerShell, made from the command tree.

A script knows commands, options and fixed values by heart: completing starts no Python and asks no server. Where the
cursor stands is read from the words before it; a table, or in fish a line, then says what can follow. What an option
or an argument takes is known from its choices, its name in Python, or its metavar: FILE is a file name, COMMAND a
command line behind `--`.
"""

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import typer

from qoder_cli.commands.help import TOPICS
from qoder_cli.configfile import KEYS
from qoder_cli.values import REGIONS

SHELLS = ("bash", "zsh", "fish", "powershell")

# The fixed words behind a parameter, by its name in Python. There are none behind DEPLOYMENT and RUN: ids from a cache
# would be a source beside FILE and COMMAND, in each script.
_WORDS = {"key": KEYS, "region": tuple(REGIONS), "shell": SHELLS, "topic": tuple(TOPICS)}
_METAVAR = re.compile(r"(?:-- )?([A-Z]+)(?:\.\.\.|\|-)?")  # RUN, RUN..., FILE|-, -- COMMAND...


@dataclass(frozen=True)
class Value:
    """What an option or an argument takes: its name, and the words that it can be when they are known."""

    name: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Option:
    """An option by all its names; `value` is None for a flag."""

    names: tuple[str, ...]
    help: str
    value: Value | None
    repeatable: bool


@dataclass(frozen=True)
class Argument:
    """An argument; `repeatable` when it takes every word that is left."""

    value: Value
    repeatable: bool


@dataclass(frozen=True)
class Level:
    """A place in the tree: the words that lead there, and what can follow."""

    words: tuple[str, ...]
    commands: dict[str, str]  # name -> one line of help
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...]

    @property
    def path(self) -> str:
        """The words that lead here, as typed."""
        return " ".join(self.words)


@dataclass(frozen=True)
class Grammar:
    """All that can be typed: the options that work everywhere, and each level with what only it has."""

    shared: tuple[Option, ...]
    levels: tuple[Level, ...]


def read(tree: Any) -> Grammar:
    """Return what can be typed, from the root of the command tree; hidden commands and options are left out."""
    levels = tuple(_levels(tree, ()))
    shared = tuple(option for option in levels[0].options if all(option in level.options for level in levels))
    own = [tuple(option for option in level.options if option not in shared) for level in levels]
    return Grammar(shared, tuple(replace(level, options=options) for level, options in zip(levels, own, strict=True)))


def script(shell: str, grammar: Grammar) -> str:
    """Return the completion script of one of SHELLS."""
    return _RENDERERS[shell](grammar)


def _levels(command: Any, words: tuple[str, ...]) -> Iterator[Level]:
    context = typer.Context(command, **command.context_settings)
    params = [param for param in command.get_params(context) if not getattr(param, "hidden", False)]
    names = command.list_commands(context) if hasattr(command, "list_commands") else []
    children = {name: child for name in names if not (child := command.get_command(context, name)).hidden}
    yield Level(
        words,
        commands={name: _sentence((child.help or "").partition("\n")[0]) for name, child in children.items()},
        options=tuple(_option(param) for param in params if param.param_type_name == "option"),
        arguments=tuple(
            Argument(_value(param), repeatable=param.nargs == -1)
            for param in params
            if param.param_type_name == "argument"
        ),
    )
    for name, child in children.items():
        yield from _levels(child, (*words, name))


def _option(param: Any) -> Option:
    return Option(
        names=tuple(sorted((*param.opts, *param.secondary_opts))),  # those of --help come in no fixed order
        help=_sentence(param.help or ""),
        value=None if param.is_flag or param.count else _value(param),
        repeatable=param.multiple or param.count,
    )


def _value(param: Any) -> Value:
    metavar = _METAVAR.fullmatch(param.metavar or "")
    choices = tuple(map(str, getattr(param.type, "choices", ())))
    return Value(metavar[1] if metavar else param.name.upper(), words=choices or _WORDS.get(param.name, ()))


def _sentence(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


def _filled(template: str, **parts: str) -> str:
    for name, text in parts.items():
        template = template.replace(f"@{name.upper()}@", text)
    return template


# --- bash and PowerShell: a table of plain words


def _plain_value(value: Value) -> str:
    return "|".join(value.words) or f"<{value.name.lower()}>"


def _plain_options(options: Iterable[Option]) -> str:
    return " ".join(
        name if option.value is None else f"{name}={_plain_value(option.value)}"
        for option in options
        for name in option.names
    )


def _plain_arguments(level: Level) -> str:
    return " ".join(_plain_value(each.value) + "..." * each.repeatable for each in level.arguments)


def _bash(grammar: Grammar) -> str:
    return _filled(
        _BASH,
        shared=_wrapped(f"    options='{_plain_options(grammar.shared)}'"),
        rows="\n".join(filter(None, map(_bash_row, grammar.levels))),
    )


def _bash_row(level: Level) -> str:
    lines = [
        f"        commands='{' '.join(level.commands)}'" if level.commands else "",
        f"        options+=' {_plain_options(level.options)}'" if level.options else "",
        f"        arguments='{_plain_arguments(level)}'" if level.arguments else "",
    ]
    row = "\n".join(_wrapped(line) for line in lines if line)
    return f"    '{level.path}')\n{row}\n        ;;" if row else ""


def _wrapped(line: str) -> str:
    return textwrap.fill(line, 100, subsequent_indent=" " * 12, break_long_words=False, break_on_hyphens=False)


_BASH = r"""# Completion of qoder and qoder-cli in bash 3.2 and newer, with and without the package bash-completion.
# Made by: qoder completion bash
# shellcheck shell=bash

# Sets what can follow the command words $1. Behind = stands the value that an option takes: words|or|others, or the
# <name> of something that is not fixed. Arguments are in order; ... repeats the last.
__qoder_cli_level() {
    commands='' arguments=''
@SHARED@
    case $1 in
@ROWS@
    esac
}

# Sets `value` to = and the value that option $1 takes, or to nothing when it takes none.
__qoder_cli_value_of() {
    local option
    value=''
    for option in $options; do
        if [[ $option == "$1="* ]]; then value=${option#"$1"}; fi
    done
}

# Offers what begins with $2 of the words $1, or of what the <name> $1 stands for; $3 goes before each.
__qoder_cli_offer() {
    local word
    case $1 in
    '<file>') __qoder_cli_generate -f "$2" "${3-}" ;;
    '<command>') __qoder_cli_offer -- "$2" ;; # it stands behind --
    '<'*) ;;
    *)
        for word in ${1//|/ }; do
            if [[ $word == "$2"* ]]; then COMPREPLY+=("${3-}$word"); fi
        done
        ;;
    esac
}

# Offers what bash itself finds, -f files or -c commands that begin with $2; $3 goes before each.
__qoder_cli_generate() {
    local word
    # bash 3.2 has no compopt, and leaves the / behind a folder to be typed
    if [[ $1 == -f || $2 == */* ]]; then compopt -o filenames 2>/dev/null; fi
    while IFS='' read -r word; do COMPREPLY+=("${3-}$word"); done < <(compgen "$1" -- "$2")
}

# Completes the command line that begins at word $1, behind `qoder sandbox --`, as it would be without that.
__qoder_cli_inside() {
    local offset
    if (($1 < last)) && [[ ${words[$1]##*/} == qoder || ${words[$1]##*/} == qoder-cli ]]; then
        __qoder_cli_walk "$1"
        return
    fi
    for offset in _comp_command_offset _command_offset; do # new and old name in the package bash-completion
        if declare -F "$offset" >/dev/null; then
            "$offset" "${places[$1]}"
            return
        fi
    done
    if (($1 < last)); then __qoder_cli_generate -f "${words[last]}"; else __qoder_cli_generate -c "${words[last]}"; fi
}

# Reads the words from the program's name at $1 up to the cursor, and offers what can stand there.
__qoder_cli_walk() {
    local path='' value='' bare='' word commands options arguments i n=0
    __qoder_cli_level ''
    for ((i = $1 + 1; i < last; i++)); do
        word=${words[i]}
        if [[ -n $value ]]; then
            value=''
        elif [[ -z $bare && $word == -- ]]; then
            if [[ $arguments == '<command>'* ]]; then
                __qoder_cli_inside $((i + 1))
                return
            fi
            bare=1
        elif [[ -z $bare && $word == -* ]]; then
            __qoder_cli_value_of "$word"
        elif [[ -n $commands ]]; then
            [[ " $commands " == *" $word "* ]] || return 0
            path+="${path:+ }$word"
            __qoder_cli_level "$path"
        else
            n=$((n + 1))
        fi
    done
    word=${words[last]}
    if [[ -n $value ]]; then
        __qoder_cli_offer "${value#=}" "$word"
    elif [[ -z $bare && $word == --*=* ]]; then
        __qoder_cli_value_of "${word%%=*}"
        # where bash cuts at = it wants only what comes behind it
        if [[ $COMP_WORDBREAKS == *=* ]]; then i=''; else i=${word%%=*}=; fi
        __qoder_cli_offer "${value#=}" "${word#*=}" "$i"
    elif [[ -z $bare && $word == -* ]]; then
        for i in $options; do __qoder_cli_offer "${i%%=*}" "$word"; done
    elif [[ -n $commands ]]; then
        __qoder_cli_offer "$commands" "$word"
    else
        for i in $arguments; do
            if ((n-- == 0)) || [[ $i == *... ]]; then
                __qoder_cli_offer "${i%...}" "$word"
                return
            fi
        done
    fi
}

_qoder_cli() {
    local IFS=$' \t\n' rest=${COMP_LINE:0:COMP_POINT} piece i last=-1
    local words=() places=()
    COMPREPLY=()
    # bash 4 and newer cut words at = and : too: what has no space between is one word again, up to the cursor.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        if [[ $i == 0 || $rest == [[:space:]]* ]]; then
            last=$((last + 1)) words[last]='' places[last]=$i
        fi
        rest=${rest#"${rest%%[![:space:]]*}"}
        if [[ $i == "$COMP_CWORD" ]]; then piece=$rest; else piece=${COMP_WORDS[i]}; fi
        words[last]+=$piece
        rest=${rest#"$piece"}
    done
    __qoder_cli_walk 0
}

complete -F _qoder_cli qoder qoder-cli
"""


def _powershell(grammar: Grammar) -> str:
    rows = "\n".join(
        f"        '{level.path}' = '{' '.join(level.commands)}', '{_plain_options(level.options)}', "
        f"'{_plain_arguments(level)}'"
        for level in grammar.levels
    )
    return _filled(_POWERSHELL, shared=_plain_options(grammar.shared), rows=rows)


_POWERSHELL = r"""# Completion of qoder and qoder-cli in PowerShell 5 and newer. Made by: qoder completion powershell
# Not tried in a real PowerShell: it follows the bash script, which is.

Register-ArgumentCompleter -Native -CommandName qoder, qoder-cli -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    # Commands, options and arguments that can follow the words. Behind = stands the value that an option takes:
    # words|or|others, or the <name> of something that is not fixed. Arguments are in order; ... repeats the last.
    $shared = '@SHARED@'
    $levels = @{
@ROWS@
    }
    $valueOf = { # = and the value that an option takes, or nothing when it takes none
        param($name)
        "$shared $options" -split ' ' | Where-Object { $_.StartsWith("$name=", 'Ordinal') } |
            ForEach-Object { $_.Substring($name.Length) } | Select-Object -First 1
    }

    $before = @($commandAst.CommandElements | Where-Object { $_.Extent.EndOffset -lt $cursorPosition })
    $path = ''
    $value = ''
    $bare = $false
    $nth = 0
    $commands, $options, $arguments = $levels['']
    for ($i = 1; $i -lt $before.Count; $i++) {
        $word = $before[$i].Extent.Text
        if ($value) {
            $value = ''
        } elseif (-not $bare -and $word -ceq '--') {
            if ($arguments.StartsWith('<command>')) { return } # PowerShell then offers files
            $bare = $true
        } elseif (-not $bare -and $word.StartsWith('-')) {
            $value = & $valueOf $word
        } elseif ($commands) {
            if (@($commands -split ' ') -cnotcontains $word) { return }
            $path = "$path $word".Trim()
            $commands, $options, $arguments = $levels[$path]
        } else {
            $nth++
        }
    }

    $prefix = ''
    $known = ''
    if ($value) {
        $known = $value.Substring(1)
    } elseif (-not $bare -and $wordToComplete -like '--*=*') {
        $prefix = $wordToComplete.Substring(0, $wordToComplete.IndexOf('=') + 1)
        $known = "$(& $valueOf ($prefix.TrimEnd('=')))".TrimStart('=')
    } elseif (-not $bare -and $wordToComplete.StartsWith('-')) {
        $known = "$shared $options" -replace '=\S*', ''
    } elseif ($commands) {
        $known = $commands
    } elseif ($arguments) {
        $each = @($arguments -split ' ')
        if ($nth -lt $each.Count) { $known = $each[$nth] } elseif ($each[-1].EndsWith('...')) { $known = $each[-1] }
        $known = $known -replace '\.\.\.$', '' -replace '^<command>$', '--'
    }
    if ($known.StartsWith('<')) { return } # nothing fixed: PowerShell offers files
    $known -split '[ |]' | Where-Object { $_ -and "$prefix$_".StartsWith($wordToComplete, 'Ordinal') } |
        ForEach-Object { [System.Management.Automation.CompletionResult]::new("$prefix$_", $_, 'ParameterValue', $_) }
}
"""


# --- zsh: the specifications of _arguments


def _zsh(grammar: Grammar) -> str:
    return _filled(
        _ZSH,
        shared="\n".join(f"    {_zsh_option(option)}" for option in grammar.shared),
        rows="\n".join(filter(None, map(_zsh_row, grammar.levels))),
    )


def _zsh_row(level: Level) -> str:
    lists = {
        "verbs": [_quoted(f"{name}:{help}") for name, help in level.commands.items()],
        "flags": [_zsh_option(option) for option in level.options],
        "values": [_zsh_argument(place, each) for place, each in enumerate(level.arguments, start=1)],
    }
    row = "".join(_zsh_list(name, items) for name, items in lists.items() if items)
    return f"    ('{level.path}')\n{row}      ;;" if row else ""


def _zsh_list(name: str, items: list[str]) -> str:
    if len(items) == 1:
        return f"      {name}=({items[0]})\n"
    return f"      {name}=(\n" + "".join(f"        {item}\n" for item in items) + "      )\n"


def _zsh_option(option: Option) -> str:
    help = f"[{_escaped(option.help, '[]')}]"
    if option.value is None:
        names, rest = list(option.names), help
    else:  # --name=VALUE or --name VALUE, -nVALUE or -n VALUE
        names = [name + ("=" if name.startswith("--") else "+") for name in option.names]
        rest = f"{help}:{_zsh_value(option.value)}"
    once = "*" if option.repeatable else f"({' '.join(option.names)})" if len(names) > 1 else ""
    if len(names) == 1:
        return _quoted(once + names[0] + rest)
    return f"{_quoted(once)}{{{','.join(names)}}}{_quoted(rest)}"


def _zsh_argument(place: int, argument: Argument) -> str:
    return _quoted(f"{'*' if argument.repeatable else place}:{_zsh_value(argument.value)}")


def _zsh_value(value: Value) -> str:
    fixed = f"({' '.join(value.words)})"
    return f"{value.name.lower()}:{_ZSH_ACTIONS.get(value.name, fixed)}"


def _escaped(text: str, characters: str) -> str:
    return re.sub(f"[\\\\{re.escape(characters)}]", r"\\\g<0>", text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", r"'\''") + "'"


_ZSH_ACTIONS = {"FILE": "_files", "COMMAND": "(--)"}

_ZSH = r"""#compdef qoder qoder-cli
# Completion of qoder and qoder-cli in zsh. Made by: qoder completion zsh

# Completes what follows the command words $1.
_qoder_level() {
  local -a verbs flags values # $commands and $options are the shell's own
  case $1 in
@ROWS@
  esac

  local -i dashes=${words[(i)--]}
  if [[ $values == *'(--)' ]] && (( dashes < CURRENT )); then # a command line of its own
    shift dashes words
    (( CURRENT -= dashes ))
    _normal
    return
  fi

  local curcontext=$curcontext context state state_descr line
  local -A opt_args
  if (( ! $#verbs )); then
    _arguments -s -S : $flags $shared $values
    return
  fi
  _arguments -C -s -S : $flags $shared '1: :->command' '*:: :->rest' && return
  case $state in
    (command) _describe -t commands command verbs ;;
    (rest) (( $verbs[(I)${(b)words[1]}:*] )) && _qoder_level "${1:+$1 }$words[1]" ;;
  esac
}

_qoder() {
  local -a shared=(
@SHARED@
  )
  _qoder_level ''
}

if [[ $funcstack[1] == _qoder ]]; then
  _qoder
else
  compdef _qoder qoder qoder-cli
fi
"""


# --- fish: a line for each thing that can be offered


def _fish(grammar: Grammar) -> str:
    lines = [f"complete -c qoder{_fish_option(option)}" for option in grammar.shared]
    lines += [line for level in grammar.levels for line in _fish_lines(level)]
    return _filled(_FISH, takers=_fish_takers(grammar), lines="\n".join(lines))


def _fish_lines(level: Level) -> Iterator[str]:
    at, under = (" ".join([function, *level.words]) for function in ("__qoder_at", "__qoder_under"))
    for name, help in level.commands.items():
        yield f"complete -c qoder -n '{at}' -a {name} -d {_fish_quoted(help)}"
    for option in level.options:
        yield f"complete -c qoder -n '{at if level.commands else under}'{_fish_option(option)}"
    for place, argument in enumerate(level.arguments):
        if what := _fish_value(argument.value):
            where = (under if argument.repeatable else at) + r" \*" * place
            yield f"complete -c qoder -n '{where}'{what}"


def _fish_option(option: Option) -> str:
    names = "".join(f" -{'l' if name.startswith('--') else 's'} {name.lstrip('-')}" for name in option.names)
    value = "" if option.value is None else " -r" + (_fish_value(option.value) or " -f")
    return f"{names}{value} -d {_fish_quoted(option.help)}"


def _fish_value(value: Value) -> str:
    if value.words:
        return f" -fa '{' '.join(value.words)}'"
    return _FISH_SOURCES.get(value.name, "")


def _fish_takers(grammar: Grammar) -> str:
    """Return a pattern for each option that takes a value, behind the words where it does."""
    places = [("* ", grammar.shared), *((f"{level.path}* ", level.options) for level in grammar.levels)]
    rows = []
    for place, options in places:
        names = [name for option in options if option.value for name in option.names]
        if names:  # fish leaves {one} as it is
            rows.append(f"'{place}'{{{','.join(names)}}}" if len(names) > 1 else f"'{place}{names[0]}'")
    return " \\\n                ".join(rows)


def _fish_quoted(text: str) -> str:
    return "'" + _escaped(text, "'") + "'"


_FISH_SOURCES = {"FILE": " -F", "COMMAND": " -fa '(__qoder_inside)'"}

_FISH = r"""# Completion of qoder and qoder-cli in fish. Made by: qoder completion fish

function __qoder_words --description 'Print the commands and arguments before the cursor, without options'
    set -l words
    set -l value
    for word in (commandline -opc)[2..]
        if set -q value[1]
            set -e value[1]
            continue
        end
        switch "$words $word"
            case @TAKERS@
                set value follows
            case '* -*'
            case '*'
                set -a words $word
        end
    end
    string join \n -- $words
end

function __qoder_at --description 'Test whether exactly these words were typed; * is any word'
    set -l words (__qoder_words)
    test (count $words) -eq (count $argv); and string match -q -- "$argv" "$words"
end

function __qoder_under --description 'Test whether the words typed begin with these'
    string match -q -- "$argv *" (string join ' ' -- (__qoder_words))' '
end

function __qoder_inside --description 'Complete the command line behind --, as it would be without that'
    if set -l line (commandline -pc | string replace -rf '^.*?\s--\s+' '')
        complete -C $line
    else
        echo -- --
    end
end

complete -c qoder -f
complete -c qoder-cli -w qoder
@LINES@
"""

_RENDERERS: dict[str, Callable[[Grammar], str]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
    "powershell": _powershell,
}
