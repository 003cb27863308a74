"""This file knows every setting of a `[[foreign]]` table, what it may be, and which of them fit together."""

import re
from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from gateway_agent.foreign.places import (
    Acceleration,
    ByteOrder,
    JsonPath,
    Load,
    Place,
    Quantity,
    Rate,
    SignalStrength,
    Speed,
    Temperature,
    Velocity,
    Voltage,
)
from schemas.capture import MAX_CHANNELS
from schemas.foreign_topics import check_foreign_filter, filters_overlap
from schemas.names import Name, PointId
from schemas.settings import Settings
from vibration.units import G_M_S2, G_MM_S2

MAX_FRAGMENTS = 4096  # of one message; at 32 bytes a packet still a capture of 64 KB
_LEVEL_NAME = re.compile(r"\{([a-z][a-z_]{0,31})\}")
SIGNAL_UNITS = {"g": 1.0, "mg": 1e-3, "m/s2": 1.0 / G_M_S2, "mm/s2": 1.0 / G_MM_S2, "V": None, "mV": None}
"""How many g one of each is; None where the sensor's sensitivity says it."""


class Time(Place):
    """When a measurement began, by the sensor's clock."""

    form: Literal["epoch_s", "epoch_ms", "epoch_us", "iso8601", "iso8601_utc"] = Field(
        description="iso8601_utc takes a time without a zone as UTC; iso8601 refuses it."
    )


class Checksum(Settings):
    """A number over the bytes before it, in the table's byte order."""

    kind: Literal["crc32", "crc16-ccitt"]
    at: int = Field(ge=-65_536, le=65_536, description="Where it stands; below 0 from the end.")
    covers_from: int = Field(default=0, ge=0, le=65_536, description="First byte that counts; the last is before `at`.")
    start: int = Field(default=0xFFFF, ge=0, le=0xFFFF, description="Of crc16-ccitt: 0xFFFF (CCITT-FALSE), 0 (XMODEM).")


class Fragments(Settings):
    """How one message travels in several payloads: each is header | piece | trailer."""

    message: Place = Field(description="Names the message; the same in all its fragments.")
    index: Place
    count: Place
    first_index: int = Field(default=0, ge=0, le=1)
    piece_from: int = Field(default=0, ge=0, le=1024, description="Bytes before the piece.")
    trailer_bytes: int = Field(default=0, ge=0, le=64, description="Bytes after it.")
    keep_header: bool = Field(default=False, description="Whether the whole begins with the first fragment's header.")
    checksum: Checksum | None = Field(default=None, description="Of each fragment by itself.")


class Waveform(Settings):
    """Acceleration sample by sample; what is judged by spectra."""

    axes: tuple[JsonPath, ...] = Field(default=(), max_length=MAX_CHANNELS, description="JSON: a list or text each.")
    samples: JsonPath | None = Field(default=None, description="JSON: one list or text for all axes.")
    starts_at: int | None = Field(default=None, ge=0, le=65_536, description="Binary: where the samples begin.")
    encoding: Literal["numbers", "i16", "i32", "f32", "f64"] = Field(
        description="numbers: a JSON list; else the type in bytes, in JSON as base64."
    )
    channels: int = Field(default=1, ge=1, le=MAX_CHANNELS, description="Axes in `samples` or behind `starts_at`.")
    layout: Literal["planar", "interleaved"] = Field(default="planar", description="planar: axis after axis.")
    count: Place | None = Field(default=None, description="Samples an axis; else all that there are.")
    rate: Rate
    unit: str = Field(description="What a sample times scale is in.")
    scale: tuple[Place, ...] = Field(default=(Place(value=1.0),), description="One for all axes, or one an axis.")
    mv_per_g: float | None = Field(default=None, gt=0, description="Sensitivity, where the unit is V or mV.")
    range_g: float | None = Field(default=None, gt=0, le=1e5, description="What the sensor can measure at most.")

    @field_validator("scale", mode="before")
    @classmethod
    def _one_or_many(cls, given: Any) -> Any:
        return given if isinstance(given, list | tuple) else (given,)

    @property
    def axis_count(self) -> int:
        """How many axes a capture has."""
        return len(self.axes) or self.channels

    @property
    def g_per_unit(self) -> float:
        """G in one of the unit."""
        factor = SIGNAL_UNITS[self.unit]
        if factor is not None:
            return factor
        assert self.mv_per_g is not None
        return (1000.0 if self.unit == "V" else 1.0) / self.mv_per_g

    @model_validator(mode="after")
    def _readable(self) -> Self:
        told = [n for n in ("axes", "samples", "starts_at") if getattr(self, n) not in {None, ()}]
        if len(told) != 1:
            raise ValueError(
                f"{' and '.join(told) or 'nothing'} found; exactly one of axes, samples, starts_at allowed"
            )
        if self.unit not in SIGNAL_UNITS:
            raise ValueError(
                f"unit {self.unit!r} found; {', '.join(SIGNAL_UNITS)} allowed: a waveform is acceleration, and "
                "velocity sample by sample cannot be judged"
            )
        if (self.unit in {"V", "mV"}) != (self.mv_per_g is not None):
            raise ValueError(f"unit {self.unit} found; mv_per_g belongs to V and mV and to nothing else")
        if len(self.scale) not in {1, self.axis_count}:
            raise ValueError(f"{len(self.scale)} scales found; 1 or {self.axis_count} (one an axis) allowed")
        if self.axes and (self.channels != 1 or self.layout != "planar"):
            raise ValueError("axes name one list an axis: channels and layout belong to samples and starts_at")
        return self


