"""This file knows the figures by which alarms themselves are judged (ISA-18.2, EEMUA 191), from changes of alarms.

Pure. An alarm is counted when a person is told of it: each change into "unacknowledged", the step from alert to
danger too.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dashboard.queries.alarms import AlarmTold
from dashboard.queries.cases import Label

TEN_MINUTES_US = 600_000_000
MINUTE_US = 60_000_000
DAY_US = 86_400_000_000
FLOOD = 10  # alarms in ten minutes
CHATTERING = 3  # of one point within a minute
TARGET_PER_TEN_MINUTES = 1.0
TARGET_WORST_TEN_MINUTES = 10
TARGET_FLOOD_SHARE = 0.01
TARGET_STALE = 5
TARGET_TOP_TEN_SHARE = 0.05
TARGET_MIX = {"notice": 0.80, "alert": 0.15, "danger": 0.05}
TARGET_FALSE_SHARE = 0.10
TOP = 10


@dataclass(frozen=True, slots=True)
class AlarmFigures:
    """Figures of one span of time.

    Attributes:
        alarms: So many were told.
        per_ten_minutes: On average.
        worst_ten_minutes: The most in any ten minutes by the clock.
        flood_share: Of the ten-minute spans, those with ten alarms and more.
        chattering: Points with three alarms and more within a minute.
        stale: Cases that stand for more than a day now.
        top_ten: The points with most alarms, and how many.
        mix: Share of each priority.
        labelled: Cases of which a person said what they were; the last word counts.
        false_labelled: Of these, those that were nothing.
    """

    alarms: int
    per_ten_minutes: float
    worst_ten_minutes: int
    flood_share: float
    chattering: tuple[str, ...]
    stale: int
    top_ten: tuple[tuple[str, int], ...]
    mix: dict[str, float]
    labelled: int
    false_labelled: int

    @property
    def top_ten_share(self) -> float:
        """Of all alarms, those of the ten worst points."""
        return sum(count for _, count in self.top_ten) / self.alarms if self.alarms else 0.0

    @property
    def false_share(self) -> float | None:
        """Of the labelled cases, those that were nothing; None without labels."""
        return self.false_labelled / self.labelled if self.labelled else None


def alarm_figures(
    told: Iterable[AlarmTold], standing_since_us: Iterable[int], labels: Sequence[Label], *, since_us: int,
    until_us: int,
) -> AlarmFigures:  # fmt: skip
    """Work out the figures.

    Args:
        told: Changes of alarms within the span, oldest first.
        standing_since_us: When each case that is not over was opened.
        labels: What people said, newest first.
        since_us: Beginning of the span.
        until_us: Its end; "stale" is as of then.
    """
    raised = [one for one in told if one.state == "unacknowledged"]
    spans = max(1, -(-(until_us - since_us) // TEN_MINUTES_US))
    a_span = Counter((one.at_us - since_us) // TEN_MINUTES_US for one in raised)
    of_point = Counter(one.point for one in raised)
    last_word: dict[int, str] = {}
    for label in labels:
        last_word.setdefault(label.case_id, label.label)
    priorities = Counter(one.priority for one in raised)
    machine_alarms = sum(priorities[name] for name in TARGET_MIX)
    return AlarmFigures(
        alarms=len(raised),
        per_ten_minutes=len(raised) / spans,
        worst_ten_minutes=max(a_span.values(), default=0),
        flood_share=sum(count >= FLOOD for count in a_span.values()) / spans,
        chattering=tuple(sorted(_chattering(raised))),
        stale=sum(until_us - opened_us > DAY_US for opened_us in standing_since_us),
        top_ten=tuple(sorted(of_point.items(), key=lambda item: (-item[1], item[0]))[:TOP]),
        mix={name: priorities[name] / machine_alarms if machine_alarms else 0.0 for name in TARGET_MIX},
        labelled=len(last_word),
        false_labelled=sum(word == "healthy" for word in last_word.values()),
    )


def _chattering(raised: Iterable[AlarmTold]) -> set[str]:
    times: dict[str, list[int]] = defaultdict(list)
    for one in raised:
        times[one.point].append(one.at_us)
    return {
        point
        for point, at_us in times.items()
        if any(later - earlier <= MINUTE_US for earlier, later in zip(at_us, at_us[CHATTERING - 1 :], strict=False))
    }
