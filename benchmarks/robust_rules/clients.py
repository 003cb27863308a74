"""This file knows twenty gateways with healthy and faulty rows, simulated or recorded, as the product sees them."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.healthy_plant import BEARINGS, KINDS
from benchmarks.personalisation.clients import read_machines
from benchmarks.verdicts.recordings import NO_FAULTS, by_condition, read_folder
from gateway_agent.baseline import Baseline, expected_variance, model_rows
from schemas.recordings import read_recording
from schemas.variation import Variation
from sensor_sim.machine import MachineModel
from sensor_sim.randomness import stream
from sensor_sim.scenario import Scenario
from vibration.detection_features import detection_features
from vibration.features import MODEL_FEATURES, FeatureKernel

COUNT = 20
SAMPLES, RATE_HZ, RANGE_G = 4096, 12_800.0, 16.0
FULL_SCALE = 32_767
TRAINED, TESTED, FAULTY = 64, 40, 24  # captures of one machine; of each fault
FAULTS: Mapping[str, float] = {"outer": 0.03, "imbalance": 0.1, "misalignment": 0.08}
"""How severe: early, so that there is something to lose; at severity 1 any network sees them."""
RECORDED_WINDOW = 1000  # samples: recordings of a machine in one condition are short
POISONED_SHARE = 0.7  # of an attacker's rows
SETTLED_S = 100_000.0  # the machine is warm

Rows = NDArray[np.float32]
Features = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Machine:
    """What was measured of one machine: detection features (captures, channels, F) of one layout."""

    trained: Features
    tested: Features
    faulty: Mapping[str, Features]
    layout: tuple[float, int]


@dataclass(frozen=True, slots=True, eq=False)
class Client:
    """One gateway.

    Attributes:
        training: Healthy rows it learns from, shape (n, F).
        poison: As many rows, most of them of its faults; attackers learn from them.
        healthy: Other healthy captures, shape (captures, channels, F).
        faulty: Captures of each fault, shape (captures, channels, F).
    """

    training: Rows
    poison: Rows
    healthy: Rows
    faulty: Mapping[str, Rows]


def as_the_product_does(machines: Sequence[Machine]) -> list[Client]:
    """Rows are distances from each machine's own baseline: machines become alike, whatever they are."""
    clients = []
    for machine in machines:
        expected = expected_variance(Variation().prior(*machine.layout), *machine.layout)
        baseline = Baseline.learn(machine.trained, expected)
        clients.append(_client(machine, functools.partial(_distances, baseline)))
    return clients


def _distances(baseline: Baseline, features: Features) -> Rows:
    return model_rows(baseline.standardise(features))


def without_baselines(machines: Sequence[Machine]) -> list[Client]:
    """Rows keep what is a machine's own; only mean and spread of all are taken out, as federations are studied."""
    rows = np.concatenate([_flat(model_rows(machine.trained)) for machine in machines]).astype(np.float64)
    middle, spread = rows.mean(axis=0), rows.std(axis=0)
    return [
        _client(machine, lambda features: ((model_rows(features) - middle) / spread).astype(np.float32))
        for machine in machines
    ]


def simulated(seed: int) -> list[Machine]:
    """Machines of four kinds, each with its own speed, load and noise."""
    return [_simulated(number, seed) for number in range(COUNT)]


def recorded(folder: Path) -> list[Machine]:
    """One machine for each condition and channel that has a healthy recording and faulty ones; at most `COUNT`."""
    machines = []
    for _, heads in sorted(by_condition(read_folder([folder], lambda _text: None)).items()):
        healthy = [head for head in heads if head.label == "healthy"]
        faulty = [head for head in heads if head.label not in NO_FAULTS]
        if not healthy or not faulty:
            continue
        sound = _cut(healthy[0].path)
        damaged: dict[str, list[Features]] = {}
        for head in faulty:
            damaged.setdefault(head.label, []).append(_cut(head.path))
        for channel in range(sound.shape[1]):
            own = slice(channel, channel + 1)
            faults = {label: np.concatenate(parts)[:, own] for label, parts in damaged.items()}
            machines.append(Machine(sound[::2, own], sound[1::2, own], faults, (healthy[0].rate_hz, RECORDED_WINDOW)))
    return machines[:COUNT]