Pair = tuple[float, float]


class ReadingLimits(Settings):
    """From where a single value is an alert, and from where a danger; both in the product's unit."""

    velocity_rms_mm_s: Pair | None = None
    acceleration_rms_g: Pair | None = None
    acceleration_peak_g: Pair | None = None
    temperature_c: Pair | None = None

    @model_validator(mode="after")
    def _rising(self) -> Self:
        for name in type(self).model_fields:
            pair = getattr(self, name)
            if pair is not None and not pair[0] < pair[1]:
                raise ValueError(f"{name} is {list(pair)}; [alert, danger] expected, the second above the first")
        return self


class Readings(Settings):
    """Single values of a sensor that keeps its waveform to itself."""

    velocity_rms: tuple[Velocity, ...] = Field(
        default=(), max_length=MAX_CHANNELS, description="One an axis; worst counts."
    )
    velocity_band_hz: Pair | None = Field(default=None, description="Of velocity_rms; without it there is no ISO zone.")
    acceleration_rms: tuple[Acceleration, ...] = Field(default=(), max_length=MAX_CHANNELS)
    acceleration_peak: tuple[Acceleration, ...] = Field(default=(), max_length=MAX_CHANNELS)
    crest_factor: Quantity | None = None
    kurtosis: Quantity | None = None
    limits: ReadingLimits = ReadingLimits()

    @field_validator("velocity_rms", "acceleration_rms", "acceleration_peak", mode="before")
    @classmethod
    def _one_or_many(cls, given: Any) -> Any:
        return given if isinstance(given, list | tuple) else (given,)


