"""Where a value stands and in which unit: small paths, numbers in bytes, and nothing that is not understood."""

import math
import struct

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_agent.foreign.errors import ForeignRejected
from gateway_agent.foreign.places import (
    Acceleration,
    Document,
    Load,
    Place,
    Rate,
    Speed,
    Temperature,
    Velocity,
    Voltage,
    open_json,
    steps_of,
)


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("a", ("a",)),
        ("a.b[0].c", ("a", "b", 0, "c")),
        ("[2][1]", (2, 1)),
        ("a b.ü-1", ("a b", "ü-1")),
        ("0.x", ("0", "x")),
    ],
)
def test_path_is_keys_after_dots_and_places_in_brackets(path, steps):
    assert steps_of(path) == steps


@pytest.mark.parametrize(
    "path", ["", ".a", "a.", "a..b", "a[-1]", "a[x]", "a[0", "a]", "a[0]b", "a[1234567]", ".".join("a" * 17)]
)
def test_path_of_another_form_is_refused_with_what_is_allowed(path):
    with pytest.raises(ValueError, match="keys with dots and"):
        steps_of(path)


def _json(text: bytes) -> Document:
    return open_json(text, {"part": "7"}, "little")


def test_what_is_not_in_the_json_is_none_and_no_error():
    document = _json(b'{"a": [1, {"b": null}]}')
    for path in ("x", "a[2]", "a.b", "a[1].b", "a[0].c", "[0]"):
        assert document.number(Place(path=path), "value") is None


@pytest.mark.parametrize(("text", "value"), [(b"1", 1.0), (b"-2.5e1", -25.0), (b'"3.5"', 3.5), (b'"-1e2"', -100.0)])
def test_number_may_stand_as_a_number_or_as_its_text(text, value):
    assert _json(b'{"a": ' + text + b"}").number(Place(path="a"), "value") == value


@pytest.mark.parametrize(
    "text", [b"true", b'"nan"', b'"inf"', b'"1_0"', b'""', b'"0x10"', b"[]", b"{}", b"1" * 400, b'"1e999"', b"1e308"]
)
def test_number_of_another_form_is_refused(text):
    with pytest.raises(ForeignRejected) as caught:
        _json(b'{"a": ' + text + b"}").number(Place(path="a"), "value")
    assert caught.value.reason == "bad_field"


@pytest.mark.parametrize(
    "text", [b"", b"{", b"nan", b'{"a": NaN}', b'{"a": Infinity}', b"\xff", b"[" * 100_000, b'{"a":' * 9999]
)
def test_payload_that_is_no_json_is_refused(text):
    with pytest.raises(ForeignRejected) as caught:
        _json(text)
    assert caught.value.reason == "not_json"


@pytest.mark.parametrize(
    "text", [b"-1", b"1.5", b"9223372036854775808", b"true", b'"7.0"', b"1e18", b'"99999999999999999999"']
)
def test_counter_is_a_whole_number_that_a_database_can_count_to(text):
    with pytest.raises(ForeignRejected) as caught:
        _json(b'{"n": ' + text + b"}").whole_number(Place(path="n"), "sequence")
    assert caught.value.reason == "bad_field"


@given(
    st.sampled_from(["u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64"]),
    st.sampled_from(["little", "big"]),
    st.data(),
)
def test_number_in_bytes_is_read_back_from_either_end(kind, order, data):
    bits, signed = int(kind[1:]), kind[0] == "i"
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    number = data.draw(st.integers(low, high))
    before, after = data.draw(st.binary(max_size=9)), data.draw(st.binary(max_size=9))
    document = Document(before + number.to_bytes(bits // 8, order, signed=signed) + after, None, {}, order)
    assert document.find(Place(at=len(before), type=kind)) == number
    assert document.find(Place(at=-(bits // 8) - len(after), type=kind)) == number


@pytest.mark.parametrize("at", [-9, 5, 8, 65_536])
def test_field_beyond_the_bytes_is_truncated(at):
    with pytest.raises(ForeignRejected) as caught:
        Document(bytes(8), None, {}).find(Place(at=at, type="u32"))
    assert caught.value.reason == "truncated"


def test_float_in_bytes_that_is_not_finite_is_refused():
    for value in (math.nan, math.inf):
        with pytest.raises(ForeignRejected):
            Document(struct.pack("<f", value), None, {}).number(Place(at=0, type="f32"), "value")


def test_level_of_the_topic_is_a_value_like_any_other():
    assert _json(b"{}").whole_number(Place(level="part"), "fragment index") == 7


# Values of the second unit and what they are in the first, from tables of units: not from the program.
CONVERTED = [
    (Velocity, "in/s", 1.0, 25.4), (Velocity, "m/s", 0.0045, 4.5), (Velocity, "mm/s", 4.5, 4.5),
    (Acceleration, "m/s2", 9.80665, 1.0), (Acceleration, "mg", 250.0, 0.25), (Acceleration, "mm/s2", 980.665, 0.1),
    (Temperature, "degF", 212.0, 100.0), (Temperature, "degF", -40.0, -40.0), (Temperature, "K", 273.15, 0.0),
    (Speed, "Hz", 25.0, 1500.0), (Voltage, "mV", 3600.0, 3.6), (Load, "%", 75.0, 0.75), (Rate, "kHz", 25.6, 25_600.0),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "unit", "found", "expected"), CONVERTED, ids=lambda v: getattr(v, "__name__", str(v)))
def test_unit_is_converted(kind, unit, found, expected):
    assert kind(path="x", unit=unit).convert(found, "x") == pytest.approx(expected, abs=1e-9)


def test_scale_and_offset_come_before_the_unit():
    assert Temperature(path="x", unit="degF", scale=0.1, offset=32.0).convert(1800.0, "x") == pytest.approx(100.0)


def test_value_that_no_machine_has_is_refused_and_asks_after_the_unit():
    with pytest.raises(ForeignRejected, match=r"velocity_rms is 50000 .* is the unit right\?") as caught:
        Velocity(path="x", unit="m/s").convert(50.0, "velocity_rms")
    assert caught.value.reason == "impossible_value"


def test_unit_of_another_quantity_is_refused_with_those_that_are_allowed():
    with pytest.raises(pydantic.ValidationError, match="unit 'degC' found; mm/s, m/s, in/s allowed here"):
        Velocity(path="x", unit="degC")
