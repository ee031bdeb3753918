# Completion of qoder and qoder-cli in fish. Made by: qoder completion fish

# The program is asked by its name qoder-cli: the Qoder IDE ships a launcher called qoder, which would open a window.
function __qoder_complete
    set -l program (string replace -r '[^/]*$' '' -- (commandline -opc)[1])qoder-cli
    command -q $program; or return
    set -l answer (_QODER_COMPLETE=fish _QODER_LINE=(commandline -cp | string collect) command $program \
        </dev/null 2>/dev/null)
    switch "$answer[1]"
        case files
            printf "%s\n" $answer[2](__fish_complete_path "$answer[3]")
        case folders
            printf "%s\n" $answer[2](__fish_complete_directories "$answer[3]" '')
        case words
            printf "%s\n" $answer[2]$answer[4..]
    end
end

complete -c qoder -fka '(__qoder_complete)'
complete -c qoder-cli -fka '(__qoder_complete)'
