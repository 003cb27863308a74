"""This file knows twelve ways in which members of a federation send what they should not.

The strongest know what every honest member sends. All but the last two say their update is anything but what they
learnt; those two learn from windows of a faulty machine as if they were healthy.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Deltas = NDArray[np.float64]

NOISE_FACTOR = 10.0
MIN_MAX_HALVINGS = 25


@dataclass(frozen=True, slots=True, eq=False)
class Secrets:
    """What attackers know in one round.

    Attributes:
        honest: Updates of the honest, shape (h, P).
        own: What the attackers have learnt themselves, shape (f, P).
        chance: Randomness of this round.
    """

    honest: Deltas
    own: Deltas
    chance: np.random.Generator

    @property
    def middle(self) -> Deltas:
        """Mean of the honest, shape (P,)."""
        mean: Deltas = self.honest.mean(axis=0)
        return mean

    @property
    def size(self) -> float:
        """Mean absolute value of what the honest have in common."""
        return float(np.abs(self.middle).mean())

    def all_say(self, delta: Deltas) -> Deltas:
        """Every attacker sends the same."""
        return np.repeat(delta[None], len(self.own), axis=0)


Attack = Callable[[Secrets], Deltas]


def _little_is_enough(s: Secrets) -> Deltas:
    """As far from the mean as half of all still are. Baruch et al. (2019), arXiv:1902.06156, algorithm 3."""
    honest, wrong = len(s.honest), len(s.own)
    needed = (honest + wrong) // 2 + 1 - wrong
    spreads = NormalDist().inv_cdf((honest - needed) / honest)
    return s.all_say(s.middle - spreads * s.honest.std(axis=0))


def _min_max(s: Secrets) -> Deltas:
    """Against the mean, no farther from anybody than the honest are. Shejwalkar & Houmansadr (2021), section IV."""
    between = ((s.honest[:, None] - s.honest[None]) ** 2).sum(axis=2).max()
    against = -s.middle / np.linalg.norm(s.middle)
    near, far = 0.0, 100.0 * float(np.sqrt(between))
    for _ in range(MIN_MAX_HALVINGS):
        step = (near + far) / 2
        farthest = ((s.honest - s.middle - step * against) ** 2).sum(axis=1).max()
        near, far = (step, far) if farthest <= between else (near, step)
    return s.all_say(s.middle + near * against)


def _mimic(s: Secrets) -> Deltas:
    """All repeat the most unusual honest member. Karimireddy et al. (2022), arXiv:2006.09365, section 3."""
    return s.all_say(s.honest[np.linalg.norm(s.honest - s.middle, axis=1).argmax()])


def _replace(s: Secrets) -> Deltas:
    """Learn from faults, and shout so that the mean becomes it. Bagdasaryan et al. (2020), arXiv:1807.00459."""
    return s.own * (len(s.honest) + len(s.own)) / len(s.own)


ATTACKS: Mapping[str, Attack] = {
    "sign": lambda s: -s.own,
    "sign x5": lambda s: -5 * s.own,
    "noise": lambda s: NOISE_FACTOR * s.size * s.chance.standard_normal(s.own.shape),
    "inner x0.5": lambda s: s.all_say(-0.5 * s.middle),
    "inner x2": lambda s: s.all_say(-2.0 * s.middle),
    "little": _little_is_enough,
    "little 1.5": lambda s: s.all_say(s.middle - 1.5 * s.honest.std(axis=0)),
    "min-max": _min_max,
    "mimic": _mimic,
    "free ride": lambda s: 1e-3 * s.size * s.chance.standard_normal(s.own.shape),
    "poison": lambda s: s.own,
    "replace": _replace,
}
"""Inner: against the inner product, Xie et al. (2019), arXiv:1903.03936."""

LEARN_FROM_FAULTS = frozenset({"poison", "replace"})
