"""Rounds of a site over a real broker: what is merged, what is refused, and what is running afterwards."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.database import open_current
from aggregator.learning.service import Learning
from schemas.database import sqlite_url
from schemas.site_tables import learning_round, rollout, round_update
from tests.support.brokers import BrokerServer, embedded_broker
from tests.support.learning import People, SmallGateway, builtin, healthy_rows, site_settings, wait_until

GATEWAYS = ("gw-1", "gw-2", "gw-3")


@pytest.fixture
def broker() -> Iterator[BrokerServer]:
    with embedded_broker(["site-a", *GATEWAYS]) as server:
        yield server


@pytest.fixture
def people() -> People:
    return People([("site-a", "site"), ("product", "releaser"), *((name, "gateway") for name in GATEWAYS)])


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_current(sqlite_url(tmp_path / "site.db"))
    yield engine
    engine.dispose()


def start_gateways(broker: BrokerServer, people: People, folder: Path) -> list[SmallGateway]:
    first = builtin(people["product"])
    return [
        SmallGateway(
            name, "site-a", broker.settings_for(name), people[name], people.keys, folder / name, first,
            lambda seed=number: healthy_rows(seed),
        ).start()
        for number, name in enumerate(GATEWAYS)
    ]  # fmt: skip


def test_a_round_of_three_gateways_ends_with_the_new_release_running_on_each(
    broker: BrokerServer, people: People, engine: Engine, tmp_path: Path
) -> None:
    gateways = start_gateways(broker, people, tmp_path)
    learning = Learning(
        site_settings("site-a", broker.settings_for("site-a")), engine, people["site-a"], people.keys,
        first=builtin(people["product"]),
    )  # fmt: skip
    learning.start()
    try:
        assert learning.carrier.wait_members(3, 10)
        result = learning.run_round()
        assert result is not None
        assert result.void == ""
        assert learning.rollout is not None
        assert learning.rollout.wait_running(3, 10)
        current = learning.registry.current()
        assert current.version == 2
        assert {gateway.shelf.current.digest for gateway in gateways} == {current.digest}
        assert result.metrics["loss_after"] < result.metrics["loss_before"]
        with engine.connect() as connection:
            row = connection.execute(sa.select(learning_round)).mappings().one()
            updates = connection.execute(sa.select(round_update)).mappings().all()
        assert (row["state"], row["accepted"], row["rejected"], row["rule"]) == ("released", 3, 0, "median")
        assert row["release_version"] == 2
        assert row["bytes_down"] > 0 < row["bytes_up"]
        assert all(update["accepted"] and update["delta"] is None for update in updates)
        states = sa.select(rollout.c.state).where(rollout.c.release_version == 2)

        def all_running() -> bool:
            with engine.connect() as connection:
                return connection.execute(states).scalars().all() == ["running"] * 3

        assert wait_until(all_running)
        assert learning.fault is None
    finally:
        for gateway in gateways:
            gateway.stop()
        learning.stop()
    assert np.isfinite(current.parameters()).all()
