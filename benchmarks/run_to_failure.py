"""This file knows how well remaining life is foretold: `python -m benchmarks.run_to_failure [--data FOLDER] [--quick]`.

Two protocols. Simulated machines that run to failure in many ways, half of them learnt from and half of them foretold;
and the whole PRONOSTIA lives, each foretold with what the others taught. Both go through the gateway's own prognosis
and the aggregator's own merge; an alarm is the trade's rule (a band twice its own healthy level).
"""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aggregator.lives import learn_lives
from gateway_agent.prognosis import Foretold, Prognosis, RemainingLife
from gateway_agent.prognosis_learning import LifeCourse, RecordedLife
from gateway_agent.prognosis_lives import LivesKnowledge
from schemas.recordings import read_recording
from sensor_sim.machine import MachineModel
from sensor_sim.randomness import seed_of, stream
from sensor_sim.scenario import Scenario
from vibration.features import BANDS, FeatureKernel

FloatArray = NDArray[np.float64]

SEED = 20
COMMISSION_SHARE = 0.15
RATE_HZ, SAMPLES = 12_800.0, 2048
TYPICAL_LIFE_S, LIFE_SCATTER = 30 * 86_400.0, 1.0  # ISO 281: lives of one kind scatter by about 1 (logarithm)
KINDS = ("inner", "outer", "ball", "imbalance", "misalignment", "looseness", "gear_wear")
SHAPES = ("slow_monotone", "late_sudden", "stepwise", "fluctuating")
ALERT_DECADES = 0.6  # a band's power four times its healthy one: twice in level
ALERT_OF = 5  # captures whose median counts
CUTS = np.arange(0.40, 0.951, 0.05)
CURVE_WIDTH = 40


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """What was said at one capture of a life, and what was true."""

    share: float
    true_s: float
    said: RemainingLife | None
    cheapest_s: float | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 also where a target is missed: the tables say so."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run_to_failure", description=main.__doc__)
    parser.add_argument("--data", type=Path, help="folder of recordings in the format of its README")
    parser.add_argument("--quick", action="store_true", help="24 machines instead of 160")
    parser.add_argument("--seed", type=int, default=SEED, help="another seed draws other machines")
    options = parser.parse_args(arguments)
    _simulated(24 if options.quick else 160, options.seed)
    _pronostia(options.data)
    return 0


def phm_score(true_s: float, foretold_s: float) -> float:
    """Return the score of the IEEE PHM 2012 challenge: 1 when right, halved by 5 % too late or 20 % too early."""
    error = 100.0 * (true_s - foretold_s) / true_s
    return math.exp(math.log(0.5) * (error / 20.0 if error > 0.0 else -error / 5.0))


def simulated_scenario(number: int, *, seed: int = SEED, healthy: bool = False) -> tuple[Scenario, float, int]:
    """Draw a machine that runs to failure: scenario, life in s, captures in it."""
    chance = stream((seed, number), "run-to-failure")
    life_s = TYPICAL_LIFE_S * math.exp(LIFE_SCATTER * float(chance.standard_normal()))
    captures = int(chance.integers(200, 500))
    onset_s = life_s * float(chance.uniform(0.15, 0.8))
    interval_s = min(life_s / captures, 600_000.0)
    wandering = {
        "kind": "random_walk", "mean": 0.7, "step": 0.05, "every_s": 5.0 * interval_s, "persistence": 0.95,
        "low": 0.3, "high": 1.0,
    }  # fmt: skip
    fault = {
        "kind": KINDS[chance.integers(len(KINDS))], "shape": SHAPES[chance.integers(len(SHAPES))],
        "growth": ("exp", "paris")[chance.integers(2)], "paris_exponent": chance.uniform(1.5, 3.5),
        "onset_s": onset_s, "duration_s": life_s - onset_s, "end_severity": chance.uniform(0.8, 1.5),
        "initial_severity": 10.0 ** chance.uniform(-1.7, -0.7), "impact_g": chance.uniform(2.0, 10.0),
    }  # fmt: skip
    machine = {
        "nameplate": {"machine": "m", "rpm": chance.uniform(600, 3600), "bearing": {"name": "6205"}, "gear_teeth": 23},
        "load": wandering if chance.random() < 0.5 else {"kind": "constant", "value": 0.8},
        "operating_scatter": chance.uniform(0.03, 0.15),
        "noise": {"rolling_ug": 10.0 ** chance.uniform(2.8, 3.5)},
        "points": [{"position": "de", "sample_rate_hz": RATE_HZ, "samples": SAMPLES, "interval_s": interval_s}],
        "faults": [] if healthy else [fault],
    }
    return Scenario.model_validate({"machines": [machine]}), life_s, captures


