"""How numbers, ages and text from outside are said."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard import words


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s ago"), (12.4, "12 s ago"), (89, "89 s ago"), (120, "2 min ago"), (5000, "83 min ago"),
     (7200, "2 h ago"), (3 * 86400, "3 d ago"), (-2, "0 s ago"), (-600, "10 min ahead of this clock")],
)  # fmt: skip
def test_age_is_said_in_the_unit_that_matters(seconds, said):
    assert words.age(seconds) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "–"),
        (math.nan, "–"),
        (0.0, "0 mm/s"),
        (1.234, "1.23 mm/s"),
        (0.0123, "0.0123 mm/s"),
        (1480.2, "1480 mm/s"),
    ],
)
def test_number_has_its_unit_and_a_missing_one_is_no_zero(value, said):
    assert words.number(value, "mm/s") == said


@pytest.mark.parametrize(("count", "said"), [(412, "412 B"), (76_500, "76.5 kB"), (1_836_000, "1.8 MB")])
def test_bytes(count, said):
    assert words.size(count) == said


def test_time_is_in_the_viewers_zone_and_says_so_if_that_is_not_known():
    assert words.moment(0, "Europe/Berlin") == "1970-01-01 01:00:00"
    assert words.moment(0, None) == "1970-01-01 00:00 UTC"
    assert words.moment(0, "No/Such") == "1970-01-01 00:00 UTC"


@given(st.text(max_size=60))
def test_text_from_outside_never_keeps_a_bare_sign_of_markup(text):
    said = words.plain(text)
    for index, sign in enumerate(said):
        if sign in "`*_[]<>$:#&!|":
            assert said[index - 1] == "\\"
    assert "\n" not in said
