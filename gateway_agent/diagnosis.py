"""This file knows how a capture's spectra speak for or against each cause, and how to say "unknown".

Rolling bearings: lines of the envelope at the rates of the geometry, with the sidebands theory expects. Shaft
causes: lines of the velocity spectrum at whole and half orders, judged by how much they have grown over the point's
own healthy reference (a healthy machine has a 1x too). Nothing is trained here; labels will sharpen it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from schemas.messages import Diagnosis, FaultLine, Finding
from vibration.bearing import FaultOrders
from vibration.envelope import envelope_spectrum, select_band
from vibration.errors import VibrationError
from vibration.orders import LineEvidence, family_strength_db, find_family, harmonic_prominence, sideband_prominence
from vibration.spectrum import amplitude_spectrum, velocity_spectrum
from vibration.units import sine_velocity_mm_s

FloatArray = NDArray[np.float64]

HARMONICS = 4
MAX_DB = 120.0  # a line above a floor of exactly nothing stands out without end; no measured one by more
# A family this far above chance (mean over its lines, dB) is as likely as not: half its weight is doubt. Lines of
# pure noise reach 0 to 1 dB, a clear race fault 6 to 20.
DOUBT_DB = 3.0
SIDEBAND_SHARE = 0.5  # sidebands support a family, they do not make one
SHAFT_ORDERS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0)
GROWTH_DB = 6.0  # growth of a shaft line over its healthy mean that counts as growth at all: twice the amplitude
HANN_NOISE_BANDWIDTH_LINES = 1.5
MIN_LINES_PER_ORDER = 2.0  # below that resolution neighbouring orders cannot be told apart

_NAMES = {
    "outer": "outer race", "inner": "inner race", "ball": "rolling element", "cage": "cage",
    "imbalance": "imbalance", "misalignment": "misalignment", "looseness": "looseness", "gear": "gear mesh",
    "electrical": "electrical", "unknown": "unknown cause",
}  # fmt: skip


def label_name(label: str) -> str:
    """How a label is said to a person."""
    return _NAMES.get(label, label.replace("_", " "))


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What is known of the machine at the moment of the capture."""

    shaft_hz: float | None = None
    orders: FaultOrders | None = None
    gear_teeth: int | None = None
    line_frequency_hz: float = 50.0


