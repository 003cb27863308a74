"""This file knows the federation of one test rig's conditions: against central learning, and for a condition unseen.

Clients are the six conditions of the `adi` recordings (three speeds, two loads). An unseen client is a seventh as far
as the network goes: it learns from the other five, and the sixth brings a baseline of its own first second only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.personalisation.clients import Client, Machine, clients_of
from benchmarks.personalisation.comparison import COURSE
from benchmarks.personalisation.learning import judge, open_step
from benchmarks.personalisation.methods import Method, central, product, untrained

DATASET = "adi"
WINDOW_S = 0.1  # one turn of the slowest shaft


@dataclass(frozen=True, slots=True)
class Conditions:
    """AUROC with one seed, mean over the clients; `unseen` of each client when the others learnt without it."""

    federated: float
    central: float
    untrained: float
    unseen: tuple[float, ...]
    unseen_central: tuple[float, ...]

    @property
    def lost(self) -> float:
        """What learning apart costs."""
        return self.central - self.federated


def learn_conditions(machines: Sequence[Machine], seed: int) -> Conditions:
    """Learn once with all clients, and once without each."""
    clients = clients_of(machines, "own")
    return Conditions(
        _auroc(clients, product, seed),
        _auroc(clients, central, seed),
        _auroc(clients, untrained, seed),
        _unseen(clients, product, seed),
        _unseen(clients, central, seed),
    )


def _auroc(clients: Sequence[Client], method: Method, seed: int) -> float:
    step = open_step("adam_prox_step")
    models = method(clients, seed, COURSE)
    return float(np.mean([judge(client, step, theta).auroc for client, theta in zip(clients, models, strict=True)]))


def _unseen(clients: Sequence[Client], method: Method, seed: int) -> tuple[float, ...]:
    step = open_step("adam_prox_step")
    return tuple(
        judge(client, step, method([other for other in clients if other is not client], seed, COURSE)[0]).auroc
        for client in clients
    )
