"""This file knows the nameplates that a site sends its gateways, and how they are laid over those of the settings.

A table uploaded on the dashboard goes out as one sealed, retained message a gateway. What it leaves open (None) stays
as the gateway's own settings say: an empty cell takes nothing away.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.messages import Many, TimeUs
from schemas.nameplate import BearingPlate, Nameplate
from schemas.names import Name

MOST_PLATES = 500  # of one gateway: about 350 bytes each, in a packet of 256 KB

Power = Annotated[float, Field(gt=0, le=500_000)]
Rpm = Annotated[float, Field(gt=0, le=200_000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ToldPlate(_Strict):
    """What the plant's table says of one machine, as far as a gateway judges by it."""

    machine: Name
    power_kw: Power | None = None
    foundation: Literal["rigid", "flexible"] | None = None
    kind: Literal["general", "pump", "fan", "reciprocating"] | None = None
    unit_calibrated: bool | None = None
    rpm: Rpm | None = None
    rpm_range: tuple[Rpm, Rpm] | None = None
    bearing: BearingPlate | None = None
    gear_teeth: Annotated[int, Field(ge=5, le=500)] | None = None
    line_frequency_hz: Annotated[float, Field(ge=10, le=400)] | None = None

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.rpm_range is not None and not self.rpm_range[0] < self.rpm_range[1]:
            raise ValueError(f"rpm_range {self.rpm_range} found, the first must be below the second")
        return self

    @classmethod
    def of(cls, plate: Nameplate) -> Self:
        """What a nameplate says beyond what every nameplate says by default."""
        said = plate.model_dump(exclude_defaults=True, include=set(cls.model_fields) - {"machine"})
        return cls(machine=plate.machine, **said)

    def over(self, own: Nameplate) -> Nameplate:
        """The gateway's own nameplate with what is told here in its place."""
        said = {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}
        return own.model_copy(update=said)


class PlateTable(_Strict):
    """From a site to one gateway, retained: the machines of which an uploaded table speaks, all of them.

    `revision` rises with every change and never falls, so that an older message, kept by somebody and sent again, has
    no effect. A gateway tells in its status which one is in force. A machine that is not named goes back to the
    gateway's own settings.
    """

    kind: Literal["plate_table"] = "plate_table"
    version: Literal[1] = 1
    gateway: Name
    revision: Annotated[int, Field(ge=1, lt=1 << 53)]
    asset_version: Annotated[int, Field(ge=0, lt=1 << 53, description="the newest uploaded table among them")] = 0
    at_us: TimeUs
    machines: Annotated[Many[ToldPlate], Field(max_length=MOST_PLATES)] = ()

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [told.machine for told in self.machines]
        if len(set(names)) < len(names):
            raise ValueError("a machine is named twice")
        return self
