"""This file knows what shaft, coupling, gear and motor faults must show, as growth over what the machine showed sound.

A healthy machine has a 1x, a 2x and a gear mesh too: without a healthy reference none of them speaks for a fault.
Imbalance: 1x. Misalignment: 2x or 3x against 1x, and a smooth rise of everything above, for it loads the bearings
without striking them. Bent shaft: 1x and 2x together. Looseness: many harmonics, and halves. Gear: mesh and its
sidebands at shaft speed. Electrical: twice line frequency where no order of the shaft lies.
"""

import math

import numpy as np

from gateway_agent.diagnosis_bearing import Cause, Note
from gateway_agent.diagnosis_picture import (
    BAND_EDGES,
    ELECTRICAL,
    GEAR,
    LEVEL,
    SHAFT,
    SHAFT_ORDERS,
    VELOCITY,
    FloatArray,
    impulsiveness,
)
from vibration.rhythm_evidence import presence_nats

GROWTH_SCATTER_DB = 3.0
"""A sound machine's lines come and go by a third of their amplitude with load, temperature and speed."""

GROWTH_TYPICAL_DB = 10.0
"""Growth worth a diagnosis is typically threefold."""

LEVEL_SCATTER_DB = 2.0
"""Band levels of a sound machine are steadier than its lines."""

SMOOTH_NATS = 3.0
"""A rise without lines or impacts has many causes: it never says more than odds of twenty to one."""

SMOOTH_IMPULSIVE = 0.5  # rise of impulsiveness from which a rise in level is knocking, not rubbing
FIRST_UPPER_BAND = 2  # bands above a 32nd of half the sample rate: above the shaft's own lines
COMPARABLE = 0.5  # 2x over 1x (mm/s) from which the trade speaks of misalignment
CLEAR_OF_SHAFT_LINES = 2.0  # lines between twice line frequency and the nearest order: a Hann line is that wide

_AT = {float(order): index for index, order in enumerate(SHAFT_ORDERS)}
_HIGH = [_AT[o] for o in (0.5, 1.5, 2.5, 3.0, 4.0, 5.0, 6.0)]


def shaft_causes(now: FloatArray, healthy: FloatArray | None, line_frequency_hz: float = 50.0) -> list[Cause]:
    """Weigh causes by growth.

    Args:
        now: Picture, shape (channels, COLUMNS).
        healthy: The same when sound; None gives no causes.
        line_frequency_hz: Of the supply, for the sentence.
    """
    if healthy is None or healthy.shape != now.shape:
        return []
    causes = []
    for axis, (row, sound) in enumerate(zip(now, healthy, strict=True)):
        causes += _lines_of(axis, row, sound)
        causes += _gear_and_motor(axis, row, sound, line_frequency_hz)
    return causes + _smooth(now, healthy)


def upper_growth_db(now: FloatArray, healthy: FloatArray) -> FloatArray:
    """Return growth of each band, the largest of the channels, dB, shape (BANDS,)."""
    return np.asarray(20.0 * (now[:, LEVEL] - healthy[:, LEVEL]).max(axis=0))


def _lines_of(axis: int, row: FloatArray, sound: FloatArray) -> list[Cause]:
    if not np.isfinite(row[SHAFT][[1, 3]]).all() or not np.isfinite(sound[SHAFT][[1, 3]]).all():
        return []
    growth = np.nan_to_num(20.0 * (row[SHAFT] - sound[SHAFT]), nan=0.0)
    speed = 10.0 ** np.nan_to_num(row[SHAFT], nan=-6.0)
    total = max(10.0 ** float(row[VELOCITY]), 1e-6)
    share = np.minimum(1.0, 0.5 * speed**2 / total**2)
    one, two, three = _AT[1.0], _AT[2.0], _AT[3.0]

    def grown(index: int, scatter: float = GROWTH_SCATTER_DB) -> float:
        return presence_nats(float(growth[index]), scatter, GROWTH_TYPICAL_DB)

    carried = min(1.0, 2.0 * float(share[one]))  # a line that carries half the velocity speaks in full
    upper = two if speed[two] >= speed[three] else three
    against = 2.0 if speed[upper] > speed[one] else 0.0
    imbalance = Cause("imbalance", _weighted(grown(one), carried) - against, axis)
    imbalance.notes.append(_grown_note("1x", growth[one], share[one]))
    if against:
        imbalance.notes.append(Note(f"{SHAFT_ORDERS[upper]:.0f}x is larger than 1x", None, "", speaks_for=False))
    carried_upper = min(1.0, 2.0 * float(share[two] + share[three]))
    misalignment = Cause("misalignment", -2.0, axis)
    if speed[upper] >= COMPARABLE * speed[one]:
        misalignment.nats = _weighted(grown(upper), carried_upper)
        misalignment.notes.append(_grown_note(f"{SHAFT_ORDERS[upper]:.0f}x", growth[upper], share[upper]))
    bent = Cause("bent_shaft", -2.0, axis)
    if 0.25 * speed[one] <= speed[two] <= speed[one]:
        bent.nats = _weighted(min(grown(one), grown(two)), min(1.0, 2.0 * float(share[one] + share[two])))
        bent.notes.append(_grown_note("1x together with 2x", min(growth[one], growth[two]), share[one] + share[two]))
    fourth = sorted((float(growth[i]) for i in _HIGH), reverse=True)[3]
    halves = max(float(growth[_AT[o]]) for o in (0.5, 1.5, 2.5))
    carried_many = min(1.0, 4.0 * float(share[_HIGH].sum()))
    loose = _weighted(presence_nats(min(fourth, halves), GROWTH_SCATTER_DB, GROWTH_TYPICAL_DB), carried_many)
    looseness = Cause("looseness", loose, axis)
    looseness.notes.append(_grown_note("harmonics and half orders", fourth, float(share[_HIGH].sum())))
    return [imbalance, misalignment, bent, looseness]


