"""The way of a capture through a running gateway and of a record to the site, with a link of our own making."""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway_agent.batch import NORMAL, URGENT, Batch
from gateway_agent.commands import CommandDesk
from gateway_agent.healthy_rows import HealthyRows
from gateway_agent.intake import Intake
from gateway_agent.judge import Judge
from gateway_agent.settings import IngestSettings, StoreSettings
from gateway_agent.store import Store
from gateway_agent.uplink import BATCH_RECORDS, RESEND_S, Uplink
from gateway_agent.worker import Clocks, IngestWorker
from schemas.capture import CaptureFlag, encode_capture
from schemas.fragments import Reassembly
from schemas.link import PayloadTooLarge, Received
from schemas.messages import CaptureAck, Command, CommandResult, Gap, RecordBatch, RecordsAck, decode, encode
from schemas.settings import BrokerSettings
from schemas.signing import SEAL_BYTES
from schemas.topics import CAPTURE
from tests.contract.golden_contract import KEY, RING
from tests.support.captures import AT_US, POINT, capture_of, gateway_settings, healthy, noise_g, stuck, taken
from tests.support.gateway_talk import alarm, health

TOPIC = CAPTURE.path(site="plant-a", gateway="gw-1", machine="pump-07", position="de")
KEPT = CaptureFlag.KEPT_UNTIL_ACK


@dataclass
class FakeLink:
    """Keeps what it is given; can be down, and takes packets of a size."""

    max_payload_bytes: int = 100_000
    connected: bool = True
    takes: bool = True
    said: list[tuple[str, bytes]] = field(default_factory=list)
    acknowledged: list[Received] = field(default_factory=list)

    def publish(self, topic: str, payload: bytes, **_: Any) -> bool:
        if len(payload) > self.max_payload_bytes:
            raise PayloadTooLarge(f"payload of {len(payload)} bytes")
        if self.takes:
            self.said.append((topic, payload))
        return self.takes

    def wait_window(self, _timeout_s: float) -> bool:
        return True

    def acknowledge(self, received: Received) -> None:
        self.acknowledged.append(received)

    def acknowledge_all(self, messages: Iterable[Received]) -> None:
        for received in messages:
            self.acknowledge(received)


class Gateway:
    """A store, a judge, a worker and an uplink without threads: each step is made by the test."""

    def __init__(self, folder: Path, *, queue_captures: int = 8) -> None:
        self.now_s = 0.0
        self.link = FakeLink()
        self.store = Store(StoreSettings(folder=folder / "var", min_free_bytes=0))
        self.judge = Judge(
            gateway_settings(), known=self.store.knows, recall=lambda p, b: self.store.highest_sequences(p, b, 1024)
        )
        intake = Intake("plant-a", "gw-1", frozenset({"pump-07"}), False, Reassembly(max_bytes=1 << 20, max_age_s=10.0))
        clocks = Clocks(lambda: AT_US + 100_000_000 + round(self.now_s * 1e6), lambda: self.now_s)
        ingest = IngestSettings(queue_captures=queue_captures, batch_wait_s=0.0)
        self.worker = IngestWorker(ingest, self.judge, intake, self.store, HealthyRows(64), clocks)
        self.worker.attach(self.link)  # type: ignore[arg-type]
        self.uplink = Uplink(
            "plant-a", "gw-1", self.store, self.link, KEY,  # type: ignore[arg-type]
            monotonic_s=lambda: self.now_s, committed=threading.Event(),
        )  # fmt: skip

    def arrive(self, sequence: int, *, connection: int = 1, payload: bytes | None = None) -> Received:
        raw = encode_capture(healthy(sequence, flags=KEPT)) if payload is None else payload
        received = Received(TOPIC, raw, 1, False, sequence + 1, connection)
        self.worker.put(received)
        return received

    def work(self) -> None:
        """Everything that waits now."""
        while self.worker.queued:
            self.worker.turn()

    def send(self) -> list[RecordBatch]:
        """What goes to the site now."""
        self.link.said.clear()
        self.uplink.turn()
        return [decode(RecordBatch, RING.open(topic, sealed, role="gateway")) for topic, sealed in self.link.said]

    def sent(self) -> list[int]:
        return [one.sequence for batch in self.send() for one in batch.records]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path)
    yield gateway
    gateway.store.close()


def test_a_capture_is_acknowledged_to_broker_and_sensor_only_after_its_commit(gateway: Gateway) -> None:
    received = [gateway.arrive(n) for n in range(3)]
    assert (gateway.link.acknowledged, gateway.link.said) == ([], [])
    gateway.work()
    assert gateway.store.captures_stored() == 3
    assert gateway.link.acknowledged == received
    ((topic, body),) = gateway.link.said
    assert topic.endswith("/pump-07/de/ack")
    assert decode(CaptureAck, body) == CaptureAck(point=POINT, boot=1, through=2)


