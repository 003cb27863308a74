"""The proof harness gives nobody anything of the target but its commissioning windows."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.verdicts.baselines import BASELINES, CALIBRATIONS, Fleet, Source
from benchmarks.verdicts.context import Context
from benchmarks.verdicts.product import Product
from benchmarks.verdicts.recordings import read_folder
from tests.support.recordings import healthy_noise, write_recording

SAMPLES = 8192 * 2


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Three speeds with a fault each, a second healthy record of one, a short one and a slow process signal."""
    for seed, rpm in enumerate((600.0, 900.0, 1200.0)):
        write_recording(tmp_path / f"healthy-{rpm:g}.npz", healthy_noise(seed, samples=SAMPLES), rpm=rpm)
        fault = healthy_noise(seed + 5, samples=SAMPLES)
        write_recording(tmp_path / f"inner-{rpm:g}.npz", fault, rpm=rpm, label="inner")
    write_recording(tmp_path / "healthy-600-again.npz", healthy_noise(8, samples=SAMPLES), rpm=600.0)
    write_recording(tmp_path / "short.npz", healthy_noise(9, samples=8192), rpm=700.0)
    write_recording(tmp_path / "slow.npz", healthy_noise(9, samples=SAMPLES), rate_hz=1.0)
    heads = read_folder([tmp_path], lambda _text: None)
    return Context(heads, Product(tmp_path, lambda _text: None), lambda _text: None)


def test_no_recording_of_the_target_is_learnt_from(context: Context) -> None:
    targets = context.targets()
    assert [target.healthy[0].rpm for target in targets] == [1200.0, 600.0, 900.0]
    for target in targets:
        elsewhere = context.healthy_elsewhere(target.condition)
        assert {head.rpm for head in elsewhere} == {600.0, 900.0, 1200.0} - {target.healthy[0].rpm}
        assert all(head.label == "healthy" for head in elsewhere)
        assert target.condition not in {source.name for source in context.sources(target.condition)}


def test_a_second_healthy_record_of_a_condition_belongs_to_its_target(context: Context) -> None:
    (target,) = (t for t in context.targets() if t.healthy[0].rpm == 600.0)
    assert {head.recording for head in target.healthy} == {"healthy-600", "healthy-600-again"}


@pytest.mark.parametrize("calibration", CALIBRATIONS)
@pytest.mark.parametrize("baseline", BASELINES, ids=lambda baseline: baseline.name)
def test_every_baseline_keeps_quiet_on_its_own_kind_and_sees_what_is_far_away(baseline, calibration) -> None:
    chance = np.random.default_rng(3)
    features = 1 + max(max(one.columns) for one in BASELINES)
    offsets = chance.normal(0.0, 1.0, (6, 1, 2, features))
    rows = offsets[:, :] + chance.normal(0.0, 0.1, (6, 40, 2, features))
    sources = [Source(str(number), "one", rows[number]) for number in range(5)]
    detector = Fleet().commission(baseline, calibration, rows[5, :5], sources, "one")
    assert detector is not None
    assert np.mean(detector.excess(rows[5, 5:]) > 0) <= 0.2  # five windows know a limit no better
    far = 100.0  # a thousand spreads: five windows of one number make a wide limit
    assert np.mean(detector.excess(rows[5, 5:] + far) > 0) >= 0.9


def test_a_window_with_a_dead_channel_is_no_alarm() -> None:
    rows = np.random.default_rng(1).normal(0.0, 1.0, (12, 2, 56))
    detector = Fleet().commission(BASELINES[0], "own", rows[:10], [], "one")
    assert detector is not None
    rows[10, 1] = np.nan
    assert detector.excess(rows[10:11])[0] == -np.inf
