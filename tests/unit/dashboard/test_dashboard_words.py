"""How numbers, ages and text from outside are said."""

import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard import words
from gateway_agent.sensor_change import Kind
from schemas.messages import RemainingLife
from vibration.quality import Verdict


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


HOUR_S, DAY_S = 3600.0, 86_400.0


@pytest.mark.parametrize(
    ("low_s", "median_s", "high_s", "said"),
    [
        (3 * DAY_S, 6 * DAY_S, 11 * DAY_S, "may last 3 to 11 days, about 6"),
        (20 * HOUR_S, 3 * DAY_S, 11 * DAY_S, "may last 20 h to 11 days, about 3 days"),
        (137 * DAY_S, 412 * DAY_S, 1013 * DAY_S, "may last 140 to 1000 days, about 410"),
        (5.9 * DAY_S, 6 * DAY_S, 6.1 * DAY_S, "may last about 6 days"),
        (0.0, 40 * 60.0, 3 * HOUR_S, "may last up to 3 h, about 40 min"),
        (0.0, 0.0, 60.0, "may last up to 60 s"),
        (0.0, 0.0, 0.0, "may fail at any moment"),
    ],
)
def test_remaining_life_is_a_band_and_no_more_exact_than_it_is_known(low_s, median_s, high_s, said):
    assert words.remaining_life(RemainingLife(low_s=low_s, median_s=median_s, high_s=high_s)) == said


@given(st.lists(st.floats(0, 1e12), min_size=3, max_size=3).map(sorted))
def test_every_remaining_life_can_be_said(band):
    low_s, median_s, high_s = band
    said = words.remaining_life(RemainingLife(low_s=low_s, median_s=median_s, high_s=high_s))
    assert said.startswith("may ")
    assert "e+" not in said


SENSOR_TROUBLES = {*get_args(Verdict), *get_args(Kind), "changed_layout"} - {"ok"}


@pytest.mark.parametrize("quality", sorted(SENSOR_TROUBLES))
def test_every_trouble_of_a_sensor_that_a_gateway_tells_is_said_in_plain_words(quality):
    said = words.quality(quality)
    assert said != quality.replace("_", " ")
    assert len(said.split()) >= 3


def test_quality_nobody_knows_yet_is_said_as_it_came():
    assert words.quality("some_new_fault") == "some new fault"


@pytest.mark.parametrize(
    ("name", "said"),
    [("level up", "level of a broad band up"), ("level down", "level of a broad band down"),
     ("envelope up", "envelope up"), ("spectrum down", "spectrum down"), ("torque", "torque"), ("", "")],
)  # fmt: skip
def test_what_adds_to_the_score_is_said(name, said):
    assert words.contribution(name) == said


@pytest.mark.parametrize(("count", "said"), [(412, "412 B"), (76_500, "76.5 kB"), (1_836_000, "1.8 MB")])
def test_bytes(count, said):
    assert words.size(count) == said


def test_time_is_in_the_viewers_zone_and_says_so_if_that_is_not_known():
    assert words.moment(0, "Europe/Berlin") == "1970-01-01 01:00:00 CET"
    assert words.moment(0, None) == "1970-01-01 00:00:00 UTC"
    assert words.moment(0, "No/Such") == "1970-01-01 00:00:00 UTC"


@given(st.text(max_size=60))
def test_text_from_outside_never_keeps_a_bare_sign_of_markup(text):
    said = words.plain(text)
    for index, sign in enumerate(said):
        if sign in "`*_[]<>$:#&!|":
            assert said[index - 1] == "\\"
    assert "\n" not in said
