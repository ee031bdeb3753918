# Completion of qoder and qoder-cli in PowerShell 5 and newer. Made by: qoder completion powershell
# Not tried in a real PowerShell.

# The program is asked by its name qoder-cli: the Qoder IDE ships a launcher called qoder, which would open a window.
Register-ArgumentCompleter -Native -CommandName qoder, qoder-cli -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $program = Get-Command "$($commandAst.GetCommandName() -replace '[^/\\]*$')qoder-cli" `
        -CommandType Application -ErrorAction SilentlyContinue | Select-Object -First 1
    if (-not $program) { return }
    $typed = "$commandAst".PadRight($cursorPosition - $commandAst.Extent.StartOffset)
    $encoding = [Console]::OutputEncoding
    try {
        [Console]::OutputEncoding = [System.Text.UTF8Encoding]::new()
        $env:_QODER_COMPLETE = 'powershell'
        $env:_QODER_LINE = $typed.Substring(0, $cursorPosition - $commandAst.Extent.StartOffset)
        $kind, $prefix, $begun, $rows = @($null | & $program 2>$null)
    } finally {
        [Console]::OutputEncoding = $encoding
        Remove-Item Env:_QODER_COMPLETE, Env:_QODER_LINE -ErrorAction SilentlyContinue
    }
    if ($kind -cne 'words') { return } # PowerShell then offers files
    foreach ($row in $rows) {
        $value, $about = $row -split "`t", 2
        if (-not $about) { $about = $value }
        [System.Management.Automation.CompletionResult]::new("$prefix$value", $value, 'ParameterValue', $about)
    }
}
