"""Updates that must not count, on a real broker: each refused with its reason at the site and said at its gateway."""

import html
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from streamlit.testing.v1 import AppTest

from aggregator.database import open_current, writing
from aggregator.learning.service import Learning
from dashboard import round_words
from schemas.database import sqlite_url
from schemas.flower_codec import ClientCall, name_message
from schemas.fragments import Fragment
from schemas.learning_task import TrainingReply
from schemas.member_link import MemberLink, Membership, node_id_of
from schemas.messages import GatewayStatus, MemberReport, decode, encode
from schemas.site_tables import dead_letter, gateway, round_update
from tests.support.brokers import BrokerServer, embedded_broker, mosquitto_broker
from tests.support.hand_member import PIECE_BYTES, hand_member
from tests.support.learning import Held, People, builtin, client_app, healthy_rows, site_settings, wait_until
from tests.support.page_runs import run_page, words_of

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
    "loud": ("norm_outlier", lambda said: replace(said, delta=np.float32(10) * said.delta)),
    "loss": ("not_finite", lambda said: replace(said, loss_after=float("nan"))),
}
EVERYBODY = (*HONEST, *BAD)


@dataclass(frozen=True, slots=True)
class Found:
    """What a round with every bad update has left: at the site, at the gateways, and on the pages."""

    updates: Mapping[str, Mapping[str, Any]]
    letters: Mapping[str, Mapping[str, Any]]
    reports: Mapping[str, MemberReport | None]
    dropped: Mapping[str, int]
    version: int
    rounds_page: str
    fleet_page: str


@pytest.fixture(scope="module", params=["embedded", "mosquitto"])
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


