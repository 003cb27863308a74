"""What is acknowledged is committed: in order, beside the caller, on a disk that fills, fails or never comes back."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_agent.baseline import Rows
from gateway_agent.batch import Batch
from gateway_agent.broker_order import BrokerOrder
from gateway_agent.committer import WAITING_BATCHES, Committer, ToCommit
from gateway_agent.errors import StoreError, StoreFull
from schemas.link import Received
from schemas.messages import CaptureAck, decode

WITHIN_S = 10.0


class DiskOfTest:
    """A store's place: says yes, no, or nothing for a while."""

    def __init__(self, story: list[str]) -> None:
        self.story = story
        self.full = 0
        self.spare_segments = 0
        self.broken: Exception | None = None
        self.may_write = threading.Event()
        self.may_write.set()
        self.asked = threading.Semaphore(0)

    def commit(self, batch: Batch) -> None:
        self.asked.release()
        assert self.may_write.wait(WITHIN_S)
        if self.broken is not None:
            raise self.broken
        if self.full:
            self.full -= 1
            raise StoreFull("no room")
        self.story.append(f"commit {batch.now_us}")

    def make_room(self) -> bool:
        self.spare_segments -= 1
        return self.spare_segments >= 0


@dataclass
class LinkOfTest:
    """Writes down what the broker and the sensors are told."""

    story: list[str]
    told: list[tuple[str, CaptureAck]] = field(default_factory=list)

    def acknowledge_all(self, messages: Iterable[Received]) -> None:
        self.story += [f"ack {one.payload.decode()}" for one in messages]

    def publish(self, topic: str, payload: bytes) -> bool:
        self.told.append((topic, decode(CaptureAck, payload)))
        return True


class Desk:
    """A committer with everything round it; a full disk is asked again as often as `patience` says, at once."""

    def __init__(self) -> None:
        self.story: list[str] = []
        self.disk, self.link = DiskOfTest(self.story), LinkOfTest(self.story)
        self.order = BrokerOrder(1000)
        self.learnt: list[Rows] = []
        self.waited = threading.Semaphore(0)
        self.committer = Committer(
            self.disk, self.order, site="plant-a", gateway="gw-1", learn=self.learnt.append,
            monotonic_s=lambda: 5.0, wait_for=self._wait_for,
        )  # fmt: skip
        self.committer.attach(self.link)  # type: ignore[arg-type]

    def _wait_for(self, condition: threading.Condition, over: Callable[[], bool], _timeout_s: float) -> bool:
        self.waited.release()
        return condition.wait_for(over, 0.002)

    def came(self, number: int) -> Received:
        one = Received("t", b"%d" % number, 1, False, number + 1, 1)
        self.order.came(one)
        return one

    def work(self, *numbers: int, empty: bool = False, **more: Any) -> ToCommit:
        """A batch of the messages with these numbers, which is called after the first of them."""
        batch = Batch(numbers[0])
        if not empty:
            batch.counts["captures"] = 1
        return ToCommit(batch, [self.came(n) for n in numbers], **more)


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.committer.stop()


def in_time(call: Callable[[], None]) -> bool:
    """Whether a call returns, in a thread of its own."""
    caller = threading.Thread(target=call, daemon=True)
    caller.start()
    caller.join(WITHIN_S)
    return not caller.is_alive()


@pytest.mark.parametrize("beside", [False, True], ids=["in the caller's thread", "beside"])
def test_a_message_is_acknowledged_after_its_commit_and_in_order(desk: Desk, beside: bool) -> None:
    if beside:
        desk.committer.start()
    for number in range(0, 6, 2):
        desk.committer.give(desk.work(number, number + 1))
    desk.committer.end()
    assert desk.story == ["commit 0", "ack 0", "ack 1", "commit 2", "ack 2", "ack 3", "commit 4", "ack 4", "ack 5"]


@settings(max_examples=25)
@given(sizes=st.lists(st.integers(1, 4), max_size=12), full=st.integers(0, 5), spare=st.integers(0, 3))
def test_whatever_is_given_is_made_true_in_order_and_acknowledged_once(sizes: list[int], full: int, spare: int) -> None:
    desk = Desk()
    desk.disk.full, desk.disk.spare_segments = full, spare
    desk.committer.start()
    number, expected = 0, []
    for size in sizes:
        mine = range(number, number + size)
        expected += [f"commit {number}", *(f"ack {n}" for n in mine)]
        desk.committer.give(desk.work(*mine))
        number += size
    desk.committer.end()
    assert desk.story == expected
    assert not desk.committer.disk_full


def test_the_caller_goes_on_while_one_is_written_and_one_waits_and_stands_still_at_the_next(desk: Desk) -> None:
    desk.disk.may_write.clear()
    desk.committer.start()
    desk.committer.give(desk.work(0))
    assert desk.disk.asked.acquire(timeout=WITHIN_S)
    assert desk.committer.busy_since_s == 5.0
    for number in range(1, 1 + WAITING_BATCHES):
        desk.committer.give(desk.work(number))
    one_more = threading.Thread(target=desk.committer.give, args=(desk.work(9),), daemon=True)
    one_more.start()
    assert desk.story == []
    desk.disk.may_write.set()
    one_more.join(WITHIN_S)
    assert not one_more.is_alive()
    desk.committer.settle()
    assert desk.story == ["commit 0", "ack 0", "commit 1", "ack 1", "commit 9", "ack 9"]
    assert desk.committer.busy_since_s is None


