"""This file knows how a message of a foreign sensor becomes a capture, or single values, of one of our points.

    topic -> table -> fragments joined -> checksum -> fields, units -> samples -> capture with a key of its own

Nothing here keeps anything but unfinished messages. The key names the message wherever it comes again: `counter` takes
the sensor's own boot and sequence, `time` a digest of its clock, `payload` a digest of the bytes.
"""

import datetime as dt
import hashlib
import math
from dataclasses import dataclass

import numpy as np

from gateway_agent.foreign.assembly import Assembly, Piece
from gateway_agent.foreign.checksum import verify
from gateway_agent.foreign.errors import ForeignRejected
from gateway_agent.foreign.places import Document, Quantity, open_json
from gateway_agent.foreign.reading import Reading, worst
from gateway_agent.foreign.settings import ForeignMapping, Fragments, Readings, Time
from gateway_agent.foreign.waveform import Samples, read_samples
from gateway_agent.waiting import Waiting
from schemas.capture import Capture, CaptureFlag, decode_capture, encode_capture
from schemas.errors import NameError_, RejectedInput
from schemas.names import check_point

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_TICKS_US = {"epoch_s": 1e6, "epoch_ms": 1e3, "epoch_us": 1.0}
_EARLIEST_US, _LATEST_US = 946_684_800_000_000, 4_102_444_800_000_000  # 2000 to 2099, as in a capture of our own
NO_SAMPLES = Samples(np.zeros((0, 0), np.int16), np.zeros(0), np.zeros(0))


@dataclass(frozen=True, slots=True, eq=False)
class Mapped:
    """What a message became.

    Attributes:
        point: Whose it is.
        capture: With the message's key; without samples where the sensor sends single values.
        raw: What is stored: the capture in our own format, or the payload with the single values.
        reading: The single values, if that is what the sensor sends.
        same_within_s: None where the sensor counts its messages; else one of the same boot within so many seconds is
            the same message.
        error_g: What rounding to counts cost, g per axis.
    """

    point: str
    capture: Capture
    raw: bytes
    reading: Reading | None
    same_within_s: float | None
    error_g: tuple[float, ...] = ()


class ForeignSensors:
    """All mappings of one gateway."""

    def __init__(self, mappings: tuple[ForeignMapping, ...], *, max_bytes: int, max_age_s: float) -> None:
        self._mappings = mappings
        self._assembly = Assembly(max_bytes=max_bytes, max_age_s=max_age_s)

    @property
    def filters(self) -> list[str]:
        """What is to be subscribed to."""
        return [mapping.filter for mapping in self._mappings]

    def take(self, topic: str, payload: bytes, *, received_at_us: int, now_s: float) -> Mapped | Waiting:
        """Read one message; Waiting while a fragmented one is not whole yet.

        Raises:
            RejectedInput: With a `reason` of `REASONS`, or of `schemas.capture`.
        """
        for mapping in self._mappings:
            levels = mapping.match(topic)
            if levels is not None:
                return self._take(mapping, levels, topic, payload, received_at_us, now_s)
        raise ForeignRejected("unknown_topic", f"no [[foreign]] table has topic {topic}")

    def given_up(self, *, now_s: float) -> list[RejectedInput]:
        """One rejection for every message that never became whole."""
        return [
            ForeignRejected("fragments_incomplete", f"message {number} of {source} never became whole")
            for source, number in self._assembly.expired(now_s=now_s)
        ]

    def _take(
        self, mapping: ForeignMapping, levels: dict[str, str], topic: str, payload: bytes, received_at_us: int,
        now_s: float,
    ) -> Mapped | Waiting:  # fmt: skip
        if len(payload) > mapping.payload_bytes:
            raise ForeignRejected("oversized", f"payload has {len(payload)} bytes, {mapping.payload_bytes} allowed")
        content: bytes | Waiting = payload
        if mapping.fragments is not None:
            content = self._join(mapping, mapping.fragments, levels, topic, payload, now_s)
        if isinstance(content, Waiting):
            return content
        return map_content(mapping, levels, content, received_at_us=received_at_us)

    def _join(
        self, mapping: ForeignMapping, how: Fragments, levels: dict[str, str], topic: str, payload: bytes, now_s: float
    ) -> bytes | Waiting:
        if how.checksum is not None:
            verify(payload, how.checksum, mapping.byte_order)
        document = Document(payload, None, levels, mapping.byte_order)
        end = len(payload) - how.trailer_bytes
        if end <= how.piece_from:
            raise ForeignRejected("truncated", f"fragment of {len(payload)} bytes holds no piece")
        index = document.whole_number(how.index, "fragment index") - how.first_index
        piece = Piece(
            index, document.whole_number(how.count, "fragment count"),
            payload[: how.piece_from] if how.keep_header and index == 0 else b"", payload[how.piece_from : end],
        )  # fmt: skip
        told_apart = {f"{{{place.level}}}" for place in (how.message, how.index, how.count)}
        pairs = zip(mapping.topic.split("/"), topic.split("/"), strict=True)
        sender = "/".join(got for level, got in pairs if level not in told_apart)
        number = document.whole_number(how.message, "fragment message")
        whole = self._assembly.add(sender, number, piece, whole_bytes=mapping.payload_bytes, now_s=now_s)
        return Waiting(lambda: not self._assembly.waits_for(sender, number)) if whole is None else whole


