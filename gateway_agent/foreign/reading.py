"""This file knows what single values of a sensor without waveform are."""

import math
from dataclasses import dataclass, field

from gateway_agent.foreign.settings import ReadingLimits


@dataclass(frozen=True, slots=True)
class Reading:
    """What one message of a scalar-only sensor says beside speed, load, temperature and battery.

    Attributes:
        velocity_mm_s: RMS of each axis; NaN for one that is missing; empty where the sensor measures none.
        velocity_band_hz: Over which band; None if nobody has said.
        acceleration_rms_g: Of the worst axis; NaN if not measured.
        acceleration_peak_g: Likewise.
        crest_factor: Likewise.
        kurtosis: Likewise.
        limits: From where a value is an alert or a danger, beside the ISO zone.
    """

    velocity_mm_s: tuple[float, ...] = ()
    velocity_band_hz: tuple[float, float] | None = None
    acceleration_rms_g: float = math.nan
    acceleration_peak_g: float = math.nan
    crest_factor: float = math.nan
    kurtosis: float = math.nan
    limits: ReadingLimits = field(default_factory=ReadingLimits)

    @property
    def velocity_rms_mm_s(self) -> float:
        """The worst axis; NaN if none was measured."""
        return worst(self.velocity_mm_s)


def worst(values: tuple[float, ...]) -> float:
    """The largest of those that were measured; NaN if none was."""
    return max((value for value in values if not math.isnan(value)), default=math.nan)
