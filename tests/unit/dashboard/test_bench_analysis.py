"""What the bench computes from a capture: the same as the physics says, of the full resolution."""

import numpy as np
import pytest

from dashboard.analysis import (
    Lines,
    analyse,
    facts_of,
    fault_lines_at,
    impulsive_bands,
    on_grid,
    orders_of,
    peaks_of,
    phases_of,
    waveforms_of,
)
from schemas.asset_table import BearingRow
from schemas.errors import MessageRejected
from schemas.messages import Series
from schemas.nameplate import BearingPlate
from tests.support.bench_evidence import BAND_HZ, FOUND_HZ, RATE_HZ, RESONANCE_HZ, SAMPLES, requested_evidence
from tests.support.site_database import BPFO_HZ, ORDERS, RPM, SHAFT_HZ
from vibration.errors import VibrationError

POINT = "pump-07/drive-end"


@pytest.fixture(scope="module")
def evidence():
    return requested_evidence(POINT, measured_at_us=1_000_000, sequence=7)


def test_with_a_waveform_the_spectrum_has_the_full_resolution_and_not_the_lines_that_were_sent(evidence):
    found = analyse(evidence)
    assert found.recomputed
    assert found.spectrum.values.size == SAMPLES // 2 + 1 > evidence.spectrum.unpack().size
    assert found.spectrum.step_hz == pytest.approx(RATE_HZ / SAMPLES)
    np.testing.assert_allclose(found.spectrum.values[:4096], evidence.spectrum.unpack(), rtol=2e-3, atol=1e-6)


def test_without_a_waveform_what_the_gateway_sent_is_shown(evidence):
    found = analyse(evidence.model_copy(update={"waveform": None}), band_hz=(1000.0, 2000.0))
    assert not found.recomputed
    assert found.band_hz == BAND_HZ
    assert found.bands == ()
    np.testing.assert_array_equal(found.envelope.values, evidence.envelope.unpack())


def test_another_band_gives_another_envelope_and_one_beside_the_resonance_a_weaker_one(evidence):
    wide, beside = analyse(evidence), analyse(evidence, band_hz=(400.0, 1600.0))
    line = round(FOUND_HZ / wide.envelope.step_hz)
    assert wide.envelope.values[line - 2 : line + 3].max() > 3.0 * beside.envelope.values[line - 2 : line + 3].max()


@pytest.mark.parametrize("band_hz", [(4000.0, 2000.0), (1000.0, 9000.0), (1000.0, 1001.0)])
def test_band_that_cannot_be_demodulated_is_refused_with_words(evidence, band_hz):
    with pytest.raises(VibrationError, match="band"):
        analyse(evidence, band_hz=band_hz)


def test_damaged_series_is_refused(evidence):
    broken = evidence.waveform.model_copy(update={"values": "no series"})
    with pytest.raises(MessageRejected):
        analyse(evidence.model_copy(update={"waveform": broken}))


def test_kurtogram_offers_the_resonance_first_and_bands_that_are_apart(evidence):
    bands = impulsive_bands(analyse(evidence).waveform, [BPFO_HZ])
    assert bands[0].low_hz < RESONANCE_HZ < bands[0].high_hz
    assert len(bands) > 1


def test_peak_table_is_read_between_the_lines_and_names_the_highest_first(evidence):
    peaks = peaks_of(analyse(evidence).envelope)
    assert peaks[0].frequency_hz == pytest.approx(FOUND_HZ, rel=0.01)
    assert [peak.amplitude for peak in peaks] == sorted((peak.amplitude for peak in peaks), reverse=True)


def test_lines_of_another_resolution_are_laid_over_and_end_where_they_end():
    fine = Lines(0.0, 0.5, np.zeros(21), "g")
    coarse = Lines(0.0, 1.0, np.arange(6, dtype=float), "g")
    laid = on_grid(coarse, fine)
    assert laid[3] == pytest.approx(1.5)
    assert np.isnan(laid[-1])


def test_lines_follow_a_speed_that_somebody_knows_better(evidence):
    envelope = analyse(evidence).envelope
    moved = {line.name: line for line in fault_lines_at(evidence, envelope, rpm=RPM * 1.1, orders=None)}
    assert moved["BPFO"].frequency_hz == pytest.approx(BPFO_HZ * 1.1)
    assert moved["BPFO"].found_hz is None
    assert fault_lines_at(evidence, envelope, rpm=RPM, orders=None) == evidence.fault_lines


def test_without_a_speed_of_the_gateway_lines_come_from_the_nameplate_and_are_looked_for(evidence):
    unknown = evidence.model_copy(update={"rpm": None, "fault_lines": ()})
    envelope = analyse(unknown).envelope
    plate = BearingPlate(elements=9, ball_diameter_mm=7.94, pitch_diameter_mm=39.04)
    lines = {line.name: line for line in fault_lines_at(unknown, envelope, rpm=RPM, orders=orders_of(plate))}
    assert lines["BPFO"].frequency_hz == pytest.approx(ORDERS.bpfo * SHAFT_HZ)
    assert lines["BPFO"].found_hz == pytest.approx(FOUND_HZ, rel=0.01)
    assert lines["BPFO"].prominence_db > 12.0
    assert lines["FTF"].found_hz is None
    assert [line.name for line in fault_lines_at(unknown, envelope, rpm=RPM, orders=None)] == ["1x"]


