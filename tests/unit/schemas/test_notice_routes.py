"""Quiet hours in the plant's own time, over midnight, weekends and the days on which clocks change."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from schemas.notice_routes import Route

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp() * 1e6)


def route(quiet_from: str = "22:00", quiet_to: str = "06:00", days: str = "mon tue wed thu fri sat sun") -> Route:
    return Route(
        name="night", channel="mail", quiet_from=quiet_from, quiet_to=quiet_to, quiet_days=days, zone="Europe/Berlin"
    )


@pytest.mark.parametrize(
    ("told", "until"),
    [
        ("2026-09-21T21:59", "2026-09-21T21:59"),
        ("2026-09-21T22:00", "2026-09-22T06:00"),
        ("2026-09-22T05:59", "2026-09-22T06:00"),
        ("2026-09-22T06:00", "2026-09-22T06:00"),
        ("2026-10-24T23:00", "2026-10-25T06:00"),  # the night in which clocks go back
        ("2026-03-28T23:00", "2026-03-29T06:00"),  # and forward
    ],
)
def test_quiet_hours_hold_until_their_end_by_the_clock_on_the_wall(told: str, until: str) -> None:
    assert route().held_until_us(at(told)) == at(until)


def test_whole_weekend_is_quiet_until_monday() -> None:
    assert route("00:00", "00:00", "sat sun").held_until_us(at("2026-09-19T12:00")) == at("2026-09-21T00:00")


def test_day_without_quiet_hours_is_not_held() -> None:
    assert route(days="mon").held_until_us(at("2026-09-22T23:00")) == at("2026-09-22T23:00")
    assert route(days="mon").held_until_us(at("2026-09-22T05:00")) == at("2026-09-22T06:00")  # began on Monday


def test_always_quiet_does_not_hang() -> None:
    assert route("00:00", "00:00").held_until_us(at("2026-09-19T12:00")) > at("2026-09-25T00:00")


def test_danger_goes_through_unless_the_route_says_otherwise() -> None:
    told = at("2026-09-21T23:00")
    assert route().held_until_us(told, "danger") == told
    held = route().model_copy(update={"quiet_holds_danger": True})
    assert held.held_until_us(told, "danger") > told
