"""Small scenarios for tests: one machine, one long capture, nothing left to chance that the test is not about."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensor_sim.machine import MachineModel
from sensor_sim.plant import Plant
from sensor_sim.randomness import stream
from sensor_sim.scenario import Scenario

EPOCH_US = 1_700_000_000_000_000
RPM = 1500.0
QUIET = {"sensor_ug": 20.0, "flow_ug": 20.0, "rolling_ug": 50.0}


def one_machine(
    *,
    faults: tuple[dict[str, Any], ...] = (),
    point: dict[str, Any] | None = None,
    plate: dict[str, Any] | None = None,
    **machine: Any,
) -> Scenario:
    """A machine at 1500 rpm with a 6205 bearing, sampled long enough for lines of 0.4 Hz."""
    begun = tuple({"onset_s": 0.0, "duration_s": 1.0, **fault} for fault in faults)
    values = {
        "nameplate": {"machine": "m", "rpm": RPM, "bearing": {"name": "6205"}, **(plate or {})},
        "points": [{"position": "de", "samples": 65_536, "interval_s": 10.0, **(point or {})}],
        "faults": begun,
        "load_slip": 0.0,
        "speed_wander": 0.0,
        "operating_scatter": 0.0,
        "noise": QUIET,
        **machine,
    }
    return Scenario.model_validate({"individuality": 0.0, "machines": [values]})


def felt(scenario: Scenario, at_s: float = 100.0, seed: int = 3) -> NDArray[np.float64]:
    """One capture of the machine as a perfect sensor would feel it, shape (axes, samples)."""
    model = MachineModel(scenario, "m", seed)
    return model.vibration("de", at_s, stream((seed,), "test")).acceleration_g.astype(np.float64)


def plant_of(scenario: Scenario, *, seed: int = 3, run: int = 0) -> Plant:
    """The scenario's plant at site `s`, all of it listened to by gateway `g`."""
    return Plant(scenario, site="s", gateway_of=lambda _: "g", seed=seed, run=run, epoch_us=EPOCH_US)