def test_settled_means_that_everything_given_is_true(desk: Desk) -> None:
    desk.committer.start()
    for number in range(20):
        desk.committer.give(desk.work(number))
        desk.committer.settle()
        assert desk.story[-2:] == [f"commit {number}", f"ack {number}"]


def test_a_batch_without_anything_to_write_is_acknowledged_all_the_same(desk: Desk) -> None:
    desk.committer.give(desk.work(0, empty=True))
    assert desk.story == ["ack 0"]
    assert not desk.committer.committed.is_set()


def test_sensors_that_keep_their_captures_are_told_and_rows_are_learnt_after_the_commit(desk: Desk) -> None:
    rows = np.zeros((1, 4), np.float32)
    desk.committer.give(desk.work(0, acknowledge={("pump-07/de", 3): 17, ("pump-07/nde", 1): -1}, healthy=[rows]))
    ((topic, said),) = desk.link.told
    assert topic == "ut/v1/plant-a/sensor/gw-1/pump-07/de/ack"
    assert said == CaptureAck(point="pump-07/de", boot=3, through=17)
    assert desk.learnt == [rows]
    assert desk.committer.committed.is_set()


@pytest.mark.parametrize("beside", [False, True], ids=["in the caller's thread", "beside"])
def test_a_failure_is_raised_in_the_giving_thread_and_nothing_after_it_is_acknowledged(
    desk: Desk, beside: bool
) -> None:
    desk.committer.give(desk.work(0))
    desk.disk.broken = StoreError("the disk says EIO")
    if beside:
        desk.committer.start()

    def give_until_it_fails() -> None:
        for number in range(1, 10):
            desk.committer.give(desk.work(number))

    with pytest.raises(StoreError, match="EIO"):
        give_until_it_fails()
    desk.disk.broken = None
    with pytest.raises(StoreError, match="EIO"):
        desk.committer.give(desk.work(20))
    with pytest.raises(StoreError, match="EIO"):
        desk.committer.check()
    with pytest.raises(StoreError, match="EIO"):
        desk.committer.settle()
    assert desk.story == ["commit 0", "ack 0"]


def test_a_caller_who_waits_for_room_is_told_of_the_failure(desk: Desk) -> None:
    desk.disk.may_write.clear()
    desk.disk.broken = StoreError("the disk says EIO")
    desk.committer.start()
    failed: list[Exception] = []

    def give_all() -> None:
        try:
            for number in range(5):
                desk.committer.give(desk.work(number))
        except StoreError as error:
            failed.append(error)

    giver = threading.Thread(target=give_all, daemon=True)
    giver.start()
    desk.disk.may_write.set()
    giver.join(WITHIN_S)
    assert failed == [desk.disk.broken]
    with pytest.raises(StoreError, match="EIO"):
        desk.committer.end()


def test_a_full_disk_gives_old_captures_up_before_anybody_waits(desk: Desk) -> None:
    desk.disk.full = desk.disk.spare_segments = 3
    desk.committer.give(desk.work(0))
    assert desk.story == ["commit 0", "ack 0"]
    assert not desk.waited.acquire(blocking=False)


def test_a_batch_waits_while_the_disk_is_full_and_is_acknowledged_once_there_is_room(desk: Desk) -> None:
    desk.disk.full = 1 << 30
    desk.committer.start()
    desk.committer.give(desk.work(0))
    desk.committer.give(desk.work(1))
    for _ in range(3):
        assert desk.waited.acquire(timeout=WITHIN_S)
    assert desk.committer.disk_full
    assert desk.committer.busy_since_s == 5.0
    assert desk.story == []
    desk.disk.full = 0
    desk.committer.settle()
    assert desk.story == ["commit 0", "ack 0", "commit 1", "ack 1"]
    assert not desk.committer.disk_full


def test_stopped_on_a_full_disk_it_ends_and_nothing_is_acknowledged_even_if_there_is_room_then(desk: Desk) -> None:
    desk.disk.full = 1 << 30
    desk.committer.start()
    desk.committer.give(desk.work(0))
    assert desk.waited.acquire(timeout=WITHIN_S)
    desk.committer.stop()
    assert in_time(desk.committer.settle)
    desk.disk.full = 0
    for number in range(1, 6):
        assert in_time(lambda number=number: desk.committer.give(desk.work(number)))  # type: ignore[misc]
    assert in_time(desk.committer.end)
    assert desk.story == []


def test_stopped_with_room_on_the_disk_it_finishes_what_it_was_given(desk: Desk) -> None:
    desk.disk.may_write.clear()
    desk.committer.start()
    desk.committer.give(desk.work(0))
    desk.committer.give(desk.work(1))
    desk.committer.stop()
    desk.disk.may_write.set()
    assert in_time(desk.committer.end)
    assert desk.story == ["commit 0", "ack 0", "commit 1", "ack 1"]


def test_it_can_be_ended_right_after_its_start_and_without_one() -> None:
    for _ in range(50):
        desk = Desk()
        desk.committer.start()
        assert in_time(desk.committer.end)
    assert in_time(Desk().committer.end)