def map_content(mapping: ForeignMapping, levels: dict[str, str], content: bytes, *, received_at_us: int) -> Mapped:
    """Read one whole payload; errors as in `ForeignSensors.take`."""
    if mapping.checksum is not None:
        verify(content, mapping.checksum, mapping.byte_order)
    if mapping.format == "json":
        document = open_json(content, levels, mapping.byte_order)
    else:
        document = Document(content, None, levels, mapping.byte_order)
    point = _point(mapping, document)
    told_us = None if mapping.time is None else _time_us(document, mapping.time)
    boot, sequence, same_within_s = _key(mapping, document, point, told_us, received_at_us)
    if mapping.waveform is not None:
        samples = read_samples(document, mapping.waveform, mapping.checksum)
        rate_hz = _required(document, mapping.waveform.rate, "rate")
        range_g = mapping.waveform.range_g or math.nan
    else:
        samples, rate_hz, range_g = NO_SAMPLES, 0.0, math.nan
    capture = Capture(
        boot, sequence, received_at_us if told_us is None else told_us, rate_hz, samples.counts, samples.scale_g,
        range_g,
        rpm=_optional(document, mapping.rpm, "rpm"), load=_optional(document, mapping.load, "load"),
        temperature_c=_optional(document, mapping.temperature, "temperature"),
        battery_v=_optional(document, mapping.battery, "battery"),
        flags=CaptureFlag.CLOCK_UNSURE if told_us is None else CaptureFlag.NONE,
        rssi_dbm=_optional(document, mapping.rssi, "rssi"),
    )  # fmt: skip
    if mapping.readings is not None:
        reading = _reading(document, mapping.readings)
        _require_something(capture, reading)
        return Mapped(point, capture, content, reading, same_within_s)
    raw = encode_capture(capture)
    return Mapped(point, decode_capture(raw), raw, None, same_within_s, tuple(samples.error_g.tolist()))


def _point(mapping: ForeignMapping, document: Document) -> str:
    device = document.levels.get("device")
    if mapping.device is not None:
        device = document.text(mapping.device, "device")
    if device is not None:
        point = mapping.points.get(device)
        if point is None:
            raise ForeignRejected(
                "unknown_device", f"device {device!r} is not in points of [[foreign]] {mapping.name}; add it there"
            )
        return point
    machine = mapping.machine or document.levels["machine"]
    position = mapping.position or document.levels["position"]
    try:
        return check_point(f"{machine}/{position}")
    except NameError_ as error:
        raise ForeignRejected("bad_name", f"{error}; map it with {{device}} and points") from error


def _key(
    mapping: ForeignMapping, document: Document, point: str, told_us: int | None, received_at_us: int
) -> tuple[int, int, float | None]:
    if mapping.identity == "counter":
        assert mapping.boot is not None
        assert mapping.sequence is not None
        return document.whole_number(mapping.boot, "boot"), document.whole_number(mapping.sequence, "sequence"), None
    if mapping.identity == "time":
        number = "" if mapping.sequence is None else document.whole_number(mapping.sequence, "sequence")
        return _digest(f"{point} {told_us} {number}".encode()), 0, math.inf
    if mapping.repeats_after_s is None:
        return _digest(document.content), 0, math.inf
    return _digest(document.content), received_at_us // 1_000_000, mapping.repeats_after_s


def _digest(content: bytes) -> int:
    return int.from_bytes(hashlib.sha256(content).digest()[:8]) >> 1


def _time_us(document: Document, time: Time) -> int:
    if time.form.startswith("iso8601"):
        us = _read_iso(document.text(time, "time"), utc=time.form == "iso8601_utc")
    else:
        ticks = document.number(time, "time")
        if ticks is None:
            raise ForeignRejected("missing_field", "time is not in the payload")
        us = round(ticks * _TICKS_US[time.form])
    if not _EARLIEST_US <= us < _LATEST_US:
        raise ForeignRejected(
            "bad_time", f"time is {us} us since 1970, years 2000 to 2099 allowed; set the clock, or form"
        )
    return us


def _read_iso(text: str, *, utc: bool) -> int:
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise ForeignRejected("bad_time", f"time {text!r} is no ISO 8601: {error}") from error
    if at.tzinfo is None and not utc:
        raise ForeignRejected("bad_time", f"time {text!r} has no zone; the form iso8601_utc takes it as UTC")
    return ((at if at.tzinfo else at.replace(tzinfo=dt.UTC)) - _EPOCH) // dt.timedelta(microseconds=1)


def _required(document: Document, place: Quantity, name: str) -> float:
    value = document.quantity(place, name)
    if math.isnan(value):
        raise ForeignRejected("missing_field", f"{name} is not in the payload")
    return value


def _optional(document: Document, place: Quantity | None, name: str) -> float:
    return math.nan if place is None else document.quantity(place, name)


def _reading(document: Document, readings: Readings) -> Reading:
    def axes(name: str, places: tuple[Quantity, ...]) -> tuple[float, ...]:
        return tuple(document.quantity(place, name) for place in places)

    return Reading(
        axes("velocity_rms", readings.velocity_rms), readings.velocity_band_hz,
        worst(axes("acceleration_rms", readings.acceleration_rms)),
        worst(axes("acceleration_peak", readings.acceleration_peak)),
        _optional(document, readings.crest_factor, "crest_factor"), _optional(document, readings.kurtosis, "kurtosis"),
        readings.limits,
    )  # fmt: skip


def _require_something(capture: Capture, reading: Reading) -> None:
    found = (
        reading.velocity_rms_mm_s, reading.acceleration_rms_g, reading.acceleration_peak_g,
        float(capture.temperature_c),
    )  # fmt: skip
    if all(math.isnan(value) for value in found):
        raise ForeignRejected("missing_field", "none of velocity, acceleration and temperature is in the payload")
