"""This file knows how one capture, or many together, speak for or against each cause, and when to say "unknown".

Every cause gets the logarithm of how much likelier the capture is with it than with nothing wrong, chance and the
number of tries taken off, plus how common it is. Nothing here is trained; what labels teach is added on top
(`label_knowledge`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from gateway_agent.diagnosis_bearing import (
    SPEED_WRONG_NATS,
    Cause,
    Note,
    bearing_causes,
    searched_causes,
    speed_share,
)
from gateway_agent.diagnosis_picture import (
    COLUMNS,
    INDEPENDENT,
    LINE_ORDERS,
    REACH_ORDERS,
    RHYTHM,
    FloatArray,
    Reading,
    impulsiveness,
    read_capture,
)
from gateway_agent.diagnosis_shaft import shaft_causes
from gateway_agent.diagnosis_words import HARMONICS, cursors, label_name, sentences
from gateway_agent.label_knowledge import LabelKnowledge, evidence_vector
from schemas.messages import Diagnosis, FaultLine, Finding
from vibration.bearing import FaultOrders
from vibration.envelope import envelope_spectrum
from vibration.errors import VibrationError
from vibration.rhythm import noise_db
from vibration.rhythm_evidence import RhythmRow, unit_depth_db
from vibration.spectrum import line_frequencies_hz

__all__ = [
    "HARMONICS", "MEMORY", "EvidenceLedger", "Findings", "MachineFacts", "OrderReference", "diagnose", "label_name",
    "picture_of", "rank", "weigh",
]  # fmt: skip

MEMORY = 40
"""Captures a ledger remembers: their average scatters by a quarter of a dB, less than the floor is known."""

COMMON_NATS: Mapping[str, float] = {
    "outer": -1.5, "inner": -1.5, "ball": -1.5, "cage": -4.5, "imbalance": -1.5, "misalignment": -2.0,
    "bent_shaft": -3.0, "looseness": -2.5, "gear": -2.5, "electrical": -3.0,
}  # fmt: skip
"""How common each cause is where a diagnosis is asked for, against nothing being wrong: one in five or fewer. Bearings
are the commonest, of these one in twenty by its cage; what most machines do not have is rarer [trade knowledge, not
measured]."""

SUSPECTED_NATS = 1.5
"""What an exceeded limit adds to every cause: the point is no longer one of many, something is likely wrong."""

ELSE_NATS = -math.log(20.0)
"""Where a bearing is known to be damaged, one time in twenty it is something that has no name here."""

HUM_HZ = (100.0, 120.0, 200.0, 240.0)
"""Twice the mains frequencies of the world and their double: motors hum there, whatever the nameplate says."""

MIN_REFERENCE = 3  # healthy captures; fewer are a guess at what is healthy
FORGIVEN_DB = 6.0
"""A line at a rate of the named bearing that stood there from the beginning is forgiven up to twice the amplitude of
noise: sound bearings hum a little, but commissioning does not prove a bearing sound."""

MIN_SHARE = 0.01  # causes less likely than this are not listed


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What is known of the machine at the moment of the capture."""

    shaft_hz: float | None = None
    orders: FaultOrders | None = None
    gear_teeth: int | None = None
    line_frequency_hz: float = 50.0


@dataclass(slots=True)
class OrderReference:
    """What the point showed while healthy: the mean of its pictures, shape (channels, COLUMNS).

    A column that a capture does not show keeps the mean of those that did.
    """

    count: int = 0
    mean: FloatArray = field(default_factory=lambda: np.zeros((0, COLUMNS)))

    def learn(self, picture: FloatArray) -> None:
        """Take in the picture of one healthy capture; one of another shape begins anew."""
        self.count = self.count + 1 if self.mean.shape == picture.shape else 1
        self.mean = picture.copy() if self.count == 1 else _towards(self.mean, picture, 1.0 / self.count)