def test_poison_is_counted_and_acknowledged_and_the_rest_goes_on(gateway: Gateway) -> None:
    gateway.arrive(0)
    gateway.arrive(1, payload=b"poison")
    gateway.arrive(2)
    gateway.work()
    assert gateway.store.counts() == {"dead:truncated": 1, "captures_gap": 1}
    assert gateway.store.captures_stored() == 2
    assert len(gateway.link.acknowledged) == 3


def test_what_waits_while_the_connection_changes_is_acknowledged_on_the_new_one(gateway: Gateway) -> None:
    """The broker sends everything again; the old copies once filled the queue and the new ones were refused, and so
    never acknowledged: the window of the new connection stayed full and the gateway heard nothing more."""
    for sequence in range(8):
        gateway.arrive(sequence, connection=1)
    again = [gateway.arrive(sequence, connection=2) for sequence in range(8)]
    assert gateway.worker.queued == 8
    gateway.work()
    assert gateway.link.acknowledged == again
    assert gateway.store.captures_stored() == 8
    assert gateway.store.counts() == {}


def test_what_waits_is_kept_when_the_broker_has_forgotten_it(gateway: Gateway) -> None:
    for sequence in range(8):
        gateway.arrive(sequence, connection=1)
    for sequence in range(8, 16):
        gateway.arrive(sequence, connection=2)
    gateway.work()
    assert gateway.store.captures_stored() == 16


def test_what_was_being_judged_while_the_connection_changed_is_stored_once(gateway: Gateway) -> None:
    gateway.arrive(0, connection=1)
    gateway.work()
    gateway.arrive(0, connection=2)
    gateway.work()
    assert (gateway.store.captures_stored(), gateway.store.counts()) == (1, {"captures_duplicate": 1})


def test_a_broker_that_does_not_keep_to_the_window_waits_and_loses_nothing(gateway: Gateway) -> None:
    for sequence in range(16):
        gateway.arrive(sequence)
    network = threading.Thread(target=gateway.arrive, args=(16,), daemon=True)
    network.start()
    gateway.work()
    network.join(10)
    assert not network.is_alive()
    gateway.work()
    assert gateway.store.captures_stored() == 17


def test_a_network_thread_that_waits_for_room_is_let_go_when_the_agent_ends(gateway: Gateway) -> None:
    for sequence in range(16):
        gateway.arrive(sequence)
    network = threading.Thread(target=gateway.arrive, args=(16,), daemon=True)
    network.start()
    gateway.worker.stop()
    network.join(10)
    assert not network.is_alive()
    assert gateway.worker.queued == 16


def test_records_are_sent_once_and_again_only_after_a_while(gateway: Gateway) -> None:
    gateway.store.commit(Batch(1, records=[(NORMAL, health(n)) for n in range(3)]))
    assert gateway.sent() == [0, 1, 2]
    assert gateway.sent() == []
    gateway.now_s = RESEND_S
    assert gateway.sent() == [0, 1, 2]


def test_a_site_that_does_not_answer_gets_one_batch_ever_more_rarely_until_it_does(gateway: Gateway) -> None:
    """The broker once kept the same thousand records sixty times over for a site that was away for ten minutes, and
    the alarm raised meanwhile came behind them."""
    gateway.store.commit(Batch(1, records=[(NORMAL, health(n)) for n in range(500)]))
    assert len(gateway.sent()) == 500
    again_at_s = []
    for gateway.now_s in range(1, 300):
        if again := gateway.sent():
            again_at_s.append(gateway.now_s)
            assert again == list(range(len(again)))
            assert len(again) < 2 * BATCH_RECORDS
    assert again_at_s == [10, 30, 70, 130, 190, 250]
    gateway.store.commit(Batch(1, records=[(URGENT, alarm())]))
    gateway.uplink.acknowledge(RecordsAck(gateway="gw-1", boot=gateway.store.boot, through=9))
    assert gateway.sent()[0] == 500
    gateway.uplink.forget_what_was_sent()
    assert len(gateway.sent()) == 491


def test_to_a_broker_that_has_forgotten_the_site_a_batch_goes_again_soon_until_the_site_answers(
    gateway: Gateway,
) -> None:
    """What came before the site was back was lost with the broker's memory, and waited for ten seconds here."""
    gateway.store.commit(Batch(1, records=[(NORMAL, health(n)) for n in range(500)]))
    gateway.sent()
    gateway.uplink.forget_what_was_sent(broker_remembers=False)
    again_at_s = []
    for gateway.now_s in range(20):
        if again := gateway.sent():
            again_at_s.append(gateway.now_s)
            assert len(again) < 2 * BATCH_RECORDS
    assert again_at_s == [0, 1, 3, 7, 15]
    gateway.uplink.acknowledge(RecordsAck(gateway="gw-1", boot=gateway.store.boot, through=9))
    assert gateway.sent()[-1] == 499