def simulated_life(number: int, *, seed: int = SEED, healthy: bool = False) -> LifeCourse:
    """Measure a simulated machine from commissioning to failure."""
    scenario, life_s, captures = simulated_scenario(number, seed=seed, healthy=healthy)
    model = MachineModel(scenario, "m", seed + number)
    at_s = np.linspace(0.0, life_s, captures)
    kernel = FeatureKernel(sample_rate_hz=RATE_HZ, samples=SAMPLES, channels=3)
    waves = [
        model.vibration("de", float(s), stream(seed_of(seed, "capture", number, i))).acceleration_g
        for i, s in enumerate(at_s)
    ]
    return _course(kernel.run(waves, np.ones(3)), at_s)


def _course(features: NDArray[np.float32], at_s: FloatArray) -> LifeCourse:
    bands = features[:, :, BANDS].reshape(len(features), -1).astype(np.float64)
    healthy = np.median(bands[: int(COMMISSION_SHARE * len(bands))], axis=0)
    lately = np.stack([np.median(bands[max(0, i + 1 - ALERT_OF) : i + 1], axis=0) for i in range(len(bands))])
    alarms = (lately - healthy >= ALERT_DECADES).any(axis=1) & (np.arange(len(bands)) >= COMMISSION_SHARE * len(bands))
    return LifeCourse.of_features(
        features, at_s, commission_share=COMMISSION_SHARE, worn=np.logical_or.accumulate(alarms)
    )


def foretell_life(course: LifeCourse, knowledge: LivesKnowledge, *, cheapest: bool = False) -> list[Statement]:
    """Play a life through the prognosis of a gateway; the statement at every capture after commissioning."""
    prognosis = Prognosis(course.healthy(), knowledge)
    statements = []
    for number in range(course.commissioned, len(course.at_s)):
        at_s = float(course.at_s[number])
        said = prognosis.update(at_s, course.level_db[number], worn=bool(course.worn[number]))
        true_s = course.life_s - at_s
        if true_s <= 0.0:
            continue
        foretold = prognosis.foretell() if cheapest else None
        guess_s = _cheapest_s(foretold) if isinstance(foretold, Foretold) else None
        known = said if isinstance(said, RemainingLife) else None
        statements.append(Statement(at_s / course.life_s, true_s, known, guess_s))
    return statements


def _cheapest_s(foretold: Foretold) -> float:
    """The guess of the highest expected PHM 2012 score: what a forecaster paid by that score would say."""
    guesses = foretold.quantiles_s(np.linspace(0.02, 0.6, 30).tolist())
    error = 100.0 * (1.0 - np.array(guesses)[:, None] / foretold.left_s[None, :])
    score = np.exp(math.log(0.5) * np.where(error > 0.0, error / 20.0, np.minimum(-error / 5.0, 700.0)))
    return guesses[int(np.argmax(score @ foretold.weight))]


