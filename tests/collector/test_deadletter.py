"""The dead-letter file: what was refused is there for a person to read, and never takes more than its room."""

from __future__ import annotations

import base64
import json
import math
import threading
from pathlib import Path
from typing import Any

import pytest

from schoolpulse_agent.wire import Report
from schoolpulse_collector.deadletter import SHOWN, DeadLetters, Letter


def lines(path: Path) -> list[dict[str, Any]]:
    def no_constant(word: str) -> None:
        raise ValueError(f"{word} is not JSON")

    return [json.loads(line, parse_constant=no_constant) for line in path.read_text().splitlines()]


def test_letters_are_kept_in_order_with_topic_and_reason(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    letters.append([Letter("sp/v1/up/s/d1/report", "json", b"{"), Letter("sp/v1/up/s/d2/report", "time", "x")])
    letters.append([Letter("sp/v1/up/s/d3/report", "empty", b"")])
    kept = [(row["topic"], row["reason"]) for row in lines(letters.path)]
    assert kept == [
        ("sp/v1/up/s/d1/report", "json"),
        ("sp/v1/up/s/d2/report", "time"),
        ("sp/v1/up/s/d3/report", "empty"),
    ]


@pytest.mark.parametrize("content", [b"", b"{}", b"\x78\x9c\x00\xff\n\n", bytes(range(256))])
def test_bytes_are_shown_in_base64_as_they_came(tmp_path: Path, content: bytes) -> None:
    letters = DeadLetters(tmp_path)
    letters.append([Letter("t", "json", content)])
    (row,) = lines(letters.path)
    assert base64.b64decode(row["base64"]) == content
    assert row["bytes"] == len(content)


def test_of_long_bytes_the_beginning_and_the_true_size_are_kept(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    letters.append([Letter("t", "too_large", b"x" * 300_000)])
    (row,) = lines(letters.path)
    assert base64.b64decode(row["base64"]) == b"x" * SHOWN
    assert row["bytes"] == 300_000


@pytest.mark.parametrize(
    "content",
    [
        {"m": {"cpu": {"usage": math.nan}}},
        Report(1, 2, math.inf, {"cpu": {"usage": -math.inf}}),
        {1, 2},
        "một\nhai\u2028ba\ud800",
        "y" * 100_000,
        None,
    ],
)
def test_whatever_was_refused_makes_one_line_of_valid_json(tmp_path: Path, content: object) -> None:
    letters = DeadLetters(tmp_path)
    letters.append([Letter("t", "value", content), Letter("t", "next", b"")])
    first, second = lines(letters.path)
    assert repr(content).startswith(first["report"])
    assert second["reason"] == "next"


def test_two_files_of_bounded_size_hold_the_newest_letters(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path, max_bytes=20_000)
    for number in range(200):
        letters.append([Letter("t", str(number), b"z" * 3000)])  # a line of about 4 kB
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["dead-letters.1.jsonl", "dead-letters.jsonl"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2 * 25_000
    kept = [int(row["reason"]) for name in files for row in lines(tmp_path / name)]
    assert kept == list(range(200 - len(kept), 200))
    assert len(kept) > 5


def test_letters_of_an_earlier_start_stay(tmp_path: Path) -> None:
    DeadLetters(tmp_path).append([Letter("t", "before", b"")])
    letters = DeadLetters(tmp_path)
    letters.append([Letter("t", "after", b"")])
    assert [row["reason"] for row in lines(letters.path)] == ["before", "after"]


def test_no_letters_make_no_file(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    letters.append([])
    assert not letters.path.exists()


def test_a_disk_that_takes_nothing_raises_an_oserror(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    letters.path.mkdir()
    with pytest.raises(OSError):
        letters.append([Letter("t", "x", b"")])


def test_only_the_collector_may_read_it(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    letters.append([Letter("t", "x", b"")])
    assert letters.path.stat().st_mode & 0o077 == 0


def test_letters_from_several_threads_do_not_mix(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)

    def write(name: str) -> None:
        for number in range(20):
            letters.append([Letter(name, str(number), b"x" * 2000)])

    threads = [threading.Thread(target=write, args=(f"t{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = lines(letters.path)
    for i in range(8):
        assert [row["reason"] for row in rows if row["topic"] == f"t{i}"] == [str(n) for n in range(20)]
