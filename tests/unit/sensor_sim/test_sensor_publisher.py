"""The publisher keeps time, waits for a slow broker, counts what a missing one costs, and sends kept captures again."""

import threading
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from schemas.capture import Capture, CaptureFlag
from schemas.fragments import Reassembly, decode_fragment
from schemas.link import Received
from schemas.messages import CaptureAck, encode
from sensor_sim.delivery import Delivery, Route, plan_delivery
from sensor_sim.kept_captures import KeptCaptures
from sensor_sim.publisher import Answers, Publisher

ROUTE = Route("s", "g", "m/de")


class Clock:
    """Time that passes only when somebody waits."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Stop(threading.Event):
    """A stop whose waiting moves the clock; stops by itself at `stop_at_s`."""

    def __init__(self, clock: Clock, stop_at_s: float = 1e9) -> None:
        super().__init__()
        self._clock = clock
        self._stop_at_s = stop_at_s

    def wait(self, timeout: float | None = None) -> bool:
        self._clock.now_s += timeout or 0.0
        if self._clock.now_s >= self._stop_at_s:
            self.set()
        return self.is_set()


class Broker:
    """An outlet that is there between times and takes so many messages a second."""

    def __init__(self, clock: Clock, away: tuple[float, float] = (0.0, 0.0), a_second: float = 1e9) -> None:
        self._clock = clock
        self._away = away
        self._a_second = a_second
        self._free_at_s = 0.0
        self.max_payload_bytes = 1 << 20
        self.got: list[tuple[float, str, bytes]] = []

    @property
    def connected(self) -> bool:
        return not self._away[0] <= self._clock.now_s < self._away[1]

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retained: bool = False) -> bool:
        if not self.connected or self._clock.now_s < self._free_at_s:
            return False
        self._free_at_s = self._clock.now_s + 1.0 / self._a_second
        self.got.append((self._clock.now_s, topic, payload))
        return True

    def wait_window(self, timeout_s: float) -> bool:
        self._clock.now_s += timeout_s
        return self.connected

    def wait_published(self, timeout_s: float) -> bool:
        return True


def delivery(sequence: int, *, kept: bool = False, lost: bool = False, at_s: float | None = None) -> Delivery:
    when_s = float(sequence) if at_s is None else at_s
    return Delivery(when_s, ROUTE.topic(in_fragments=False), b"%d" % sequence, ROUTE, 7, sequence, kept, lost)


def play(deliveries: Iterable[Delivery], broker: Broker, clock: Clock, **more: Any) -> Publisher:
    settings: dict[str, Any] = {"speed": 1.0, "queue_deliveries": 5, "may_drop": True, "stop": Stop(clock), **more}
    kept = settings.pop("kept", None) or KeptCaptures(resend_s=10.0)
    answers = settings.pop("answers", None) or Answers()
    linger_s = settings.pop("linger_s", 5.0)
    publisher = Publisher(broker, answers, kept, now_s=clock, **settings)
    publisher.run(deliveries, linger_s=linger_s)
    return publisher


def acknowledged(answers: Answers, through: int) -> None:
    ack = encode(CaptureAck(point="m/de", boot=7, through=through))
    answers.take(Received("ut/v1/s/sensor/g/m/de/ack", ack, 1, False, 1, 1))


@pytest.mark.parametrize(("speed", "gap_s"), [(1.0, 1.0), (4.0, 0.25)])
def test_deliveries_go_out_at_their_time_divided_by_the_speed(speed, gap_s):
    clock = Clock()
    broker = Broker(clock)
    play([delivery(n) for n in range(6)], broker, clock, speed=speed)
    assert np.diff([at for at, *_ in broker.got]) == pytest.approx(np.full(5, gap_s), abs=1e-9)


def test_as_fast_as_it_goes_waits_for_the_broker_and_loses_nothing():
    clock = Clock()
    broker = Broker(clock, a_second=10.0)
    publisher = play([delivery(n) for n in range(60)], broker, clock, speed=float("inf"), linger_s=60.0)
    assert [payload for *_, payload in broker.got] == [b"%d" % n for n in range(60)]
    assert publisher.counters["dropped_while_away"] == 0


def test_while_the_broker_is_away_the_oldest_are_dropped_and_counted():
    clock = Clock()
    broker = Broker(clock, away=(1010.0, 1040.0))
    publisher = play([delivery(n) for n in range(60)], broker, clock)
    arrived = [int(payload) for *_, payload in broker.got]
    assert arrived == [n for n in range(60) if n < 10 or n >= 35]
    assert publisher.counters["dropped_while_away"] == 60 - len(arrived) == 25


def test_a_recording_waits_for_the_broker_instead():
    clock = Clock()
    broker = Broker(clock, away=(1010.0, 1040.0))
    publisher = play([delivery(n) for n in range(60)], broker, clock, may_drop=False)
    assert [int(payload) for *_, payload in broker.got] == list(range(60))
    assert publisher.counters["dropped_while_away"] == 0


def test_a_kept_capture_that_was_lost_is_sent_again_until_acknowledged():
    clock, answers = Clock(), Answers()
    broker = Broker(clock)

    def story() -> Iterable[Delivery]:
        yield delivery(0, kept=True)
        yield delivery(1, kept=True, lost=True)
        yield delivery(2, kept=True, at_s=20.0)
        acknowledged(answers, 2)
        yield delivery(3, at_s=60.0)

    publisher = play(story(), broker, clock, answers=answers)
    arrived = [int(payload) for *_, payload in broker.got]
    assert arrived.count(1) >= 1
    assert publisher.counters["acknowledged"] == 3
    assert publisher.counters["lost_on_the_way"] == 1
    assert next(at for at, _, payload in broker.got if payload == b"1") == pytest.approx(1011.0, abs=0.2)
    assert all(at <= 1060.0 for at, _, payload in broker.got if payload != b"3")


def test_after_a_reconnect_everything_kept_is_sent_again():
    clock, answers = Clock(), Answers()
    broker = Broker(clock)
    kept = KeptCaptures(resend_s=1e6)

    def story() -> Iterable[Delivery]:
        for n in range(3):
            yield delivery(n, kept=True)
        answers.connected()
        yield delivery(3, at_s=10.0)

    play(story(), broker, clock, answers=answers, kept=kept)
    assert sorted(int(payload) for *_, payload in broker.got) == [0, 0, 1, 1, 2, 2, 3]


def test_a_full_memory_drops_its_oldest_and_counts_it():
    kept = KeptCaptures(resend_s=1.0)
    kept.limit("m/de", 3)
    for n in range(5):
        kept.keep(delivery(n, kept=True), now_s=0.0)
    assert (kept.captures, kept.dropped) == (3, 2)
    assert [d.sequence for d in kept.due(now_s=2.0)] == [2, 3, 4]
    assert kept.due(now_s=2.5) == []


def test_an_acknowledgement_of_another_boot_forgets_nothing():
    kept = KeptCaptures(resend_s=1.0)
    kept.keep(delivery(0, kept=True), now_s=0.0)
    assert kept.acknowledge("m/de", 8, 5) == 0
    assert kept.acknowledge("other/de", 7, 5) == 0
    assert kept.acknowledge("m/de", 7, 0) == 1


def test_a_payload_that_is_no_acknowledgement_is_counted():
    answers = Answers()
    answers.take(Received("ut/v1/s/sensor/g/m/de/ack", b"{}", 1, False, 1, 1))
    assert answers.bad == 1
    assert list(answers.acknowledgements()) == []


def test_a_stop_ends_the_run_and_says_what_was_left_behind():
    clock = Clock()
    broker = Broker(clock, away=(0.0, 1e9))
    stop = Stop(clock, stop_at_s=1003.5)
    publisher = play([delivery(n) for n in range(60)], broker, clock, stop=stop)
    assert broker.got == []
    assert publisher.counters["left_behind"] == 4


def test_a_capture_too_large_for_the_broker_goes_in_fragments():
    clock = Clock()
    broker = Broker(clock)
    broker.max_payload_bytes = 4096
    counts = np.random.default_rng(1).integers(-999, 999, (3, 4096), dtype=np.int16)
    capture = Capture(7, 0, 1_700_000_000_000_000, 1000.0, counts, np.ones(3), flags=CaptureFlag.NONE)
    (planned,) = plan_delivery(capture, ROUTE, ready_s=0.0, started_s=0.0, chance=np.random.default_rng(1))
    play([planned], broker, clock)
    box = Reassembly(max_bytes=1 << 20, max_age_s=10.0)
    joined = [box.add(topic, decode_fragment(payload), now_s=0.0) for _, topic, payload in broker.got]
    assert joined[-1] == planned.payload
    assert {topic for _, topic, _ in broker.got} == {"ut/v1/s/sensor/g/m/de/fragment"}
    assert max(len(payload) for *_, payload in broker.got) <= 4096
