"""This file knows what each kind of bearing damage must show in the rhythm, and how to weigh what is seen.

Outer race: BPFO and harmonics. Inner race: BPFI and harmonics with sidebands at shaft speed. Rolling element: any of
2 x BSF with cage sidebands, the cage's rhythm as both races see it (FTF and 1 - FTF), or both races' rates at like
height, for a ball strikes both; a damaged ball turns its spot out of the track, and often shows none of them
(Smith & Randall (2015), doi:10.1016/j.ymssp.2015.04.021). Cage: FTF alone.
"""

import functools
import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vibration.bearing import FaultOrders
from vibration.bearing_library import load_library
from vibration.rhythm import ORDER_STEP, ORDERS
from vibration.rhythm_evidence import (
    MOST_NATS,
    DepthLaw,
    FamilyReading,
    FloatArray,
    RhythmRow,
    clean_db,
    depth_nats,
    heights_db,
    presence_nats,
    presence_of,
    read_family,
)

BY_PRODUCT_DB = 6.0
"""A rhythm lower than this below the strongest is taken for its by-product when the shaft's speed is asked."""

RACE_LAW = DepthLaw(0.3, 0.9)
"""A race's spot is struck at every passing in the same place. Impacts 3 to 10 dB above the rest of the machine in a
third of the bands swing the log envelope by 0.1 to 0.8; from barely visible to a wreck it is wider than that."""
SECOND_LAW = DepthLaw(0.2, 0.9)
"""Harmonics, sidebands and what a ball out of its track leaves: somewhat less, as uncertain."""
WEAK_LAW = DepthLaw(0.12, 0.7)
"""What a damage brings up at other parts' rates: a ball knocks on both races, truncation and load mix rhythms."""
_RACE, _SECOND, _WEAK = range(3)

SIDE_WEIGHT = 0.5  # sidebands and harmonics hang on their carrier: half of what independent lines would say
BY_PRODUCT_SHARE = 0.1  # of the lines that are not a damage's own, so many stand out all the same
HARMONIC_SHARE = 0.75  # of a damage's own harmonics and sidebands: a weak rhythm has fewer
COINCIDENT_SHARE = 0.3  # of those that lie where its further lines may
COINCIDENT = 0.015  # share of the order: slip
IMPULSE_NATS = 2.0
"""Impacts without a healthy picture to compare: one machine in seven runs like that of its own [not measured]."""
IMPULSE_TYPICAL = 1.0  # kurtosis above that of noise, averaged over bands, of clear impacts
RACE_IMPULSE, BALL_IMPULSE = 4.0, 1.5
"""Kurtosis above noise of a clear fault: a race's spot is struck at every passing, a ball's only while it lies in the
track. Rounded, and never worth more than IMPULSE_LEAN_NATS: severity and distance matter as much."""
IMPULSE_LEAN_NATS = 1.0
IMPULSE_SCATTER = 0.3  # of machines without impacts; chance alone in a band of a quarter-second is half of it
RATIO = (0.35, 0.46)
"""BPFO over the number of elements, (1 - d/D cos a)/2, of rolling bearings in common use."""
ELEMENTS = (6, 17)
RACE_SHOWS = 0.9
"""Share of race faults whose rhythm shows, and of ball faults below; of the ball faults that Smith & Randall (2015)
looked at, about half could be diagnosed by it, of the race faults nearly all."""
BALL_SHOWS = 0.5
TURNS_TO_SHOW = 4.0  # a rhythm needs some turns of the shaft to be one

SPEED_OFF = 0.075  # a speed that is off by more is another machine's
RACE_CLEAR_DB = 8.0  # over noise; chance and shaft lines in so wide a search reach 3 to 5
SPEED_WRONG_NATS = math.log(5.0)  # one speed in five is off by more than a bearing's slip

KIN_SPREAD = 0.03
"""Bearings of one kind and size from other makers, and slip, move a rate by so much (the five 8-ball ones of the
library: 3 %)."""

WHOLE_ORDER_NATS = math.log(4.0)
"""A rhythm at a whole order may as well be a coupling's jaws, an impeller's vanes or a belt's."""


class Note(NamedTuple):
    """One sentence for or against a cause, with the number it rests on."""

    text: str
    value: float | None
    unit: str
    speaks_for: bool


