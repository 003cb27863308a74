"""This file knows how a diagnosis is told: sentences for and against, and cursors where theory expects lines."""

import math
from collections.abc import Mapping

from gateway_agent.diagnosis_bearing import Cause, Note, family_notes
from schemas.messages import Diagnosis, FaultLine, Finding
from vibration.bearing import FaultOrders

HARMONICS = 4  # drawn by a cursor

_NAMES = {
    "outer": "outer race", "inner": "inner race", "ball": "rolling element", "cage": "cage",
    "imbalance": "imbalance", "misalignment": "misalignment", "looseness": "looseness", "gear": "gear mesh",
    "electrical": "electrical", "unknown": "unknown cause",
}  # fmt: skip


def label_name(label: str) -> str:
    """How a label is said to a person."""
    return _NAMES.get(label, label.replace("_", " "))


def sentences(
    ranked: tuple[Diagnosis, ...], best: Mapping[str, Cause], *, bearing_named: bool, speed_known: bool, captures: float
) -> tuple[Finding, ...]:
    """Say what speaks for and against the best cause, which others are possible, and what should be entered.

    Args:
        ranked: Causes, best first.
        best: What each cause rests on.
        bearing_named: Whether the bearing's orders are known.
        speed_known: Whether the shaft's speed is.
        captures: How many captures it rests on.
    """
    findings: list[Finding] = []
    label = ranked[0].label
    cause = best.get(label)
    if cause is not None:
        for note in _notes(cause):
            findings.append(
                Finding(label=label, speaks_for=note.speaks_for, text=note.text, value=note.value, unit=note.unit)
            )
        if captures >= 2.0:
            findings.append(
                Finding(
                    label=label, speaks_for=True, text=f"judged over the last {captures:.0f} captures", value=captures
                )
            )
    for other in ranked[1:3]:
        if other.label not in {"unknown", label}:
            reasons = [note.text for note in _notes(best[other.label]) if note.speaks_for]
            why = f": {reasons[0]}" if reasons else ""
            findings.append(
                Finding(
                    label=other.label, speaks_for=True, value=other.confidence,
                    text=f"{label_name(other.label)} is also possible ({other.confidence:.0%}){why}",
                )
            )  # fmt: skip
    if not bearing_named:
        findings.append(
            Finding(
                label="unknown", speaks_for=False,
                text="bearing not named: its fault lines can only be searched for; enter the bearing",
            )
        )  # fmt: skip
    if not speed_known:
        findings.append(
            Finding(
                label="unknown", speaks_for=False,
                text="shaft speed not known: no order can be placed; enter the nameplate speed",
            )
        )  # fmt: skip
    return tuple(findings)


def _notes(cause: Cause) -> list[Note]:
    return (family_notes(cause) if cause.scatter_db else []) + cause.notes


def cursors(
    best: Mapping[str, Cause], *, orders: FaultOrders | None, shaft_hz: float, gear_teeth: int | None
) -> tuple[FaultLine, ...]:
    """Say where theory expects the lines of bearing, shaft and gear, and where they were found."""
    drawn = []
    if orders is not None:
        o = orders
        for label, name, order in (
            ("outer", "BPFO", o.bpfo), ("inner", "BPFI", o.bpfi),
            ("ball", "2xBSF", 2.0 * o.bsf), ("cage", "FTF", o.ftf),
        ):  # fmt: skip
            family = best[label].families.get(name) if label in best else None
            seen = family is not None and math.isfinite(family.at(0))
            drawn.append(
                FaultLine(
                    name=name, frequency_hz=order * shaft_hz, harmonics=HARMONICS,
                    found_hz=order * (1.0 + family.slip) * shaft_hz if family is not None and seen else None,
                    prominence_db=round(family.at(0), 1) if family is not None and seen else None,
                )
            )  # fmt: skip
    drawn.append(FaultLine(name="1x", frequency_hz=shaft_hz, harmonics=HARMONICS))
    if gear_teeth:
        drawn.append(FaultLine(name="GMF", frequency_hz=gear_teeth * shaft_hz, harmonics=2))
    return tuple(drawn)
