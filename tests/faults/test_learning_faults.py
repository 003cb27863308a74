"""Rows 15, 19 and 26: gateways that go in the middle of a round, that lose their key, that lie; over a real broker."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from flwr.app import Context, Message
from sqlalchemy.engine import Engine

from aggregator.database import open_current
from aggregator.key_list import WatchedKeys
from aggregator.learning.service import Learning
from aggregator.learning.strategy import RoundResult
from aggregator.merge.rule_names import Rule
from gateway_agent.model_slot import ModelSlot
from gateway_agent.training import mean_score
from schemas.database import sqlite_url
from schemas.flower_codec import ClientCall
from schemas.learning_task import TrainingReply
from schemas.member_link import MemberLink, Membership
from schemas.signing import KeyRing
from schemas.site_tables import learning_round, round_update
from tests.support.brokers import BrokerServer, embedded_broker
from tests.support.learning import Held, People, Rows, builtin, client_app, healthy_rows, site_settings, wait_until

GATEWAYS = tuple(f"gw-{number}" for number in range(10))
ROUNDS = 3


@pytest.fixture
def broker() -> Iterator[BrokerServer]:
    with embedded_broker(["site-a", *GATEWAYS]) as server:
        yield server


@pytest.fixture
def people() -> People:
    return People([("site-a", "site"), ("product", "releaser"), *((name, "gateway") for name in GATEWAYS)])


class Site:
    """A site, its database, and members with apps of the test's own."""

    def __init__(self, broker: BrokerServer, people: People, folder: Path) -> None:
        self._broker = broker
        self._people = people
        self.engine: Engine = open_current(sqlite_url(folder / "site.db"))
        self.first = builtin(people["product"])
        self.links: dict[str, MemberLink] = {}
        self.learning: Learning | None = None

    def join(self, name: str, app: ClientCall) -> None:
        """Let a gateway take part."""
        self.links[name] = MemberLink(
            self._broker.settings_for(name), Membership("site-a", "site", name), app,
            signer=self._people[name], keys=self._people.keys, clock_us=lambda: time.time_ns() // 1000,
        )  # fmt: skip
        self.links[name].start()

    def start(self, *, rule: Rule = "auto", keys: KeyRing | None = None, **learning: object) -> Learning:
        """Begin, with everybody there who has joined."""
        self.learning = Learning(
            site_settings("site-a", self._broker.settings_for("site-a"), **learning), self.engine,
            self._people["site-a"], keys or self._people.keys, first=self.first, rule=rule,
        )  # fmt: skip
        self.learning.start()
        assert self.learning.carrier.wait_members(len(self.links), 40)
        return self.learning

    def reasons(self, round_id: int) -> dict[str, str]:
        query = sa.select(round_update.c.member, round_update.c.reason).where(round_update.c.round_id == round_id)
        with self.engine.connect() as connection:
            return {row.member: row.reason for row in connection.execute(query)}

    def stop(self) -> None:
        for link in self.links.values():
            link.stop()
        if self.learning is not None:
            self.learning.stop()
        self.engine.dispose()


@pytest.fixture
def site(broker: BrokerServer, people: People, tmp_path: Path) -> Iterator[Site]:
    made = Site(broker, people, tmp_path)
    yield made
    made.stop()


def ran(learning: Learning) -> RoundResult:
    result = learning.run_round()
    assert result is not None
    return result