@dataclass(slots=True)
class Cause:
    """One cause as one channel shows it.

    Attributes:
        label: Of the cause.
        nats: How much the evidence speaks for it, against nothing being wrong.
        axis: Channel.
        families: What was read, by the name of the line.
        scatter_db: Scatter of the heights read, dB.
        notes: What else is to be said.
    """

    label: str
    nats: float
    axis: int
    families: dict[str, FamilyReading] = field(default_factory=dict)
    scatter_db: float = 0.0
    notes: list[Note] = field(default_factory=list)


def bearing_causes(row: RhythmRow, axis: int, orders: FaultOrders, impulsiveness: float) -> list[Cause]:
    """Weigh the four kinds of damage of a bearing of known orders.

    Args:
        row: Rhythm of one channel.
        axis: Which channel.
        orders: Fault orders.
        impulsiveness: Mean over bands of the kurtosis above that of noise.
    """
    clean = clean_db(row)
    places = _lines(orders)
    read = {name: read_family(row, clean, orders_) for name, orders_ in places.items()}
    heights = np.concatenate([reading.height_db for reading in read.values()])
    nats = depth_nats(heights, row.scatter_db, row.unit_db, (RACE_LAW, SECOND_LAW, WEAK_LAW))
    return _weigh(row, axis, read, nats, orders, impulsiveness)


def _lines(orders: FaultOrders) -> dict[str, tuple[float, ...]]:
    o, i, b, f = orders.bpfo, orders.bpfi, orders.bsf, orders.ftf
    return {
        "BPFO": (o, 2.0 * o, 3.0 * o),
        "BPFI": (i, 2.0 * i, 3.0 * i, i - 1.0, i + 1.0),
        "2xBSF": (2.0 * b, 4.0 * b, 2.0 * b - f, 2.0 * b + f, b),
        "FTF": (f, 2.0 * f, 3.0 * f, 4.0 * f),
        "1x-FTF": (1.0 - f, 2.0 * (1.0 - f)),
    }


def _may_show(orders: FaultOrders) -> dict[str, FloatArray]:
    """Return every order at which each damage may show."""
    o, i, b, f = orders.bpfo, orders.bpfi, orders.bsf, orders.ftf
    turns, one = np.arange(-3.0, 4.0), np.arange(-1.0, 2.0)
    cage = f * np.arange(1.0, 9.0)
    return {
        "outer": np.concatenate([o + turns[1:-1], o * np.arange(2.0, 5.0)]),
        "inner": np.concatenate([i + turns, 2.0 * i + one, 3.0 * i + one]),
        "ball": np.concatenate([[b], 2.0 * b + f * one, 4.0 * b + f * one, cage[:2], [1.0 - f, 2.0 - 2.0 * f]]),
        "cage": np.append(cage, 1.0 - f),
        "nothing": np.zeros(0),
    }


class _Plan(NamedTuple):
    """Where the lines lie in one row, what each weighs, and which of them each damage may bring up besides its own."""

    span: dict[str, slice]
    weight: FloatArray
    expected: dict[str, NDArray[np.bool_]]


@functools.lru_cache(maxsize=64)
def _plan(orders: FaultOrders, line_orders: float) -> _Plan:
    places = _lines(orders)
    ends = np.cumsum([len(lines) for lines in places.values()]).tolist()
    span = {name: slice(end - len(places[name]), end) for name, end in zip(places, ends, strict=True)}
    at = np.concatenate(list(places.values()))
    weight = np.full(at.size, SIDE_WEIGHT)
    weight[[part.start for part in span.values()]] = 1.0
    reach = np.maximum(COINCIDENT * at, line_orders)[:, None]
    expected: dict[str, NDArray[np.bool_]] = {}
    for label, own in _may_show(orders).items():
        expected[label] = np.any(np.abs(at[:, None] - own) < reach, axis=1)
    for race in ("outer", "inner"):  # the load on a damaged race swells and falls with the cage
        expected[race][[span["FTF"].start, span["1x-FTF"].start]] = True
    return _Plan(span, weight, expected)


