"""Answers after the deadline: kept, merged once with the next round, or refused with their reason; nobody waits."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from flwr.app import Context, Message
from sqlalchemy.engine import Engine

from aggregator.database import open_current
from aggregator.learning.service import Learning
from aggregator.merge.pipeline import merge
from aggregator.merge.validate import Base, Limits, Update
from schemas.database import sqlite_url
from schemas.flower_codec import ClientCall
from schemas.learning_task import TrainingReply
from schemas.member_link import MemberLink, Membership
from schemas.site_tables import learning_round, round_update, waiting_update
from tests.support.brokers import BrokerServer, embedded_broker
from tests.support.learning import Held, People, builtin, client_app, healthy_rows, site_settings, wait_until

GATEWAYS = ("gw-1", "gw-2", "gw-3")


class Heard:
    """An app that keeps what it has answered."""

    def __init__(self, app: ClientCall) -> None:
        self._app = app
        self.said: list[TrainingReply] = []

    def __call__(self, message: Message, context: Context) -> Message:
        reply = self._app(message, context)
        if message.metadata.message_type == "train":
            self.said.append(TrainingReply.read(reply))
        return reply


@pytest.fixture
def people() -> People:
    return People([("site-a", "site"), ("product", "releaser"), *((name, "gateway") for name in GATEWAYS)])


@pytest.fixture
def broker() -> Iterator[BrokerServer]:
    with embedded_broker(["site-a", *GATEWAYS]) as server:
        yield server


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_current(sqlite_url(tmp_path / "site.db"))
    yield engine
    engine.dispose()


@pytest.fixture
def join(broker: BrokerServer, people: People) -> Iterator[Callable[[str, ClientCall], None]]:
    links: list[MemberLink] = []

    def start(name: str, app: ClientCall) -> None:
        settings, who = broker.settings_for(name), Membership("site-a", "site", name)
        links.append(MemberLink(settings, who, app, signer=people[name], keys=people.keys, clock_us=lambda: 1))
        links[-1].start()

    yield start
    for link in links:
        link.stop()


@pytest.fixture
def site(broker: BrokerServer, people: People, engine: Engine) -> Iterator[Callable[..., Learning]]:
    running: list[Learning] = []

    def start(**learning: object) -> Learning:
        settings = site_settings("site-a", broker.settings_for("site-a"), deadline_s=2.5, **learning)
        made = Learning(settings, engine, people["site-a"], people.keys, first=builtin(people["product"]))
        running.append(made)
        made.start()
        return made

    yield start
    for each in running:
        each.stop()


def rows(engine: Engine, table: sa.Table) -> list[sa.RowMapping]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(table)).mappings())


def states(engine: Engine) -> list[str]:
    return [row["state"] for row in rows(engine, waiting_update)]


def test_a_late_update_is_merged_once_with_the_next_round_and_counts_less(
    site: Callable[..., Learning], people: People, engine: Engine, join: Callable[[str, ClientCall], None]
) -> None:
    """The next round's merge is that of its fresh answers and the late one, calculated here by hand."""
    first = builtin(people["product"])
    apps = [Heard(client_app(first, healthy_rows(number))) for number in range(3)]
    slow = Held(apps[2])
    for name, app in zip(GATEWAYS, (apps[0], apps[1], slow), strict=True):
        join(name, app)
    learning = site()
    assert learning.carrier.wait_members(3, 10)
    before = learning.run_round()
    assert before is not None
    assert before.void == ""
    slow.let_go.set()
    assert wait_until(lambda: states(engine) == ["waiting"])
    second = learning.run_round()
    assert second is not None
    assert second.void == ""

    fresh = [Update(name, 2, app.said[1].delta, app.said[1].weight) for name, app in zip(GATEWAYS, apps, strict=True)]
    late = Update("gw-3", 1, apps[2].said[0].delta, apps[2].said[0].weight)
    by_hand = merge([*fresh, late], Base(2, first.manifest.parameter_count), limits=Limits(max_staleness=4))
    assert second.outcome is not None
    assert second.outcome.digest == by_hand.digest
    assert second.outcome.digest != merge(fresh, Base(2, first.manifest.parameter_count)).digest
    (late_row,) = rows(engine, waiting_update)
    assert (late_row["state"], late_row["delta"], late_row["round_id"]) == ("merged", None, 2)
    assert rows(engine, learning_round)[1]["metrics"]["late"] == [
        {"member": "gw-3", "key": "1", "staleness": 1, "share": 0.7071}
    ]
    assert {(row["round_id"], row["reason"]) for row in rows(engine, round_update) if row["member"] == "gw-3"} == {
        (1, "late"), (2, "")
    }  # fmt: skip
    third = learning.run_round()
    assert third is not None
    assert rows(engine, learning_round)[2]["metrics"]["late"] == []


