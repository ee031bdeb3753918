"""Completion in PowerShell: the table of plain words that bash has, in a hash."""

from qoder_cli.completion.grammar import Grammar
from qoder_cli.completion.table import arguments, options
from qoder_cli.completion.texts import filled, understood


def render(grammar: Grammar) -> str:
    """Return the script."""
    rows = "\n".join(
        f"        '{level.path}' = '{' '.join(level.commands)}', '{options(level.options)}', '{arguments(level)}'"
        for level in grammar.levels
    )
    others = "\n".join(
        f"        '{'/' if is_noun else '?*/'}{word}' = '{ours}'" for word, ours, is_noun in understood()
    )
    return filled(_TEMPLATE, shared=options(grammar.shared), unshown=options(grammar.unshown), rows=rows, others=others)


_TEMPLATE = r"""# Completion of qoder and qoder-cli in PowerShell 5 and newer. Made by: qoder completion powershell
# Not tried in a real PowerShell: it follows the bash script, which is.

Register-ArgumentCompleter -Native -CommandName qoder, qoder-cli -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    # Commands, options and arguments that can follow the words. Behind = stands the value that an option takes:
    # words|or|others, or the <name> of something that is not fixed. Arguments are in order; ... repeats the last.
    $shared = '@SHARED@'
    $unshown = '@UNSHOWN@' # understood, and not offered
    $levels = @{
@ROWS@
    }
    $others = @{ # other words for a noun, and for a verb behind one
@OTHERS@
    }
    $valueOf = { # = and the value that an option takes, or nothing when it takes none
        param($name)
        "$shared $unshown $options" -split ' ' | Where-Object { $_.StartsWith("$name=", 'Ordinal') } |
            ForEach-Object { $_.Substring($name.Length) } | Select-Object -First 1
    }

    $remembered = { # pairs of what commands of qoder remember of $what, deployments or runs, and what each is
        param($what)
        $name = "$(if ($env:QODER_SANDBOX) { 'sandbox-' })$what.tsv"
        $folders = "$env:LOCALAPPDATA/qoder", "$env:XDG_STATE_HOME/qoder", "$HOME/.local/state/qoder",
            "$HOME/Library/Application Support/qoder"
        if ($env:QODER_STATE_DIR) { $folders = @($env:QODER_STATE_DIR -replace '^~(?=[/\\])', $HOME) }
        $file = $folders | ForEach-Object { Get-Item -LiteralPath "$_/$name" -ErrorAction SilentlyContinue } |
            Where-Object { -not $_.PSIsContainer -and $_.Length -lt 256KB } | Select-Object -First 1
        if ($what -ceq 'runs') { , @('last', 'the newest that was started here') }
        if (-not $file) { return }
        foreach ($line in Get-Content -LiteralPath $file.FullName -Encoding UTF8 -ErrorAction SilentlyContinue) {
            $id, $known, $mark, $of, $whose, $rest = $line -split "`t"
            if (-not $env:QODER_SANDBOX -and $whose -cne $named) { continue }
            if ($id -cnotmatch '^d(ep|run)_[A-Za-z0-9_-]+$' -or -not $mark) { continue }
            , @($id, $(if ($mark -ceq '-') { $known } else { "$known, $mark" }))
            if ($wordToComplete -and $what -ceq 'deployments' -and $known -cmatch '^[\p{L}\p{N}][\p{L}\p{N}._-]*$') {
                , @($known, $id)
            }
        }
    }

    # of another profile nothing is offered; what the sandbox remembers is of one world
    $named = if ("$commandAst" -cmatch '.*\s--profile[=\s]+["'']?([\w.-]+)') { $Matches[1] } else { 'default' }
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
            $other = $others["$(if ($path) { '?*' })/$word"]
            if ($other) { $word = $other }
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
    if ($known -cmatch '^<(deployment|run)>$') {
        & $remembered "$($Matches[1])s" | Where-Object { "$prefix$($_[0])".StartsWith($wordToComplete, 'Ordinal') } |
            ForEach-Object {
                [System.Management.Automation.CompletionResult]::new("$prefix$($_[0])", $_[0], 'ParameterValue', $_[1])
            }
        return
    }
    if ($known.StartsWith('<')) { return } # nothing fixed: PowerShell offers files
    $known -split '[ |]' | Where-Object { $_ -and "$prefix$_".StartsWith($wordToComplete, 'Ordinal') } |
        ForEach-Object { [System.Management.Automation.CompletionResult]::new("$prefix$_", $_, 'ParameterValue', $_) }
}
"""
