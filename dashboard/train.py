"""This file knows how the train of a machine is sketched: motor, coupling, what is driven, and where its points sit.

Pure. Where a point sits is read from its name (`motor-nde`, `drive-end`, `gearbox`), as plants name points; a name that
does not tell gets a place by its order, and the sketch says so. Not to scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from schemas.nameplate import Nameplate

PartKind = Literal["motor", "coupling", "gear", "general", "pump", "fan", "reciprocating"]
_Seat = Literal["motor-far", "motor-drive", "gear", "drive", "far"]
_MOTOR = frozenset({"motor", "mot", "engine"})
_GEAR = frozenset({"gear", "gearbox", "getriebe"})
_DRIVE = frozenset({"drive", "de", "inboard", "ib", "as", "coupling"})
_FAR = frozenset({"nde", "non", "fan", "free", "far", "outboard", "ob", "bs", "opposite"})


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the train, from and to in hundredths of the sketch's width."""

    kind: PartKind
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Spot:
    """One point on the sketch.

    Attributes:
        x: In hundredths of the width.
        told: Whether its name told the place.
    """

    position: str
    x: float
    told: bool


@dataclass(frozen=True, slots=True)
class Train:
    """The parts from left to right, and the points on them in the order they were given."""

    parts: tuple[Part, ...]
    spots: tuple[Spot, ...]


def train_of(plate: Nameplate | None, positions: Sequence[str]) -> Train:
    """Lay out a train.

    Args:
        plate: For its kind and whether there is a gear; None draws a plain machine.
        positions: Names of the points, without that of the machine.
    """
    seats = [_seat(position) for position in positions]
    with_gear = "gear" in seats or (plate is not None and plate.gear_teeth is not None)
    driven = Part(plate.kind if plate is not None else "general", 62.0 if with_gear else 50.0, 96.0)
    parts = [Part("motor", 4.0, 32.0), Part("coupling", 36.0, 41.0)]
    parts += [Part("gear", 44.0, 58.0)] if with_gear else []
    x_of: dict[_Seat, float] = {
        "motor-far": 9.0, "motor-drive": 27.0, "gear": 51.0, "drive": driven.start + 5.0, "far": driven.end - 5.0,
    }  # fmt: skip
    free = iter(_between(driven.start, driven.end, seats.count(None)))
    spots = [
        Spot(position, x_of[seat] if seat is not None else next(free), seat is not None)
        for position, seat in zip(positions, seats, strict=True)
    ]
    return Train((*parts, driven), tuple(spots))


def _seat(position: str) -> _Seat | None:
    words = set(position.casefold().replace("_", "-").split("-"))
    far = bool(words & _FAR)
    if words & _MOTOR:
        return "motor-far" if far else "motor-drive"
    if words & _GEAR:
        return "gear"
    if far:
        return "far"
    return "drive" if words & _DRIVE else None


def _between(start: float, end: float, count: int) -> list[float]:
    step = (end - start) / (count + 1)
    return [start + step * (number + 1) for number in range(count)]
