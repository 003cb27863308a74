"""This file knows how a sensor in the field falls short of a good one, and for how long it does."""

import math
from typing import Annotated, Literal, TypeVar

from pydantic import Field, model_validator

from schemas.settings import Settings


class _Imperfection(Settings):
    from_s: float = Field(default=0.0, ge=0)
    to_s: float = Field(default=math.inf, gt=0)

    @model_validator(mode="after")
    def _forward(self) -> "_Imperfection":
        if self.to_s <= self.from_s:
            raise ValueError(f"ends at {self.to_s} s, after its start at {self.from_s} s expected")
        return self

    def active(self, at_s: float) -> bool:
        """Whether the sensor has it at this time."""
        return self.from_s <= at_s < self.to_s


class Saturated(_Imperfection):
    """The amplifier limits below the range the sensor claims: flat tops."""

    kind: Literal["saturated"] = "saturated"
    limit_g: float = Field(gt=0)


class Loose(_Imperfection):
    """The mounting has let go: its resonance drops, high frequencies are lost, the sensor rattles."""

    kind: Literal["loose"] = "loose"
    resonance_hz: float = Field(default=300.0, ge=20, le=5000)
    damping: float = Field(default=0.15, gt=0.01, lt=1)
    rattle_g: float = Field(default=0.3, ge=0, le=50, description="RMS of what it adds at low frequencies.")


class Stuck(_Imperfection):
    """One axis, or all, gives the same number for ever."""

    kind: Literal["stuck"] = "stuck"
    channel: int | None = Field(default=None, ge=0, le=7, description="All of them if not set.")
    counts: int = Field(default=117, ge=-32767, le=32767)


class WrongGain(_Imperfection):
    """Counts are a factor off: a wrong sensitivity, a wrong unit, an ageing element."""

    kind: Literal["wrong_gain"] = "wrong_gain"
    factor: float = Field(gt=0, le=1000)
    channel: int | None = Field(default=None, ge=0, le=7)


class ClockDrift(_Imperfection):
    """The clock runs fast or slow, and may have jumped; it is not set right again before the end."""

    kind: Literal["clock_drift"] = "clock_drift"
    ppm: float = Field(default=0.0, ge=-100_000, le=100_000)
    step_s: float = Field(default=0.0, ge=-1e8, le=1e8)
    knows: bool = Field(default=False, description="Whether the sensor says that its clock is unsure.")


class Silent(_Imperfection):
    """It measures nothing: no capture, and none is counted."""

    kind: Literal["silent"] = "silent"


class Duplicated(_Imperfection):
    """Some captures are sent twice: the radio missed an answer."""

    kind: Literal["duplicated"] = "duplicated"
    share: float = Field(default=0.1, gt=0, le=1)
    delay_s: float = Field(default=1.0, ge=0, le=3600)


class Reordered(_Imperfection):
    """Some captures are late, so that the next ones pass them."""

    kind: Literal["reordered"] = "reordered"
    share: float = Field(default=0.1, gt=0, le=1)
    delay_s: float = Field(default=5.0, gt=0, le=3600)


class Lost(_Imperfection):
    """Some captures, or pieces of them, never arrive."""

    kind: Literal["lost"] = "lost"
    share: float = Field(default=0.1, gt=0, le=1)


class Fragmented(_Imperfection):
    """Captures travel in pieces, as a radio with small packets sends them."""

    kind: Literal["fragmented"] = "fragmented"
    piece_bytes: int = Field(default=8192, ge=64, le=1 << 20)
    shuffled: bool = Field(default=False, description="Whether the pieces arrive out of order.")


class LowBattery(_Imperfection):
    """The battery runs down over the period; below 3.0 V the sensor says so."""

    kind: Literal["low_battery"] = "low_battery"
    from_v: float = Field(default=3.6, gt=0, le=12)
    to_v: float = Field(default=2.6, gt=0, le=12)


class Rebooted(_Imperfection):
    """It starts anew at `from_s`: another boot, counting from 0. What it had kept is gone."""

    kind: Literal["rebooted"] = "rebooted"


class Remounted(_Imperfection):
    """Somebody took it off and put it back, not quite at the same place: other gains on each axis."""

    kind: Literal["remounted"] = "remounted"
    spread: float = Field(default=0.3, gt=0, le=1, description="Scatter of the new gains (log-normal sigma).")


class AxesSwapped(_Imperfection):
    """Two axes have changed places."""

    kind: Literal["axes_swapped"] = "axes_swapped"
    first: int = Field(default=0, ge=0, le=7)
    second: int = Field(default=1, ge=0, le=7)


Imperfection = Annotated[
    Saturated | Loose | Stuck | WrongGain | ClockDrift | Silent | Duplicated | Reordered | Lost | Fragmented
    | LowBattery | Rebooted | Remounted | AxesSwapped,
    Field(discriminator="kind"),
]  # fmt: skip

_Kind = TypeVar("_Kind", bound=_Imperfection)


def active_of(kind: type[_Kind], imperfections: tuple[Imperfection, ...], at_s: float) -> _Kind | None:
    """Find the last listed imperfection of a kind that holds at this time."""
    found = None
    for imperfection in imperfections:
        if isinstance(imperfection, kind) and imperfection.active(at_s):
            found = imperfection
    return found
