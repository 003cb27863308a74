"""This file knows how a machine's velocity zones are said in one line: what they rest on, or why there are none."""

from dashboard.languages import tr
from schemas.nameplate import Nameplate
from vibration.errors import VibrationError
from vibration.iso_zones import Nameplate as ZonePlate
from vibration.iso_zones import zone


def zone_basis(plate: Nameplate, *, with_numbers: bool = False) -> str:
    """Say by which standard a machine's zones are given."""
    try:
        verdict = zone(
            0.0, ZonePlate(power_kw=plate.power_kw, foundation=plate.foundation, kind=plate.kind, rpm=plate.rpm)
        )
    except VibrationError as error:
        return tr("no zones: {reason}", reason=str(error))
    if verdict.limits_mm_s is None:
        return tr("no zones: {reason}", reason=verdict.reason)
    said = f"{verdict.edition}, {verdict.machine_class}"
    if not with_numbers:
        return said
    ab, bc, cd = verdict.limits_mm_s
    return f"A/B {ab:g} · B/C {bc:g} · C/D {cd:g} ({said})"
