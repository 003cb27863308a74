"""A foreign message becomes a capture of the right point, once, or is refused with its reason; never anything else."""

import binascii
import contextlib
import json
import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_agent.foreign.mapping import ForeignSensors, Mapped
from gateway_agent.foreign.settings import ForeignMapping
from gateway_agent.intake import FUTURE_US, Intake, Payload, Taken
from gateway_agent.waiting import Waiting
from schemas.capture import CaptureFlag, decode_capture
from schemas.errors import RejectedInput
from schemas.fragments import Reassembly
from tests.support.captures import AT_US, noise_g
from tests.support.foreign import (
    LEVELS_TOPIC,
    RADIO_TOPIC,
    WAVE_TOPIC,
    examples,
    levels_payload,
    mapping_of,
    radio_packets,
    sensors_with,
    wave_payload,
    wave_signal_g,
)

MAPPINGS = {name: example.mapping for name, example in examples().items()}
TOPICS = {"levels": LEVELS_TOPIC, "wave-json": WAVE_TOPIC, "radio": RADIO_TOPIC}
NOW_US = AT_US + 86_400_000_000 * 600


def _take(mapping: ForeignMapping, topic: str, payload: bytes, *, received_at_us: int = NOW_US) -> Mapped:
    mapped = sensors_with(mapping).take(topic, payload, received_at_us=received_at_us, now_s=0.0)
    assert mapped is not None
    return mapped


def _refused(mapping: ForeignMapping, topic: str, payload: bytes) -> str:
    with pytest.raises(RejectedInput) as caught:
        _take(mapping, topic, payload)
    return caught.value.reason


def _changed(name: str, **changes: Any) -> ForeignMapping:
    return ForeignMapping.model_validate({**MAPPINGS[name].model_dump(exclude_unset=True), **changes})


def test_scalar_message_becomes_single_values_in_the_products_units():
    mapped = _take(MAPPINGS["levels"], LEVELS_TOPIC, levels_payload(0, 3.0))
    assert mapped.reading is not None
    assert mapped.point == "fan-02/nde"
    assert mapped.reading.velocity_mm_s == pytest.approx((1.5, 3.0, 1.0))
    assert mapped.reading.acceleration_peak_g == pytest.approx(0.84)
    assert (mapped.capture.temperature_c, mapped.capture.battery_v) == pytest.approx((54.0, 3.61))
    assert (mapped.capture.measured_at_us, mapped.capture.samples) == (AT_US, 0)
    assert mapped.raw == levels_payload(0, 3.0)


def test_signal_strength_is_mapped_where_it_is_told_and_impossible_ones_are_refused():
    place = {"path": "link.rssi", "unit": "dBm"}
    mapping = _changed("levels", rssi=place)
    said = json.loads(levels_payload(0, 3.0))

    def payload(dbm: object) -> bytes:
        return json.dumps({**said, "link": {"rssi": dbm}}).encode()

    assert _take(mapping, LEVELS_TOPIC, payload(-71)).capture.rssi_dbm == -71.0
    assert np.isnan(_take(mapping, LEVELS_TOPIC, levels_payload(0, 3.0)).capture.rssi_dbm)
    assert _refused(mapping, LEVELS_TOPIC, payload(71)) == "impossible_value"


def test_json_waveform_becomes_a_capture_that_errs_by_half_a_count_at_most():
    mapped = _take(MAPPINGS["wave-json"], WAVE_TOPIC, wave_payload(5))
    capture = decode_capture(mapped.raw)
    assert (mapped.point, capture.boot, capture.sequence) == ("pump-07/nde", 12, 5)
    assert (capture.sample_rate_hz, float(capture.rpm), float(capture.range_g)) == pytest.approx(
        (12_000.0, 1476.0, 16.0)
    )
    error_g = np.abs(capture.acceleration_g() - wave_signal_g(5)).max(axis=1)
    assert (error_g <= np.array(mapped.error_g) * 1.001).all()
    assert max(mapped.error_g) < 1e-5


def test_binary_fragments_become_a_capture_with_the_sensors_own_counts():
    sensors = sensors_with(MAPPINGS["radio"])
    packets = radio_packets(3)
    *before, mapped = [sensors.take(RADIO_TOPIC, p, received_at_us=NOW_US, now_s=0.0) for p in reversed(packets)]
    assert all(isinstance(one, Waiting) and one.over() for one in before)
    assert mapped is not None
    capture = decode_capture(mapped.raw)
    assert (mapped.point, capture.measured_at_us) == ("pump-07/de", AT_US + 3_000_000)
    assert capture.counts.tolist() == np.round(noise_g(3, samples=1024, channels=3) / 0.000244).tolist()
    assert capture.scale_g == pytest.approx([0.000244] * 3)
    assert mapped.error_g == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("where", ["piece", "whole"])
def test_bit_that_flips_on_the_way_is_found_by_the_checksum(where):
    packets = radio_packets(3, samples=64, piece_bytes=2000)
    broken = bytearray(packets[0])
    broken[50] ^= 1
    mapping = MAPPINGS["radio"]
    if where == "whole":
        fragments = MAPPINGS["radio"].fragments
        assert fragments is not None
        mapping = mapping.model_copy(update={"fragments": fragments.model_copy(update={"checksum": None})})
    assert _refused(mapping, RADIO_TOPIC, bytes(broken)) == "bad_checksum"


