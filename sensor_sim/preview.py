"""This file knows how to look at one machine of a scenario at one moment: what should be seen, and the signal."""

import math
from pathlib import Path

import numpy as np

from sensor_sim.errors import ScenarioError
from sensor_sim.impacts import impact_order
from sensor_sim.life import BEARING_FAULTS
from sensor_sim.machine import MachineModel
from sensor_sim.randomness import stream
from sensor_sim.scenario import Scenario, bearing_orders

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_FULL_SCALE = 32_767


def seconds_of(text: str) -> float:
    """Read a time such as `90`, `90s`, `15m`, `2.5h` or `3d`.

    Raises:
        ScenarioError: It is none.
    """
    number, unit = (text[:-1], text[-1]) if text[-1:] in _SECONDS else (text, "s")
    try:
        seconds = float(number) * _SECONDS[unit]
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ScenarioError(f"time {text!r} found; a number with s, m, h or d expected, such as 3d")
    return seconds


def describe_machine(scenario: Scenario, name: str, at_s: float, seed: int) -> list[str]:
    """Say in lines of text what the machine does at a time, and where its faults must show."""
    model = MachineModel(scenario, name, seed)
    machine, state = model.machine, model.state_at(at_s)
    shaft_hz = state.rpm / 60.0
    turning = f"{state.rpm:.1f} rpm ({shaft_hz:.3f} Hz), load {state.load:.2f}, {state.temperature_c:.1f} degrees C"
    lines = [f"{name} at {at_s:g} s: {turning}"]
    plate = machine.nameplate
    if plate.bearing is not None:
        o = bearing_orders(plate.bearing)
        named = (("BPFO", o.bpfo), ("BPFI", o.bpfi), ("BSF", o.bsf), ("FTF", o.ftf))
        lines.append("bearing: " + ", ".join(f"{n} {order:.3f}x = {order * shaft_hz:.2f} Hz" for n, order in named))
    if plate.gear_teeth is not None:
        lines.append(f"gear mesh: {plate.gear_teeth}x = {plate.gear_teeth * shaft_hz:.2f} Hz")
    for fault, severity in zip(machine.faults, state.severities, strict=True):
        line = f"{fault.kind}: severity {severity:.3f}, onset at {fault.onset_s:g} s, {fault.shape}"
        if fault.kind in BEARING_FAULTS and plate.bearing is not None:
            order = impact_order(fault.kind, bearing_orders(plate.bearing), fault.slip)
            line += f", impacts at {order:.3f}x = {order * shaft_hz:.2f} Hz with slip {fault.slip:.1%}"
        lines.append(line)
    return lines


def write_recording(scenario: Scenario, name: str, at_s: float, seed: int, path: Path, captures: int = 1) -> None:
    """Write captures of the machine's first point as an `.npz` recording, one snapshot each.

    Args:
        scenario: The plant.
        name: The machine.
        at_s: Start of the first capture; the others follow at the point's interval.
        seed: Of the plant.
        path: Where to.
        captures: How many.

    Raises:
        ScenarioError: The file cannot be written.
    """
    model = MachineModel(scenario, name, seed)
    point, plate = model.machine.points[0], model.machine.nameplate
    times_s = [at_s + number * point.interval_s for number in range(captures)]
    drawn = [model.vibration(point.position, s, stream((seed,), "preview", round(s * 1e6))) for s in times_s]
    signal_g = np.stack([one.acceleration_g for one in drawn]).clip(-point.range_g, point.range_g)
    scale_g = point.range_g / _FULL_SCALE
    axes = len(point.axes)
    orders = bearing_orders(plate.bearing) if plate.bearing is not None else None
    geometry = [math.nan] * 4
    if plate.bearing is not None and plate.bearing.ball_diameter_mm and plate.bearing.pitch_diameter_mm:
        geometry = [
            float(plate.bearing.elements or math.nan), plate.bearing.ball_diameter_mm,
            plate.bearing.pitch_diameter_mm, plate.bearing.contact_angle_deg,
        ]  # fmt: skip
    worst = max(
        zip(model.state_at(at_s).severities, model.machine.faults, strict=True),
        key=lambda pair: pair[0],
        default=(0.0, None),
    )
    try:
        with path.open("wb") as file:
            np.savez_compressed(
                file,
                x=np.rint(signal_g / scale_g).astype(np.int16),
                scale=np.full(axes, scale_g),
                offset=np.zeros(axes),
                fs=np.float64(point.sample_rate_hz),
                t=np.array(times_s) - at_s,
                channels=np.array(point.axes),
                unit=np.array("g"),
                dataset=np.array("simulated"),
                machine=np.array(name),
                bearing=np.array(plate.bearing.name or "" if plate.bearing else ""),
                recording=np.array(f"{name} at {at_s:g} s, seed {seed}"),
                label=np.array(worst[1].kind if worst[1] is not None and worst[0] > 0 else "healthy"),
                severity=np.float64(worst[0]),
                rpm=np.float64(drawn[0].rpm),
                load=np.float64(drawn[0].load),
                load_unit=np.array("share of nominal"),
                mult=np.array([orders.bpfo, orders.bpfi, orders.bsf, orders.ftf] if orders else [math.nan] * 4),
                geometry=np.array(geometry),
                temp=np.array([one.temperature_c for one in drawn], np.float32),
            )
    except OSError as error:
        raise ScenarioError(f"recording {path} cannot be written: {error}") from error