@dataclass(slots=True)
class OrderReference:
    """Healthy amplitudes at the shaft's orders, learnt while a point is commissioned; log10 mm/s, per axis."""

    count: int = 0
    mean: FloatArray = field(default_factory=lambda: np.zeros((0, len(SHAFT_ORDERS))))

    def learn(self, amplitudes_mm_s: FloatArray) -> None:
        """Take in the order amplitudes of one healthy capture, shape (channels, orders)."""
        logs = np.log10(np.maximum(amplitudes_mm_s, 1e-6))
        self.count += 1
        self.mean = logs.copy() if self.count == 1 else self.mean + (logs - self.mean) / self.count


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """What one capture shows.

    Attributes:
        ranked: Causes, best first; `unknown` takes what no cause explains.
        findings: Sentences for and against.
        axis: The axis on which the best cause shows most.
        frequency_hz: Lines of the spectrum of that axis, shape (lines,).
        spectrum_g: Amplitudes, g.
        envelope_hz: Lines of the envelope spectrum of that axis.
        envelope_g: Amplitudes, g.
        envelope_band_hz: Demodulated band.
        lines: Where theory expects what, for cursors.
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


@dataclass(slots=True)
class _Family:
    """One cause on one axis."""

    label: str
    axis: int
    strength_db: float
    lines: list[LineEvidence]
    sidebands: list[LineEvidence]


def order_amplitudes_mm_s(
    acceleration_g: FloatArray, *, sample_rate_hz: float, shaft_hz: float | None
) -> FloatArray | None:
    """Velocity amplitudes (peak, mm/s) at the shaft's orders, shape (channels, orders).

    None when the speed is unknown or the capture too short to tell the orders apart.
    """
    samples = acceleration_g.shape[1]
    line_hz = sample_rate_hz / samples
    if shaft_hz is None or shaft_hz < MIN_LINES_PER_ORDER * line_hz:
        return None
    out = np.zeros((acceleration_g.shape[0], len(SHAFT_ORDERS)))
    for axis, signal in enumerate(acceleration_g):
        frequency, amplitude = amplitude_spectrum(signal, sample_rate_hz=sample_rate_hz)
        out[axis] = _orders_of(frequency, amplitude, shaft_hz)
    return out


def diagnose(
    acceleration_g: FloatArray,
    *,
    sample_rate_hz: float,
    facts: MachineFacts,
    reference: OrderReference | None = None,
) -> Findings:
    """Read one capture.

    Args:
        acceleration_g: Shape (channels, samples), g, finite and not constant.
        sample_rate_hz: Samples a second.
        facts: Speed and geometry; without them the answer is `unknown`.
        reference: Healthy order amplitudes of the point; without them shaft causes are not judged.

    Returns:
        Causes with confidences that sum to at most 1, and what they rest on.
    """
    rates = _bearing_rates_hz(facts)
    spectra = []
    families: list[_Family] = []
    for axis, signal in enumerate(acceleration_g):
        band = select_band(signal, sample_rate_hz, fault_frequencies_hz=[r for k, r in rates.items() if k != "cage"])
        envelope_hz, envelope_g = envelope_spectrum(signal, sample_rate_hz=sample_rate_hz, band_hz=band.edges_hz)
        frequency_hz, spectrum_g = amplitude_spectrum(signal, sample_rate_hz=sample_rate_hz)
        spectra.append((frequency_hz, spectrum_g, envelope_hz, envelope_g, band.edges_hz))
        log_hz, log_envelope = envelope_spectrum(
            signal, sample_rate_hz=sample_rate_hz, band_hz=band.edges_hz, logarithmic=True
        )
        families += _bearing_families(axis, envelope_hz, envelope_g, rates, facts)
        families += _bearing_families(axis, log_hz, log_envelope, rates, facts)
        families += _shaft_families(axis, frequency_hz, spectrum_g, facts, reference)
    best: dict[str, _Family] = {}
    for family in families:
        if family.label not in best or family.strength_db > best[family.label].strength_db:
            best[family.label] = family
    ranked = _rank({label: family.strength_db for label, family in best.items()})
    top = best.get(ranked[0].label)
    axis = top.axis if top else int(np.argmax([spectrum[1].max() for spectrum in spectra]))
    frequency_hz, spectrum_g, envelope_hz, envelope_g, band_hz = spectra[axis]
    return Findings(
        ranked, _sentences(ranked, best, facts), axis, frequency_hz, spectrum_g, envelope_hz, envelope_g, band_hz,
        _cursors(rates, best, facts),
    )  # fmt: skip


def _bearing_rates_hz(facts: MachineFacts) -> dict[str, float]:
    if facts.orders is None or facts.shaft_hz is None:
        return {}
    o, shaft = facts.orders, facts.shaft_hz
    return {"outer": o.bpfo * shaft, "inner": o.bpfi * shaft, "ball": 2.0 * o.bsf * shaft, "cage": o.ftf * shaft}


def _bearing_families(
    axis: int, envelope_hz: FloatArray, envelope_g: FloatArray, rates: Mapping[str, float], facts: MachineFacts
) -> list[_Family]:
    families = []
    for label, rate in rates.items():
        try:
            found = find_family(envelope_hz, envelope_g, rate, harmonics=HARMONICS)
            spacing = {"inner": facts.shaft_hz, "ball": rates["cage"]}.get(label)
            sidebands = sideband_prominence(envelope_hz, envelope_g, rate, spacing, pairs=1) if spacing else []
        except VibrationError:  # the rate lies outside what so short a capture can show
            continue
        strength = found.strength_db
        if strength:
            strength += SIDEBAND_SHARE * family_strength_db([s for s in sidebands if s.resolved])
        families.append(_Family(label, axis, strength, list(found.lines), sidebands))
    return families


def _orders_of(frequency_hz: FloatArray, amplitude_g: FloatArray, shaft_hz: float) -> FloatArray:
    line_hz = float(frequency_hz[1])
    out = np.zeros(len(SHAFT_ORDERS))
    for i, order in enumerate(SHAFT_ORDERS):
        at_hz = order * shaft_hz
        reach = max(1, int(np.ceil(0.02 * at_hz / line_hz)))
        centre = round(at_hz / line_hz)
        window = amplitude_g[max(1, centre - reach) : centre + reach + 1]
        if window.size and at_hz > line_hz:
            out[i] = sine_velocity_mm_s(float(window.max()), at_hz)
    return out


def _half_orders(frequency_hz: FloatArray, spectrum_g: FloatArray, shaft_hz: float) -> list[LineEvidence]:
    try:
        wanted = [round(2 * order) for order in SHAFT_ORDERS]
        return harmonic_prominence(frequency_hz, spectrum_g, shaft_hz / 2.0, harmonics=wanted)
    except VibrationError:  # too slow a shaft for so short a capture
        return []


def _velocity_share(frequency_hz: FloatArray, spectrum_g: FloatArray, amplitudes_mm_s: FloatArray) -> float:
    """How much of the velocity below 1 kHz the shaft's lines carry; impacts raise every line, a shaft fault these."""
    band = (frequency_hz >= 10.0) & (frequency_hz <= 1000.0)
    if not band.any():
        return 0.0
    velocity = velocity_spectrum(frequency_hz[band], spectrum_g[band])
    total = float(np.sum(velocity**2)) / HANN_NOISE_BANDWIDTH_LINES
    return min(1.0, float(np.sum(amplitudes_mm_s**2)) / total) if total > 0 else 0.0


