"""This file knows how a changed sensor looks through a healthy baseline: another gain, swapped axes, a loose mounting.

A machine that gets worse changes the shape of its spectra; a sensor that was put back elsewhere moves whole axes up
or down and leaves the shape. Each hypothesis is held against the same baseline as the capture itself: it explains a
capture when the score that is left would be healthy.
"""

from dataclasses import dataclass, replace
from itertools import permutations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gateway_agent.baseline import CLIP_SPREADS, MAX_DRIFT_DECADES, WEIGHTS, Baseline, growth_decades, score_of
from vibration.detection_features import DETECTION_COUNT, ENVELOPE, NARROW, SUMS, detection_edges_hz, detection_features

FloatArray = NDArray[np.float64]
Kind = Literal["remounted", "wrong_gain", "axes_swapped"]

MAX_GAIN_DECADES = 4.0  # of power: a hundredfold amplitude; beyond it is no gain that anybody sets
# Beyond threefold amplitude on every axis it is no other place on the machine but a wrong unit or sensitivity.
WRONG_GAIN_DECADES = 1.0
# What is left must be healthy; of a change far beyond doubt the rough model of a mounting may leave twice as much.
MISFIT, BEYOND_DOUBT = 2.0, 4.0
# Another mounting passes high frequencies worse, hardly ever better: wear, which adds them, must not look so.
TILT_FROM_SHARE = 0.15  # of half the sample rate, above which a mounting's resonance shows
DECADES_HEARD = 3.0  # the narrow bands are geometric over about so many decades of frequency
MIN_CLEAR_BANDS = 8
MOST_TILT_DECADES, LEAST_TILT_DECADES = 0.2, -1.0
# Share of the lowest density that is the sensor's own noise (white), which no mounting changes.
FLOORS = (0.0, 0.5, 0.8, 0.95)
SMALLEST_GAIN_DECADES = 0.08  # 20 % of amplitude: less is not worth a word
MAX_PERMUTED_AXES = 4

# A sensor that has let go rattles below and is deaf above. Imbalance and looseness of the machine raise low
# frequencies and leave the high ones; wear raises the high ones.
LOOSE_LOW_DECADES = 1.0
LOOSE_HIGH_DECADES = -0.6
LOOSE_HIGH_BANDS = 6


@dataclass(frozen=True, slots=True, eq=False)
class SensorChange:
    """A hypothesis that explains a capture.

    Attributes:
        kind: What was changed.
        shift: What to add to a baseline's mean to hear through it, shape (channels, DETECTION_COUNT), decades.
        gains_db: Gain of each axis, dB; zeros for swapped axes.
        order: For swapped axes, which axis of the baseline each channel shows; as they were otherwise.
        score: What is left of the capture's score.
        usual_db: By how much whole levels move while all is well.
    """

    kind: Kind
    shift: FloatArray
    gains_db: tuple[float, ...]
    order: tuple[int, ...]
    score: float
    usual_db: float

    @property
    def within_drift(self) -> bool:
        """Whether it is a gain no larger than levels move anyway: by temperature, by load, by what was commissioned."""
        return self.kind == "remounted" and max(abs(gain) for gain in self.gains_db) <= self.usual_db

    def text(self) -> str:
        """What to tell a person."""
        if self.kind == "axes_swapped":
            moved = " and ".join(str(i + 1) for i, source in enumerate(self.order) if source != i)
            return f"axes {moved} have changed places; put the sensor or its wiring right"
        gains = ", ".join(f"axis {number} {gain:+.1f} dB" for number, gain in enumerate(self.gains_db, 1))
        if self.kind == "wrong_gain":
            return f"every axis louder or softer alike ({gains}): check sensitivity and unit of the sensor"
        return f"whole axes moved and kept their shape ({gains}): sensor re-mounted; the baseline moved with it"


def explain_by_sensor(
    features: FloatArray, baseline: Baseline, limit: float, layout: tuple[float, int]
) -> SensorChange | None:
    """Find what was done to the sensor, if that explains the capture.

    Args:
        features: Detection features of one capture that exceeds, shape (channels, F).
        baseline: Of its operating state.
        limit: Score below which what is left counts as healthy.
        layout: Sample rate in Hz and samples of the capture.
    """
    edges_hz = detection_edges_hz(*layout)[NARROW]
    widths_hz = edges_hz[:, 1] - edges_hz[:, 0]
    found = [
        change for change in (_gain(features, baseline, widths_hz), _swap(features, baseline)) if change is not None
    ]
    best = min(found, key=lambda change: change.score, default=None)
    if best is None:
        return None
    score = score_of(baseline.standardise(features))
    rough = best.kind == "remounted" and best.score < MISFIT * limit and best.score * BEYOND_DOUBT < score
    enough = best.score < limit or rough
    return best if enough else None


def still_explained(
    features: FloatArray, baseline: Baseline, limit: float, earlier: list[SensorChange]
) -> SensorChange | None:
    """Whether the change that earlier captures showed explains this one as well, roughly.

    Args:
        features: As in `explain_by_sensor`.
        baseline: Likewise.
        limit: Likewise.
        earlier: What captures before this one showed, at least one.
    """
    last = earlier[-1]
    shift = np.mean([change.shift for change in earlier], axis=0)
    score = score_of(_through(baseline, shift).standardise(features))
    return replace(last, score=score) if score < MISFIT * limit else None


