# Completion of qoder and qoder-cli in bash 3.2 and newer, with and without the package bash-completion.
# Made by: qoder completion bash
# shellcheck shell=bash

# Sets what can follow the command words $1. Behind = stands the value that an option takes: words|or|others, or the
# <name> of something that is not fixed. Arguments are in order; ... repeats the last.
__qoder_cli_level() {
    commands='' arguments=''
    options='-o=table|json|jsonl|id --json -q --profile=<name> --region=global|cn --base-url=<url>
            --workspace=<id> --request-timeout=<d> --no-progress --no-input --debug --no-color
            --help -h'
    case $1 in
    '')
        commands='deploy run auth config api doctor sandbox completion help'
        options+=' --version'
        ;;
    'deploy')
        commands='run list get create update apply export pause unpause archive'
        ;;
    'deploy run')
        options+=' --wait -w --follow -f --result --require-outcome --timeout=<d> --interval=<d>
            --idempotency-key=<key> --on-lost=adopt|resend|fail --if-idle --on-skip=fail|ok
            --on-leave=detach|cancel --on-ask=stop|wait --parallel=<n> --fail-fast --keep-going
            --allow-duplicates --dry-run --ci'
        arguments='<deployment>...'
        ;;
    'deploy list')
        options+=' --status=active|paused --agent=<id> --include-archived --limit=<n> -n=<n> --all'
        ;;
    'deploy get')
        arguments='<deployment>'
        ;;
    'deploy create')
        options+=' --name=<name> --agent=<agent> --environment=<env> --message=<text> -m=<text>
            --description=<text> --schedule=<cron> --timezone=<zone> --vault=<id>
            --metadata=<metadata> --budget=<credits> --dry-run'
        ;;
    'deploy update')
        options+=' --name=<name> --agent=<agent> --environment=<env> --message=<text> -m=<text>
            --description=<text> --schedule=<cron> --timezone=<zone> --no-schedule --vault=<id>
            --no-vault --metadata=<metadata> --remove-metadata=<key> --budget=<credits> --no-budget
            --dry-run'
        arguments='<deployment>'
        ;;
    'deploy apply')
        options+=' --filename=<file> -f=<file> --yes -y --dry-run --exit-code --repin
            --send-secrets'
        ;;
    'deploy export')
        arguments='<deployment>...'
        ;;
    'deploy pause')
        arguments='<deployment>...'
        ;;
    'deploy unpause')
        arguments='<deployment>...'
        ;;
    'deploy archive')
        options+=' --yes -y'
        arguments='<deployment>...'
        ;;
    'run')
        commands='list get wait logs result cancel'
        ;;
    'run list')
        options+=' --status=pending|running|completed|failed|skipped --trigger=manual|schedule|retry
            --since=<when> --until=<when> --limit=<n> -n=<n> --all --no-resolve --resolve'
        arguments='<deployment>'
        ;;
    'run get')
        options+=' --exit-status'
        arguments='<run>'
        ;;
    'run wait')
        options+=' --timeout=<d> --interval=<d> --follow -f --result --require-outcome
            --on-ask=stop|wait --ci'
        arguments='<run>...'
        ;;
    'run logs')
        options+=' --follow -f --on-ask=stop|wait --tail=<n> --type=<type> --since=<when>'
        arguments='<run>...'
        ;;
    'run result')
        options+=' --output-dir=<dir>'
        arguments='<run>'
        ;;
    'run cancel')
        options+=' --yes -y'
        arguments='<run>'
        ;;
    'auth')
        commands='login logout status'
        ;;
    'auth login')
        options+=' --with-token --yes -y'
        ;;
    'config')
        commands='list get set unset path'
        ;;
    'config get')
        arguments='token|region|base_url|workspace_id'
        ;;
    'config set')
        commands='region base_url workspace_id'
        ;;
    'config unset')
        arguments='token|region|base_url|workspace_id'
        ;;
    'api')
        options+=' -f=<text_fields> -F=<json_fields> --input=<file> --form=<form> --query=<query>
            --header=<header> --paginate --include -i --idempotency-key=<key> --list'
        arguments='GET|POST|PUT|PATCH|DELETE <path>'
        ;;
    'doctor')
        options+=' --offline'
        ;;
    'sandbox')
        options+=' --generation=legacy|current --speed=<n> --port=<n> --deployments=<n>
            --fault=<fault>'
        arguments='<command>...'
        ;;
    'completion')
        options+=' --install'
        arguments='bash|zsh|fish|powershell'
        ;;
    'help')
        commands='exit-codes environment output deploy run auth config api doctor sandbox completion
            help'
        ;;
    'help deploy')
        commands='run list get create update apply export pause unpause archive'
        ;;
    'help run')
        commands='list get wait logs result cancel'
        ;;
    'help auth')
        commands='login logout status'
        ;;
    'help config')
        commands='list get set unset path'
        ;;
    'config set region')
        arguments='global|cn'
        ;;
    esac
}

