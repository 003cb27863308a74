"""This file knows how updates learnt from older releases take part: shortened, and with one voice a member."""

import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby

import numpy as np

from aggregator.merge.validate import Update


def staleness_share(behind: int) -> float:
    """How much of an update counts that is so many releases behind: 1 / sqrt(1 + behind).

    References:
        Nguyen et al. (2022), FedBuff, arXiv:2106.06639, section 4, polynomial with exponent 1/2.
    """
    return 1.0 / math.sqrt(1.0 + behind)


def discount(update: Update) -> Update:
    """Shorten a stale update; its weight stays.

    FedBuff adds share x delta and divides by the whole count. Taking the share off the weight instead would have no
    effect in a rule without weights, and none on a buffer whose updates are all equally stale.
    """
    if not update.staleness:
        return update
    return replace(update, delta=update.delta.astype(np.float64) * staleness_share(update.staleness))


def one_voice(updates: Iterable[Update]) -> list[Update]:
    """Make one update of all those of a member: their weighted mean, with their weights added.

    Under the mean that changes nothing. Under every other rule a member that has sent five still counts once.
    """
    voices = []
    for _, group in groupby(sorted(updates, key=lambda each: each.member), key=lambda each: each.member):
        mine = list(group)
        voices.append(mine[0] if len(mine) == 1 else _joined(mine))
    return voices


def _joined(mine: list[Update]) -> Update:
    # Sums of floats depend on their order, and the digest of a merge must not.
    mine.sort(key=lambda each: (each.base_version, each.weight, each.delta.astype("<f8").tobytes()))
    weight = sum(each.weight for each in mine)
    delta = sum((each.weight * each.delta.astype(np.float64) for each in mine), np.zeros(mine[0].delta.shape)) / weight
    staleness, rounds = max(each.staleness for each in mine), max(each.rounds for each in mine)
    return replace(mine[-1], delta=delta, weight=weight, staleness=staleness, rounds=rounds)
