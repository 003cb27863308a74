"""This file knows what one machine does at any time of its life, and what can be felt of it at one point."""

import math
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from sensor_sim.impacts import bearing_excitation, last_stage
from sensor_sim.life import BEARING_FAULTS, Fault, FaultKind, FaultLife
from sensor_sim.path import Mounting, PointPath
from sensor_sim.randomness import Seed, seed_of
from sensor_sim.scenario import Machine, Point, Scenario, bearing_orders
from sensor_sim.schedules import Constant, course_of
from sensor_sim.shaft import (
    GEAR_WEAR_G,
    HEARD_SHARE,
    IMBALANCE_MM_S,
    LOOSENESS_MM_S,
    MISALIGNMENT_MM_S,
    TRUNCATION,
    ShaftLines,
    Source,
    shaft_waveform,
)
from sensor_sim.structure import mounting_response
from sensor_sim.thermal import LaggingTemperature

Float32Array = NDArray[np.float32]

STANDSTILL_RPM = 1.0
WANDER_KNOTS = 9
LAST_STAGE_IMBALANCE_MM_S = 2.0  # 1x rises when the clearance has grown
LAST_STAGE_NOISE = 6.0
LAST_STAGE_BLUR = 0.6
REMEMBERED_PATHS = 8


@dataclass(frozen=True, slots=True)
class MachineState:
    """A machine at one moment.

    Attributes:
        rpm: Speed of the shaft.
        load: Share of nominal load.
        temperature_c: Of the housing.
        severities: Of every fault of the scenario, in its order.
    """

    rpm: float
    load: float
    temperature_c: float
    severities: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Vibration:
    """What could be felt during one capture by a perfect sensor behind this mounting.

    Attributes:
        acceleration_g: Shape (axes, samples).
        rpm: Mean speed.
        load: Share of nominal load.
        temperature_c: Of the housing.
    """

    acceleration_g: Float32Array
    rpm: float
    load: float
    temperature_c: float


