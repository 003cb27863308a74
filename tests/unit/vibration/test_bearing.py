"""Fault orders: the published multipliers, and what is wrong with some that circulate."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vibration.bearing import (
    BearingGeometry,
    FaultOrders,
    estimate_orders,
    fault_orders,
    from_multipliers,
    orders_from_row,
    self_test,
)
from vibration.errors import GeometryError

geometries = st.builds(
    lambda elements, fill, pitch_mm, angle_deg: BearingGeometry(
        elements, fill * pitch_mm * math.sin(math.pi / elements), pitch_mm, angle_deg
    ),
    st.integers(5, 40),
    st.floats(0.2, 0.999),
    st.floats(10.0, 500.0),
    st.floats(0.0, 40.0),
)


def test_6205_has_the_orders_its_maker_publishes():
    orders = fault_orders(BearingGeometry(9, 7.94, 39.04))
    assert (orders.bpfo, orders.bpfi) == (pytest.approx(3.585, abs=1e-3), pytest.approx(5.415, abs=1e-3))
    assert (orders.bsf, orders.ftf) == (pytest.approx(2.357, abs=1e-3), pytest.approx(0.398, abs=1e-3))
    assert not orders.estimated


def test_contact_angle_enters_as_its_cosine():
    orders = fault_orders(BearingGeometry(16, 8.407, 71.50, 15.17))
    assert orders.bpfo == pytest.approx(7.092, abs=1e-3)
    assert orders.bsf == pytest.approx(4.198, abs=1e-3)


@given(geometries)
def test_orders_of_any_geometry_pass_the_self_tests(geometry):
    orders = fault_orders(geometry)
    assert self_test(orders, geometry.elements, tolerance=1e-9) == []
    assert from_multipliers(orders.bpfo, orders.bpfi, orders.bsf, orders.ftf) == orders


def test_table_in_circulation_for_nu205_is_contradicted():
    reasons = self_test(FaultOrders(bpfo=5.81, bpfi=7.19, bsf=2.51, ftf=0.402), 13)
    assert any("elements x FTF" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("multipliers", "said"),
    [
        ((5.415, 3.585, 2.357, 0.398), "swapped"),
        ((3.585, 5.415, 4.714, 0.398), "2 x BSF"),
        ((3.585, 5.9, 2.357, 0.398), "number of elements"),
        ((3.585, 5.415, 2.357, 0.602), "FTF"),
        ((3.585, 5.415, 2.357, math.nan), "FTF is nan"),
        ((3.585, math.inf, 2.357, 0.398), "rolling elements|BPFI is inf"),
    ],
)
def test_contradicting_multipliers_are_refused_with_the_reason(multipliers, said):
    with pytest.raises(GeometryError, match=said):
        from_multipliers(*multipliers)


def test_known_element_count_that_does_not_fit_is_said():
    with pytest.raises(GeometryError, match=r"BPFO \+ BPFI is 9.000, the number of elements \(8\)"):
        from_multipliers(3.585, 5.415, 2.357, 0.398, elements=8)


def test_estimate_says_that_it_is_one_and_keeps_the_kinematics():
    orders = estimate_orders(9)
    assert orders.estimated
    assert (orders.bpfo, orders.bpfi, orders.ftf) == (pytest.approx(3.6), pytest.approx(5.4), 0.4)
    assert self_test(orders, 9) == []


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((2, 7.94, 39.04, 0.0), "2 rolling elements"),
        ((9, 0.0, 39.04, 0.0), "above 0"),
        ((9, 7.94, math.nan, 0.0), "finite"),
        ((9, 39.04, 7.94, 0.0), "which diameter is which"),
        ((30, 7.94, 39.04, 0.0), "do not fit"),
        ((9, 7.94, 39.04, 90.0), "contact angle"),
    ],
)
def test_impossible_geometry_is_refused_with_the_reason(numbers, said):
    with pytest.raises(GeometryError, match=said):
        BearingGeometry(*numbers)


def test_row_of_a_recording_gives_orders_from_geometry_then_multipliers_then_nothing():
    unknown = (math.nan,) * 4
    from_geometry = orders_from_row(unknown, (9.0, 7.94, 39.04, 0.0))
    assert from_geometry is not None
    assert from_geometry.bpfo == pytest.approx(3.585, abs=1e-3)
    from_row = orders_from_row((3.585, 5.415, 2.357, 0.398), unknown)
    assert from_row is not None
    assert from_row.bpfi == 5.415
    assert orders_from_row(unknown, unknown) is None
