"""Completion in fish: a line for each thing that can be offered."""

from collections.abc import Iterator

from qoder_cli.completion.grammar import Grammar, Level, Option, Value
from qoder_cli.completion.texts import escaped, filled, understood


def render(grammar: Grammar) -> str:
    """Return the script."""
    lines = [f"complete -c qoder{_option(option)}" for option in grammar.shared]
    lines += [_unshown(option) for option in grammar.unshown]
    lines += [line for level in grammar.levels for line in _lines(level)]
    others = "\n".join(_other(*each) for each in understood())
    return filled(_TEMPLATE, takers=_takers(grammar), others=others, lines="\n".join(lines))


def _other(word: str, ours: str, is_noun: bool) -> str:
    places = f"' {word}' 'help {word}'" if is_noun else f"'* {word}'"
    return f"                    case {places}\n                        set word {ours}"


def _lines(level: Level) -> Iterator[str]:
    at, under = (" ".join([function, *level.words]) for function in ("__qoder_at", "__qoder_under"))
    for name, help in level.commands.items():
        yield f"complete -c qoder -n '{at}' -a {name} -d {_quoted(help)}"
    for option in level.options:
        yield f"complete -c qoder -n '{at if level.commands else under}'{_option(option)}"
    for place, argument in enumerate(level.arguments):
        if what := _value(argument.value):
            where = (under if argument.repeatable else at) + r" \*" * place
            yield f"complete -c qoder -n '{where}'{what}"


def _option(option: Option) -> str:
    names = "".join(f" -{'l' if name.startswith('--') else 's'} {name.lstrip('-')}" for name in option.names)
    value = "" if option.value is None else " -r" + (_value(option.value) or " -f")
    return f"{names}{value} -d {_quoted(option.help)}"


def _unshown(option: Option) -> str:
    """Return an option that fish knows of only once it was typed, and so does not offer."""
    return f"complete -c qoder -n '__qoder_typed {' '.join(option.names)}'{_option(option)}"


def _value(value: Value) -> str:
    if value.words:
        return f" -fa '{' '.join(value.words)}'"
    return _SOURCES.get(value.name, "")


def _takers(grammar: Grammar) -> str:
    """Return a pattern for each option that takes a value, behind the words where it does."""
    places = [
        ("* ", grammar.shared + grammar.unshown),
        *((f"{level.path}* ", level.options) for level in grammar.levels),
    ]
    rows = []
    for place, options in places:
        names = [name for option in options if option.value for name in option.names]
        if names:  # fish leaves {one} as it is
            rows.append(f"'{place}'{{{','.join(names)}}}" if len(names) > 1 else f"'{place}{names[0]}'")
    return " \\\n                ".join(rows)


def _quoted(text: str) -> str:
    return "'" + escaped(text, "'") + "'"


_SOURCES = {
    "FILE": " -F",
    "DIR": " -fa '(__fish_complete_directories)'",
    "COMMAND": " -fa '(__qoder_inside)'",
    "DEPLOYMENT": " -fka '(__qoder_remembered deployments dep_)'",
    "RUN": " -fka '(__qoder_remembered runs drun_)'",
}

_TEMPLATE = r"""# Completion of qoder and qoder-cli in fish. Made by: qoder completion fish

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
                switch "$words $word"
@OTHERS@
                end
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

function __qoder_typed --description 'Test whether one of these options stands before the cursor'
    for option in $argv
        string match -q -- "* $option *" (commandline -cp | string replace -ra '[\s=]' ' ')' '; and return
    end
    return 1
end

function __qoder_inside --description 'Complete the command line behind --, as it would be without that'
    if set -l line (commandline -pc | string replace -rf '^.*?\s--\s+' '')
        QODER_SANDBOX=inside complete -C $line
    else
        echo -- --
    end
end

function __qoder_remembered --description 'Print the ids that qoder remembers, and names once something is typed'
    set -l base "$XDG_STATE_HOME"
    string match -q '/*' -- $base; or set base ~/.local/state
    set -l folders $base/qoder ~/Library/Application\ Support/qoder $LOCALAPPDATA/qoder
    if test -n "$QODER_STATE_DIR"
        set folders (string replace -r '^~(?=/)' ~ -- $QODER_STATE_DIR)
    end
    set -l sandbox
    test -n "$QODER_SANDBOX"; and set sandbox sandbox-
    # what the sandbox remembers is of one world, whatever the profile
    set -l profile (string match -rg '.*\s--profile[=\s]+["\']?([\w.-]+)' -- (commandline -p))
    set -q profile[1]; or set profile default
    test -n "$QODER_SANDBOX"; and set profile '[^\t]*'; or set profile (string escape --style=regex -- $profile)
    test $argv[1] = runs; and printf 'last\tthe newest that was started here\n'
    for file in $folders/"$sandbox$argv[1].tsv"
        test -f $file -a -r $file; or continue
        set -l lines (head -c 262144 -- $file 2>/dev/null |
            string match -rg "^($argv[2][A-Za-z0-9_-]+"'\t[^\t]*\t[^\t]+)\t[^\t]*\t'"$profile\t")
        string replace -r '\t([^\t]*)$' ', $1' -- $lines | string replace -r ', -$' ''
        if test $argv[1] = deployments -a -n "$(commandline -ct)"
            string replace -rf '^([^\t]*)\t([\pL\pN][\pL\pN._-]*)\t.*' '$2\t$1' -- $lines
        end
        return
    end
end

complete -c qoder -f
complete -c qoder-cli -w qoder
@LINES@
"""
