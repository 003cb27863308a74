"""This file knows how many false cases a healthy plant raises: forty machines, ninety days, twenty-four captures a day.

Nothing is wrong with any machine. They run at changing speeds and loads, stop and start, warm up and cool down; some
sensors are taken off and put back, and some lie: saturated, loose, stuck, swapped, of wrong gain, silent. Every alarm
is a false one. The gateway's judge runs as it does live, in virtual time; every alarm is acknowledged at once, so that
the next one of the same machine counts again.
"""

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gateway_agent.builtin import builtin_model
from gateway_agent.intake import Taken
from gateway_agent.judge import Judge
from gateway_agent.scoring import Model
from gateway_agent.settings import CommissioningSettings, GatewaySettings
from schemas.capture import decode_capture
from schemas.names import machine_of
from schemas.settings import BrokerSettings
from sensor_sim.plant import Plant
from sensor_sim.scenario import Scenario

DAY_S = 86_400.0
MONTH_DAYS = 30.0
COMMISSION_CAPTURES = 96  # four days, in which the machine has shown its ordinary speeds and loads
EPOCH_US = 1_700_000_000_000_000
BEARINGS = ("6205", "6203", "NICE", "LDK UER204")
KINDS: tuple[dict[str, Any], ...] = (
    {"kind": "pump", "rpm": 1480.0, "power_kw": 30.0, "shaft": {"vanes": 6, "vane_g": 0.03}},
    {"kind": "fan", "rpm": 985.0, "power_kw": 22.0, "shaft": {"vanes": 9, "vane_g": 0.02, "imbalance_mm_s": 1.1}},
    {"kind": "general", "rpm": 2950.0, "power_kw": 45.0, "shaft": {"electrical_g": 0.02}},
    {"kind": "general", "rpm": 1485.0, "power_kw": 55.0, "gear_teeth": 23, "shaft": {"gear_mesh_g": 0.08}},
)


@dataclass(slots=True)
class PlantResult:
    """What a healthy plant raised.

    Attributes:
        machines: How many ran.
        months: Machine-months after commissioning.
        captures: Judged after commissioning.
        exceeding: Captures above their limit.
        cases: Machines that raised an alarm, with when (days) and why; one case a machine and alarm.
        notices: What was said of sensors.
    """

    machines: int
    months: float
    captures: int = 0
    exceeding: int = 0
    cases: list[tuple[str, float, str]] = field(default_factory=list)
    notices: Counter[str] = field(default_factory=Counter)
    by_machine: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    @property
    def cases_per_machine_month(self) -> float:
        """The figure of merit."""
        return len(self.cases) / self.months


def scenario_of(machines: int, days: float, captures_a_day: float, seed: int) -> Scenario:
    """Draw a healthy plant: who runs how, which sensor is touched when."""
    draw = np.random.default_rng(seed)
    listed = [_machine(number, days, captures_a_day, draw) for number in range(machines)]
    return Scenario.model_validate({"title": "Healthy plant", "machines": listed})


def _machine(number: int, days: float, captures_a_day: float, draw: np.random.Generator) -> dict[str, Any]:
    kind = KINDS[number % len(KINDS)]
    rpm = float(kind["rpm"])
    plate = {
        "machine": f"m-{number:02d}", "kind": kind["kind"], "rpm": rpm, "power_kw": kind["power_kw"],
        "foundation": "rigid", "bearing": {"name": BEARINGS[number % len(BEARINGS)]},
    }  # fmt: skip
    if "gear_teeth" in kind:
        plate["gear_teeth"] = kind["gear_teeth"]
    speed, load = _running(number, rpm, days, draw)
    point = {
        "position": "de", "interval_s": DAY_S / captures_a_day, "samples": 8192,
        "sample_rate_hz": float(draw.choice([12_800.0, 25_600.0])), "knows_load": bool(number % 3 == 0),
        "knows_speed": bool(number % 5 != 4), "imperfections": _touched(number, days, draw),
    }  # fmt: skip
    return {
        "nameplate": plate, "speed": speed, "load": load, "shaft": kind["shaft"], "points": [point],
        "operating_scatter": float(draw.uniform(0.04, 0.12)), "speed_wander": float(draw.uniform(0.0005, 0.003)),
        "noise": {"flow_ug": float(draw.uniform(200, 700)), "rolling_ug": float(draw.uniform(1000, 2500))},
    }  # fmt: skip


