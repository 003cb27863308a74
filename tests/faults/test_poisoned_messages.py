"""Rows 8 and 9: what cannot be used is refused with a reason and counted, and nobody is stuck behind it.

tests/integration/test_gateway_on_a_broker.py sends the eight kinds that the format itself refuses; here come those that
a right checksum hides, what is larger than the broker takes, and bytes changed on the way.
"""

import struct
import threading
import time
import zlib
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from schemas.capture import encode_capture
from schemas.link import PayloadTooLarge
from schemas.messages import RecordsAck, encode
from schemas.topics import CAPTURE, RECORDS_ACK
from tests.support.brokers import linked, mosquitto_broker
from tests.support.captures import faulty, healthy
from tests.support.faults.chaos_proxy import ChaosProxy
from tests.support.faults.data_path import GATEWAY, SITE, USERS, data_path, preferred_broker, within

NAMES = {"site": SITE, "gateway": GATEWAY}
TOPIC = CAPTURE.path(**NAMES, machine="pump-07", position="nde")
_AT = {"measured_at_us": ("<q", 20), "rate": ("<d", 28), "range_g": ("<f", 41), "rpm": ("<f", 45), "scale": ("<d", 61)}
LIMIT_BYTES = 5000  # a capture of these tests fits, the spectra behind an alarm do not
DAY_US = 86_400_000_000


def sealed(field: str, value: float) -> bytes:
    """A whole capture with a right checksum and one field that cannot be."""
    layout, offset = _AT[field]
    body = bytearray(encode_capture(healthy(0))[:-4])
    struct.pack_into(layout, body, offset, value)
    return bytes(body) + struct.pack("<I", zlib.crc32(body))


def test_poison_behind_a_right_checksum_is_counted_by_reason_and_good_captures_go_on(tmp_path: Path) -> None:
    now_us = time.time_ns() // 1000
    poison = [
        (TOPIC, sealed("rate", float("nan")), "impossible_rate"),
        (TOPIC, sealed("scale", float("nan")), "impossible_scale"),
        (TOPIC, sealed("scale", float("inf")), "impossible_scale"),
        (TOPIC, sealed("scale", 9.81e3), "impossible_scale"),
        (TOPIC, sealed("rpm", float("inf")), "impossible_value"),
        (TOPIC, sealed("range_g", -1.0), "impossible_value"),
        (TOPIC, sealed("measured_at_us", 0), "impossible_time"),
        (TOPIC, sealed("measured_at_us", now_us + 2 * DAY_US), "future"),
        (TOPIC, b"", "truncated"),
        (TOPIC, b'{"acceleration_g": [0.1, 0.2], "unit": "m/s2"}' * 9, "bad_magic"),
        (TOPIC.replace("nde", "n de"), encode_capture(healthy(0)), "unknown_topic"),
    ]
    good = [encode_capture(healthy(n, boot=5)) for n in (0, 1, 1, 4, 2, 0, 3)]
    expected: dict[str, int] = {}
    for _, _, reason in poison:
        expected[reason] = expected.get(reason, 0) + 1
    with preferred_broker() as broker, data_path(tmp_path, broker) as path, path.running(), path.sensor() as sensor:
        sensor.wait_acknowledged(5)
        with linked(broker.settings_for("sensors"), "rogue") as (link, _):
            for topic, payload, _ in poison:
                assert link.publish(topic, payload)
            for payload in good:
                assert link.publish(TOPIC, payload)
            foreign = RECORDS_ACK.path(**NAMES)
            assert link.publish(foreign, encode(RecordsAck(gateway=GATEWAY, boot=1, through=1 << 40)))
            assert link.wait_published(10)
        within("the poison is counted", lambda: path.dead_letters() == expected)
        sensor.wait_all_acknowledged()
        path.wait_drained()
        assert path.check_invariants(sensor) == sensor.measured + 5
        assert {row for row in path.at_site() if row[1] == 5} == {("pump-07/nde", 5, n) for n in range(5)}


def test_what_is_larger_than_the_broker_takes_is_refused_before_it_is_sent_and_holds_nobody_up(tmp_path: Path) -> None:
    """A publisher that does not look at the broker's limit is cut off by it; ours looks, and tells what it gave up."""
    with (
        mosquitto_broker(USERS, max_packet_bytes=LIMIT_BYTES) as broker,  # the embedded one names no limit
        data_path(tmp_path, broker) as path,
        path.running() as (agent, _),
        path.sensor(measure=lambda n, **more: (healthy if n < 30 else faulty)(n, **more)) as sensor,
    ):
        with (
            linked(broker.settings_for("sensors"), "careful") as (link, _),
            pytest.raises(PayloadTooLarge, match="cut it into fragments"),
        ):
            link.publish(TOPIC, bytes(LIMIT_BYTES))
        assert careless_publisher_is_cut_off(broker.port, broker.passwords["sensors"])
        within("an alarm is raised", lambda: path.site_rows("SELECT 1 FROM alarm"))
        sensor.wait_all_acknowledged()
        path.wait_drained()
        told = path.site_rows("SELECT sum(count) FROM gap WHERE what = 'records' AND reason LIKE 'evidence%'")[0][0]
        assert agent.log.read_text().count("record_too_large") == told > 0
        assert path.check_invariants(sensor) == sensor.measured


def careless_publisher_is_cut_off(port: int, password: str) -> bool:
    """Publish more than the broker takes, as an ordinary client does."""
    gone = threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2, "careless", protocol=paho.MQTTv5)
    client.username_pw_set("sensors", password)
    client.on_connect = lambda *_: client.publish(TOPIC, bytes(60_000), 1)
    client.on_disconnect = lambda *_: gone.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        return gone.wait(10)
    finally:
        client.on_connect = None
        client.disconnect()
        client.loop_stop()


@pytest.mark.parametrize("seed", [3, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in range(20, 30))])
@pytest.mark.timeout(240)
def test_bytes_changed_on_the_way_to_a_gateway_become_dead_letters_or_a_new_connection_and_nothing_is_lost(
    tmp_path: Path, seed: int
) -> None:
    with (
        preferred_broker() as broker,
        ChaosProxy(broker.port, seed=seed) as proxy,
        data_path(tmp_path, broker) as path,
        path.site() as site,
        path.gateway(environment={"UNDERTONE_BROKER__PORT": str(proxy.port)}) as agent,
        path.sensor() as sensor,
    ):
        site.wait_notice()
        agent.wait_notice()
        sensor.wait_acknowledged(20)
        proxy.garble = 0.2
        within(f"seed {seed}: some pieces are garbled", lambda: proxy.garbled >= 8)
        proxy.garble = 0.0
        sensor.wait_all_acknowledged()
        path.wait_drained()
        assert agent.process.poll() is None
        assert path.check_invariants(sensor, seed=seed) >= sensor.measured
