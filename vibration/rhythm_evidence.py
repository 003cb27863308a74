"""This file knows how much a line of a rhythm says for a cause: in nats, against chance, with every try paid for.

A height over noise is turned into the logarithm of how much likelier it is if something is there than if nothing is.
One line never says more than `MOST_NATS`: any single line may belong to something nobody thought of.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from vibration.rhythm import ORDER_STEP, ORDERS, hann_leak, largest_of

FloatArray = NDArray[np.float64]

SLIP = 0.015
"""Half-width of the search: cage slip moves bearing lines by 0.5 to 2 %, mostly by less than 1.5 %."""

FLOOR_ERROR_DB = 0.7
"""How well a noise floor is known at all: a fifth of the spread of a single line, the coloured floor between the
blocks it is read from. Averaging over captures does not lessen it."""

TYPICAL_DB = 6.0
"""What is there stands typically so far above noise (mean of an exponential law): twice the amplitude."""

MOST_NATS = math.log(100.0)
"""One line in a hundred is something else than we think."""

DEPTH_BAND_HZ = 1000.0
"""A structure rings over about a kilohertz: so wide is the band in which a swell of the envelope is told from noise."""

HANN_SHARE = 2.0 / 3.0
"""A Hann line's height over Hann noise, as a share of an unwindowed one's: the noise bandwidth is 1.5 lines."""

DEPTHS: FloatArray = np.geomspace(0.005, 2.0, 33)
"""Depths that are tried: how far the logarithm of the envelope's power swings to each side."""

STRANGE = 1e-3
"""Share of heights that follow no law at all."""


class DepthLaw(NamedTuple):
    """How deep a rhythm swings: log-normal.

    Attributes:
        median: Depth that half of them exceed.
        spread: Standard deviation of the natural logarithm.
    """

    median: float
    spread: float


SOUND = DepthLaw(0.04, 0.7)
"""Sound bearings hum a little: the power swings by 0.2 dB, in one line of twenty by more than 0.6 dB (as 776 places of
healthy recordings do). However long one listens, it is no damage."""


@dataclass(frozen=True)
class FamilyReading:
    """Lines that share one slip.

    Attributes:
        orders: Where theory puts each line.
        height_db: Height of each over noise, shaft lines and healthy lines, less what the search over slips would
            find in noise; NaN where the spectrum does not reach.
        slip: By how much the family lies off, a share.
    """

    orders: tuple[float, ...]
    height_db: FloatArray
    slip: float

    def at(self, number: int) -> float:
        """Height of one line; NaN where it is not seen."""
        return float(self.height_db[number])

    def seen(self, number: int) -> float:
        """Height of one line; 0, as of noise, where it is not seen or the family has no such line."""
        height = float(self.height_db[number]) if number < len(self.orders) else 0.0
        return height if math.isfinite(height) else 0.0


@dataclass(frozen=True, eq=False)
class RhythmRow:
    """The rhythm of one channel over orders, with what must be known to judge it.

    Attributes:
        level_db: Height over noise at each of ORDERS.
        healthy_db: The same when sound; None if not known.
        line_orders: Width of a line in orders.
        reach: Highest order seen.
        noise_db: Scatter of a height by chance, after averaging.
        foreign: Orders at which something else is known to hum, such as twice mains frequency: what stands there is
            credited to it in full.
        unit_db: Height over noise of a line of depth 1 (`unit_depth_db`); as given, of captures of one second.
    """

    level_db: FloatArray
    healthy_db: FloatArray | None
    line_orders: float
    reach: float
    noise_db: float
    foreign: tuple[float, ...] = ()
    unit_db: float = 18.0

    @property
    def scatter_db(self) -> float:
        """Scatter of a height by chance and by what is not known of the floor."""
        return math.hypot(self.noise_db, FLOOR_ERROR_DB)


def presence_nats(height_db: float, scatter_db: float, typical_db: float = TYPICAL_DB) -> float:
    """Say how much likelier a height is if something is there than if nothing is.

    Args:
        height_db: Height over noise; NaN says nothing.
        scatter_db: One standard deviation of it when nothing is there.
        typical_db: Mean height of what may be there.

    Returns:
        Natural logarithm of the likelihood ratio, at most `MOST_NATS`; negative where there is less than expected.
    """
    return float(presence_of(np.array([height_db]), scatter_db, typical_db)[0])


def presence_of(height_db: FloatArray, scatter_db: float, typical_db: float = TYPICAL_DB) -> FloatArray:
    """Return `presence_nats` of many heights, in their shape."""
    known = np.isfinite(height_db)
    z, s = np.where(known, height_db, 0.0) / scatter_db, scatter_db / typical_db
    # Exponentially distributed signal plus normal noise over noise alone.
    ratio = math.log(s) + 0.5 * math.log(2.0 * math.pi) + 0.5 * (z - s) ** 2 + log_ndtr(z - s)
    return np.where(known, -np.logaddexp(-MOST_NATS, -ratio), 0.0)


