"""This file knows how verdicts are scored: rates, balanced accuracy, what makes a life's alarm useful, RUL points."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

QUIET_SHARE = 0.40  # of a life: up to here an alarm is taken as false, from here on as due
USEFUL_LEAD_S = 300.0
NEEDED_LEAD_S = 60.0
USEFUL_FALSE_EVENTS = 1
USEFUL_HELD = 0.5


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with what it was counted on."""

    count: int
    of: int

    @property
    def value(self) -> float:
        """The share, NaN of nothing."""
        return self.count / self.of if self.of else math.nan

    def __add__(self, other: "Rate") -> "Rate":
        return Rate(self.count + other.count, self.of + other.of)

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.count}/{self.of})"


NOTHING = Rate(0, 0)


def rate_of(flags: Flags | Sequence[bool]) -> Rate:
    """How many are set."""
    return Rate(int(np.count_nonzero(flags)), len(flags))


def balanced_accuracy_at(healthy: Floats, faulty: Floats, *, false_alarm_rate: float) -> tuple[float, Rate, Rate]:
    """Best balanced accuracy of any threshold whose false alarms stay within a rate; chosen afterwards, so generous.

    Args:
        healthy: Scores of healthy windows, at least one.
        faulty: Scores of faulty windows, at least one.
        false_alarm_rate: Largest allowed share of healthy windows above the threshold.

    Returns:
        Balanced accuracy, false alarms and detections at that threshold.
    """
    allowed = math.floor(false_alarm_rate * healthy.size + 1e-9)
    best = (-1.0, NOTHING, NOTHING)
    for threshold in np.sort(healthy)[::-1][: allowed + 1]:
        false, true = rate_of(healthy > threshold), rate_of(faulty > threshold)
        if false.count <= allowed:
            best = max(best, ((1.0 - false.value + true.value) / 2.0, false, true), key=lambda found: found[0])
    return best


@dataclass(frozen=True, slots=True)
class LifeOutcome:
    """What an alarm was worth over one life.

    Attributes:
        lead_s: From the first snapshot with an active alarm at or after 40 % of the life to the last snapshot;
            None if there is no such alarm.
        false_events: Alarms raised, or standing already, between commissioning and 40 % of the life.
        held: Share of the snapshots with an active alarm, from the first alarm at or after 40 % on; 0 without one.
    """

    lead_s: float | None
    false_events: int
    held: float

    @property
    def warned(self) -> bool:
        """At least a minute of lead."""
        return self.lead_s is not None and self.lead_s >= NEEDED_LEAD_S

    @property
    def useful(self) -> bool:
        """At least five minutes of lead, at most one false event, held for at least half of the rest."""
        return (
            self.lead_s is not None
            and self.lead_s >= USEFUL_LEAD_S
            and self.false_events <= USEFUL_FALSE_EVENTS
            and self.held >= USEFUL_HELD
        )


def life_outcome(alarm: Flags, at_s: Floats, *, commissioned: int) -> LifeOutcome:
    """Judge the alarms of one life; shares are of its snapshots.

    Args:
        alarm: Alarm active, a snapshot, shape (n,).
        at_s: Start of each snapshot, shape (n,).
        commissioned: How many of the first snapshots were the commissioning; their alarms do not count.
    """
    due = math.ceil(QUIET_SHARE * alarm.size)
    quiet = np.concatenate([[False], alarm[commissioned:due]])
    events = int(np.count_nonzero(quiet[1:] & ~quiet[:-1]))
    raised = np.flatnonzero(alarm[due:])
    if not raised.size:
        return LifeOutcome(None, events, 0.0)
    first = due + int(raised[0])
    return LifeOutcome(float(at_s[-1] - at_s[first]), events, float(alarm[first:].mean()))


def persistent(exceeds: Flags, *, raised_by: int = 3, of: int = 5) -> Flags:
    """Turn single windows into alarms as a baseline would: up by 3 of the last 5, down when none of them exceeds."""
    alarm = np.zeros(exceeds.size, np.bool_)
    active = False
    for place in range(exceeds.size):
        recent = int(np.count_nonzero(exceeds[max(0, place - of + 1) : place + 1]))
        active = recent >= raised_by or (active and recent > 0)
        alarm[place] = active
    return alarm


def phm_2012_points(predicted_s: float | None, true_s: float) -> float:
    """Score one estimate of remaining life; none scores nothing.

    References:
        Nectoux et al. (2012), "PRONOSTIA: an experimental platform for bearings accelerated degradation tests",
        IEEE PHM 2012 challenge: Er = 100 (true - predicted) / true; exp(-ln(.5) Er / 5) where Er <= 0 (too late),
        exp(ln(.5) Er / 20) where Er > 0 (too early).
    """
    if predicted_s is None:
        return 0.0
    error = 100.0 * (true_s - predicted_s) / true_s
    return math.exp(-math.log(0.5) * error / 5.0) if error <= 0.0 else math.exp(math.log(0.5) * error / 20.0)


def recall_by_class(predicted: Sequence[str], true: Sequence[str]) -> dict[str, Rate]:
    """How much of each class was named right, classes in alphabetical order."""
    recall = dict.fromkeys(sorted(set(true)), NOTHING)
    for guess, label in zip(predicted, true, strict=True):
        recall[label] += Rate(int(guess == label), 1)
    return recall


def balanced_accuracy(recall: dict[str, Rate]) -> float:
    """Mean recall over the classes."""
    return float(np.mean([rate.value for rate in recall.values()]))


def majority(labels: Sequence[str]) -> str:
    """The label most windows have; of equals the first in the alphabet."""
    return min(set(labels), key=lambda label: (-list(labels).count(label), label))
