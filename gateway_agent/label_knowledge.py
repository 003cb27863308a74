"""This file knows what labelled captures teach about the evidence of each cause, as sums that can be added up.

For every label the mean of the evidence vector is kept, for all together one covariance. Both come from counts, sums
and second moments: those of two gateways are added, and nobody needs the captures of another. What is learnt is
added to the physics as log odds, held back where it rests on little and never more than `MOST_NATS`: a label learnt on
other machines may turn the scale between causes that physics cannot tell apart, not overrule a clear rhythm.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gateway_agent.diagnosis_picture import BANDS, LEVEL, SHAFT, VELOCITY, FloatArray, impulsiveness

LABELS: tuple[str, ...] = (
    "unknown", "outer", "inner", "ball", "cage", "imbalance", "misalignment", "bent_shaft", "looseness", "gear",
    "electrical",
)  # fmt: skip
"""Causes in the order of every array here; healthy captures teach `unknown`."""

VECTOR_NAMES: tuple[str, ...] = (
    *(f"{label}_nats" for label in LABELS[1:]),
    *(f"level_{band}_growth_db" for band in range(BANDS)),
    "level_spread_db", "impulsiveness", "velocity_growth_db", "one_growth_db", "two_growth_db", "three_growth_db",
    "axes_apart_db",
)  # fmt: skip
"""The evidence vector. Growths are over the healthy picture, the mean of the axes."""

MOST_NATS = 3.0
"""Odds of twenty to one: about what five independent machines of a label can teach."""

CLIP_NATS = 6.0
CLIP_DB = 30.0
MACHINES_TO_TRUST = 4.0  # labelled series (machines or conditions) from which half of what they teach is believed
PRIOR_SERIES = 2.0  # a label's mean is held back towards that of all labels by so many series
SHRINK = 0.3  # of the covariance towards its diagonal: directions hardly seen must not decide
MIN_SPREAD = 1.0  # nats or dB; no evidence is steadier than that between machines


def evidence_vector(nats: Mapping[str, float], now: FloatArray, healthy: FloatArray | None) -> FloatArray | None:
    """Line up what is known of a point, shape (len(VECTOR_NAMES),); None without a healthy picture.

    Without growth the vector would hold nothing but what physics has weighed already: labels then only tilt the
    weights towards the machines they come from (measured: worse on an unseen bearing).

    Args:
        nats: Log evidence of each cause from physics.
        now: Picture, shape (channels, COLUMNS).
        healthy: The same when sound; None if not known.
    """
    if healthy is None or healthy.shape != now.shape:
        return None
    vector = np.zeros(len(VECTOR_NAMES))
    causes = len(LABELS) - 1
    vector[:causes] = [np.clip(nats.get(label, 0.0), -CLIP_NATS, CLIP_NATS) for label in LABELS[1:]]
    level = 20.0 * (now[:, LEVEL] - healthy[:, LEVEL])
    shaft = np.nan_to_num(20.0 * (now[:, SHAFT] - healthy[:, SHAFT]))
    knocking = max(impulsiveness(row, sound) for row, sound in zip(now, healthy, strict=True))
    lines = shaft.mean(axis=0)[[1, 3, 5]]
    velocity = np.nan_to_num(20.0 * (now[:, VELOCITY] - healthy[:, VELOCITY]))
    rest = [*level.mean(axis=0), level.mean(axis=0).std(), 5.0 * np.nan_to_num(knocking), velocity.mean(), *lines]
    rest.append(level.mean(axis=1).std())
    vector[causes:] = np.clip(rest, -CLIP_DB, CLIP_DB)
    return vector


@dataclass(frozen=True, slots=True, eq=False)
class LabelSums:
    """What is added up, and all that leaves a gateway.

    Attributes:
        series: Labelled series (captures of one machine in one condition) per label, shape (labels,).
        sums: Sum over series of their mean vectors, shape (labels, D).
        squares: Sum over all series of the products of their mean vectors, shape (D, D).
    """

    series: FloatArray = field(default_factory=lambda: np.zeros(len(LABELS)))
    sums: FloatArray = field(default_factory=lambda: np.zeros((len(LABELS), len(VECTOR_NAMES))))
    squares: FloatArray = field(default_factory=lambda: np.zeros((len(VECTOR_NAMES), len(VECTOR_NAMES))))

    def add(self, label: str, vectors: Sequence[FloatArray]) -> "LabelSums":
        """Return the sums with one more series: many captures of one machine teach no more than one.

        Raises:
            ValueError: The label is none of LABELS, or there is no vector.
        """
        if label not in LABELS or not len(vectors):
            raise ValueError(
                f"label {label!r} with {len(vectors)} vectors found, one of {LABELS} and one or more expected"
            )
        mean = np.mean(np.stack(vectors), axis=0)
        series, sums = self.series.copy(), self.sums.copy()
        series[LABELS.index(label)] += 1.0
        sums[LABELS.index(label)] += mean
        return LabelSums(series, sums, self.squares + np.outer(mean, mean))

    def __add__(self, other: "LabelSums") -> "LabelSums":
        """Join what two gateways learnt."""
        return LabelSums(self.series + other.series, self.sums + other.sums, self.squares + other.squares)

    def arrays(self) -> dict[str, FloatArray]:
        """Give the arrays that a release part or an update holds."""
        return {"series": self.series, "sums": self.sums, "squares": self.squares}

    @classmethod
    def of(cls, arrays: Mapping[str, FloatArray]) -> "LabelSums":
        """Read what `arrays` gave.

        Raises:
            ValueError: A shape is another, or a number is not finite: learnt with another vector.
        """
        blank = cls()
        for name, want in blank.arrays().items():
            found = arrays.get(name)
            if found is None or found.shape != want.shape or not np.isfinite(found).all():
                shape = None if found is None else found.shape
                raise ValueError(f"label knowledge {name} has shape {shape}, finite {want.shape} expected")
        return cls(**{name: np.asarray(arrays[name], dtype=np.float64) for name in blank.arrays()})


class LabelKnowledge:
    """Says what the labels add to the physics.

    Args:
        sums: Of all gateways.
    """

    def __init__(self, sums: LabelSums) -> None:
        self.known = tuple(label for label, n in zip(LABELS, sums.series, strict=True) if n > 0)
        total = float(sums.series.sum())
        self._ready = len(self.known) >= 2 and total > len(self.known)
        if not self._ready:
            return
        index = [LABELS.index(label) for label in self.known]
        counts = sums.series[index]
        # Every label counts the same for the middle, however many series it has.
        means = sums.sums[index] / counts[:, None]
        middle = means.mean(axis=0)
        self._trust = counts / (counts + MACHINES_TO_TRUST)
        scatter = (sums.squares - (means.T * counts) @ means) / max(1.0, total - len(self.known))
        spread = np.diag(np.maximum(np.diag(scatter), MIN_SPREAD**2))
        covariance = (1.0 - SHRINK) * (scatter - np.diag(np.diag(scatter))) + spread
        held = counts / (counts + PRIOR_SERIES)
        self._means = middle + held[:, None] * (means - middle)
        # Few series tell the covariance badly: what is far in many directions is no surer (Student's law).
        self._freedom = max(1.0, total - len(self.known))
        self._inverse = np.linalg.inv(covariance)

    def adds_nats(self, vector: FloatArray | None) -> dict[str, float]:
        """Return what to add to the log odds of each cause; causes without labels get 0.

        The mean of the known labels is 0, so nothing is added to or taken from all of them at once.
        """
        if not self._ready or vector is None:
            return {}
        away = vector - self._means
        distance = np.einsum("ki,ij,kj->k", away, self._inverse, away)
        freedom = self._freedom
        nats = -0.5 * (freedom + vector.size) * np.log1p(distance / freedom)
        nats = (nats - float(np.logaddexp.reduce(nats) - math.log(nats.size))) * self._trust
        bounded = np.clip(nats, -MOST_NATS, MOST_NATS)
        return dict(zip(self.known, bounded.tolist(), strict=True))