def test_header_of_the_first_fragment_may_begin_the_whole_and_the_topic_may_tell_the_pieces_apart():
    mapping = mapping_of(
        {
            "name": "parts", "topic": "maker/{machine}/{position}/{message}/{part}/{parts}", "format": "binary",
            "identity": "payload", "payload_bytes": 4096,
            "fragments": {
                "message": {"level": "message"}, "index": {"level": "part"}, "count": {"level": "parts"},
                "first_index": 1, "piece_from": 4, "keep_header": True,
            },
            "waveform": {"starts_at": 4, "encoding": "i16", "rate": {"at": 0, "type": "u32", "unit": "Hz"},
                "unit": "mg"},
        }
    )  # fmt: skip
    sensors = sensors_with(mapping)
    counts = np.arange(64, dtype="<i2").tobytes()
    head = struct.pack("<I", 6400)
    for other in ("pump-08", "pump-07"):  # the same message number of a neighbour stays apart
        sensors.take(f"maker/{other}/de/9/2/2", b"head" + counts[64:], received_at_us=NOW_US, now_s=0.0)
    mapped = sensors.take("maker/pump-07/de/9/1/2", head + counts[:64], received_at_us=NOW_US, now_s=0.0)
    assert mapped is not None
    assert (mapped.capture.sample_rate_hz, mapped.capture.counts.tolist()) == (6400.0, [list(range(64))])
    assert [e.reason for e in sensors.given_up(now_s=99.0)] == ["fragments_incomplete"]


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ("epoch_s", 1740899700.25), ("epoch_ms", 1740899700250), ("epoch_us", "1740899700250000"),
        ("iso8601", "2025-03-02T08:15:00.250+01:00"), ("iso8601", "2025-03-02T07:15:00.25Z"),
        ("iso8601_utc", "2025-03-02 07:15:00.250"),
    ],
)  # fmt: skip
def test_time_is_read_in_the_form_that_the_mapping_names(form, told):
    mapping = _changed("levels", time={"path": "ts", "form": form})
    assert _take(mapping, LEVELS_TOPIC, levels_payload(0, ts=told)).capture.measured_at_us == 1740899700250000


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ("iso8601", "2025-03-02T07:15:00"), ("iso8601", "yesterday"), ("epoch_s", 1740899700250), ("epoch_ms", 0),
        ("epoch_us", -1), ("iso8601", "0001-01-01T00:00:00+23:59"), ("epoch_s", 1e299),
    ],
)  # fmt: skip
def test_time_that_cannot_be_is_refused(form, told):
    assert (
        _refused(_changed("levels", time={"path": "ts", "form": form}), LEVELS_TOPIC, levels_payload(0, ts=told))
        == "bad_time"
    )


def test_sensor_without_a_clock_gets_the_time_of_receipt_and_says_that_it_is_unsure():
    mapping = _changed("wave-json", time=None)
    capture = _take(mapping, WAVE_TOPIC, wave_payload(1)).capture
    assert (capture.measured_at_us, capture.flags) == (NOW_US, CaptureFlag.CLOCK_UNSURE)


def _key(
    mapping: ForeignMapping, payload: bytes, *, topic: str = LEVELS_TOPIC, at_us: int = NOW_US
) -> tuple[str, int, int]:
    mapped = _take(mapping, topic, payload, received_at_us=at_us)
    return mapped.point, mapped.capture.boot, mapped.capture.sequence


@pytest.mark.parametrize("identity", ["time", "payload"])
def test_message_has_the_same_key_whenever_it_comes_again_and_another_message_has_another(identity):
    window = {"repeats_after_s": 50.0} if identity == "payload" else {}
    mapping = _changed("levels", identity=identity, **window)
    first, again = (_key(mapping, levels_payload(1), at_us=at) for at in (NOW_US, NOW_US + 5_000_000))
    assert first[:2] == again[:2]
    assert _key(mapping, levels_payload(2))[1] != first[1]
    assert 0 <= first[1] < 1 << 63


def test_counter_of_a_sensor_is_kept_so_that_holes_are_seen():
    assert _key(MAPPINGS["wave-json"], wave_payload(41, restarts=3), topic=WAVE_TOPIC) == ("pump-07/nde", 3, 41)


