"""This file knows how damage grows over a machine's life, and what a repair takes back.

Severity is 0 for sound and 1 for clearly damaged; a bearing beyond about 0.85 is in its last stage. Growth is
exponential, s = s0 exp(b t), or of Paris' kind, ds/dt = C s^m; both are written in closed form so that severity is
a function of time and nothing has to be stepped.
"""

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from schemas.settings import Settings
from sensor_sim.randomness import Seed, stream

FaultKind = Literal[
    "imbalance", "misalignment", "looseness", "gear_wear", "inner", "outer", "ball", "cage"
]  # fmt: skip
BEARING_FAULTS: frozenset[FaultKind] = frozenset({"inner", "outer", "ball", "cage"})

LATE_KNEE = 0.85
"""Share of the life after which "late sudden" damage does most of its growing."""

LATE_KNEE_AGE = 0.15
"""How old the damage looks at the knee."""

STEP_COUNT = 5
HEALING_DEPTH = 0.5
"""Largest share by which a "fluctuating" fault seems to heal: edges of a spall are rolled smooth."""


class Fault(Settings):
    """One kind of damage on one machine: when it begins, how it grows, how far."""

    kind: FaultKind
    onset_s: float = Field(ge=0, description="When it begins, since the scenario's start.")
    duration_s: float = Field(gt=0, description="From onset to the end severity.")
    end_severity: float = Field(default=1.0, ge=0, le=2)
    initial_severity: float = Field(default=0.05, gt=0, lt=1, description="At onset, as a share of the end severity.")
    shape: Literal["slow_monotone", "late_sudden", "stepwise", "fluctuating"] = "slow_monotone"
    growth: Literal["exp", "paris"] = "exp"
    paris_exponent: float = Field(default=2.0, gt=1, le=6, description="m of ds/dt = C s^m.")
    spread: float = Field(default=0.0, ge=0, le=2, description="Scatter of the duration (log-normal sigma).")
    slip: float = Field(default=0.01, ge=0.0, le=0.05, description="Mean slip of the cage, 0.005 to 0.02 usual.")
    jitter: float = Field(default=0.01, ge=0.0, le=0.1, description="Scatter of each interval between impacts.")
    impact_g: float = Field(default=6.0, gt=0, le=200, description="Mean height of an impact's ringing at severity 1.")
    extent: Literal["localised", "distributed"] = "localised"
    load_zone: float = Field(default=0.4, gt=0, le=1, description="Stribeck's epsilon; below 0.5 half a turn or less.")


class Repair(Settings):
    """Maintenance: what it takes back, and of which faults. `restores` below 1 leaves damage that grows again."""

    at_s: float = Field(gt=0)
    restores: float = Field(default=1.0, ge=0, le=1, description="Share of the severity that is taken away.")
    faults: tuple[FaultKind, ...] = Field(default=(), description="All of them if empty.")

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.faults)) != len(self.faults):
            raise ValueError(f"faults {list(self.faults)} of a repair are listed twice")
        return self


class FaultLife:
    """The severity of one fault over time.

    Args:
        fault: As in the scenario.
        repairs: Of its machine, in any order.
        seed: Names the stream of this life's chance: duration, steps, healing.
    """

    def __init__(self, fault: Fault, repairs: tuple[Repair, ...], seed: Seed) -> None:
        chance = stream(seed)
        self.fault = fault
        self.duration_s = fault.duration_s * math.exp(fault.spread * float(chance.standard_normal()))
        self._steps = sorted(chance.uniform(0.05, 0.98, STEP_COUNT).tolist())
        self._waves = [(float(chance.uniform(1.5, 6.0)), float(chance.uniform(0.0, math.tau))) for _ in range(3)]
        ours = [r for r in repairs if (not r.faults or fault.kind in r.faults) and r.at_s > fault.onset_s]
        self._restarts: list[tuple[float, float]] = []  # when, and the severity left behind
        for repair in sorted(ours, key=lambda r: r.at_s):
            self._restarts.append((repair.at_s, (1.0 - repair.restores) * self.at(repair.at_s)))

    def at(self, at_s: float) -> float:
        """Return the severity at a time in seconds since the scenario's start."""
        if at_s < self.fault.onset_s:
            return 0.0
        since_s, left = self.fault.onset_s, -1.0
        for restart_s, severity in self._restarts:
            if restart_s <= at_s:
                since_s, left = restart_s, severity
        age = (at_s - since_s) / self.duration_s
        if left < 0.0:
            return self.fault.end_severity * self._curve(age)
        if left == 0.0:
            return 0.0
        first = self._curve(0.0)
        regrown = max(0.0, (self._curve(age) - first) / (1.0 - first))
        return left + max(0.0, self.fault.end_severity - left) * regrown

    def _curve(self, age: float) -> float:
        """Severity as a share of the end severity; `age` is 0 at onset and 1 at the end, and never past it."""
        age = min(age, 1.0)
        match self.fault.shape:
            case "slow_monotone":
                return self._grown(age)
            case "late_sudden":
                early = age < LATE_KNEE
                late = LATE_KNEE_AGE + (1.0 - LATE_KNEE_AGE) * (age - LATE_KNEE) / (1.0 - LATE_KNEE)
                return self._grown(LATE_KNEE_AGE * age / LATE_KNEE if early else late)
            case "stepwise":
                return self._grown(sum(age >= step for step in self._steps) / STEP_COUNT)
            case "fluctuating":
                wave = sum(math.sin(math.tau * turns * age + phase) for turns, phase in self._waves) / len(self._waves)
                return self._grown(age) * (1.0 - HEALING_DEPTH * (0.5 + 0.5 * wave) * (1.0 - age**8))

    def _grown(self, age: float) -> float:
        initial = self.fault.initial_severity
        if self.fault.growth == "exp":
            return float(initial ** (1.0 - age))
        power = 1.0 - self.fault.paris_exponent
        return float((initial**power * (1.0 - age) + age) ** (1.0 / power))
