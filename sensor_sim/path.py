"""This file knows the way from a machine's sources to one sensor, calculated once and used for every capture."""

import math
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from sensor_sim.randomness import Seed, stream
from sensor_sim.scenario import Machine, Point
from sensor_sim.shaft import DIRECTIONS
from sensor_sim.structure import impact_response, mounting_of, mounting_response

Float32Array = NDArray[np.float32]

RINGING_TIME_CONSTANTS = 6.0
LOWEST_FLOW_HZ = 1.0
RATTLE_HZ = 60.0
_UG = 1e-6


@dataclass(frozen=True, slots=True)
class Mounting:
    """How the sensor sits on the housing just now.

    Attributes:
        resonance_hz: Of the mounting.
        damping: Share of critical damping.
        rattle_g: RMS of what a loose sensor adds at low frequencies.
        remounted: Which time it was put back; 0 as commissioned.
        remount_spread: Scatter of the gains when put back.
    """

    resonance_hz: float
    damping: float
    rattle_g: float = 0.0
    remounted: int = 0
    remount_spread: float = 0.0

    @classmethod
    def of(cls, point: Point) -> "Mounting":
        """As in the scenario."""
        return cls(*mounting_of(point.mounting))


class PointPath:
    """One sensor's paths.

    Attributes:
        block: Samples drawn; longer than a capture, so that impacts before its start ring into it.
        lead: Samples of the block before the capture.
        directions: Index of each axis' direction, shape (axes,).
        axis_gains: Transmission to each axis, shape (axes,).
        impact: Spectrum of an impact at each axis, shape (axes, block // 2 + 1).
    """

    def __init__(self, point: Point, machine: Machine, mounting: Mounting, seed: Seed, individuality: float) -> None:
        self.mounting = mounting
        self.sample_rate_hz = point.sample_rate_hz
        chance = stream(seed, "gains")
        axes = len(point.axes)
        self.directions = [DIRECTIONS.index(axis) for axis in point.axes]
        given = np.array(point.gains) if point.gains else np.ones(axes)
        self.axis_gains = given * np.exp(individuality * chance.standard_normal(axes))
        if mounting.remounted:
            put_back = stream(seed, "remounted", mounting.remounted)
            self.axis_gains *= np.exp(mounting.remount_spread * put_back.standard_normal(axes))
        scatter = np.exp(individuality * chance.standard_normal((len(machine.resonances), 2)))
        resonances = [
            r.model_copy(update={"frequency_hz": r.frequency_hz * f, "damping": min(0.49, r.damping * d * d)})
            for r, (f, d) in zip(machine.resonances, scatter.tolist(), strict=True)
        ]
        ringing_s = max(RINGING_TIME_CONSTANTS / (r.damping * math.tau * r.frequency_hz) for r in resonances)
        lead = math.ceil(ringing_s * self.sample_rate_hz)
        self.block = scipy.fft.next_fast_len(point.samples + lead, real=True)
        self.lead = self.block - point.samples
        mix = chance.uniform(0.4, 1.0, (axes, len(resonances))) * self.axis_gains[:, None]
        bare = impact_response(resonances, mix, samples=self.block, sample_rate_hz=self.sample_rate_hz)
        frequency_hz = np.arange(self.block // 2 + 1, dtype=np.float64) * (self.sample_rate_hz / self.block)
        mounted = mounting_response(frequency_hz, mounting.resonance_hz, mounting.damping)
        self.impact: NDArray[np.complex64] = (bare * mounted).astype(np.complex64)
        self._set_noise(machine, frequency_hz, np.abs(bare), np.abs(mounted) ** 2)
        self._at_s = np.arange(point.samples) / self.sample_rate_hz

    def _set_noise(
        self,
        machine: Machine,
        frequency_hz: NDArray[np.float64],
        bare: NDArray[np.float64],
        mounted: NDArray[np.float64],
    ) -> None:
        noise = machine.noise
        # White noise of density d has |rfft|² = d² fs/2 · n on average; half of it in each of its two parts.
        scale = self.sample_rate_hz / 2.0 * self.block / 2.0
        gains = self.axis_gains[:, None] ** 2
        top = max(float(bare.max()), 1e-12)
        low = RATTLE_HZ
        rattle = self.mounting.rattle_g**2 / (math.pi / 4.0 * low) / (1.0 + (frequency_hz / low) ** 2) ** 2
        steady = (noise.sensor_ug * _UG) ** 2 + rattle
        flow = (noise.flow_ug * _UG) ** 2 * 100.0 / np.maximum(frequency_hz, LOWEST_FLOW_HZ)
        rolling = (noise.rolling_ug * _UG) ** 2 * (bare / top) ** 2
        self._steady_power = (scale * steady).astype(np.float32)
        self._flow_power = (scale * flow * mounted * gains).astype(np.float32)
        self._rolling_power = (scale * rolling * mounted).astype(np.float32)
        self._steady_power[0] = self._flow_power[:, 0] = self._rolling_power[:, 0] = 0.0

    def noise(self, chance: np.random.Generator, *, flow: float, rolling: float) -> NDArray[np.complex64]:
        """Draw the spectrum of everything without rhythm, shape (axes, block // 2 + 1).

        Independent Gaussian noises of known spectra are one noise whose powers add: one draw serves all.
        """
        power = self._steady_power + flow**2 * self._flow_power + rolling**2 * self._rolling_power
        drawn: Float32Array = chance.standard_normal((*power.shape, 2), np.float32)
        drawn *= np.sqrt(power)[..., None]
        return drawn.view(np.complex64)[..., 0]

    def hum(self, line_frequency_hz: float, amplitude_g: float, phase_rad: float) -> Float32Array:
        """Return twice the mains frequency at each axis; it is the stator's, and knows nothing of the shaft."""
        wave = amplitude_g * np.cos(2.0 * math.tau * line_frequency_hz * self._at_s + phase_rad)
        return np.asarray(self.axis_gains[:, None] * wave, np.float32)