class MachineModel:
    """One machine of a scenario with its own phases, gains and walks, all drawn from the seed and its name."""

    def __init__(self, scenario: Scenario, name: str, seed: int) -> None:
        self.machine: Machine = scenario.machine(name)
        self._individuality = scenario.individuality
        self._seed: Seed = seed_of(seed, "machine", name)
        machine, own = self.machine, self._seed
        self._speed_rpm = course_of(machine.speed or Constant(value=machine.nominal_rpm), seed_of(*own, "speed"))
        self._load = course_of(machine.load, seed_of(*own, "load"))
        self._lives = [
            FaultLife(fault, machine.repairs, seed_of(*own, "life", number))
            for number, fault in enumerate(machine.faults)
        ]
        plate = machine.nameplate
        self._orders = bearing_orders(plate.bearing) if plate.bearing is not None else None
        self._shaft = ShaftLines(machine, own)
        self._temperature = LaggingTemperature(self._settling_temperature_c, machine.thermal.time_constant_s)
        self._paths: dict[tuple[str, Mounting], PointPath] = {}

    def point(self, position: str) -> Point:
        """Find one of the machine's points by its position."""
        return next(point for point in self.machine.points if point.position == position)

    def state_at(self, at_s: float) -> MachineState:
        """Return what the machine does at a time in seconds since the scenario's start."""
        load = self._load(at_s)
        rpm = self._speed_rpm(at_s) * (1.0 - self.machine.load_slip * load)
        return MachineState(rpm, load, self._temperature.at(at_s), tuple(life.at(at_s) for life in self._lives))

    def vibration(
        self, position: str, at_s: float, chance: np.random.Generator, mounting: Mounting | None = None
    ) -> Vibration:
        """Draw one capture.

        Args:
            position: Of the point on the machine.
            at_s: Its start, in seconds since the scenario's start.
            chance: Randomness of this capture alone.
            mounting: How the sensor sits; as in the scenario by default.
        """
        point, machine = self.point(position), self.machine
        path = self._path(point, mounting or Mounting.of(point))
        state = self.state_at(at_s)
        speed_hz = self._speed_hz(path, at_s, chance)
        turns = np.cumsum(speed_hz) / point.sample_rate_hz
        rpm = 60.0 * float(speed_hz[path.lead :].mean())
        nominal = rpm / machine.nominal_rpm
        scatter = np.exp(machine.operating_scatter * chance.standard_normal(8))
        worst = self._worst(state)
        bearing = max((worst.get(kind, 0.0) for kind in BEARING_FAULTS), default=0.0)
        floor = 1.0 + 0.5 * min(bearing, 1.0) + LAST_STAGE_NOISE * last_stage(bearing)
        spectrum = path.noise(
            chance,
            flow=nominal * (0.6 + 0.5 * state.load) * float(scatter[0]),
            rolling=nominal * (0.5 + 0.5 * state.load) * floor * float(scatter[1]),
        )
        for fault, severity in zip(machine.faults, state.severities, strict=True):
            if fault.kind in BEARING_FAULTS and severity > 0.0 and rpm > STANDSTILL_RPM:
                pulses = self._pulses(fault, severity, state.load, nominal, float(scatter[2]), turns, chance)
                spectrum += scipy.fft.rfft(pulses.astype(np.float32)) * path.impact
        waves: Float32Array = scipy.fft.irfft(spectrum, path.block, axis=-1)[:, path.lead : path.lead + point.samples]
        if rpm > STANDSTILL_RPM:
            in_capture = slice(path.lead, path.lead + point.samples)
            waves = waves + self._shaft_waves(path, turns[in_capture], state, scatter, nominal)
            mains_g = machine.shaft.electrical_g * float(scatter[7])
            waves += path.hum(machine.nameplate.line_frequency_hz, mains_g, float(chance.uniform(0.0, math.tau)))
        return Vibration(waves, rpm, state.load, state.temperature_c)

    def _path(self, point: Point, mounting: Mounting) -> PointPath:
        key = (point.position, mounting)
        if key not in self._paths:
            if len(self._paths) >= REMEMBERED_PATHS:
                self._paths.clear()
            self._paths[key] = PointPath(
                point, self.machine, mounting, seed_of(*self._seed, "path", point.position), self._individuality
            )
        return self._paths[key]

    def _speed_hz(self, path: PointPath, at_s: float, chance: np.random.Generator) -> NDArray[np.float64]:
        """Speed at each sample: the schedule's at both ends, and the shaft's own wandering in between."""
        length_s = path.block / path.sample_rate_hz
        ends_rpm = [
            self._speed_rpm(s) * (1.0 - self.machine.load_slip * self._load(s)) for s in (at_s, at_s + length_s)
        ]
        knots = np.linspace(ends_rpm[0], ends_rpm[1], WANDER_KNOTS) / 60.0
        knots *= 1.0 + self.machine.speed_wander * chance.standard_normal(WANDER_KNOTS)
        return np.interp(np.arange(path.block), np.linspace(0.0, path.block - 1.0, WANDER_KNOTS), knots)

    def _worst(self, state: MachineState) -> dict[FaultKind, float]:
        worst: dict[FaultKind, float] = {}
        for fault, severity in zip(self.machine.faults, state.severities, strict=True):
            worst[fault.kind] = max(worst.get(fault.kind, 0.0), severity)
        return worst

    def _pulses(
        self,
        fault: Fault,
        severity: float,
        load: float,
        nominal: float,
        scatter: float,
        turns: NDArray[np.float64],
        chance: np.random.Generator,
    ) -> NDArray[np.float64]:
        assert self._orders is not None, "the scenario has checked that a bearing fault has a bearing"
        blur = 1.0 - LAST_STAGE_BLUR * last_stage(severity)
        height_g = fault.impact_g * severity * blur * nominal * (0.4 + 0.6 * load) * scatter
        return bearing_excitation(chance, fault, self._orders, height_g=height_g, severity=severity, turns=turns)

    def _shaft_waves(
        self,
        path: PointPath,
        turns: NDArray[np.float64],
        state: MachineState,
        scatter: NDArray[np.float64],
        nominal: float,
    ) -> Float32Array:
        levels = self._levels(state, scatter)
        orders = np.array(self._shaft.half_orders) / 2.0
        frequency_hz = orders * nominal * self.machine.nominal_rpm / 60.0
        amplitudes = self._shaft.amplitudes(levels, speed_ratio=nominal, load=state.load)
        used = (np.abs(amplitudes).max(axis=1) > 0.0) & (frequency_hz < HEARD_SHARE * path.sample_rate_hz)
        at_axes = amplitudes[used][:, path.directions] * path.axis_gains
        at_axes *= mounting_response(frequency_hz[used], path.mounting.resonance_hz, path.mounting.damping)[:, None]
        half_orders = [self._shaft.half_orders[row] for row in np.flatnonzero(used)]
        waves = shaft_waveform(turns, half_orders, at_axes)
        loose = min(1.0, self._worst(state).get("looseness", 0.0))
        if loose > 0.0:
            waves = np.minimum(waves, (1.0 - TRUNCATION * loose) * waves.max(axis=1, keepdims=True))
        return waves

    def _levels(self, state: MachineState, scatter: NDArray[np.float64]) -> dict[Source, float]:
        worst, shaft = self._worst(state), self.machine.shaft
        bearing = max((worst.get(kind, 0.0) for kind in BEARING_FAULTS), default=0.0)
        imbalance = shaft.imbalance_mm_s + IMBALANCE_MM_S * worst.get("imbalance", 0.0)
        return {
            # The rotor's own state hardly changes from hour to hour; process forces do.
            "imbalance": (imbalance + LAST_STAGE_IMBALANCE_MM_S * last_stage(bearing)) * math.sqrt(scatter[3]),
            "misalignment": (shaft.misalignment_mm_s + MISALIGNMENT_MM_S * worst.get("misalignment", 0.0)) * scatter[4],
            "looseness": LOOSENESS_MM_S * worst.get("looseness", 0.0) * scatter[3],
            "vanes": shaft.vane_g * scatter[5],
            "gear_mesh": shaft.gear_mesh_g * scatter[6],
            "gear_wear": GEAR_WEAR_G * worst.get("gear_wear", 0.0) * scatter[6],
        }

    def _settling_temperature_c(self, at_s: float) -> float:
        thermal = self.machine.thermal
        load, rpm = self._load(at_s), self._speed_rpm(at_s)
        damage = max(
            (life.at(at_s) for life in self._lives if life.fault.kind in BEARING_FAULTS), default=0.0
        )  # fmt: skip
        running = min(rpm / self.machine.nominal_rpm, 1.5)
        return thermal.ambient_c + running * ((0.3 + 0.7 * load) * thermal.rise_c + damage * thermal.fault_rise_c)