class ForeignMapping(Settings):
    """One kind of foreign sensor: which topics, whose machine, what stands where, and how a repetition is known."""

    name: Name
    topic: str = Field(description="Levels; {machine}, {position}, {device} and other {names} bind, + stands for any.")
    machine: Name | None = Field(default=None, description="Where the topic does not say.")
    position: Name | None = Field(default=None, description="Where the topic does not say.")
    device: Place | None = Field(default=None, description="The maker's name of the sensor; looked up in points.")
    points: dict[str, PointId] = Field(default={}, max_length=10_000, description="device -> machine/position")
    format: Literal["json", "binary"]
    byte_order: ByteOrder = "little"
    payload_bytes: int = Field(default=1 << 20, ge=16, le=16 << 20, description="Of a whole message.")
    identity: Literal["counter", "time", "payload"] = Field(
        description="How a message that comes twice is known: by boot and sequence, by the sensor's time, by its bytes."
    )
    boot: Place | None = Field(default=None, description="Changes when the sensor's counter starts anew.")
    sequence: Place | None = Field(default=None, description="The sensor's counter.")
    repeats_after_s: float | None = Field(
        default=None, ge=1.0, le=86_400.0, description="By its bytes: from here on the same bytes are a new reading."
    )
    time: Time | None = Field(default=None, description="The time of receipt where the sensor has no clock.")
    checksum: Checksum | None = None
    fragments: Fragments | None = None
    waveform: Waveform | None = None
    readings: Readings | None = None
    rpm: Speed | None = None
    load: Load | None = None
    temperature: Temperature | None = None
    battery: Voltage | None = None
    rssi: SignalStrength | None = None

    @property
    def level_names(self) -> tuple[str, ...]:
        """The {names} of the topic, in order."""
        return tuple(_LEVEL_NAME.findall(self.topic))

    @property
    def filter(self) -> str:
        """What the gateway subscribes to."""
        return _LEVEL_NAME.sub("+", self.topic)

    def match(self, topic: str) -> dict[str, str] | None:
        """What the {names} stand for in a topic; None where it is another's."""
        found, wanted = topic.split("/"), self.topic.split("/")
        if len(found) != len(wanted):
            return None
        names = {}
        for got, level in zip(found, wanted, strict=True):
            if level.startswith("{"):
                names[level[1:-1]] = got
            elif level not in {got, "+"}:
                return None
        return names

    @field_validator("topic")
    @classmethod
    def _narrow(cls, topic: str) -> str:
        for level in topic.split("/"):
            if set(level) & set("{}") and not _LEVEL_NAME.fullmatch(level):
                raise ValueError(
                    f"level {level!r} found; {{name}} of lower-case letters fills a whole level or none of it"
                )
        names = _LEVEL_NAME.findall(topic)
        if len(set(names)) < len(names):
            raise ValueError(f"topic {topic!r} binds a name twice")
        check_foreign_filter(_LEVEL_NAME.sub("+", topic))
        return topic

    @model_validator(mode="after")
    def _whose(self) -> Self:
        names = set(self.level_names)
        if self.device is not None and "device" in names:
            raise ValueError("device stands in the topic and in the table; keep one")
        if self.device is not None or "device" in names:
            if not self.points:
                raise ValueError('device found without points; add [foreign.points] with device = "machine/position"')
            if names & {"machine", "position"} or self.machine or self.position:
                raise ValueError("device and points name machine and position already; remove the others")
            return self
        if self.points:
            raise ValueError("points found without a device; put {device} in the topic, or say where device stands")
        for what in ("machine", "position"):
            if (what in names) == (getattr(self, what) is not None):
                raise ValueError(f'{what} must be known once: {{{what}}} in the topic, or {what} = "..." in the table')
        return self

    @model_validator(mode="after")
    def _known_again(self) -> Self:
        if self.identity == "counter" and (self.boot is None or self.sequence is None):
            raise ValueError(
                'identity = "counter" needs boot and sequence: a counter alone starts anew with the sensor, and its '
                'captures would be taken for old ones; without a boot use "time" or "payload"'
            )
        if self.identity != "counter" and self.boot is not None:
            raise ValueError('boot belongs to identity = "counter"')
        if self.identity == "payload" and self.sequence is not None:
            raise ValueError("sequence is part of the bytes already; remove it")
        if self.identity == "time" and self.time is None:
            raise ValueError('identity = "time" needs time; without a clock use "counter" or "payload"')
        if self.repeats_after_s is not None and self.identity != "payload":
            raise ValueError('repeats_after_s belongs to identity = "payload"')
        if self.identity == "payload" and self.readings is not None and self.repeats_after_s is None:
            raise ValueError(
                'readings with identity = "payload" need repeats_after_s, somewhat less than the sensor\'s interval: a '
                "machine that runs steadily sends the same numbers again, and they are not the same message"
            )
        return self

    @model_validator(mode="after")
    def _of_one_piece(self) -> Self:
        if (self.waveform is None) == (self.readings is None):
            raise ValueError("exactly one of [foreign.waveform] and [foreign.readings] allowed")
        readings, wave = self.readings, self.waveform
        if readings is not None and not any(
            (readings.velocity_rms, readings.acceleration_rms, readings.acceleration_peak, self.temperature)
        ):
            raise ValueError("readings without velocity_rms, acceleration_rms, acceleration_peak or temperature")
        binary = self.format == "binary"
        if wave is not None and binary != (wave.starts_at is not None):
            raise ValueError("waveform: binary needs starts_at; json needs axes or samples")
        if wave is not None and binary and wave.encoding == "numbers":
            raise ValueError("waveform: encoding numbers is a JSON list; binary needs i16, i32, f32 or f64")
        if self.checksum is not None and not binary:
            raise ValueError("a checksum belongs to format = binary")
        for where, place in self._places():
            if binary and place.path is not None:
                raise ValueError(f"{where} has a path; binary payloads need at and type")
            if not binary and place.at is not None and not where.startswith("fragments."):
                raise ValueError(f"{where} has at; json payloads need a path")
            if place.level is not None and place.level not in self.level_names:
                raise ValueError(f"{where} names level {place.level!r}; the topic binds {list(self.level_names)}")
        pieces = self.fragments
        if pieces is not None and any(p.path for p in (pieces.message, pieces.index, pieces.count)):
            raise ValueError("fragments are told apart by at and type, or by level: a piece is no JSON by itself")
        return self

    def _places(self) -> Iterator[tuple[str, Place]]:
        def walk(where: str, item: Any) -> Iterator[tuple[str, Place]]:
            if isinstance(item, Place):
                yield where, item
            elif isinstance(item, tuple):
                for number, one in enumerate(item):
                    yield from walk(f"{where}[{number}]", one)
            elif isinstance(item, Settings):
                for name in type(item).model_fields:
                    yield from walk(f"{where}.{name}".lstrip("."), getattr(item, name))

        return walk("", self)


def check_mappings(mappings: tuple[ForeignMapping, ...]) -> None:
    """Check what tables say together.

    Raises:
        ValueError: Two have one name, one topic, or one point with single values and waveforms.
    """
    for number, one in enumerate(mappings):
        for other in mappings[number + 1 :]:
            if one.name == other.name:
                raise ValueError(f"two [[foreign]] tables are called {one.name!r}")
            if filters_overlap(one.filter, other.filter):
                raise ValueError(
                    f"[[foreign]] {one.name!r} and {other.name!r} would both read topics of {other.filter}"
                )
            mixed = (one.waveform is None) != (other.waveform is None)
            both = _fixed_points(one) & _fixed_points(other)
            if mixed and both:
                raise ValueError(
                    f"[[foreign]] {one.name!r} and {other.name!r}: {min(both)} cannot have both single values and "
                    "waveforms; give one of them another position"
                )


def _fixed_points(mapping: ForeignMapping) -> set[str]:
    if mapping.machine and mapping.position:
        return {f"{mapping.machine}/{mapping.position}"}
    return set(mapping.points.values())
