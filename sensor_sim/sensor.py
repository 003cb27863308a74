"""This file knows one sensor: it turns vibration into a capture, with its own clock, battery and shortcomings."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.capture import Capture, CaptureFlag
from sensor_sim.imperfections import (
    AxesSwapped,
    ClockDrift,
    Imperfection,
    Loose,
    LowBattery,
    Rebooted,
    Remounted,
    Saturated,
    Silent,
    Stuck,
    WrongGain,
    active_of,
)
from sensor_sim.machine import MachineModel, Vibration
from sensor_sim.path import Mounting
from sensor_sim.randomness import Seed, seed_of, stream
from sensor_sim.scenario import Point
from sensor_sim.structure import mounting_of

FULL_BATTERY_V = 3.6
RSSI_NEAR_DBM, RSSI_FAR_DBM = -48.0, -82.0  # of sensors beside the receiver, and at the end of the hall
RSSI_SCATTER_DB = 2.5  # from capture to capture: people, cranes and doors move
LOW_BATTERY_V = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A capture and when it was taken on the plant's own clock.

    Attributes:
        capture: What the sensor says.
        started_s: True start, in seconds since the scenario's start.
        ended_s: True end.
    """

    capture: Capture
    started_s: float
    ended_s: float


class Sensor:
    """One sensor of one run. Captures are asked for in order of time: it counts them.

    Args:
        model: The machine it sits on.
        position: Where.
        seed: Of the plant: the same seed gives the same samples.
        run: Of this run: it only decides the boot, so that a second run is not taken for a repetition of the first.
        epoch_us: The scenario's start, microseconds since 1970 UTC.
    """

    def __init__(self, model: MachineModel, position: str, *, seed: int, run: int, epoch_us: int) -> None:
        self.point: Point = model.point(position)
        self.name = f"{model.machine.name}/{position}"
        self._model = model
        self._seed: Seed = seed_of(seed, "sensor", self.name)
        self._run = run
        self._epoch_us = epoch_us
        self._boots = 0
        self._boot = self._new_boot()
        self._sequence = 0
        self._usual_rssi_dbm = float(stream(self._seed, "radio").uniform(RSSI_FAR_DBM, RSSI_NEAR_DBM))

    def measure(self, at_s: float, number: int) -> Measured | None:
        """Take one capture; None while the sensor is silent.

        Args:
            at_s: When, in seconds since the scenario's start.
            number: Which interval of the sensor's life this is; names the stream of its chance.
        """
        shortcomings = self.point.imperfections
        self._reboot_by(at_s)
        if active_of(Silent, shortcomings, at_s) is not None:
            return None
        vibration = self._model.vibration(
            self.point.position, at_s, stream(self._seed, "capture", number), self._mounting(at_s)
        )
        capture = self._capture(vibration, at_s, number)
        self._sequence += 1
        return Measured(capture, at_s, at_s + self.point.samples / self.point.sample_rate_hz)

    def _capture(self, vibration: Vibration, at_s: float, number: int) -> Capture:
        point, shortcomings = self.point, self.point.imperfections
        top = (1 << (point.bits - 1)) - 1
        scale_g = point.range_g / top
        counts = digitise(vibration.acceleration_g, at_s, scale_g=scale_g, top=top, shortcomings=shortcomings)
        flags = CaptureFlag.KEPT_UNTIL_ACK if point.keeps_until_ack else CaptureFlag.NONE
        drift = active_of(ClockDrift, shortcomings, at_s)
        if drift is not None and drift.knows:
            flags |= CaptureFlag.CLOCK_UNSURE
        battery_v = self._battery_v(at_s)
        if battery_v < LOW_BATTERY_V:
            flags |= CaptureFlag.LOW_BATTERY
        return Capture(
            boot=self._boot,
            sequence=self._sequence,
            measured_at_us=self._epoch_us + round(1e6 * own_clock_s(drift, at_s)),
            sample_rate_hz=point.sample_rate_hz,
            counts=counts,
            scale_g=np.full(len(point.axes), scale_g),
            range_g=point.range_g,
            rpm=vibration.rpm if point.knows_speed else math.nan,
            load=vibration.load if point.knows_load else math.nan,
            temperature_c=vibration.temperature_c if point.measures_temperature else math.nan,
            battery_v=battery_v,
            flags=flags,
            rssi_dbm=self._rssi_dbm(number),
        )

    def _mounting(self, at_s: float) -> Mounting:
        shortcomings = self.point.imperfections
        resonance_hz, damping = mounting_of(self.point.mounting)
        rattle_g, times, spread = 0.0, 0, 0.0
        loose = active_of(Loose, shortcomings, at_s)
        if loose is not None:
            resonance_hz, damping, rattle_g = loose.resonance_hz, loose.damping, loose.rattle_g
        remounted = active_of(Remounted, shortcomings, at_s)
        if remounted is not None:
            times, spread = 1 + shortcomings.index(remounted), remounted.spread
        return Mounting(resonance_hz, damping, rattle_g, times, spread)

    def _battery_v(self, at_s: float) -> float:
        low = active_of(LowBattery, self.point.imperfections, at_s)
        if low is not None:
            share = (at_s - low.from_s) / (low.to_s - low.from_s) if math.isfinite(low.to_s) else 1.0
            return low.from_v + share * (low.to_v - low.from_v)
        return FULL_BATTERY_V if self.point.on_battery else math.nan

    def _rssi_dbm(self, number: int) -> float:
        """Of a sensor on a battery, which is one on a radio; in whole dB, as radios tell it."""
        if not self.point.on_battery:
            return math.nan
        return round(self._usual_rssi_dbm + RSSI_SCATTER_DB * stream(self._seed, "fading", number).standard_normal())

    def _reboot_by(self, at_s: float) -> None:
        due = sum(isinstance(item, Rebooted) and item.from_s <= at_s for item in self.point.imperfections)
        if due > self._boots:
            self._boots = due
            self._boot = self._new_boot()
            self._sequence = 0

    def _new_boot(self) -> int:
        return int(stream(self._seed, "boot", self._run, self._boots).integers(1, 1 << 63))