@dataclass(slots=True)
class EvidenceLedger:
    """What the last captures of a point showed together: chance falls with every capture, what is there stays.

    Forget it (a new one) when the machine was repaired, the sensor moved or a new series of captures begins.

    Attributes:
        count: How many captures the mean is worth, at most MEMORY.
        mean: Mean picture, shape (channels, COLUMNS).
    """

    count: float = 0.0
    mean: FloatArray = field(default_factory=lambda: np.zeros((0, COLUMNS)))

    def take(self, picture: FloatArray) -> None:
        """Add the picture of one capture; another number of channels begins anew."""
        if self.mean.shape != picture.shape:
            self.count = 0.0
        self.count = min(self.count + 1.0, float(MEMORY))
        self.mean = picture.copy() if self.count == 1.0 else _towards(self.mean, picture, 1.0 / self.count)


def _towards(mean: FloatArray, picture: FloatArray, share: float) -> FloatArray:
    moved = mean + share * (picture - mean)
    return np.where(np.isfinite(moved), moved, np.where(np.isfinite(picture), picture, mean))


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """What one capture shows, or several together.

    Attributes:
        ranked: Causes, best first; `unknown` takes what no cause explains.
        findings: Sentences for and against.
        axis: The axis on which the best cause shows most.
        frequency_hz: Lines of the spectrum of that axis, shape (lines,).
        spectrum_g: Amplitudes, g.
        envelope_hz: Lines of the envelope spectrum of that axis.
        envelope_g: Amplitudes, g.
        envelope_band_hz: Demodulated band: where the best cause's rhythm stands out most.
        lines: Where theory expects what, for cursors.
        nats: Log evidence of every cause against nothing being wrong, without how common it is.
        vector: The evidence as labels teach it (`label_knowledge`); None without a healthy picture.
    """

    ranked: tuple[Diagnosis, ...]
    findings: tuple[Finding, ...]
    axis: int
    frequency_hz: FloatArray
    spectrum_g: FloatArray
    envelope_hz: FloatArray
    envelope_g: FloatArray
    envelope_band_hz: tuple[float, float]
    lines: tuple[FaultLine, ...]
    nats: Mapping[str, float] = field(default_factory=dict)
    vector: FloatArray | None = None


def picture_of(acceleration_g: FloatArray, *, sample_rate_hz: float, facts: MachineFacts) -> FloatArray:
    """Read the picture that a healthy reference learns, shape (channels, COLUMNS).

    Raises:
        WindowError: The capture cannot be transformed.
    """
    return _read(acceleration_g, sample_rate_hz, facts).picture


def _read(acceleration_g: FloatArray, sample_rate_hz: float, facts: MachineFacts) -> Reading:
    return read_capture(
        acceleration_g, sample_rate_hz=sample_rate_hz, shaft_hz=facts.shaft_hz, gear_teeth=facts.gear_teeth,
        line_frequency_hz=facts.line_frequency_hz,
    )  # fmt: skip


