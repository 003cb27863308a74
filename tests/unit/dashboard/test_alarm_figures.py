"""Figures by which alarms are judged, on histories small enough to count by hand."""

import pytest

from dashboard.alarm_figures import AlarmFigures, alarm_figures
from dashboard.languages import speaking
from dashboard.pages.alarm_figures import figure_rows
from dashboard.queries.alarms import AlarmTold
from dashboard.queries.cases import Label

MINUTE_US = 60_000_000
DAY_US = 86_400_000_000


def told(
    *minutes: float, point: str = "pump-07/de", priority: str = "alert", state: str = "unacknowledged"
) -> list[AlarmTold]:
    return [AlarmTold(round(minute * MINUTE_US), point, state, priority) for minute in minutes]


def label(case_id: int, said: str, before: str = "") -> Label:
    return Label(case_id, "pump-07", 0, "anna", said, said, before)


def figures(
    alarms: list[AlarmTold], *, standing: list[int] | None = None, labels: list[Label] | None = None
) -> AlarmFigures:
    return alarm_figures(alarms, standing or [], labels or [], since_us=0, until_us=DAY_US)


def test_only_what_a_person_is_told_of_counts() -> None:
    found = figures(told(1, 2) + told(3, state="normal") + told(4, state="acknowledged"))
    assert found.alarms == 2
    assert found.per_ten_minutes == pytest.approx(2 / 144)


def test_flood_is_the_share_of_ten_minute_spans_with_ten_alarms() -> None:
    found = figures(told(*[5 + n / 10 for n in range(10)]) + told(*[15 + n / 10 for n in range(9)], point="fan-1/de"))
    assert found.flood_share == pytest.approx(1 / 144)
    assert found.worst_ten_minutes == 10


def test_point_chatters_with_three_alarms_within_a_minute() -> None:
    found = figures(told(1, 1.5, 2) + told(10, 10.6, 11.2, point="fan-1/de"))
    assert found.chattering == ("pump-07/de",)


def test_worst_points_come_first_and_equals_by_name() -> None:
    found = figures(told(1) + told(100, 200, point="b/x") + told(50, point="a/x"))
    assert found.top_ten == (("b/x", 2), ("a/x", 1), ("pump-07/de", 1))
    assert found.top_ten_share == 1.0


def test_mix_is_of_machine_alarms_and_not_of_sensors() -> None:
    found = figures(told(1, priority="danger") + told(2, 3, 4) + told(5, priority="sensor"))
    assert found.mix == {"notice": 0.0, "alert": 0.75, "danger": 0.25}


def test_stale_are_cases_that_stand_for_more_than_a_day() -> None:
    assert figures([], standing=[-1, 0, 1]).stale == 1


def test_last_word_on_a_case_counts_for_the_false_rate() -> None:
    found = figures([], labels=[label(1, "outer"), label(2, "healthy"), label(1, "healthy")])
    assert (found.labelled, found.false_labelled, found.false_share) == (2, 1, 0.5)


def test_without_labels_nothing_is_said_of_false_cases() -> None:
    found = figures([])
    assert found.false_share is None
    with speaking("en"):
        rows = {row["Figure"]: row for row in figure_rows(found, 0)}
    assert rows["False cases, of those whose cause was named"]["Held?"] == "–"
    assert rows["Alarms in ten minutes, on average"] == {
        "Figure": "Alarms in ten minutes, on average", "Found": "0.00", "Target": "≤ 1", "Held?": "held",
    }  # fmt: skip
