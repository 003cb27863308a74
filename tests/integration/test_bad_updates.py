"""Updates that must not count, on a real broker: each refused with its reason at the site and said at its gateway."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from aggregator.database import open_current
from aggregator.learning.service import Learning
from schemas.database import sqlite_url
from schemas.flower_codec import ClientCall
from schemas.fragments import Fragment
from schemas.learning_task import TrainingReply
from schemas.member_link import MemberLink, Membership
from schemas.site_tables import round_update
from tests.support.brokers import BrokerServer, embedded_broker, mosquitto_broker
from tests.support.hand_member import PIECE_BYTES, hand_member
from tests.support.learning import People, builtin, client_app, healthy_rows, site_settings, wait_until

HONEST = ("gw-1", "gw-2", "gw-3")
TWO_GIGABYTES = 2 << 30
Change = Callable[[TrainingReply], TrainingReply]

BAD: dict[str, tuple[str, Change]] = {
    "nan": ("not_finite", lambda said: replace(said, delta=np.full_like(said.delta, np.nan))),
    "one-nan": ("not_finite", lambda said: replace(said, delta=np.append(said.delta[:-1], np.float32(np.inf)))),
    "shape": ("wrong_shape", lambda said: replace(said, delta=said.delta[:-1])),
    "dtype": ("wrong_dtype", lambda said: replace(said, delta=said.delta.astype(np.int64))),
    "base": ("wrong_base", lambda said: replace(said, base_version=said.base_version + 7)),
    "count-1e9": ("bad_weight", lambda said: replace(said, weight=1e9)),
    "count-minus-1": ("bad_weight", lambda said: replace(said, weight=-1.0)),
    "count-nan": ("bad_weight", lambda said: replace(said, weight=float("nan"))),
    "loud": ("norm_outlier", lambda said: replace(said, delta=np.float32(40) * said.delta)),
    "loss": ("not_finite", lambda said: replace(said, loss_after=float("nan"))),
}
EVERYBODY = (*HONEST, *BAD)


@pytest.fixture(params=["embedded", "mosquitto"])
def broker(request: pytest.FixtureRequest) -> Iterator[BrokerServer]:
    serve = embedded_broker if request.param == "embedded" else mosquitto_broker
    with serve(["site-a", *EVERYBODY, "huge", "late", "thief"]) as server:
        yield server


def lying(app: ClientCall, change: Change) -> ClientApp:
    liar = ClientApp()

    @liar.train()
    def train(message: Message, context: Context) -> Message:
        return Message(change(TrainingReply.read(app(message, context))).record(), reply_to=message)

    @liar.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        return app(message, context)

    return liar


def test_each_bad_update_is_refused_with_its_reason_and_its_gateway_hears_it(
    broker: BrokerServer, tmp_path: Path
) -> None:
    gateways = (*EVERYBODY, "huge")
    people = People([("site-a", "site"), ("product", "releaser"), *((name, "gateway") for name in gateways)])
    first = builtin(people["product"])
    engine = open_current(sqlite_url(tmp_path / "site.db"))
    settings = site_settings("site-a", broker.settings_for("site-a"), quorum_share=0.1)
    learning = Learning(settings, engine, people["site-a"], people.keys, first=first)
    links: dict[str, MemberLink] = {}
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        for number, name in enumerate(EVERYBODY):
            app = client_app(first, healthy_rows(number))
            links[name] = MemberLink(
                broker.settings_for(name), Membership("site-a", "site", name),
                lying(app, BAD[name][1]) if name in BAD else app,
                signer=people[name], keys=people.keys, clock_us=lambda: time.time_ns() // 1000,
            )  # fmt: skip
            links[name].start()
            stack.callback(links[name].stop)
        huge = stack.enter_context(hand_member(broker.settings_for("huge"), "huge", people["huge"]))
        thief = stack.enter_context(hand_member(broker.settings_for("thief"), "gw-1", people["gw-2"], present=False))
        learning.start()
        stack.callback(learning.stop)
        assert learning.carrier.wait_members(len(EVERYBODY) + 1, 10)
        done = threading.Thread(target=learning.run_round)
        done.start()
        task = huge.next_task()
        huge.send_fragment(Fragment(1, 1, 0, 0xFFFF, TWO_GIGABYTES, b"x" * PIECE_BYTES))
        thief.send(Message(task.content, reply_to=task))
        done.join(30)
        assert not done.is_alive()
        with engine.connect() as connection:
            rows = {row["member"]: row for row in connection.execute(sa.select(round_update)).mappings()}
        found = {name: (row["accepted"], row["reason"]) for name, row in rows.items()}
        expected = dict.fromkeys(HONEST, (True, "")) | {name: (False, BAD[name][0]) for name in BAD}
        assert found == expected | {"huge": (False, "refused")}
        assert f"oversized: item of {TWO_GIGABYTES} bytes" in rows["huge"]["metrics"]["text"]
        assert all(rows[name]["delta"] is None for name in rows)
        assert learning.carrier.counters["wrong_speaker"] >= 1
        assert learning.registry.current().version == 2
        assert np.isfinite(learning.registry.current().parameters()).all()
        for name, (reason, _) in BAD.items():
            assert wait_until(lambda link=links[name]: link.last_verdict is not None), name
            verdict = links[name].last_verdict
            assert (verdict.reason, verdict.text) == (reason, rows[name]["metrics"].get("text", verdict.text))
            assert links[name].counters[f"update_{reason}"] == 1
        assert all(links[name].last_verdict is None for name in HONEST)


def test_a_gateway_that_joins_after_the_invitation_is_not_merged(broker: BrokerServer, tmp_path: Path) -> None:
    people = People([("site-a", "site"), ("product", "releaser"), ("gw-1", "gateway"), ("late", "gateway")])
    first = builtin(people["product"])
    engine = open_current(sqlite_url(tmp_path / "site.db"))
    learning = Learning(
        site_settings("site-a", broker.settings_for("site-a")), engine, people["site-a"], people.keys, first=first
    )
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        invited = stack.enter_context(hand_member(broker.settings_for("gw-1"), "gw-1", people["gw-1"]))
        learning.start()
        stack.callback(learning.stop)
        assert learning.carrier.wait_members(1, 10)
        done = threading.Thread(target=learning.run_round)
        done.start()
        task = invited.next_task()
        uninvited = stack.enter_context(hand_member(broker.settings_for("late"), "late", people["late"]))
        uninvited.send(Message(task.content, reply_to=task))
        assert wait_until(lambda: learning.carrier.counters["wrong_sender"] >= 1)
        invited.send(Message(task.content, reply_to=task))
        done.join(30)
        with engine.connect() as connection:
            members = set(connection.execute(sa.select(round_update.c.member)).scalars())
        assert members == {"gw-1"}
