"""This file knows the prognosis protocol: the PHM 2012 score at the official cut, or with one life left out."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.verdicts.context import Context
from benchmarks.verdicts.detection import BUILT_IN, PRODUCT
from benchmarks.verdicts.features import RMS
from benchmarks.verdicts.lives import SHARE, known_healthy, some_lives, whole_lives
from benchmarks.verdicts.metrics import phm_2012_points, rate_of
from benchmarks.verdicts.product import Verdict
from benchmarks.verdicts.recordings import LIFE, WINDOW_S, Head, Part
from benchmarks.verdicts.tables import NOT_IN_FOLDER, Figure, Outcome, Table, number

SHARES = (0.5, 0.7, 0.8, 0.9)  # of a life; where it is cut if no official cut is known
TARGET, BEST_KNOWN = 0.35, ".246"
_MIN_S = 10.0  # one interval of the challenge; a baseline never says that the end has passed


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """Where a life is cut: how many snapshots have been seen, and how long it truly went on."""

    life: Head
    seen: int
    true_s: float

    @property
    def at_s(self) -> float:
        """Time of the last snapshot seen."""
        return float(self.life.start_s[self.seen - 1])


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """What was said at a cut; band and median in seconds, or None."""

    method: str
    cut: Cut
    median_s: float | None
    band_s: tuple[float, float] | None = None

    @property
    def points(self) -> float:
        """By the challenge's score."""
        return phm_2012_points(self.median_s, self.cut.true_s)


Method = Callable[[Context, Cut, Sequence[Head]], float | None]


def phm_2012(context: Context) -> Outcome:
    """Estimates of remaining life at a cut, by a release that has learnt from other lives."""
    outcome = Outcome(
        "remaining-life", "Remaining useful life, PHM 2012 score",
        "Each life runs through the back-test; the estimate is the one of the last snapshot before the cut. Score as "
        "in the PHM 2012 challenge, from the median; no estimate scores 0. Official cut: as the file states, learnt "
        "from the lives in the folder that have none. One life left out: cut at "
        + ", ".join(f"{share:.0%}" for share in SHARES) + " of a life's snapshots, learnt from all other lives; the "
        "first 15 % of the whole life commission. The band is stated as 80 %.",
    )  # fmt: skip
    official = [
        Cut(h, h.n_observed, h.rul_true_s)
        for h in context.heads
        if h.label == LIFE and 0 < h.n_observed <= h.snapshots and h.rul_true_s > 0
    ]
    lives = whole_lives(context.heads)
    if not official and not lives:
        outcome.missing = NOT_IN_FOLDER
        return outcome
    if official:
        taught = [h for h in lives if h.n_observed < 0]
        found = _estimates(context, official, lambda _life: taught)
        outcome.tables += _tables("Official cut", found)
        outcome.figures.append(
            Figure("PHM 2012 score, official cut", _mean_points(found, PRODUCT), "at least", TARGET, BEST_KNOWN)
        )
        outcome.data["official"] = _data(found)
    else:
        outcome.missing = f"official cut: {NOT_IN_FOLDER}"
    if len(lives) > 1:
        tested = some_lives(lives, quick=context.quick)
        cuts = [
            Cut(life, seen, float(life.start_s[-1] - life.start_s[seen - 1]))
            for life in tested
            for seen in (math.floor(share * life.snapshots) for share in SHARES)
        ]
        found = _estimates(context, cuts, lambda life: [other for other in lives if other is not life])
        outcome.tables += _tables("One life left out", found)
        outcome.figures.append(
            Figure("PHM 2012 score, one life left out", _mean_points(found, PRODUCT), "at least", TARGET, BEST_KNOWN)
        )
        outcome.data["left_out"] = _data(found)
    return outcome


def as_long_again(_context: Context, cut: Cut, _others: Sequence[Head]) -> float:
    """It will last as long as it has lasted."""
    return max(cut.at_s, _MIN_S)