def unit_depth_db(capture_s: float) -> float:
    """Return the height over noise, dB, of a line whose envelope swings by one e-fold of power to each side.

    Over a time T a band of width B holds B T independent values of the log envelope, whose variance in Gaussian noise
    is pi^2 / 6 (that of the logarithm of an exponential law); a line of amplitude 1 among them stands
    B T / 4 / (pi^2 / 6) over noise. Heights grow with the time listened, depths do not: a depth is the machine's.

    Args:
        capture_s: Length of one capture.
    """
    values = HANN_SHARE * DEPTH_BAND_HZ * capture_s  # a Hann-shaped band holds as many as one two thirds as wide
    return 10.0 * math.log10(max(HANN_SHARE * values * 1.5 / math.pi**2, 1e-9))


def depth_nats(height_db: FloatArray, scatter_db: float, unit_db: float, laws: tuple[DepthLaw, ...]) -> FloatArray:
    """Say how much likelier heights are under laws of depth than from a sound bearing, shape (laws, heights).

    Args:
        height_db: Heights over noise, shape (heights,); NaN says nothing.
        scatter_db: Standard deviation of a height by chance.
        unit_db: Height of a line of depth 1.
        laws: What is asked for.
    """
    known = np.isfinite(height_db)
    expected_db = 10.0 * np.log10(1.0 + 10.0 ** (unit_db / 10.0) * DEPTHS**2)
    away = (np.where(known, height_db, 0.0)[:, None] - expected_db) / scatter_db
    likely = _weights((SOUND, *laws)) @ np.exp(-0.5 * away * away).T + STRANGE
    return np.where(known, np.log(likely[1:] / likely[0]), 0.0)


@functools.lru_cache(maxsize=8)
def _weights(laws: tuple[DepthLaw, ...]) -> FloatArray:
    median, spread = np.array(laws).T[..., None]
    weights = np.exp(-0.5 * (np.log(DEPTHS / median) / spread) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def clean_db(row: RhythmRow) -> FloatArray:
    """Return heights over noise, over what leaks from the shaft's and foreign lines, and over what is there when sound.

    A bearing's line may lie so near a whole order that the two cannot be told apart. A machine's whole orders come in
    company: one that stands alone above both its neighbours is credited to the shaft no higher than these.

    Returns:
        One height for each of ORDERS, dB, NaN beyond the reach.
    """
    whole = np.arange(1.0, math.floor(row.reach) + 1.0)
    power = 10.0 ** (np.interp(whole, ORDERS, row.level_db) / 10.0)
    if power.size > 1:
        beside = np.maximum(np.append(power[1:], 1.0), np.append(1.0, power[:-1]))
        beside[0] = power[0]  # 1x needs no company
        power = np.minimum(power, beside)
    hum = np.array([order for order in row.foreign if order <= row.reach])
    hum_power = 10.0 ** (np.interp(hum, ORDERS, row.level_db) / 10.0)
    places, powers = np.concatenate([whole, hum]), np.concatenate([power, hum_power])
    leak = _leaks(row.line_orders, tuple(places.tolist())) @ np.maximum(powers - 1.0, 0.0)
    floor_db = 10.0 * np.log10(1.0 + leak)
    if row.healthy_db is not None:
        floor_db = np.maximum(floor_db, row.healthy_db)
    return np.where(row.reach >= ORDERS, row.level_db - floor_db, np.nan)


@functools.lru_cache(maxsize=32)
def _leaks(line_orders: float, places: tuple[float, ...]) -> FloatArray:
    """Return what lines at these places leak into each of ORDERS, shape (ORDERS, places)."""
    return hann_leak((ORDERS[:, None] - np.array(places)) / line_orders)


def heights_db(clean: FloatArray, at: FloatArray) -> FloatArray:
    """Read heights (as `clean_db` gave) at orders of any shape; NaN where nothing was seen."""
    return np.asarray(np.interp(at, ORDERS, clean, left=np.nan, right=np.nan))


def read_family(row: RhythmRow, clean: FloatArray, orders: Sequence[float], *, slip: float = SLIP) -> FamilyReading:
    """Read lines that slip together.

    Args:
        row: The rhythm.
        clean: As `clean_db` gave.
        orders: Where theory puts the lines; the first counts most.
        slip: Half-width of the search as a share.
    """
    places = np.asarray(orders, dtype=np.float64)
    seen = places <= row.reach
    if not seen.any():
        return FamilyReading(tuple(orders), np.full(places.size, np.nan), 0.0)
    width = max(row.line_orders, ORDER_STEP)
    highest = float(places[seen].max())
    half = math.ceil(slip * highest / (0.5 * width))
    slips = np.linspace(-slip, slip, 2 * half + 1) if half else np.zeros(1)
    found = heights_db(clean, np.outer(1.0 + slips, places))
    weight = 1.0 / np.sqrt(np.arange(1.0, places.size + 1.0))
    best = int(np.argmax(np.where(np.isfinite(found), found, 0.0) @ weight))
    tries = 1.0 + 2.0 * slip * highest / width
    luck_db = row.noise_db * largest_of(tries) / math.sqrt(float(seen.sum()))
    return FamilyReading(tuple(orders), found[best] - luck_db, float(slips[best]))
