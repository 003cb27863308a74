"""This file knows how a machine's housing velocity is judged: zones A to D, or why it cannot be judged.

The boundaries are data (`iso_zones.toml`) with edition, source and who verified them. What is missing is never
taken as 0 mm/s: a machine that cannot be judged has zone None and a reason.
"""

import functools
import math
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal, get_args

from vibration.errors import ZoneError
from vibration.spectrum import ISO_BAND_HZ, SLOW_ISO_BAND_HZ

ZoneName = Literal["A", "B", "C", "D"]
Foundation = Literal["rigid", "flexible"]
Kind = Literal["general", "pump", "critical_pump", "fan", "reciprocating"]

LOWEST_RPM = 120.0
"""Below this speed, housing velocity says too little; the standard ends here."""

SLOW_RPM = 600.0
"""Below this speed the velocity's band begins at 2 Hz instead of 10 Hz."""

_REQUIRED = ("id", "kinds", "limits_mm_s", "edition", "source", "verified_by")
_ALLOWED = {*_REQUIRED, "foundation", "above_kw", "up_to_kw"}


@dataclass(frozen=True)
class Nameplate:
    """What must be known of a machine before its velocity can be judged.

    Attributes:
        power_kw: Rated power; None if unknown.
        foundation: "rigid" or "flexible"; None if unknown.
        kind: "general" (motors, generators, compressors, gearboxes), "pump" (general use, category II),
            "critical_pump" (category I), "fan", or "reciprocating".
        rpm: Speed; None if unknown, then taken as 600 or more.
        machine_class: Id of a class of the table, chosen by a person; overrides power, kind and foundation.

    Raises:
        ZoneError: A value no machine has.
    """

    power_kw: float | None = None
    foundation: Foundation | None = None
    kind: Kind = "general"
    rpm: float | None = None
    machine_class: str | None = None

    def __post_init__(self) -> None:
        if self.foundation is not None and self.foundation not in get_args(Foundation):
            raise ZoneError(f"foundation is {self.foundation!r}, rigid or flexible expected")
        if self.kind not in get_args(Kind):
            raise ZoneError(f"kind is {self.kind!r}, one of {', '.join(get_args(Kind))} expected")
        if self.power_kw is not None and not self.power_kw > 0.0:
            raise ZoneError(f"power is {self.power_kw} kW, above 0 expected; leave it out if unknown")
        if self.rpm is not None and not self.rpm >= 0.0:
            raise ZoneError(f"speed is {self.rpm} rpm, at least 0 expected; leave it out if unknown")


@dataclass(frozen=True)
class MachineClass:
    """One row of the table: which machines, and the upper edges of A, B and C in mm/s RMS."""

    id: str
    kinds: tuple[str, ...]
    limits_mm_s: tuple[float, float, float]
    edition: str
    source: str
    verified_by: str
    foundation: str | None = None
    above_kw: float = 0.0
    up_to_kw: float = math.inf

    @property
    def named(self) -> str:
        """As the trade names it."""
        return f"ISO {self.id}"

    def covers(self, nameplate: Nameplate) -> bool:
        """Say whether a machine belongs to this class."""
        power = nameplate.power_kw
        return (
            nameplate.kind in self.kinds
            and self.foundation in {None, nameplate.foundation}
            and power is not None
            and self.above_kw < power <= self.up_to_kw
        )


@dataclass(frozen=True)
class ZoneVerdict:
    """How a machine's velocity is judged.

    Attributes:
        zone: A (as new), B (unrestricted), C (limited time), D (damage likely); None if not assessable.
        reason: One sentence for the operator.
        velocity_mm_s: The largest of the axes that was judged; None if there was none.
        limits_mm_s: Upper edges of A, B and C; None if no class applies.
        machine_class: Id of the class; None if no class applies.
        edition: Edition of the boundaries; empty if no class applies.
        source: Where the boundaries were read; empty if no class applies.
        verified_by: Who or what stands behind them; empty if no class applies.
    """

    zone: ZoneName | None
    reason: str
    velocity_mm_s: float | None = None
    limits_mm_s: tuple[float, float, float] | None = None
    machine_class: str | None = None
    edition: str = ""
    source: str = ""
    verified_by: str = ""


