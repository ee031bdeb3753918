"""Completion in zsh: the specifications that its `_arguments` reads."""

from qoder_cli.completion.grammar import Argument, Grammar, Level, Option, Value
from qoder_cli.completion.texts import escaped, filled, understood


def render(grammar: Grammar) -> str:
    """Return the script."""
    return filled(
        _TEMPLATE,
        shared="\n".join(
            [f"    {_option(option)}" for option in grammar.shared]
            + [f"    {_unshown(option)}" for option in grammar.unshown]
        ),
        rows="\n".join(filter(None, map(_row, grammar.levels))),
        others="\n".join(_other(*each) for each in understood()),
    )


def _other(word: str, ours: str, is_noun: bool) -> str:
    return f"        ({f'/{word}|help/{word}' if is_noun else f'?*/{word}'}) words[1]={ours} ;;"


def _row(level: Level) -> str:
    lists = {
        "verbs": [_quoted(f"{name}:{help}") for name, help in level.commands.items()],
        "flags": [_option(option) for option in level.options],
        "values": [_argument(place, each) for place, each in enumerate(level.arguments, start=1)],
    }
    row = "".join(_list(name, items) for name, items in lists.items() if items)
    return f"    ('{level.path}')\n{row}      ;;" if row else ""


def _list(name: str, items: list[str]) -> str:
    if len(items) == 1:
        return f"      {name}=({items[0]})\n"
    return f"      {name}=(\n" + "".join(f"        {item}\n" for item in items) + "      )\n"


def _option(option: Option) -> str:
    help = f"[{escaped(option.help, '[]')}]"
    if option.value is None:
        names, rest = list(option.names), help
    else:  # --name=VALUE or --name VALUE, -nVALUE or -n VALUE
        names = [name + ("=" if name.startswith("--") else "+") for name in option.names]
        rest = f"{help}:{_value(option.value)}"
    once = "*" if option.repeatable else f"({' '.join(option.names)})" if len(names) > 1 else ""
    if len(names) == 1:
        return _quoted(once + names[0] + rest)
    return f"{_quoted(once)}{{{','.join(names)}}}{_quoted(rest)}"


def _unshown(option: Option) -> str:
    """Return each name of an option with the ! that keeps it from being offered."""
    assert option.value
    return " ".join(_quoted(f"!{name}=:{_value(option.value)}") for name in option.names)


def _argument(place: int, argument: Argument) -> str:
    return _quoted(f"{'*' if argument.repeatable else place}:{_value(argument.value)}")


def _value(value: Value) -> str:
    fixed = f"({' '.join(value.words)})"
    return f"{value.name.lower()}:{_ACTIONS.get(value.name, fixed)}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", r"'\''") + "'"


# Behind a space stands what is called as it is, without what _arguments would tell it of the group.
_ACTIONS = {
    "FILE": "_files",
    "DIR": "_files -/",
    "COMMAND": "(--)",
    "DEPLOYMENT": " _qoder_remembered deployments dep_",
    "RUN": " _qoder_remembered runs drun_",
}

_TEMPLATE = r"""#compdef qoder qoder-cli
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
    local QODER_SANDBOX=inside
    _normal
    return
  fi

  local curcontext=$curcontext context state state_descr line
  local -A opt_args
  if (( ! $#verbs )); then
    _arguments -s -S : $flags $shared $values
    return
  fi
  _arguments -C -s -S : $flags $shared '(-)1: :->command' '(-)*:: :->rest' && return
  case $state in
    (command) _describe -t commands command verbs ;;
    (rest)
      words[1]=${(Q)words[1]}
      case ${1// //}/$words[1] in
@OTHERS@
      esac
      (( $verbs[(I)${(b)words[1]}:*] )) && _qoder_level "${1:+$1 }$words[1]" ;;
  esac
}

# Offers what commands of qoder remember of $1, whose ids begin with $2; plain names too, once something is typed.
_qoder_remembered() {
  local base=${XDG_STATE_HOME-} file line about profile=default
  local -a folders files column offers
  [[ $base == /* ]] || base=$HOME/.local/state
  folders=($base/qoder "$HOME/Library/Application Support/qoder" ${LOCALAPPDATA:+$LOCALAPPDATA/qoder})
  [[ -n $QODER_STATE_DIR ]] && folders=("${QODER_STATE_DIR/#\~\//$HOME/}")
  for file in $folders; do # a plain file, and no larger than one of ours
    files+=("$file/${QODER_SANDBOX:+sandbox-}$1.tsv"(N-.Lk-256))
  done
  for line in ${(Q)typed}; do # --profile NAME or --profile=NAME, wherever it stands; the last one counts
    [[ $file == --profile ]] && profile=$line
    [[ $line == --profile=* ]] && profile=${line#*=}
    file=$line
  done
  [[ $1 == runs ]] && offers+=('last:the newest that was started here')
  [[ -n $files && -r $files[1] ]] && for line in ${${(f)"$(<$files[1])"}[1,1000]}; do
    column=("${(@ps:\t:)line}")
    [[ $column[1] == $2[[:alnum:]_-]## && -n $column[3] ]] || continue
    [[ -n $QODER_SANDBOX || $column[5] == "$profile" ]] || continue
    about=$column[2]
    [[ $column[3] == - ]] || about+=", $column[3]"
    offers+=("$column[1]:${about//\\/\\\\}")
    [[ -n $PREFIX && $1 == deployments && $column[2] == [[:alnum:]][[:alnum:]._-]# ]] &&
      offers+=("$column[2]:$column[1]")
  done
  _describe -V -t $1 ${1%s} offers
} 2>/dev/null

_qoder() {
  local -a typed=("${words[@]}") shared=(
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
