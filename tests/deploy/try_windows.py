"""On a real Windows, by .github/workflows/agent-platforms.yml: install.ps1 against the tests' centre, then the service.

python tests/deploy/try_windows.py schoolpulse-agent-windows-VERSION.zip
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from fakecentre import FakeCentre  # noqa: E402 - found by the line above

SERVICE = "SchoolPulseAgent"


def powershell(*words: str) -> tuple[int, str]:
    command = ["powershell", "-NoProfile", "-ExecutionPolicy", "Bypass", *words]
    ended = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=300)
    print(ended.stdout, ended.stderr)
    return ended.returncode, ended.stdout


def main() -> None:
    usb, data, centre = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp()) / "SchoolPulse", FakeCentre()
    shutil.copy(sys.argv[1], usb)
    shutil.copy(ROOT / "api/schoolpulse_api/installers/install.ps1", usb)
    (usb / "ca.pem").write_text(centre.ca_pem)
    (usb / "enrol.txt").write_text(f"{centre.url}/enrol#{centre.token}\n")

    code, _ = powershell("-File", str(usb / "install.ps1"), "-Name", "PC-01", "-DataFolder", str(data))
    assert code == 1, f"{code}: no broker is there, so the check must fail and the service must run all the same"
    assert [path for path, _ in centre.asked] == ["/api/v1/enrol"]
    query = f'$s = Get-CimInstance Win32_Service -Filter "Name=\'{SERVICE}\'"; "$($s.State) $($s.StartName)"'
    for change, state in (("", "Running"), ("Stop-Service", "Stopped"), ("Start-Service", "Running")):
        _, said = powershell("-Command", f"{change} {SERVICE}; {query}" if change else query)
        assert state in said and "LocalService" in said, said
    _, said = powershell("-Command", f"(Get-Acl '{data}').Access.IdentityReference.Value")
    assert len(said.split("\n")) <= 4 and "Users" not in said, said
    powershell("-Command", f"Stop-Service {SERVICE}; sc.exe delete {SERVICE}")
    centre.close()


if __name__ == "__main__":
    main()
