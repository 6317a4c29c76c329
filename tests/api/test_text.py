"""Numbers and spans as people of each language write them."""

from __future__ import annotations

import pytest

from schoolpulse_api.console.charts import broken
from schoolpulse_api.text import number, span


@pytest.mark.parametrize(("lang", "shown"), [("vi", "1.234.567,9"), ("en", "1,234,567.9")])
def test_numbers_have_each_languages_signs(lang: str, shown: str) -> None:
    assert number(1234567.89, lang, 1) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (59, "0 phút"),
        (600, "10 phút"),
        (3660, "1 giờ 1 phút"),
        (86400, "1 ngày 0 giờ"),
        (3 * 86400 + 4 * 3600, "3 ngày 4 giờ"),
    ],
)
def test_spans_show_their_two_largest_units(seconds: int, shown: str) -> None:
    assert span(seconds, "vi") == shown


def test_a_line_is_broken_where_reports_are_missing() -> None:
    points = [(0, 1.0), (10, 2.0), (20, 3.0), (95, 4.0), (105, 5.0)]
    assert broken(points, 30) == [(0, 1.0), (10, 2.0), (20, 3.0), (21, None), (95, 4.0), (105, 5.0)]
    assert broken([], 30) == []
