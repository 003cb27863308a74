"""This file knows a scenario: the machines of one site, their lives and their sensors, as TOML.

Any number may be written as an expression of the scenario's own `[variables]`, as text that starts with `=`:
`onset_s = "= commission_captures * interval_s + margin_s"`. Variables can be set from outside, which is how a
demonstration changes its pace without another file.
"""

import ast
import operator
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from schemas.nameplate import BearingPlate, Nameplate
from schemas.names import Name
from schemas.settings import Settings
from sensor_sim.errors import ScenarioError
from sensor_sim.imperfections import Imperfection
from sensor_sim.life import BEARING_FAULTS, Fault, Repair
from sensor_sim.schedules import Constant, Schedule
from vibration.bearing import FaultOrders, orders_from_row
from vibration.bearing_library import lookup_bearing
from vibration.errors import VibrationError

MAX_SCENARIO_BYTES = 4 << 20
_UNKNOWN = float("nan")


class Resonance(Settings):
    """One natural frequency of the housing that impacts ring."""

    frequency_hz: float = Field(gt=0, le=100_000)
    damping: float = Field(default=0.04, gt=0, lt=0.5, description="Share of critical damping, 0.02 to 0.06 usual.")
    gain: float = Field(default=1.0, gt=0, le=10)


class ShaftVibration(Settings):
    """What a sound machine shows in step with its shaft, at nominal speed and load."""

    imbalance_mm_s: float = Field(default=0.6, ge=0, le=50, description="RMS at 1x, horizontal.")
    misalignment_mm_s: float = Field(default=0.15, ge=0, le=50, description="RMS at 2x, radial.")
    vanes: int = Field(default=0, ge=0, le=50, description="Of a pump or fan.")
    vane_g: float = Field(default=0.02, ge=0, le=20, description="Peak at vanes x speed.")
    gear_mesh_g: float = Field(default=0.06, ge=0, le=20, description="Peak at the gear mesh, with gear_teeth.")
    electrical_g: float = Field(default=0.008, ge=0, le=5, description="Peak at twice the mains frequency.")


class Noise(Settings):
    """What has no rhythm, as densities in µg/√Hz."""

    sensor_ug: float = Field(default=100.0, ge=0, le=1e6, description="White, of the sensor's electronics.")
    flow_ug: float = Field(default=300.0, ge=0, le=1e6, description="Pink, at 100 Hz.")
    rolling_ug: float = Field(default=1500.0, ge=0, le=1e6, description="Through the housing, at its top resonance.")


class Thermal(Settings):
    """Housing temperature: a first-order lag behind what load and damage would give."""

    ambient_c: float = Field(default=22.0, ge=-50, le=80)
    rise_c: float = Field(default=30.0, ge=0, le=200, description="At full load and nominal speed.")
    fault_rise_c: float = Field(default=15.0, ge=0, le=200, description="More, at bearing severity 1.")
    time_constant_s: float = Field(default=1800.0, gt=0)