@pytest.mark.parametrize(("gone", "state"), [(2, "released"), (3, "void")], ids=["half", "more than half"])
def test_gateways_that_go_in_the_middle_of_a_round_void_it_below_the_quorum_and_the_next_one_goes_on(
    site: Site, gone: int, state: str
) -> None:
    names = GATEWAYS[:4]
    leaving = [Held(client_app(site.first, healthy_rows(number))) for number in range(gone)]
    staying = [client_app(site.first, healthy_rows(number)) for number in range(gone, 4)]
    for name, app in zip(names, (*leaving, *staying), strict=True):
        site.join(name, app)
    learning = site.start(deadline_s=2.0)
    result = ran(learning)
    with site.engine.connect() as connection:
        assert connection.execute(sa.select(learning_round.c.state)).scalars().all() == [state]
    assert learning.registry.current().version == (2 if state == "released" else 1)
    if state == "void":
        assert result.void == "1 of 4 invited gave a usable update, 2 needed"
    assert {site.reasons(1)[name] for name in names[:gone]} == {"no_reply"}
    for name, held in zip(names, leaving, strict=False):
        held.let_go.set()
        site.links.pop(name).stop()
    present = [learning.carrier.member_of(node) for node in learning.carrier.get_node_ids()]
    assert wait_until(lambda: len(learning.carrier.get_node_ids()) == 4 - gone), present
    assert ran(learning).void == ""


def test_gateway_whose_key_is_taken_away_in_the_middle_of_a_round_is_not_heard_any_more(
    site: Site, people: People, tmp_path: Path
) -> None:
    listed = tmp_path / "keys.toml"
    people.keys.save(listed)
    keys = WatchedKeys(listed)
    held = Held(client_app(site.first, healthy_rows(1)))
    site.join("gw-0", client_app(site.first, healthy_rows(0)))
    site.join("gw-1", held)
    learning = site.start(deadline_s=2.0, keys=keys)

    def revoke(message: Message, context: Context) -> Message:
        KeyRing(key for key in people.keys if key.name != "gw-1").save(listed)
        keys.refresh()
        held.let_go.set()
        return honest(message, context)

    honest = client_app(site.first, healthy_rows(2))
    site.join("gw-2", revoke)
    assert learning.carrier.wait_members(3, 10)
    assert ran(learning).void == ""
    assert site.reasons(1) == {"gw-0": "", "gw-1": "no_reply", "gw-2": ""}
    assert learning.carrier.counters["unknown_key"] >= 1


def flipped(app: ClientCall) -> ClientCall:
    """Two and a half times the honest update, the other way: less than what the screen of norms refuses."""

    def lie(message: Message, context: Context) -> Message:
        reply = app(message, context)
        if message.metadata.message_type != "train":
            return reply
        said = TrainingReply.read(reply)
        worse = TrainingReply(
            said.base_version,
            (-2.5 * said.delta).astype(np.float32),
            4096.0,
            said.loss_before,
            0.0,
            said.held_back_rows,
        )
        return Message(worse.record(), reply_to=message)

    return lie


@pytest.mark.parametrize("liars", [1, 2], ids=["a tenth", "a fifth"])
def test_gateways_that_lie_cost_the_fleet_at_most_a_twentieth_of_what_it_learns_and_the_mean_far_more(
    broker: BrokerServer, people: People, tmp_path: Path, liars: int
) -> None:
    """What is learnt: how far the loss on healthy rows that nobody has trained on falls in three rounds."""
    unseen = [healthy_rows(100 + number) for number in range(3)]

    def learnt(name: str, rule: Rule, lying: int) -> float:
        folder = tmp_path / name
        folder.mkdir()
        site = Site(broker, people, folder)
        try:
            for number, gateway in enumerate(GATEWAYS):
                app = client_app(site.first, healthy_rows(number))
                site.join(gateway, flipped(app) if number < lying else app)
            learning = site.start(rule=rule)
            for _ in range(ROUNDS):
                ran(learning)
            before, after = (
                np.mean([_loss(learning, theta, rows) for rows in unseen])
                for theta in (site.first.parameters(), learning.registry.current().parameters())
            )
            return float(1 - after / before)
        finally:
            site.stop()

    honest, lied, mean = learnt("honest", "auto", 0), learnt("lied", "auto", liars), learnt("mean", "mean", liars)
    assert honest > 0.5
    assert lied >= 0.95 * honest
    assert mean < 0.5 * honest


def _loss(learning: Learning, theta: Rows, rows: Rows) -> float:

    slot = ModelSlot()
    slot.load(learning.registry.current())
    return mean_score(theta, rows, slot.train_step())
