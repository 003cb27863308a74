"""This file knows how two models are compared on what a gateway held back: healthy captures, and faults made of them.

Pure. Held back are the newest healthy captures of each point; the same captures with faults added by physics
(`synthetic_faults`) tell whether a model still sees what it must. Both models judge the same rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gateway_agent.baseline import Baseline, Rows, model_rows
from gateway_agent.synthetic_faults import SEVERITIES_DB, with_fault
from schemas.messages import GateReport
from vibration.detection_features import detection_features

FloatArray = NDArray[np.float64]

MOST_POINTS = 32  # of one gateway; with 100 captures each, some tenths of a second of one core
CAPTURES = 100  # of a point, the newest healthy ones
HELD_BACK_SHARE = 0.2
FEWEST_CAPTURES = 10  # of a point: below that two are held back, which say nothing
FEWEST_HELD = 12  # captures of all points together
STATED_RATE = 0.01  # of false alarms, for which each model's limit is set on what was not held back
ROWS_AT_ONCE = 512  # then other threads have their turn


class Scorer(Protocol):
    """A network as it scores; see `gateway_agent.model_slot.LoadedModel`."""

    def score(self, rows: Rows) -> tuple[Rows, Rows]:
        """Losses (n,) and reconstructions (n, F) of rows (n, F)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class HealthyPoint:
    """Healthy captures of one point, and what faults would look like there.

    Attributes:
        machine: Whose.
        features: Model features, log10 g², shape (n, channels, F), oldest first.
        baselines: The baseline by which each capture is standardised.
        patterns: Of `synthetic_faults.fault_patterns`.
    """

    machine: str
    features: NDArray[np.float32]
    baselines: Sequence[Baseline]
    patterns: Mapping[str, FloatArray]

    @property
    def cut(self) -> int:
        """Captures that are not held back."""
        return len(self.features) - int(HELD_BACK_SHARE * len(self.features))


@dataclass(frozen=True, slots=True, eq=False)
class HeldBack:
    """Standardised rows of several points, (captures, channels, F) each, ready for any model.

    Attributes:
        known: Healthy ones that may be learnt from.
        healthy: Healthy ones held back.
        faulty: Fault -> the held-back ones with it, at every severity.
    """

    known: tuple[Rows, ...]
    healthy: tuple[Rows, ...]
    faulty: dict[str, tuple[Rows, ...]]

    @classmethod
    def of(cls, points: Sequence[HealthyPoint]) -> "HeldBack":
        """Split by time, and make the faults."""
        known: list[Rows] = []
        healthy: list[Rows] = []
        faulty: dict[str, list[Rows]] = {}
        for point in points:
            known.append(_standardise(point, point.features[: point.cut], 0))
            healthy.append(_standardise(point, point.features[point.cut :], point.cut))
            for name, pattern in point.patterns.items():
                faulty.setdefault(name, []).extend(
                    _standardise(point, with_fault(point.features[point.cut :], pattern, severity_db), point.cut)
                    for severity_db in SEVERITIES_DB
                )
        return cls(tuple(known), tuple(healthy), {name: tuple(rows) for name, rows in faulty.items()})

    @property
    def captures(self) -> int:
        """Healthy ones held back."""
        return sum(len(rows) for rows in self.healthy)

    @property
    def faults(self) -> int:
        """Made of these."""
        return sum(len(rows) for each in self.faulty.values() for rows in each)


@dataclass(frozen=True, slots=True)
class Judgement:
    """How one model does; `by_fault` is the AUROC of each."""

    auroc: float
    loss: float
    false_alarm_rate: float
    by_fault: dict[str, float]


def judge(held: HeldBack, model: Scorer) -> Judgement:
    """Say how a model does on what was held back."""
    healthy = losses(held.healthy, model)
    faulty = {name: losses(rows, model) for name, rows in held.faulty.items()}
    limit = float(np.quantile(losses(held.known, model), 1.0 - STATED_RATE))
    return Judgement(
        auroc(healthy, np.concatenate(list(faulty.values()))), float(healthy.mean()), float((healthy > limit).mean()),
        {name: auroc(healthy, one) for name, one in faulty.items()},
    )  # fmt: skip


def gate_report(
    points: Sequence[HealthyPoint], new: Scorer, in_use: Scorer, *, version: int, digest: str, in_use_version: int
) -> GateReport:
    """Compare a candidate with the model in use."""
    usable = [point for point in points if len(point.features) >= FEWEST_CAPTURES and point.patterns]
    held = HeldBack.of(usable)
    names = {"version": version, "digest": digest, "in_use_version": in_use_version}
    if held.captures < FEWEST_HELD:
        text = f"{held.captures} healthy captures could be held back, {FEWEST_HELD} needed to judge a candidate"
        return GateReport.model_validate({**names, "problem": text})
    ours, theirs = judge(held, new), judge(held, in_use)
    if not np.isfinite([ours.loss, theirs.loss]).all():
        return GateReport.model_validate({**names, "problem": "a loss is not finite", "auroc": 0.0})
    return GateReport(
        version=version, digest=digest, in_use_version=in_use_version, rows=held.captures, faults=held.faults,
        auroc=ours.auroc, auroc_in_use=theirs.auroc, loss=ours.loss, loss_in_use=theirs.loss,
        false_alarm_rate=ours.false_alarm_rate, false_alarm_rate_in_use=theirs.false_alarm_rate,
        by_fault={name: (one, theirs.by_fault[name]) for name, one in ours.by_fault.items()},
    )  # fmt: skip


def auroc(healthy: FloatArray, faulty: FloatArray) -> float:
    """How likely a faulty capture scores above a healthy one, ties half (Mann & Whitney 1947); a NaN counts as tie."""
    order = np.sort(healthy[np.isfinite(healthy)])
    below = np.searchsorted(order, faulty, side="left").astype(np.float64)
    through = np.searchsorted(order, faulty, side="right")
    share = np.where(np.isfinite(faulty), (below + through) / (2.0 * max(len(order), 1)), 0.5)
    return float(share.mean())


def losses(captures: Sequence[Rows], model: Scorer) -> FloatArray:
    """A model's loss on each capture, mean over its channels; captures of different points may differ in these."""
    rows = np.concatenate([each.reshape(-1, each.shape[-1]) for each in captures])
    parts = [model.score(rows[start : start + ROWS_AT_ONCE])[0] for start in range(0, len(rows), ROWS_AT_ONCE)]
    loss = np.concatenate(parts).astype(np.float64)
    found, start = [], 0
    for each in captures:
        stop = start + each.shape[0] * each.shape[1]
        found.append(loss[start:stop].reshape(each.shape[:2]).mean(axis=1))
        start = stop
    return np.concatenate(found)


def _standardise(point: HealthyPoint, features: NDArray[np.floating], first: int) -> Rows:
    detection = detection_features(features)
    rows = [
        model_rows(baseline.standardise(one))
        for one, baseline in zip(detection, point.baselines[first : first + len(detection)], strict=True)
    ]
    return np.stack(rows)
