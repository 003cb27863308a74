"""This file knows how a machine's velocity zones are said in one line: what they rest on, or why there are none."""

from dashboard import sentences
from dashboard.languages import tr
from dashboard.units import shown
from schemas.nameplate import Nameplate
from vibration.errors import VibrationError
from vibration.iso_zones import Nameplate as ZonePlate
from vibration.iso_zones import velocity_band_at, zone


def velocity_title(plate: Nameplate | None, *, lowest_rpm: float | None = None) -> str:
    """Say over which band a machine's velocity is given.

    Args:
        plate: Its nameplate.
        lowest_rpm: The lowest speed that was measured in what is shown.
    """
    speeds = () if plate is None else (plate.rpm, *(plate.rpm_range or ()))
    low_hz, high_hz = velocity_band_at(*speeds)
    if low_hz == velocity_band_at(*speeds, lowest_rpm)[0]:
        return tr("Velocity, {low} to {high} Hz", low=f"{low_hz:g}", high=f"{high_hz:g}")
    return tr("Velocity, 10 to 1000 Hz, from 2 Hz where the speed is below 600 rpm")


def zone_basis(plate: Nameplate, *, with_numbers: bool = False) -> str:
    """Say by which standard a machine's zones are given."""
    try:
        verdict = zone(
            0.0, ZonePlate(power_kw=plate.power_kw, foundation=plate.foundation, kind=plate.kind, rpm=plate.rpm)
        )
    except VibrationError as error:
        return tr("no zones: {reason}", reason=str(error))
    if verdict.limits_mm_s is None:
        return tr("no zones: {reason}", reason=sentences.said(verdict.reason))
    said = f"{verdict.edition}, {verdict.machine_class}"
    if not with_numbers:
        return said
    ab, bc, cd = (f"{limit_mm_s * shown('mm/s').factor:.3g}" for limit_mm_s in verdict.limits_mm_s)
    return f"A/B {ab} · B/C {bc} · C/D {cd} {shown('mm/s RMS').unit} ({said})"
