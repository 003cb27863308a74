"""Three tiers learning together, synchronously, over real brokers: one for the plants, one between them."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from aggregator.database import open_current
from aggregator.learning.local import run_local_rounds
from aggregator.learning.service import Learning
from aggregator.learning.strategy import Plan
from aggregator.settings import UplinkSettings
from schemas.database import sqlite_url
from schemas.release import TRAIN_STEP
from schemas.site_tables import learning_round, ledger, release, rollout
from tests.support.brokers import BrokerServer, embedded_broker, free_port
from tests.support.learning import (
    People,
    SmallGateway,
    builtin,
    client_app,
    healthy_rows,
    site_settings,
    wait_until,
)
from tests.support.sessions import LAYOUT

SITES = {"site-a": ("gw-1", "gw-2"), "site-b": ("gw-3", "gw-4")}
GATEWAYS = tuple(name for gateways in SITES.values() for name in gateways)
ROWS = {name: 200 + 100 * number for number, name in enumerate(GATEWAYS)}


@pytest.fixture(scope="module")
def brokers() -> Iterator[tuple[BrokerServer, BrokerServer]]:
    with embedded_broker([*SITES, *GATEWAYS]) as plant, embedded_broker(["fleet", *SITES]) as between:
        yield plant, between


@pytest.fixture
def people() -> People:
    return People(
        [
            ("fleet", "enterprise"),
            ("product", "releaser"),
            *((name, "site") for name in SITES),
            *((name, "gateway") for name in GATEWAYS),
        ]
    )


class Fleet:
    """Everybody of three tiers, in one process."""

    def __init__(self, brokers: tuple[BrokerServer, BrokerServer], people: People, folder: Path, stack: ExitStack):
        plant, between = brokers
        first = builtin(people["product"])
        self.gateways: dict[str, SmallGateway] = {}
        self.sites: dict[str, Learning] = {}
        self.engines = {name: open_current(sqlite_url(folder / f"{name}.db")) for name in ("fleet", *SITES)}
        for engine in self.engines.values():
            stack.callback(engine.dispose)
        top = site_settings("fleet", between.settings_for("fleet"), deadline_s=30.0, upward="synchronous")
        self.enterprise = Learning(
            top.model_copy(update={"role": "enterprise"}), self.engines["fleet"], people["fleet"], people.keys,
            first=first,
        )  # fmt: skip
        for site, names in SITES.items():
            uplink = UplinkSettings(enterprise="fleet", broker=between.settings_for(site))
            settings = site_settings(site, plant.settings_for(site), upward="synchronous").model_copy(
                update={"uplink": uplink}
            )
            self.sites[site] = Learning(settings, self.engines[site], people[site], people.keys, first=first)
            for name in names:
                seed = GATEWAYS.index(name)
                self.gateways[name] = SmallGateway(
                    name, site, plant.settings_for(name), people[name], people.keys, folder / name, first,
                    partial(healthy_rows, seed, ROWS[name]),
                )  # fmt: skip
        parts: tuple[Learning | SmallGateway, ...] = (self.enterprise, *self.sites.values(), *self.gateways.values())
        for part in parts:
            part.start()
            stack.callback(part.stop)

    def has_counted(self, site: str) -> bool:
        return {"member", "reply"} <= {row["topic"] for row in self.rows(site, ledger)}

    def rows(self, where: str, table: sa.Table) -> list[sa.RowMapping]:
        with self.engines[where].connect() as connection:
            return list(connection.execute(sa.select(table)).mappings())


@pytest.fixture
def fleet(brokers: tuple[BrokerServer, BrokerServer], people: People, tmp_path: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        fleet = Fleet(brokers, people, tmp_path, stack)
        assert fleet.enterprise.carrier.wait_members(2, 10)
        assert all(site.carrier.wait_members(2, 10) for site in fleet.sites.values())
        yield fleet


def test_one_enterprise_round_ends_with_the_fleet_parameters_running_on_every_gateway(
    fleet: Fleet, people: People
) -> None:
    """And they are what merging all gateways at once would have given: the sites' weights say whom they speak for."""
    result = fleet.enterprise.run_round()
    assert result is not None
    assert result.void == ""
    merged = fleet.enterprise.registry.current()
    assert merged.manifest.level == "fleet"
    wanted = merged.parameters().tobytes()

    def everywhere() -> bool:
        return all(gateway.shelf.current.parameters().tobytes() == wanted for gateway in fleet.gateways.values())

    assert wait_until(everywhere, 15)
    assert result.metrics["loss_after"] < result.metrics["loss_before"]
    for site in SITES:
        levels = [row["level"] for row in fleet.rows(site, release)]
        assert levels == ["builtin", "site", "fleet"]
        assert wait_until(partial(fleet.has_counted, site))
        sent = {row["topic"]: (row["messages"], row["bytes"]) for row in fleet.rows(site, ledger)}
        assert sent["reply"][0] >= 2
        assert sent["reply"][1] > 3704 * 4
    assert wait_until(lambda: [row["state"] for row in fleet.rows("fleet", rollout)] == ["running", "running"])

    for gateway in fleet.gateways.values():  # what every gateway's machine has shown, known on each of them
        assert gateway.shelf.slot.variation.sessions == pytest.approx(len(GATEWAYS))
        assert gateway.shelf.slot.variation.layouts[LAYOUT].played == pytest.approx(len(GATEWAYS))

    first = builtin(people["product"])
    apps = {name: client_app(first, healthy_rows(GATEWAYS.index(name), ROWS[name])) for name in GATEWAYS}
    plan = Plan(graph=first.manifest.files[TRAIN_STEP].sha256, steps=20, learning_rate=3e-3, rule="mean")
    flat, _ = run_local_rounds(apps, first.parameters(), plan, rounds=1)
    np.testing.assert_allclose(merged.parameters(), flat, atol=2e-6)  # two roundings to float32 instead of one


