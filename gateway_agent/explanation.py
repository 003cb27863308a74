"""This file knows how a verdict is said: which bands contributed how much, and one sentence a fitter understands."""

import numpy as np
from numpy.typing import NDArray

from gateway_agent.baseline import WEIGHTS
from gateway_agent.diagnosis import label_name
from schemas.messages import Contribution, Diagnosis, Finding
from vibration.detection_features import ENVELOPE, SUMS

TOLD = 8  # contributions handed to the dashboard; the rest is noise
MOST_SURE = 0.99  # of a cause, in words: whoever reads "100%" stops looking


def contributions(
    z: NDArray[np.float64], edges_hz: NDArray[np.float64], *, errors: NDArray[np.float64] | None = None
) -> tuple[Contribution, ...]:
    """Share the score out over bands and axes.

    The score is a weighted mean of squares, so each square's share is its contribution; nothing is approximated.

    Args:
        z: One capture's distance from healthy, in spreads, shape (channels, DETECTION_COUNT).
        edges_hz: Lower and upper edge of each feature, shape (DETECTION_COUNT, 2).
        errors: What a network could not reconstruct of `z`, of the same shape, where the network decides.
    """
    squares = WEIGHTS * z * z if errors is None else errors * errors
    total = float(squares.sum()) or 1.0
    order = np.argsort(squares, axis=None)[::-1][:TOLD]
    told = []
    for flat in order:
        axis, feature = divmod(int(flat), squares.shape[1])
        kind = "envelope" if feature >= ENVELOPE.start else "level" if feature >= SUMS.start else "spectrum"
        told.append(
            Contribution(
                name=f"{kind} {'up' if z[axis, feature] > 0 else 'down'}",
                axis=axis, low_hz=float(edges_hz[feature, 0]), high_hz=float(edges_hz[feature, 1]),
                share=float(squares[axis, feature]) / total,
            )
        )  # fmt: skip
    return tuple(told)


def reason(
    *,
    score: float | None,
    limit: float | None,
    zone: str | None,
    velocity_mm_s: float | None,
    ranked: tuple[Diagnosis, ...],
    findings: tuple[Finding, ...],
    shares: tuple[Contribution, ...],
    rpm: float | None = None,
) -> str:
    """Say in one sentence why this point needs attention."""
    parts = []
    if ranked and ranked[0].label != "unknown":
        proof = next((f.text for f in findings if f.speaks_for and f.label == ranked[0].label), "")
        sure = min(MOST_SURE, ranked[0].confidence)
        parts.append(f"{label_name(ranked[0].label).capitalize()} damage likely ({sure:.0%}): {proof}")
    if score is not None and limit and score >= limit:
        where = ""
        if shares:
            where = f", most of it {_said(shares[0], rpm)}"
        parts.append(f"vibration pattern {score / limit:.1f} times its healthy limit{where}")
    if zone in {"C", "D"} and velocity_mm_s is not None:
        meaning = "allowed for a limited time only" if zone == "C" else "may cause damage"
        parts.append(f"zone {zone}: {velocity_mm_s:.1f} mm/s RMS, {meaning}")
    if not parts:
        return "Back within its healthy limits"
    text = "; ".join(parts)
    return text[0].upper() + text[1:]


def _said(share: Contribution, rpm: float | None) -> str:
    """One contribution as a fitter reads it: what moved which way, where in Hz and in orders, on which axis."""
    kind, _, way = share.name.partition(" ")
    what = {"level": "the level of a broad band", "envelope": "impacts (envelope)"}.get(kind, "a narrow band")
    if share.low_hz is None or share.high_hz is None:
        return f"{what} {way} on axis {share.axis + 1}"
    orders = ""
    if rpm:
        shaft_hz = rpm / 60.0
        orders = f" ({share.low_hz / shaft_hz:.1f} to {share.high_hz / shaft_hz:.1f} x shaft speed)"
    return f"{what} {way} between {share.low_hz:.0f} and {share.high_hz:.0f} Hz{orders} on axis {share.axis + 1}"