def diagnose(
    acceleration_g: FloatArray,
    *,
    sample_rate_hz: float,
    facts: MachineFacts,
    reference: OrderReference | None = None,
    ledger: EvidenceLedger | None = None,
    knowledge: LabelKnowledge | None = None,
    suspected: bool = False,
    damaged: bool = False,
) -> Findings:
    """Read one capture, and judge it with those before it.

    Args:
        acceleration_g: Shape (channels, samples), g, finite and not constant.
        sample_rate_hz: Samples a second.
        facts: Speed and geometry.
        reference: The point when healthy; without it shaft causes are not judged.
        ledger: What the captures before this one showed; this one is added. None judges the capture alone.
        knowledge: What labels taught; None judges by physics alone.
        suspected: Whether the point's score exceeds its limit.
        damaged: Whether somebody knows that the bearing is damaged, and asks only which part. A sound machine is then
            named too: silence speaks for the part that shows least.

    Returns:
        Causes with confidences that sum to at most 1, and what they rest on.

    Raises:
        WindowError: The capture cannot be transformed.
    """
    reading = _read(acceleration_g, sample_rate_hz, facts)
    now, count = reading.picture, 1.0
    if ledger is not None:
        ledger.take(reading.picture)
        now, count = ledger.mean, ledger.count
    healthy = reference.mean if reference is not None and reference.count >= MIN_REFERENCE else None
    best = weigh(now, count, facts, healthy, reference.count if reference is not None else 0)
    nats = {label: cause.nats for label, cause in best.items()}
    vector = evidence_vector(nats, now, healthy)
    taught = knowledge.adds_nats(vector) if knowledge is not None else {}
    ranked = rank(nats, suspected=suspected, taught=taught, damaged=damaged)
    top = best.get(ranked[0].label)
    axis = top.axis if top else int(np.argmax(now[:, _LOUD]))
    envelope_hz, envelope_g, band_hz = _envelope(acceleration_g[axis], reading, axis, top, facts)
    told = sentences(
        ranked, best, bearing_named=facts.orders is not None, speed_known=facts.shaft_hz is not None, captures=count
    )
    lines: tuple[FaultLine, ...] = ()
    if facts.shaft_hz is not None:
        lines = cursors(best, orders=facts.orders, shaft_hz=facts.shaft_hz, gear_teeth=facts.gear_teeth)
    return Findings(
        ranked, told, axis,
        line_frequencies_hz(acceleration_g.shape[1], sample_rate_hz), reading.amplitude_g[axis],
        envelope_hz, envelope_g, band_hz, lines,
        nats, vector,
    )  # fmt: skip


def weigh(
    now: FloatArray, count: float, facts: MachineFacts, healthy: FloatArray | None, healthy_count: int
) -> dict[str, Cause]:
    """Weigh every cause on every axis.

    Args:
        now: Mean picture, shape (channels, COLUMNS).
        count: Of how many captures.
        facts: Speed and geometry.
        healthy: Mean picture when sound, or None.
        healthy_count: Of how many captures.
    """
    if healthy is not None and healthy.shape != now.shape:
        healthy = None
    causes: list[Cause] = []
    for axis, picture in enumerate(now):
        row = _row(picture, count, None if healthy is None else healthy[axis], healthy_count, facts)
        if row is None:
            continue
        knocking = impulsiveness(picture, None if healthy is None else healthy[axis])
        if facts.orders is None:
            found = searched_causes(row, axis, knocking)
        else:
            found = _at_the_right_speed(row, axis, facts.orders, knocking)
        causes += found
    best = _on_any_axis(causes, len(now))
    causes = shaft_causes(now, healthy, facts.line_frequency_hz)
    for cause in causes:
        if cause.label not in best or cause.nats > best[cause.label].nats:
            best[cause.label] = cause
    return best


def _on_any_axis(causes: list[Cause], axes: int) -> dict[str, Cause]:
    """Join what the axes say of each cause: it may show on any one of them, none likelier than another."""
    joined: dict[str, Cause] = {}
    for label in dict.fromkeys(cause.label for cause in causes):
        same = [cause for cause in causes if cause.label == label]
        joined[label] = max(same, key=lambda cause: cause.nats)
        silent = axes - len(same)  # axes that could not be read say nothing
        joined[label].nats = float(np.logaddexp.reduce([c.nats for c in same] + [0.0] * silent)) - math.log(axes)
    return joined


def _at_the_right_speed(row: RhythmRow, axis: int, orders: FaultOrders, knocking: float) -> list[Cause]:
    share = speed_share(row, orders)
    if not share:
        return bearing_causes(row, axis, orders, knocking)
    at = 1.0 + share
    moved = FaultOrders(orders.bpfo * at, orders.bpfi * at, orders.bsf * at, orders.ftf * at)
    found = bearing_causes(row, axis, moved, knocking)
    for cause in found:
        cause.nats -= SPEED_WRONG_NATS
        text = f"a race's rhythm says that the shaft turns {100 * share:+.1f} % off the speed we were told"
        cause.notes.append(Note(text, round(100 * share, 1), "%", speaks_for=True))
    return found