def looks_loose(features: FloatArray, baseline: Baseline) -> bool:
    """Whether every axis rattles below and is deaf above, compared with its baseline."""
    difference = features[:, NARROW] - baseline.mean[:, NARROW]
    half = difference.shape[1] // 2
    low = difference[:, :half].mean(axis=1)
    high = np.sort(difference[:, half:], axis=1)[:, :LOOSE_HIGH_BANDS].mean(axis=1)
    return bool(((low > LOOSE_LOW_DECADES) & (high < LOOSE_HIGH_DECADES)).all())


def moved(baseline: Baseline, shift: FloatArray) -> None:
    """Let a baseline hear through a changed sensor from now on."""
    baseline.mean = baseline.mean + shift
    baseline.anchor = baseline.anchor + shift


def _gain(features: FloatArray, baseline: Baseline, widths_hz: FloatArray) -> SensorChange | None:
    spread = np.sqrt(baseline.variance)
    axes = (_axis_gain(x, mean, sd, widths_hz) for x, mean, sd in zip(features, baseline.mean, spread, strict=True))
    shifts, gains = zip(*axes, strict=True)
    shift = np.stack(shifts)
    decades = np.array(gains)
    if float(np.abs(decades).max()) < SMALLEST_GAIN_DECADES:
        return None
    far = float(decades.min()) > WRONG_GAIN_DECADES or float(decades.max()) < -WRONG_GAIN_DECADES
    score = score_of(_through(baseline, shift).standardise(features))
    order = tuple(range(len(features)))
    gains_db = tuple(float(10.0 * g) for g in decades)
    return SensorChange("wrong_gain" if far else "remounted", shift, gains_db, order, score, _usual_db(baseline))


def _usual_db(baseline: Baseline) -> float:
    """Drift that a baseline follows, or three times the scatter of the whole level, whichever is more."""
    scatter = float(np.sqrt(baseline.variance[:, SUMS.stop - 1]).max())
    return 10.0 * max(MAX_DRIFT_DECADES, 3.0 * scatter)


def _axis_gain(x: FloatArray, mean: FloatArray, spread: FloatArray, widths_hz: FloatArray) -> tuple[FloatArray, float]:
    """The shift of one axis's features that a gain and a duller mounting would make, and the gain in decades.

    Bands that the sensor's own noise fills say nothing of a gain; how much of the quietest is noise is tried out.
    """
    bands = np.arange(NARROW.stop, dtype=np.float64)
    knee = bands[-1] * (1.0 + np.log10(TILT_FROM_SHARE) / DECADES_HEARD)
    ramp = np.maximum(0.0, (bands - knee) / (bands[-1] - knee))
    power, heard = 10.0 ** mean[NARROW], 10.0 ** x[NARROW]
    quietest = float((power / widths_hz).min())
    now = detection_features(np.r_[mean[NARROW], mean[ENVELOPE]])
    best: tuple[float, FloatArray, float] = (_misfit(x - mean, spread), np.zeros(DETECTION_COUNT), 0.0)
    for share in FLOORS:
        floor = share * quietest * widths_hz
        clear = power > 2.0 * floor
        low = clear & (ramp == 0.0)
        if int(low.sum()) < MIN_CLEAR_BANDS:
            continue
        signal = np.log10(np.maximum(power - floor, 1e-3 * power))
        grown = np.log10(np.maximum(heard - floor, 1e-3 * heard)) - signal
        gain = float(np.clip(np.median(grown[low]), -MAX_GAIN_DECADES, MAX_GAIN_DECADES))
        upper = clear & (ramp > 0.0)
        tilts = (grown[upper] - gain) / ramp[upper]
        tilt = float(np.clip(np.median(tilts), LEAST_TILT_DECADES, MOST_TILT_DECADES)) if tilts.size else 0.0
        for bend in {0.0, tilt}:
            narrow = np.log10(10.0 ** (signal + gain + bend * ramp) + floor)
            envelope = mean[ENVELOPE] + gain + bend * float(ramp[3 * len(ramp) // 4])
            shift = detection_features(np.r_[narrow, envelope]) - now
            misfit = _misfit(x - mean - shift, spread)
            if misfit < best[0]:
                best = (misfit, shift, gain)
    return best[1], best[2]


def _misfit(difference: FloatArray, spread: FloatArray) -> float:
    z = np.clip(growth_decades(difference) / spread, -CLIP_SPREADS, CLIP_SPREADS)
    return float((z * z) @ WEIGHTS)


def _swap(features: FloatArray, baseline: Baseline) -> SensorChange | None:
    channels = len(features)
    if not 2 <= channels <= MAX_PERMUTED_AXES:
        return None
    as_they_were = tuple(range(channels))
    best: SensorChange | None = None
    for order in permutations(as_they_were):
        if order == as_they_were:
            continue
        other = list(order)
        shift = baseline.mean[other] - baseline.mean
        score = score_of(_through(baseline, shift).standardise(features))
        if best is None or score < best.score:
            best = SensorChange("axes_swapped", shift, (0.0,) * channels, order, score, 0.0)
    return best


def _through(baseline: Baseline, shift: FloatArray) -> Baseline:
    return Baseline(
        baseline.anchor, baseline.reach, baseline.mean + shift, baseline.weight, baseline.squares, baseline.freedom
    )  # fmt: skip