class Point(Settings):
    """One sensor: where it sits, how it measures, what it does with its captures."""

    position: Name
    axes: tuple[Literal["horizontal", "vertical", "axial"], ...] = Field(
        default=("horizontal", "vertical", "axial"), min_length=1, max_length=8
    )
    sample_rate_hz: float = Field(default=25_600.0, ge=50, le=200_000)
    samples: int = Field(default=8192, ge=32, le=1 << 18)
    interval_s: float = Field(default=10.0, gt=0, le=7 * 86_400)
    range_g: float = Field(default=16.0, gt=0, le=1000)
    bits: int = Field(default=16, ge=8, le=16)
    gains: tuple[float, ...] = Field(default=(), description="Transmission a axis; 1 for all if empty.")
    mounting: Literal["stud", "glue", "magnet"] = "stud"
    knows_speed: bool = True
    knows_load: bool = False
    measures_temperature: bool = True
    on_battery: bool = False
    keeps_until_ack: bool = Field(default=False, description="Keeps captures until the gateway has them for sure.")
    kept_captures: int = Field(default=64, ge=1, le=10_000, description="The oldest is dropped when there are more.")
    imperfections: tuple[Imperfection, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.gains and len(self.gains) != len(self.axes):
            raise ValueError(f"{len(self.gains)} gains for {len(self.axes)} axes; equally many needed")
        if self.samples / self.sample_rate_hz > self.interval_s:
            raise ValueError(
                f"a capture takes {self.samples / self.sample_rate_hz:g} s, "
                f"at most interval_s = {self.interval_s:g} allowed"
            )
        for imperfection in self.imperfections:
            for field in ("channel", "first", "second"):
                channel = getattr(imperfection, field, None)
                if channel is not None and channel >= len(self.axes):
                    raise ValueError(f"{imperfection.kind} of {field} {channel}; the point has {len(self.axes)} axes")
        return self


class Machine(Settings):
    """One machine, its life and its sensors."""

    nameplate: Nameplate
    speed: Schedule | None = Field(default=None, description="rpm; the nameplate's, always, if not set.")
    load: Schedule = Constant(value=0.8)
    load_slip: float = Field(default=0.01, ge=0, le=0.1, description="Share by which full load slows the shaft.")
    speed_wander: float = Field(default=0.001, ge=0, le=0.1, description="Of the speed within a capture.")
    operating_scatter: float = Field(default=0.08, ge=0, le=1, description="Of levels, capture by capture.")
    shaft: ShaftVibration = ShaftVibration()
    noise: Noise = Noise()
    thermal: Thermal = Thermal()
    resonances: tuple[Resonance, ...] = Field(
        default=(Resonance(frequency_hz=2900.0), Resonance(frequency_hz=5200.0, gain=0.7)), min_length=1, max_length=8
    )
    points: tuple[Point, ...] = Field(min_length=1, max_length=64)
    faults: tuple[Fault, ...] = ()
    repairs: tuple[Repair, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        plate = self.nameplate
        if plate.rpm is None:
            raise ValueError(
                f"machine {plate.machine} has no rpm on its nameplate; the simulator needs its nominal speed"
            )
        positions = [point.position for point in self.points]
        if len(set(positions)) != len(positions):
            raise ValueError(f"machine {plate.machine} has two points of one position: {positions}")
        kinds = {fault.kind for fault in self.faults}
        if kinds & BEARING_FAULTS and plate.bearing is None:
            raise ValueError(f"machine {plate.machine} has a bearing fault and no bearing on its nameplate")
        if "gear_wear" in kinds and plate.gear_teeth is None:
            raise ValueError(f"machine {plate.machine} has gear_wear and no gear_teeth on its nameplate")
        if plate.bearing is not None:
            bearing_orders(plate.bearing)
        return self

    @property
    def name(self) -> str:
        """The machine's name within its site."""
        return self.nameplate.machine

    @property
    def nominal_rpm(self) -> float:
        """Speed on the nameplate."""
        return self.nameplate.rpm or _UNKNOWN


class Scenario(Settings):
    """Everything that turns and listens at one site."""

    title: str = ""
    individuality: float = Field(default=0.05, ge=0, le=0.5, description="Scatter of gains and resonances by seed.")
    variables: dict[str, float] = Field(default_factory=dict)
    machines: tuple[Machine, ...] = Field(min_length=1, max_length=2000)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [machine.name for machine in self.machines]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"machines {twice} are listed twice")
        return self

    def machine(self, name: str) -> Machine:
        """Find a machine.

        Raises:
            ScenarioError: There is none of this name.
        """
        for machine in self.machines:
            if machine.name == name:
                return machine
        raise ScenarioError(f"machine {name!r} is not in the scenario; it has {[m.name for m in self.machines]}")


def bearing_orders(plate: BearingPlate) -> FaultOrders:
    """Read a bearing's fault orders from its name, its geometry or the maker's multipliers.

    Raises:
        ScenarioError: None of the three is complete, or they cannot be a bearing's.
    """
    try:
        if plate.name is not None and plate.elements is None and plate.orders is None:
            return lookup_bearing(plate.name).orders
        orders = orders_from_row(
            plate.orders or (_UNKNOWN,) * 4,
            [
                _UNKNOWN if value is None else float(value)
                for value in (
                    plate.elements, plate.ball_diameter_mm, plate.pitch_diameter_mm, plate.contact_angle_deg
                )
            ],
        )  # fmt: skip
    except VibrationError as error:
        raise ScenarioError(str(error)) from error
    if orders is None:
        raise ScenarioError("bearing has neither a name, nor elements with both diameters, nor four orders")
    return orders


def load_scenario(path: Path, variables: Mapping[str, float] | None = None) -> Scenario:
    """Read a scenario from a TOML file.

    Args:
        path: The file.
        variables: Values that win over those in `[variables]`; every one must stand there.

    Raises:
        ScenarioError: The file cannot be read or a value is not allowed; the message names the place.
    """
    try:
        if path.stat().st_size > MAX_SCENARIO_BYTES:
            raise ScenarioError(f"scenario {path} has {path.stat().st_size} bytes, {MAX_SCENARIO_BYTES} allowed")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"scenario {path} cannot be read: {error}") from error
    return parse_scenario(text, variables, source=str(path))


