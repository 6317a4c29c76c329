<#
Cai agent SchoolPulse tren Windows 10, 11 va dang ky may nay.
Installs the agent of SchoolPulse on Windows 10 or 11 and enrols this machine; ca.pem lies beside this file.

  install.ps1 URL TOKEN                     as `schoolpulse enrol` prints it
  install.ps1                               from a bundle (USB): enrol.txt, ca.pem and the ZIP beside this file
  -DataFolder D:\SchoolPulse                Deep Freeze: identity, settings and reports on a drive that is thawed

Ends with 0: reports; 1: failed; 2: called wrongly; 3: installed, but the centre did not answer: run it again.
This file is plain ASCII: PowerShell 5.1 reads a file without a mark in the code page of the machine.
#>
param(
    [string]$Url = '', [string]$Token = '', [string]$Name = '',
    [string]$DataFolder = (Join-Path $env:ProgramData 'SchoolPulse'), [switch]$Force
)
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$here = Split-Path -Parent $MyInvocation.MyCommand.Path
$program = Join-Path $env:ProgramFiles 'SchoolPulse'
$service = 'SchoolPulseAgent'

function Say($text) { Write-Host "[ok] $text" -ForegroundColor Green }
function Stop-With($code, $text) { Write-Host "[x] $text" -ForegroundColor Red; exit $code }

# S-1-5-18 SYSTEM, S-1-5-32-544 Administrators, S-1-5-19 LocalService: by number, names are translated.
function Protect-Folder($folder) {
    New-Item -ItemType Directory -Force -Path $folder | Out-Null
    & icacls.exe $folder /inheritance:r /grant:r '*S-1-5-18:(OI)(CI)F' '*S-1-5-32-544:(OI)(CI)F' '*S-1-5-19:(OI)(CI)M' | Out-Null
    if ($LASTEXITCODE) { Stop-With 1 "icacls ${folder}: $LASTEXITCODE" }
}

function Find-Package {
    $beside = Get-ChildItem $here -Filter 'schoolpulse-agent-windows-*.zip' | Sort-Object Name | Select-Object -Last 1
    if ($beside) { return $beside.FullName }
    $to = Join-Path $here 'schoolpulse-agent-windows.zip'
    & curl.exe -fsS --ssl-no-revoke --cacert "$here\ca.pem" -o $to "$Url/installers/schoolpulse-agent-windows.zip"
    if ($LASTEXITCODE) { Stop-With 1 "Khong tai duoc goi / the package can't be fetched: schoolpulse installer add schoolpulse-agent-windows-....zip" }
    return $to
}

function Install-Program($zip) {
    if (Get-Service $service -ErrorAction SilentlyContinue) {
        Stop-Service $service -Force
        & sc.exe delete $service | Out-Null
    }
    $fresh = "$program.new"
    if (Test-Path $fresh) { Remove-Item $fresh -Recurse -Force }
    Expand-Archive $zip $fresh
    if (Test-Path $program) { Remove-Item $program -Recurse -Force }
    Move-Item $fresh $program
    Say (& $agent --version)
}

function Write-Settings {
    Protect-Folder $DataFolder
    if (-not (Test-Path $config)) {
        $reports = (Join-Path $DataFolder 'reports') -replace '\\', '/'
        [IO.File]::WriteAllText($config, "[reports]`nfolder = `"$reports`"`n")
    }
}

function Register-AgentService {
    $command = "`"$program\schoolpulse-service.exe`" --config `"$config`""
    New-Service -Name $service -DisplayName 'SchoolPulse agent' -StartupType Automatic -BinaryPathName $command `
        -Description 'Nhip truong: sends this machine''s health to the school''s centre' | Out-Null
    & sc.exe config $service obj= 'NT AUTHORITY\LocalService' start= delayed-auto | Out-Null
    if ($LASTEXITCODE) { Stop-With 1 "sc.exe config: $LASTEXITCODE" }
    & sc.exe failure $service reset= 86400 actions= restart/15000/restart/60000/restart/300000 | Out-Null
    # Without it Windows starts again what has crashed, but not an agent that ends by itself to be started anew.
    & sc.exe failureflag $service 1 | Out-Null
    if ($LASTEXITCODE) { Stop-With 1 "sc.exe failureflag: $LASTEXITCODE" }
}

if ($Url -eq '' -and (Test-Path "$here\enrol.txt")) { $Url = (Get-Content "$here\enrol.txt" -TotalCount 1).Trim() }
if ($Url -match '^(.+)/enrol#(.+)$') { $Url = $Matches[1]; $Token = $Matches[2] }
if (-not $Url -or -not $Token) { Stop-With 2 'Can dia chi va ma / URL and TOKEN are needed: install.ps1 URL spe_...' }
if (-not (Test-Path "$here\ca.pem")) { Stop-With 2 'ca.pem is missing beside this file: run the whole line that the centre prints' }
$me = [Security.Principal.WindowsPrincipal][Security.Principal.WindowsIdentity]::GetCurrent()
if (-not $me.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) {
    Stop-With 1 'Mo PowerShell bang quyen quan tri / run this in a PowerShell that was started as administrator'
}

$agent = Join-Path $program 'schoolpulse-agent.exe'
$config = Join-Path $DataFolder 'agent.toml'
Install-Program (Find-Package)
Write-Settings
$more = @()
if ($Name) { $more += '--name', $Name }
if ($Force) { $more += '--force' }
if ((Select-String -Path $config -Pattern '^id = "[^"]' -Quiet) -and -not $Force) {
    Say 'Da dang ky tu truoc / enrolled already; -Force replaces that'
} else {
    $Token | & $agent --config $config enroll $Url '-' @more
    if ($LASTEXITCODE) { Stop-With 3 'Chua dang ky / not enrolled: see the line above, then run this again' }
}
& $agent --config $config check
$checked = $LASTEXITCODE
Register-AgentService
Start-Service $service
if ($checked) { Stop-With 1 'Agent giu bao cao lai / the agent keeps its reports and sends them once all of the above is well' }
Say 'Xong, agent dang gui bao cao / done, the agent reports'
