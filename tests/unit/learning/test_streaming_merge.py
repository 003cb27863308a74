"""A round under the mean holds one update at a time, from the wire to the merge, and merges to the same bits."""

import gc
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message
from sqlalchemy.engine import Engine

from aggregator.carriers.local import LocalCarrier
from aggregator.database import open_current
from aggregator.learning.book import Answer, RoundBook, Said
from aggregator.learning.strategy import MergeStrategy, NoRecorder, Plan, RoundResult, run_rounds
from aggregator.merge.pipeline import merge
from aggregator.merge.rule_names import Rule
from aggregator.merge.validate import Base, ReadLater, Update
from schemas.database import sqlite_url
from schemas.flower_codec import ClientCall
from schemas.learning_task import EVALUATE, EvaluationReply, LearningTask, TrainingReply
from tests.support.naive_merge import weighted_mean

PARAMETERS = 20_000
UPDATE_BYTES = 4 * PARAMETERS
FEW, MANY = 8, 32


class InTurn(LocalCarrier):
    """Members answer one after the other, each once the one before is stored; what a broker does to a slow site."""

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        return [reply for message in messages for reply in LocalCarrier.send_and_receive(self, [message])]


class Stored(NoRecorder):
    """Keeps answers where a live site does."""

    def __init__(self, book: RoundBook, members: Sequence[str]) -> None:
        self._book, self._round_id = book, book.open_round(1, members).round_id

    def said(self) -> dict[str, Said]:
        return self._book.said(self._round_id)

    def updates(self) -> Sequence[Update]:
        return self._book.updates(self._round_id)

    def note_answer(self, answer: Answer, size_bytes: int) -> None:
        self._book.note_answer(self._round_id, answer, size_bytes)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_current(sqlite_url(tmp_path / "site.db"))
    yield engine
    engine.dispose()


def update(number: int, **changes: int) -> Update:
    draw = np.random.default_rng(number)
    delta = draw.standard_normal(PARAMETERS, np.float32)
    return Update(f"gw-{number:04}", changes.get("base", 5), delta, 1.0 + number % 7)


def member(number: int) -> ClientCall:
    def answer(message: Message, _context: object) -> Message:
        task = LearningTask.read(message)
        if message.metadata.message_type == EVALUATE:
            return Message(EvaluationReply(0.5, 10).record(), reply_to=message)
        one = update(number)
        said = TrainingReply(task.base_version, one.delta, one.weight, 0.5, 0.4, 10)
        return Message(said.record(), reply_to=message)

    return answer


def run(count: int, rule: Rule, record: Callable[[Sequence[str]], NoRecorder]) -> RoundResult:
    apps: Mapping[str, ClientCall] = {f"gw-{number:04}": member(number) for number in range(count)}
    carrier, plan = InTurn(apps), Plan(graph="0" * 64, rule=rule)
    theta = np.zeros(PARAMETERS, np.float32)
    strategy = MergeStrategy(carrier, plan, theta, base_version=1, recorder=record(sorted(apps)))
    (result,) = run_rounds(carrier, strategy, rounds=1, deadline_s=60.0)
    assert (result.void, result.rejected) == ("", ())
    return result


def peak_bytes(work: Callable[[], object]) -> int:
    """The least of three, for other threads allocate, too; cycles are looked for as Python does by itself."""
    before, peaks = gc.get_threshold(), []
    gc.set_threshold(700, 10, 10)
    try:
        for _ in range(3):
            gc.collect()
            tracemalloc.start()
            work()
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    finally:
        gc.set_threshold(*before)
    return min(peaks)


def test_a_round_of_stored_updates_merges_to_the_bits_of_a_round_that_holds_them(engine: Engine) -> None:
    for rule in ("mean", "robust", "median"):
        book = RoundBook(engine, "site", lambda: 1)
        stored = run(FEW, rule, lambda members, book=book: Stored(book, members))
        held = run(FEW, rule, lambda _members: NoRecorder())
        assert stored.outcome is not None
        assert held.outcome is not None
        assert (stored.outcome.digest, stored.outcome.rule_used) == (held.outcome.digest, rule)
        assert stored.contributions == held.contributions
        assert stored.outcome.accepted == held.outcome.accepted


def test_a_round_of_four_times_the_members_takes_no_more_memory_under_the_mean(engine: Engine) -> None:
    book = RoundBook(engine, "site", lambda: 1)

    def record(members: Sequence[str]) -> NoRecorder:
        return Stored(book, members)

    run(FEW, "mean", record)  # what is loaded once
    few, many = (peak_bytes(lambda count=count: run(count, "mean", record)) for count in (FEW, MANY))
    assert many < few + (MANY - FEW) * UPDATE_BYTES / 3, (few, many)  # less than the updates: heads of messages stay


def test_the_mean_reads_every_update_twice_and_holds_what_it_sums_in_one_go() -> None:
    asked: list[int] = []

    def read(place: int) -> Update:
        asked.append(place)
        return update(place)

    few, many = (peak_bytes(lambda n=n: merge(ReadLater(n, update), Base(5, PARAMETERS), "mean")) for n in (FEW, MANY))
    assert many < few + 2 * UPDATE_BYTES, (few, many)
    merge(ReadLater(FEW, read), Base(5, PARAMETERS), "mean")
    assert asked == [*range(FEW), *range(FEW)]


def test_stale_updates_beside_a_members_fresh_one_are_read_with_it_and_count_once_each() -> None:
    """In whatever order they lie where they are read from."""
    small = [
        Update("b", 5, np.array([1.0, 0.0], np.float32), 1.0),
        Update("a", 5, np.array([0.0, 1.0], np.float32), 3.0),
        Update("b", 5, np.array([0.0, 2.0], np.float32), 2.0),
    ]
    expected = weighted_mean([(each.delta.tolist(), each.weight) for each in small])
    digests = set()
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        outcome = merge(ReadLater(3, lambda place, order=order: small[order[place]]), Base(5, 2), "mean")
        np.testing.assert_allclose(outcome.delta, expected, rtol=1e-6)
        assert outcome.accepted == {"a": 3.0, "b": 3.0}
        digests.add(outcome.digest)
    assert len(digests) == 1
