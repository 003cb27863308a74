"""This file knows the detection protocols: leave one condition out, a new session, and the split blocked in time.

The product and every baseline judge the same windows after the same commissioning windows. A window that the product
cannot use (quality other than ok) counts as one that does not exceed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.verdicts.baselines import CALIBRATIONS
from benchmarks.verdicts.context import COMMISSION_WINDOWS, Context, Target
from benchmarks.verdicts.errors import ProductRefused
from benchmarks.verdicts.metrics import (
    NOTHING,
    Flags,
    Floats,
    Rate,
    balanced_accuracy_at,
    rate_of,
)
from benchmarks.verdicts.product import flat
from benchmarks.verdicts.recordings import Part, first_windows
from benchmarks.verdicts.tables import NOT_IN_FOLDER, Figure, Outcome, Table, number

PRODUCT = "Undertone"
BUILT_IN = "Undertone, no release"
FAR_AT = 0.02  # of the protocol that chooses its threshold afterwards


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What one detector said of one target; scores grow with suspicion, flags are its own limit's."""

    detector: str
    target: Target
    healthy: Flags
    faulty: Flags
    healthy_score: Floats
    faulty_score: Floats
    unusable: int = 0

    @property
    def false_alarms(self) -> Rate:
        """Of healthy windows."""
        return rate_of(self.healthy)

    @property
    def detected(self) -> Rate:
        """Of faulty windows."""
        return rate_of(self.faulty)

    @property
    def skill(self) -> float:
        """TPR less FAR."""
        return self.detected.value - self.false_alarms.value


def leave_one_condition_out(context: Context) -> Outcome:
    """Every condition plays a new machine of which five healthy windows are known."""
    outcome = Outcome(
        "conditions", "Leave one condition out, five windows of the target, limit fixed beforehand at 1 %",
        "A condition is machine, speed, load, rate and sensor session. Everything healthy of all other conditions in "
        "the folder may be learnt from; the target gives its first five healthy windows (0.25 s of a long record, "
        "whole snapshots of many). Tested on the target's other healthy windows and every fault of the same condition. "
        "TPR and FAR are of single windows; TPR - FAR is the mean over targets; FAR of a data set is pooled over its "
        "targets.",
    )  # fmt: skip
    targets = _some(context.targets(), quick=context.quick)
    if not targets:
        outcome.missing = NOT_IN_FOLDER
        return outcome
    judged = _judge_all(context, targets, "conditions")
    outcome.tables = [_by_detector(judged), _by_target(judged)]
    product = _of_product(judged)
    outcome.figures = [
        Figure("mean TPR - FAR", _mean_skill(product), "at least", 0.98, ".969"),
        Figure("worst FAR of a data set", _worst(_far_by_dataset(product)).value, "at most", 0.02, ".020"),
        Figure("worst FAR of a target", max(j.false_alarms.value for j in product), "at most", 0.10, ".200"),
    ]  # fmt: skip
    outcome.data = _data(judged)
    return outcome


def new_session(context: Context) -> Outcome:
    """Five windows of a new healthy session of a low-cost sensor, whose sessions differ more than the fault does."""
    outcome = Outcome(
        "session", "Fan: a new healthy session with five windows",
        "As before, for the data set fan alone: every session and speed step is a target, commissioned on its own "
        "first five snapshots; FAR and TPR pooled over them.",
    )  # fmt: skip
    targets = [t for t in context.targets() if t.dataset == "fan"]
    if not targets:
        outcome.missing = NOT_IN_FOLDER
        return outcome
    judged = _judge_all(context, _some(targets, quick=context.quick), "session")
    outcome.tables = [_pooled(judged)]
    product = _of_product(judged)
    outcome.figures = [
        Figure("FAR", _pool(product)[0].value, "at most", 0.05, ".143 / .035"),
        Figure("TPR", _pool(product)[1].value, "at least", 0.90, ".910 / .717"),
    ]
    outcome.data = _data(judged)
    return outcome