def test_stragglers_never_hold_a_round_up_and_what_only_they_have_learnt_is_merged_all_the_same(
    site: Callable[..., Learning], people: People, engine: Engine, join: Callable[[str, ClientCall], None]
) -> None:
    """Two of three are slower than every deadline: no round has a quorum in time, the second has one with the late."""
    first = builtin(people["product"])
    slow = [Held(client_app(first, healthy_rows(number))) for number in (1, 2)]
    join("gw-1", client_app(first, healthy_rows(0)))
    join("gw-2", slow[0])
    join("gw-3", slow[1])
    learning = site()
    assert learning.carrier.wait_members(3, 10)
    void = learning.run_round()
    assert void is not None
    assert void.void == "1 of 3 invited gave a usable update, 2 needed"
    for each in slow:
        each.let_go.set()
    assert wait_until(lambda: states(engine) == ["waiting"] * 2)
    merged = learning.run_round()
    assert merged is not None
    assert merged.void == ""
    assert states(engine) == ["merged"] * 2


def test_a_late_update_further_behind_than_allowed_is_refused_with_its_reason(
    site: Callable[..., Learning], people: People, engine: Engine, join: Callable[[str, ClientCall], None]
) -> None:
    first = builtin(people["product"])
    slow = Held(client_app(first, healthy_rows(2)))
    join("gw-1", client_app(first, healthy_rows(0)))
    join("gw-2", client_app(first, healthy_rows(1)))
    join("gw-3", slow)
    learning = site(max_staleness=1)
    assert learning.carrier.wait_members(3, 10)
    for _ in range(2):
        result = learning.run_round()
        assert result is not None
        assert result.void == ""
    slow.let_go.set()

    def reasons() -> dict[int, str]:
        return {row["round_id"]: row["reason"] for row in rows(engine, round_update) if row["member"] == "gw-3"}

    assert wait_until(lambda: reasons() == {1: "too_stale", 2: "late"})
    assert states(engine) == ["waiting"]


def test_a_late_update_that_is_nonsense_is_refused_as_one_in_time_would_be(
    site: Callable[..., Learning], people: People, engine: Engine, join: Callable[[str, ClientCall], None]
) -> None:
    first = builtin(people["product"])
    honest = client_app(first, healthy_rows(2))

    def not_a_number(message: Message, context: Context) -> Message:
        said = TrainingReply.read(honest(message, context))
        return Message(dataclasses.replace(said, delta=said.delta * np.float32(np.nan)).record(), reply_to=message)

    slow = Held(not_a_number)
    join("gw-1", client_app(first, healthy_rows(0)))
    join("gw-2", slow)
    learning = site()
    assert learning.carrier.wait_members(2, 10)
    assert learning.run_round() is not None
    slow.let_go.set()
    assert wait_until(
        lambda: [row["reason"] for row in rows(engine, round_update) if row["member"] == "gw-2"] == ["not_finite"]
    )
    assert states(engine) == []
