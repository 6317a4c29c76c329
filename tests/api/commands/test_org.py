"""``schoolpulse org``: dry run, writing, exporting, on real files and a real registry."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import pytest
from sqlalchemy import select

from schoolpulse_api.commands import org as command
from schoolpulse_api.settings import Settings
from schoolpulse_collector.registry import Refused, Registry
from schoolpulse_collector.registry.model import Audit, School

SCHOOLS = "Mã trường,Tên trường,Cấp học\ns1,Trường Một,Tiểu học\ns2,Trường Hai,THCS\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "schools.csv").write_text(SCHOOLS, encoding="utf-8-sig")
    return tmp_path


def run(home: Path, *words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    command.arguments(parser)
    return command.run(parser.parse_args([str(word) for word in words]), Settings(home=home))


def names(home: Path) -> dict[str, str]:
    registry = Registry(Settings(home=home).registry_url)
    found = {school.key: school.name for school in registry.schools()}
    registry.close()
    return found


def test_without_apply_it_says_what_would_change_and_writes_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, "import", home / "schools.csv") == 0
    printed = capsys.readouterr().out
    assert "+ Trường s1 Trường Một" in printed
    assert "Trường: thêm 2, sửa 0, giữ nguyên 0 · schools: 2 added, 0 changed, 0 unchanged" in printed
    assert "Không xóa gì" in printed
    assert names(home) == {}


def test_with_apply_it_writes_and_again_there_is_nothing_to_change(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, "import", home / "schools.csv", "--apply", "--yes") == 0
    assert names(home) == {"s1": "Trường Một", "s2": "Trường Hai"}
    assert run(home, "import", home / "schools.csv", "--apply") == 0
    assert "Không có gì thay đổi" in capsys.readouterr().out
    (home / "new.csv").write_text("key,name\ns1,Trường 1\n", encoding="utf-8")
    run(home, "import", home / "new.csv", "--lang", "en")
    assert "~ schools s1 Trường 1: name: Trường Một → Trường 1" in capsys.readouterr().out


def test_errors_of_all_files_are_told_by_row_and_nothing_is_written(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "rooms.csv").write_text("key,school,name\nr 1,s1,Phòng\nr2,s9,Phòng\n", encoding="utf-8")
    (home / "none.csv").write_text("nothing", encoding="utf-8")
    files = [home / name for name in ("schools.csv", "rooms.csv", "none.csv")]
    assert run(home, "import", *files, "--apply", "--yes") == 1
    printed = capsys.readouterr().out
    assert "rooms.csv, dòng 2, Mã phòng" in printed
    assert "rooms.csv, row 3, school" in printed
    assert "none.csv: không có dòng tiêu đề" in printed
    assert "Lỗi: 2" in printed
    assert names(home) == {}


@pytest.mark.parametrize(("answer", "written"), [("c\n", 2), ("y\n", 2), ("\n", 0), ("k\n", 0)])
def test_at_a_terminal_it_asks_first(home: Path, monkeypatch: pytest.MonkeyPatch, answer: str, written: int) -> None:
    keyboard = io.StringIO(answer)
    keyboard.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stdin", keyboard)
    assert run(home, "import", home / "schools.csv", "--apply") == (0 if written else 1)
    assert len(names(home)) == written


def test_where_nobody_can_be_asked_it_wants_yes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("c\n"))
    with pytest.raises(Refused, match="--yes"):
        run(home, "import", home / "schools.csv", "--apply")
    assert names(home) == {}


def test_sample_export_and_import_fit_together(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "sample", home / "sample.xlsx") == 0
    assert run(home, "import", home / "sample.xlsx", "--apply", "--yes") == 0
    assert len(names(home)) == 40
    assert run(home, "export", home / "all.xlsx", "--lang", "en") == 0
    assert run(home, "export", home / "csv") == 0
    capsys.readouterr()
    assert run(home, "import", home / "all.xlsx") == 0
    assert "Nothing to change" in capsys.readouterr().out
    assert run(home, "import", *(home / "csv").glob("*.csv")) == 0
    assert "Nothing to change" in capsys.readouterr().out
    with pytest.raises(Refused):
        run(home, "export", home / "all.ods")


def test_the_import_is_audited_with_its_files(home: Path) -> None:
    run(home, "import", home / "schools.csv", "--apply", "--yes")
    registry = Registry(Settings(home=home).registry_url)
    with registry.read() as session:
        rows = list(session.scalars(select(Audit).order_by(Audit.seq)))
        assert [row.action for row in rows] == ["school.add", "school.add", "org.import"]
        assert "schools.csv" in rows[-1].detail
        assert session.get(School, "s1")
    registry.close()
