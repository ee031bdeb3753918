# Completion of qoder and qoder-cli in bash 3.2 and newer, with and without the package bash-completion.
# Made by: qoder completion bash
# shellcheck shell=bash

# The program is asked by its name qoder-cli: the Qoder IDE ships a launcher called qoder, which would open a window.
_qoder_cli() {
    local IFS=$' \t\n' program=qoder-cli kind prefix begun value about head width i files=()
    local cut=${2//[\"\'\\]/} values=() told=()
    COMPREPLY=()
    if [[ $1 == */* ]]; then program=${1%/*}/qoder-cli; fi
    {
        IFS= read -r kind && IFS= read -r prefix && IFS= read -r begun || return 0
        while IFS=$'\t' read -r value about; do
            values+=("$prefix$value") told+=("$about")
        done
    } < <(_QODER_COMPLETE=bash _QODER_LINE=${COMP_LINE:0:COMP_POINT} _QODER_REST=${COMP_LINE:COMP_POINT} \
        command "$program" 2>/dev/null </dev/null)
    case $kind in
    files) files=(-f) ;;
    folders) files=(-d) ;;
    *) compopt -o nosort 2>/dev/null ;; # bash 4.4 and newer
    esac
    if ((${#files[@]})); then
        compopt -o filenames 2>/dev/null # not in bash 3.2
        while IFS= read -r value; do values+=("$prefix$value"); done < <(compgen "${files[0]}" -- "$begun")
    fi
    # bash cuts words at = and : too, and wants only what comes behind the last cut
    head=$prefix$begun
    head=${head%"$cut"}
    for ((i = 0; i < ${#values[@]}; i++)); do COMPREPLY[i]=${values[i]#"$head"}; done
    # where they are listed, and not put into the line, each says what it is
    if ((${#values[@]} > 1)) && [[ ${COMP_TYPE-} == 33 || ${COMP_TYPE-} == 6[34] ]]; then
        for ((i = 0; i < ${#told[@]}; i++)); do
            width=$((${COLUMNS:-80} - ${#COMPREPLY[i]} - 5))
            if [[ -n ${told[i]} ]] && ((width > 0)); then COMPREPLY[i]+="  (${told[i]:0:width})"; fi
        done
    fi
}

complete -F _qoder_cli qoder qoder-cli
