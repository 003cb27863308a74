"""This file knows what choosing participants gains: loss after equal bytes, chosen, at random, and all.

Sixty gateways, three beside each of twenty simulated machines of four kinds. Two in five are of no use: their rows are
those of a machine whose channels are mixed up and drowned in noise. Nobody is told which. A round asks twelve, or all;
every way may send the same bytes. Training and merging are the product's, with its default rule.
"""

import functools
from collections.abc import Callable, Mapping
from statistics import median

import numpy as np
from numpy.typing import NDArray

from aggregator.foundry.artefacts import BUILT
from aggregator.learning.selection import Choice, Standing, after_round, choose, contributions, everybody
from aggregator.merge.pipeline import merge
from aggregator.merge.validate import Base, Update
from aggregator.release_making import first_release
from benchmarks.figures import Figure
from benchmarks.healthy_plant import KINDS
from benchmarks.robust_rules.clients import Client, as_the_product_does, simulated
from benchmarks.robust_rules.federation import scores
from gateway_agent.model_slot import ModelSlot
from gateway_agent.training import train
from schemas.signing import Signer

GATEWAYS_A_MACHINE, PLACES, ROUNDS = 3, 12, 40
USELESS_SHARE = 0.4
STEPS, LEARNING_RATE = 16, 3e-3
SEEDS = (0, 1, 2)
TARGET = 1.0  # choosing must not cost; how much it gains is what is measured

Parameters = NDArray[np.float32]
Rows = NDArray[np.float32]


class Fleet:
    """Gateways of uneven use; `rows` is what each learns from."""

    def __init__(self, clients: list[Client], seed: int) -> None:
        self._clients = clients
        self._seed = seed
        draw = np.random.default_rng(seed)
        self.rows: dict[str, Rows] = {}
        self.types: dict[str, str] = {}
        self.of_use: set[str] = set()
        for number, client in enumerate(clients):
            for part in range(GATEWAYS_A_MACHINE):
                name = f"gw-{GATEWAYS_A_MACHINE * number + part:02d}"
                own = client.training[part::GATEWAYS_A_MACHINE]
                if draw.random() < USELESS_SHARE:
                    self.rows[name] = _spoilt(own, draw)
                else:
                    self.rows[name] = own
                    self.of_use.add(name)
                self.types[name] = str(KINDS[number % len(KINDS)]["kind"])
        slot = ModelSlot()
        release = first_release(BUILT / "dense_autoencoder_48", Signer.generate(), created_at_us=0, seed=seed)
        slot.load(release)
        self._step = slot.train_step()
        self.first = release.parameters()

    def learn(self, ways: str) -> tuple[float, float]:
        """What equal bytes come to, asking the `chosen`, some at `random`, or `all`.

        Returns:
            Loss on captures nobody trained on, and the share of those asked whose rows are of use.
        """
        standings = {name: Standing(kind) for name, kind in self.types.items()}
        theta, asked = self.first, 0
        for number in range(ROUNDS * PLACES // len(self.rows) if ways == "all" else ROUNDS):
            choice = self._choose(ways, standings, number)
            asked += len(self.of_use.intersection(choice.members))
            updates = [
                Update(name, 1, self._learnt(name, theta, number), float(len(self.rows[name])))
                for name in choice.members
            ]
            outcome = merge(updates, Base(1, theta.size))
            assert outcome.delta is not None
            theta = theta + outcome.delta
            accepted = [(each.member, each.delta) for each in updates if each.member in outcome.accepted]
            standings = after_round(standings, choice.members, contributions(accepted, outcome.delta))
        return self.loss(theta), asked / (ROUNDS * PLACES)

    def loss(self, theta: Parameters) -> float:
        """Mean reconstruction error of every machine's healthy captures."""
        return float(np.mean([scores(theta, client.healthy).mean() for client in self._clients]))

    def _choose(self, ways: str, standings: Mapping[str, Standing], number: int) -> Choice:
        if ways == "all":
            return everybody(sorted(standings))
        if ways == "chosen":
            return choose(standings, PLACES, seed=1000 * self._seed + number)
        draw = np.random.default_rng([self._seed, number])
        return everybody([str(name) for name in draw.choice(sorted(standings), PLACES, replace=False)])

    def _learnt(self, name: str, theta: Parameters, number: int) -> Parameters:
        seed = 100_000 * self._seed + 100 * number + int(name[3:])
        return train(
            theta, self.rows[name], self._step, steps=STEPS, learning_rate=LEARNING_RATE, proximal=0.01, seed=seed,
            min_rows=10,
        ).delta  # fmt: skip


def _spoilt(rows: Rows, draw: np.random.Generator) -> Rows:
    mixed = draw.permuted(rows, axis=1)
    return (mixed + 2.0 * draw.standard_normal(rows.shape)).astype(np.float32)


@functools.cache
def _measured() -> tuple[dict[str, tuple[float, ...]], str]:
    """Losses of each way and seed, and everything found in words."""
    fleets = [Fleet(as_the_product_does(simulated(seed)), seed) for seed in SEEDS]
    losses: dict[str, tuple[float, ...]] = {}
    words = [f"at first {' '.join(f'{fleet.loss(fleet.first):.4f}' for fleet in fleets)}"]
    for ways in ("chosen", "random", "all"):
        found = [fleet.learn(ways) for fleet in fleets]
        losses[ways] = tuple(loss for loss, _ in found)
        shares = " ".join(f"{share:.2f}" for _, share in found)
        words.append(f"{ways} {' '.join(f'{loss:.4f}' for loss in losses[ways])} (share asked that is of use {shares})")
    return losses, "; ".join(words)


def _against(other: str, name: str) -> Figure:
    losses, words = _measured()
    ratios = tuple(ours / theirs for ours, theirs in zip(losses["chosen"], losses[other], strict=True))
    note = (
        f"loss on captures nobody trained on after {ROUNDS * PLACES} updates, seeds {SEEDS}: {words}; "
        f"60 gateways, {USELESS_SHARE:.0%} of no use, {PLACES} asked a round"
    )
    return Figure(
        name, median(ratios), "", TARGET, "below", median(losses["chosen"]), median(losses[other]), ratios, note
    )  # fmt: skip


def selection_loss_ratio_to_random() -> Figure:
    """Loss after equal bytes, chosen over random."""
    return _against("random", "selection_loss_ratio_to_random")


def selection_loss_ratio_to_all() -> Figure:
    """Loss after equal bytes, chosen over all."""
    return _against("all", "selection_loss_ratio_to_all")


FIGURES: tuple[Callable[[], Figure], ...] = (selection_loss_ratio_to_random, selection_loss_ratio_to_all)
