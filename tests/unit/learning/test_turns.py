"""Who waits for a round to end comes before the next round of the same."""

import threading

from aggregator.learning.turns import FairLock
from tests.support.learning import wait_until


def test_who_waits_has_its_turn_before_the_one_that_has_just_let_go() -> None:
    lock, turns = FairLock(), list[str]()

    def answer_the_enterprise() -> None:
        with lock:
            turns.append("enterprise")

    for _ in range(20):
        waits = threading.Thread(target=answer_the_enterprise)
        with lock:
            turns.append("round")
            waits.start()
            assert wait_until(lambda: lock.awaited, 60)
        with lock:  # at once, as a round that is due already
            turns.append("next round")
        waits.join()
    assert turns == ["round", "enterprise", "next round"] * 20
