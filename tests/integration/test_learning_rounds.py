"""Rounds of a site over a real broker: what is merged, what is refused, and what is running afterwards."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from sqlalchemy.engine import Engine

from aggregator.database import open_current
from aggregator.learning.book import RoundBook
from aggregator.learning.service import Learning
from schemas.database import sqlite_url
from schemas.flower_codec import ClientCall
from schemas.learning_task import TrainingReply
from schemas.member_link import MemberLink, Membership
from schemas.release import MANIFEST, SIGNATURE, make_release
from schemas.signing import Signer
from schemas.site_tables import learning_round, rollout, round_update
from tests.support.brokers import BrokerServer, embedded_broker, mosquitto_broker
from tests.support.learning import (
    Held,
    People,
    SmallGateway,
    builtin,
    client_app,
    healthy_rows,
    site_settings,
    wait_until,
)

GATEWAYS = ("gw-1", "gw-2", "gw-3")


@pytest.fixture(params=["embedded", "mosquitto"])
def broker(request: pytest.FixtureRequest) -> Iterator[BrokerServer]:
    serve = embedded_broker if request.param == "embedded" else mosquitto_broker
    with serve(["site-a", *GATEWAYS, "stranger"]) as server:
        yield server


@pytest.fixture
def people() -> People:
    return People([("site-a", "site"), ("product", "releaser"), *((name, "gateway") for name in GATEWAYS)])


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_current(sqlite_url(tmp_path / "site.db"))
    yield engine
    engine.dispose()


@pytest.fixture
def learning(broker: BrokerServer, people: People, engine: Engine) -> Iterator[Learning]:
    learning = Learning(
        site_settings("site-a", broker.settings_for("site-a")), engine, people["site-a"], people.keys,
        first=builtin(people["product"]),
    )  # fmt: skip
    yield learning
    learning.stop()


@pytest.fixture
def join(broker: BrokerServer, people: People) -> Iterator[Callable[..., MemberLink]]:
    """Let a member with an app of the test's own take part; it leaves at the end."""
    links = []

    def start(name: str, app: ClientCall, *, user: str = "", signer: Signer | None = None) -> MemberLink:
        link = MemberLink(
            broker.settings_for(user or name), Membership("site-a", "site", name), app,
            signer=signer or people[name], keys=people.keys, clock_us=lambda: time.time_ns() // 1000,
        )  # fmt: skip
        links.append(link)
        link.start()
        return link

    yield start
    for link in links:
        link.stop()


def rows_of(engine: Engine, table: sa.Table) -> list[sa.RowMapping]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(table)).mappings())


def updates_of(engine: Engine) -> dict[str, tuple[bool, str]]:
    return {row["member"]: (row["accepted"], row["reason"]) for row in rows_of(engine, round_update)}


def spoiled(app: ClientCall, change: Callable[[TrainingReply], TrainingReply]) -> ClientCall:
    """An app that trains honestly and then says something else."""
    liar = ClientApp()

    @liar.train()
    def train(message: Message, context: Context) -> Message:
        reply = change(TrainingReply.read(app(message, context)))
        return Message(reply.record(), reply_to=message)

    @liar.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        return app(message, context)

    return liar


def with_delta(reply: TrainingReply, delta: object) -> TrainingReply:
    return TrainingReply(
        reply.base_version, np.asarray(delta), reply.weight, reply.loss_before, reply.loss_after, reply.held_back_rows
    )


def start_gateways(broker: BrokerServer, people: People, folder: Path) -> list[SmallGateway]:
    first = builtin(people["product"])
    return [
        SmallGateway(
            name, "site-a", broker.settings_for(name), people[name], people.keys, folder / name, first,
            partial(healthy_rows, number),
        ).start()
        for number, name in enumerate(GATEWAYS)
    ]  # fmt: skip


def test_a_round_of_three_gateways_ends_with_the_new_release_running_on_each(
    broker: BrokerServer, people: People, engine: Engine, tmp_path: Path, learning: Learning
) -> None:
    gateways = start_gateways(broker, people, tmp_path)
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
        assert gateways[0].shelf.slot.variation.sessions == pytest.approx(3.0)
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
        assert learning.alive
    finally:
        for gateway in gateways:
            gateway.stop()
    assert np.isfinite(current.parameters()).all()


