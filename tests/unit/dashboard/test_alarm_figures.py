"""Figures by which alarms are judged: on histories small enough to count by hand, and beside a slow twin."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from dashboard.alarm_figures import AlarmFigures, alarm_figures
from dashboard.languages import speaking
from dashboard.pages.alarm_figures import figure_rows
from dashboard.pages.limit_preview import Bounds, count_raised, count_raised_by_table
from dashboard.queries.alarms import (
    AlarmCounts,
    read_counts,
    read_highest,
    read_score_windows,
    read_value_windows,
)
from schemas.alarm_counting import Rule, Window, judge_value, raised_at_us, raised_by
from schemas.asset_table import LimitRow, chosen_limit
from schemas.site_tables import alarm, case_event, health, limit_alarm, machine_case
from tests.support.site_database import create_tables, open_case

MINUTE_US = 60_000_000
DAY_US = 86_400_000_000
POINT = "pump-07/de"


@dataclass
class History:
    """An empty database to write alarms and captures into."""

    connection: Connection
    written: int = 0

    def tell(self, *minutes: float, point: str = POINT, priority: str = "alert", state: str = "unacknowledged") -> None:
        for minute in minutes:
            at_us = round(minute * MINUTE_US)
            self.written += 1
            self.connection.execute(
                sa.insert(alarm).values(
                    gateway="g", boot=0, sequence=self.written, point=point, machine=point.partition("/")[0],
                    alarm_id="a", state=state, priority=priority, measured_at_us=at_us, received_at_us=at_us,
                    reason="", detail={},
                )
            )  # fmt: skip

    def tell_of_own_limit(self, minute: float, *, point: str = POINT, state: str = "unacknowledged") -> None:
        at_us = round(minute * MINUTE_US)
        self.connection.execute(
            sa.insert(limit_alarm).values(
                point=point, machine=point.partition("/")[0], quantity="temperature_c", state=state, priority="danger",
                measured_at_us=at_us, told_at_us=at_us, reason="",
            )
        )  # fmt: skip

    def case(self, at_us: int) -> int:
        """One case; it is over, but for what the test says."""
        number = open_case(
            self.connection, name=f"m-{at_us}", priority="alert", title="t", diagnosis=(), at_us=at_us, state="closed"
        )
        self.connection.execute(sa.delete(case_event).where(case_event.c.case_id == number))
        return number

    def label(self, case_id: int, said: str, *, at_us: int = 1, with_detail: bool = True) -> None:
        self.connection.execute(
            sa.insert(case_event).values(
                case_id=case_id, at_us=at_us, kind="label", actor="anna", text=f"{said}: looked",
                detail={"label": said} if with_detail else None,
            )
        )  # fmt: skip

    def captures(self, rows: list[dict[str, Any]]) -> None:
        whole = {
            "gateway": "g", "boot": 0, "point": POINT, "capture_boot": 0, "capture_sequence": 0, "received_at_us": 0,
            "quality": "ok", "learning": "ready", "exceeds": False, "alarm": "normal", "diagnosis": [], "score": None,
            "score_limit": None, "zone": None, "temperature_c": None, "rpm": None,
        }  # fmt: skip
        self.connection.execute(
            sa.insert(health), [whole | {"sequence": number, "measured_at_us": number} | row
                                for number, row in enumerate(rows)]
        )  # fmt: skip

    def figures(self) -> AlarmFigures:
        return alarm_figures(
            read_counts(self.connection, since_us=0, until_us=DAY_US), since_us=0, until_us=DAY_US
        )  # fmt: skip


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    engine = create_tables(Path(tmp_path_factory.mktemp("figures")) / "site.db")
    yield engine
    engine.dispose()


@pytest.fixture
def history(database: Any) -> Iterator[History]:
    with database.connect() as connection:
        yield History(connection)
        connection.rollback()


def test_only_what_a_person_is_told_of_counts(history: History) -> None:
    history.tell(1, 2)
    history.tell(3, state="normal")
    history.tell(4, state="acknowledged")
    found = history.figures()
    assert found.counts.alarms == 2
    assert found.per_ten_minutes == pytest.approx(2 / 144)


def test_alarms_of_the_plants_own_limits_count_like_those_of_gateways(history: History) -> None:
    history.tell(1, 2)
    for minute in (3, 4, 5):
        history.tell_of_own_limit(minute, point="fan-1/de")
    history.tell_of_own_limit(6, state="normal")
    counts = history.figures().counts
    assert (counts.alarms, counts.of_own_limits, counts.worst_span) == (5, 3, 5)
    assert counts.top[0] == ("fan-1/de", 3, False)
    assert history.figures().mix == pytest.approx({"notice": 0.0, "alert": 0.4, "danger": 0.6})


def test_flood_is_the_share_of_ten_minute_spans_with_ten_alarms(history: History) -> None:
    history.tell(*[5 + n / 10 for n in range(10)])
    history.tell(*[15 + n / 10 for n in range(9)], point="fan-1/de")
    found = history.figures()
    assert found.flood_share == pytest.approx(1 / 144)
    assert found.counts.worst_span == 10


def test_point_chatters_with_three_alarms_within_a_minute(history: History) -> None:
    history.tell(1, 1.5, 2)
    history.tell(10, 10.6, 11.2, point="fan-1/de")
    counts = history.figures().counts
    assert counts.chattering == 1
    assert {name: often for name, _, often in counts.top} == {POINT: True, "fan-1/de": False}


def test_worst_points_come_first_and_equals_by_name(history: History) -> None:
    history.tell(1)
    history.tell(100, 200, point="b/x")
    history.tell(50, point="a/x")
    found = history.figures()
    assert [(name, count) for name, count, _ in found.counts.top] == [("b/x", 2), ("a/x", 1), (POINT, 1)]
    assert found.top_ten_share == 1.0


def test_mix_is_of_machine_alarms_and_not_of_sensors(history: History) -> None:
    history.tell(1, priority="danger")
    history.tell(2, 3, 4)
    history.tell(5, priority="sensor")
    assert history.figures().mix == {"notice": 0.0, "alert": 0.75, "danger": 0.25}


def test_stale_are_cases_that_stand_for_more_than_a_day(history: History) -> None:
    numbers = [history.case(at_us) for at_us in (-1, 0, 1)]
    assert history.figures().counts.stale == 0
    history.connection.execute(sa.update(machine_case).where(machine_case.c.case_id.in_(numbers)).values(state="open"))
    assert history.figures().counts.stale == 1


def test_last_word_on_a_case_counts_for_the_false_rate(history: History) -> None:
    one, two, three = (history.case(number) for number in range(3))
    history.label(one, "healthy", at_us=1)
    history.label(one, "outer", at_us=2)
    history.label(two, "healthy", at_us=3)
    history.label(three, "healthy", at_us=3, with_detail=False)
    found = history.figures()
    assert (found.counts.labelled, found.counts.false_labelled) == (3, 2)
    assert found.false_share == pytest.approx(2 / 3)


def test_without_labels_nothing_is_said_of_false_cases() -> None:
    found = alarm_figures(AlarmCounts(), since_us=0, until_us=DAY_US)
    assert found.false_share is None
    with speaking("en"):
        rows = {row["Figure"]: row for row in figure_rows(found)}
    assert rows["False cases, of those whose cause was named"]["Held?"] == "–"
    assert rows["Alarms in ten minutes, on average"] == {
        "Figure": "Alarms in ten minutes, on average", "Found": "0.00", "Target": "≤ 1", "Held?": "held",
    }  # fmt: skip


def test_counting_in_the_database_equals_a_walk_through_every_alarm(history: History) -> None:
    """Hours of chance alarms of four points, in bursts, beside a twin that looks at each."""
    rng = np.random.default_rng(3)
    told: list[tuple[int, str]] = []
    for _ in range(120):
        minute, point = float(rng.uniform(0, 1439)), f"m-{rng.integers(4)}/p"
        for _ in range(int(rng.integers(1, 5))):
            minute = min(1439.0, minute + float(rng.exponential(0.4)))
            history.tell(minute, point=point)
            told.append((round(minute * MINUTE_US), point))
    spans = Counter(at_us // (10 * MINUTE_US) for at_us, _ in told)
    of_point: dict[str, list[int]] = defaultdict(list)
    for at_us, point in sorted(told):
        of_point[point].append(at_us)
    chattering = {
        point for point, times in of_point.items()
        if any(third - first <= MINUTE_US for first, third in zip(times, times[2:], strict=False))
    }  # fmt: skip
    counts = history.figures().counts
    assert (counts.worst_span, counts.flood_spans) == (max(spans.values()), sum(n >= 10 for n in spans.values()))
    assert {name for name, _, often in counts.top if often} == chattering
    assert counts.chattering == len(chattering)
    assert {name: count for name, count, _ in counts.top} == {name: len(times) for name, times in of_point.items()}


def wandering(rng: Any, count: int, middle: float) -> list[float]:
    """Values that stay calm for long and come near or over a limit of 1 now and then."""
    values = middle * np.exp(0.1 * rng.standard_normal(count))
    for start in rng.integers(0, count, 6):
        values[start : start + int(rng.integers(1, 20))] *= float(rng.uniform(1.5, 4.0))
    return [float(value) for value in values]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("factor", [0.8, 1.0, 1.7])
def test_captures_that_are_not_read_would_not_have_changed_what_a_limit_raises(
    history: History, seed: int, factor: float
) -> None:
    rng = np.random.default_rng(seed)
    rows = [
        {"score": None if rng.random() < 0.02 else score, "score_limit": 1.0,
         "zone": "C" if rng.random() < 0.02 else "A"}
        for score in wandering(rng, 600, 0.5)
    ]  # fmt: skip
    history.captures(rows)
    windows = [Window(n, row["score"], row["score_limit"], row["zone"]) for n, row in enumerate(rows)]  # type: ignore[arg-type]
    for rule in (Rule(), Rule(2, 12, 3), Rule(1, 1, 5)):
        seen = read_score_windows(
            history.connection, POINT, since_us=0, until_us=DAY_US, factor=factor, reach=rule.reach
        )
        assert raised_at_us(seen.read, rule, limit_factor=factor) == raised_at_us(windows, rule, limit_factor=factor)
        assert seen.captures == 600
        assert len(seen.read) < 600
        assert seen.exceeding == sum(w.score is not None and w.score > factor for w in windows)


@pytest.mark.parametrize("seed", range(4))
def test_preview_of_an_own_limit_counts_as_the_site_does(history: History, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = wandering(rng, 500, 50.0)
    rpm = [None if rng.random() < 0.1 else float(rng.choice([900.0, 1500.0])) for _ in values]
    history.captures([{"temperature_c": value, "rpm": speed} for value, speed in zip(values, rpm, strict=True)])
    bounds, rule = Bounds(alert=80.0, danger=120.0), Rule(3, 5)
    asked = {"since_us": 0, "until_us": DAY_US}
    seen = read_value_windows(
        history.connection, POINT, "temperature_c", bounds=[bounds.lowest], reach=rule.reach, **asked
    )
    whole = [(n, *judge_value(value, 80.0, 120.0, rule.dead_band)) for n, value in enumerate(values)]
    assert count_raised(seen.read, bounds, rule) == len(raised_by(whole, rule)) > 0
    assert seen.exceeding == sum(value >= 80.0 for value in values)
    assert len(seen.read) < 500

    limits = [
        LimitRow(applies_to="pump-07", quantity="temperature_c", unit="°C", alert=70, source="x", rpm_from=1000),
        LimitRow(applies_to=POINT, quantity="temperature_c", unit="°C", danger=110, source="x", rpm_to=1000),
    ]
    ruled = read_value_windows(
        history.connection, POINT, "temperature_c", bounds=[70.0, 110.0], reach=Rule().reach,
        speeds=[(limit.rpm_from, limit.rpm_to) for limit in limits], **asked,
    )  # fmt: skip
    by_hand = [
        (n, *judge_value(value, limit.alert, limit.danger, Rule().dead_band))
        for n, (value, speed) in enumerate(zip(values, rpm, strict=True))
        if (limit := chosen_limit(limits, POINT, speed)) is not None
    ]
    assert count_raised_by_table(ruled.read, limits, POINT, Rule()) == len(raised_by(by_hand, Rule()))
    highest = read_highest(history.connection, POINT, "temperature_c", **asked)
    assert highest == pytest.approx(max(values))