def zone(
    velocity_mm_s: float | Iterable[float],
    nameplate: Nameplate,
    *,
    table: Sequence[MachineClass] | None = None,
) -> ZoneVerdict:
    """Judge a machine's housing velocity.

    Args:
        velocity_mm_s: RMS over the band of `velocity_band_hz`, of one axis or of all axes and points; the largest
            counts. NaN stands for an axis that was not measured.
        nameplate: The machine.
        table: Classes to judge by; by default those that ship with the product.

    Returns:
        The verdict. With an axis missing, C and D are given (the missing one can only be worse), A and B are not.
    """
    if table is None:
        found = _class_that_ships(nameplate.power_kw, nameplate.foundation, nameplate.kind, nameplate.machine_class)
    else:
        found = _class_or_refusal(nameplate, table)
    found = _refused_speed(nameplate) or found
    if isinstance(found, str):
        return ZoneVerdict(None, found)
    axes = [float(velocity_mm_s)] if isinstance(velocity_mm_s, (int, float)) else [float(v) for v in velocity_mm_s]
    known = [value for value in axes if math.isfinite(value) and value >= 0.0]
    velocity = max(known, default=None)
    letter: ZoneName | None = None
    if velocity is None:
        reason = "not assessable: no velocity was measured"
    else:
        letter = _letter(velocity, found.limits_mm_s)
        lower, upper = (
            (0.0, *found.limits_mm_s)["ABCD".index(letter)],
            (*found.limits_mm_s, math.inf)["ABCD".index(letter)],
        )
        span = f"from {lower:g} to below {upper:g}" if upper < math.inf else f"{lower:g} and above"
        reason = f"{velocity:.2f} mm/s RMS is in zone {letter} ({span}) of {found.named}"
        missing = len(axes) - len(known)
        if missing and letter in {"A", "B"}:
            letter = None
            reason = f"not assessable: {missing} of {len(axes)} axes not measured, the others reach {velocity:.2f} mm/s"
        elif missing:
            reason += f"; {missing} of {len(axes)} axes not measured"
    return ZoneVerdict(
        zone=letter,
        reason=reason,
        velocity_mm_s=velocity,
        limits_mm_s=found.limits_mm_s,
        machine_class=found.id,
        edition=found.edition,
        source=found.source,
        verified_by=found.verified_by,
    )


def velocity_band_hz(nameplate: Nameplate) -> tuple[float, float]:
    """Return the band of the velocity a machine is judged by: from 2 Hz below 600 rpm, else from 10 Hz."""
    return velocity_band_at(nameplate.rpm)


def velocity_band_at(*speeds_rpm: float | None) -> tuple[float, float]:
    """Return the band of the velocity by what is known of a machine's speed; None is not known.

    The slowest one decides: from 10 Hz, a machine that also turns below 600 rpm would read too good.
    """
    slow = any(speed_rpm is not None and speed_rpm < SLOW_RPM for speed_rpm in speeds_rpm)
    return SLOW_ISO_BAND_HZ if slow else ISO_BAND_HZ


