"""This file knows what turns in step with the shaft: imbalance, misalignment, looseness, vanes and gear mesh.

Every line is a complex amplitude per direction (horizontal, vertical, axial) at a multiple of half the shaft's
speed; the waveform is read off the shaft's phase, so lines follow the speed wherever it goes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from sensor_sim.randomness import Seed, stream
from sensor_sim.scenario import Machine
from vibration.units import rpm_to_hz, sine_acceleration_g

Source = Literal["imbalance", "misalignment", "looseness", "vanes", "gear_mesh", "gear_wear"]
Float32Array = NDArray[np.float32]

DIRECTIONS = ("horizontal", "vertical", "axial")
HEARD_SHARE = 0.45
"""Lines above this share of the sample rate are not heard: a sensor's filter stands there."""

POINTS_A_PERIOD = 96
"""Of the fastest line, read by straight lines between them: what that adds stays 65 dB below the line."""

# At severity 1, nominal speed and load. Velocities are mm/s RMS of the strongest line, accelerations g peak.
IMBALANCE_MM_S = 8.0
MISALIGNMENT_MM_S = 5.0
LOOSENESS_MM_S = 3.5
GEAR_WEAR_G = 0.9
TRUNCATION = 0.5
"""Share of the waveform's height that looseness cuts off on one side at severity 1."""


@dataclass(frozen=True, slots=True)
class _Line:
    source: Source
    half_order: int
    unit_g: float
    directions: tuple[complex, complex, complex]


class ShaftLines:
    """The lines of one machine; phases are its own, drawn once from the seed.

    How levels scale: imbalance, looseness and vanes with the square of speed (centrifugal force, head), misalignment
    and gear mesh with speed and load.
    """

    def __init__(self, machine: Machine, seed: Seed) -> None:
        self._speed_hz = rpm_to_hz(machine.nominal_rpm)
        self._chance = stream(seed, "shaft")
        lines = [*self._rotor_lines(), *self._vane_lines(machine), *self._gear_lines(machine)]
        self.half_orders = sorted({line.half_order for line in lines})
        self._sources = [line.source for line in lines]
        self._amplitudes = np.array([[line.unit_g * d for d in line.directions] for line in lines])
        self._row = np.array([self.half_orders.index(line.half_order) for line in lines])

    def amplitudes(self, levels: Mapping[Source, float], *, speed_ratio: float, load: float) -> NDArray[np.complex128]:
        """Return complex peak amplitudes in g, shape (orders, directions).

        Args:
            levels: Of each source, in mm/s RMS (imbalance, misalignment, looseness) or g peak (the rest).
            speed_ratio: Speed over nominal speed.
            load: Share of nominal load.
        """
        with_load = speed_ratio * (0.3 + 0.7 * load)
        scale: dict[Source, float] = {
            "imbalance": speed_ratio**2, "looseness": speed_ratio**2, "vanes": speed_ratio**2 * (0.5 + 0.5 * load),
            "misalignment": with_load, "gear_mesh": with_load, "gear_wear": with_load,
        }  # fmt: skip
        factors = np.array([levels.get(source, 0.0) * scale[source] for source in self._sources])
        summed = np.zeros((len(self.half_orders), len(DIRECTIONS)), np.complex128)
        np.add.at(summed, self._row, factors[:, None] * self._amplitudes)
        return summed

    def _turned(self) -> complex:
        return complex(np.exp(1j * self._chance.uniform(0.0, math.tau)))

    def _velocity_line(
        self, source: Source, order: float, share: float, directions: tuple[complex, complex, complex]
    ) -> _Line:
        unit_g = sine_acceleration_g(share * math.sqrt(2.0), order * self._speed_hz)
        turn = self._turned()
        h, v, a = directions
        return _Line(source, round(2.0 * order), unit_g, (turn * h, turn * v, turn * a))

    def _rotor_lines(self) -> list[_Line]:
        lines = [
            # A rotating force: vertical a quarter turn behind horizontal, hardly any axial.
            self._velocity_line("imbalance", 1.0, 1.0, (1.0, -0.85j, 0.12)),
            self._velocity_line("misalignment", 2.0, 1.0, (1.0, 0.9, 0.75)),
            self._velocity_line("misalignment", 1.0, 0.5, (0.4, 0.4, 1.0)),
            self._velocity_line("misalignment", 3.0, 0.3, (1.0, 0.8, 0.5)),
        ]
        lines += [self._velocity_line("looseness", float(k), 1.0 / math.sqrt(k), (0.6, 1.0, 0.3)) for k in range(1, 11)]
        lines += [self._velocity_line("looseness", k + 0.5, 0.4 / (k + 1.0), (0.6, 1.0, 0.3)) for k in range(4)]
        return lines

    def _vane_lines(self, machine: Machine) -> list[_Line]:
        if not machine.shaft.vanes:
            return []
        shares = ((1, 1.0), (2, 0.4), (3, 0.15))
        return [self._mesh_line("vanes", k * machine.shaft.vanes, share) for k, share in shares]

    def _gear_lines(self, machine: Machine) -> list[_Line]:
        teeth = machine.nameplate.gear_teeth
        if teeth is None:
            return []
        lines = [self._mesh_line("gear_mesh", k * teeth, share) for k, share in ((1, 1.0), (2, 0.35), (3, 0.15))]
        lines += [self._mesh_line("gear_mesh", teeth + side, 0.06) for side in (-1, 1)]
        lines += [self._mesh_line("gear_wear", k * teeth, share) for k, share in ((1, 0.6), (2, 0.8), (3, 0.4))]
        for mesh, height in ((1, 1.0), (2, 0.7)):
            for side, share in ((-2, 0.2), (-1, 0.45), (1, 0.5), (2, 0.25)):
                lines.append(self._mesh_line("gear_wear", mesh * teeth + side, height * share))
        return lines

    def _mesh_line(self, source: Source, order: int, share: float) -> _Line:
        return _Line(source, 2 * order, share, (self._turned(), 0.9 * self._turned(), 0.4 * self._turned()))


def shaft_waveform(
    turns: NDArray[np.float64], half_orders: Sequence[int], amplitudes: NDArray[np.complex128]
) -> Float32Array:
    """Sum lines along the shaft's turning.

    Args:
        turns: Turns of the shaft at each sample, shape (n,).
        half_orders: Each line's order, doubled.
        amplitudes: Complex peak amplitudes, shape (orders, axes).

    Returns:
        Shape (axes, n).
    """
    if not half_orders:
        return np.zeros((amplitudes.shape[1], turns.size), np.float32)
    points = scipy.fft.next_fast_len(POINTS_A_PERIOD * max(half_orders), real=True)
    lines = np.zeros((amplitudes.shape[1], points // 2 + 1), np.complex64)
    lines[:, list(half_orders)] = (0.5 * points) * amplitudes.T
    # Everything here repeats after two turns: one repetition is made by a transform and read at the shaft's phase.
    period = scipy.fft.irfft(lines, points, axis=-1)
    period = np.concatenate([period, period[:, :1]], axis=1)
    half_turns = turns * 0.5
    place = (half_turns - np.floor(half_turns)) * points
    below = np.minimum(place.astype(np.int32), points - 1)
    share = (place - below).astype(np.float32)
    low: Float32Array = period.take(below, axis=1)
    return np.asarray(low + share * (period.take(below + 1, axis=1) - low))
