"""This file knows the tables a plant keeps in a spreadsheet: assets, own limits, own bearings; one class a row.

The fields are the columns, in their order. Nothing is guessed: an empty cell is unknown, not zero.
"""

from collections.abc import Iterable
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from schemas.nameplate import BearingPlate, Nameplate
from schemas.names import Name, machine_of
from vibration.bearing import BearingGeometry, FaultOrders, fault_orders, self_test
from vibration.bearing_library import Bearing, BearingLibrary, load_library
from vibration.errors import GeometryError, UnknownBearingError

UNITS = {
    "velocity_rms_mm_s": "mm/s RMS",
    "acceleration_rms_g": "g RMS",
    "acceleration_peak_g": "g peak",
    "envelope_rms_g": "g RMS",
    "kurtosis": "1",
    "crest_factor": "1",
    "temperature_c": "°C",
}
"""Quantities a plant may limit, as health records name them, and their only unit."""

Quantity = Literal[
    "velocity_rms_mm_s", "acceleration_rms_g", "acceleration_peak_g", "envelope_rms_g", "kurtosis", "crest_factor",
    "temperature_c",
]  # fmt: skip
Text = Annotated[str, Field(max_length=200)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class StopCost(NamedTuple):
    """What an unplanned stop costs an hour, in which currency, and how long it lasts; None where nobody has said."""

    per_h: float | None = None
    currency: str | None = None
    hours: float | None = None


NOT_SAID = StopCost()


class AssetRow(_Row):
    """One machine: where it stands, how much it matters, what its nameplate says, what a stop costs.

    Attributes:
        criticality: 5 stops the plant, 1 nobody notices.
        stop_cost_per_h: What an hour of an unplanned stop costs, in `currency` (ISO 4217); never leaves the site.
        stop_h: How long an unplanned stop lasts until the machine runs again.
    """

    machine: Name
    title: Text = ""
    area: Text = ""
    criticality: Annotated[int, Field(ge=1, le=5)] = 3
    power_kw: Annotated[float, Field(gt=0, le=500_000)] | None = None
    foundation: Literal["rigid", "flexible"] | None = None
    kind: Literal["general", "pump", "fan", "reciprocating"] = "general"
    rpm: Annotated[float, Field(gt=0, le=200_000)] | None = None
    rpm_min: Annotated[float, Field(gt=0, le=200_000)] | None = None
    rpm_max: Annotated[float, Field(gt=0, le=200_000)] | None = None
    bearing: Text | None = None
    bearing_elements: Annotated[int, Field(ge=3, le=200)] | None = None
    ball_diameter_mm: Annotated[float, Field(gt=0, le=5000)] | None = None
    pitch_diameter_mm: Annotated[float, Field(gt=0, le=10_000)] | None = None
    contact_angle_deg: Annotated[float, Field(ge=0, lt=90)] | None = None
    gear_teeth: Annotated[int, Field(ge=5, le=500)] | None = None
    line_frequency_hz: Annotated[float, Field(ge=10, le=400)] = 50.0
    stop_cost_per_h: Annotated[float, Field(ge=0, le=1e9)] | None = None
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] | None = None
    stop_h: Annotated[float, Field(gt=0, le=10_000)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.stop_cost_per_h is None) != (self.currency is None):
            raise ValueError("stop_cost_per_h and currency (EUR, USD ...) belong together; one is missing")
        if (self.rpm_min is None) != (self.rpm_max is None):
            raise ValueError("rpm_min and rpm_max belong together; one is missing")
        if self.rpm_min is not None and self.rpm_max is not None and self.rpm_min >= self.rpm_max:
            raise ValueError(f"rpm_min {self.rpm_min:g} is not below rpm_max {self.rpm_max:g}")
        sizes = (self.bearing_elements, self.ball_diameter_mm, self.pitch_diameter_mm)
        if any(size is not None for size in sizes):
            if any(size is None for size in sizes):
                raise ValueError("bearing_elements, ball_diameter_mm and pitch_diameter_mm belong together")
            self._geometry()
        return self

    def _geometry(self) -> BearingGeometry | None:
        elements, ball_mm, pitch_mm = self.bearing_elements, self.ball_diameter_mm, self.pitch_diameter_mm
        if elements is None or ball_mm is None or pitch_mm is None:
            return None
        try:
            return BearingGeometry(elements, ball_mm, pitch_mm, self.contact_angle_deg or 0.0)
        except GeometryError as error:
            raise ValueError(str(error)) from error

    def nameplate(self, own: Iterable["BearingRow"] = ()) -> Nameplate:
        """What gateways and pages know as a nameplate; an own bearing goes in by its geometry."""
        geometry, name = self._geometry(), self.bearing
        if geometry is None and name is not None:
            row = next((row for row in own if row.name.casefold() == name.casefold()), None)
            geometry = row.geometry() if row is not None else None
        bearing = None
        if geometry is not None:
            bearing = BearingPlate(
                name=name, elements=geometry.elements, ball_diameter_mm=geometry.ball_diameter_mm,
                pitch_diameter_mm=geometry.pitch_diameter_mm, contact_angle_deg=geometry.contact_angle_deg,
            )  # fmt: skip
        elif name is not None:
            bearing = BearingPlate(name=name)
        rpm_range = None if self.rpm_min is None or self.rpm_max is None else (self.rpm_min, self.rpm_max)
        return Nameplate(
            machine=self.machine, title=self.title, power_kw=self.power_kw, foundation=self.foundation, kind=self.kind,
            rpm=self.rpm, rpm_range=rpm_range, bearing=bearing, gear_teeth=self.gear_teeth,
            line_frequency_hz=self.line_frequency_hz, criticality=self.criticality,
        )  # fmt: skip

    @classmethod
    def of(
        cls, machine: str, title: str, area: str, criticality: int, plate: Nameplate | None,
        stop: StopCost = NOT_SAID,
    ) -> "AssetRow":  # fmt: skip
        """The row of a machine that is known already."""
        plate = plate or Nameplate(machine=machine)
        bearing = plate.bearing
        whole = bearing is not None and None not in (
            bearing.elements, bearing.ball_diameter_mm, bearing.pitch_diameter_mm
        )  # fmt: skip
        return cls(
            machine=machine, title=title, area=area, criticality=criticality, power_kw=plate.power_kw,
            foundation=plate.foundation, kind=plate.kind, rpm=plate.rpm,
            rpm_min=plate.rpm_range[0] if plate.rpm_range else None,
            rpm_max=plate.rpm_range[1] if plate.rpm_range else None,
            bearing=bearing.name if bearing else None,
            bearing_elements=bearing.elements if bearing and whole else None,
            ball_diameter_mm=bearing.ball_diameter_mm if bearing and whole else None,
            pitch_diameter_mm=bearing.pitch_diameter_mm if bearing and whole else None,
            contact_angle_deg=bearing.contact_angle_deg if bearing and whole else None,
            gear_teeth=plate.gear_teeth, line_frequency_hz=plate.line_frequency_hz,
            stop_cost_per_h=stop.per_h, currency=stop.currency, stop_h=stop.hours,
        )  # fmt: skip