def rank(
    nats: Mapping[str, float], *, suspected: bool = False, taught: Mapping[str, float] | None = None,
    damaged: bool = False,
) -> tuple[Diagnosis, ...]:  # fmt: skip
    """Turn log evidence into confidences, best first; they sum to at most 1.

    Args:
        nats: Log evidence of each cause from physics.
        suspected: Whether the point's score exceeds its limit.
        taught: What labels add to each cause and to `unknown`.
        damaged: Whether the bearing is known to be damaged.
    """
    taught = taught or {}
    odds = {
        label: COMMON_NATS[label] + value + SUSPECTED_NATS * suspected + taught.get(label, 0.0)
        for label, value in nats.items()
    }
    odds["unknown"] = taught.get("unknown", 0.0) + ELSE_NATS * damaged
    highest = max(odds.values())
    total = sum(math.exp(value - highest) for value in odds.values())
    shares = {label: math.exp(value - highest) / total for label, value in odds.items()}
    ranked = sorted(shares.items(), key=lambda item: -item[1])
    return tuple(
        Diagnosis(label=label, confidence=math.floor(1000 * s) / 1000) for label, s in ranked if s >= MIN_SHARE
    )


_LOUD = COLUMNS - 1


def _row(
    picture: FloatArray, count: float, healthy: FloatArray | None, healthy_count: int, facts: MachineFacts
) -> RhythmRow | None:
    width, reach, independent = (float(picture[column]) for column in (LINE_ORDERS, REACH_ORDERS, INDEPENDENT))
    if not (math.isfinite(width) and math.isfinite(reach)):
        return None
    level = np.nan_to_num(picture[RHYTHM], nan=0.0)
    sound = None if healthy is None else np.nan_to_num(healthy[RHYTHM], nan=0.0)
    if sound is not None and facts.orders is not None:
        sound = np.minimum(sound, FORGIVEN_DB)
    share = 1.0 / count + (1.0 / healthy_count if sound is not None and healthy_count else 0.0)
    known_sound = sound is not None or not facts.shaft_hz  # what hums when sound is in the healthy picture
    hum = () if known_sound else tuple(hz / (facts.shaft_hz or 1.0) for hz in HUM_HZ)
    unit_db = unit_depth_db(1.0 / (width * facts.shaft_hz)) if facts.shaft_hz else 0.0
    return RhythmRow(level, sound, width, reach, noise_db(independent) * math.sqrt(share), hum, unit_db)


def _envelope(
    signal_g: FloatArray, reading: Reading, axis: int, top: Cause | None, facts: MachineFacts
) -> tuple[FloatArray, FloatArray, tuple[float, float]]:
    """Demodulate the band in which the best cause's first line stands highest, else the most impulsive one."""
    half_hz = reading.capture.sample_rate_hz / 2.0
    band_hz = (0.15 * half_hz, 0.9 * half_hz)
    rhythm = reading.rhythm
    if rhythm is not None:
        number = int(np.argmax(rhythm.impulsiveness[axis]))
        families = list(top.families.values()) if top is not None else []
        if families and facts.shaft_hz:
            line = round(families[0].orders[0] * (1.0 + families[0].slip) * facts.shaft_hz / rhythm.line_hz)
            if 1 <= line < rhythm.power.shape[2] - 1:
                number = int(np.argmax(rhythm.power[axis, :, line - 1 : line + 2].max(axis=1)))
        low, high = rhythm.bands_hz[number]
        band_hz = (float(low), float(min(high, 0.499 * reading.capture.sample_rate_hz)))
    try:
        frequency_hz, envelope_g = envelope_spectrum(
            signal_g, sample_rate_hz=reading.capture.sample_rate_hz, band_hz=band_hz
        )
    except VibrationError:  # too short for any band
        return np.zeros(2), np.zeros(2), band_hz
    return frequency_hz, envelope_g, band_hz