def test_bearing_of_the_library_has_orders_and_one_that_nobody_knows_has_none():
    assert orders_of(BearingPlate(name="6205")) is not None
    assert orders_of(BearingPlate(name="no such bearing")) is None
    assert orders_of(BearingPlate(orders=(3.5, 5.4, 2.3, 0.4))).bpfo == 3.5


def test_quality_of_a_clipped_capture_is_told(evidence):
    assert facts_of(analyse(evidence)).verdict == "ok"
    assert facts_of(analyse(evidence)).length_s == pytest.approx(SAMPLES / RATE_HZ)
    samples = np.clip(evidence.waveform.unpack(), -0.05, 0.05)
    clipped = type(evidence.waveform).pack(samples, start=0.0, step=1.0 / RATE_HZ, axis_unit="s", value_unit="g")
    assert facts_of(analyse(evidence.model_copy(update={"waveform": clipped}))).verdict == "saturated"
    assert facts_of(analyse(evidence.model_copy(update={"waveform": None}))).verdict is None


def test_another_axis_whose_samples_are_here_is_analysed_as_the_gateways_is(evidence):
    assert sorted(waveforms_of(evidence)) == [0, 1, 2]
    own, other = analyse(evidence), analyse(evidence, axis=1)
    assert (own.axis, other.axis, other.axes) == (0, 1, (0, 1, 2))
    line = round(FOUND_HZ / own.envelope.step_hz)
    around = slice(line - 2, line + 3)
    assert own.envelope.values[around].max() > 10.0 * other.envelope.values[around].max()
    assert analyse(evidence, axis=7).axis == 0
    assert analyse(evidence.model_copy(update={"waveform": None}), axis=1).axis == 0


def test_phase_between_axes_is_read_and_imbalance_turns(evidence):
    found = {(one.first, one.second, one.order): one for one in phases_of(evidence, rpm=RPM)}
    assert len(found) == 6
    assert found[0, 1, 1.0].phase_deg == pytest.approx(90.0, abs=8.0)
    assert found[0, 1, 1.0].motion == "turning"
    assert found[0, 2, 1.0].motion == "unclear"
    assert phases_of(evidence.model_copy(update={"other_axes": ()}), rpm=RPM) == []


def test_lines_that_were_thinned_out_are_known_for_it_and_nothing_is_read_between_them(evidence):
    heights = np.full(3000, 0.01)
    heights[1500] = 1.0
    thinned = Series.pack(heights, start=1.0, step=3.0, axis_unit="Hz", value_unit="g", largest_of=3)
    found = analyse(evidence.model_copy(update={"waveform": None, "spectrum": thinned})).spectrum
    assert found.largest_of == 3
    (peak,) = peaks_of(found)
    assert (peak.frequency_hz, peak.amplitude) == (4501.0, 1.0)


OWN = BearingRow(name="Own 42", elements=9, ball_diameter_mm=7.94, pitch_diameter_mm=39.04, source="drawing 7")


def test_bearing_of_the_plants_own_table_has_orders_by_its_name(evidence):
    plate = BearingPlate(name="own 42")
    assert orders_of(plate) is None
    orders = orders_of(plate, [OWN])
    assert orders is not None
    assert orders.bpfo == pytest.approx(ORDERS.bpfo)
    told = evidence.model_copy(update={"fault_lines": tuple(x for x in evidence.fault_lines if x.name == "1x")})
    lines = {line.name: line for line in fault_lines_at(told, analyse(told).envelope, rpm=RPM, orders=orders)}
    assert lines["BPFO"].found_hz == pytest.approx(FOUND_HZ, rel=0.01)
    assert set(lines) == {"BPFO", "BPFI", "2xBSF", "FTF", "1x"}


def test_bearing_that_was_chosen_stands_instead_of_the_gateways(evidence):
    other = orders_of(BearingPlate(name="6203"))
    lines = fault_lines_at(evidence, analyse(evidence).envelope, rpm=RPM, orders=other, instead=True)
    assert {line.name for line in lines} == {"BPFO", "BPFI", "2xBSF", "FTF", "1x"}
    assert next(line for line in lines if line.name == "BPFO").frequency_hz == pytest.approx(3.05 * SHAFT_HZ, rel=0.01)


def test_figures_of_a_capture_are_read_from_its_waveform(evidence):
    facts = facts_of(analyse(evidence))
    assert facts.clipped_share == 0.0
    assert facts.range_share == pytest.approx(facts.peak_g / 16.0, rel=0.01)
    assert facts.ski_slope < 1.0
    assert facts.speed_drift is not None
    assert facts.speed_drift.share < 3.0 * facts.speed_drift.uncertainty
    samples = np.clip(evidence.waveform.unpack(), -0.05, 0.05)
    clipped = Series.pack(samples, start=0.0, step=1.0 / RATE_HZ, axis_unit="s", value_unit="g")
    assert facts_of(analyse(evidence.model_copy(update={"waveform": clipped}))).clipped_share > 0.01
    assert facts_of(analyse(evidence), rpm=300.0).low_hz == 2.0