def speed_share(row: RhythmRow, orders: FaultOrders) -> float:
    """Say by how much the shaft seems to turn off the speed we were told, as a share; 0 if nothing says so.

    A nameplate's speed is off by slip, a typed one by a mistake. Believed is only the rhythm of a race, clear at its
    first and second line, where nothing at the speed we were told is more than its by-product.
    """
    clean = clean_db(row)
    told_db, best_db, share = 0.0, 0.0, 0.0
    for rate in (orders.bpfo, orders.bpfi):
        told_db = max(told_db, read_family(row, clean, (rate, 2.0 * rate)).seen(0))
        reading = read_family(row, clean, (rate, 2.0 * rate), slip=SPEED_OFF)
        first, second = reading.at(0), reading.at(1)
        if first > max(best_db, RACE_CLEAR_DB) and second > RACE_CLEAR_DB / 2.0:
            best_db, share = first, reading.slip
    return share if told_db < best_db - BY_PRODUCT_DB else 0.0


def _shows(share: float, line_orders: float) -> float:
    """Return the probability that a damage shows its rhythm in captures of so many turns."""
    return share * (1.0 - math.exp(-1.0 / (TURNS_TO_SHOW * max(line_orders, 1e-9))))


def _whole_doubt(row: RhythmRow, reading: FamilyReading) -> float:
    order = reading.orders[0] * (1.0 + reading.slip)
    return WHOLE_ORDER_NATS if abs(order - round(order)) < row.line_orders else 0.0


def _mixed(nats: FloatArray, share: float) -> FloatArray:
    """Return the evidence of lines of which only so many stand out."""
    return np.logaddexp(math.log1p(-share), math.log(share) + nats)


def _weigh(
    row: RhythmRow, axis: int, read: dict[str, FamilyReading], nats: FloatArray, orders: FaultOrders, impulsive: float
) -> list[Cause]:
    """Weigh each damage by all lines: its own as it makes them, all others as by-products; against a sound bearing."""
    span, weight, expected = _plan(orders, row.line_orders)
    strange, further = _mixed(nats[_WEAK], BY_PRODUCT_SHARE), _mixed(nats[_SECOND], COINCIDENT_SHARE)

    def others(label: str, *shown: str) -> float:
        says = np.where(expected[label], further, strange) * weight
        for name in shown:
            says[span[name]] = 0.0
        return float(says.sum())

    def first(name: str, law: int) -> float:
        return float(nats[law, span[name].start])

    def more(name: str, says: FloatArray) -> float:
        return SIDE_WEIGHT * float(says[span[name].start + 1 : span[name].stop].sum())

    second = _mixed(nats[_SECOND], HARMONIC_SHARE)
    knocks = impulse_nats(impulsive, grown=row.healthy_db is not None)
    nothing = float(np.logaddexp(0.0, others("nothing"))) - math.log(2.0)  # silent altogether, or strange lines only
    outer = first("BPFO", _RACE) + more("BPFO", second) + others("outer", "BPFO")
    inner = first("BPFI", _RACE) + more("BPFI", second) + others("inner", "BPFI")
    cage = first("FTF", _RACE) + more("FTF", nats[_SECOND]) + others("cage", "FTF")
    spin = first("2xBSF", _SECOND) + more("2xBSF", second) + others("ball", "2xBSF")
    # A swell with the cage is smooth; a cage that strikes has a row of harmonics.
    around = first("FTF", _SECOND) + first("1x-FTF", _SECOND) + more("FTF", strange) + more("1x-FTF", strange)
    around += others("ball", "FTF", "1x-FTF")
    both = first("BPFO", _WEAK) + first("BPFI", _WEAK) + others("ball", "BPFO", "BPFI")
    # Three ways to show, equally likely before anything is seen.
    ball = float(np.logaddexp.reduce(np.array([spin, around, both]))) - math.log(3.0)
    if row.healthy_db is None:
        outer, inner = outer - _whole_doubt(row, read["BPFO"]), inner - _whole_doubt(row, read["BPFI"])
        ball -= _whole_doubt(row, read["2xBSF"])
    of_races = _shows(RACE_SHOWS, row.line_orders)
    # A race that knocks shows its rhythm; a ball and a cage may knock without one.
    lean = race_lean_nats(impulsive, knocks) if row.healthy_db is not None else 0.0
    outer, inner = (_or_hidden(value + knocks + lean, nothing, of_races) for value in (outer, inner))
    cage = _or_hidden(cage, nothing, of_races) + knocks
    ball = _or_hidden(ball, nothing, BALL_SHOWS) + knocks
    causes = [
        Cause("outer", outer, axis, {"BPFO": read["BPFO"]}),
        Cause("inner", inner, axis, {"BPFI": read["BPFI"]}),
        Cause("ball", ball, axis, {name: read[name] for name in ("2xBSF", "FTF", "1x-FTF", "BPFO", "BPFI")}),
        Cause("cage", cage, axis, {"FTF": read["FTF"]}),
    ]
    for cause in causes:
        cause.scatter_db = row.scatter_db
    if knocks > 0.5 and ball > max(outer, inner):
        note = Note("impacts follow neither race's rhythm", round(impulsive, 1), "", speaks_for=True)
        causes[2].notes.append(note)
    return causes


