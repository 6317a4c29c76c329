"""What the centre hands out to machines that nobody knows yet: scripts and packages, and nothing else."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from api.centres import Office
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_api import __main__ as program
from schoolpulse_api import installers

DEB = b"!<arch>\ndebian-binary"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    made = Office(tmp_path_factory.mktemp("office"))
    yield made
    made.close()


def lay(folder: Path, name: str, content: bytes = DEB) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize("name", installers.SCRIPTS)
def test_a_script_is_for_everybody_and_holds_no_secret(office: Office, name: str) -> None:
    with office.client() as client:
        answer = client.get(f"/{name}")
    assert answer.status_code == 200 and answer.text == installers.script(name)
    assert not {text for text in office.secrets.values() if text in answer.text}
    assert answer.headers["content-type"].startswith("text/plain")


def test_windows_also_starts_again_an_agent_that_ends_by_itself() -> None:
    lines = installers.script("install.ps1").splitlines()
    assert any("sc.exe failureflag $service 1" in line for line in lines)  # or `sc failure` is about crashes alone


def test_windows_script_is_ascii_for_powershell_reads_it_in_the_machines_code_page() -> None:
    # In code pages 1252 and 1258 the second byte of đ is a quotation mark, and ends a string.
    assert installers.script("install.ps1").isascii()


def test_the_newest_package_of_a_kind_needs_no_version_and_is_not_sent_twice(office: Office) -> None:
    folder = office.settings.installers_folder
    for version in ("0.9.0", "0.10.0", "0.10.0~rc1"):
        lay(folder, f"schoolpulse-agent_{version}_all.deb", DEB + version.encode())
    with office.client() as client:
        newest = client.get("/installers/schoolpulse-agent.deb")
        assert (newest.status_code, newest.content) == (200, DEB + b"0.10.0")
        assert newest.headers["content-length"] == str(len(newest.content))
        assert client.get("/installers/schoolpulse-agent_0.9.0_all.deb").content == DEB + b"0.9.0"
        again = client.get("/installers/schoolpulse-agent.deb", headers={"If-Range": newest.headers["etag"]})
        assert again.headers["etag"] == newest.headers["etag"]


@pytest.mark.parametrize(
    "name",
    [
        "schoolpulse-agent-windows.zip",
        "schoolpulse-agent_9.9.9_all.deb",
        "registry.sqlite",
        "..",
        "%2e%2e%2fregistry.sqlite",
        "..%2f..%2fetc%2fpasswd",
        "schoolpulse-agent_1_all.deb%00",
        ".schoolpulse-agent_1_all.deb.new",
    ],
)
def test_nothing_else_is_handed_out(office: Office, name: str) -> None:
    lay(office.settings.installers_folder, ".schoolpulse-agent_1_all.deb.new")
    with office.client() as client:
        answer = client.get(f"/installers/{name}")
    assert answer.status_code in (401, 404), answer.text
    if "schoolpulse-agent-windows" in name:
        assert "schoolpulse installer add FILE" in answer.json()["detail"]


@given(st.text(max_size=60))
def test_no_name_leads_out_of_the_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "here"
    folder.mkdir(exist_ok=True)
    with pytest.raises(installers.NoInstaller):
        installers.find(folder, name)


def test_only_packages_are_added_and_as_a_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "home"
    good = lay(tmp_path, "schoolpulse-agent_1.0_all.deb")
    broken = lay(tmp_path, "schoolpulse-agent_2.0_all.deb", b"<html>")
    other = lay(tmp_path, "something.deb")
    for file, code, said in (
        (broken, 1, "no .deb file"),
        (other, 1, "no package's name"),
        (tmp_path / "schoolpulse-agent_3.0_all.deb", 1, "No such file"),
        (good, 0, "schoolpulse-agent_1.0_all.deb"),
    ):
        assert program.main(["--home", str(home), "installer", "add", str(file)]) == code
        printed = capsys.readouterr()
        assert said in printed.out + printed.err
    assert [path.name for path in (home / "installers").iterdir()] == [good.name]


def test_a_bundle_without_packages_spends_no_token_and_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home, out = tmp_path / "home", tmp_path / "usb.zip"
    call = ["--home", str(home), "bundle", "lac-hong", "--out", str(out)]
    assert program.main(call) == 2 and "schoolpulse init" in capsys.readouterr().err
    init = ["init", "--organisation", "Sở", "--name", "centre.test", "--listen", "127.0.0.1", "--school", "Lạc Hồng"]
    assert program.main(["--home", str(home), *init]) == 0
    assert program.main(call) == 2 and "schoolpulse installer add" in capsys.readouterr().err

    lay(home / "installers", "schoolpulse-agent_1.0_all.deb")
    assert program.main([*call, "--also", "none.deb"]) == 2 and "none.deb" in capsys.readouterr().err
    psutil = lay(tmp_path, "python3-psutil_5.9.4-1_amd64.deb")
    nowhere = ["--home", str(home), "bundle", "none", "--out", str(out)]
    assert program.main(nowhere) == 1 and "'none'" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if "usb" in path.name] == []

    assert program.main([*call, "--also", str(psutil), "--hours", "24"]) == 0
    with zipfile.ZipFile(out) as made:
        names = {*installers.SCRIPTS, "ca.pem", "enrol.txt", "DOC-TRUOC.txt", "schoolpulse-agent_1.0_all.deb"}
        assert set(made.namelist()) == names | {psutil.name}
        assert made.read("enrol.txt").startswith(b"https://centre.test:8443/enrol#spe_")
        assert made.read("ca.pem") == (home / "tls/ca.pem").read_bytes()


def test_a_new_token_comes_with_a_line_for_each_system(office: Office) -> None:
    with office.client(office.token("technician", school="s1")) as client:
        made = json.loads(client.post("/api/v1/schools/s1/tokens", json={"uses": 1}).text)
    for system in ("linux", "windows"):
        assert made["text"] in made[system] and "--cacert ca.pem" in made[system]
