"""This file knows how a healthy session is told to the fleet: as sums, after it has played the newcomer to itself.

A session is a series of healthy captures of one point under one condition. Nothing in its sums says what the machine
sounds like: only how much it varied, and how well a baseline of a few captures foretold the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway_agent.baseline import Baseline, expected_variance
from gateway_agent.limits import FOLLOW_SPREADS, held_back_log_scores, log_score
from schemas.variation import (
    MAX_LOG_RATIO,
    MAX_LOG_SCORE,
    PLAYED_CAPTURES,
    HealthyPrior,
    Layout,
    SessionSums,
    Variation,
)
from vibration.detection_features import estimation_scatter_decades

FloatArray = NDArray[np.float64]

MIN_SESSION = 3  # captures: two differences; fewer have no scatter to tell
MIN_PLAYED = PLAYED_CAPTURES + 2
MAX_PLAYS = 8
FOLLOWED_CAPTURES = 40


@dataclass(frozen=True, slots=True, eq=False)
class Session:
    """Healthy captures of one point under one condition, in time order; features (n, channels, DETECTION_COUNT)."""

    features: FloatArray
    layout: Layout


def variation_of(features: FloatArray, layout: Layout) -> Variation:
    """Tell how much a session varied.

    Differences of neighbours (von Neumann 1941) see the scatter from capture to capture and not the drift.

    Args:
        features: Detection features of healthy captures in time order, shape (n, channels, F).
        layout: Rate and length of the captures.
    """
    if len(features) < MIN_SESSION:
        return Variation()
    variance = (np.diff(features, axis=0) ** 2).mean(axis=0) / 2.0
    ratio = np.log(variance / estimation_scatter_decades(*layout) ** 2 + 1e-6).mean(axis=0)
    return Variation({layout: SessionSums(1.0, np.clip(ratio, -MAX_LOG_RATIO, MAX_LOG_RATIO))})


def plays_of(features: FloatArray, layout: Layout, others: Variation) -> Variation:
    """Let a session play the newcomer: a baseline of five captures, judged on those that follow.

    Args:
        features: As in `variation_of`.
        layout: Likewise.
        others: What everybody but this session knows.
    """
    if len(features) < MIN_PLAYED:
        return Variation()
    prior = others.prior(*layout)
    expected = expected_variance(prior, *layout)
    last = len(features) - MIN_PLAYED
    starts = np.unique(np.linspace(0, last, min(last + 1, MAX_PLAYS)).astype(int))
    played = [_play(features[start:], expected, prior) for start in starts]
    score, within, own = (np.array(part) for part in zip(*played, strict=True))
    score, own = np.clip(score, -MAX_LOG_SCORE, MAX_LOG_SCORE), np.clip(own, -MAX_LOG_SCORE, MAX_LOG_SCORE)
    plays = [
        score.mean(), (score**2).mean(), np.minimum(within, MAX_LOG_SCORE).mean(), own.mean(), (own**2).mean(),
        (own * score).mean(),
    ]  # fmt: skip
    return Variation({layout: SessionSums(0.0, np.zeros(features.shape[-1]), 1.0, np.array(plays, np.float64))})


def _play(features: FloatArray, expected: FloatArray, prior: HealthyPrior) -> tuple[float, float, float]:
    own = features[:PLAYED_CAPTURES]
    baseline = Baseline.learn(own, expected)
    follow = prior.log_score + FOLLOW_SPREADS * prior.within
    logs = []
    for capture in features[PLAYED_CAPTURES : PLAYED_CAPTURES + FOLLOWED_CAPTURES]:
        logs.append(log_score(baseline.standardise(capture)))
        if logs[-1] <= follow:
            baseline.follow(capture)
    return float(np.mean(logs)), float(np.var(logs, ddof=1)), float(held_back_log_scores(own, expected).mean())


def answer_variation(sessions: Sequence[Session], known: Variation | None) -> Variation:
    """Answer the fleet: the sums of all sessions, or their plays once `known` holds everybody's sums."""
    answer = Variation()
    for session in sessions:
        own = variation_of(session.features, session.layout)
        answer = answer + (own if known is None else plays_of(session.features, session.layout, known - own))
    return answer
