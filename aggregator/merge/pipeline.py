"""This file knows the order of a merge: validate, screen, discount, one voice, clip or level, rule, accept.

Updates are gone through twice: once to judge and measure them, then to merge those that are believed. The mean never
holds more than one member's at a time; every other rule needs all of them beside each other.

The same updates give the same digest, in whatever order they came. Every rule but the mean is set for the same number
of wrong members, `tolerance.tolerated`. Rules that make every update equally long do not see how stale one is.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from aggregator.merge.centres import centred_clipping, geometric_median
from aggregator.merge.clip import clip_to, clip_to_median, level_to_median
from aggregator.merge.coordinates import coordinate_median, trimmed_mean
from aggregator.merge.mean import weighted_mean
from aggregator.merge.neighbours import krum, multi_krum, nearest_neighbour_mixing
from aggregator.merge.rule_names import ChosenRule, ClippedRule, Rule, UsedRule
from aggregator.merge.staleness import discount, one_voice
from aggregator.merge.tolerance import tolerated
from aggregator.merge.trust import fltrust
from aggregator.merge.validate import (
    Base,
    Limits,
    Measured,
    Rejection,
    Update,
    Usual,
    norm,
    screen,
    validate,
)

Deltas = NDArray[np.float64]

Step = Callable[[Deltas, int], Deltas]
"""From updates (n, P), of which so many may be wrong, to other updates (n, P); the last step to one, (P,)."""


def _whatever_their_number(step: Callable[[Deltas], Deltas]) -> Step:
    return lambda deltas, _wrong: step(deltas)


CLIP, LEVEL = _whatever_their_number(clip_to_median), _whatever_their_number(level_to_median)
STEPS: dict[ClippedRule, tuple[Step, ...]] = {
    "median": (CLIP, _whatever_their_number(coordinate_median)),
    "trimmed_mean": (CLIP, trimmed_mean),
    "krum": (CLIP, krum),
    "multi_krum": (CLIP, multi_krum),
    "geometric_median": (CLIP, _whatever_their_number(geometric_median)),
    "centred_clipping": (CLIP, _whatever_their_number(centred_clipping)),
    "robust": (CLIP, nearest_neighbour_mixing, trimmed_mean),
    "levelled": (LEVEL, nearest_neighbour_mixing, trimmed_mean),
}
"""What happens to accepted updates, in this order. The default is `robust`, see docs/proof/robust_rules.md."""

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
        norms: Of each accepted member, as the next merges compare with it; see `Measured.comparable_norm`.
    """

    delta: NDArray[np.float32] | None
    accepted: Mapping[str, float]
    rejected: Mapping[str, Rejection]
    rule_used: UsedRule
    notes: tuple[str, ...]
    digest: str
    norms: Mapping[str, float] = field(default_factory=dict)


def merge(
    updates: Iterable[Update],
    base: Base,
    rule: Rule = "auto",
    *,
    limits: Limits | None = None,
    root: NDArray[np.float32] | None = None,
    usual: Usual | None = None,
) -> MergeOutcome:
    """Merge what members have learnt.

    Args:
        updates: As they came; a member's stale ones may stand beside its fresh one. Of a `ReadLater` no more are held
            than the rule needs.
        base: What they should have started from.
        rule: `auto` is clip, mixing and trimmed mean from 7 updates on, clip and median from 3, else the mean.
        limits: What one update may be.
        root: What the server learnt on healthy rows of its own, shape (P,), for `fltrust`; without it `auto` is used.
        usual: What one or two members are compared with, and shortened to.
    """
    usual = usual or Usual()
    updates = updates if isinstance(updates, Sequence) else list(updates)
    believed, rejections = _sort_out(updates, base, limits or Limits(), usual)
    rejected = {each.member: each for each in rejections}
    if not believed:
        return MergeOutcome(None, {}, rejected, "none", ("no update was accepted",), "")
    count = len({each.member for each in believed})
    used, notes = _choose(rule, count, has_root=root is not None)
    weights: dict[str, float] = {}
    accepted = _voices(updates, believed, weights)
    if count < MEDIAN_FROM:
        accepted = iter(_shortened(list(accepted), usual, notes))
    delta = accept(_calculate(used, accepted, count, root, notes))
    if delta is None:
        return MergeOutcome(None, {}, rejected, used, (*notes, "the merged update does not fit float32"), "")
    norms = {each.member: each.comparable_norm for each in believed}
    digest = hashlib.sha256(delta.tobytes()).hexdigest()
    return MergeOutcome(delta, weights, rejected, used, tuple(notes), digest, norms)