def test_members_that_send_nonsense_are_rejected_with_their_reason_and_the_rest_is_merged(
    learning: Learning, people: People, engine: Engine, join: Callable[..., MemberLink]
) -> None:
    first = builtin(people["product"])
    apps = {name: client_app(first, healthy_rows(number)) for number, name in enumerate(GATEWAYS)}
    join("gw-1", apps["gw-1"])
    join("gw-2", apps["gw-2"])
    join("gw-3", spoiled(apps["gw-3"], lambda reply: with_delta(reply, np.full_like(reply.delta, np.nan))))
    learning.start()
    assert learning.carrier.wait_members(3, 10)
    result = learning.run_round()
    assert result is not None
    assert result.theta is not None
    assert np.isfinite(result.theta).all()
    assert updates_of(engine) == {"gw-1": (True, ""), "gw-2": (True, ""), "gw-3": (False, "not_finite")}
    assert learning.registry.current().manifest.merge["rejected"] == 1


def test_a_gateway_without_enough_healthy_rows_says_so_and_the_round_goes_on(
    learning: Learning, people: People, engine: Engine, join: Callable[..., MemberLink]
) -> None:
    first = builtin(people["product"])
    join("gw-1", client_app(first, healthy_rows(1)))
    join("gw-2", client_app(first, healthy_rows(2, count=20)))
    learning.start()
    assert learning.carrier.wait_members(2, 10)
    result = learning.run_round()
    assert result is not None
    assert result.void == ""
    refused = next(row for row in rows_of(engine, round_update) if row["member"] == "gw-2")
    assert refused["reason"] == "refused"
    assert "20 healthy rows found, at least 64 needed" in refused["metrics"]["text"]


def test_a_merge_that_members_are_worse_off_with_is_void_and_nothing_is_released(
    learning: Learning, people: People, engine: Engine, join: Callable[..., MemberLink]
) -> None:
    first = builtin(people["product"])
    for number, name in enumerate(GATEWAYS):
        app = client_app(first, healthy_rows(number))
        join(name, spoiled(app, lambda reply: with_delta(reply, (-30 * reply.delta).astype(np.float32))))
    learning.start()
    assert learning.carrier.wait_members(3, 10)
    result = learning.run_round()
    assert result is not None
    assert "loss on held-back rows rose" in result.void
    assert [row["state"] for row in rows_of(engine, learning_round)] == ["void"]
    assert learning.registry.current().version == 1


def test_a_stranger_and_an_impostor_are_never_invited(
    learning: Learning, people: People, join: Callable[..., MemberLink]
) -> None:
    app = client_app(builtin(people["product"]), healthy_rows(1))
    join("gw-1", app)
    stranger = join("gw-9", app, user="stranger", signer=Signer.generate())
    impostor = join("gw-2", app, user="stranger", signer=people["gw-3"])
    learning.start()
    assert learning.carrier.wait_members(1, 10)
    assert stranger.wait_connected(10)
    assert impostor.wait_connected(10)
    assert wait_until(lambda: {"unknown_key", "wrong_speaker"} <= set(learning.carrier.counters))
    names = [learning.carrier.member_of(node) for node in learning.carrier.get_node_ids()]
    assert names == ["gw-1"]


def test_an_answer_after_the_deadline_is_not_merged_and_is_recorded_as_late(
    broker: BrokerServer, people: People, engine: Engine, join: Callable[..., MemberLink]
) -> None:
    first = builtin(people["product"])
    slow = Held(client_app(first, healthy_rows(2)))
    join("gw-1", client_app(first, healthy_rows(1)))
    join("gw-2", slow)
    settings = site_settings("site-a", broker.settings_for("site-a"), deadline_s=1.0)
    learning = Learning(settings, engine, people["site-a"], people.keys, first=first)
    learning.start()
    try:
        assert learning.carrier.wait_members(2, 10)
        result = learning.run_round()
        assert result is not None
        assert result.void == ""
        assert updates_of(engine) == {"gw-1": (True, ""), "gw-2": (False, "no_reply")}
        slow.let_go.set()
        assert wait_until(lambda: updates_of(engine)["gw-2"] == (False, "late"))
    finally:
        slow.let_go.set()
        learning.stop()


def test_a_round_survives_the_death_of_the_broker(
    broker: BrokerServer, learning: Learning, people: People, engine: Engine, join: Callable[..., MemberLink]
) -> None:
    first = builtin(people["product"])
    members = [Held(client_app(first, healthy_rows(number))) for number in range(3)]
    for name, member in zip(GATEWAYS, members, strict=True):
        join(name, member)
    learning.start()
    assert learning.carrier.wait_members(3, 10)
    done = threading.Thread(target=learning.run_round)
    done.start()
    assert all(member.asked.wait(10) for member in members)
    broker.kill()
    broker.start()
    for member in members:
        member.let_go.set()
    done.join(30)
    assert [row["state"] for row in rows_of(engine, learning_round)] == ["released"]
    assert [member.trained for member in members] == [1, 1, 1]


