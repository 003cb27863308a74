"""This file knows how a site stands, from what it told its enterprise last: one state, and a place in the list.

Pure. The states are those of machines: a site is as bad as its worst machine, and one that is silent is not well.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from dashboard.condition import LEVELS, Level, LevelName
from dashboard.queries.sites import SiteRecord
from schemas.site_summary import STATES

MISSED = 3.0  # summaries, after which what a site told says nothing about now
FLOOR_S = 90.0
NEEDING: tuple[LevelName, ...] = ("danger", "alert", "notice", "sensor", "unknown")


@dataclass(frozen=True, slots=True)
class SiteCondition:
    """How one site stands.

    Attributes:
        level: Of its worst machine; stale where it is silent, has no machine, or has told nothing.
        told: Whether there is a summary.
        stale: Whether there is none, or it is too old to say anything about now.
        age_s: Since it arrived; None where none has.
        needing: Machines that need somebody, by state, worst first; as they were when it was told.
        behind: By how many releases of the enterprise the site's own is behind; None where that is not known.
    """

    record: SiteRecord
    level: Level
    told: bool
    stale: bool
    age_s: float | None
    needing: tuple[tuple[Level, int], ...]
    behind: int | None


def judge_site(record: SiteRecord, *, now_us: int, release_version: int | None) -> SiteCondition:
    """Say how a site stands.

    Args:
        record: The site.
        now_us: The time to judge by.
        release_version: The enterprise's current release.
    """
    summary = record.summary
    age_s = None if record.received_at_us is None else max(0.0, (now_us - record.received_at_us) / 1e6)
    stale = summary is None or age_s is None or age_s > max(FLOOR_S, MISSED * summary.interval_s)
    states = {} if summary is None else summary.states
    needing = tuple((LEVELS[name], states[name]) for name in NEEDING if states.get(name, 0))
    worst: LevelName = next((name for name in STATES if states.get(name, 0)), "unknown")
    runs = record.fleet_version if summary is None else summary.fleet_version
    return SiteCondition(
        record=record,
        level=LEVELS["unknown" if stale else worst],
        told=summary is not None,
        stale=stale,
        age_s=age_s,
        needing=needing,
        behind=None if release_version is None or runs is None else max(0, release_version - runs),
    )


def in_order(sites: Iterable[SiteCondition]) -> list[SiteCondition]:
    """Worst first, of equals the one with more machines there; then by name, so that the order never flickers."""

    def key(one: SiteCondition) -> tuple[float, int, str]:
        counts = {level.name: count for level, count in one.needing}
        return -one.level.weight, -counts.get(one.level.name, 0), one.record.site

    return sorted(sites, key=key)
