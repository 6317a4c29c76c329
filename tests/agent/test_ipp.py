"""What CUPS answers is read by numbers alone; damaged answers are refused, texts are stepped over."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolpulse_agent import ipp
from schoolpulse_agent.ipp import BadAnswer, attribute, printers


def answer(*groups: bytes, status: int = 0, number: int = 1) -> bytes:
    head = struct.pack(">BBHI", 2, 0, status, number) + b"\x01" + attribute(ipp.CHARSET, "attributes-charset", b"utf-8")
    return head + b"".join(b"\x04" + group for group in groups) + b"\x03"


QUEUE = (
    attribute(0x42, "printer-name", b"May-in-co-Lan")
    + attribute(ipp.ENUM, "printer-state", struct.pack(">i", 5))
    + attribute(0x44, "printer-state-reasons", b"media-jam")
    + attribute(0x44, "", b"paused")
    + attribute(ipp.BOOLEAN, "printer-is-accepting-jobs", b"\1")
    + attribute(ipp.INTEGER, "queued-job-count", struct.pack(">i", 4))
)


def test_each_queue_says_its_numbers_and_truths() -> None:
    assert printers(answer(QUEUE, b""), 1) == [
        {"printer-state": 5, "printer-is-accepting-jobs": True, "queued-job-count": 4},
        {},
    ]


def test_a_server_without_queues_has_none() -> None:
    assert printers(answer(), 1) == [] == printers(answer(status=0x0406), 1)


@pytest.mark.parametrize("said", [b"", answer()[:-1], answer(QUEUE)[:-9], answer(status=0x0401), answer(number=2)])
def test_damaged_refused_and_foreign_answers_are_no_answers(said: bytes) -> None:
    with pytest.raises(BadAnswer):
        printers(said, 1)


@given(
    st.binary(max_size=200)
    | st.binary(max_size=200).map(lambda rest: answer()[:8] + rest)
    | st.integers(0, 200).map(lambda n: answer(QUEUE)[:n])
)
def test_any_bytes_are_queues_or_no_answer(said: bytes) -> None:
    try:
        found = printers(said, 1)
    except BadAnswer:
        return
    assert all(isinstance(value, (int, bool)) for queue in found for value in queue.values())
