"""A gateway that describes, judges and commits beside each other stores what one that does so in turn would."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway_agent.batch import Batch
from gateway_agent.judge import BOOTS_KEPT
from gateway_agent.service import GatewayAgent
from gateway_agent.settings import (
    CommissioningSettings,
    GatewaySettings,
    IngestSettings,
    LearningSettings,
    StoreSettings,
)
from gateway_agent.store import Store, read_only
from gateway_agent.store_tables import capture_table, dead_letter_table
from gateway_agent.stream_order import REMEMBERED
from gateway_agent.worker import Clocks
from schemas.capture import Capture, CaptureFlag, encode_capture
from schemas.fragments import split
from schemas.link import Received
from schemas.messages import CaptureAck, decode
from schemas.nameplate import BearingPlate, Nameplate
from schemas.settings import BrokerSettings
from schemas.signing import KeyRing, Signer
from schemas.topics import CAPTURE, CAPTURE_FRAGMENT
from tests.support.captures import AT_US, RPM, faulty, healthy, saturated, stuck
from tests.support.plant import wait_until

WITHIN_S = 30.0
NOW_US = AT_US + 3_600_000_000
KEPT = CaptureFlag.KEPT_UNTIL_ACK


@dataclass
class Told:
    """What the broker and the sensors were told."""

    acknowledged: list[Received] = field(default_factory=list)
    through: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    connected = True

    def acknowledge_all(self, messages: Iterable[Received]) -> None:
        self.acknowledged += messages

    def publish(self, _topic: str, payload: bytes, **_: Any) -> bool:
        ack = decode(CaptureAck, payload)
        self.through.setdefault((ack.point, ack.boot), []).append(ack.through)
        return True


MakeAgent = Callable[..., GatewayAgent]


@pytest.fixture
def make_agent(tmp_path: Path) -> Iterator[MakeAgent]:
    """Makes gateway agents of which only the worker is used; their clocks stand still."""
    made: list[GatewayAgent] = []

    def make(*, batch_captures: int) -> GatewayAgent:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        Signer.generate().save(folder / "signing.key")
        KeyRing([]).save(folder / "keys.toml")
        settings = GatewaySettings(
            site="plant-a", gateway="gw-1", broker=BrokerSettings(allow_anonymous=True),
            signing_key_file=folder / "signing.key", keys_file=folder / "keys.toml",
            store=StoreSettings(folder=folder / "var", min_free_bytes=0),
            ingest=IngestSettings(batch_captures=batch_captures, batch_wait_s=0.0, fragment_bytes=1 << 20),
            commissioning=CommissioningSettings(captures=6), learning=LearningSettings(take_part=False),
            machines=(Nameplate(machine="pump-07", rpm=RPM, bearing=BearingPlate(name="6205")),),
        )  # fmt: skip
        made.append(GatewayAgent(settings, Clocks(wall_us=lambda: NOW_US)))
        return made[-1]

    yield make
    for agent in made:
        agent.captures_link.stop()
        agent.control_link.stop()
        agent.reinjection.close()
        agent.store.close()
        agent.aside.close()


def messages_of(captures: Sequence[tuple[str, Capture]]) -> list[Received]:
    return numbered([(topic_of(position), encode_capture(capture)) for position, capture in captures])


def topic_of(position: str, *, fragment: bool = False, machine: str = "pump-07") -> str:
    row = CAPTURE_FRAGMENT if fragment else CAPTURE
    return row.path(site="plant-a", gateway="gw-1", machine=machine, position=position)


def numbered(payloads: Sequence[tuple[str, bytes]]) -> list[Received]:
    return [Received(topic, payload, 1, False, n + 1, 1) for n, (topic, payload) in enumerate(payloads)]


def a_day_of_a_plant() -> list[Received]:
    """Two points that learn, one that breaks; gaps, repetitions, late ones, fragments, poison, sensors that fail."""
    payloads: list[tuple[str, bytes]] = []
    for n in range(60):
        for position in ("de", "nde"):
            broken = position == "de" and n >= 30
            capture = (faulty if broken else healthy)(n, flags=KEPT)
            if n == 25:
                capture = (stuck if position == "de" else saturated)(n, flags=KEPT)
            if n == 40:
                continue
            payloads.append((topic_of(position), encode_capture(capture)))
        if n % 7 == 0:
            payloads += payloads[-3:]
        if n % 11 == 0:
            payloads.append((topic_of("de"), b"poison %d" % n))
            payloads.append((topic_of("de", machine="unknown"), encode_capture(healthy(n))))
    pieces = [
        (topic_of("de", fragment=True), piece)
        for n in (60, 61)
        for piece in split(encode_capture(healthy(n)), stream=1, item=n, piece_bytes=900)
    ]
    payloads[20:20] = pieces[:3]
    payloads += pieces[3:]
    payloads += [(topic_of("de"), encode_capture(healthy(n, boot=2))) for n in (5, 3, 4, 3, 900)]
    return numbered(payloads)


def in_turn(agent: GatewayAgent, messages: Sequence[Received]) -> Told:
    """One batch after the other in this thread."""
    told = Told()
    agent.worker.attach(told)  # type: ignore[arg-type]
    agent.worker.put_all(messages)
    while agent.worker.queued:
        agent.worker.turn()
    return told


def beside(agent: GatewayAgent, messages: Sequence[Received], *, done: Callable[[Told], bool]) -> Told:
    """As a running gateway does it: all of it waits from the beginning, so that full batches are described ahead."""
    told = Told()
    agent.worker.attach(told)  # type: ignore[arg-type]
    with ThreadPoolExecutor(1, "ingest") as threads:
        running = threads.submit(agent.worker.run)
        try:
            agent.worker.put_all(messages)
            wait_until("all is acknowledged", lambda: running.done() or done(told), within_s=WITHIN_S, every_s=0.01)
        finally:
            agent.worker.stop()
        running.result(WITHIN_S)
    return told


def contents(agent: GatewayAgent) -> dict[str, Any]:
    """All that is stored, in order where order means something; without when."""
    c, d = capture_table.c, dead_letter_table.c
    captures = sa.select(c.point, c.boot, c.sequence, c.quality, c.healthy, c.score, c.health, c.model_features)
    letters = sa.select(d.topic, d.reason, d.text, d.payload)
    with read_only(agent.settings.store.folder) as database:
        return {
            "captures": [tuple(row) for row in database.execute(captures.order_by(c.id))],
            "letters": [tuple(row) for row in database.execute(letters.order_by(d.id))],
            "outbox": sorted((one.kind, one.priority, one.body) for one in agent.store.waiting(10_000)),
            "points": agent.store.point_states(),
            "counts": agent.store.counts(),
        }


@pytest.mark.parametrize("batch_captures", [3, 16])
def test_the_same_captures_give_the_same_results_whether_done_beside_each_other_or_in_turn(
    make_agent: MakeAgent, batch_captures: int
) -> None:
    messages = a_day_of_a_plant()
    one, other = (make_agent(batch_captures=batch_captures) for _ in range(2))
    told = in_turn(one, messages)
    told_beside = beside(other, messages, done=lambda told: len(told.acknowledged) == len(messages))
    assert told.acknowledged == told_beside.acknowledged == messages
    assert {key: max(said) for key, said in told.through.items()} == {
        key: max(said) for key, said in told_beside.through.items()
    }
    assert all(said == sorted(said) for said in told_beside.through.values())
    expected = contents(one)
    assert len(expected["captures"]) == 2 * 59 + 2 + 4
    assert {kind for kind, _, _ in expected["outbox"]} >= {"health", "alarm", "evidence"}
    assert contents(other) == expected


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that takes long enough for the next batch to be judged meanwhile."""
    commit = Store.commit

    def commit_slowly(store: Store, batch: Batch) -> None:
        time.sleep(0.05)
        commit(store, batch)

    monkeypatch.setattr(Store, "commit", commit_slowly)