def recorded_rigs(folder: Path) -> list[Machine]:
    """Points of all rigs that were recorded, lives included: every second of them, so that none is left out."""
    points = [
        Machine(
            machine.learnt[:, channel : channel + 1],
            machine.tested[:, channel : channel + 1],
            {label: features[:, channel : channel + 1] for label, features in machine.faulty.items()},
            machine.layout,
        )
        for machine in read_machines(folder)
        for channel in range(machine.learnt.shape[1])
    ]
    return points[::2][:COUNT]


def _simulated(number: int, seed: int) -> Machine:
    draw = np.random.default_rng([seed, number])
    kind = KINDS[number % len(KINDS)]
    rpm = float(kind["rpm"]) * float(draw.uniform(0.7, 1.15))
    plate = {
        "machine": f"m-{number:02d}", "kind": kind["kind"], "rpm": rpm, "power_kw": kind["power_kw"],
        "foundation": "rigid", "bearing": {"name": BEARINGS[number % len(BEARINGS)]},
    }  # fmt: skip
    if "gear_teeth" in kind:
        plate["gear_teeth"] = kind["gear_teeth"]
    walk = {"kind": "random_walk", "every_s": 60.0}
    machine = {
        "nameplate": plate, "shaft": kind["shaft"],
        "speed": {**walk, "mean": rpm, "step": 0.05 * rpm, "low": 0.75 * rpm, "high": 1.1 * rpm},
        "load": {**walk, "mean": float(draw.uniform(0.5, 0.9)), "step": 0.1, "low": 0.3, "high": 1.0},
        "operating_scatter": float(draw.uniform(0.04, 0.12)),
        "noise": {"flow_ug": float(draw.uniform(200, 700)), "rolling_ug": float(draw.uniform(1000, 2500))},
        "points": [{"position": "de", "samples": SAMPLES, "sample_rate_hz": RATE_HZ, "interval_s": 60.0}],
    }  # fmt: skip
    healthy = _captures(machine, range(TRAINED + TESTED), seed)
    faults: dict[str, Features] = {}
    for fault, severity in FAULTS.items():
        life = {"kind": fault, "onset_s": 0.0, "duration_s": 1.0, "end_severity": severity}
        start = TRAINED + TESTED + FAULTY * len(faults)
        faults[fault] = _captures({**machine, "faults": [life]}, range(start, start + FAULTY), seed)
    return Machine(healthy[:TRAINED], healthy[TRAINED:], faults, (RATE_HZ, SAMPLES))


def _captures(machine: dict[str, Any], numbers: Iterable[int], seed: int) -> Features:
    scenario = Scenario.model_validate({"machines": [machine]})
    name = scenario.machines[0].name
    model = MachineModel(scenario, name, seed)
    kernel = FeatureKernel(sample_rate_hz=RATE_HZ, samples=SAMPLES, channels=3)
    scale_g = RANGE_G / FULL_SCALE
    counts = []
    for number in numbers:
        wave = model.vibration("de", SETTLED_S + 60.0 * number, stream((seed,), name, number)).acceleration_g
        counts.append(np.asarray(np.rint(wave / scale_g).clip(-FULL_SCALE, FULL_SCALE), np.int16))
    return detection_features(kernel.run(counts, np.full((len(counts), 3), scale_g))[:, :, MODEL_FEATURES])


def _cut(path: Path) -> Features:
    recording = read_recording(path)
    counts = np.asarray(recording.counts, np.int16)
    length = min(RECORDED_WINDOW, counts.shape[2])
    windows = [
        np.ascontiguousarray(snapshot[:, start : start + length])
        for snapshot in counts
        for start in range(0, snapshot.shape[1] - length + 1, length)
    ]
    kernel = FeatureKernel(sample_rate_hz=recording.sample_rate_hz, samples=length, channels=counts.shape[1])
    scale = np.repeat(np.asarray(recording.scale_g)[None], len(windows), axis=0)
    return detection_features(kernel.run(windows, scale)[:, :, MODEL_FEATURES])


def _client(machine: Machine, rows: Callable[[Features], Rows]) -> Client:
    training = _flat(rows(machine.trained))
    faulty = {label: rows(features) for label, features in machine.faulty.items()}
    draw = np.random.default_rng(len(training))
    damaged = draw.choice(np.concatenate([_flat(each) for each in faulty.values()]), len(training))
    poison = np.where(draw.random((len(training), 1)) < POISONED_SHARE, damaged, training)
    return Client(training, poison, rows(machine.tested), faulty)


def _flat(rows: Rows) -> Rows:
    return rows.reshape(-1, rows.shape[-1])
