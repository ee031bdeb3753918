# Completion of qoder and qoder-cli in fish. Made by: qoder completion fish

function __qoder_words --description 'Print the commands and arguments before the cursor, without options'
    set -l words
    set -l value
    for word in (commandline -opc)[2..]
        if set -q value[1]
            set -e value[1]
            continue
        end
        switch "$words $word"
            case '* '{-o,--profile,--region,--base-url,--workspace,--request-timeout,--format,--output} \
                'deploy run* '{--timeout,--interval,--idempotency-key,--on-lost,--on-skip,--on-leave,--on-ask,--parallel} \
                'deploy list* '{--status,--agent,--limit,-n} \
                'deploy create* '{--name,--agent,--environment,--message,-m,--description,--schedule,--timezone,--vault,--metadata,--budget} \
                'deploy update* '{--name,--agent,--environment,--message,-m,--description,--schedule,--timezone,--vault,--metadata,--remove-metadata,--budget} \
                'deploy apply* '{--filename,-f} \
                'run list* '{--status,--trigger,--since,--until,--limit,-n} \
                'run wait* '{--timeout,--interval,--on-ask} \
                'run logs* '{--on-ask,--tail,--type,--since} \
                'run result* --output-dir' \
                'api* '{-f,-F,--input,--form,--query,--header,--idempotency-key} \
                'sandbox* '{--generation,--speed,--port,--deployments,--fault}
                set value follows
            case '* -*'
            case '*'
                switch "$words $word"
                    case ' deployment' 'help deployment'
                        set word deploy
                    case ' deployments' 'help deployments'
                        set word deploy
                    case ' runs' 'help runs'
                        set word run
                    case '* ls'
                        set word list
                    case '* resume'
                        set word unpause
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
complete -c qoder -s o -r -fa 'table json jsonl id' -d 'table, json, jsonl or id'
complete -c qoder -l json -d 'The same as -o json'
complete -c qoder -s q -d 'The same as -o id: only the id'
complete -c qoder -l profile -r -f -d 'Use this profile of the config file'
complete -c qoder -l region -r -fa 'global cn' -d 'global or cn'
complete -c qoder -l base-url -r -f -d 'Ask this server instead'
complete -c qoder -l workspace -r -f -d 'Send this workspace id'
complete -c qoder -l request-timeout -r -f -d 'Longest time for one request; 30s, a trigger 60s'
complete -c qoder -l no-progress -d 'Nothing on stderr but warnings and errors'
complete -c qoder -l no-input -d 'Never ask a question'
complete -c qoder -l debug -d 'Show requests and answers, without secrets'
complete -c qoder -l no-color -d 'No colours'
complete -c qoder -l help -s h -d 'Show this text'
complete -c qoder -n '__qoder_typed --format --output' -l format -l output -r -fa 'table json jsonl id' -d 'Understood'
complete -c qoder -n '__qoder_at' -a deploy -d 'Run deployments, and look at them'
complete -c qoder -n '__qoder_at' -a run -d 'Look at runs, and wait for their end'
complete -c qoder -n '__qoder_at' -a auth -d 'Log in, log out, see which token is used'
complete -c qoder -n '__qoder_at' -a config -d 'Read and change the config file'
complete -c qoder -n '__qoder_at' -a api -d 'Ask for any operation of the API'
complete -c qoder -n '__qoder_at' -a doctor -d 'Look for what may be wrong, and say how to fix it'
complete -c qoder -n '__qoder_at' -a sandbox -d 'Rehearse against a server on this machine, where nothing is real'
complete -c qoder -n '__qoder_at' -a completion -d 'Print the completion script of a shell'
complete -c qoder -n '__qoder_at' -a help -d 'Read about commands, exit codes, environment and output'
complete -c qoder -n '__qoder_at' -l version -d 'Print the version'
complete -c qoder -n '__qoder_at deploy' -a run -d 'Start runs of deployments by hand'
complete -c qoder -n '__qoder_at deploy' -a list -d 'List deployments, newest first: the newest 20 unless told otherwise'
complete -c qoder -n '__qoder_at deploy' -a get -d 'Show a deployment: its state, schedule and setup, and its recent runs'
complete -c qoder -n '__qoder_at deploy' -a create -d 'Create a deployment, once: it refuses a name that another one has'
complete -c qoder -n '__qoder_at deploy' -a update -d 'Change a deployment: only what the options name, and only what differs'
complete -c qoder -n '__qoder_at deploy' -a apply -d 'Make deployments what files say: create those missing, change the rest'
complete -c qoder -n '__qoder_at deploy' -a export -d 'Write deployments as a file that `deploy apply` takes back'
complete -c qoder -n '__qoder_at deploy' -a pause -d 'Pause deployments: their schedules stop, and they cannot be run'
complete -c qoder -n '__qoder_at deploy' -a unpause -d 'Unpause deployments: their schedules go on from now'
complete -c qoder -n '__qoder_at deploy' -a archive -d 'Archive deployments, for good: there is no way back'
complete -c qoder -n '__qoder_under deploy run' -l wait -s w -d 'Stay until the run has ended; exit with its outcome'
complete -c qoder -n '__qoder_under deploy run' -l follow -s f -d '--wait, and show on stderr what happens meanwhile'
complete -c qoder -n '__qoder_under deploy run' -l result -d '--wait, and print the agent\'s final message'
complete -c qoder -n '__qoder_under deploy run' -l require-outcome -d 'Exit 1 unless its outcome was evaluated as satisfied'
complete -c qoder -n '__qoder_under deploy run' -l timeout -r -f -d 'Give up waiting after 90s, 10m, 1h30m; 0 checks once'
complete -c qoder -n '__qoder_under deploy run' -l interval -r -f -d 'Longest pause between checks; 5s if not given'
complete -c qoder -n '__qoder_under deploy run' -l idempotency-key -r -f -d 'Start at most one run under this key'
complete -c qoder -n '__qoder_under deploy run' -l on-lost -r -fa 'adopt resend fail' -d 'When the answer is lost: adopt the run if it is found, resend, or fail'
complete -c qoder -n '__qoder_under deploy run' -l if-idle -d 'Start nothing while one is going or waits for an answer. Not a lock'
complete -c qoder -n '__qoder_under deploy run' -l on-skip -r -fa 'fail ok' -d 'What a skipped run returns: fail is exit 3, ok is exit 0'
complete -c qoder -n '__qoder_under deploy run' -l on-leave -r -fa 'detach cancel' -d 'On --timeout, Ctrl-C or SIGTERM: detach from the run, or cancel it'
complete -c qoder -n '__qoder_under deploy run' -l on-ask -r -fa 'stop wait' -d 'When the agent waits for an answer: stop is exit 11, or wait'
complete -c qoder -n '__qoder_under deploy run' -l parallel -r -f -d 'Of several, start N at a time; 20 a second at most'
complete -c qoder -n '__qoder_under deploy run' -l fail-fast -d 'Of several, start and await no more after the first that fails'
complete -c qoder -n '__qoder_under deploy run' -l keep-going -d 'Of several, start the others though some names are not known'
complete -c qoder -n '__qoder_under deploy run' -l allow-duplicates -d 'Start a deployment as often as it is named'
complete -c qoder -n '__qoder_under deploy run' -l dry-run -d 'Show the request, and send no write'
complete -c qoder -n '__qoder_under deploy run' -l ci -d 'Tell GitHub Actions or GitLab the ids, and how it ended'
complete -c qoder -n '__qoder_under deploy run' -fka '(__qoder_remembered deployments dep_)'
complete -c qoder -n '__qoder_under deploy list' -l status -r -fa 'active paused' -d 'Only those active, or paused'
complete -c qoder -n '__qoder_under deploy list' -l agent -r -f -d 'Only those of this agent, agent_…'
complete -c qoder -n '__qoder_under deploy list' -l include-archived -d 'Show archived ones too'
complete -c qoder -n '__qoder_under deploy list' -l limit -s n -r -f -d 'Show N at most; 20 if not given'
complete -c qoder -n '__qoder_under deploy list' -l all -d 'Show all'
complete -c qoder -n '__qoder_at deploy get' -fka '(__qoder_remembered deployments dep_)'
complete -c qoder -n '__qoder_under deploy create' -l name -r -f -d 'What it is called'
complete -c qoder -n '__qoder_under deploy create' -l agent -r -f -d 'agent_…, or agent_…@3 to pin version 3'
complete -c qoder -n '__qoder_under deploy create' -l environment -r -f -d 'The environment, env_…'
complete -c qoder -n '__qoder_under deploy create' -l message -s m -r -f -d 'What to do; - is stdin'
complete -c qoder -n '__qoder_under deploy create' -l description -r -f -d 'What it is for'
complete -c qoder -n '__qoder_under deploy create' -l schedule -r -f -d 'When it runs, as in \'0 9 * * 1-5\''
complete -c qoder -n '__qoder_under deploy create' -l timezone -r -f -d 'Whose clocks that means, as Europe/Berlin'
complete -c qoder -n '__qoder_under deploy create' -l vault -r -f -d 'vault_…; repeatable'
complete -c qoder -n '__qoder_under deploy create' -l metadata -r -f -d 'Repeatable'
complete -c qoder -n '__qoder_under deploy create' -l budget -r -f -d 'The most that one run may cost'
complete -c qoder -n '__qoder_under deploy create' -l dry-run -d 'Show what would change, also with --no-progress'
complete -c qoder -n '__qoder_under deploy update' -l name -r -f -d 'What it is called'
complete -c qoder -n '__qoder_under deploy update' -l agent -r -f -d 'agent_…, or agent_…@3 to pin version 3'
complete -c qoder -n '__qoder_under deploy update' -l environment -r -f -d 'The environment, env_…'
complete -c qoder -n '__qoder_under deploy update' -l message -s m -r -f -d 'What to do; - is stdin'
complete -c qoder -n '__qoder_under deploy update' -l description -r -f -d 'What it is for'
complete -c qoder -n '__qoder_under deploy update' -l schedule -r -f -d 'When it runs, as in \'0 9 * * 1-5\''
complete -c qoder -n '__qoder_under deploy update' -l timezone -r -f -d 'Whose clocks that means, as Europe/Berlin'
complete -c qoder -n '__qoder_under deploy update' -l no-schedule -d 'Run it by hand only'
complete -c qoder -n '__qoder_under deploy update' -l vault -r -f -d 'vault_…; repeatable'
complete -c qoder -n '__qoder_under deploy update' -l no-vault -d 'Take all vaults away'
complete -c qoder -n '__qoder_under deploy update' -l metadata -r -f -d 'Repeatable'
complete -c qoder -n '__qoder_under deploy update' -l remove-metadata -r -f -d 'Take a key out of the metadata; repeatable'
complete -c qoder -n '__qoder_under deploy update' -l budget -r -f -d 'The most that one run may cost'
complete -c qoder -n '__qoder_under deploy update' -l no-budget -d 'Let a run cost what it costs'
complete -c qoder -n '__qoder_under deploy update' -l dry-run -d 'Show what would change, also with --no-progress'
complete -c qoder -n '__qoder_at deploy update' -fka '(__qoder_remembered deployments dep_)'
complete -c qoder -n '__qoder_under deploy apply' -l filename -s f -r -F -d 'A file, a folder or - for stdin; repeatable'
complete -c qoder -n '__qoder_under deploy apply' -l yes -s y -d 'Do not ask'
complete -c qoder -n '__qoder_under deploy apply' -l dry-run -d 'Only show what would change, also with --no-progress'
complete -c qoder -n '__qoder_under deploy apply' -l exit-code -d '--dry-run, and exit 8 when something would change'
complete -c qoder -n '__qoder_under deploy apply' -l repin -d 'Pin agents that are named without a version to their latest'
complete -c qoder -n '__qoder_under deploy apply' -l send-secrets -d 'Send the tokens of resources too; no server shows them'
complete -c qoder -n '__qoder_under deploy export' -fka '(__qoder_remembered deployments dep_)'
complete -c qoder -n '__qoder_under deploy pause' -fka '(__qoder_remembered deployments dep_)'
complete -c qoder -n '__qoder_under deploy unpause' -fka '(__qoder_remembered deployments dep_)'
complete -c qoder -n '__qoder_under deploy archive' -l yes -s y -d 'Do not ask'
complete -c qoder -n '__qoder_under deploy archive' -fka '(__qoder_remembered deployments dep_)'
complete -c qoder -n '__qoder_at run' -a list -d 'List runs, newest first: the newest 20 unless told otherwise'
complete -c qoder -n '__qoder_at run' -a get -d 'Show a run: how it stands now, or how it ended'
complete -c qoder -n '__qoder_at run' -a wait -d 'Wait until runs have ended; the exit code says how'
complete -c qoder -n '__qoder_at run' -a logs -d 'Show what the agent said and did'
complete -c qoder -n '__qoder_at run' -a result -d 'Print the agent\'s final message, and fetch what it delivered'
complete -c qoder -n '__qoder_at run' -a cancel -d 'Cancel a run, and wait until that is true'
complete -c qoder -n '__qoder_under run list' -l status -r -fa 'pending running completed failed skipped' -d 'Only with it: pending, running, completed, failed, skipped. Repeatable'
complete -c qoder -n '__qoder_under run list' -l trigger -r -fa 'manual schedule retry' -d 'Only those started by manual, schedule or retry'
complete -c qoder -n '__qoder_under run list' -l since -r -f -d 'Only created since: 90m, 7d, 2w, a date or an RFC 3339 time'
complete -c qoder -n '__qoder_under run list' -l until -r -f -d 'Only created until'
complete -c qoder -n '__qoder_under run list' -l limit -s n -r -f -d 'Show N at most; 20 if not given'
complete -c qoder -n '__qoder_under run list' -l all -d 'Show all'
complete -c qoder -n '__qoder_under run list' -l no-resolve -l resolve -d 'Ask the sessions of runs without a status how they ended'
complete -c qoder -n '__qoder_at run list' -fka '(__qoder_remembered deployments dep_)'
complete -c qoder -n '__qoder_under run get' -l exit-status -d 'Exit with the run\'s outcome; 8 while it is going on'
complete -c qoder -n '__qoder_at run get' -fka '(__qoder_remembered runs drun_)'
complete -c qoder -n '__qoder_under run wait' -l timeout -r -f -d 'Give up waiting after 90s, 10m, 1h30m; 0 checks once'
complete -c qoder -n '__qoder_under run wait' -l interval -r -f -d 'Longest pause between checks; 5s if not given'
complete -c qoder -n '__qoder_under run wait' -l follow -s f -d 'Show on stderr what happens meanwhile'
complete -c qoder -n '__qoder_under run wait' -l result -d 'Print the agent\'s final message, not the run'
complete -c qoder -n '__qoder_under run wait' -l require-outcome -d 'Exit 1 unless its outcome was evaluated as satisfied'
complete -c qoder -n '__qoder_under run wait' -l on-ask -r -fa 'stop wait' -d 'When the agent waits for an answer: stop is exit 11, or wait'
complete -c qoder -n '__qoder_under run wait' -l ci -d 'Tell GitHub Actions or GitLab the ids, and how it ended'
complete -c qoder -n '__qoder_under run wait' -fka '(__qoder_remembered runs drun_)'
complete -c qoder -n '__qoder_under run logs' -l follow -s f -d 'Go on until the run has ended'
complete -c qoder -n '__qoder_under run logs' -l on-ask -r -fa 'stop wait' -d 'When the agent waits for an answer: stop is exit 11, or wait'
complete -c qoder -n '__qoder_under run logs' -l tail -r -f -d 'Only the newest N events of a run'
complete -c qoder -n '__qoder_under run logs' -l type -r -f -d 'Only events of this type; repeatable'
complete -c qoder -n '__qoder_under run logs' -l since -r -f -d 'Only later ones: 90m or 7d ago, a date, or a time'
complete -c qoder -n '__qoder_under run logs' -fka '(__qoder_remembered runs drun_)'
complete -c qoder -n '__qoder_under run result' -l output-dir -r -fa '(__fish_complete_directories)' -d 'Also download the files it delivered into this folder'
complete -c qoder -n '__qoder_at run result' -fka '(__qoder_remembered runs drun_)'
complete -c qoder -n '__qoder_under run cancel' -l yes -s y -d 'Do not ask'
complete -c qoder -n '__qoder_at run cancel' -fka '(__qoder_remembered runs drun_)'
complete -c qoder -n '__qoder_at auth' -a login -d 'Check a token and save it in the config file'
complete -c qoder -n '__qoder_at auth' -a logout -d 'Remove the token from the config file'
complete -c qoder -n '__qoder_at auth' -a status -d 'Show which token and server are used, and ask whether it is accepted'
complete -c qoder -n '__qoder_under auth login' -l with-token -d 'Read the token from standard input'
complete -c qoder -n '__qoder_under auth login' -l yes -s y -d 'Replace a token of another server'
complete -c qoder -n '__qoder_at config' -a list -d 'List what the config file sets'
complete -c qoder -n '__qoder_at config' -a get -d 'Print one value of the config file'
complete -c qoder -n '__qoder_at config' -a set -d 'Set one value in the config file'
complete -c qoder -n '__qoder_at config' -a unset -d 'Remove one value from the config file'
complete -c qoder -n '__qoder_at config' -a path -d 'Print where the config file is'
complete -c qoder -n '__qoder_at config get' -fa 'token region base_url workspace_id'
complete -c qoder -n '__qoder_at config set' -a region -d ''
complete -c qoder -n '__qoder_at config set' -a base_url -d ''
complete -c qoder -n '__qoder_at config set' -a workspace_id -d ''
complete -c qoder -n '__qoder_at config unset' -fa 'token region base_url workspace_id'
complete -c qoder -n '__qoder_under api' -s f -r -f -d 'A text in the body; repeatable'
complete -c qoder -n '__qoder_under api' -s F -r -f -d 'A JSON value in the body; repeatable'
complete -c qoder -n '__qoder_under api' -l input -r -F -d 'Send this JSON as it is; - is stdin'
complete -c qoder -n '__qoder_under api' -l form -r -f -d 'Send a form with this file; repeatable'
complete -c qoder -n '__qoder_under api' -l query -r -f -d 'Add this to the query; repeatable'
complete -c qoder -n '__qoder_under api' -l header -r -f -d 'Send this header; repeatable'
complete -c qoder -n '__qoder_under api' -l paginate -d 'All pages of a list, as one array'
complete -c qoder -n '__qoder_under api' -l include -s i -d 'Print status line and headers first'
complete -c qoder -n '__qoder_under api' -l idempotency-key -r -f -d 'Let a write be sent again, under this key'
complete -c qoder -n '__qoder_under api' -l list -d 'List the operations with all the WORDS that follow'
complete -c qoder -n '__qoder_at api' -fa 'GET POST PUT PATCH DELETE'
complete -c qoder -n '__qoder_under doctor' -l offline -d 'Leave out what asks the server'
complete -c qoder -n '__qoder_under sandbox' -l generation -r -fa 'legacy current' -d 'Which API to speak: runs with a status, or without one'
complete -c qoder -n '__qoder_under sandbox' -l speed -r -f -d 'How many times faster sessions go'
complete -c qoder -n '__qoder_under sandbox' -l port -r -f -d 'Where to listen; 0 is any free port'
complete -c qoder -n '__qoder_under sandbox' -l deployments -r -f -d 'Add N that behave as dep_demo, seed-0000 and so on'
complete -c qoder -n '__qoder_under sandbox' -l fault -r -f -d 'Let this go wrong; repeatable'
complete -c qoder -n '__qoder_under sandbox' -fa '(__qoder_inside)'
complete -c qoder -n '__qoder_under completion' -l install -d 'Put it where the shell looks by itself'
complete -c qoder -n '__qoder_at completion' -fa 'bash zsh fish powershell'
complete -c qoder -n '__qoder_at help' -a exit-codes -d 'what each exit code means, and which are safe to repeat'
complete -c qoder -n '__qoder_at help' -a environment -d 'the variables that are read'
complete -c qoder -n '__qoder_at help' -a output -d 'formats and keys, and what they promise'
complete -c qoder -n '__qoder_at help' -a deploy -d 'Run deployments, and look at them'
complete -c qoder -n '__qoder_at help' -a run -d 'Look at runs, and wait for their end'
complete -c qoder -n '__qoder_at help' -a auth -d 'Log in, log out, see which token is used'
complete -c qoder -n '__qoder_at help' -a config -d 'Read and change the config file'
complete -c qoder -n '__qoder_at help' -a api -d 'Ask for any operation of the API'
complete -c qoder -n '__qoder_at help' -a doctor -d 'Look for what may be wrong, and say how to fix it'
complete -c qoder -n '__qoder_at help' -a sandbox -d 'Rehearse against a server on this machine, where nothing is real'
complete -c qoder -n '__qoder_at help' -a completion -d 'Print the completion script of a shell'
complete -c qoder -n '__qoder_at help' -a help -d 'Read about commands, exit codes, environment and output'
complete -c qoder -n '__qoder_at help deploy' -a run -d 'Start runs of deployments by hand'
complete -c qoder -n '__qoder_at help deploy' -a list -d 'List deployments, newest first: the newest 20 unless told otherwise'
complete -c qoder -n '__qoder_at help deploy' -a get -d 'Show a deployment: its state, schedule and setup, and its recent runs'
complete -c qoder -n '__qoder_at help deploy' -a create -d 'Create a deployment, once: it refuses a name that another one has'
complete -c qoder -n '__qoder_at help deploy' -a update -d 'Change a deployment: only what the options name, and only what differs'
complete -c qoder -n '__qoder_at help deploy' -a apply -d 'Make deployments what files say: create those missing, change the rest'
complete -c qoder -n '__qoder_at help deploy' -a export -d 'Write deployments as a file that `deploy apply` takes back'
complete -c qoder -n '__qoder_at help deploy' -a pause -d 'Pause deployments: their schedules stop, and they cannot be run'
complete -c qoder -n '__qoder_at help deploy' -a unpause -d 'Unpause deployments: their schedules go on from now'
complete -c qoder -n '__qoder_at help deploy' -a archive -d 'Archive deployments, for good: there is no way back'
complete -c qoder -n '__qoder_at help run' -a list -d 'List runs, newest first: the newest 20 unless told otherwise'
complete -c qoder -n '__qoder_at help run' -a get -d 'Show a run: how it stands now, or how it ended'
complete -c qoder -n '__qoder_at help run' -a wait -d 'Wait until runs have ended; the exit code says how'
complete -c qoder -n '__qoder_at help run' -a logs -d 'Show what the agent said and did'
complete -c qoder -n '__qoder_at help run' -a result -d 'Print the agent\'s final message, and fetch what it delivered'
complete -c qoder -n '__qoder_at help run' -a cancel -d 'Cancel a run, and wait until that is true'
complete -c qoder -n '__qoder_at help auth' -a login -d 'Check a token and save it in the config file'
complete -c qoder -n '__qoder_at help auth' -a logout -d 'Remove the token from the config file'
complete -c qoder -n '__qoder_at help auth' -a status -d 'Show which token and server are used, and ask whether it is accepted'
complete -c qoder -n '__qoder_at help config' -a list -d 'List what the config file sets'
complete -c qoder -n '__qoder_at help config' -a get -d 'Print one value of the config file'
complete -c qoder -n '__qoder_at help config' -a set -d 'Set one value in the config file'
complete -c qoder -n '__qoder_at help config' -a unset -d 'Remove one value from the config file'
complete -c qoder -n '__qoder_at help config' -a path -d 'Print where the config file is'
complete -c qoder -n '__qoder_at config set region' -fa 'global cn'
