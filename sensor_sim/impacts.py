"""This file knows when a damaged bearing's parts strike each other, and how hard.

Impacts follow each other at intervals that scatter, each counted from the one before: a random walk. Jitter around
a perfect clock would be the easy mistake: it leaves the high harmonics of the envelope far too clear.

References:
    Randall & Antoni (2011), doi:10.1016/j.ymssp.2010.07.017, section 2; Antoni & Randall (2003),
    doi:10.1115/1.1569940 (the stochastic model of localised faults).
"""

import math

import numpy as np
from numpy.typing import NDArray

from sensor_sim.life import Fault, FaultKind
from vibration.bearing import FaultOrders

FloatArray = NDArray[np.float64]

HEIGHT_SCATTER = 0.15
"""Scatter of the heights of impacts, as a share."""

BALL_SIDES = (1.0, 0.75)
"""A damaged ball strikes the outer and the inner race in turn, and the way to the sensor differs."""

SPALL_FROM = 0.4
"""Severity from which a spall is long enough to be entered and left with a pulse each."""

SPALL_SHARE = 0.12
"""Length of the spall at severity 1 as a share of the distance between two rolling elements."""

ENTRY_HEIGHT = -0.3
"""The pulse of entering a spall is softer than that of leaving it, and of the other sign."""

LAST_STAGE_FROM, LAST_STAGE_FULL = 0.85, 1.5
_TAPS = 16  # of the interpolation between samples: flat to 0.8 of half the sample rate


def last_stage(severity: float) -> float:
    """Return how far into its last stage a bearing is, 0 to 1: there impacts blur and the noise floor rises."""
    return min(1.0, max(0.0, (severity - LAST_STAGE_FROM) / (LAST_STAGE_FULL - LAST_STAGE_FROM)))


def impact_order(kind: FaultKind, orders: FaultOrders, slip: float) -> float:
    """Return impacts per turn of the shaft when the cage slips.

    A slower cage brings fewer balls past the outer race and more past the inner one: their sum stays the number of
    balls.
    """
    match kind:
        case "outer":
            return orders.bpfo * (1.0 - slip)
        case "inner":
            return orders.bpfi + orders.bpfo * slip
        case "ball":
            return 2.0 * orders.bsf * (1.0 - slip)
        case "cage":
            return orders.ftf * (1.0 - slip)
        case _:
            raise ValueError(f"{kind} is no fault of a bearing")


def impact_turns(chance: np.random.Generator, *, order: float, jitter: float, turns: float) -> FloatArray:
    """Draw where impacts happen, in turns of the shaft from 0 to `turns`.

    Args:
        chance: Randomness of this capture.
        order: Mean impacts per turn.
        jitter: Standard deviation of one interval, as a share of it.
        turns: Length of the block.
    """
    count = math.ceil(1.2 * turns * order) + 16
    intervals = (1.0 + jitter * chance.standard_normal(count)).clip(0.1) / order
    at_turns = np.cumsum(intervals) - chance.uniform(0.0, intervals[0])
    return np.asarray(at_turns[at_turns < turns])


def load_zone(angle_rad: FloatArray, extent: float) -> FloatArray:
    """Return Stribeck's share of the load at an angle from the middle of the load zone.

    q = (1 - (1 - cos a) / (2 e))^1.5 for balls, 0 where that is negative.
    """
    return np.asarray(np.maximum(0.0, 1.0 - (1.0 - np.cos(angle_rad)) / (2.0 * extent)) ** 1.5)


def bearing_excitation(
    chance: np.random.Generator,
    fault: Fault,
    orders: FaultOrders,
    *,
    height_g: float,
    severity: float,
    turns: FloatArray,
) -> FloatArray:
    """Draw the force of a bearing fault on the housing, one value per sample.

    Args:
        chance: Randomness of this capture.
        fault: Kind, slip, jitter, extent and load zone.
        orders: Of the bearing.
        height_g: Mean height of an impact.
        severity: For the length of the spall.
        turns: Turns of the shaft at each sample, rising from 0, shape (n,).

    Returns:
        Pulses in g, shape (n,), to be filtered by the housing.
    """
    order = impact_order(fault.kind, orders, fault.slip)
    if fault.extent == "distributed":
        return _rough_surface(chance, fault, order, height_g, turns)
    at_turns = impact_turns(chance, order=order, jitter=fault.jitter, turns=float(turns[-1]))
    if not at_turns.size:
        return np.zeros(turns.size)
    heights = height_g * (1.0 + HEIGHT_SCATTER * chance.standard_normal(at_turns.size))
    heights *= _carried_load(chance, fault, orders, at_turns)
    if fault.kind == "ball":
        heights *= np.resize(BALL_SIDES, heights.size)
    if severity > SPALL_FROM:
        entry_turns = at_turns - min(severity, 1.0) * SPALL_SHARE / order
        at_turns, heights = np.concatenate([at_turns, entry_turns]), np.concatenate([heights, ENTRY_HEIGHT * heights])
    return pulse_train(np.interp(at_turns, turns, np.arange(turns.size)), heights, turns.size)


def pulse_train(at_sample: FloatArray, heights: FloatArray, samples: int) -> FloatArray:
    """Place pulses between samples, band-limited, so that their time is exact and not rounded to a sample."""
    first = np.floor(at_sample).astype(np.int64) - _TAPS // 2 + 1
    places = first[:, None] + np.arange(_TAPS)
    distance = places - at_sample[:, None]
    weights = np.sinc(distance) * np.cos(np.pi * distance / (_TAPS + 2)) ** 2 * heights[:, None]
    inside = (places >= 0) & (places < samples)
    return np.bincount(places[inside], weights[inside], samples).astype(np.float64)


def _carried_load(chance: np.random.Generator, fault: Fault, orders: FaultOrders, at_turns: FloatArray) -> FloatArray:
    """Return the load on the damaged place at each impact: it turns with the shaft, with the cage, or not at all."""
    start = chance.uniform(0.0, 1.0)
    match fault.kind:
        case "inner":
            return load_zone(math.tau * (at_turns + start), fault.load_zone)
        case "ball":
            return load_zone(math.tau * (at_turns * orders.ftf * (1.0 - fault.slip) + start), fault.load_zone)
        case _:
            return np.ones(at_turns.size)


def _rough_surface(
    chance: np.random.Generator, fault: Fault, order: float, height_g: float, turns: FloatArray
) -> FloatArray:
    """Return noise whose strength has the fault's rhythm and nothing else: wear without an edge."""
    wander = np.cumsum(chance.standard_normal(turns.size)) * fault.jitter * math.sqrt(order * _turns_a_sample(turns))
    rhythm = 0.5 * (1.0 + np.cos(math.tau * (order * turns + wander + chance.uniform(0.0, 1.0))))
    if fault.kind == "inner":
        rhythm = rhythm * load_zone(math.tau * (turns + chance.uniform(0.0, 1.0)), fault.load_zone)
    strength = height_g * math.sqrt(order * _turns_a_sample(turns))
    return strength * rhythm * chance.standard_normal(turns.size)


def _turns_a_sample(turns: FloatArray) -> float:
    return float(turns[-1] - turns[0]) / max(1, turns.size - 1)
