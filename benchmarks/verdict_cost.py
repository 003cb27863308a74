"""This file knows what a verdict costs: of every capture, of those looked into, and how large a release is."""

import time
from collections.abc import Callable
from statistics import median

import numpy as np

from benchmarks.figures import Figure
from benchmarks.healthy_plant import run_plant
from gateway_agent.baseline import Baseline, expected_variance, score_of
from gateway_agent.builtin import builtin_release
from gateway_agent.diagnosis import MachineFacts, OrderReference, diagnose, picture_of
from schemas.variation import Variation
from vibration.bearing_library import lookup_bearing
from vibration.detection_features import detection_features
from vibration.features import MODEL_FEATURES, FeatureKernel

CHANNELS, SAMPLES, RATE_HZ = 3, 8192, 25_600.0
SHAFT_HZ = 24.7
REPEATS, ROUNDS = 5, 40
SEED = 8


def _captures(count: int) -> list[np.ndarray]:
    chance = np.random.default_rng(SEED)
    return [chance.normal(0, 400, (CHANNELS, SAMPLES)).astype(np.int16) for _ in range(count)]


def features_and_score_ms() -> Figure:
    """One capture through the kernel, its sums, the distance from healthy and the drift of the baseline."""
    counts = _captures(8)
    scale_g = np.full((8, CHANNELS), 5e-4)
    kernel = FeatureKernel(sample_rate_hz=RATE_HZ, samples=SAMPLES, channels=CHANNELS)
    layout = (RATE_HZ, SAMPLES)
    expected = expected_variance(Variation().prior(*layout), *layout)
    baseline = Baseline.learn(detection_features(kernel.run(counts, scale_g)[:, :, MODEL_FEATURES]), expected)

    def block() -> None:
        for one in detection_features(kernel.run(counts, scale_g)[:, :, MODEL_FEATURES]):
            score_of(baseline.standardise(one))
            baseline.follow(one)

    return _figure("features_and_score_ms", block, len(counts), 0.3, "blocks of 8 captures of 3 x 8,192")


def diagnosis_ms() -> Figure:
    """One capture read for every cause, with bearing, reference and speed known."""
    signals = [one * 5e-4 for one in _captures(8)]
    facts = MachineFacts(SHAFT_HZ, lookup_bearing("6205").orders)
    reference = OrderReference()
    for signal in signals:
        reference.learn(picture_of(signal, sample_rate_hz=RATE_HZ, facts=facts))

    def block() -> None:
        for signal in signals:
            diagnose(signal, sample_rate_hz=RATE_HZ, facts=facts, reference=reference)

    return _figure("diagnosis_ms", block, len(signals), 5.0, "3 x 8,192, bearing and speed known")


def release_kb() -> Figure:
    """Everything a release holds: graphs, parameters, what the fleet knows."""
    release = builtin_release()
    size = sum(len(content) for content in release.files.values()) / 1000.0 if release else None
    return Figure("release_kb", size, "kB", 500.0, "below", size, None, (), "the built-in release, all files")


def false_cases_per_machine_month() -> Figure:
    """A healthy plant of 40 machines for 90 days; takes about ten minutes."""
    result = run_plant(40, 90.0, quiet=False)
    value = result.cases_per_machine_month
    note = (
        f"{len(result.cases)} false cases in {result.months:.0f} machine-months; {result.exceeding} of "
        f"{result.captures} captures above a limit stated for 1 %"
    )
    return Figure("false_cases_per_machine_month", value, "", 0.02, "below", value, None, (value,), note)


def _figure(name: str, work: Callable[[], None], captures: int, target: float, note: str) -> Figure:
    work()
    repeats = []
    for _ in range(REPEATS):
        began_s = time.perf_counter()
        for _ in range(ROUNDS):
            work()
        repeats.append(1e3 * (time.perf_counter() - began_s) / (ROUNDS * captures))
    return Figure(name, median(repeats), "ms", target, "below", median(repeats), None, tuple(repeats), note)