REFUSED = {
    "unknown_device": ("levels", "plantsense/other/telemetry", levels_payload(0)),
    "bad_name": ("wave-json", "acme/v2/Pump 7/de/waveform", wave_payload(0)),
    "oversized": ("levels", LEVELS_TOPIC, b" " * ((1 << 20) + 1)),
    "not_json": ("levels", LEVELS_TOPIC, b"vel=3"),
    "missing_field": ("levels", LEVELS_TOPIC, json.dumps({"ts": AT_US // 1000}).encode()),
    "bad_field": ("levels", LEVELS_TOPIC, levels_payload(0, temp_f="hot")),
    "impossible_value": ("levels", LEVELS_TOPIC, levels_payload(0, -1.0)),
    "unequal_axes": ("wave-json", WAVE_TOPIC, wave_payload(0, data=[{"values": [0.5] * 40}, {"values": [0.5] * 41}])),
    "impossible_shape": ("wave-json", WAVE_TOPIC, wave_payload(0, samples=31)),
    "impossible_rate": ("wave-json", WAVE_TOPIC, wave_payload(0, rate_khz=0)),
    "truncated": ("radio", RADIO_TOPIC, b"\x02\x01"),
    "unknown_topic": ("radio", "radio/71/other", b""),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_payload_that_cannot_be_used_is_refused_with_its_reason(reason):
    name, topic, payload = REFUSED[reason]
    assert _refused(MAPPINGS[name], topic, payload) == reason


def _intake(**changes: Any) -> Intake:
    foreign = ForeignSensors(tuple(MAPPINGS.values()), max_bytes=1 << 20, max_age_s=10.0)
    values = {"machines": frozenset({"pump-07", "fan-02"}), "accept_unknown_machines": False, **changes}
    return Intake("plant-a", "gw-1", fragments=Reassembly(max_bytes=1 << 20, max_age_s=10.0), foreign=foreign, **values)


def test_intake_hands_on_a_foreign_capture_like_one_of_ours():
    taken = _intake().take(Payload(WAVE_TOPIC, wave_payload(1), NOW_US), now_s=0.0)
    assert isinstance(taken, Taken)
    assert (taken.point, decode_capture(taken.raw).sequence, taken.reading) == ("pump-07/nde", 1, None)


@pytest.mark.parametrize("name", ["levels", "wave-json"])
def test_foreign_sensor_of_a_machine_that_is_not_listed_is_refused(name):
    payload = {"levels": levels_payload(0), "wave-json": wave_payload(0)}[name]
    with pytest.raises(RejectedInput) as caught:
        _intake(machines=frozenset()).take(Payload(TOPICS[name], payload, NOW_US), now_s=0.0)
    assert caught.value.reason == "unknown_machine"


def test_foreign_sensor_whose_clock_is_ahead_is_refused():
    with pytest.raises(RejectedInput) as caught:
        _intake().take(Payload(LEVELS_TOPIC, levels_payload(1), AT_US - FUTURE_US), now_s=0.0)
    assert caught.value.reason == "future"


def test_foreign_message_that_never_becomes_whole_is_a_dead_letter_of_the_intake():
    intake = _intake()
    intake.take(Payload(RADIO_TOPIC, radio_packets(1)[0], NOW_US), now_s=0.0)
    (lost,) = intake.given_up(now_s=11.0)
    assert (lost.reason, str(lost)) == ("fragments_incomplete", "message 1 of radio/71/packet never became whole")


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["values", "x", "y", "n", "a"]), inner),
    max_leaves=8,
)
KEYS = ["ts", "vel", "acc", "temp_f", "battery_mv", "at", "device", "rate_khz", "shaft_hz", "data"]


def _survives(name: str, payload: bytes, topic: str | None = None) -> None:
    """Taken or refused with a reason: whatever else is raised fails the test."""
    with contextlib.suppress(RejectedInput):
        _intake(accept_unknown_machines=True).take(Payload(topic or TOPICS[name], payload, NOW_US), now_s=0.0)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(TOPICS)), st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_rejection(name, payload):
    _survives(name, payload)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["levels", "wave-json"]), st.dictionaries(st.sampled_from(KEYS), ANY_JSON, max_size=3))
def test_no_json_raises_anything_but_a_rejection(name, changes):
    good = json.loads({"levels": levels_payload(0), "wave-json": wave_payload(0, samples=40)}[name])
    _survives(name, json.dumps({**good, **changes}).encode())


@settings(max_examples=150, deadline=None)
@given(st.binary(min_size=12, max_size=300), st.integers(0, 3), st.integers(0, 3))
def test_no_packet_with_a_right_checksum_raises_anything_but_a_rejection(body, index, count):
    whole = body + struct.pack(">I", zlib.crc32(body))
    packet = struct.pack(">HBB", 1, index, count) + whole
    _survives("radio", packet + struct.pack(">H", binascii.crc_hqx(packet, 0xFFFF)))


@given(st.text(alphabet="AaBb0./+#é{}", max_size=20))
def test_no_topic_raises_anything_but_a_rejection(text):
    _survives("levels", levels_payload(0), f"plantsense/{text}/telemetry")
    _survives("wave-json", wave_payload(0, samples=40), f"acme/v2/{text}/de/waveform")


def test_a_small_payload_cannot_make_the_gateway_take_much_memory():
    bombs = [b"[" * 1_000_000, b"[" + b"[]," * 340_000 + b"[]]", b'{"data":[{"values":[' + b"0," * 500_000 + b"0]}]}"]
    intake = _intake()
    tracemalloc.start()
    try:
        for bomb in bombs:
            with pytest.raises(RejectedInput):
                intake.take(Payload(WAVE_TOPIC, bomb, NOW_US), now_s=0.0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20, f"{peak >> 20} MiB for payloads of 1 MiB"
