"""This file knows which updates may take part in a merge: each alone first, then each beside the others."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCREEN_MIN_UPDATES = 3  # a median of two norms says nothing about either
SCREEN_FACTOR = 10.0  # honest members trained the same steps from the same base; their norms differ by 2 to 3


@dataclass(frozen=True, slots=True, eq=False)
class Update:
    """What one member says it has learnt.

    Attributes:
        member: Who, as its key says.
        base_version: What it started from.
        delta: New parameters minus those, shape (P,).
        weight: Its voice in a weighted mean, in rows.
        staleness: Merges that have happened since its base.
    """

    member: str
    base_version: int
    delta: NDArray[Any]
    weight: float
    staleness: int = 0


@dataclass(frozen=True, slots=True)
class Base:
    """What the merge starts from: its version, and how many parameters it has."""

    version: int
    parameter_count: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What one update may be.

    Attributes:
        max_weight: More rows than this nobody has; a count beyond it is a claim, not a count.
        max_staleness: How many versions behind an update may be; `staleness.discount` says how much it then counts.
    """

    max_weight: float = 4096.0
    max_staleness: int = 0


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a member's update does not count: one stable word, and a sentence for people."""

    member: str
    reason: str
    text: str


def validate(update: Update, base: Base, limits: Limits) -> Update | Rejection:
    """Judge one update alone; what is returned knows its staleness.

    Reasons: wrong_dtype, wrong_shape, not_finite, bad_weight, wrong_base.
    """
    delta, who = update.delta, update.member
    if delta.dtype not in (np.float32, np.float64):
        return Rejection(who, "wrong_dtype", f"delta is {delta.dtype}, float32 allowed")
    if delta.shape != (base.parameter_count,):
        return Rejection(who, "wrong_shape", f"delta has shape {delta.shape}, ({base.parameter_count},) allowed")
    if not np.isfinite(delta).all():
        bad = int(np.count_nonzero(~np.isfinite(delta)))
        return Rejection(who, "not_finite", f"{bad} of {delta.size} values are NaN or infinite")
    if not (math.isfinite(update.weight) and 0 < update.weight <= limits.max_weight):
        return Rejection(who, "bad_weight", f"weight {update.weight:g} found, above 0 to {limits.max_weight:g} allowed")
    behind = base.version - update.base_version
    if not 0 <= behind <= limits.max_staleness:
        return Rejection(
            who, "wrong_base",
            f"learnt on release {update.base_version}, {base.version - limits.max_staleness} to {base.version} allowed",
        )  # fmt: skip
    return replace(update, staleness=behind)


def screen(updates: Sequence[Update]) -> tuple[list[Update], list[Rejection]]:
    """Take out updates far larger than the others; reason norm_outlier. Updates must have passed `validate`."""
    if len(updates) < SCREEN_MIN_UPDATES:
        return list(updates), []
    norms = [norm(update.delta) for update in updates]
    most = SCREEN_FACTOR * float(np.median(norms))
    if most == 0.0:
        return list(updates), []
    kept = [update for update, size in zip(updates, norms, strict=True) if size <= most]
    rejected = [
        Rejection(update.member, "norm_outlier", f"norm {size:.3g} found, the median of all allows {most:.3g}")
        for update, size in zip(updates, norms, strict=True)
        if size > most
    ]
    return kept, rejected


def norm(delta: NDArray[Any]) -> float:
    """Euclidean length in double precision."""
    return float(np.linalg.norm(delta.astype(np.float64)))
