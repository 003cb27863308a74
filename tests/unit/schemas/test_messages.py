"""Messages come back as they were said; everything else is refused by the message's own error."""

import base64
import contextlib
import json
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pydantic import BaseModel

from schemas.errors import MessageRejected
from schemas.messages import (
    MAX_MESSAGE_BYTES,
    MAX_SERIES_SAMPLES,
    Alarm,
    CaptureAck,
    Command,
    Gap,
    GatewayStatus,
    Health,
    RecordBatch,
    RecordsAck,
    Series,
    decode,
    decode_any,
    encode,
)
from tests.contract.golden_contract import HEALTH, SAID, SAID_WITH_LIFE

NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,10}", fullmatch=True)
POINTS = st.tuples(NAMES, NAMES).map("/".join)
NUMBERS = st.integers(0, (1 << 63) - 1)
TIMES = st.integers(0, (1 << 53) - 1)
FLOATS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
SHARES = st.floats(0, 1)
HEALTHS = st.builds(
    Health, point=POINTS, capture_boot=NUMBERS, capture_sequence=NUMBERS, measured_at_us=TIMES, score=FLOATS,
    limit=FLOATS,
    velocity_rms_mm_s=FLOATS, acceleration_rms_g=FLOATS, acceleration_peak_g=FLOATS, crest_factor=FLOATS,
    kurtosis=FLOATS, envelope_rms_g=FLOATS, rpm=FLOATS, rpm_confidence=SHARES, temperature_c=FLOATS, battery_v=FLOATS,
    model_version=st.integers(0, 1 << 60),
)  # fmt: skip
GAPS = st.builds(
    Gap, first=NUMBERS, last=NUMBERS, count=st.integers(1, 1 << 60), at_us=TIMES, what=st.text(), source=st.text(),
    reason=st.text(),
)  # fmt: skip
MESSAGES = st.one_of(
    HEALTHS,
    GAPS,
    st.builds(RecordsAck, gateway=NAMES, boot=NUMBERS, through=st.integers(-1, (1 << 63) - 1),
              also=st.lists(NUMBERS, max_size=4).map(tuple)),
    st.builds(CaptureAck, point=POINTS, boot=NUMBERS, through=NUMBERS),
    st.builds(Command, command_id=st.from_regex(r"[0-9a-f]{32}", fullmatch=True), gateway=NAMES,
              point=st.none() | POINTS, issued_at_us=TIMES, until_us=st.none() | TIMES),
    st.builds(GatewayStatus, gateway=NAMES, boot=NUMBERS, at_us=TIMES, outbox_oldest_s=st.floats(0, 1e9),
              points=st.just(())),
)  # fmt: skip


@given(MESSAGES)
def test_every_message_comes_back(message: BaseModel) -> None:
    body = encode(message)
    assert decode(type(message), body) == message
    assert decode_any(body) == message
    assert encode(decode_any(body)) == body


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(MessageRejected):
        decode_any(body)


@settings(max_examples=300)
@given(st.sampled_from(SAID + SAID_WITH_LIFE), st.data())
def test_a_message_cut_or_changed_anywhere_is_read_or_refused(message: BaseModel, data: st.DataObject) -> None:
    body = encode(message)
    at = data.draw(st.integers(0, len(body) - 1))
    for broken in (body[:at], body[:at] + bytes([data.draw(st.integers(0, 255))]) + body[at + 1 :]):
        with contextlib.suppress(MessageRejected):
            decode(type(message), broken)


def changed(message: BaseModel, **fields: Any) -> bytes:
    return json.dumps(json.loads(encode(message)) | fields).encode()


def rejection(kind: type[BaseModel], body: bytes) -> MessageRejected:
    with pytest.raises(MessageRejected) as caught:
        decode(kind, body)
    return caught.value


@pytest.mark.parametrize(
    ("fields", "reason", "told"),
    [
        ({"version": 2}, "unknown_version", "version 2; update"),
        ({"version": "one"}, "unknown_version", "version one"),
        ({"kind": "alarm"}, "bad_field", "'kind'"),
        ({"score": "high"}, "bad_field", "'score'"),
        ({"model_version": "new"}, "bad_field", "'model_version'"),
        ({"surprise": 1}, "bad_field", "'surprise'"),
        ({"capture_boot": 1 << 63}, "bad_field", "'capture_boot'"),
        ({"capture_sequence": -1}, "bad_field", "'capture_sequence'"),
        ({"rpm_confidence": 1.5}, "bad_field", "'rpm_confidence'"),
        ({"point": "pump-07"}, "bad_field", "'point'"),
        ({"point": "pump-07/#"}, "bad_field", "'point'"),
        ({"diagnosis": [{"label": "Outer!", "confidence": 1}]}, "bad_field", "'diagnosis.0.label'"),
    ],
    ids=str,
)
def test_each_wrong_field_is_told_by_name(fields: dict[str, Any], reason: str, told: str) -> None:
    error = rejection(Health, changed(HEALTH, **fields))
    assert (error.reason, told in str(error)) == (reason, True), error


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_a_number_that_is_none_is_refused(number: bytes) -> None:
    body = encode(HEALTH).replace(b'"score":1.25', b'"score":' + number)
    assert rejection(Health, body).reason in {"bad_field", "not_json"}


