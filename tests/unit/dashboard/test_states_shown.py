"""The operating states that are shown are those of a gateway whose limits move a little with every capture."""

import pytest
import sqlalchemy as sa

from dashboard.queries import assets
from dashboard.queries.assets import read_operating_states
from gateway_agent import operating_states
from schemas.database import open_database, sqlite_url
from schemas.site_tables import health

POINT = "pump-07/drive-end"


@pytest.fixture
def plant(plant_copy):
    """A point whose newest 40 captures were judged in turn at 1480 and 2950 rpm, by limits that settle."""
    engine = open_database(sqlite_url(plant_copy))
    with engine.begin() as connection:
        keys = connection.execute(
            sa.select(health.c.gateway, health.c.boot, health.c.sequence)
            .where(health.c.point == POINT)
            .order_by(health.c.measured_at_us.desc())
        ).all()
        for number, key in enumerate(keys):
            row = sa.and_(*(column == value for column, value in zip(health.primary_key.columns, key, strict=False)))
            fast = number % 2 == 1
            connection.execute(
                sa.update(health).where(row).values(
                    score_limit=(3.0 if fast else 2.0) + 0.001 * number if number < 40 else None,
                    rpm=(2950.0 if fast else 1480.0) + 0.1 * number, exceeds=number == 4,
                )
            )  # fmt: skip
    yield engine
    engine.dispose()


def test_one_state_a_speed_with_the_newest_limit_and_the_latest_state_first(plant):
    with plant.connect() as connection:
        slow, fast = read_operating_states(connection, POINT)
    assert (slow.limit, slow.captures, slow.over) == (2.0, 20, 1)
    assert (fast.limit, fast.captures, fast.over) == (3.001, 20, 0)
    assert slow.rpm == pytest.approx((1480.0, 1483.8))
    assert slow.last_us > fast.last_us


def test_captures_without_a_speed_are_one_state(plant):
    with plant.begin() as connection:
        connection.execute(sa.update(health).values(rpm=None))
        (only,) = read_operating_states(connection, POINT)
    assert (only.rpm, only.captures) == (None, 40)


def test_speeds_are_told_apart_as_gateways_do():
    assert assets.SAME_SPEED == operating_states.SAME_SPEED
