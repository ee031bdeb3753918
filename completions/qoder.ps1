# Completion of qoder and qoder-cli in PowerShell 5 and newer. Made by: qoder completion powershell
# Not tried in a real PowerShell: it follows the bash script, which is.

Register-ArgumentCompleter -Native -CommandName qoder, qoder-cli -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    # Commands, options and arguments that can follow the words. Behind = stands the value that an option takes:
    # words|or|others, or the <name> of something that is not fixed. Arguments are in order; ... repeats the last.
    $shared = '-o=table|json|jsonl|id --json -q --profile=<name> --region=global|cn --base-url=<url> --workspace=<id> --request-timeout=<d> --no-progress --no-input --debug --no-color --help -h'
    $unshown = '--format=table|json|jsonl|id --output=table|json|jsonl|id' # understood, and not offered
    $levels = @{
        '' = 'deploy run auth config api doctor sandbox completion help', '--version', ''
        'deploy' = 'run list get create update apply export pause unpause archive', '', ''
        'deploy run' = '', '--wait -w --follow -f --result --require-outcome --timeout=<d> --interval=<d> --idempotency-key=<key> --on-lost=adopt|resend|fail --if-idle --on-skip=fail|ok --on-leave=detach|cancel --on-ask=stop|wait --parallel=<n> --fail-fast --keep-going --allow-duplicates --dry-run --ci', '<deployment>...'
        'deploy list' = '', '--status=active|paused --agent=<id> --include-archived --limit=<n> -n=<n> --all', ''
        'deploy get' = '', '', '<deployment>'
        'deploy create' = '', '--name=<name> --agent=<agent> --environment=<env> --message=<text> -m=<text> --description=<text> --schedule=<cron> --timezone=<zone> --vault=<id> --metadata=<metadata> --budget=<credits> --dry-run', ''
        'deploy update' = '', '--name=<name> --agent=<agent> --environment=<env> --message=<text> -m=<text> --description=<text> --schedule=<cron> --timezone=<zone> --no-schedule --vault=<id> --no-vault --metadata=<metadata> --remove-metadata=<key> --budget=<credits> --no-budget --dry-run', '<deployment>'
        'deploy apply' = '', '--filename=<file> -f=<file> --yes -y --dry-run --exit-code --repin --send-secrets', ''
        'deploy export' = '', '', '<deployment>...'
        'deploy pause' = '', '', '<deployment>...'
        'deploy unpause' = '', '', '<deployment>...'
        'deploy archive' = '', '--yes -y', '<deployment>...'
        'run' = 'list get wait logs result cancel', '', ''
        'run list' = '', '--status=pending|running|completed|failed|skipped --trigger=manual|schedule|retry --since=<when> --until=<when> --limit=<n> -n=<n> --all --no-resolve --resolve', '<deployment>'
        'run get' = '', '--exit-status', '<run>'
        'run wait' = '', '--timeout=<d> --interval=<d> --follow -f --result --require-outcome --on-ask=stop|wait --ci', '<run>...'
        'run logs' = '', '--follow -f --on-ask=stop|wait --tail=<n> --type=<type> --since=<when>', '<run>...'
        'run result' = '', '--output-dir=<dir>', '<run>'
        'run cancel' = '', '--yes -y', '<run>'
        'auth' = 'login logout status', '', ''
        'auth login' = '', '--with-token --yes -y', ''
        'auth logout' = '', '', ''
        'auth status' = '', '', ''
        'config' = 'list get set unset path', '', ''
        'config list' = '', '', ''
        'config get' = '', '', 'token|region|base_url|workspace_id'
        'config set' = 'region base_url workspace_id', '', ''
        'config unset' = '', '', 'token|region|base_url|workspace_id'
        'config path' = '', '', ''
        'api' = '', '-f=<text_fields> -F=<json_fields> --input=<file> --form=<form> --query=<query> --header=<header> --paginate --include -i --idempotency-key=<key> --list', 'GET|POST|PUT|PATCH|DELETE <path>'
        'doctor' = '', '--offline', ''
        'sandbox' = '', '--generation=legacy|current --speed=<n> --port=<n> --deployments=<n> --fault=<fault>', '<command>...'
        'completion' = '', '--install', 'bash|zsh|fish|powershell'
        'help' = 'exit-codes environment output deploy run auth config api doctor sandbox completion help', '', ''
        'help deploy' = 'run list get create update apply export pause unpause archive', '', ''
        'help run' = 'list get wait logs result cancel', '', ''
        'help auth' = 'login logout status', '', ''
        'help config' = 'list get set unset path', '', ''
        'config set region' = '', '', 'global|cn'
    }
    $others = @{ # other words for a noun, and for a verb behind one
        '/deployment' = 'deploy'
        '/deployments' = 'deploy'
        '/runs' = 'run'
        '?*/ls' = 'list'
        '?*/resume' = 'unpause'
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