def _shaft_families(
    axis: int,
    frequency_hz: FloatArray,
    spectrum_g: FloatArray,
    facts: MachineFacts,
    reference: OrderReference | None,
) -> list[_Family]:
    line_hz = float(frequency_hz[1])
    if facts.shaft_hz is None or facts.shaft_hz < MIN_LINES_PER_ORDER * line_hz:
        return []
    if reference is None or reference.count == 0 or axis >= len(reference.mean):
        return []
    amplitudes = _orders_of(frequency_hz, spectrum_g, facts.shaft_hz)
    growth_db = 20.0 * (np.log10(np.maximum(amplitudes, 1e-6)) - reference.mean[axis])
    standing = {line.order / 2.0 for line in _half_orders(frequency_hz, spectrum_g, facts.shaft_hz) if line.stands_out}
    share = _velocity_share(frequency_hz, spectrum_g, amplitudes)
    above = {
        order: share * max(0.0, float(db) - GROWTH_DB) if order in standing else 0.0
        for order, db in zip(SHAFT_ORDERS, growth_db, strict=True)
    }
    strength = {
        "imbalance": max(0.0, above[1.0] - max(above[2.0], above[3.0])),
        "misalignment": max(0.0, above[2.0] - 0.5 * above[0.5] - 0.5 * above[4.0]),
        "looseness": min(sorted((above[o] for o in (0.5, 1.5, 2.5, 3.0, 4.0, 5.0, 6.0)), reverse=True)[:4]),
    }
    return [_Family(label, axis, db, [], []) for label, db in strength.items()]


def _rank(strength_db: Mapping[str, float]) -> tuple[Diagnosis, ...]:
    weights = {label: min(db, MAX_DB) ** 2 for label, db in strength_db.items() if db > 0}
    total = sum(weights.values()) + DOUBT_DB**2
    weights["unknown"] = DOUBT_DB**2
    ranked = sorted(weights.items(), key=lambda item: -item[1])
    return tuple(Diagnosis(label=label, confidence=round(w / total, 3)) for label, w in ranked if w / total >= 0.01)


