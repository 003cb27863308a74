"""This file knows how the learning stands: whether a round hangs and on whom, and who is worse off with the fleet.

Pure: it judges what was read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from dashboard.queries.federation import Federation, FitRecord, RoundEntry, UpdateRecord

PATIENCE_S = 120.0  # a round asks twice, each within its deadline of tens of seconds
TIMES_USUAL = 3.0
PAUSES = 5.0  # usual times between two rounds without one
FEWEST_ROUNDS = 5  # below which nothing is usual
MARGIN = 0.01  # AUROC; below it two models are called equal, as a release may lose at most so much


@dataclass(frozen=True, slots=True)
class Stalled:
    """A round that hangs, or that nobody began.

    Attributes:
        round_id: Which is open; None when the next one has not begun.
        since_us: Since when: its start, or the end of the last one.
        waits_for: Members that were asked and have not answered.
        usual_s: How long it takes else; None when nothing is usual yet.
    """

    round_id: int | None
    since_us: int
    waits_for: tuple[str, ...]
    usual_s: float | None


@dataclass(frozen=True, slots=True)
class Benefit:
    """Machines by what the fleet's model is to them, worst first."""

    worse: tuple[FitRecord, ...]
    same: tuple[FitRecord, ...]
    better: tuple[FitRecord, ...]


def stalled(found: Federation, now_us: int) -> Stalled | None:
    """Whether the learning hangs; a site's rounds and those the enterprise asked for alike."""
    if not found.rounds:
        return None
    newest = max(found.rounds, key=lambda entry: entry.row.round_id)
    lasted = _usual([(e.row.ended_at_us - e.row.started_at_us) / 1e6 for e in found.rounds if e.row.ended_at_us])
    if newest.row.ended_at_us is None:
        age_s = (now_us - newest.row.started_at_us) / 1e6
        if age_s <= max(PATIENCE_S, TIMES_USUAL * (lasted or 0.0)):
            return None
        return Stalled(newest.row.round_id, newest.row.started_at_us, unanswered(newest, found), lasted)
    starts = sorted(entry.row.started_at_us for entry in found.rounds)
    between = _usual([(later - earlier) / 1e6 for earlier, later in pairwise(starts)])
    if between is None or (now_us - newest.row.ended_at_us) / 1e6 <= max(PATIENCE_S, PAUSES * between):
        return None
    return Stalled(None, newest.row.ended_at_us, (), between)


def unanswered(entry: RoundEntry, found: Federation) -> tuple[str, ...]:
    """Who was asked in a round and has not answered."""
    answered = {update.member for update in found.of_round(entry.row.round_id) if update.reason != "no_reply"}
    return tuple(member for member in entry.invited if member not in answered)


def came_late(entry: RoundEntry, found: Federation) -> tuple[str, ...]:
    """Who answered a round after it had ended."""
    return tuple(update.member for update in found.of_round(entry.row.round_id) if update.reason == "late")


def rejected(entry: RoundEntry, found: Federation) -> tuple[UpdateRecord, ...]:
    """What came in time and does not count."""
    return tuple(
        update for update in found.of_round(entry.row.round_id) if update.reason not in {"", "late", "no_reply"}
    )


def benefit(fits: Sequence[FitRecord]) -> Benefit:
    """Sort machines by what they gain."""
    return Benefit(
        worse=tuple(fit for fit in fits if fit.gain < -MARGIN),
        same=tuple(fit for fit in fits if -MARGIN <= fit.gain <= MARGIN),
        better=tuple(fit for fit in fits if fit.gain > MARGIN),
    )


def _usual(spans_s: Sequence[float]) -> float | None:
    return median(spans_s) if len(spans_s) >= FEWEST_ROUNDS else None
