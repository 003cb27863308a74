"""This file knows how often a rolling bearing's parts meet, as multiples of the shaft's speed.

Outer ring fixed, inner ring turning. With n elements of diameter d on a pitch circle D at contact angle a,
and q = d/D cos a:

    BPFO = n/2 (1 - q)      BPFI = n/2 (1 + q)      BSF = D/(2d) (1 - q²)      FTF = 1/2 (1 - q)

A damaged ball strikes both races, so its impacts come at 2 x BSF. Tables in circulation are often wrong; what
is stored is geometry or a maker's multipliers, and both pass `self_test`.

References:
    Randall & Antoni (2011), doi:10.1016/j.ymssp.2010.07.017, section 2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vibration.errors import GeometryError

ORDER_TOLERANCE = 0.01
"""Relative disagreement a maker's rounded multipliers may show in the self-tests."""

LARGEST_RADIAL_CONTACT_DEG = 45.0
"""Above this a bearing is a thrust bearing (ISO 76)."""


@dataclass(frozen=True)
class BearingGeometry:
    """The four numbers that set a bearing's fault orders.

    Attributes:
        elements: Rolling elements in one row, at least 3.
        ball_diameter_mm: Diameter of a ball or roller.
        pitch_diameter_mm: Diameter of the circle through the elements' centres.
        contact_angle_deg: Contact angle; 0 for deep-groove and cylindrical bearings.

    Raises:
        GeometryError: No rolling bearing has these numbers.
    """

    elements: int
    ball_diameter_mm: float
    pitch_diameter_mm: float
    contact_angle_deg: float = 0.0

    def __post_init__(self) -> None:
        _check_elements(self.elements)
        diameters = (self.ball_diameter_mm, self.pitch_diameter_mm)
        if not all(math.isfinite(value) and value > 0.0 for value in diameters):
            raise GeometryError(f"diameters are {diameters} mm, finite and above 0 expected")
        if not 0.0 <= self.contact_angle_deg < 90.0:
            raise GeometryError(f"contact angle is {self.contact_angle_deg} degrees, 0 to below 90 expected")
        # Touching elements span 2 asin(d/D) of the circle each.
        ratio = self.ball_diameter_mm / self.pitch_diameter_mm
        if ratio >= 1.0 or self.elements * math.asin(ratio) > math.pi:
            raise GeometryError(
                f"{self.elements} elements of {self.ball_diameter_mm} mm do not fit on a pitch circle of "
                f"{self.pitch_diameter_mm} mm; check which diameter is which"
            )


@dataclass(frozen=True)
class FaultOrders:
    """How often each kind of bearing damage strikes per turn of the shaft.

    Attributes:
        bpfo: Ball pass frequency of the outer race.
        bpfi: Ball pass frequency of the inner race.
        bsf: Ball spin frequency; a ball's damage shows at twice this.
        ftf: Fundamental train frequency, the cage's.
        estimated: True if only the number of elements was known; such orders are a guide, not evidence.
    """

    bpfo: float
    bpfi: float
    bsf: float
    ftf: float
    estimated: bool = False


def fault_orders(geometry: BearingGeometry) -> FaultOrders:
    """Calculate the fault orders of a geometry."""
    ratio = geometry.ball_diameter_mm / geometry.pitch_diameter_mm
    q = ratio * math.cos(math.radians(geometry.contact_angle_deg))
    return FaultOrders(
        bpfo=geometry.elements / 2.0 * (1.0 - q),
        bpfi=geometry.elements / 2.0 * (1.0 + q),
        bsf=(1.0 - q * q) / (2.0 * ratio),
        ftf=(1.0 - q) / 2.0,
    )