def accept(delta: Deltas) -> NDArray[np.float32] | None:
    """Round the merged update to what gateways run; None when it is not finite there.

    Whether members are better off with it is asked of them afterwards, by `aggregator.learning.strategy`.
    """
    fits = np.abs(delta) <= np.finfo(np.float32).max
    return delta.astype(np.float32) if bool(fits.all()) else None


def _sort_out(
    updates: Sequence[Update], base: Base, limits: Limits, usual: Usual
) -> tuple[list[Measured], list[Rejection]]:
    """Who is believed and who is not, each by name of the member."""
    valid: list[Measured] = []
    rejected: list[Rejection] = []
    for place, update in enumerate(updates):
        judged = validate(update, base, limits)
        if isinstance(judged, Rejection):
            rejected.append(judged)
        else:
            valid.append(Measured(place, judged.member, norm(judged.delta), judged.staleness, judged.rounds))
    valid.sort(key=lambda each: each.member)
    rejected.sort(key=lambda each: each.member)
    believed, outliers = screen(valid, usual, factor=limits.screen_factor)
    return believed, [*rejected, *outliers]


def _voices(updates: Sequence[Update], believed: Iterable[Measured], weights: dict[str, float]) -> Iterator[Update]:
    """One update a member, by name, each read when the one before is done with; what it weighs goes into `weights`."""
    for member, group in groupby(believed, key=lambda each: each.member):
        (voice,) = one_voice(discount(replace(updates[each.place], staleness=each.staleness)) for each in group)
        weights[member] = voice.weight
        yield voice


def _shortened(accepted: Sequence[Update], usual: Usual, notes: list[str]) -> list[Update]:
    """Let no update of one or two members go further than is usual: there is no median to clip them to."""
    most = usual.norm
    if most is None:
        return list(accepted)
    short = [replace(update, delta=clip_to(update.delta, most * update.rounds)) for update in accepted]
    loud = [update.member for update, one in zip(accepted, short, strict=True) if one.delta is not update.delta]
    if loud:
        notes.append(f"shortened to what was accepted lately: {', '.join(loud)}")
    return short


def _choose(rule: Rule, count: int, *, has_root: bool) -> tuple[ChosenRule, list[str]]:
    if rule == "mean" or (rule == "fltrust" and has_root):
        return rule, []
    if count < MEDIAN_FROM:
        return "mean", [f"{count} updates: the mean is used, no rule can tell a wrong one from a right one"]
    notes = []
    if rule == "fltrust":
        notes = ["the server learnt nothing of its own to compare with: fltrust is not used"]
    elif rule != "auto":
        return rule, []
    if count < ROBUST_FROM:
        return "median", [*notes, f"{count} updates: the median is used, one wrong member is the most it withstands"]
    return "robust", notes


def _calculate(
    rule: ChosenRule, accepted: Iterator[Update], count: int, root: NDArray[np.float32] | None, notes: list[str]
) -> Deltas:
    if rule == "mean":
        return weighted_mean((update.delta, update.weight) for update in accepted)
    members, deltas = _side_by_side(accepted, count)
    if rule == "fltrust":
        assert root is not None  # _choose asks
        return fltrust(deltas, root.astype(np.float64))
    lengths = [norm(delta) for delta in deltas]
    longest = float(np.median(lengths))
    loud = [member for member, length in zip(members, lengths, strict=True) if length > longest]
    if loud:
        notes.append(f"shortened to the median norm: {', '.join(loud)}")
    wrong = tolerated(count)
    for step in STEPS[rule]:
        deltas = step(deltas, wrong)
    return deltas


def _side_by_side(accepted: Iterator[Update], count: int) -> tuple[list[str], Deltas]:
    """Names and updates (n, P) in double precision; never a second copy of them all."""
    first = next(accepted)
    members, deltas = [first.member], np.empty((count, *first.delta.shape))
    deltas[0] = first.delta
    for place, update in enumerate(accepted, start=1):
        members.append(update.member)
        deltas[place] = update.delta
    return members, deltas