def own_clock_s(drift: ClockDrift | None, at_s: float) -> float:
    """Return what the sensor's clock shows at a true time, both in seconds since the scenario's start."""
    if drift is None:
        return at_s
    return at_s + drift.step_s + 1e-6 * drift.ppm * (at_s - drift.from_s)


def digitise(
    acceleration_g: NDArray[np.float32],
    at_s: float,
    *,
    scale_g: float,
    top: int,
    shortcomings: tuple[Imperfection, ...] = (),
) -> NDArray[np.int16]:
    """Turn vibration into counts, as this sensor's electronics do.

    Args:
        acceleration_g: Shape (axes, samples).
        at_s: When, for what holds at that time.
        scale_g: g per count.
        top: Largest count.
        shortcomings: Of this sensor.

    Returns:
        Counts of shape (axes, samples), clipped to the range.
    """
    signal = acceleration_g / np.float32(scale_g)
    swapped = active_of(AxesSwapped, shortcomings, at_s)
    if swapped is not None:
        order = list(range(len(signal)))
        order[swapped.first], order[swapped.second] = swapped.second, swapped.first
        signal = signal[order]
    wrong = active_of(WrongGain, shortcomings, at_s)
    if wrong is not None:
        signal[slice(None) if wrong.channel is None else wrong.channel] *= np.float32(wrong.factor)
    saturated = active_of(Saturated, shortcomings, at_s)
    limit = top if saturated is None else min(top, round(saturated.limit_g / scale_g))
    counts: NDArray[np.int16] = np.clip(np.rint(signal, out=signal), -limit, limit).astype(np.int16)
    stuck = active_of(Stuck, shortcomings, at_s)
    if stuck is not None:
        counts[slice(None) if stuck.channel is None else stuck.channel] = max(-top, min(top, stuck.counts))
    return counts
