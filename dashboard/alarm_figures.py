"""This file knows the figures by which alarms themselves are judged (ISA-18.2, EEMUA 191), and their targets."""

from dataclasses import dataclass

from dashboard.queries.alarms import TEN_MINUTES_US, AlarmCounts

TARGET_PER_TEN_MINUTES = 1.0
TARGET_WORST_TEN_MINUTES = 10
TARGET_FLOOD_SHARE = 0.01
TARGET_STALE = 5
TARGET_TOP_TEN_SHARE = 0.05
TARGET_MIX = {"notice": 0.80, "alert": 0.15, "danger": 0.05}
TARGET_FALSE_SHARE = 0.10


@dataclass(frozen=True, slots=True)
class AlarmFigures:
    """Figures of one span of time.

    Attributes:
        counts: What they were made of.
        per_ten_minutes: On average.
        flood_share: Of the ten-minute spans, those with ten alarms and more.
        mix: Share of each priority, of alarms of machines.
    """

    counts: AlarmCounts
    per_ten_minutes: float
    flood_share: float
    mix: dict[str, float]

    @property
    def top_ten_share(self) -> float:
        """Of all alarms, those of the ten worst points."""
        return sum(count for _, count, _ in self.counts.top) / self.counts.alarms if self.counts.alarms else 0.0

    @property
    def false_share(self) -> float | None:
        """Of the labelled cases, those that were nothing; None without labels."""
        return self.counts.false_labelled / self.counts.labelled if self.counts.labelled else None


def alarm_figures(counts: AlarmCounts, *, since_us: int, until_us: int) -> AlarmFigures:
    """Work out the figures of what was counted within a span of time."""
    spans = max(1, -(-(until_us - since_us) // TEN_MINUTES_US))
    machine_alarms = sum(counts.priorities.get(name, 0) for name in TARGET_MIX)
    return AlarmFigures(
        counts=counts,
        per_ten_minutes=counts.alarms / spans,
        flood_share=counts.flood_spans / spans,
        mix={
            name: counts.priorities.get(name, 0) / machine_alarms if machine_alarms else 0.0 for name in TARGET_MIX
        },
    )  # fmt: skip