def _weighted(nats: float, share: float) -> float:
    """Let what speaks for a cause count by how much of the vibration it explains; what speaks against counts whole."""
    return nats * share if nats > 0.0 else nats


def _grown_note(name: str, growth_db: float, share: float) -> Note:
    growth = round(float(growth_db), 1)
    verb = "has grown" if growth >= 0 else "has fallen"
    text = f"{name} {verb} by {abs(growth):.0f} dB over the healthy baseline and carries {share:.0%} of the velocity"
    return Note(text, growth, "dB", speaks_for=growth > GROWTH_SCATTER_DB)


def _gear_and_motor(axis: int, row: FloatArray, sound: FloatArray, line_frequency_hz: float) -> list[Cause]:
    causes = []
    mesh = 20.0 * (row[GEAR] - sound[GEAR])
    if np.isfinite(mesh).all():
        grown = [presence_nats(float(g), GROWTH_SCATTER_DB, GROWTH_TYPICAL_DB) for g in mesh]
        cause = Cause("gear", max(grown[0], 0.0) * 0.5 + grown[1], axis)
        text = (
            f"gear mesh has changed by {mesh[0]:+.0f} dB, its sidebands at shaft speed by {mesh[1]:+.0f} dB over "
            "the healthy baseline"
        )
        cause.notes.append(Note(text, round(float(mesh[1]), 1), "dB", speaks_for=bool(mesh[1] > GROWTH_SCATTER_DB)))
        causes.append(cause)
    hum, clear = row[ELECTRICAL]
    growth = 20.0 * (hum - sound[ELECTRICAL.start])
    if np.isfinite(growth) and clear > CLEAR_OF_SHAFT_LINES:
        share = min(1.0, 0.5 * 10.0 ** (2.0 * float(hum - row[VELOCITY])))
        nats = presence_nats(float(growth), GROWTH_SCATTER_DB, GROWTH_TYPICAL_DB)
        cause = Cause("electrical", _weighted(nats, min(1.0, 4.0 * share)), axis)
        cause.notes.append(_grown_note(f"twice line frequency ({2 * line_frequency_hz:.0f} Hz)", float(growth), share))
        causes.append(cause)
    return causes


def _smooth(now: FloatArray, healthy: FloatArray) -> list[Cause]:
    bands = upper_growth_db(now, healthy)[FIRST_UPPER_BAND:]
    impulsive = max(impulsiveness(row, sound) for row, sound in zip(now, healthy, strict=True))
    rise = float(np.median(bands))
    if impulsive > SMOOTH_IMPULSIVE or not math.isfinite(rise):
        return []
    nats = min(SMOOTH_NATS, presence_nats(rise, LEVEL_SCATTER_DB))
    if nats <= 0.0:
        return []
    axis = int(np.argmax(np.median(now[:, LEVEL] - healthy[:, LEVEL], axis=1)))
    text = (
        f"everything above {BAND_EDGES[FIRST_UPPER_BAND]:.0%} of the measured range has risen by about {rise:.0f} dB "
        "without impacts: something is pressed or rubs"
    )
    note = Note(text, round(rise, 1), "dB", speaks_for=True)
    return [Cause("misalignment", nats, axis, notes=[note]), Cause("bent_shaft", nats - 1.0, axis, notes=[note])]
