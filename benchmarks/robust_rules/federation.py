"""This file knows a federation under attack: the product's training graph and its whole merge, round after round."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from aggregator.foundry.artefacts import BUILT
from aggregator.foundry.families import DenseAutoencoder
from aggregator.merge.pipeline import merge
from aggregator.merge.rule_names import Rule
from aggregator.merge.validate import SCREEN_FACTOR, Base, Update, norm
from aggregator.release_making import first_release
from benchmarks.robust_rules.attacks import ATTACKS, LEARN_FROM_FAULTS, Secrets
from benchmarks.robust_rules.clients import Client, Rows
from gateway_agent.model_slot import ModelSlot
from gateway_agent.training import train
from schemas.signing import Signer

FAMILY = DenseAutoencoder(48)
STEPS = 16
ROOT_ROWS = 12  # of each machine, for the rule that compares with rows of the server's own
NO_IDEA = 0.5
KNOWS_SCREEN = 0.9  # of what the honest alone would allow: attackers' own lengths move the median a little

Parameters = NDArray[np.float32]
Updates = NDArray[np.float64]


class Federation:
    """Twenty clients, and what becomes of them under a rule and an attack.

    Args:
        clients: Who takes part.
        seed: Of the first parameters, of shuffling, of noise.
        rounds: How many.
        learning_rate: Of each client's steps a round.
        steps: How many those are.

    Attributes:
        first: Parameters before the first round.
    """

    def __init__(
        self, clients: Sequence[Client], *, seed: int, rounds: int, learning_rate: float, steps: int = STEPS
    ) -> None:
        self._clients = clients
        self._seed = seed
        self._rounds = rounds
        self._learning_rate = learning_rate
        self._steps = steps
        slot = ModelSlot()
        base = first_release(BUILT / "dense_autoencoder_48", Signer.generate(), created_at_us=0, seed=seed)
        slot.load(base)
        self._step = slot.train_step()
        self.first = base.parameters()
        self._root = np.concatenate([client.training[:ROOT_ROWS] for client in clients])
        order = np.random.default_rng(seed).permutation(len(clients))
        self._by_chance = [int(number) for number in order]

    def attackers(self, count: int) -> list[int]:
        """Who attacks, drawn by chance; of more attackers the first are the same."""
        return self._by_chance[:count]

    def learn(
        self, rule: Rule, attack: str | None = None, attackers: Sequence[int] = (), *,
        noted: list[list[float]] | None = None,
    ) -> Parameters:  # fmt: skip
        """Let all learn together; the parameters after the last round. Norms are added to `noted`, a row a round."""
        theta = self.first
        for number in range(self._rounds):
            seed = 1000 * self._seed + number
            chance = np.random.default_rng([self._seed, number])
            deltas = self._deltas(theta, attack, attackers, seed, chance)
            if noted is not None:
                noted.append([norm(delta) for delta in deltas])
            root = self._train(theta, self._root, seed) if rule == "fltrust" else None
            updates = [Update(f"gw-{at:02d}", 1, delta, 100.0) for at, delta in enumerate(deltas)]
            outcome = merge(updates, Base(1, theta.size), rule, root=root)
            if outcome.delta is not None:
                theta = theta + outcome.delta
        return theta

    def auroc(self, theta: Parameters, without: Sequence[int]) -> float:
        """How well faulty captures are told from healthy ones by their score, mean over faults and honest clients."""
        if not np.isfinite(theta).all():
            return NO_IDEA
        honest = [client for at, client in enumerate(self._clients) if at not in set(without)]
        return float(np.mean([_auroc_of(theta, client) for client in honest]))

    def _deltas(
        self, theta: Parameters, attack: str | None, attackers: Sequence[int], seed: int, chance: np.random.Generator
    ) -> list[Parameters]:
        poisoned = set(attackers) if attack in LEARN_FROM_FAULTS else set()
        rows = [client.poison if at in poisoned else client.training for at, client in enumerate(self._clients)]
        deltas = [self._train(theta, each, seed + 7919 * at) for at, each in enumerate(rows)]
        if attack is None:
            return deltas
        honest = np.stack([delta for at, delta in enumerate(deltas) if at not in set(attackers)]).astype(np.float64)
        own = np.stack([deltas[at] for at in attackers]).astype(np.float64)
        said = _just_believed(ATTACKS[attack](Secrets(honest, own, chance)), honest).astype(np.float32)
        for at, delta in zip(attackers, said, strict=True):
            deltas[at] = delta
        return deltas

    def _train(self, theta: Parameters, rows: Rows, seed: int) -> Parameters:
        return train(
            theta,
            rows,
            self._step,
            steps=self._steps,
            learning_rate=self._learning_rate,
            proximal=0.0,
            seed=seed,
            min_rows=10,
        ).delta


def _just_believed(said: Updates, honest: Updates) -> Updates:
    """Attackers know the screen: what would be refused for its length is shortened until it just passes."""
    most = KNOWS_SCREEN * SCREEN_FACTOR * float(np.median(np.linalg.norm(honest, axis=1)))
    lengths = np.linalg.norm(said, axis=1, keepdims=True)
    return np.asarray(said * np.minimum(1.0, most / np.maximum(lengths, np.finfo(np.float64).tiny)))


def _auroc_of(theta: Parameters, client: Client) -> float:
    healthy = scores(theta, client.healthy)
    return float(np.mean([area(healthy, scores(theta, rows)) for rows in client.faulty.values()]))


def scores(theta: Parameters, rows: Rows) -> NDArray[np.float64]:
    """Mean squared reconstruction error of each capture (captures, channels, F), shape (captures,)."""
    views: Mapping[str, Rows] = FAMILY.parameters.views(theta)
    hidden = rows
    for layer in (1, 2, 3):
        hidden = np.tanh(hidden @ views[f"layer_{layer}_weight"] + views[f"layer_{layer}_bias"])
    error = hidden @ views["layer_4_weight"] + views["layer_4_bias"] - rows
    return np.asarray((error.astype(np.float64) ** 2).mean(axis=(1, 2)))


def area(healthy: NDArray[np.float64], faulty: NDArray[np.float64]) -> float:
    """Share of pairs in which the faulty one scores higher: the area under the ROC curve."""
    ranks = rankdata(np.concatenate([healthy, faulty]))[len(healthy) :]
    return float((ranks.sum() - len(faulty) * (len(faulty) + 1) / 2) / (len(healthy) * len(faulty)))
