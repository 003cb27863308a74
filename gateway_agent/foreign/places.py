"""This file knows where a value stands in a foreign payload and in which unit, and reads it from there."""

import functools
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

import pydantic_core
from pydantic import AfterValidator, Field, model_validator

from gateway_agent.foreign.errors import ForeignRejected
from schemas.capture import MAX_SEQUENCE, RSSI_DBM
from schemas.settings import Settings
from vibration.units import G_M_S2, G_MM_S2, MM_PER_INCH

MAX_STEPS = 16
MAX_TEXT = 128
_STEP = re.compile(r"(?:(?:^|(?!^)\.)(?P<key>[^.\[\]]+))|\[(?P<index>\d{1,6})\]")
_NUMBER = re.compile(r"[-+]?\d{1,40}(\.\d{0,40})?([eE][-+]?\d{1,3})?")
_FORMATS = {"u8": "B", "i8": "b", "u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q", "f32": "f",
            "f64": "d"}  # fmt: skip
NumberType = Literal["u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64"]
Units = Mapping[str, tuple[float, float]]
"""Name -> factor and shift to the product's own unit."""
ByteOrder = Literal["little", "big"]
ORDER_SIGN: dict[ByteOrder, str] = {"little": "<", "big": ">"}


@functools.lru_cache(maxsize=1024)
def steps_of(path: str) -> tuple[str | int, ...]:
    """Read a path such as `data.axes[0].rms`: keys after dots, places in lists in brackets, nothing else.

    Raises:
        ValueError: It has another form, or more than 16 steps.
    """
    steps: list[str | int] = []
    at = 0
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None or len(steps) >= MAX_STEPS:
            raise ValueError(f"path {path!r} found; keys with dots and [n] allowed, as in 'data.axes[0].rms', 16 steps")
        steps.append(match["key"] if match["key"] is not None else int(match["index"]))
        at = match.end()
    if not steps:
        raise ValueError("path is empty; keys with dots and [n] allowed, as in 'data.axes[0].rms'")
    return tuple(steps)


def _check_path(path: str) -> str:
    steps_of(path)
    return path


JsonPath = Annotated[str, Field(max_length=256), AfterValidator(_check_path)]


class Place(Settings):
    """Where one value stands: exactly one of path, at, level, value. A bare text is a path, a number a value."""

    path: JsonPath | None = Field(default=None, description="In JSON: keys with dots and [n].")
    at: int | None = Field(default=None, ge=-65_536, le=65_536, description="In bytes; below 0 from the end.")
    type: NumberType | None = Field(default=None, description="Of the number at `at`.")
    level: str | None = Field(default=None, description="A {name} of the topic.")
    value: float | None = Field(default=None, description="Always this.", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, given: Any) -> Any:
        if isinstance(given, str):
            return {"path": given}
        return {"value": given} if isinstance(given, int | float) else given

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        told = [name for name in ("path", "at", "level", "value") if getattr(self, name) is not None]
        if len(told) != 1:
            raise ValueError(f"{' and '.join(told) or 'nothing'} found; exactly one of path, at, level, value allowed")
        if (self.at is None) != (self.type is None):
            raise ValueError("at and type belong together; one is missing")
        return self


