"""Messages from the site for which a queue has no room are counted, each once."""

from typing import Any, cast

from gateway_agent.batch import CONTROL_REFUSED_PREFIX, NO_ROOM, Batch
from gateway_agent.release_taker import WAITING, ReleaseTaker
from gateway_agent.worker import Job
from schemas.link import Received


def test_fragments_of_releases_that_give_way_are_counted_once_each():
    jobs: list[Job] = []
    nobody = cast("Any", None)
    taker = ReleaseTaker(
        nobody, nobody, nobody, site="plant-a", do=jobs.append, tell=lambda: None, wall_us=lambda: 0,
        compare_every_s=60.0,
    )  # fmt: skip
    for number in range(WAITING + 3):
        taker.put(Received("ut/v1/release", b"", 1, False, number + 1, 1))
    batch = Batch(0)
    for job in jobs:
        job(nobody, batch)
    assert batch.counts == {CONTROL_REFUSED_PREFIX + NO_ROOM: 3}