def _or_hidden(shown: float, hidden: float, share: float) -> float:
    """Return the evidence for a damage that shows with this probability, and else shows nothing of its own."""
    share = min(max(share, 1e-6), 1.0 - 1e-6)
    return float(np.logaddexp(math.log(share) + shown, math.log1p(-share) + hidden))


def impulse_nats(impulsiveness: float, *, grown: bool) -> float:
    """Say how much impulses speak for a bearing, whatever their rhythm.

    Args:
        impulsiveness: Mean over bands of the kurtosis above that of noise, or above that of the healthy machine.
        grown: Whether it is growth over the healthy machine; else it may be the machine's own way of running, and
            says no more than IMPULSE_NATS.
    """
    if not math.isfinite(impulsiveness):
        return 0.0
    nats = presence_nats(impulsiveness, IMPULSE_SCATTER, IMPULSE_TYPICAL)
    return max(0.0, min(MOST_NATS if grown else IMPULSE_NATS, nats))


def race_lean_nats(impulsiveness: float, knocks: float) -> float:
    """Say how much likelier impacts of this strength are from a race than from a ball (two exponential laws)."""
    if knocks <= 0.0:
        return 0.0
    lean = math.log(BALL_IMPULSE / RACE_IMPULSE) + impulsiveness * (1.0 / BALL_IMPULSE - 1.0 / RACE_IMPULSE)
    return max(-IMPULSE_LEAN_NATS, min(IMPULSE_LEAN_NATS, lean))


def family_notes(cause: Cause) -> list[Note]:
    """Say what a cause's lines show, the highest first."""
    notes = []
    for name, reading in cause.families.items():
        high = [n for n in range(len(reading.orders)) if reading.seen(n) > 2.0 * cause.scatter_db]
        first = round(reading.seen(0), 1)
        if 0 in high:
            also = f", with {len(high) - 1} lines that belong to it" if len(high) > 1 else ""
            place = f"{name} ({reading.orders[0]:.2f} x shaft, {100 * reading.slip:+.1f} % from theory)"
            text = f"{place} stands {first:.0f} dB above the noise of the envelope{also}"
            notes.append(Note(text, first, "dB", speaks_for=True))
        elif math.isfinite(reading.at(0)) and name in {"BPFO", "BPFI", "2xBSF"}:
            notes.append(Note(f"{name} does not stand out of the envelope", first, "dB", speaks_for=False))
    return sorted(notes, key=lambda note: -(note.value or 0.0))


def searched_causes(row: RhythmRow, axis: int, impulsiveness: float) -> list[Cause]:
    """Weigh bearing damage where the bearing is not known: look for a rhythm that no shaft has.

    Every place where a race's rate may lie is tried and weighed by how common it is: half of the weight is spread
    evenly, half lies where the bearings of the library have theirs. A rolling element shows by the cage's rate.
    """
    clean = clean_db(row)
    knocks = impulse_nats(impulsiveness, grown=row.healthy_db is not None)
    causes = [_search(row, axis, clean, label) for label in ("outer", "inner")]
    causes.append(_search_cage(row, axis, clean))
    for cause in causes:
        cause.nats += knocks
    if row.healthy_db is not None:
        for cause in causes[:2]:
            cause.nats += race_lean_nats(impulsiveness, knocks)
    if knocks > 0.5:
        causes[2].notes.append(Note("impacts whose rhythm is no race's", round(impulsiveness, 1), "", speaks_for=True))
    return causes