def _simulated(machines: int, seed: int) -> None:
    began_s = time.process_time()
    courses = [simulated_life(number, seed=seed) for number in range(machines)]
    learnt, tested = courses[: machines // 2], courses[machines // 2 :]
    print(f"simulated run to failure: {machines} machines, {sum(len(c.at_s) for c in courses)} captures, "
          f"made in {time.process_time() - began_s:.0f} s; {len(tested)} foretold\n")  # fmt: skip
    print("| lives learnt | said something | in 80 % band, captures | mean of machines | truth below | truth above "
          "| high / low | median off by |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    results: list[list[Statement]] = []
    for count in sorted({0, min(6, len(learnt)), len(learnt)}):
        lives = {str(number): RecordedLife(course) for number, course in enumerate(learnt[:count])}
        knowledge = LivesKnowledge(learn_lives(lives)) if lives else LivesKnowledge.none()
        began_s = time.process_time()
        results = [foretell_life(course, knowledge) for course in tested]
        per_capture_us = 1e6 * (time.process_time() - began_s) / sum(len(r) for r in results)
        print(f"| {count} {_row(results)}")
        if count in {0, len(learnt)}:
            curves = _curve(results)
            print(f"\n{curves}\n")
    print(f"one capture takes {per_capture_us:.0f} µs of one core on average\n")
    healthy = [simulated_life(number, seed=seed, healthy=True) for number in range(1000, 1000 + machines // 4)]
    said = [[s.said is not None for s in foretell_life(course, LivesKnowledge.none())] for course in healthy]
    print(f"healthy machines: {len(healthy)}, of {sum(map(len, said))} captures "
          f"{np.mean(np.concatenate(said)):.2%} with a remaining life, on {np.mean([any(s) for s in said]):.0%} of the "
          "machines\n")  # fmt: skip


def _row(results: Sequence[Sequence[Statement]]) -> str:
    spoken = [(s, s.said) for life in results for s in life if s.said is not None]
    inside = [r.low <= s.true_s <= r.high for s, r in spoken]
    by_machine = [
        np.mean([s.said.low <= s.true_s <= s.said.high for s in life if s.said is not None])
        for life in results
        if any(s.said is not None for s in life)
    ]
    below = float(np.mean([s.true_s < r.low for s, r in spoken]))
    wide = float(np.median([r.high / max(r.low, 1e-3) for _, r in spoken]))
    off = float(np.median([abs(math.log(max(r.median, 1e-3) / s.true_s)) for s, r in spoken]))
    said = len(spoken) / sum(len(life) for life in results)
    cells = (
        f"{said:.0%} of captures, {len(by_machine)} of {len(results)} machines",
        f"{np.mean(inside):.1%} (n {len(inside)})",
        f"{np.mean(by_machine):.1%}", f"{below:.1%}", f"{1.0 - below - np.mean(inside):.1%}", f"{wide:.0f}",
        f"{math.exp(off):.1f}x",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _curve(results: Sequence[Sequence[Statement]]) -> str:
    lines = ["share of life   said  in band"]
    for tenth in range(1, 10):
        part = [s for life in results for s in life if int(10.0 * s.share) == tenth]
        spoken = [s.said.low <= s.true_s <= s.said.high for s in part if s.said is not None]
        share = float(np.mean(spoken)) if spoken else math.nan
        bar = "#" * round(CURVE_WIDTH * share) if spoken else ""
        lines.append(f"{tenth * 10:3d} to {tenth * 10 + 10:3d} %   {len(spoken) / len(part):4.0%}  {share:6.0%}  {bar}")
    return "\n".join(lines)


def _pronostia(folder: Path | None) -> None:
    files = sorted((folder / "pronostia").glob("*.npz")) if folder is not None else []
    if len(files) < 2:
        print("pronostia: not in folder")
        return
    courses: dict[str, LifeCourse] = {}
    for file in files:
        recording = read_recording(file)
        samples = recording.counts[0].shape[1]
        kernel = FeatureKernel(sample_rate_hz=recording.sample_rate_hz, samples=samples, channels=recording.channels)
        features = kernel.run(list(recording.counts), recording.scale_g)
        courses[file.stem] = _course(features, np.asarray(recording.start_s, np.float64))
    print(f"pronostia: {len(files)} whole lives, each foretold with what the others taught; {len(CUTS)} cuts at "
          f"{CUTS[0]:.0%} to {CUTS[-1]:.0%} of life\n")  # fmt: skip
    print("| life | said at cuts | PHM 2012 score of the median | of the guess paid best | in 80 % band, captures |")
    print("|---|---|---|---|---|")
    rows = []
    for name, course in courses.items():
        others = {other: RecordedLife(c) for other, c in courses.items() if other != name}
        statements = foretell_life(course, LivesKnowledge(learn_lives(others)), cheapest=True)
        cuts = [min(statements, key=lambda s: abs(s.share - cut)) for cut in CUTS]
        median = np.mean([phm_score(s.true_s, s.said.median) if s.said else 0.0 for s in cuts])
        best = np.mean([phm_score(s.true_s, s.cheapest_s) if s.said and s.cheapest_s else 0.0 for s in cuts])
        inside = [s.said.low <= s.true_s <= s.said.high for s in statements if s.said is not None]
        rows.append((float(median), float(best), float(np.mean(inside)) if inside else math.nan))
        print(f"| {name} | {sum(s.said is not None for s in cuts)} of {len(cuts)} | {median:.3f} | {best:.3f} "
              f"| {rows[-1][2]:.0%} (n {len(inside)}) |")  # fmt: skip
    means = np.nanmean(np.array(rows), axis=0)
    print(f"| mean | | {means[0]:.3f} | {means[1]:.3f} | {means[2]:.0%} |")


if __name__ == "__main__":
    sys.exit(main())