def _prominence_db(line: LineEvidence) -> float:
    return round(float(np.nan_to_num(min(line.prominence_db, MAX_DB), nan=0.0)), 1)


def _sentences(ranked: tuple[Diagnosis, ...], best: Mapping[str, _Family], facts: MachineFacts) -> tuple[Finding, ...]:
    findings: list[Finding] = []
    label = ranked[0].label
    family = best.get(label)
    if family is not None and family.lines:
        standing = [line for line in family.lines if line.stands_out]
        if standing:
            first = max(standing, key=lambda line: line.prominence)
            findings.append(
                Finding(
                    label=label, speaks_for=True, value=_prominence_db(first), unit="dB",
                    text=f"{len(standing)} of {len(family.lines)} {label_name(label)} lines stand out of the envelope, "
                    f"the strongest at {first.found_hz:.1f} Hz ({100 * first.deviation_share:+.1f} % from theory), "
                    f"{_prominence_db(first):.0f} dB above its surroundings",
                )
            )  # fmt: skip
        sides = [line for line in family.sidebands if line.stands_out and line.resolved]
        if label in {"inner", "ball"}:
            spacing = "shaft speed" if label == "inner" else "cage speed"
            findings.append(
                Finding(
                    label=label, speaks_for=bool(sides), value=float(len(sides)), unit="",
                    text=f"sidebands at {spacing} {'are' if sides else 'are not'} seen beside it",
                )
            )  # fmt: skip
        silent = [line for line in family.lines if not line.stands_out]
        if silent and standing:
            findings.append(
                Finding(
                    label=label, speaks_for=False, value=float(len(silent)), unit="",
                    text=f"harmonics {', '.join(str(line.order) for line in silent)} do not stand out",
                )
            )  # fmt: skip
    elif family is not None:
        findings.append(
            Finding(
                label=label, speaks_for=True, value=round(family.strength_db, 1), unit="dB",
                text=f"shaft lines of {label_name(label)} have grown by {family.strength_db + GROWTH_DB:.0f} dB over "
                "the healthy baseline",
            )
        )  # fmt: skip
    for other in ranked[1:3]:
        if other.label not in {"unknown", label}:
            findings.append(
                Finding(
                    label=other.label, speaks_for=True, value=other.confidence, unit="",
                    text=f"{label_name(other.label)} is also possible ({other.confidence:.0%})",
                )
            )  # fmt: skip
    if facts.orders is None:
        findings.append(
            Finding(
                label="unknown",
                speaks_for=False,
                text="bearing not named: its fault lines cannot be looked for; enter the bearing",
            )
        )
    if facts.shaft_hz is None:
        findings.append(
            Finding(
                label="unknown",
                speaks_for=False,
                text="shaft speed not known: no order can be placed; enter the nameplate speed",
            )
        )
    return tuple(findings)


def _cursors(rates: Mapping[str, float], best: Mapping[str, _Family], facts: MachineFacts) -> tuple[FaultLine, ...]:
    names = {"outer": "BPFO", "inner": "BPFI", "ball": "2xBSF", "cage": "FTF"}
    cursors = []
    for label, rate in rates.items():
        family = best.get(label)
        strongest = max(family.lines, key=lambda line: line.prominence) if family and family.lines else None
        cursors.append(
            FaultLine(
                name=names[label], frequency_hz=rate, harmonics=HARMONICS,
                found_hz=strongest.found_hz / strongest.order if strongest else None,
                prominence_db=_prominence_db(strongest) if strongest else None,
            )
        )  # fmt: skip
    if facts.shaft_hz is not None:
        cursors.append(FaultLine(name="1x", frequency_hz=facts.shaft_hz, harmonics=HARMONICS))
        if facts.gear_teeth:
            cursors.append(FaultLine(name="GMF", frequency_hz=facts.gear_teeth * facts.shaft_hz, harmonics=2))
    return tuple(cursors)