def _search(row: RhythmRow, axis: int, clean: FloatArray, label: str) -> Cause:
    """Try every rate; an inner race has sidebands once or twice a turn to both sides, an outer race has not."""
    at, common = _places(label, max(row.line_orders, ORDER_STEP))
    seen = at <= row.reach
    at, common = at[seen], common[seen]
    if at.size == 0:
        return Cause(label, -MOST_NATS, axis)
    places = np.stack([at, 2.0 * at, 3.0 * at, at - 2.0, at + 2.0, at - 1.0, at + 1.0], axis=1)
    found = heights_db(clean, places)
    says = presence_of(found, row.scatter_db)
    sides = np.maximum(np.minimum(says[:, 3], says[:, 4]), np.minimum(says[:, 5], says[:, 6]))
    alone = says[:, 0] + SIDE_WEIGHT * np.maximum(says[:, 1:3], 0.0).sum(axis=1)
    near_whole = np.abs(at - np.round(at)) < row.line_orders
    alone -= np.where(near_whole, WHOLE_ORDER_NATS, 0.0)
    total = alone + common + (np.maximum(sides, -1.0) if label == "inner" else -np.maximum(sides, 0.0))
    best = int(np.argmax(total))
    order = float(at[best])
    name = "BPFO" if label == "outer" else "BPFI"
    reading = FamilyReading(tuple(places[best].tolist()), found[best], 0.0)
    nats = _or_hidden(float(np.logaddexp.reduce(total)), 0.0, _shows(RACE_SHOWS, row.line_orders))
    cause = Cause(label, nats, axis, {name: reading})
    height = round(float(np.nan_to_num(found[best, 0])), 1)
    if height > 2.0 * row.scatter_db:
        sided = "with" if label == "inner" else "without"
        text = (
            f"a rhythm of {order:.2f} x shaft {sided} sidebands at shaft speed stands {height:.0f} dB above the noise "
            "of the envelope; the bearing is not named, so its place was searched"
        )
        cause.notes.append(Note(text, height, "dB", speaks_for=True))
    return cause


def _search_cage(row: RhythmRow, axis: int, clean: FloatArray) -> Cause:
    """A ball out of order shows at the cage's rate and its double, and often nowhere."""
    width = max(row.line_orders, ORDER_STEP)
    cause = Cause("ball", 0.0, axis)
    at = np.arange(RATIO[0], RATIO[1], 0.25 * width)
    if width > (1.0 - 2.0 * RATIO[0]) or at.size == 0:  # its double cannot be told from 1x
        return cause
    found = heights_db(clean, np.stack([at, 2.0 * at, 3.0 * at], axis=1))
    says = presence_of(found, row.scatter_db)
    total = np.maximum(says[:, 0], says[:, 1]) + SIDE_WEIGHT * np.minimum(says[:, 0], says[:, 1])
    best = int(np.argmax(total))
    shown = float(np.logaddexp.reduce(total)) - math.log(at.size)
    cause.nats = _or_hidden(shown, 0.0, _shows(BALL_SHOWS, row.line_orders))
    cause.families["FTF"] = FamilyReading(tuple((at[best] * np.array([1.0, 2.0, 3.0])).tolist()), found[best], 0.0)
    if shown > 1.0:
        text = f"the envelope swells at {at[best]:.2f} x shaft or its double: a cage's rate"
        cause.notes.append(Note(text, round(float(np.nanmax(found[best, :2])), 1), "dB", speaks_for=True))
    return cause


@functools.lru_cache(maxsize=64)
def _places(label: str, width: float) -> tuple[FloatArray, FloatArray]:
    """Return the orders where a race's rate may lie and the logarithm of how common each is, shapes (tries,)."""
    low, high = (RATIO[0] * ELEMENTS[0], RATIO[1] * ELEMENTS[1])
    if label == "inner":
        low, high = ((1.0 - RATIO[1]) * ELEMENTS[0], (1.0 - RATIO[0]) * ELEMENTS[1])
    at = np.arange(low, min(high, 2.0 * ORDERS[-1]), 0.5 * width)
    even = np.full(at.size, 1.0 / at.size)
    known = np.zeros(at.size)
    for bearing in load_library():
        order = bearing.orders.bpfo if label == "outer" else bearing.orders.bpfi
        near = np.exp(-0.5 * ((at - order) / math.hypot(0.5 * width, KIN_SPREAD * order)) ** 2)
        if near.sum() > 0.0:
            known += near / near.sum()
    return at, np.log(0.5 * even + 0.5 * known / max(known.sum(), 1e-12))