def blocked_in_time(context: Context) -> Outcome:
    """The first half of each healthy record commissions, the second half tests."""
    outcome = Outcome(
        "blocked", "ADI: quarter-second windows, healthy split blocked in time",
        "The first half of each condition's healthy windows commissions, the second half tests; all else as in leave "
        f"one condition out. Balanced accuracy is (1 - FAR + TPR) / 2: once by each detector's own limit, fixed "
        f"beforehand, and once by the best single threshold on the score over all conditions whose FAR stays within "
        f"{FAR_AT:g} (chosen afterwards; baselines: score over limit).",
    )  # fmt: skip
    targets = [t for t in context.targets() if t.dataset == "adi"]
    if not targets:
        outcome.missing = NOT_IN_FOLDER
        return outcome
    judged = _judge_all(context, _some(targets, quick=context.quick), "blocked", half=True)
    rows, best = [], {}
    for detector, mine in _grouped(judged):
        far, tpr = _pool(mine)
        best[detector] = balanced_accuracy_at(
            np.concatenate([j.healthy_score for j in mine]), np.concatenate([j.faulty_score for j in mine]),
            false_alarm_rate=FAR_AT,
        )  # fmt: skip
        found, far_then, tpr_then = best[detector]
        rows.append((
            detector, number(_balanced(far, tpr)), str(far), str(tpr), number(found), str(far_then), str(tpr_then)
        ))  # fmt: skip
    columns = ("detector", "own limit: balanced", "FAR", "TPR", f"best at FAR <= {FAR_AT:g}: balanced", "FAR", "TPR")
    outcome.tables = [Table("Balanced accuracy", columns, _best_first(rows))]
    outcome.figures = [
        Figure("balanced accuracy, own limit", _balanced(*_pool(_of_product(judged))), "at least", 0.97, ".950"),
        Figure("balanced accuracy, best threshold", best[PRODUCT][0], "at least", 0.97, ".950"),
    ]
    outcome.data = _data(judged)
    return outcome


def _judge_all(context: Context, targets: Sequence[Target], name: str, *, half: bool = False) -> list[Judged]:
    judged: list[Judged] = []
    for place, target in enumerate(targets, 1):
        context.tell(f"{name} {place}/{len(targets)}: {target.name}")
        lead = target.healthy[0]
        first = lead.windows(target.window_s) // 2 if half else COMMISSION_WINDOWS
        commission, rest = first_windows(lead, first, target.window_s)
        healthy = [rest, *(Part(head) for head in target.healthy[1:])]
        faulty = [Part(head) for head in target.faults]
        judged.append(_by_product(context, target, commission, healthy, faulty))
        judged.append(_by_product(context, target, commission, healthy, faulty, detector="autoencoder"))
        judged += _by_baselines(context, target, commission, healthy, faulty)
    return judged


def _by_product(
    context: Context, target: Target, commission: Part, healthy: list[Part], faulty: list[Part], *,
    detector: str = "distance",
) -> Judged:  # fmt: skip
    release = context.product.release(context.healthy_elsewhere(target.condition), window_s=target.window_s)
    answers = context.product.verdicts(
        [*healthy, *faulty], release=release, commission=[commission], window_s=target.window_s,
        detector=detector,
    )  # fmt: skip
    for part, answer in zip([*healthy, *faulty], answers, strict=True):
        expected = len(context.features.rows([part], target.window_s))
        if len(answer) != expected:
            raise ProductRefused(f"{part.argument}: {len(answer)} lines, {expected} windows by the contract")
    sides = [list(flat(answers[: len(healthy)])), list(flat(answers[len(healthy) :]))]
    flags = [np.array([v.exceeds for v in side], np.bool_) for side in sides]
    scores = [np.array([-np.inf if v.score is None else v.score for v in side]) for side in sides]
    unusable = sum(v.quality != "ok" for side in sides for v in side)
    name = PRODUCT if detector == "distance" else f"{PRODUCT}, {detector} decides"
    return Judged(name, target, flags[0], flags[1], scores[0], scores[1], unusable)


def _by_baselines(
    context: Context, target: Target, commission: Part, healthy: list[Part], faulty: list[Part]
) -> Iterator[Judged]:
    features = context.features
    first = features.rows([commission], target.window_s)
    sides = [features.rows(healthy, target.window_s), features.rows(faulty, target.window_s)]
    sources = context.sources(target.condition)
    for baseline in context.baselines:
        for calibration in CALIBRATIONS:
            detector = context.fleet.commission(baseline, calibration, first, sources, target.layout)
            if detector is None:
                continue
            excess = [detector.excess(side) for side in sides]
            yield Judged(f"{baseline.name} ({calibration})", target, excess[0] > 0, excess[1] > 0, excess[0], excess[1])


