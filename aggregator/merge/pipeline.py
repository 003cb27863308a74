"""This file knows the order of a merge: validate, screen, clip, rule; and what it says about itself.

The same updates give the same digest, in whatever order they came.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from aggregator.merge.clip import clip_to_median
from aggregator.merge.centres import centred_clipping, geometric_median
from aggregator.merge.coordinates import coordinate_median, trimmed_mean
from aggregator.merge.mean import weighted_mean
from aggregator.merge.neighbours import krum, multi_krum, nearest_neighbour_mixing
from aggregator.merge.tolerance import tolerated
from aggregator.merge.trust import fltrust
from aggregator.merge.validate import Base, Limits, Rejection, Update, screen, validate

Rule = Literal["auto", "mean", "median", "trimmed_mean", "robust"]
UsedRule = Literal["none", "mean", "median", "trimmed_mean", "robust"]

MEDIAN_FROM = 3  # of two, nobody can say which is wrong
ROBUST_FROM = 7  # below that, one wrong member in five is less than one, and neighbours are too few to mix


@dataclass(frozen=True, slots=True, eq=False)
class MergeOutcome:
    """What came of a merge.

    Attributes:
        delta: What to add to the base's parameters, shape (P,), float32; None when no update was accepted.
        accepted: Members whose updates count, by name, with their weights.
        rejected: Members whose updates do not, with the reason.
        rule_used: What was in fact calculated.
        notes: Sentences for people: fall-backs, and who was clipped.
        digest: sha256 of `delta`; empty without one.
    """

    delta: NDArray[np.float32] | None
    accepted: Mapping[str, float]
    rejected: Mapping[str, Rejection]
    rule_used: UsedRule
    notes: tuple[str, ...]
    digest: str


def merge(updates: Iterable[Update], base: Base, rule: Rule = "auto", *, limits: Limits | None = None) -> MergeOutcome:
    """Merge what members have learnt.

    Args:
        updates: As they came; one a member.
        base: What they should have started from.
        rule: `auto` is clip, mixing and trimmed mean from 7 updates on, clip and median from 3, else the mean.
        limits: What one update may be.
    """
    accepted, rejections = _sort_out(updates, base, limits or Limits())
    rejected = {each.member: each for each in rejections}
    if not accepted:
        return MergeOutcome(None, {}, rejected, "none", ("no update was accepted",), "")
    used, notes = _choose(rule, len(accepted))
    delta = _calculate(used, accepted, notes).astype(np.float32)
    weights = {update.member: update.weight for update in accepted}
    return MergeOutcome(delta, weights, rejected, used, tuple(notes), hashlib.sha256(delta.tobytes()).hexdigest())


def _sort_out(updates: Iterable[Update], base: Base, limits: Limits) -> tuple[list[Update], list[Rejection]]:
    valid: list[Update] = []
    rejected: list[Rejection] = []
    for update in sorted(updates, key=lambda each: each.member):
        judged = validate(update, base, limits)
        if isinstance(judged, Rejection):
            rejected.append(judged)
        else:
            valid.append(judged)
    accepted, outliers = screen(valid)
    return accepted, [*rejected, *outliers]


def _choose(rule: Rule, count: int) -> tuple[UsedRule, list[str]]:
    if rule == "mean" or (rule != "auto" and count >= MEDIAN_FROM):
        return cast("UsedRule", rule), []
    if count < MEDIAN_FROM:
        return "mean", [f"{count} updates: the mean is used, no rule can tell a wrong one from a right one"]
    if count < ROBUST_FROM:
        return "median", [f"{count} updates: the median is used, one wrong member is the most it withstands"]
    return "robust", []


def _calculate(rule: UsedRule, accepted: list[Update], notes: list[str]) -> NDArray[np.float64]:
    if rule == "mean":
        return weighted_mean((update.delta, update.weight) for update in accepted)
    deltas = np.stack([update.delta.astype(np.float64) for update in accepted])
    clipped = clip_to_median(deltas)
    loud = [
        update.member
        for update, before, after in zip(accepted, deltas, clipped, strict=True)
        if not np.array_equal(before, after)
    ]
    if loud:
        notes.append(f"clipped to the median norm: {', '.join(loud)}")
    wrong = tolerated(len(accepted))
    if rule == "median":
        return coordinate_median(clipped)
    if rule == "trimmed_mean":
        return trimmed_mean(clipped, wrong)
    return trimmed_mean(nearest_neighbour_mixing(clipped, wrong), wrong)