def _running(number: int, rpm: float, days: float, draw: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
    """Speed and load: constant, two speeds by shift, stops by night, and one step never seen in commissioning."""
    way = number % 5
    constant: dict[str, Any] = {"kind": "constant", "value": rpm}
    wandering = {"kind": "random_walk", "mean": 0.75, "step": 0.05, "every_s": 3600.0, "low": 0.45, "high": 0.95}
    daily = {"kind": "daily", "low": 0.45, "high": 0.9}
    if way == 0:
        return constant, wandering
    if way == 1:  # two speeds, eight hours each
        values = [rpm, 0.8 * rpm]
        return {"kind": "steps", "at_s": [0.0, DAY_S / 3], "values": values, "repeat_s": 2 * DAY_S / 3}, wandering
    if way == 2:  # stands still at night
        return {"kind": "steps", "at_s": [0.0, 0.75 * DAY_S], "values": [rpm, 0.0], "repeat_s": DAY_S}, daily
    if way == 3:  # a new speed in the middle of its life, and back
        at = sorted(draw.uniform(0.3, 0.8, 2) * days * DAY_S)
        values = [rpm, rpm * float(draw.uniform(0.7, 0.9)), rpm]
        return {"kind": "steps", "at_s": [0.0, *map(float, at)], "values": values}, wandering
    return constant, daily


def _touched(number: int, days: float, draw: np.random.Generator) -> list[dict[str, Any]]:
    """Half the sensors are left alone; a quarter is re-mounted once, a quarter lies for some days."""
    at_s = float(draw.uniform(0.3, 0.7)) * days * DAY_S
    to_s = at_s + float(draw.uniform(2.0, 6.0)) * DAY_S
    if number % 4 == 1:
        return [{"kind": "remounted", "from_s": at_s, "spread": 0.3}]
    if number % 4 != 3:
        return []
    lies: list[dict[str, Any]] = [
        {"kind": "saturated", "limit_g": 0.05},
        {"kind": "loose"},
        {"kind": "stuck", "channel": 1},
        {"kind": "wrong_gain", "factor": 9.81},
        {"kind": "axes_swapped", "first": 0, "second": 2},
        {"kind": "silent"},
    ]
    return [{**lies[number // 4 % len(lies)], "from_s": at_s, "to_s": to_s}]


def run_plant(
    machines: int, days: float, *, captures_a_day: float = 24.0, seed: int = 0, model: Model | None = None,
    quiet: bool = True,
) -> PlantResult:  # fmt: skip
    """Let a healthy plant run and count what it raises.

    Args:
        machines: How many.
        days: How long.
        captures_a_day: Of each point.
        seed: Of everything drawn.
        model: The release in use; the built-in one if left out.
        quiet: Say nothing of progress.
    """
    scenario = scenario_of(machines, days, captures_a_day, seed)
    settings = GatewaySettings(
        site="bench", gateway="bench", broker=BrokerSettings(allow_anonymous=True),
        commissioning=CommissioningSettings(captures=COMMISSION_CAPTURES),
        machines=tuple(machine.nameplate for machine in scenario.machines),
    )  # fmt: skip
    judge = Judge(settings, known=lambda _keys: set(), model=model or builtin_model())
    result = PlantResult(machines, machines * (days - COMMISSION_CAPTURES / captures_a_day) / MONTH_DAYS)
    plant = Plant(scenario, site="bench", gateway_of=lambda _machine: "bench", seed=seed, epoch_us=EPOCH_US)
    told_day = 0
    for delivery in plant.deliveries(to_s=days * DAY_S):
        capture = decode_capture(delivery.payload)
        taken = Taken(delivery.route.point, capture, b"", EPOCH_US + round(delivery.at_s * 1e6))
        _count(judge, taken, delivery.at_s, result)
        if not quiet and delivery.at_s > (told_day + 5) * DAY_S:
            told_day += 5
            print(f"day {told_day} of {days:g}: {len(result.cases)} cases", file=sys.stderr)
    return result


def _count(judge: Judge, taken: Taken, at_s: float, result: PlantResult) -> None:
    judged = judge.process([taken], now_us=taken.received_at_us)
    for verdict in judged.verdicts:
        health = verdict.outcome.health
        if health.learning == "ready":
            result.captures += 1
            result.exceeding += health.exceeds
            result.by_machine[machine_of(health.point)] += health.exceeds
    for _, record in judged.batch.records:
        if record.kind == "alarm" and record.state == "unacknowledged":
            result.cases.append((machine_of(record.point), at_s / DAY_S, record.reason))
            judge.monitors[record.point].alarm.acknowledge()
        elif record.kind == "point_notice":
            result.notices[record.text.split(":")[0].split("(")[0]] += 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.healthy_plant", description=__doc__)
    parser.add_argument("--machines", type=int, default=40)
    parser.add_argument("--days", type=float, default=90.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    result = run_plant(options.machines, options.days, seed=options.seed, quiet=False)
    print(
        f"{result.machines} machines, {result.months:.0f} machine-months: {len(result.cases)} false cases, "
        f"{result.cases_per_machine_month:.3f} a machine-month; {result.exceeding} of {result.captures} captures "
        f"({result.exceeding / max(result.captures, 1):.2%}) above their limit at a stated 1 %"
    )
    for name, day, reason in result.cases:
        print(f"  {name} day {day:.1f}: {reason}")
    for text, count in result.notices.most_common():
        print(f"  {count} x {text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
