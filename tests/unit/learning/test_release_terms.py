"""How long a release may be taken, and how one that is in use goes out anew before that ends."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.database import open_current, writing
from aggregator.foundry.artefacts import BUILT
from aggregator.registry import IMPORTED, Registry
from aggregator.release_making import first_release
from aggregator.rollout_plan import is_due_anew
from schemas.database import sqlite_url
from schemas.release import EXPIRES, GOLDEN, PARAMETERS, SCORE, Release
from schemas.site_tables import release
from tests.support.learning import CREATED_AT_US, People, builtin

PEOPLE = People([("site-a", "site"), ("product", "releaser")])
FIRST = builtin(PEOPLE["product"])
DAY_S = 86_400.0
TERM_S = 30 * DAY_S


class Clock:
    """A wall clock in days since the first release was made."""

    def __init__(self) -> None:
        self.day = 0.0

    def __call__(self) -> int:
        return CREATED_AT_US + round(self.day * DAY_S * 1e6)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_current(sqlite_url(tmp_path / "site.db"))
    yield engine
    engine.dispose()


@pytest.fixture
def registry(engine: Engine, clock: Clock) -> Registry:
    registry = Registry(engine, PEOPLE["site-a"], clock, valid_s=TERM_S)
    registry.start_with(FIRST)
    return registry


def learn(registry: Registry, engine: Engine, factor: float) -> Release:
    with writing(engine) as connection:
        return registry.publish(
            connection, FIRST.parameters() * np.float32(factor), level="site", data={"rows": 7}, metrics={"loss": 0.1},
            merge={"rule": "median"},
        )  # fmt: skip


def states(engine: Engine) -> dict[int, str]:
    with engine.connect() as connection:
        rows = connection.execute(sa.select(release.c.release_version, release.c.state))
        return {row.release_version: row.state for row in rows}


def test_what_a_site_makes_has_a_time_from_its_making_on_and_what_it_started_with_has_none(
    registry: Registry, engine: Engine, clock: Clock
) -> None:
    assert FIRST.expires_at_us is None
    clock.day = 2.0
    assert learn(registry, engine, 1.1).expires_at_us == clock() + round(TERM_S * 1e6)


@pytest.mark.parametrize(
    ("day", "others", "due"),
    [(14.9, False, False), (15.1, False, True), (15.1, True, False), (22.6, True, True), (40.0, False, True)],
)
def test_a_release_is_due_anew_at_half_of_its_time_and_waits_for_others_up_to_a_quarter(
    day: float, others: bool, due: bool
) -> None:
    term_us, now_us = round(TERM_S * 1e6), round(day * DAY_S * 1e6)
    assert is_due_anew(0, term_us, now_us, others_on_their_way=others) is due
    assert not is_due_anew(0, None, now_us, others_on_their_way=others)


def test_a_release_that_goes_out_anew_is_the_same_but_for_its_number_and_its_time(
    registry: Registry, engine: Engine, clock: Clock
) -> None:
    before = learn(registry, engine, 1.1)
    clock.day = 16.0
    again = registry.renew(before.version, above_version=5)
    assert again is not None
    assert again.version == 6
    assert again.expires_at_us == clock() + round(TERM_S * 1e6)
    for name in (PARAMETERS, SCORE, GOLDEN):
        assert again.files[name] == before.files[name]
    said, told = before.manifest, again.manifest
    assert (told.metrics, told.level, told.data["rows"]) == (said.metrics, said.level, 7)
    assert told.merge == {"rule": "median", "renews": before.version}
    assert registry.current().digest == again.digest
    assert states(engine) == {1: "superseded", 2: "superseded", 6: "current"}


def test_taking_back_what_went_out_anew_goes_to_the_one_before_its_first_going_out(
    registry: Registry, engine: Engine, clock: Clock
) -> None:
    good, bad = learn(registry, engine, 1.1), learn(registry, engine, 1.2)
    again = registry.renew(bad.version)
    assert again is not None
    clock.day = 16.0
    again = registry.renew(again.version)
    assert again is not None
    assert registry.standings()[-1].brings_back  # nobody but a person takes back what has been in use for weeks
    back = registry.withdraw(again.version, "worse", {}, actor="anna")
    assert back is not None
    assert back.files[PARAMETERS] == good.files[PARAMETERS]
    assert back.expires_at_us == clock() + round(TERM_S * 1e6)
    once_more = registry.renew(back.version)
    assert once_more is not None
    assert once_more.manifest.merge["to"] == good.version


def test_what_a_round_has_replaced_meanwhile_does_not_come_back(registry: Registry, engine: Engine) -> None:
    learn(registry, engine, 1.1)
    newer = learn(registry, engine, 1.2)
    assert registry.renew(2) is None
    assert registry.current().digest == newer.digest


def test_candidates_that_could_not_go_above_it_are_dropped_with_their_reason(
    registry: Registry, engine: Engine
) -> None:  # fmt: skip
    learn(registry, engine, 1.1)
    registry.staged = True
    learn(registry, engine, 1.2)
    registry.renew(2)
    assert states(engine) == {1: "superseded", 2: "superseded", 3: "withdrawn", 4: "current"}
    with engine.connect() as connection:
        text = connection.execute(sa.select(release.c.stage_text).where(release.c.release_version == 3)).scalar()
    assert text == "release 4 had to go above it; bring it in again"


def test_a_release_from_elsewhere_has_the_time_of_the_site_and_not_the_one_it_came_with(
    registry: Registry, engine: Engine, clock: Clock
) -> None:
    other = first_release(
        BUILT / "conv_autoencoder_48", PEOPLE["product"], created_at_us=CREATED_AT_US, data={EXPIRES: 1, "rows": 3}
    )
    with writing(engine) as connection:
        ours = registry.publish_foreign(connection, other, level="site", merge={"rule": IMPORTED}, actor="anna")
    assert ours.manifest.data == {"rows": 3, EXPIRES: clock() + round(TERM_S * 1e6)}
