"""This file knows which updates may take part in a merge: each alone first, then each beside the others."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

SCREEN_MIN_MEMBERS = 3  # a median of two norms says nothing about either
# Ten times a member's own norm must be refused, and no honest norm: with the root of ten both hold as long as honest
# norms of a round differ by less than that. Measured: by 2.6 at most, docs/proof/robust_rules.md.
SCREEN_FACTOR = 10.0**0.5
SITE_SCREEN_FACTOR = 10.0  # what a site of one gateway says is up to 3.8 times as long as what sites of ten say


@dataclass(frozen=True, slots=True, eq=False)
class Update:
    """What one member says it has learnt.

    Attributes:
        member: Who, as its key says.
        base_version: What it started from.
        delta: New parameters minus those, shape (P,).
        weight: Its voice in a weighted mean, in rows.
        staleness: Merges that have happened since its base.
        rounds: How many rounds of its own a site has put into it.
    """

    member: str
    base_version: int
    delta: NDArray[Any]
    weight: float
    staleness: int = 0
    rounds: int = 1


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
        screen_factor: Times the median norm, or the usual one: a longer update is refused.
    """

    max_weight: float = 4096.0
    max_staleness: int = 0
    screen_factor: float = SCREEN_FACTOR


@dataclass(frozen=True, slots=True)
class Usual:
    """What updates are compared with where they are too few to be compared with each other.

    Attributes:
        recent: Norms of updates that were accepted lately, asked for in the same way; see `comparable_norm`.
        reach: As far as the steps that were asked for lead; used while nothing was accepted yet.
    """

    recent: Sequence[float] = ()
    reach: float | None = None

    @property
    def norm(self) -> float | None:
        """The lower median of the recent ones: of two members, the louder does not lift it."""
        return sorted(self.recent)[(len(self.recent) - 1) // 2] if self.recent else None


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a member's update does not count: one stable word, and a sentence for people."""

    member: str
    reason: str
    text: str


class ReadLater(Sequence[Update]):
    """Updates of which each is read when it is asked for, every time anew: where they lie, not here, they are kept."""

    def __init__(self, count: int, read: Callable[[int], Update]) -> None:
        self._places = range(count)
        self._read = read

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> Update: ...
    @overload
    def __getitem__(self, place: slice) -> "ReadLater": ...
    def __getitem__(self, place: int | slice) -> "Update | ReadLater":
        if isinstance(place, slice):
            places = self._places[place]
            return ReadLater(len(places), lambda each: self._read(places[each]))
        return self._read(self._places[place])


@dataclass(frozen=True, slots=True)
class Measured:
    """What is remembered of a valid update while others are looked at.

    Attributes:
        place: Where it stands among the updates.
        member: Whose it is.
        norm: Its length.
        staleness: As `validate` found it.
        rounds: Of its member's own.
    """

    place: int
    member: str
    norm: float
    staleness: int
    rounds: int

    @property
    def comparable_norm(self) -> float:
        """Its norm, and of several rounds the least that one of them can have come to.

        So many rounds lead between root(rounds) times as far as one, in any direction each, and rounds times, straight
        on.
        """
        return self.norm / math.sqrt(self.rounds)


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


def screen(
    updates: Sequence[Measured], usual: Usual | None = None, *, factor: float = SCREEN_FACTOR
) -> tuple[list[Measured], list[Rejection]]:
    """Take out updates far larger than the others; reason norm_outlier. Updates must have passed `validate`.

    Args:
        updates: Before stale ones are shortened; of a member with several, each is judged, and one norm counts.
        usual: What fewer than `SCREEN_MIN_MEMBERS` are compared with; without it they all pass.
        factor: See `Limits.screen_factor`.
    """
    most, said = _longest(updates, usual or Usual(), factor)
    if not most:
        return list(updates), []
    kept, rejected = [], []
    for update in updates:
        allowed = most * update.rounds
        if update.norm <= allowed:
            kept.append(update)
        else:
            text = f"norm {update.norm:.3g} found, {said} {allowed:.3g}"
            rejected.append(Rejection(update.member, "norm_outlier", text))
    return kept, rejected


def _longest(updates: Sequence[Measured], usual: Usual, factor: float) -> tuple[float, str]:
    """The longest way of one round that is believed, 0 where nothing says so, and by what."""
    norms: dict[str, list[float]] = {}
    for update in updates:
        norms.setdefault(update.member, []).append(update.comparable_norm)
    if len(norms) >= SCREEN_MIN_MEMBERS:
        return factor * median(median(own) for own in norms.values()), "the median of all allows"
    if usual.norm is not None:
        return factor * usual.norm, "what was accepted lately allows"
    return usual.reach or 0.0, "the steps that were asked for lead at most"


def norm(delta: NDArray[Any]) -> float:
    """Euclidean length in double precision."""
    return float(np.linalg.norm(delta.astype(np.float64)))