class Quantity(Place):
    """A physical value: what stands there * scale + offset, in `unit`."""

    UNITS: ClassVar[Units] = {"": (1.0, 0.0), "1": (1.0, 0.0)}
    BOUNDS: ClassVar[tuple[float, float]] = (0.0, 1e6)

    unit: str = ""
    scale: float = Field(default=1.0, allow_inf_nan=False)
    offset: float = Field(default=0.0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _known_unit(self) -> Self:
        if self.unit not in self.UNITS:
            raise ValueError(f"unit {self.unit or 'nothing'!r} found; {', '.join(self.UNITS)} allowed here")
        return self

    def convert(self, found: float, name: str) -> float:
        """Turn what was found into the product's unit.

        Raises:
            ForeignRejected: No such quantity can have this value.
        """
        factor, shift = self.UNITS[self.unit]
        value = (found * self.scale + self.offset) * factor + shift
        low, high = self.BOUNDS
        if not low <= value <= high:  # also refuses NaN
            raise ForeignRejected(
                "impossible_value",
                f"{name} is {value:g} after conversion, {low:g} to {high:g} allowed; is the unit right?",
            )
        return value


class Velocity(Quantity):
    """Velocity RMS, read as mm/s."""

    UNITS: ClassVar[Units] = {"mm/s": (1.0, 0.0), "m/s": (1000.0, 0.0), "in/s": (MM_PER_INCH, 0.0)}
    BOUNDS: ClassVar[tuple[float, float]] = (0.0, 1e4)


class Acceleration(Quantity):
    """Acceleration RMS or peak, read as g."""

    UNITS: ClassVar[Units] = {
        "g": (1.0, 0.0),
        "mg": (1e-3, 0.0),
        "m/s2": (1.0 / G_M_S2, 0.0),
        "mm/s2": (1.0 / G_MM_S2, 0.0),
    }
    BOUNDS: ClassVar[tuple[float, float]] = (0.0, 1e5)


class Temperature(Quantity):
    """Temperature, read as degrees Celsius."""

    UNITS: ClassVar[Units] = {"degC": (1.0, 0.0), "degF": (5.0 / 9.0, -160.0 / 9.0), "K": (1.0, -273.15)}
    BOUNDS: ClassVar[tuple[float, float]] = (-273.15, 2000.0)


class Speed(Quantity):
    """Shaft speed, read as rpm."""

    UNITS: ClassVar[Units] = {"rpm": (1.0, 0.0), "Hz": (60.0, 0.0)}


class Voltage(Quantity):
    """Battery voltage, read as V."""

    UNITS: ClassVar[Units] = {"V": (1.0, 0.0), "mV": (1e-3, 0.0)}
    BOUNDS: ClassVar[tuple[float, float]] = (0.0, 1e3)


class SignalStrength(Quantity):
    """Strength of the radio signal, read as dBm; `offset` for receivers that count from elsewhere."""

    UNITS: ClassVar[Units] = {"dBm": (1.0, 0.0)}
    BOUNDS: ClassVar[tuple[float, float]] = RSSI_DBM


class Load(Quantity):
    """Share of nominal load."""

    UNITS: ClassVar[Units] = {"1": (1.0, 0.0), "%": (0.01, 0.0)}
    BOUNDS: ClassVar[tuple[float, float]] = (-1e3, 1e3)


class Rate(Quantity):
    """Sample rate, read as Hz."""

    UNITS: ClassVar[Units] = {"Hz": (1.0, 0.0), "kHz": (1000.0, 0.0)}


@dataclass(frozen=True, slots=True)
class Document:
    """One whole payload, opened.

    Attributes:
        content: Its bytes.
        tree: What the JSON says; None where the payload is binary.
        levels: What the topic's {names} stand for.
        byte_order: Of numbers in the bytes.
    """

    content: bytes
    tree: Any
    levels: Mapping[str, str]
    byte_order: ByteOrder = "little"

    def find(self, place: Place) -> Any:
        """What stands there; None where the JSON has no such field, or null.

        Raises:
            ForeignRejected: The bytes end before it.
        """
        if place.value is not None:
            return place.value
        if place.level is not None:
            return self.levels[place.level]
        if place.path is not None:
            return self.at_path(place.path)
        assert place.at is not None
        assert place.type is not None
        form = struct.Struct(ORDER_SIGN[self.byte_order] + _FORMATS[place.type])
        start = place.at if place.at >= 0 else len(self.content) + place.at
        if not 0 <= start <= len(self.content) - form.size:
            raise ForeignRejected(
                "truncated", f"{place.type} at {place.at} found missing: the payload has {len(self.content)} bytes"
            )
        return form.unpack_from(self.content, start)[0]

    def at_path(self, path: str) -> Any:
        """What the JSON has at a path; None if nothing."""
        found = self.tree
        for step in steps_of(path):
            if isinstance(step, str) and isinstance(found, dict):
                found = found.get(step)
            elif isinstance(step, int) and isinstance(found, list) and step < len(found):
                found = found[step]
            else:
                return None
        return found

    def number(self, place: Place, name: str) -> float | None:
        """A finite number; None where there is none.

        Raises:
            ForeignRejected: Something else stands there.
        """
        found = self.find(place)
        if found is None:
            return None
        if isinstance(found, str) and _NUMBER.fullmatch(found):
            found = float(found)
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise ForeignRejected("bad_field", f"{name} is {_shown(found)}, a number expected")
        value = float(found) if abs(found) < 1e300 else math.inf
        if not math.isfinite(value):
            raise ForeignRejected("bad_field", f"{name} is no finite number")
        return value

    def whole_number(self, place: Place, name: str) -> int:
        """A whole number from 0.

        Raises:
            ForeignRejected: There is none, or something else.
        """
        found = self.find(place)
        if isinstance(found, str) and found.isascii() and found.isdigit() and len(found) <= 19:
            found = int(found)
        if isinstance(found, float) and found.is_integer() and abs(found) < 2**53:
            found = int(found)
        if found is None:
            raise ForeignRejected("missing_field", f"{name} is not in the payload")
        if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= MAX_SEQUENCE:
            raise ForeignRejected("bad_field", f"{name} is {_shown(found)}, a whole number from 0 to 2^63 - 1 expected")
        return found

    def text(self, place: Place, name: str) -> str:
        """A short text; a whole number is taken as one.

        Raises:
            ForeignRejected: There is none, or something else.
        """
        found = self.find(place)
        if isinstance(found, int) and not isinstance(found, bool) and abs(found) <= MAX_SEQUENCE:
            found = str(found)
        if found is None:
            raise ForeignRejected("missing_field", f"{name} is not in the payload")
        if not isinstance(found, str) or len(found) > MAX_TEXT:
            raise ForeignRejected(
                "bad_field", f"{name} is {_shown(found)}, a text of at most {MAX_TEXT} characters expected"
            )
        return found

    def quantity(self, place: Quantity, name: str) -> float:
        """A physical value in the product's unit; NaN where there is none. Errors as in `number` and `convert`."""
        found = self.number(place, name)
        return math.nan if found is None else place.convert(found, name)


def open_json(content: bytes, levels: Mapping[str, str], byte_order: ByteOrder) -> Document:
    """Read a payload of JSON; at most about 200 levels deep.

    Raises:
        ForeignRejected: It is none.
    """
    try:
        tree = pydantic_core.from_json(content, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        raise ForeignRejected("not_json", f"payload is no JSON: {error}") from error
    return Document(content, tree, levels, byte_order)


def _shown(found: object) -> str:
    """A value in a message: short, whatever it is."""
    return repr(found)[:40] if isinstance(found, str | float | bool) else type(found).__name__