OLDER_THAN_REMEMBERED = [("de", healthy(n)) for n in (2 * REMEMBERED, 5, 4)]
MORE_BOOTS_THAN_REMEMBERED = [("de", healthy(0, boot=boot)) for boot in range(1, BOOTS_KEPT + 3)]


@pytest.mark.usefixtures("slow_disk")
@pytest.mark.parametrize(
    "captures", [OLDER_THAN_REMEMBERED, MORE_BOOTS_THAN_REMEMBERED], ids=["older than remembered", "many boots"]
)
def test_a_capture_said_again_while_its_first_copy_is_being_committed_is_stored_once(
    make_agent: MakeAgent, captures: list[tuple[str, Capture]]
) -> None:
    """Who asks the store then would hear that it has never come, and the second copy would end the agent."""
    agent = make_agent(batch_captures=len(captures))
    messages = messages_of(3 * captures)
    told = beside(agent, messages, done=lambda told: len(told.acknowledged) == len(messages))
    assert told.acknowledged == messages
    assert agent.store.captures_stored() == len(captures)
    assert agent.store.counts()["captures_duplicate"] == 2 * len(captures)


def test_a_failing_disk_ends_the_worker_and_nothing_more_is_acknowledged(
    make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make_agent(batch_captures=4)
    told = Told()
    agent.worker.attach(told)  # type: ignore[arg-type]
    commit = Store.commit

    def commit_until_the_disk_fails(store: Store, batch: Batch) -> None:
        if store.captures_stored() >= 8:
            raise OSError("input/output error")
        commit(store, batch)

    monkeypatch.setattr(Store, "commit", commit_until_the_disk_fails)
    messages = messages_of([("de", healthy(n)) for n in range(40)])
    agent.worker.put_all(messages)
    with pytest.raises(OSError, match="input/output"):
        agent.worker.run()
    assert told.acknowledged == messages[:8]
    assert agent.store.captures_stored() == 8