# Sets `value` to = and the value that option $1 takes, or to nothing when it takes none.
__qoder_cli_value_of() {
    local option unshown='--format=table|json|jsonl|id --output=table|json|jsonl|id' # understood, and not offered
    value=''
    for option in $options $unshown; do
        if [[ $option == "$1="* ]]; then value=${option#"$1"}; fi
    done
}

# Sets `value` to what the last of the short options $1 takes, and `rest` to what stands behind it in the same word.
__qoder_cli_short() {
    rest=${1#-} value=''
    while [[ -n $rest && -z $value ]]; do
        __qoder_cli_value_of "-${rest:0:1}"
        rest=${rest:1}
    done
}

# Puts the word of ours that stands behind the words $path in the place of another for it in `word`.
__qoder_cli_understand() {
    case ${path// //}/$word in
    /deployment | help/deployment) word=deploy ;;
    /deployments | help/deployments) word=deploy ;;
    /runs | help/runs) word=run ;;
    [!/]*/ls) word=list ;;
    [!/]*/resume) word=unpause ;;
    esac
}

# Offers what begins with $2 of the words $1, or of what the <name> $1 stands for; $3 goes before each.
__qoder_cli_offer() {
    local word
    case $1 in
    '<file>') __qoder_cli_generate -f "$2" "${3-}" ;;
    '<dir>') __qoder_cli_generate -d "$2" "${3-}" ;;
    '<command>') __qoder_cli_offer -- "$2" ;; # it stands behind --
    '<deployment>') __qoder_cli_remembered deployments dep_ "$2" "${3-}" ;;
    '<run>')
        __qoder_cli_offer last "$2" "${3-}"
        __qoder_cli_remembered runs drun_ "$2" "${3-}"
        ;;
    '<'*) ;;
    *)
        for word in ${1//|/ }; do
            if [[ $word == "$2"* ]]; then COMPREPLY+=("${3-}$word"); fi
        done
        ;;
    esac
}