def self_test(orders: FaultOrders, elements: int, *, tolerance: float = ORDER_TOLERANCE) -> list[str]:
    """Say what about a set of orders contradicts the kinematics of a rolling bearing.

    Args:
        orders: As printed by a maker, or calculated.
        elements: Rolling elements in one row.
        tolerance: Relative disagreement that rounding may explain.

    Returns:
        One sentence per contradiction; empty if there is none.
    """
    reasons = []
    for name in ("bpfo", "bpfi", "bsf", "ftf"):
        value = getattr(orders, name)
        if not (math.isfinite(value) and value > 0.0):
            reasons.append(f"{name.upper()} is {value}, finite and above 0 expected")
    if reasons:
        return reasons
    total = orders.bpfo + orders.bpfi
    if abs(total - elements) > tolerance * elements:
        reasons.append(f"BPFO + BPFI is {total:.3f}, the number of elements ({elements}) expected")
    cage = elements * orders.ftf
    if abs(cage - orders.bpfo) > tolerance * orders.bpfo:
        reasons.append(f"BPFO is {orders.bpfo:.3f}, elements x FTF ({cage:.3f}) expected")
    if orders.ftf >= 0.5:
        reasons.append(f"FTF is {orders.ftf:.3f}, below 0.5 expected with a fixed outer ring")
    if orders.bpfo >= orders.bpfi:
        reasons.append(f"BPFO ({orders.bpfo:.3f}) is not below BPFI ({orders.bpfi:.3f}); are they swapped?")
    # BSF = (1 - q²)/(2q) cos a, so FTF gives it up to the contact angle.
    q = 1.0 - orders.bpfo / elements - orders.ftf
    if 0.0 < q < 1.0:
        largest = (1.0 - q * q) / (2.0 * q)
        smallest = largest * math.cos(math.radians(LARGEST_RADIAL_CONTACT_DEG))
        if not smallest * (1.0 - 3.0 * tolerance) <= orders.bsf <= largest * (1.0 + 3.0 * tolerance):
            reasons.append(
                f"BSF is {orders.bsf:.3f}, {smallest:.3f} to {largest:.3f} expected from the other orders; "
                "is it given as 2 x BSF?"
            )
    return reasons


def from_multipliers(bpfo: float, bpfi: float, bsf: float, ftf: float, *, elements: int | None = None) -> FaultOrders:
    """Take a maker's multipliers after testing them.

    Args:
        bpfo: Outer race, strikes per turn.
        bpfi: Inner race, strikes per turn.
        bsf: Ball spin (one turn of the ball), per turn of the shaft.
        ftf: Cage, per turn of the shaft.
        elements: Rolling elements; by default read from BPFO + BPFI.

    Raises:
        GeometryError: The multipliers contradict each other; the message says how.
    """
    orders = FaultOrders(bpfo, bpfi, bsf, ftf)
    if elements is None:
        total = bpfo + bpfi
        elements = round(total) if math.isfinite(total) else 0
    _check_elements(elements)
    reasons = self_test(orders, elements)
    if reasons:
        raise GeometryError("fault multipliers contradict each other: " + "; ".join(reasons))
    return orders


def estimate_orders(elements: int) -> FaultOrders:
    """Estimate fault orders when only the number of rolling elements is known; marked as an estimate.

    The trade's rule is BPFO 0.4 n, BPFI 0.6 n, FTF 0.4. That is q = 0.2, from which BSF 2.4 follows.

    Raises:
        GeometryError: Fewer than 3 elements.
    """
    _check_elements(elements)
    return FaultOrders(bpfo=0.4 * elements, bpfi=0.6 * elements, bsf=2.4, ftf=0.4, estimated=True)


def orders_from_row(multipliers: Sequence[float], geometry: Sequence[float]) -> FaultOrders | None:
    """Read the orders of a bearing described by four multipliers, four geometry numbers, or both.

    Args:
        multipliers: BPFO, BPFI, BSF, FTF; NaN where unknown.
        geometry: Elements, ball diameter mm, pitch diameter mm, contact angle degrees; NaN where unknown.

    Returns:
        Orders from the geometry if that is complete, else the multipliers; None if neither is.

    Raises:
        GeometryError: What is complete cannot belong to a rolling bearing.
    """
    if len(geometry) == 4 and all(math.isfinite(value) for value in geometry):
        elements, ball_mm, pitch_mm, angle_deg = geometry
        return fault_orders(BearingGeometry(round(elements), ball_mm, pitch_mm, angle_deg))
    if len(multipliers) == 4 and all(math.isfinite(value) for value in multipliers):
        return from_multipliers(*multipliers)
    return None


def _check_elements(elements: int) -> None:
    if elements < 3:
        raise GeometryError(f"bearing has {elements} rolling elements, at least 3 expected")