def test_after_a_reconnect_everything_unacknowledged_is_sent_again_at_once(gateway: Gateway) -> None:
    gateway.store.commit(Batch(1, records=[(NORMAL, health(n)) for n in range(3)]))
    gateway.send()
    gateway.uplink.forget_what_was_sent()
    assert gateway.sent() == [0, 1, 2]


def test_only_the_sites_own_acknowledgement_deletes(gateway: Gateway) -> None:
    gateway.store.commit(Batch(1, records=[(NORMAL, health(n)) for n in range(5)]))
    gateway.send()
    boot = gateway.store.boot
    assert gateway.uplink.acknowledge(RecordsAck(gateway="gw-1", boot=boot + 1, through=9)) == 0
    assert gateway.uplink.acknowledge(RecordsAck(gateway="gw-2", boot=boot, through=9)) == 0
    assert gateway.uplink.acknowledge(RecordsAck(gateway="gw-1", boot=boot, through=1, also=(4,))) == 3
    gateway.now_s = RESEND_S
    assert gateway.sent() == [2, 3]


def test_a_link_that_takes_nothing_loses_nothing(gateway: Gateway) -> None:
    gateway.store.commit(Batch(1, records=[(NORMAL, health(0))]))
    gateway.link.takes = False
    assert gateway.sent() == []
    gateway.link.takes = True
    assert gateway.sent() == [0]


def test_an_alarm_overtakes_what_waits(gateway: Gateway) -> None:
    gateway.store.commit(Batch(1, records=[(NORMAL, health(n)) for n in range(3)] + [(URGENT, alarm())]))
    assert gateway.sent() == [3, 0, 1, 2]


def test_batches_fit_the_packet_to_the_last_byte(gateway: Gateway) -> None:
    gateway.store.commit(Batch(1, records=[(NORMAL, health(n)) for n in range(100)]))
    gateway.link.max_payload_bytes = 3000
    assert gateway.sent() == list(range(100))
    assert 1500 < max(len(sealed) for _, sealed in gateway.link.said) <= 3000


def test_a_record_no_packet_can_hold_becomes_a_gap_and_the_others_go_on(gateway: Gateway) -> None:
    """An evidence larger than a packet once ended the agent, at every start anew."""
    gateway.store.commit(
        Batch(1, records=[(URGENT, alarm(reason="x" * 5000)), (NORMAL, health(1)), (NORMAL, health(2))])
    )
    gateway.link.max_payload_bytes = 3000 + SEAL_BYTES
    gateway.send()
    batches = gateway.send()
    records = {one.sequence: one.record for batch in batches for one in batch.records}
    assert set(records) == {1, 2, 3}
    gap = records[3]
    assert isinstance(gap, Gap)
    assert (gap.first, gap.last) == (0, 0)
    assert "fits no packet" in gap.reason


def command(action: str, number: int = 1, **more: Any) -> Command:
    values = {"point": POINT, "actor": "fitter", "issued_at_us": AT_US, "gateway": "gw-1"} | more
    return Command(command_id=f"{number:032x}", action=action, **values)


def carry_out(gateway: Gateway, one: Command) -> list[Any]:
    desk = CommandDesk(gateway.store)
    batch = Batch(AT_US)
    desk.carry_out(one, gateway.judge, batch)
    gateway.store.commit(batch)
    return [record for _, record in batch.records]


def answer(records: list[Any]) -> CommandResult:
    (result,) = [record for record in records if isinstance(record, CommandResult)]
    return result


def test_a_command_is_done_once_however_often_it_comes(gateway: Gateway) -> None:
    gateway.arrive(0)
    gateway.work()
    assert answer(carry_out(gateway, command("maintenance"))).done
    assert carry_out(gateway, command("maintenance")) == []


def test_a_command_for_a_point_that_never_spoke_is_answered_with_no(gateway: Gateway) -> None:
    result = answer(carry_out(gateway, command("acknowledge", point="fan-1/de")))
    assert (result.done, "sent nothing yet" in result.text) == (False, True)


@pytest.mark.parametrize("action", ["acknowledge", "shelve", "unshelve", "maintenance", "label"])
def test_every_action_of_a_person_is_answered(gateway: Gateway, action: str) -> None:
    gateway.arrive(0)
    gateway.work()
    assert answer(carry_out(gateway, command(action, label="outer", until_us=AT_US + 10))).done


