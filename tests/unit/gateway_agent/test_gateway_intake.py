"""What comes from a sensor is a capture, a part of one, or a dead letter with its reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_agent.intake import FUTURE_US, Intake, Payload, Taken
from gateway_agent.waiting import Waiting
from schemas.capture import MAX_BYTES, encode_capture
from schemas.errors import RejectedInput
from schemas.fragments import Fragment, Reassembly, encode_fragment, split
from schemas.topics import CAPTURE, CAPTURE_FRAGMENT, TOPICS
from tests.support.captures import AT_US, POINT, healthy

NAMES = {"site": "plant-a", "gateway": "gw-1", "machine": "pump-07", "position": "de"}
TOPIC, PIECES = CAPTURE.path(**NAMES), CAPTURE_FRAGMENT.path(**NAMES)
RAW = encode_capture(healthy(3))


def intake(*, unknown: bool = False) -> Intake:
    return Intake("plant-a", "gw-1", frozenset({"pump-07"}), unknown, Reassembly(max_bytes=1 << 20, max_age_s=10.0))


def payload(topic: str = TOPIC, content: bytes = RAW) -> Payload:
    return Payload(topic, content, AT_US + 10_000_000)


def reason(one: Payload, door: Intake | None = None) -> str:
    with pytest.raises(RejectedInput) as caught:
        (door or intake()).take(one, now_s=0.0)
    return caught.value.reason


def test_a_capture_comes_in_with_its_point_and_its_bytes() -> None:
    one = intake().take(payload(), now_s=0.0)
    assert one is not None
    assert (one.point, one.capture.sequence, one.raw) == (POINT, 3, RAW)


def test_a_capture_in_pieces_comes_in_with_the_last_of_them() -> None:
    door = intake()
    taken = [
        door.take(payload(PIECES, piece), now_s=0.0)
        for piece in reversed(split(RAW, stream=1, item=3, piece_bytes=900))
    ]
    *waiting, whole = taken
    assert isinstance(whole, Taken)
    assert whole.raw == RAW
    assert all(isinstance(one, Waiting) and one.over() for one in waiting)


def test_a_capture_that_never_becomes_whole_is_a_dead_letter() -> None:
    door = intake()
    door.take(payload(PIECES, split(RAW, stream=1, item=3, piece_bytes=900)[0]), now_s=0.0)
    assert door.given_up(now_s=5.0) == []
    (lost,) = door.given_up(now_s=11.0)
    assert (lost.reason, "capture 3 of boot 1" in str(lost)) == ("fragments_incomplete", True)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"site": "plant-b"}, "wrong_gateway"),
        ({"gateway": "gw-2"}, "wrong_gateway"),
        ({"machine": "pump-08"}, "unknown_machine"),
    ],
)
def test_a_capture_for_somebody_else_is_refused(change: dict[str, str], expected: str) -> None:
    assert reason(payload(CAPTURE.path(**{**NAMES, **change}))) == expected


def test_machines_nobody_named_are_taken_where_the_settings_say_so() -> None:
    assert intake(unknown=True).take(payload(CAPTURE.path(**{**NAMES, "machine": "fan-9"})), now_s=0.0) is not None


@pytest.mark.parametrize(
    "topic",
    ["", "x", TOPIC + "/more", TOPIC.replace("pump-07", "Pump-07"), TOPIC.replace("pump-07", ""),
     TOPIC.replace("v1", "v2"),
     TOPIC.replace("pump-07", "+"), TOPIC.replace("de/", "#/"), TOPIC.replace("/capture", "/ack")],
)  # fmt: skip
def test_a_topic_that_carries_no_captures_is_refused(topic: str) -> None:
    assert reason(payload(topic)) == "unknown_topic"


@pytest.mark.parametrize(
    "row", [row for row in TOPICS if row not in (CAPTURE, CAPTURE_FRAGMENT)], ids=lambda row: row.name
)
def test_every_other_row_of_the_table_carries_no_captures(row: object) -> None:
    names = {**NAMES, "member": "gw-1"}
    assert reason(payload(row.path(**names))) == "unknown_topic"  # type: ignore[attr-defined]


def test_a_capture_from_the_day_after_tomorrow_is_refused() -> None:
    now_us = AT_US + 10_000_000
    allowed = encode_capture(healthy(0, measured_at_us=now_us + FUTURE_US))
    assert intake().take(payload(content=allowed), now_s=0.0) is not None
    assert reason(payload(content=encode_capture(healthy(0, measured_at_us=now_us + FUTURE_US + 1)))) == "future"


@pytest.mark.parametrize(
    ("topic", "content", "expected"),
    [
        (TOPIC, b"", "truncated"),
        (TOPIC, RAW[:-1], "truncated"),
        (TOPIC, RAW + b"x", "bad_length"),
        (TOPIC, b"\0" * 100, "bad_magic"),
        (TOPIC, RAW[:-1] + b"\0", "bad_crc"),
        (PIECES, RAW, "bad_magic"),
        (PIECES, encode_fragment(Fragment(1, 1, 0, 2, MAX_BYTES + 1, b"x")), "oversized"),
        (PIECES, encode_fragment(Fragment(1, 1, 0, 2, MAX_BYTES, b"x")), "oversized"),
        (PIECES, encode_fragment(Fragment(1, 1, 0, 1, 2, b"x")), "contradiction"),
        (PIECES, encode_fragment(Fragment(1, 1, 0, 1, 1, b"x")), "truncated"),
    ],
)
def test_bytes_that_are_no_capture_are_refused_with_their_reason(topic: str, content: bytes, expected: str) -> None:
    assert reason(payload(topic, content)) == expected


@given(st.sampled_from([TOPIC, PIECES]), st.binary(max_size=300))
def test_any_payload_is_taken_or_refused(topic: str, content: bytes) -> None:
    assert reason(payload(topic, content))
