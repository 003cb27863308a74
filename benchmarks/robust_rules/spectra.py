"""This file knows spectra drawn for machines as unlike as can be: no two of one speed, none with a baseline of its own.

Federations are studied on such clients, because honest updates then differ most and wrong ones hide best. A spectrum
is a floor with a slope, six harmonics of a speed that wanders, a hump that follows the load, and noise; logarithmic.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.robust_rules.clients import COUNT, POISONED_SHARE, Client, Rows

LINES_HZ = np.geomspace(5.0, 5000.0, 48)
TRAINED, TESTED = 240, 120
FAULT_SIZE = 0.8
IMPACT_ORDER = 3.57  # of a bearing's outer race

Spectra = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class DrawnMachine:
    """What stays the same of one machine."""

    shaft_hz: float
    harmonics: Spectra
    floor: Spectra
    noise: float
    load: float


def drawn(seed: int) -> list[Client]:
    """Clients whose rows have mean and spread of all taken out, and nothing of their own."""
    draw = np.random.default_rng(seed)
    machines = [_machine(draw) for _ in range(COUNT)]
    trained = [_spectra(machine, TRAINED, draw) for machine in machines]
    middle, spread = np.concatenate(trained).mean(axis=0), np.concatenate(trained).std(axis=0)

    def rows(spectra: Spectra) -> Rows:
        return np.asarray((spectra - middle) / spread, np.float32)

    clients = []
    for machine, healthy in zip(machines, trained, strict=True):
        training = rows(healthy)
        damaged = rows(_spectra(machine, TRAINED, draw, FAULT_SIZE))
        poison = np.where(draw.random((TRAINED, 1)) < POISONED_SHARE, damaged, training)
        faulty = {"outer": rows(_spectra(machine, TESTED, draw, FAULT_SIZE))[:, None]}
        clients.append(Client(training, poison, rows(_spectra(machine, TESTED, draw))[:, None], faulty))
    return clients


def _machine(draw: np.random.Generator) -> DrawnMachine:
    hump = np.exp(-0.5 * ((np.log(LINES_HZ) - draw.uniform(5, 8)) / 0.4) ** 2)
    slope = draw.normal(0, 0.4) * np.linspace(-1, 1, LINES_HZ.size)
    return DrawnMachine(
        shaft_hz=25.0 * float(np.exp(draw.uniform(-0.9, 0.7))),
        harmonics=np.maximum(1 + draw.normal(0, 0.35, 6), 0.1) * (2.2 - 0.3 * np.arange(6)),
        floor=-1 - 0.25 * np.log(LINES_HZ / 50) + draw.normal(0, 0.5) + slope + 0.5 * draw.normal() * hump,
        noise=0.25 * float(np.exp(draw.normal(0, 0.2))),
        load=float(draw.uniform(0.5, 1)),
    )


def _spectra(machine: DrawnMachine, count: int, draw: np.random.Generator, fault: float = 0.0) -> Spectra:
    shaft_hz = machine.shaft_hz * (1 + 0.04 * draw.normal(size=(count, 1)))
    load = machine.load * (1 + 0.25 * draw.normal(size=(count, 1)))
    spectra = machine.floor + 0.5 * load * _peak(900.0, 0.5)
    for order, height in enumerate(machine.harmonics, 1):
        spectra = spectra + height * (0.6 + 0.5 * load) * _peak(order * shaft_hz)
    for order in range(1, 5):
        spectra = spectra + 0.9 * fault * _peak(IMPACT_ORDER * order * shaft_hz)
    spectra = spectra + 0.8 * fault * _peak(2600.0, 0.25)
    return spectra + machine.noise * draw.normal(size=spectra.shape)


def _peak(at_hz: Spectra | float, width: float = 0.06) -> Spectra:
    peak: Spectra = np.exp(-0.5 * ((np.log(LINES_HZ) - np.log(at_hz)) / width) ** 2)
    return peak
