"""Each kind of bearing damage is told by its own lines, its by-products are not taken for another's, and a speed that
is off is found out by a clear race only."""

import numpy as np
import pytest

from gateway_agent.diagnosis import MachineFacts, diagnose
from gateway_agent.diagnosis_bearing import bearing_causes, searched_causes, speed_share
from tests.support.captures import ORDERS_6205, RPM, impacts_g
from vibration.bearing import FaultOrders
from vibration.bearing_library import lookup_bearing
from vibration.rhythm import ORDERS
from vibration.rhythm_evidence import RhythmRow

BEARING = lookup_bearing("6205").orders
BPFO, BPFI, BSF, FTF = BEARING.bpfo, BEARING.bpfi, BEARING.bsf, BEARING.ftf
QUIET = 0.0  # impulsiveness of noise


def row_with(lines_db: dict[float, float], healthy_db: float | None = None, line_orders: float = 0.03) -> RhythmRow:
    power = np.ones(ORDERS.size)
    for order, height_db in lines_db.items():
        power += 10.0 ** (height_db / 10.0) * np.exp(-0.5 * ((ORDERS - order) / 0.03) ** 2)
    healthy = None if healthy_db is None else np.full(ORDERS.size, healthy_db)
    return RhythmRow(10.0 * np.log10(power), healthy, line_orders, 15.9, 0.3)


def best(lines_db: dict[float, float], impulsiveness: float = QUIET, **more: float) -> str:
    causes = bearing_causes(row_with(lines_db, **more), 0, BEARING, impulsiveness)
    return max(causes, key=lambda cause: cause.nats).label


@pytest.mark.parametrize(
    ("label", "lines_db"),
    [
        ("outer", {BPFO: 10.0, 2 * BPFO: 6.0}),
        ("inner", {BPFI: 10.0, BPFI - 1: 6.0, BPFI + 1: 6.0}),
        ("ball", {2 * BSF: 7.0, 4 * BSF: 4.0, 2 * BSF - FTF: 3.0, 2 * BSF + FTF: 3.0}),
        ("ball", {FTF: 6.0, 1 - FTF: 6.0}),
        ("cage", {FTF: 8.0, 2 * FTF: 8.0, 3 * FTF: 7.0, 4 * FTF: 7.0}),
    ],
)
def test_damage_is_told_by_its_own_lines(label: str, lines_db: dict[float, float]):
    assert best(lines_db) == label


def test_both_races_at_like_height_are_struck_by_one_ball():
    assert best({BPFO: 5.0, BPFI: 5.0}) == "ball"


def test_the_cages_swell_on_a_damaged_race_is_its_by_product():
    assert best({BPFO: 12.0, 2 * BPFO: 6.0, FTF: 9.0, 1 - FTF: 10.0}) == "outer"


def test_silence_speaks_against_a_race_more_than_against_a_ball():
    nats = {cause.label: cause.nats for cause in bearing_causes(row_with({}), 0, BEARING, QUIET)}
    assert nats["outer"] < nats["ball"] < 0.0
    assert nats["inner"] < nats["ball"]


def test_growth_of_impacts_speaks_for_the_bearing_and_the_rhythm_says_which_part():
    lines_db = {BPFO: 8.0, 2 * BPFO: 4.0}
    without, knocking = (bearing_causes(row_with(lines_db, 0.0), 0, BEARING, i)[0].nats for i in (QUIET, 2.0))
    assert knocking > without + 3.0
    assert best(lines_db, 2.0, healthy_db=0.0) == "outer"


def test_a_speed_that_is_off_is_found_by_a_clear_race():
    assert speed_share(row_with({1.05 * BPFO: 12.0, 2.1 * BPFO: 8.0}), BEARING) == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize(
    "lines_db",
    [{}, {1.05 * BPFO: 12.0}, {1.05 * BPFO: 6.0, 2.1 * BPFO: 5.0}, {BPFO: 12.0, 2 * BPFO: 8.0, 1.05 * BPFI: 9.0}],
)
def test_a_speed_is_believed_where_no_clear_race_says_otherwise(lines_db: dict[float, float]):
    assert speed_share(row_with(lines_db), BEARING) == 0.0


def test_a_race_is_named_though_the_speed_we_were_told_is_five_percent_off():
    signal = impacts_g(ORDERS_6205["outer"], 2, samples=1 << 15)
    findings = diagnose(signal, sample_rate_hz=24_000.0, facts=MachineFacts(1.05 * RPM / 60.0, BEARING))
    assert findings.ranked[0].label == "outer"
    assert any("off the speed we were told" in f.text for f in findings.findings)


def test_a_searched_rhythm_is_an_inner_races_by_its_sidebands():
    alone, sided = {4.27: 9.0, 8.54: 6.0}, {4.27: 9.0, 8.54: 6.0, 3.27: 6.0, 5.27: 6.0}
    for lines_db, label in ((alone, "outer"), (sided, "inner")):
        causes = searched_causes(row_with(lines_db), 0, QUIET)
        assert max(causes, key=lambda cause: cause.nats).label == label


def test_nothing_is_found_by_searching_in_noise():
    rng = np.random.default_rng(5)
    for _ in range(20):
        level = 0.4 * rng.standard_normal(ORDERS.size)
        row = RhythmRow(level, None, 0.03, 15.9, 0.4)
        assert max(cause.nats for cause in searched_causes(row, 0, QUIET)) < 0.5


def test_a_line_that_two_damages_share_is_decided_by_the_lines_they_do_not_share():
    """2 x BSF + FTF of this bearing lies by 1 % beside BPFO: a ball's sidebands are no outer race's."""
    spinning = FaultOrders(bpfo=5.234, bpfi=7.766, bsf=2.469, ftf=0.403)
    lines_db = {5.28: 8.0, 4.94: 6.0, 9.88: 7.0, 4.53: 8.0, 0.403: 12.0}
    causes = bearing_causes(row_with(lines_db), 0, spinning, QUIET)
    ball, outer = (next(cause.nats for cause in causes if cause.label == label) for label in ("ball", "outer"))
    assert ball > outer


def test_the_same_swing_is_the_same_evidence_however_long_the_captures_are():
    """Heights over noise grow with the time listened; the depth does not."""
    nats = []
    for unit_db in (18.0, 24.0):
        swing = 0.3 * np.exp(-0.25 * ((ORDERS - BPFO) / 0.03) ** 2)
        swing += 0.2 * np.exp(-0.25 * ((ORDERS - 2 * BPFO) / 0.03) ** 2)
        level_db = 10.0 * np.log10(1.0 + 10.0 ** (unit_db / 10.0) * swing**2)
        row = RhythmRow(level_db, None, 0.03, 15.9, 0.3, unit_db=unit_db)
        nats.append(bearing_causes(row, 0, BEARING, QUIET)[0].nats)
    assert nats[0] == pytest.approx(nats[1], abs=1.0)
    assert min(nats) > 1.5
