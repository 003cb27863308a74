"""This file knows the run-to-failure protocol: does the alarm come in time, hold, and keep quiet before?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.verdicts.context import Context
from benchmarks.verdicts.detection import BUILT_IN, PRODUCT
from benchmarks.verdicts.metrics import (
    NEEDED_LEAD_S,
    NOTHING,
    QUIET_SHARE,
    USEFUL_HELD,
    USEFUL_LEAD_S,
    Flags,
    LifeOutcome,
    Rate,
    life_outcome,
    persistent,
    rate_of,
)
from benchmarks.verdicts.recordings import LIFE, MIN_SAMPLES, WINDOW_S, Head, Part
from benchmarks.verdicts.tables import NOT_IN_FOLDER, Figure, Outcome, Table, number

SHARE = 0.15
"""Of a life, that commissions it."""


@dataclass(frozen=True, slots=True, eq=False)
class JudgedLife:
    """What one detector said of one life."""

    detector: str
    life: Head
    outcome: LifeOutcome
    quiet_over: Rate  # single snapshots over the limit between commissioning and 40 % of the life
    quiet_alarm: Rate  # snapshots with an active alarm there


def run_to_failure(context: Context) -> Outcome:
    """Every life commissions itself on its first 15 %."""
    outcome = Outcome(
        "lives", "Run-to-failure lives, own commissioning on the first 15 %, no threshold from elsewhere",
        "Shares are of a life's snapshots. Lead: from the first snapshot with an active alarm at or after "
        f"{QUIET_SHARE:.0%} of the life to the last snapshot. False event: an alarm that is raised, or stands already, "
        f"between {SHARE:.0%} and {QUIET_SHARE:.0%}. Held: share of snapshots with an active alarm from that first one "
        f"on. Useful: lead of at least {USEFUL_LEAD_S / 60:g} min, at most one false event, held for at least "
        f"{USEFUL_HELD:.0%}. The release knows healthy recordings of other machines and no life. Baselines learn on "
        "the first 15 % alone, limit at 1 % by the prediction bound, alarm up by 3 of the last 5 snapshots and down "
        "when none of them exceeds. An alarm that stands from 15 % on is one false event and a long lead: the share of "
        "snapshots between 15 and 40 % with an active alarm stands beside it.",
    )  # fmt: skip
    lives = some_lives(whole_lives(context.heads), quick=context.quick)
    if not lives:
        outcome.missing = NOT_IN_FOLDER
        return outcome
    judged = [*_by_product(context, lives), *_by_baselines(context, lives)]
    product = [j for j in judged if j.detector == PRODUCT]
    outcome.tables = [_by_detector(judged), _by_life(product)]
    outcome.figures = [
        Figure(
            f"lives with a lead of at least {NEEDED_LEAD_S / 60:g} min", _share(product, "warned").value,
            "at least", 1.0, "11/11, two false events",
        ),
        Figure("useful lives", _share(product, "useful").value, "at least", 0.70, ".55"),
    ]  # fmt: skip
    outcome.data = {
        detector: [
            {"life": j.life.recording, "lead_s": j.outcome.lead_s, "false_events": j.outcome.false_events,
             "held": j.outcome.held, "useful": j.outcome.useful, "quiet_snapshots": j.quiet_over.of,
             "quiet_exceeding": j.quiet_over.count, "quiet_alarm": j.quiet_alarm.count}
            for j in judged if j.detector == detector
        ]
        for detector in dict.fromkeys(j.detector for j in judged)
    }  # fmt: skip
    return outcome


def whole_lives(heads: Sequence[Head]) -> list[Head]:
    """Lives that are recorded to their end."""
    return [h for h in heads if h.label == LIFE and h.samples >= MIN_SAMPLES and not 0 <= h.n_observed == h.snapshots]


def some_lives(lives: list[Head], *, quick: bool) -> list[Head]:
    """All; of a quick run the two shortest."""
    return sorted(lives, key=lambda life: life.snapshots)[:2] if quick else lives


def known_healthy(context: Context) -> list[Head]:
    """Healthy recordings of everything in the folder; none of them is of a life."""
    return context.healthy_elsewhere("")


def _by_product(context: Context, lives: Sequence[Head]) -> list[JudgedLife]:
    release = context.product.release(known_healthy(context), window_s=WINDOW_S)
    judged = []
    for detector, chosen in ((PRODUCT, release), (BUILT_IN, None)):
        context.tell(f"lives: {detector} on {len(lives)} lives")
        for life, answer in zip(lives, context.product.lives(lives, release=chosen, share=SHARE), strict=True):
            alarm = np.array([v.alarm for v in answer], np.bool_)
            exceeds = np.array([v.exceeds for v in answer], np.bool_)
            judged.append(_judged(detector, life, alarm, exceeds))
    return judged


def _by_baselines(context: Context, lives: Sequence[Head]) -> list[JudgedLife]:
    judged = []
    for place, life in enumerate(lives, 1):
        context.tell(f"lives: baselines {place}/{len(lives)} {life.recording}")
        rows = context.features.rows([Part(life)], life.natural_window_s)
        for baseline in context.baselines:
            detector = context.fleet.commission(baseline, "own", rows[: int(SHARE * len(rows))], [], "")
            assert detector is not None
            exceeds = detector.excess(rows) > 0
            judged.append(_judged(baseline.name, life, persistent(exceeds), exceeds))
    return judged


def _judged(detector: str, life: Head, alarm: Flags, exceeds: Flags) -> JudgedLife:
    first, due = int(SHARE * alarm.size), int(np.ceil(QUIET_SHARE * alarm.size))
    return JudgedLife(
        detector, life, life_outcome(alarm, life.start_s, commissioned=first),
        rate_of(exceeds[first:due]), rate_of(alarm[first:due]),
    )  # fmt: skip


def _share(judged: Sequence[JudgedLife], what: str) -> Rate:
    return rate_of([bool(getattr(j.outcome, what)) for j in judged])


def _by_detector(judged: Sequence[JudgedLife]) -> Table:
    rows = []
    for detector in dict.fromkeys(j.detector for j in judged):
        mine = [j for j in judged if j.detector == detector]
        leads = sorted(j.outcome.lead_s or 0.0 for j in mine)
        rows.append((
            detector, str(_share(mine, "warned")), str(_share(mine, "useful")),
            str(sum(j.outcome.false_events for j in mine)), str(sum((j.quiet_over for j in mine), NOTHING)),
            str(sum((j.quiet_alarm for j in mine), NOTHING)),
            number(leads[len(leads) // 2] / 60.0, 1), number(leads[0] / 60.0, 1),
        ))  # fmt: skip
    columns = (
        "detector", "warned", "useful", "false events", "exceeding, 15-40 %", "alarm active, 15-40 %",
        "median lead, min", "shortest",
    )  # fmt: skip
    return Table(f"All detectors, {len({j.life.recording for j in judged})} lives", columns, tuple(rows))


def _by_life(judged: Sequence[JudgedLife]) -> Table:
    rows = tuple(
        (
            j.life.recording, str(j.life.snapshots), number(float(j.life.start_s[-1]) / 3600.0, 2),
            number(j.outcome.lead_s / 60.0 if j.outcome.lead_s is not None else None, 1), str(j.outcome.false_events),
            number(j.outcome.held, 2), "yes" if j.outcome.useful else "no",
            str(j.quiet_over), str(j.quiet_alarm),
        )
        for j in judged
    )  # fmt: skip
    columns = (
        "life", "snapshots", "hours", "lead, min", "false events", "held", "useful", "exceeding, 15-40 %",
        "alarm active, 15-40 %",
    )  # fmt: skip
    return Table("Undertone, life by life", columns, rows)
