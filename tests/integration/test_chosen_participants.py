"""A round that asks some of those who are there: what is asked, remembered and told, over a real broker."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from flwr.app import Context, Message

from aggregator.database import open_current
from aggregator.learning.service import Learning
from schemas.database import sqlite_url
from schemas.member_condition import RECORD, MemberCondition
from schemas.member_link import MemberLink, Membership
from schemas.site_tables import learning_round, member_standing, round_update
from tests.support.brokers import embedded_broker
from tests.support.learning import People, builtin, client_app, healthy_rows, site_settings

GATEWAYS = tuple(f"gw-{number}" for number in range(6))
PLACES, ROUNDS = 3, 4


@pytest.fixture
def learning(tmp_path: Path) -> Iterator[Learning]:
    """A site with six gateways, three places, and one gateway whose battery is nearly empty."""
    people = People([("site-a", "site"), ("product", "releaser"), *((name, "gateway") for name in GATEWAYS)])
    first = builtin(people["product"])
    engine = open_current(sqlite_url(tmp_path / "site.db"))
    links: list[MemberLink] = []
    with embedded_broker(["site-a", *GATEWAYS]) as broker:
        for number, name in enumerate(GATEWAYS):
            app = client_app(first, healthy_rows(number))

            def on_battery(message: Message, context: Context, app: object = app) -> Message:
                reply: Message = app(message, context)  # type: ignore[operator]
                if not reply.has_error():
                    reply.content[RECORD] = MemberCondition(on_mains=0.0, battery_share=0.1, rows=256.0).record()
                return reply

            links.append(
                MemberLink(
                    broker.settings_for(name), Membership("site-a", "site", name),
                    on_battery if name == "gw-5" else app,
                    signer=people[name], keys=people.keys, clock_us=lambda: 1,
                )
            )  # fmt: skip
            links[-1].start()
        settings = site_settings("site-a", broker.settings_for("site-a"), participants="chosen", places=PLACES)
        learning = Learning(settings, engine, people["site-a"], people.keys, first=first)
        learning.start()
        assert learning.carrier.wait_members(len(GATEWAYS), 15)
        yield learning
        learning.stop()
        for link in links:
            link.stop()
    engine.dispose()


def test_a_round_asks_as_many_as_it_has_places_for_remembers_how_they_did_and_tells_why(
    learning: Learning, tmp_path: Path
) -> None:
    for _ in range(ROUNDS):
        result = learning.run_round()
        assert result is not None
        assert result.void == ""
    engine = sa.create_engine(sqlite_url(tmp_path / "site.db"))
    with engine.connect() as connection:
        rounds = connection.execute(sa.select(learning_round).order_by(learning_round.c.round_id)).mappings().all()
        updates = connection.execute(sa.select(round_update)).mappings().all()
        standings = {row["member"]: row for row in connection.execute(sa.select(member_standing)).mappings()}
    engine.dispose()
    assert [row["invited"] for row in rounds] == [PLACES] * ROUNDS
    for row in rounds:
        why = row["metrics"]["selection"]["why"]
        assert set(why) == set(GATEWAYS)
        asked = {name for name, reason in why.items() if reason in {"waited", "useful"}}
        assert (
            asked
            == set(row["metrics"]["invited"])
            == {u["member"] for u in updates if u["round_id"] == row["round_id"]}
        )
    assert all(-1.0 <= update["metrics"]["contribution"] <= 1.0 for update in updates)
    assert set(standings) == set(GATEWAYS)
    assert sum(row["wins"] + row["losses"] > 0 for row in standings.values()) == len({u["member"] for u in updates})
    weak = [row["metrics"]["selection"]["why"]["gw-5"] for row in rounds]
    first_asked = next((at for at, reason in enumerate(weak) if reason in {"waited", "useful"}), ROUNDS)
    assert set(weak[first_asked + 1 :]) <= {"cannot"}, "once it has said how it stands, it is left in peace"
