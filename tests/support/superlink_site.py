"""A site whose learning a SuperLink carries: its rounds in this process, its gateways, and whatever runs as SuperLink.

The gateways are those of `tests.support.learning`; each answers its SuperNode at a socket file. The broker carries
releases and statuses, as in a plant, and nothing of the learning.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.database import open_current
from aggregator.learning.service import Learning
from aggregator.settings import AggregatorSettings
from benchmarks.stock_flower import FlowerPlant
from schemas.database import sqlite_url
from schemas.site_tables import learning_round, round_update
from tests.support.brokers import embedded_broker, free_port, wait_for_port
from tests.support.learning import People, Rows, SmallGateway, builtin, healthy_rows
from tests.support.small_superlink import small_flwr

SITE = "site-a"
ROOT = Path(__file__).resolve().parents[2]


class SuperLink(Protocol):
    """What can be started with nodes, killed, and started again."""

    def start(self, sockets: Mapping[str, str]) -> None: ...

    def kill(self) -> None: ...

    @property
    def settings(self) -> dict[str, Any]: ...


class SmallProcess:
    """The one of `tests.support.small_superlink`."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self._flwr = small_flwr(folder)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        return {"port": self._port, "insecure": True, "flwr": self._flwr}

    def start(self, sockets: Mapping[str, str]) -> None:
        nodes = [f"{name}={path}" for name, path in sockets.items()]
        command = [sys.executable, "-m", "tests.support.small_superlink", str(self._port), *nodes]
        self._process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
        wait_for_port(self._port, self._process, within_s=60)

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


class StockFlower:
    """Flower's own, with TLS and known nodes; the nodes live on when it is killed."""

    def __init__(self, plant: FlowerPlant) -> None:
        self._plant = plant
        self._has_nodes = False

    @property
    def settings(self) -> dict[str, Any]:
        return {"port": self._plant.superlink.port, "ca_file": self._plant.tls.ca_file, "start_within_s": 180.0}

    def start(self, sockets: Mapping[str, str]) -> None:
        if "superlink" not in self._plant.processes:
            self._plant.start_superlink()
        if not self._has_nodes:
            for name, path in sockets.items():
                self._plant.start_node(name, node_config={"socket": path})
        self._has_nodes = True

    def kill(self) -> None:
        if "superlink" in self._plant.processes:
            self._plant.end("superlink")


@dataclass
class SuperLinkSite:
    """Everything of one such site; `free` keeps a gateway in the middle of its training while it is clear."""

    superlink: SuperLink
    sockets: dict[str, str]
    make_learning: Callable[[], Learning]
    learning: Learning
    engine: Engine
    gateways: dict[str, SmallGateway]
    free: dict[str, Event]

    def rounds(self) -> list[dict[str, Any]]:
        """All rounds, oldest first."""
        return self._rows(sa.select(learning_round).order_by(learning_round.c.round_id))

    def updates(self, round_id: int) -> list[dict[str, Any]]:
        """What is known of a round's members, by name."""
        mine = sa.select(round_update).where(round_update.c.round_id == round_id)
        return self._rows(mine.order_by(round_update.c.member))

    def released(self, count: int) -> Callable[[], bool]:
        """Whether so many rounds have brought a release."""
        return lambda: sum(one["state"] == "released" for one in self.rounds()) >= count

    def half_answered(self) -> int | None:
        """The round in which one gateway has answered and another has not."""
        last = self.rounds()[-1]
        known = self.updates(last["round_id"])
        return last["round_id"] if last["state"] == "offered" and 0 < len(known) < last["invited"] else None

    def carried(self) -> bool:
        """Whether a run's relay is there."""
        return self.learning.carrier.connected

    def restart_superlink(self) -> None:
        """Start it again."""
        self.superlink.start(self.sockets)

    def restart_site(self) -> None:
        """End the site's learning in the middle of whatever it does, and begin it again on the same database."""
        self.stop_site()
        self.learning = self.make_learning()
        self.learning.start()

    def stop_site(self) -> None:
        """End the site's learning."""
        self.learning.stop()

    def _rows(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


@contextmanager
def superlink_site(
    members: tuple[str, ...], make: Callable[[Path], SuperLink], **learning: object
) -> Iterator[SuperLinkSite]:
    """Start one: broker, gateways, SuperLink with nodes, and a site whose rounds run by its settings."""
    people = People([(SITE, "site"), ("product", "releaser"), *((name, "gateway") for name in members)])
    first = builtin(people["product"])
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ut-")))  # socket paths are short
        broker = stack.enter_context(embedded_broker([SITE, *members]))
        superlink = make(folder)
        free = {name: Event() for name in members}
        sockets = {name: str(folder / f"{name}.sock") for name in members}
        gateways = {}
        for number, name in enumerate(members):
            free[name].set()
            gateways[name] = SmallGateway(
                name, SITE, broker.settings_for(name), people[name], people.keys, folder / name, first,
                _rows(number, free[name]), carrier="superlink", supernode_socket=sockets[name],
            ).start()  # fmt: skip
            stack.callback(gateways[name].stop)
        stack.callback(superlink.kill)
        superlink.start(sockets)
        quick = {
            "carrier": "superlink", "superlink": superlink.settings, "steps": 20, "learning_rate": 3e-3,
            "round_interval_s": 1.0, "deadline_s": 600.0, "min_members": len(members), **learning,
        }  # fmt: skip
        settings = AggregatorSettings.model_validate(
            {"name": SITE, "broker": broker.settings_for(SITE), "folder": folder / "var", "learning": quick,
             "rollout": {"staged": False}}
        )  # fmt: skip
        engine = open_current(sqlite_url(folder / "site.db"))
        stack.callback(engine.dispose)

        def make_learning() -> Learning:
            return Learning(settings, engine, people[SITE], people.keys, first=first)

        site = SuperLinkSite(superlink, sockets, make_learning, make_learning(), engine, gateways, free)
        stack.callback(site.stop_site)
        for one in free.values():
            stack.callback(one.set)
        site.learning.start()
        yield site


def _rows(number: int, free: Event) -> Callable[[], Rows]:
    known = healthy_rows(number)

    def rows() -> Rows:
        assert free.wait(900)
        return known

    return rows