def test_evidence_comes_with_its_waveform_when_asked_for(gateway: Gateway) -> None:
    gateway.arrive(0)
    gateway.work()
    records = carry_out(gateway, command("request_evidence"))
    assert answer(records).done
    (evidence,) = [record for record in records if record.kind == "evidence"]
    assert evidence.waveform is not None
    assert "asked for by fitter" in evidence.why


def test_waveforms_of_all_axes_come_as_they_were_counted_and_fit_a_packet(gateway: Gateway) -> None:
    capture = capture_of(noise_g(3, samples=16_384, channels=3), 3)
    gateway.judge.process([taken(capture)], now_us=AT_US)
    monitor = gateway.judge.monitors[POINT]
    found = monitor.evidence(capture, monitor.diagnose_capture(capture), why="asked", waveform=True)
    assert found.waveform is not None
    assert {found.axis, *(other.axis for other in found.other_axes)} == {0, 1, 2}
    for other in found.other_axes:
        np.testing.assert_array_equal(other.unpack_g(), capture.acceleration_g()[other.axis])
    np.testing.assert_allclose(found.waveform.unpack(), capture.acceleration_g()[found.axis], rtol=1e-6)
    assert found.spectrum.unpack().size == 8193
    assert found.spectrum.largest_of is None
    assert len(encode(found)) + SEAL_BYTES + 1000 < BrokerSettings.model_fields["max_packet_bytes"].default
    unasked = monitor.evidence(capture, monitor.diagnose_capture(capture), why="alarm", waveform=False)
    assert (unasked.waveform, unasked.other_axes) == (None, ())


def test_an_older_capture_can_be_asked_for_by_name(gateway: Gateway) -> None:
    for sequence in range(3):
        gateway.arrive(sequence)
    gateway.work()
    (found,) = [
        record for record in carry_out(gateway, command("request_evidence", capture_boot=1, capture_sequence=1))
        if record.kind == "evidence"
    ]  # fmt: skip
    assert (found.capture_sequence, found.waveform is not None) == (1, True)
    (newest,) = [record for record in carry_out(gateway, command("request_evidence", 2)) if record.kind == "evidence"]
    assert newest.capture_sequence == 2


def test_a_capture_that_has_left_the_ring_is_refused_in_words(gateway: Gateway) -> None:
    gateway.arrive(0)
    gateway.work()
    result = answer(carry_out(gateway, command("request_evidence", capture_boot=1, capture_sequence=77)))
    assert (result.done, "no longer kept" in result.text) == (False, True)


def test_evidence_of_a_dead_sensor_is_refused_in_words(gateway: Gateway) -> None:
    """A constant signal once broke the diagnosis, and with it the agent, as often as the site repeated the command."""
    gateway.arrive(0, payload=encode_capture(stuck(0)))
    gateway.work()
    result = answer(carry_out(gateway, command("request_evidence")))
    assert (result.done, "stuck" in result.text) == (False, True)


def test_evidence_whose_bytes_are_damaged_or_gone_is_refused_in_words(gateway: Gateway, tmp_path: Path) -> None:
    assert not answer(carry_out(gateway, command("request_evidence", 1, point=POINT))).done
    gateway.arrive(0)
    gateway.work()
    segment = next((tmp_path / "var" / "raw").iterdir())
    segment.write_bytes(b"\0" * segment.stat().st_size)
    result = answer(carry_out(gateway, command("request_evidence", 2)))
    assert (result.done, "damaged" in result.text) == (False, True)


def test_healthy_rows_are_a_bounded_ring() -> None:
    rows = HealthyRows(4)
    assert rows().shape == (0, 0)
    for n in range(7):
        rows.add(np.full((1, 2), n, np.float32))
    assert rows()[:, 0].tolist() == [3, 4, 5, 6]
    rows.add(np.full((9, 3), 8, np.float32))
    assert rows().shape == (4, 3)


def test_a_long_capture_can_be_asked_for_too(gateway: Gateway) -> None:
    gateway.judge.process([taken(capture_of(noise_g(1, samples=70_000), 0))], now_us=AT_US)
    capture = capture_of(noise_g(1, samples=70_000), 1)
    monitor = gateway.judge.monitors[POINT]
    evidence = monitor.evidence(capture, monitor.diagnose_capture(capture), why="asked", waveform=True)
    assert evidence.waveform is not None
    assert evidence.waveform.unpack().size >= 32_768
    assert evidence.spectrum.largest_of == 5
    assert evidence.spectrum.unpack().size <= 8193
    assert len(encode(evidence)) + SEAL_BYTES + 1000 < BrokerSettings.model_fields["max_packet_bytes"].default
