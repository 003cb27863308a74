"""This file knows how healthy machines vary, as a fleet knows it: sums that gateways add up, and what follows.

A healthy session (one point commissioned, one recording) is told as a handful of sums: how much each band scattered
compared with what its width explains, and how a baseline of five captures scored the captures that came after it.
Sums of many sessions are added, never compared, so the merge needs no session's features, and taking one's own
sums away again leaves what the others know. Sessions are kept by layout (sample rate, samples a capture): a band
of 20 lines at 200 Hz and one at 48 kHz see different things, and the nearer layout speaks louder.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.container import array_blob, blob_array, pack, unpack
from schemas.errors import TensorsRejected
from vibration.detection_features import DETECTION_COUNT, DETECTION_LAYOUT

FloatArray = NDArray[np.float64]
Layout = tuple[float, int]
"""Sample rate in Hz, samples of a capture."""

PLAYED_CAPTURES = 5
"""Captures of the baseline with which every session plays the newcomer."""

MAX_LAYOUTS = 64
MAX_SESSIONS = 1e6
MAX_LOG_RATIO = 14.0  # a spread a thousand times what theory says is no spread any more
MAX_LOG_SCORE = 12.0
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1e-6, 1e9  # beyond is no recording's; the logarithm of all between is finite
FEWEST_SAMPLES, MOST_SAMPLES = 1, 1 << 40
ROBUST_MEMBERS = 3  # of one layout from which a median means something; fewer are believed as they are
# How far a member's mean may lie from the median of all: three spreads of the members as they are (by the median
# absolute deviation), and at least this much: sevenfold scatter, a score of e, are seen among sound machines.
MEMBER_SPREADS = 3.0 * 1.4826
LEAST_LOG_RATIO, LEAST_PLAY = 2.0, 1.0

# Before anybody has been heard: scatter as theory says, scores near 1. A mean of about thirty independent squares
# scatters by sqrt(2 / 30) = 0.26 in its logarithm; that machines differ by as much again is an assumption that a
# few sessions outweigh.
THEORY_LOG_SCORE = 0.1
THEORY_WITHIN = 0.25
THEORY_BETWEEN = 0.20
THEORY_SLOPE = 0.5
THEORY_SLOPE_SPREAD = 0.02
# What theory weighs beside the sessions of near layouts. Other layouts say nothing: bands differ far more in their
# scatter from one layout to another (steady tones against noise) than a layout's machines from theory.
THEORY_SCATTER = 0.25
THEORY_SCORE = 1.0
_NO_VOICE = 1e-6  # of a session: what is left of none by rounding
_RATE_REACH = 0.25  # natural logarithm: layouts alike in rate within a quarter speak for each other
_LENGTH_REACH = 0.70  # and within a factor of two in length


@dataclass(frozen=True, slots=True, eq=False)
class SessionSums:
    """Sums over healthy sessions of one layout.

    Attributes:
        sessions: How many.
        log_ratio: Sum over sessions of ln(variance found / variance of noise of that bandwidth), mean over the
            axes, shape (DETECTION_COUNT,).
        played: How many of them played the newcomer.
        plays: Sums over those, of per-session means: the log score of later captures, its square, its variance
            within a play, the held-back log score of the newcomer's own captures, its square, their product.
    """

    sessions: float
    log_ratio: FloatArray
    played: float = 0.0
    plays: FloatArray = field(default_factory=lambda: np.zeros(6))

    def __add__(self, other: "SessionSums") -> "SessionSums":
        return SessionSums(
            self.sessions + other.sessions, self.log_ratio + other.log_ratio, self.played + other.played,
            self.plays + other.plays,
        )  # fmt: skip

    def __sub__(self, other: "SessionSums") -> "SessionSums":
        return SessionSums(
            self.sessions - other.sessions, self.log_ratio - other.log_ratio, self.played - other.played,
            self.plays - other.plays,
        )  # fmt: skip

    def __mul__(self, factor: float) -> "SessionSums":
        return SessionSums(
            factor * self.sessions, factor * self.log_ratio, factor * self.played, factor * self.plays
        )  # fmt: skip


def _theory(sessions: float) -> SessionSums:
    """What nobody has measured, as if so many sessions had shown it."""
    spread = THEORY_BETWEEN**2
    score, own = THEORY_LOG_SCORE, THEORY_LOG_SCORE
    plays = np.array(
        [
            score, score**2 + spread, THEORY_WITHIN**2, own, own**2 + THEORY_SLOPE_SPREAD,
            own * score + THEORY_SLOPE * THEORY_SLOPE_SPREAD,
        ]
    )  # fmt: skip
    return SessionSums(sessions, np.zeros(DETECTION_COUNT), sessions, sessions * plays)


@dataclass(frozen=True, slots=True, eq=False)
class HealthyPrior:
    """What to expect of a healthy machine of one layout before it has been heard.

    Attributes:
        variance_ratio: Scatter between captures, as a factor on the variance of noise of the band's width,
            shape (DETECTION_COUNT,).
        log_score: Mean natural logarithm of the score of a healthy capture beyond a baseline of PLAYED_CAPTURES.
        own_log_score: Mean of that of the baseline's own captures, each held back in turn.
        within: Scatter (standard deviation) of the log score within a session.
        between: Scatter of its mean between sessions, once the own captures have been heard.
        slope: By how much the mean follows the own captures', 0 to 1.
        sessions: How many sessions (of near layouts, theory included) say so.
    """

    variance_ratio: FloatArray
    log_score: float
    own_log_score: float
    within: float
    between: float
    slope: float
    sessions: float


@dataclass(frozen=True, slots=True, eq=False)
class Variation:
    """Healthy sessions of many gateways, summed by layout."""

    layouts: Mapping[Layout, SessionSums] = field(default_factory=dict)

    @property
    def sessions(self) -> float:
        """How many sessions in all."""
        return sum(sums.sessions for sums in self.layouts.values())

    def __add__(self, other: "Variation") -> "Variation":
        merged = dict(self.layouts)
        for layout, sums in other.layouts.items():
            merged[layout] = merged[layout] + sums if layout in merged else sums
        return Variation(merged)

    def __sub__(self, other: "Variation") -> "Variation":
        """What the others know, when `other` has been added before."""
        left = dict(self.layouts)
        for layout, sums in other.layouts.items():
            if layout in left:
                left[layout] = left[layout] - sums
        return Variation({layout: sums for layout, sums in left.items() if sums.sessions > 0.5})

    def prior(self, sample_rate_hz: float, samples: int) -> HealthyPrior:
        """What to expect of a new machine of this layout."""
        near = _theory(0.0)
        for (rate_hz, length), sums in self.layouts.items():
            apart = (math.log(rate_hz / sample_rate_hz) / _RATE_REACH) ** 2
            apart += (math.log(length / samples) / _LENGTH_REACH) ** 2
            near = near + sums * math.exp(-0.5 * apart)
        ratio: FloatArray = np.exp(near.log_ratio / (near.sessions + THEORY_SCATTER))
        return _read_plays(near + _theory(THEORY_SCORE), ratio)

    def pack(self) -> bytes:
        """Write as a container; the same sums give the same bytes. Of too many layouts the least heard are left out."""
        heard = sorted(self.layouts, key=lambda layout: (-self._heard(layout), layout))
        layouts = sorted(heard[:MAX_LAYOUTS])
        sums = [self.layouts[layout] for layout in layouts]
        arrays = {
            "layouts": np.array([list(layout) for layout in layouts], np.float64).reshape(-1, 2),
            "counts": np.array([[s.sessions, s.played] for s in sums], np.float64).reshape(-1, 2),
            "log_ratio": np.array([s.log_ratio for s in sums], np.float64).reshape(-1, DETECTION_COUNT),
            "plays": np.array([s.plays for s in sums], np.float64).reshape(-1, 6),
        }
        described = {name: array_blob(array) for name, array in arrays.items()}
        meta: dict[str, Any] = {name: description for name, (description, _) in described.items()}
        return pack({"features": DETECTION_LAYOUT, **meta}, {name: blob for name, (_, blob) in described.items()})

    @classmethod
    def unpack(cls, packed: bytes) -> "Variation":
        """Read what `pack` wrote.

        Raises:
            TensorsRejected: With `reason` other_features, bad_shape, not_finite, out_of_range, or as the container.
        """
        meta, blobs = unpack(packed)
        if meta.get("features") != DETECTION_LAYOUT:
            raise TensorsRejected(
                "other_features", f"variation of features {meta.get('features')!r} found, {DETECTION_LAYOUT!r} computed"
            )
        try:
            layouts, counts, log_ratio, plays = (
                blob_array(meta[name], blobs[name]) for name in ("layouts", "counts", "log_ratio", "plays")
            )
        except (KeyError, TypeError) as error:
            raise TensorsRejected("bad_head", f"variation lacks {error}") from error
        count = layouts.shape[0] if layouts.ndim else 0
        shapes = ((count, 2), (count, 2), (count, DETECTION_COUNT), (count, 6))
        if count > MAX_LAYOUTS or any(
            a.shape != s or a.dtype != np.float64
            for a, s in zip((layouts, counts, log_ratio, plays), shapes, strict=True)
        ):
            raise TensorsRejected("bad_shape", f"variation of {count} layouts has other shapes than {shapes}")
        if not all(np.isfinite(a).all() for a in (layouts, counts, log_ratio, plays)):
            raise TensorsRejected("not_finite", "variation holds NaN or infinity")
        _check_range(layouts, counts, log_ratio, plays)
        return cls(
            {
                (float(rate), int(samples)): SessionSums(float(c[0]), r, float(c[1]), p)
                for (rate, samples), c, r, p in zip(layouts, counts, log_ratio, plays, strict=True)
            }
        )

    def _heard(self, layout: Layout) -> float:
        return max(self.layouts[layout].sessions, self.layouts[layout].played)


def merge(parts: Iterable[Variation], *, max_sessions: float) -> Variation:
    """Add up the sums of members, so that none speaks too loud or too far beside the others.

    One that claims more sessions than allowed, told or played, is scaled down to them. Of three or more members of a
    layout each one's mean is clipped to the neighbourhood of the median of all: a few that lie move the sum by a
    little, whatever they say.

    Args:
        parts: What each member told.
        max_sessions: Most that one may speak for.
    """
    members = [_capped(part, max_sessions) for part in parts]
    merged = Variation()
    for layout in sorted({layout for member in members for layout in member.layouts}):
        told = [member.layouts[layout] for member in members if layout in member.layouts]
        ratios = _moderated([(s.log_ratio, s.sessions) for s in told], LEAST_LOG_RATIO)
        plays = _moderated([(s.plays, s.played) for s in told], LEAST_PLAY)
        for sums, ratio, play in zip(told, ratios, plays, strict=True):
            merged = merged + Variation({layout: replace(sums, log_ratio=ratio, plays=play)})
    return merged


def _capped(part: Variation, max_sessions: float) -> Variation:
    played = sum(sums.played for sums in part.layouts.values())
    told_share = min(1.0, max_sessions / part.sessions) if part.sessions > 0 else 1.0
    play_share = min(1.0, max_sessions / played) if played > 0 else 1.0
    return Variation(
        {
            layout: SessionSums(
                told_share * sums.sessions, told_share * sums.log_ratio, play_share * sums.played,
                play_share * sums.plays,
            )
            for layout, sums in part.layouts.items()
        }
    )  # fmt: skip


def _moderated(told: Sequence[tuple[FloatArray, float]], least: float) -> list[FloatArray]:
    """Sums (each with its count) whose means are clipped to the neighbourhood of the median mean."""
    means = np.array([total / count for total, count in told if count > _NO_VOICE])
    if len(means) < ROBUST_MEMBERS:
        return [total for total, _ in told]
    middle = np.median(means, axis=0)
    reach = np.maximum(least, MEMBER_SPREADS * np.median(np.abs(means - middle), axis=0))
    low, high = middle - reach, middle + reach
    return [count * np.clip(total / count, low, high) if count > _NO_VOICE else total for total, count in told]


def _check_range(layouts: FloatArray, counts: FloatArray, log_ratio: FloatArray, plays: FloatArray) -> None:
    """No session can say more than these; a sum beyond them is a mistake or an attack."""
    sessions, played = counts[:, :1], counts[:, 1:]
    rates, samples = layouts[:, 0], layouts[:, 1]
    fits = (
        ((rates >= LOWEST_RATE_HZ) & (rates <= HIGHEST_RATE_HZ)).all()
        and ((samples >= FEWEST_SAMPLES) & (samples <= MOST_SAMPLES) & (samples == np.round(samples))).all()
        and ((sessions >= 0) & (sessions <= MAX_SESSIONS)).all()
        and ((played >= 0) & (played <= MAX_SESSIONS)).all()
        and (np.abs(log_ratio) <= MAX_LOG_RATIO * sessions + 1e-9).all()
        and (np.abs(plays) <= MAX_LOG_SCORE**2 * played + 1e-9).all()
    )
    if not fits:
        raise TensorsRejected("out_of_range", "variation holds sums that no healthy sessions can have")


def _read_plays(sums: SessionSums, ratio: FloatArray) -> HealthyPrior:
    """Regress the score of later captures on that of the own ones."""
    score, squared, within, own, own_squared, product = (sums.plays / sums.played).tolist()
    own_variance = max(own_squared - own**2, 1e-6)
    slope = min(1.0, max(0.0, (product - own * score) / own_variance))
    freedom = sums.played / max(sums.played - 1.0, 1.0)
    left = max(squared - score**2 - slope**2 * own_variance, 1e-4) * freedom
    return HealthyPrior(ratio, score, own, math.sqrt(max(within, 1e-4)), math.sqrt(left), slope, sums.played)