def mean_life(_context: Context, cut: Cut, others: Sequence[Head]) -> float | None:
    """It will live as long as the others did on average."""
    if not others:
        return None
    return max(float(np.mean([other.start_s[-1] for other in others])) - cut.at_s, _MIN_S)


def rms_trend(context: Context, cut: Cut, others: Sequence[Head]) -> float | None:
    """A line through the last third of log RMS reaches the level at which the others ended; None without a rise."""
    if not others:
        return None
    level = _log_rms(context, cut.life)[: cut.seen]
    last = slice(cut.seen - max(3, cut.seen // 3), cut.seen)
    slope, start = np.polyfit(cut.life.start_s[last], level[last], 1)
    end = float(np.mean([_log_rms(context, other)[-5:].mean() for other in others]))
    return max((end - float(start)) / float(slope) - cut.at_s, _MIN_S) if slope > 0 else None


METHODS: dict[str, Method] = {
    "as long again": as_long_again,
    "mean life of the others": mean_life,
    "trend of log RMS": rms_trend,
}


def _log_rms(context: Context, life: Head) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Of the loudest channel, shape (snapshots,)."""
    return np.asarray(context.features.rows([Part(life)], life.natural_window_s)[:, :, RMS[0]].max(axis=1))


def _estimates(context: Context, cuts: Sequence[Cut], others: Callable[[Head], Sequence[Head]]) -> list[Estimate]:
    found = []
    for life in dict.fromkeys(cut.life for cut in cuts):
        context.tell(f"remaining life: {life.recording}")
        release = context.product.release(known_healthy(context), window_s=WINDOW_S, lives=others(life))
        mine = [cut for cut in cuts if cut.life is life]
        for method, chosen in ((PRODUCT, release), (BUILT_IN, None)):
            (answer,) = context.product.lives([life], release=chosen, share=SHARE)
            found += [_of_product(method, cut, answer[cut.seen - 1]) for cut in mine]
        for method, estimate in METHODS.items():
            found += [Estimate(method, cut, estimate(context, cut, others(life))) for cut in mine]
    return found


def _of_product(method: str, cut: Cut, verdict: Verdict) -> Estimate:
    if verdict.remaining_s is None:
        return Estimate(method, cut, None)
    low, median, high = verdict.remaining_s
    return Estimate(method, cut, median, (low, high))


def _mean_points(found: Sequence[Estimate], method: str) -> float:
    return float(np.mean([e.points for e in found if e.method == method]))


def _tables(title: str, found: Sequence[Estimate]) -> list[Table]:
    rows = []
    for method in dict.fromkeys(e.method for e in found):
        mine = [e for e in found if e.method == method]
        banded = [e.band_s[0] <= e.cut.true_s <= e.band_s[1] for e in mine if e.band_s]
        rows.append((
            method, number(_mean_points(mine, method)), str(rate_of([e.median_s is not None for e in mine])),
            str(rate_of(banded)) if banded else "no band",
        ))  # fmt: skip
    detail = [
        (
            e.cut.life.recording, f"{e.cut.seen / e.cut.life.snapshots:.0%} ({e.cut.seen})", number(e.cut.true_s, 0),
            *(number(s, 0) for s in (e.band_s[0] if e.band_s else None, e.median_s, e.band_s[1] if e.band_s else None)),
            number(e.points),
        )
        for e in found if e.method == PRODUCT
    ]  # fmt: skip
    lives = len({e.cut.life.recording for e in found})
    return [
        Table(f"{title}: {lives} lives", ("method", "score", "answered", "truth within the band"), tuple(rows)),
        Table(
            f"{title}: Undertone, seconds", ("life", "cut", "true", "low", "median", "high", "points"), tuple(detail)
        ),
    ]


def _data(found: Sequence[Estimate]) -> list[dict[str, object]]:
    return [
        {"method": e.method, "life": e.cut.life.recording, "seen": e.cut.seen, "true_s": e.cut.true_s,
         "median_s": e.median_s, "band_s": list(e.band_s) if e.band_s else None, "points": e.points}
        for e in found
    ]  # fmt: skip
