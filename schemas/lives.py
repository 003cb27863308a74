"""This file knows what one whole life leaves behind when it is learnt from: a few sums, never its captures.

Sums of several lives are the sums of their sums, so lives of many gateways are merged without any raw data meeting,
and one life can be taken out of a merge again by subtraction.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from schemas.container import array_blob, blob_array, pack, unpack
from schemas.errors import RejectedInput

FloatArray = NDArray[np.float64]

SHAPE_POWERS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Powers p of growth y = Y x^p in dB over the share x of the wearing part of a life: from a jump that stays (1/4)
over the straight line in dB, which is exponential growth (1), to damage that shows at the very end (8). Octaves."""

BASES = ("trend", "lives")
"""What a remaining life is foretold from: the machine's own trend, or the lives of others alone."""

TRUTH_LEVELS = 20
"""Bins of equal probability in which the truth is counted within what was foretold."""

LAYOUT: dict[str, tuple[int, ...]] = {
    "lives": (),
    "log_life": (2,),
    "end_level_db": (2,),
    "shapes": (len(SHAPE_POWERS),),
    "truth_levels": (len(BASES), TRUTH_LEVELS),
}

_SLACK = 1e-6  # taking a life out again by subtraction leaves rounding behind

MIN_LIFE_S, MAX_LIFE_S = 1.0, 100 * 365.25 * 86_400.0
MAX_END_LEVEL_DB = 80.0
"""Ten thousand times the healthy level; the range of a 16-bit sensor is 90 dB."""


class LivesRejected(RejectedInput):
    """Statistics that cannot be those of whole lives; the message says which and why."""

    def __init__(self, message: str) -> None:
        super().__init__("bad_lives", message)


@dataclass(frozen=True, slots=True, eq=False)
class LifeSums:
    """Sums over lives; of one life, of many, or none.

    Attributes:
        lives: How many.
        log_life: Sum of the natural logarithm of the life in s since commissioning began, and of its square.
        end_level_db: Sum of the health index at the end in dB, and of its square.
        shapes: Sum of how likely each power of SHAPE_POWERS was; a life adds 1 in all.
        truth_levels: How often the truth lay in each of `TRUTH_LEVELS` equally likely parts of what was foretold with
            what the *other* lives taught, a row for each of BASES; a life so tested adds 1 to a row. All parts alike:
            the bands keep what they say.
    """

    lives: float
    log_life: FloatArray
    end_level_db: FloatArray
    shapes: FloatArray
    truth_levels: FloatArray

    @classmethod
    def none(cls) -> Self:
        """Nothing learnt."""
        return cls(0.0, np.zeros(2), np.zeros(2), np.zeros(len(SHAPE_POWERS)), np.zeros((len(BASES), TRUTH_LEVELS)))

    def arrays(self) -> dict[str, FloatArray]:
        """As float64 arrays by name, as they travel."""
        return {name: np.asarray(getattr(self, name), np.float64) for name in LAYOUT}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, FloatArray], *, tested: float | None = None) -> Self:
        """Read what `arrays` gave, from anywhere.

        Args:
            arrays: As they came.
            tested: How many lives may have been tested at most; as many as there are if left out.

        Raises:
            LivesRejected: A name, a shape or a value cannot be that of sums over lives.
        """
        if set(arrays) != set(LAYOUT):
            raise LivesRejected(f"lives hold {sorted(arrays)}, {sorted(LAYOUT)} expected")
        for name, shape in LAYOUT.items():
            array = np.asarray(arrays[name])
            if array.shape != shape or array.dtype.kind != "f":
                raise LivesRejected(f"lives: {name} is {array.dtype} {array.shape}, float {shape} expected")
            if not np.isfinite(array).all():
                raise LivesRejected(f"lives: {name} is not finite")
        sums = cls(
            float(arrays["lives"]),
            *(np.asarray(arrays[name], np.float64) for name in ("log_life", "end_level_db", "shapes", "truth_levels")),
        )
        sums._check(sums.lives if tested is None else tested)
        return sums

    def __add__(self, other: Self) -> Self:
        """Sums over the lives of both."""
        return self._combined(other, 1.0)

    def without(self, part: Self) -> Self:
        """Sums over the lives that are not in `part`, which must have been added before."""
        return self._combined(part, -1.0)

    def _combined(self, other: Self, sign: float) -> Self:
        return type(self)(
            self.lives + sign * other.lives, self.log_life + sign * other.log_life,
            self.end_level_db + sign * other.end_level_db, self.shapes + sign * other.shapes,
            self.truth_levels + sign * other.truth_levels,
        )  # fmt: skip

    def _check(self, most_tested: float) -> None:
        if self.lives < 0.0 or self.lives != round(self.lives):
            raise LivesRejected(f"lives: {self.lives} lives found, a whole number expected")
        slack = _SLACK * max(1.0, self.lives)
        tested = float(self.truth_levels.sum(axis=1).max())
        if self.truth_levels.min() < -slack or tested > most_tested + slack:
            raise LivesRejected(f"lives: {tested:g} tested, 0 to {most_tested:g} expected")
        if self.shapes.min() < -slack or abs(float(self.shapes.sum()) - self.lives) > slack:
            raise LivesRejected(f"lives: shapes sum to {self.shapes.sum():g}, {self.lives:g} expected")
        _check_mean("log_life", self.log_life, self.lives, math.log(MIN_LIFE_S), math.log(MAX_LIFE_S))
        _check_mean("end_level_db", self.end_level_db, self.lives, 0.0, MAX_END_LEVEL_DB)


def total(parts: Iterable[LifeSums]) -> LifeSums:
    """Add up lives."""
    result = LifeSums.none()
    for part in parts:
        result = result + part
    return result


def _check_mean(name: str, sums: FloatArray, count: float, low: float, high: float) -> None:
    first, second = float(sums[0]), float(sums[1])
    slack = _SLACK * max(1.0, count)
    if not low * count - slack <= first <= high * count + slack:
        raise LivesRejected(f"lives: mean of {name} is {first / max(count, 1.0):g}, {low:g} to {high:g} possible")
    largest = max(low * low, high * high)
    if second < -slack or second > largest * count + slack or first * first > count * second + slack * (1.0 + largest):
        raise LivesRejected(f"lives: squares of {name} do not fit their sum")


def lives_file(sums: LifeSums) -> bytes:
    """Write sums as the file of a release."""
    described = {name: array_blob(np.asarray(array, np.float64)) for name, array in sums.arrays().items()}
    return pack(
        {name: description for name, (description, _) in described.items()},
        {name: blob for name, (_, blob) in described.items()},
    )


def read_lives_file(content: bytes) -> LifeSums:
    """Read what `lives_file` wrote.

    Raises:
        TensorsRejected, LivesRejected: It is no such file, or holds what cannot be.
    """
    meta, blobs = unpack(content)
    try:
        arrays = {name: blob_array(meta[name], blobs[name]) for name in LAYOUT}
    except (KeyError, TypeError) as error:
        raise LivesRejected(f"lives lack {error}") from error
    return LifeSums.from_arrays(arrays)