class LimitRow(_Row):
    """One limit of the plant's own, judged by the site beside what gateways judge.

    Attributes:
        applies_to: A machine, or one of its points.
        rpm_from: The limit holds from this speed on (an operating state); every speed when empty.
        source: Where the number comes from: a standard with its edition, a maker, a measurement. Never empty.
    """

    applies_to: Annotated[str, Field(max_length=65)]
    quantity: Quantity
    unit: str
    alert: Annotated[float, Field(gt=-1e6, lt=1e6)] | None = None
    danger: Annotated[float, Field(gt=-1e6, lt=1e6)] | None = None
    rpm_from: Annotated[float, Field(ge=0, le=200_000)] | None = None
    rpm_to: Annotated[float, Field(ge=0, le=200_000)] | None = None
    source: Annotated[str, Field(min_length=1, max_length=200)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.unit != UNITS[self.quantity]:
            raise ValueError(f"{self.quantity} is in {UNITS[self.quantity]}, {self.unit!r} found")
        if self.alert is None and self.danger is None:
            raise ValueError("neither alert nor danger is given")
        if self.alert is not None and self.danger is not None and self.alert >= self.danger:
            raise ValueError(f"alert {self.alert:g} is not below danger {self.danger:g}")
        if self.rpm_from is not None and self.rpm_to is not None and self.rpm_from >= self.rpm_to:
            raise ValueError(f"rpm_from {self.rpm_from:g} is not below rpm_to {self.rpm_to:g}")
        return self

    @property
    def machine(self) -> str:
        """The machine it is about."""
        return machine_of(self.applies_to)

    def holds_at(self, point: str, rpm: float | None) -> bool:
        """Whether it speaks of a point at a speed; where a speed is asked for and not known, it does not."""
        if self.applies_to not in {point, machine_of(point)}:
            return False
        if self.rpm_from is None and self.rpm_to is None:
            return True
        return rpm is not None and (self.rpm_from or 0.0) <= rpm < (self.rpm_to or float("inf"))


def chosen_limit(limits: Iterable[LimitRow], point: str, rpm: float | None) -> LimitRow | None:
    """The limit that speaks of a point at a speed: of the point before of its machine, of a speed before of all."""
    holding = [limit for limit in limits if limit.holds_at(point, rpm)]
    return max(
        holding,
        key=lambda limit: (limit.applies_to == point, limit.rpm_from is not None or limit.rpm_to is not None),
        default=None,
    )


class BearingRow(_Row):
    """One bearing of the plant's own, by geometry; the fault orders follow from it and are tested."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    elements: Annotated[int, Field(ge=3, le=200)]
    ball_diameter_mm: Annotated[float, Field(gt=0, le=5000)]
    pitch_diameter_mm: Annotated[float, Field(gt=0, le=10_000)]
    contact_angle_deg: Annotated[float, Field(ge=0, lt=90)] = 0.0
    source: Annotated[str, Field(min_length=1, max_length=200)]

    @field_validator("name")
    @classmethod
    def _new(cls, value: str) -> str:
        try:
            found = load_library().lookup(value)
        except UnknownBearingError:
            return value
        raise ValueError(f"{value!r} is in the library that ships already, as {found.name}")

    @model_validator(mode="after")
    def _turns(self) -> Self:
        try:
            reasons = self_test(self.orders(), self.elements)
        except GeometryError as error:
            raise ValueError(str(error)) from error
        if reasons:
            raise ValueError("; ".join(reasons))
        return self

    def geometry(self) -> BearingGeometry:
        """Its four numbers."""
        return BearingGeometry(self.elements, self.ball_diameter_mm, self.pitch_diameter_mm, self.contact_angle_deg)

    def orders(self) -> FaultOrders:
        """Its fault orders."""
        return fault_orders(self.geometry())


def unknown_bearing(row: AssetRow, own: Iterable[BearingRow]) -> str:
    """Why the bearing a row names is not known; empty when it is, or when its geometry stands beside it."""
    if row.bearing is None or row.bearing_elements is not None:
        return ""
    known = BearingLibrary(
        [*load_library(), *(Bearing(one.name, (), one.geometry(), one.orders(), one.source, "plant") for one in own)]
    )
    try:
        known.lookup(row.bearing)
    except UnknownBearingError as error:
        return str(error)
    return ""