def parse_zone_table(text: str) -> tuple[MachineClass, ...]:
    """Read classes from TOML text of the form of `iso_zones.toml`; a plant's own table is read the same way.

    Raises:
        ZoneError: The text is no TOML, a key is missing or unknown, or the limits do not rise.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ZoneError(f"zone table is not TOML: {error}") from error
    rows = table.get("class", [])
    if not rows:
        raise ZoneError("zone table holds no [[class]]; compare it with the one that ships with the product")
    classes = tuple(_machine_class(row) for row in rows)
    ids = [found.id for found in classes]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise ZoneError(f"zone table holds twice: {', '.join(twice)}")
    return classes


@functools.cache
def load_zone_table() -> tuple[MachineClass, ...]:
    """Return the classes that ship with the product."""
    text = resources.files("vibration").joinpath("iso_zones.toml").read_text(encoding="utf-8")
    return parse_zone_table(text)


@functools.lru_cache(maxsize=256)
def _class_that_ships(
    power_kw: float | None, foundation: Foundation | None, kind: Kind, machine_class: str | None
) -> MachineClass | str:
    """The class of a machine in the table that ships; every capture asks, and a plant has a handful of answers."""
    return _class_or_refusal(Nameplate(power_kw, foundation, kind, None, machine_class), load_zone_table())


def _class_or_refusal(nameplate: Nameplate, classes: Sequence[MachineClass]) -> MachineClass | str:
    return _refusal(nameplate, classes) or _find_class(nameplate, classes)


def _refused_speed(nameplate: Nameplate) -> str | None:
    if nameplate.kind == "reciprocating" or nameplate.rpm is None or nameplate.rpm >= LOWEST_RPM:
        return None
    return f"not assessable: {nameplate.rpm:g} rpm is below {LOWEST_RPM:g} rpm, where the standard ends"


def _refusal(nameplate: Nameplate, classes: Sequence[MachineClass]) -> str | None:
    if nameplate.kind == "reciprocating":
        return "not assessable: reciprocating machines have their own standard (ISO 10816-6)"
    if nameplate.machine_class is not None:
        if all(known.id != nameplate.machine_class for known in classes):
            return f"not assessable: the table has no class {nameplate.machine_class!r}; see its ids"
        return None
    if nameplate.power_kw is None:
        return "not assessable: the machine's power is unknown; enter power_kw in its nameplate"
    if not any(known.covers(nameplate) for known in classes):
        if nameplate.foundation is None:
            return "not assessable: the foundation is unknown; enter rigid or flexible in the nameplate"
        return (
            f"not assessable: the table has no class for {nameplate.kind} of {nameplate.power_kw:g} kW "
            f"on a {nameplate.foundation} foundation"
        )
    return None


def _find_class(nameplate: Nameplate, classes: Sequence[MachineClass]) -> MachineClass:
    if nameplate.machine_class is not None:
        return next(known for known in classes if known.id == nameplate.machine_class)
    return next(known for known in classes if known.covers(nameplate))


def _letter(velocity_mm_s: float, limits_mm_s: tuple[float, float, float]) -> ZoneName:
    """Return the zone; a value on a boundary belongs to the worse one."""
    names: tuple[ZoneName, ...] = ("A", "B", "C", "D")
    return names[sum(velocity_mm_s >= limit for limit in limits_mm_s)]


def _machine_class(row: dict[str, Any]) -> MachineClass:
    name = row.get("id", "without an id")
    missing = [key for key in _REQUIRED if key not in row]
    unknown = sorted(set(row) - _ALLOWED)
    if missing or unknown:
        raise ZoneError(
            f"class {name}: missing {', '.join(missing) or 'nothing'}, unknown {', '.join(unknown) or 'nothing'}; "
            f"allowed: {', '.join(sorted(_ALLOWED))}"
        )
    limits = row["limits_mm_s"]
    numbers = isinstance(limits, list) and all(isinstance(value, (int, float)) for value in limits)
    if not numbers or len(limits) != 3 or not 0.0 < limits[0] < limits[1] < limits[2] < math.inf:
        raise ZoneError(f"class {name}: limits are {limits}, three rising numbers above 0 expected")
    foundation = row.get("foundation")
    if foundation not in {None, *get_args(Foundation)}:
        raise ZoneError(f"class {name}: foundation is {foundation!r}, rigid or flexible expected")
    return MachineClass(
        id=name,
        kinds=tuple(row["kinds"]),
        limits_mm_s=(float(limits[0]), float(limits[1]), float(limits[2])),
        edition=row["edition"],
        source=row["source"],
        verified_by=row["verified_by"],
        foundation=foundation,
        above_kw=float(row.get("above_kw", 0.0)),
        up_to_kw=float(row.get("up_to_kw", math.inf)),
    )