# Offers what bash itself finds, -f files, -d folders or -c commands that begin with $2; $3 goes before each.
__qoder_cli_generate() {
    local word
    # bash 3.2 has no compopt, and leaves the / behind a folder to be typed
    if [[ $1 != -c || $2 == */* ]]; then compopt -o filenames 2>/dev/null; fi
    while IFS='' read -r word; do COMPREPLY+=("${3-}$word"); done < <(compgen "$1" -- "$2")
}

# Sets `file` to where commands of qoder remember $1 for completion, deployments or runs; to nothing if there is none.
__qoder_cli_file() {
    local base=${XDG_STATE_HOME-} home=${HOME-} own=${QODER_STATE_DIR-} name=$1.tsv folder folders
    [[ $base == /* ]] || base=$home/.local/state
    folders=("$base/qoder" "$home/Library/Application Support/qoder" "${LOCALAPPDATA-}/qoder")
    if [[ -n $own ]]; then folders=("${own/#[~]\//$home/}"); fi
    if [[ -n $inside ]]; then name=sandbox-$name; fi
    for folder in "${folders[@]}"; do
        file=$folder/$name
        if [[ -f $file && -r $file ]]; then return; fi
    done
    file=''
}

# Sets `profile` to the one that the command line names, wherever it does.
__qoder_cli_profile() {
    local named='.*[[:space:]]--profile[=[:space:]]+["'\'']?([[:alnum:]._-]+)'
    profile=default
    if [[ $COMP_LINE =~ $named ]]; then profile=${BASH_REMATCH[1]}; fi
}

# Offers what begins with $3 of the remembered $1, whose ids begin with $2: the ids, and once something is typed the
# plain names of deployments; $4 goes before each. What is no such id or name, or of another profile, is passed over.
__qoder_cli_remembered() {
    local file id name mark of profile i n=0 first=${#COMPREPLY[@]} seen=' ' about=()
    __qoder_cli_file "$1"
    [[ -n $file ]] || return 0
    __qoder_cli_profile
    compopt -o nosort 2>/dev/null # newest first; bash 4.4 and newer
    while ((n++ < 1000)) && IFS=$'\t' read -r -n 2000 id name mark _ of _; do
        if [[ -z $inside && $of != "$profile" ]]; then continue; fi
        if [[ -z $mark || $id != "$2"* || $id == *[![:alnum:]_-]* ]]; then continue; fi
        if [[ $mark == - ]]; then mark=''; fi
        if [[ $id == "$3"* ]]; then __qoder_cli_remember "$id" "$name${mark:+, $mark}" "$4"; fi
        if [[ -n $3 && $2 == dep_ && $name == "$3"* && $name != -* && $name != *[![:alnum:]._-]* ]]; then
            __qoder_cli_remember "$name" "$id" "$4"
        fi
    done 2>/dev/null <"$file"
    # where they are listed, and not put into the line, each says what it is
    if ((${#COMPREPLY[@]} < 2)) || [[ ${COMP_TYPE-} != 33 && ${COMP_TYPE-} != 6[34] ]]; then return; fi
    for ((i = 0; i < ${#about[@]}; i++)); do
        n=$((${COLUMNS:-80} - ${#COMPREPLY[first + i]} - 5))
        if ((n > 0)); then COMPREPLY[first + i]+="  (${about[i]:0:n})"; fi
    done
}

# Adds $1, of which $2 is to be told, to what is offered, once; $3 goes before it.
__qoder_cli_remember() {
    if [[ $seen == *" $1 "* ]]; then return; fi
    seen+="$1 "
    COMPREPLY+=("$3$1")
    about+=("$2")
}

# Completes the command line that begins at word $1, behind `qoder sandbox --`, as it would be without that.
__qoder_cli_inside() {
    local offset inside=yes
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
    local path='' value='' bare='' word rest commands options arguments i n=0
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
        elif [[ -z $bare && $word == --* ]]; then
            __qoder_cli_value_of "$word"
        elif [[ -z $bare && $word == -?* ]]; then
            __qoder_cli_short "$word"
            if [[ -n $rest ]]; then value=''; fi
        elif [[ -n $commands ]]; then
            __qoder_cli_understand
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
        __qoder_cli_offer "${value#=}" "${word#*=}" "${word%%=*}="
    elif [[ -z $bare && $word == -* ]]; then
        for i in $options; do __qoder_cli_offer "${i%%=*}" "$word"; done
        if [[ $word == -[!-]?* ]]; then
            __qoder_cli_short "$word"
            __qoder_cli_offer "${value#=}" "$rest" "${word%"$rest"}"
        fi
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
    local IFS=$' \t\n' rest=${COMP_LINE:0:COMP_POINT} piece head i last=-1
    local words=() places=() inside=${QODER_SANDBOX-}
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
    if [[ -z ${piece//[$COMP_WORDBREAKS]/} ]]; then piece=''; fi # the cursor stands right behind a cut
    head=${words[last]%"$piece"}
    for ((i = 0; i <= last; i++)); do words[i]=${words[i]//[\"\'\\]/}; done
    __qoder_cli_walk 0
    # bash wants only what comes behind the last cut
    head=${head//[\"\'\\]/}
    for ((i = 0; i < ${#COMPREPLY[@]}; i++)); do COMPREPLY[i]=${COMPREPLY[i]#"$head"}; done
}

complete -F _qoder_cli qoder qoder-cli
