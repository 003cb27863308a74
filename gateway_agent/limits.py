"""This file knows from which score on a capture is called other than healthy, and how sure that is.

The logarithm of a healthy capture's score is taken as normal, with a mean that differs from machine to machine. What
the fleet has seen of both (`schemas.variation`) is the prior; the point's own captures, each held back from the
baseline that judges it, move it the more the more there are. The limit is the upper prediction bound of one more
healthy capture: wide when little is known, honestly.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from gateway_agent.baseline import Baseline, Detector, score_of
from schemas.variation import PLAYED_CAPTURES, HealthyPrior

FloatArray = NDArray[np.float64]

MIN_CAPTURES = 2  # below that there is no scatter to speak of
MAX_FOLDS = 8
WITHIN_FREEDOM = 10.0  # captures of its own that outweigh what the fleet says of the scatter within a session
PRIOR_FREEDOM = 60.0  # freedom of the bound where only the fleet speaks
# A baseline follows the lower nine tenths of captures: what is merely odd must neither move it nor widen it.
FOLLOW_SPREADS = 1.28


@dataclass(frozen=True, slots=True)
class Limit:
    """From which score on a capture exceeds, and how well that is known.

    Attributes:
        score: The limit.
        follow_score: Up to which a capture is healthy beyond doubt, and the baseline follows it.
        false_alarm_rate: Share of single healthy captures stated to exceed the limit.
        captures: Healthy captures it was calibrated on.
    """

    score: float
    follow_score: float
    false_alarm_rate: float
    captures: int


def held_back_log_scores(features: FloatArray, expected: FloatArray, detector: Detector = score_of) -> FloatArray:
    """Log scores of captures (n >= 2, channels, F), each held back, in blocks in time, from the baseline."""
    count = len(features)
    logs = np.empty(count)
    for fold in np.array_split(np.arange(count), min(count, MAX_FOLDS)):
        baseline = Baseline.learn(np.delete(features, fold, axis=0), expected)
        logs[fold] = [log_score(z, detector) for z in baseline.standardise(features[fold])]
    return logs


def log_score(z: FloatArray, detector: Detector = score_of) -> float:
    """Natural logarithm of the score of one standardised capture (channels, F)."""
    return math.log(max(detector(z), 1e-9))


def independent(logs: FloatArray) -> float:
    """How many independent captures these are worth: n (1 - r) / (1 + r) with r the lag-one autocorrelation.

    Load and speed wander, so neighbours in time are alike, and a short commissioning has seen less than it counts
    (Bayley & Hammersley 1946). An r that chance explains (below 2 / sqrt(n)) is taken as none.
    """
    count = logs.size
    centred = logs - logs.mean()
    power = float(centred @ centred)
    r = float(centred[1:] @ centred[:-1]) / power if power > 0 else 0.0
    if r < 2.0 / math.sqrt(count):
        return float(count)
    return max(float(MIN_CAPTURES), count * (1.0 - r) / (1.0 + r))


def limit_from(logs: FloatArray, prior: HealthyPrior, *, false_alarm_rate: float) -> Limit:
    """Calibrate.

    With n independent captures of its own the machine's mean is known up to tau² (1 - k), where
    k = tau² / (tau² + e² 5 / n) and e² is what the fleet's slope at five captures implies (a normal mean under a
    normal prior). The bound is mean + t(1 - rate) sqrt(within² + between²) (Hahn & Meeker, Statistical Intervals,
    1991, section 4.7, with both variances).

    Args:
        logs: Log scores of the point's own captures, held back, shape (n >= MIN_CAPTURES,), in time order.
        prior: What the fleet expects.
        false_alarm_rate: Stated share of single healthy captures above the limit.

    Raises:
        ValueError: Fewer than MIN_CAPTURES captures.
    """
    if logs.size < MIN_CAPTURES:
        raise ValueError(f"{logs.size} healthy captures found, at least {MIN_CAPTURES} needed to calibrate")
    worth = independent(logs)
    slope = min(max(prior.slope, 0.05), 0.95)
    tau_squared = prior.between**2 / (1.0 - slope)  # `between` is what is left once five captures are known
    error = tau_squared * (1.0 / slope - 1.0) * PLAYED_CAPTURES / worth
    trust = tau_squared / (tau_squared + error)
    # Baselines of five minus one captures judge their own worse than those of five judge what comes.
    own_bias = (prior.log_score - prior.own_log_score) * min(1.0, PLAYED_CAPTURES / logs.size)
    surprise = float(logs.mean()) + own_bias - prior.log_score
    mean = prior.log_score + trust * surprise
    between_squared = tau_squared * (1.0 - trust) + tau_squared * (1.0 - trust) ** 2 / prior.sessions
    own_variance = float(logs.var(ddof=1))
    within_squared = (WITHIN_FREEDOM * prior.within**2 + (worth - 1.0) * own_variance) / (WITHIN_FREEDOM + worth - 1.0)
    within = math.sqrt(within_squared)
    quantile = float(stdtrit(PRIOR_FREEDOM + worth - 1.0, 1.0 - false_alarm_rate))
    bound = mean + quantile * math.sqrt(within_squared + between_squared)
    return Limit(math.exp(bound), math.exp(mean + FOLLOW_SPREADS * within), false_alarm_rate, int(logs.size))