def test_an_aggregator_killed_in_the_middle_of_a_round_takes_it_up_again_and_asks_nobody_twice(
    broker: BrokerServer, people: People, engine: Engine, tmp_path: Path, join: Callable[..., MemberLink]
) -> None:
    first = builtin(people["product"])
    members = [Held(client_app(first, healthy_rows(number))) for number in range(3)]
    for name, member in zip(GATEWAYS, members, strict=True):
        join(name, member)
    first.save(tmp_path / "first")
    people["site-a"].save(tmp_path / "signing.key")
    people.keys.save(tmp_path / "keys.toml")
    settings = tmp_path / "site.toml"
    reached = broker.settings_for("site-a")
    settings.write_text(
        f'name = "site-a"\ndatabase_url = "{sqlite_url(tmp_path / "site.db")}"\n'
        f"[learning]\nenabled = false\nsteps = 20\nlearning_rate = 3e-3\ndeadline_s = 10.0\n"
        f'[broker]\nport = {reached.port}\nusername = "site-a"\npassword_file = "{reached.password_file}"\n'
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.learning_process", str(settings)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert all(member.asked.wait(60) for member in members)
        for member in members[:2]:
            member.let_go.set()
        assert wait_until(lambda: len(rows_of(engine, round_update)) == 2)
    finally:
        process.kill()
        process.wait()
    members[2].let_go.set()
    learning = Learning(
        site_settings("site-a", reached), engine, people["site-a"], people.keys, first=first
    )  # fmt: skip
    learning.start()
    try:
        assert wait_until(lambda: rows_of(engine, learning_round)[0]["state"] == "released")
    finally:
        learning.stop()
    assert len(rows_of(engine, learning_round)) == 1
    assert updates_of(engine) == dict.fromkeys(GATEWAYS, (True, ""))
    assert [member.trained for member in members] == [1, 1, 1]


def test_a_round_left_open_on_a_release_that_is_gone_is_voided_at_the_next_start(
    learning: Learning, people: People, engine: Engine
) -> None:
    opened = RoundBook(engine, "site", lambda: time.time_ns() // 1000).open_round(7, ["gw-1"])
    learning.start()
    assert wait_until(lambda: rows_of(engine, learning_round)[0]["state"] == "void")
    row = rows_of(engine, learning_round)[0]
    assert row["round_id"] == opened.round_id
    assert row["text"] == "interrupted, and release 1 has replaced 7 since"


def test_a_gateway_ahead_of_its_site_is_recorded_and_the_next_release_goes_above_it(
    broker: BrokerServer, learning: Learning, people: People, engine: Engine, tmp_path: Path
) -> None:
    """The site has lost its database and begins again below what its gateway runs; its next release goes above."""
    first = builtin(people["product"])
    gateway = SmallGateway(
        "gw-1", "site-a", broker.settings_for("gw-1"), people["gw-1"], people.keys, tmp_path / "gw-1", first,
        lambda: healthy_rows(1),
    ).start()  # fmt: skip
    newer = builtin(people["product"], version=9)
    gateway.shelf.offer(newer.bundle(), offered_as=9)
    gateway.say_status()
    learning.start()
    try:

        def refused() -> bool:
            return [row["state"] for row in rows_of(engine, rollout)] == ["refused"]

        assert wait_until(refused)
        assert rows_of(engine, rollout)[0]["text"].startswith("runs release 9, newer than any of this site")
        assert learning.carrier.wait_members(1, 10)
        assert learning.run_round() is not None
        assert learning.registry.current().version == 10
        assert learning.rollout is not None
        assert learning.rollout.wait_running(1, 10)
    finally:
        gateway.stop()


def test_a_release_that_a_gateway_refuses_is_recorded_with_its_text_and_the_old_one_stays(
    broker: BrokerServer, learning: Learning, people: People, engine: Engine, tmp_path: Path
) -> None:
    (gateway, *others) = start_gateways(broker, people, tmp_path)
    first = builtin(people["product"])
    fields = {**first.manifest.model_dump(exclude={"files"}), "release_version": 2, "features": "cepstrum_48"}
    files = {name: blob for name, blob in first.files.items() if name not in {MANIFEST, SIGNATURE}}
    learning.registry.start_with(make_release(fields, files, people["site-a"]))
    learning.start()
    try:

        def texts() -> set[str]:
            return {row["text"] for row in rows_of(engine, rollout) if row["state"] == "refused"}

        assert wait_until(lambda: len(rows_of(engine, rollout)) == 3 and len(texts()) == 1)
        assert texts().pop().startswith("release 2 refused (other_features): release 2 wants 48 features 'cepstrum_48'")
        assert gateway.shelf.current.digest == first.digest
    finally:
        for each in (gateway, *others):
            each.stop()
