"""This file knows what a site tells its enterprise of its machines: how many stand how, and no measured value."""

from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.messages import Many, TimeUs
from schemas.names import Name

MachineState = Literal[
    "danger", "alert", "notice", "sensor", "unknown", "shelved", "learning", "stopped", "normal"
]  # fmt: skip
STATES: tuple[MachineState, ...] = get_args(MachineState)
"""Worst first."""
MOST_NAMED = 5

Count = Annotated[int, Field(ge=0, le=1_000_000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NamedMachine(_Strict):
    """A machine with a case, by its name: only where the site's settings allow names.

    Attributes:
        cause: Label of the likeliest diagnosis; empty where there is none.
        since_us: When the case was opened, by the site's clock.
    """

    machine: Name
    title: Annotated[str, Field(max_length=200)]
    state: MachineState
    cause: Annotated[str, Field(pattern=r"^[a-z_]{0,32}$")] = ""
    since_us: TimeUs
    acknowledged: bool


class SiteSummary(_Strict):
    """A site tells its enterprise how its plant stands; at the start and every `interval_s`, the newest counts.

    Attributes:
        at_us: When it was made, by the site's clock.
        newest_data_us: When the newest record of a gateway arrived; None before the first.
        states: How many machines are in each state; those that are not named are none.
        acknowledged: Of the cases behind danger, alert and notice, those that somebody has seen.
        points_assessable: Points that report, have learnt and are believed.
        gateways_current: Gateways that are online and run the site's current release.
        release_version: The site's current release.
        fleet_version: The enterprise's release in it; 0 before the first.
        worst: At most `MOST_NAMED` machines by name; empty unless the site's settings allow names.
        names_allowed: Whether they do.
    """

    kind: Literal["site_summary"] = "site_summary"
    version: Literal[1] = 1
    site: Name
    at_us: TimeUs
    interval_s: Annotated[float, Field(gt=0, le=86_400)]
    newest_data_us: TimeUs | None
    states: dict[MachineState, Count]
    acknowledged: Count
    points: Count
    points_assessable: Count
    gateways: Count
    gateways_online: Count
    gateways_current: Count
    release_version: Annotated[int, Field(ge=0, lt=1 << 53)]
    fleet_version: Annotated[int, Field(ge=0, lt=1 << 53)]
    software: Annotated[str, Field(max_length=32)]
    names_allowed: bool = False
    worst: Many[NamedMachine] = ()

    @model_validator(mode="after")
    def _few_and_allowed(self) -> Self:
        if len(self.worst) > (MOST_NAMED if self.names_allowed else 0):
            raise ValueError(f"{len(self.worst)} machines are named, {MOST_NAMED} allowed, none without names_allowed")
        return self

    @property
    def machines(self) -> int:
        """How many there are."""
        return sum(self.states.values())