def test_a_round_of_a_site_does_not_forget_what_the_other_sites_know(fleet: Fleet) -> None:
    assert fleet.enterprise.run_round() is not None

    def known_everywhere() -> bool:
        known = [gateway.shelf.slot.variation.sessions for gateway in fleet.gateways.values()]
        return known == [pytest.approx(len(GATEWAYS))] * len(known)

    assert wait_until(known_everywhere, 15)
    own = fleet.sites["site-a"].run_round()
    assert own is not None
    made = fleet.sites["site-a"].registry.current()
    assert made.manifest.level == "site"
    mine = [gateway for name, gateway in fleet.gateways.items() if name in SITES["site-a"]]
    assert wait_until(lambda: all(gateway.shelf.current.digest == made.digest for gateway in mine), 15)
    assert known_everywhere()


def test_a_second_enterprise_round_starts_from_the_fleet_parameters(fleet: Fleet) -> None:
    first = fleet.enterprise.run_round()
    second = fleet.enterprise.run_round()
    assert first is not None
    assert second is not None
    assert second.metrics["loss_before"] == pytest.approx(first.metrics["loss_after"], rel=1e-5)
    assert fleet.enterprise.registry.current().version == 3


def test_a_site_learns_on_while_the_enterprise_is_away(
    brokers: tuple[BrokerServer, BrokerServer], people: People, tmp_path: Path
) -> None:
    plant, between = brokers
    nobody = between.settings_for("site-a", port=free_port())
    settings = site_settings("site-a", plant.settings_for("site-a"), min_members=2).model_copy(
        update={"uplink": UplinkSettings(enterprise="fleet", broker=nobody)}
    )
    engine = open_current(sqlite_url(tmp_path / "alone.db"))
    first = builtin(people["product"])
    learning = Learning(settings, engine, people["site-a"], people.keys, first=first)
    gateways = [
        SmallGateway(
            name, "site-a", plant.settings_for(name), people[name], people.keys, tmp_path / name, first,
            lambda: healthy_rows(1),
        ).start()
        for name in SITES["site-a"]
    ]  # fmt: skip
    learning.start()
    try:
        assert learning.carrier.wait_members(2, 10)
        result = learning.run_round()
        assert result is not None
        assert result.void == ""
        with engine.connect() as connection:
            assert connection.execute(sa.select(learning_round.c.state)).scalars().all() == ["released"]
    finally:
        for gateway in gateways:
            gateway.stop()
        learning.stop()
        engine.dispose()
