"""Two sites with two gateways each below one enterprise, over real brokers; every part is started by itself."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.database import open_current
from aggregator.learning.service import Learning
from aggregator.settings import RolloutSettings, UplinkSettings
from schemas.database import sqlite_url
from tests.support.brokers import BrokerServer, embedded_broker
from tests.support.learning import People, Rows, SmallGateway, builtin, healthy_rows, site_settings, wait_until

SITES = {"site-a": ("gw-1", "gw-2"), "site-b": ("gw-3", "gw-4")}
GATEWAYS = tuple(name for gateways in SITES.values() for name in gateways)
ROWS = {name: 200 + 100 * number for number, name in enumerate(GATEWAYS)}
PEOPLE = (
    ("fleet", "enterprise"), ("product", "releaser"),
    *((name, "site") for name in SITES), *((name, "gateway") for name in GATEWAYS),
)  # fmt: skip


@cache
def _empty_database() -> bytes:
    """Brought to the newest version once: migrating three for every test takes longer than most of them."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        open_current(sqlite_url(path)).dispose()
        return path.read_bytes()


class Plants:
    """Everybody of three tiers, each to be started and stopped by itself."""

    def __init__(self, folder: Path, stack: ExitStack, *, between: BrokerServer | None = None) -> None:
        self._folder = folder
        self._stack = stack
        self.gateways: dict[str, SmallGateway] = {}
        self.asked, self.let_go = threading.Event(), threading.Event()  # of gateways, for their rows
        self.let_go.set()
        self.people = People(PEOPLE)  # type: ignore[arg-type]  # roles, as literals
        self.first = builtin(self.people["product"])
        self.plant: BrokerServer = stack.enter_context(embedded_broker([*SITES, *GATEWAYS]))
        self.between = between or stack.enter_context(embedded_broker(["fleet", *SITES]))
        self.engines = {name: self._database(folder / f"{name}.db") for name in ("fleet", *SITES)}
        for engine in self.engines.values():
            stack.callback(engine.dispose)

    @staticmethod
    def _database(path: Path) -> Engine:
        path.write_bytes(_empty_database())
        return open_current(sqlite_url(path))

    def enterprise(self, **learning: object) -> Learning:
        settings = site_settings("fleet", self.between.settings_for("fleet"), **learning)
        return self._started(
            Learning(
                settings.model_copy(update={"role": "enterprise"}), self.engines["fleet"], self.people["fleet"],
                self.people.keys, first=self.first,
            )
        )  # fmt: skip

    def site(self, name: str, *, rollout: RolloutSettings | None = None, **learning: object) -> Learning:
        """A site with its gateways, all there; releases go to them at once unless `rollout` says otherwise."""
        uplink = UplinkSettings(enterprise="fleet", broker=self.between.settings_for(name), repeat_s=1.0)
        settings = site_settings(name, self.plant.settings_for(name), **learning).model_copy(
            update={"uplink": uplink} | ({} if rollout is None else {"rollout": rollout})
        )
        made = Learning(settings, self.engines[name], self.people[name], self.people.keys, first=self.first)
        for gateway in SITES[name]:
            small = SmallGateway(
                gateway, name, self.plant.settings_for(gateway), self.people[gateway], self.people.keys,
                self._folder / gateway, self.first, partial(self._rows, gateway),
            ).start()  # fmt: skip
            self.gateways[gateway] = small
            self._stack.callback(small.stop)
        self._started(made)
        assert made.carrier.wait_members(len(SITES[name]), 10)
        return made

    def rows(self, where: str, table: sa.Table) -> list[sa.RowMapping]:
        with self.engines[where].connect() as connection:
            return list(connection.execute(sa.select(table)).mappings())

    def states(self, where: str, table: sa.Table) -> list[str]:
        return [row["state"] for row in self.rows(where, table)]

    def _rows(self, gateway: str) -> Rows:
        self.asked.set()
        assert self.let_go.wait(30)
        return healthy_rows(GATEWAYS.index(gateway), ROWS[gateway])

    def _started(self, learning: Learning) -> Learning:
        learning.start()
        self._stack.callback(learning.stop)
        return learning


def round_of(learning: Learning) -> None:
    result = learning.run_round()
    assert result is not None
    assert result.void == ""


def comes_true(true: Callable[[], bool], within_s: float = 15.0) -> None:
    assert wait_until(true, within_s)