def test_our_own_code_cannot_say_a_number_that_is_none() -> None:
    with pytest.raises(ValueError, match="finite number"):
        Health(**{**HEALTH.model_dump(), "score": float("nan")})


@pytest.mark.parametrize("band", [(2.0, 1.0, 3.0), (1.0, 4.0, 3.0), (-1.0, 1.0, 2.0)])
def test_a_remaining_life_out_of_order_or_below_zero_is_refused(band: tuple[float, float, float]) -> None:
    low_s, median_s, high_s = band
    body = changed(HEALTH, remaining_life={"low_s": low_s, "median_s": median_s, "high_s": high_s})
    found = rejection(Health, body)
    assert found.reason == "bad_field"
    assert "remaining_life" in str(found)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"5", b'"health"', b"{}", b"[" * 50_000, b'{"kind":1}'])
def test_json_that_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(MessageRejected):
        decode_any(body)
    assert rejection(Health, body).reason in {"not_json", "bad_field"}


def test_a_message_larger_than_any_is_refused_before_it_is_parsed() -> None:
    body = b" " * (MAX_MESSAGE_BYTES + 1)
    assert rejection(Health, body).reason == "oversized"
    with pytest.raises(MessageRejected, match="allowed"):
        decode_any(body)


def test_a_record_of_another_kind_within_a_batch_is_refused() -> None:
    record = b'{"sequence":0,"record":{"kind":"x"}}'
    body = b'{"kind":"record_batch","version":1,"gateway":"gw-1","boot":1,"records":[' + record + b"]}"
    assert rejection(RecordBatch, body).reason == "bad_field"


def test_a_message_is_not_read_as_one_of_another_kind() -> None:
    assert rejection(Alarm, encode(HEALTH)).reason == "bad_field"


def series(values: np.ndarray) -> Series:
    return Series.pack(values, start=1.0, step=0.5, axis_unit="Hz", value_unit="g")


@given(npst.arrays(np.float32, st.integers(0, 300)))
def test_a_series_comes_back_value_for_value(values: np.ndarray) -> None:
    back = decode_series(series(values)).unpack()
    np.testing.assert_array_equal(back, values)


def decode_series(one: Series) -> Series:
    return Series.model_validate_json(one.model_dump_json())


@pytest.mark.parametrize("kind", ["noise", "zeros"])
def test_the_longest_series_comes_back_and_a_longer_one_cannot_be_said(kind: str) -> None:
    """A waveform of 65,536 samples once filled the reader's buffer to the brim and was refused."""
    rng = np.random.default_rng(1)
    values = rng.standard_normal(MAX_SERIES_SAMPLES) if kind == "noise" else np.zeros(MAX_SERIES_SAMPLES)
    np.testing.assert_array_equal(series(values).unpack(), values.astype(np.float32))
    with pytest.raises(MessageRejected, match="65536 allowed"):
        series(np.append(values, 0.0))


def with_values(raw: bytes) -> Series:
    return series(np.zeros(1)).model_copy(update={"values": base64.b64encode(raw).decode()})


@pytest.mark.parametrize(
    "raw",
    [b"", b"no deflate", zlib.compress(b"123"), zlib.compress(bytes(12))[:-2], zlib.compress(bytes(4 << 20))],
    ids=["nothing", "garbage", "no-float32", "cut", "bomb"],
)
def test_what_is_no_series_is_refused(raw: bytes) -> None:
    with pytest.raises(MessageRejected) as caught:
        with_values(raw).unpack()
    assert caught.value.reason == "bad_series"


@given(st.text(max_size=40) | st.binary(max_size=60).map(lambda raw: base64.b64encode(raw).decode()))
def test_any_text_as_values_is_a_series_or_refused(text: str) -> None:
    with contextlib.suppress(MessageRejected):
        series(np.zeros(1)).model_copy(update={"values": text}).unpack()