@pytest.fixture(scope="module")
def found(broker: BrokerServer, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """One round of honest members and of all that must not count."""
    folder = tmp_path_factory.mktemp("refused")
    gateways = (*EVERYBODY, "huge", "late")
    people = People([("site-a", "site"), ("product", "releaser"), *((name, "gateway") for name in gateways)])
    first = builtin(people["product"])
    engine = open_current(sqlite_url(folder / "site.db"))
    settings = site_settings("site-a", broker.settings_for("site-a"), quorum_share=0.1)
    learning = Learning(settings, engine, people["site-a"], people.keys, first=first)
    slow = Held(client_app(first, healthy_rows(50)))
    links: dict[str, MemberLink] = {}

    def join(name: str, app: ClientCall) -> None:
        links[name] = MemberLink(
            broker.settings_for(name), Membership("site-a", "site", name), app,
            signer=people[name], keys=people.keys, clock_us=lambda: time.time_ns() // 1000,
        )  # fmt: skip
        links[name].start()
        stack.callback(links[name].stop)

    with ExitStack() as stack:
        stack.callback(engine.dispose)
        for number, name in enumerate(EVERYBODY):
            app = client_app(first, healthy_rows(number))
            join(name, lying(app, BAD[name][1]) if name in BAD else app)
        join("huge", slow)
        hands = {
            name: stack.enter_context(hand_member(broker.settings_for(client), name, people[key], present=False))
            for name, client, key in (("huge", "huge", "huge"), ("late", "late", "late"), ("gw-1", "thief", "gw-2"))
        }
        learning.start()
        stack.callback(learning.stop)
        stack.callback(slow.let_go.set)
        assert learning.carrier.wait_members(len(links), 10)
        done = threading.Thread(target=learning.run_round)
        done.start()
        assert slow.asked.wait(10)
        task = hands["huge"].next_task()
        hands["huge"].send_fragment(Fragment(1, 1, 0, 0xFFFF, TWO_GIGABYTES, b"x" * PIECE_BYTES))
        hands["gw-1"].send(Message(task.content, reply_to=task))
        assert wait_until(lambda: learning.carrier.counters["oversized"] >= 1)
        slow.let_go.set()
        join("late", client_app(first, healthy_rows(51)))
        assert wait_until(lambda: "late" in {learning.carrier.member_of(n) for n in learning.carrier.get_node_ids()})
        question = Message(task.content, node_id_of("late"), "train", group_id=task.metadata.group_id)
        name_message(question, "0" * 32)
        hands["late"].send(Message(task.content, reply_to=question))
        done.join(30)
        assert not done.is_alive()
        told = [*BAD, "huge", "late", "gw-1"]
        assert wait_until(lambda: all(links[name].last_verdict is not None for name in told))
        reports = {name: link.report() for name, link in links.items()}
        with writing(engine) as connection:
            updates = {row["member"]: dict(row) for row in connection.execute(sa.select(round_update)).mappings()}
            letters = {row["reason"]: dict(row) for row in connection.execute(sa.select(dead_letter)).mappings()}
            for name, report in reports.items():
                connection.execute(sa.insert(gateway).values(**_heard(name, report)))
        return Found(
            updates, letters, reports, learning.dropped(), learning.registry.current().version,
            _shown(run_page(rounds_script, engine, folder, now_us=time.time_ns() // 1000)),
            _shown(run_page(gateways_script, engine, folder, now_us=time.time_ns() // 1000)),
        )  # fmt: skip


def rounds_script() -> None:
    from dashboard.pages.federation import show_federation

    show_federation()


def gateways_script() -> None:
    from dashboard.pages.fleet import show_fleet

    show_fleet()


def _heard(name: str, report: MemberReport | None) -> dict[str, Any]:
    """The row of a gateway as the historian writes it from a status."""
    at_us = time.time_ns() // 1000
    said = GatewayStatus(
        gateway=name, online=True, boot=1, at_us=at_us, software="test", release_version=1, release_digest="",
        learning=report,
    )  # fmt: skip
    return {
        "gateway": name, "online": True, "last_seen_us": at_us, "release_version": 1,
        "status": decode(GatewayStatus, encode(said)).model_dump(mode="json"),
    }  # fmt: skip


def _shown(page: AppTest) -> str:
    bodies = (element.proto.body for element in page.get("html"))
    return html.unescape("\n".join([words_of(page.markdown), *bodies])).replace("\\", "")


REFUSED = {**{name: reason for name, (reason, _) in BAD.items()}, "huge": "oversized", "late": "not_invited"}


@pytest.mark.parametrize("name", REFUSED)
def test_each_bad_update_stands_in_the_registry_on_its_gateway_and_on_the_pages_with_its_reason(
    found: Found, name: str
) -> None:
    reason, row, report = REFUSED[name], found.updates[name], found.reports[name]
    assert (row["accepted"], row["reason"], row["delta"]) == (False, reason, None)
    assert report is not None
    assert report.last_refused is not None
    assert (report.last_refused.reason, report.last_refused.text) == (reason, row["metrics"]["text"])
    assert report.refused == {reason: 1}
    why = round_words.rejected_because(reason)
    assert why != reason.replace("_", " "), "no words for it"
    assert f"✕ {name}: {why} ({row['metrics']['text']}) → {round_words.what_to_do(reason)}" in found.rounds_page
    told = f"what it learnt for round {row['round_id']} did not count, [^:]*: {re.escape(why)}"
    assert re.search(told, found.fleet_page.split(f"**{name}**")[1].split("\n\n")[1])


def test_two_gigabytes_are_called_that_and_not_a_refusal_to_learn(found: Found) -> None:
    assert found.updates["huge"]["metrics"]["text"] == f"oversized: item of {TWO_GIGABYTES} bytes, {64 << 20} allowed"
    assert found.letters["oversized"]["topic"].endswith("/learning/huge/reply")


def test_what_somebody_else_has_signed_is_kept_counted_shown_and_told_to_whom_it_names(found: Found) -> None:
    letter, report = found.letters["wrong_speaker"], found.reports["gw-1"]
    assert letter["topic"].endswith("/learning/gw-1/reply")
    assert "'gw-2' signed for" in letter["text"]
    assert found.dropped["wrong_speaker"] == 1
    assert report is not None
    assert report.last_refused is not None
    assert (report.last_refused.reason, report.last_refused.round_number) == ("wrong_speaker", 0)
    why = round_words.rejected_because("wrong_speaker")
    assert re.search(f"✕ gw-1, [^:]*: {re.escape(why)} \\({re.escape(letter['text'])}\\)", found.rounds_page)
    assert re.search(f"a message in its name was refused, [^:]*: {re.escape(why)}", found.fleet_page)


def test_the_honest_are_merged_beside_all_of_them_and_hear_nothing(found: Found) -> None:
    assert {name for name, row in found.updates.items() if row["accepted"]} == set(HONEST)
    assert found.version == 2
    reports = [found.reports[name] for name in HONEST[1:]]
    assert all(report is not None and report.last_refused is None and not report.refused for report in reports)


def test_of_two_gateways_one_that_shouts_is_refused_by_what_the_site_accepted_before_it_was_restarted(
    broker: BrokerServer, tmp_path: Path
) -> None:
    people = People([("site-a", "site"), ("product", "releaser"), ("gw-1", "gateway"), ("gw-2", "gateway")])
    first = builtin(people["product"])
    engine = open_current(sqlite_url(tmp_path / "site.db"))
    loud = {"factor": 1.0}
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        for number, name in enumerate(("gw-1", "gw-2")):
            app = client_app(first, healthy_rows(number))
            shouting = lying(app, lambda said: replace(said, delta=np.float32(loud["factor"]) * said.delta))
            link = MemberLink(
                broker.settings_for(name), Membership("site-a", "site", name), shouting if name == "gw-2" else app,
                signer=people[name], keys=people.keys, clock_us=lambda: time.time_ns() // 1000,
            )  # fmt: skip
            link.start()
            stack.callback(link.stop)
        for factor, expected in ((1000.0, False), (1.0, True), (10.0, False)):
            loud["factor"] = factor
            settings = site_settings("site-a", broker.settings_for("site-a"))
            learning = Learning(settings, engine, people["site-a"], people.keys, first=first)
            learning.start()
            try:
                assert learning.carrier.wait_members(2, 15)
                result = learning.run_round()
            finally:
                learning.stop()
            assert result is not None
            assert result.outcome is not None
            assert set(result.outcome.accepted) == ({"gw-1", "gw-2"} if expected else {"gw-1"})
            assert [one.reason for one in result.rejected] == ([] if expected else ["norm_outlier"])
        assert "what was accepted lately allows" in result.rejected[0].text


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
