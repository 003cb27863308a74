"""What was learnt on the network before comes after another has: it is refused by that reason, and kept nowhere."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from sqlalchemy.engine import Engine

from aggregator.carriers.local import LocalCarrier
from aggregator.database import open_current, writing
from aggregator.foundry.artefacts import BUILT
from aggregator.learning.bases import OTHER_MODEL
from aggregator.learning.book import RoundBook
from aggregator.learning.intake import Intake, Rules
from aggregator.merge.validate import Limits
from aggregator.registry import IMPORTED, Registry
from aggregator.release_making import first_release
from schemas.database import sqlite_url
from schemas.flower_codec import take_identity
from schemas.learning_task import TRAIN, TrainingReply
from schemas.offer import Offer
from schemas.release import PARAMETERS
from tests.support.learning import CREATED_AT_US, People, builtin

PEOPLE = People([("site-a", "site"), ("product", "releaser")])
DENSE = builtin(PEOPLE["product"])
CONV = first_release(BUILT / "conv_autoencoder_48", PEOPLE["product"], created_at_us=CREATED_AT_US)
LEARNT = TrainingReply(1, np.ones(DENSE.manifest.parameter_count, np.float32), 12.0, 0.5, 0.4, 3)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_current(sqlite_url(tmp_path / "site.db"))
    yield engine
    engine.dispose()


@pytest.fixture
def heard(engine: Engine) -> tuple[RoundBook, Intake]:
    """A round was open on the dense release when the convolutional one came; and what takes in late things."""
    registry = Registry(engine, PEOPLE["site-a"], lambda: CREATED_AT_US)
    registry.start_with(DENSE)
    book = RoundBook(engine, "site", lambda: CREATED_AT_US)
    book.open_round(1, ["gw-1"])
    with writing(engine) as connection:
        registry.publish_foreign(connection, CONV, level="site", merge={"rule": IMPORTED}, actor="anna")
    return book, Intake(
        engine, book, LocalCarrier({}), registry.current, lambda: Rules(Limits(max_staleness=4), takes_offers=True),
        on_stored=lambda: None, on_adopted=lambda _site, _reply: None, on_fate=lambda _site, _fate: "",
        clock_us=lambda: CREATED_AT_US,
    )  # fmt: skip


def reply(content: RecordDict, group: str) -> Message:
    take_identity(1)
    return Message(content, reply_to=Message(RecordDict(), 1, TRAIN, group_id=group))


def test_a_gateways_late_answer(heard: tuple[RoundBook, Intake]) -> None:
    book, intake = heard
    intake._store("gw-1", reply(LEARNT.record(), "1"))
    assert dict(intake.counters) == {OTHER_MODEL: 1}
    assert book.waiting.waiting_members() == {}


def test_a_sites_offer_is_told_so(heard: tuple[RoundBook, Intake]) -> None:
    book, intake = heard
    offer = Offer("key", DENSE.manifest.files[PARAMETERS].sha256, 1, 2, 2, LEARNT)
    answer = intake._store_offer("site-a", "key", reply(offer.record(), "offer-key"))
    assert answer is not None
    assert (answer.fate, answer.text) == (
        "refused", "other_model: learnt on release 1, which is of another model than release 2"
    )  # fmt: skip
    assert book.waiting.waiting_members() == {}