def _some(targets: list[Target], *, quick: bool) -> list[Target]:
    """All; of a quick run the first of each data set."""
    return list({t.dataset: t for t in reversed(targets)}.values()) if quick else targets


def _grouped(judged: Sequence[Judged]) -> Iterator[tuple[str, list[Judged]]]:
    for name in dict.fromkeys(j.detector for j in judged):
        yield name, [j for j in judged if j.detector == name]


def _of_product(judged: Sequence[Judged]) -> list[Judged]:
    return [j for j in judged if j.detector == PRODUCT]


def _mean_skill(judged: Sequence[Judged]) -> float:
    return float(np.mean([j.skill for j in judged]))


def _far_by_dataset(judged: Sequence[Judged]) -> dict[str, Rate]:
    rates: dict[str, Rate] = {}
    for one in judged:
        rates[one.target.dataset] = rates.get(one.target.dataset, NOTHING) + one.false_alarms
    return rates


def _worst(far: dict[str, Rate]) -> Rate:
    return max(far.values(), key=lambda rate: rate.value)


def _pool(judged: Sequence[Judged]) -> tuple[Rate, Rate]:
    far = tpr = NOTHING
    for one in judged:
        far, tpr = far + one.false_alarms, tpr + one.detected
    return far, tpr


def _balanced(far: Rate, tpr: Rate) -> float:
    return (1.0 - far.value + tpr.value) / 2.0


def _best_first(rows: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """The product, then the baselines by their first number."""
    return sorted(rows, key=lambda row: (row[0] != PRODUCT, -float(row[1])))


def _by_detector(judged: Sequence[Judged]) -> Table:
    rows = []
    for detector, mine in _grouped(judged):
        far = _far_by_dataset(mine)
        worst_set, worst = max(far, key=lambda d: far[d].value), max(mine, key=lambda j: j.false_alarms.value)
        rows.append((
            detector, number(_mean_skill(mine)), number(float(np.mean([j.detected.value for j in mine]))),
            str(_pool(mine)[0]), f"{far[worst_set]} {worst_set}", f"{worst.false_alarms} {worst.target.name}",
        ))  # fmt: skip
    columns = (
        "detector", "mean TPR - FAR", "mean TPR", "FAR, all windows", "worst FAR of a data set", "worst FAR of a target"
    )  # fmt: skip
    return Table(f"All detectors, {len({j.target.condition for j in judged})} targets", columns, _best_first(rows))


def _by_target(judged: Sequence[Judged]) -> Table:
    """The product beside the best baseline."""
    others = {name: _mean_skill(mine) for name, mine in _grouped(judged) if name != PRODUCT}
    best = max(others, key=lambda name: others[name]) if others else PRODUCT
    rows = []
    for mine in _of_product(judged):
        rival = next(j for j in judged if j.detector == best and j.target.condition == mine.target.condition)
        rows.append((
            mine.target.name, str(mine.detected), str(mine.false_alarms), str(mine.unusable),
            str(rival.detected), str(rival.false_alarms),
        ))  # fmt: skip
    columns = ("target", "TPR", "FAR", "unusable windows", "best baseline: TPR", "FAR")
    return Table(f"Undertone, and the best baseline by TPR - FAR: {best}", columns, tuple(rows))


def _pooled(judged: Sequence[Judged]) -> Table:
    rows = [
        (name, number(_pool(mine)[1].value - _pool(mine)[0].value), str(_pool(mine)[0]), str(_pool(mine)[1]))
        for name, mine in _grouped(judged)
    ]
    return Table("Pooled over sessions and speeds", ("detector", "TPR - FAR", "FAR", "TPR"), _best_first(rows))


def _data(judged: Sequence[Judged]) -> dict[str, object]:
    return {
        name: [
            {"target": j.target.name, "healthy": j.false_alarms.of, "false_alarms": j.false_alarms.count,
             "faulty": j.detected.of, "detected": j.detected.count, "unusable": j.unusable}
            for j in mine
        ]
        for name, mine in _grouped(judged)
    }  # fmt: skip