def parse_scenario(text: str, variables: Mapping[str, float] | None = None, *, source: str = "scenario") -> Scenario:
    """Read a scenario from TOML text; as `load_scenario`."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{source} is not TOML: {error}") from error
    known = table.get("variables", {})
    if not (isinstance(known, dict) and all(_is_number(value) for value in known.values())):
        raise ScenarioError(f"{source}: [variables] may hold numbers only")
    for name in variables or {}:
        if name not in known:
            raise ScenarioError(f"{source} has no variable {name!r} to set; it has {sorted(known) or 'none'}")
    known = {**known, **(variables or {})}
    try:
        table = {name: _evaluated(value, known) for name, value in table.items()}
        return Scenario.model_validate({**table, "variables": known})
    except ValidationError as error:
        lines = [
            f"  {'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors(include_url=False)
        ]
        raise ScenarioError(f"{source} cannot be used:\n" + "\n".join(lines)) from error
    except ScenarioError as error:
        raise ScenarioError(f"{source} cannot be used: {error}") from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _evaluated(value: Any, variables: Mapping[str, float]) -> Any:
    if isinstance(value, dict):
        return {name: _evaluated(item, variables) for name, item in value.items()}
    if isinstance(value, list):
        return [_evaluated(item, variables) for item in value]
    if isinstance(value, str) and value.startswith("="):
        return evaluate(value[1:], variables)
    return value


_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip


def evaluate(expression: str, variables: Mapping[str, float]) -> float:
    """Calculate an expression of numbers, variables, + - * / and brackets.

    Raises:
        ScenarioError: It holds anything else, or a variable that is not there.
    """
    try:
        if len(expression) > 200:
            raise ScenarioError(f"expression of {len(expression)} characters found, 200 allowed")
        return _calculated(ast.parse(expression.strip(), mode="eval").body, variables)
    except (SyntaxError, ZeroDivisionError) as error:
        raise ScenarioError(f"expression {expression!r} cannot be calculated: {error}") from error


def _calculated(node: ast.expr, variables: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.Name(id=name) if name in variables:
            return float(variables[name])
        case ast.Name(id=name):
            raise ScenarioError(f"variable {name!r} is not among {sorted(variables)}")
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_calculated(operand, variables)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
            return _OPERATORS[type(sign)](_calculated(left, variables), _calculated(right, variables))
    raise ScenarioError(f"only numbers, variables, + - * / and brackets are allowed, {ast.unparse(node)!r} found")
