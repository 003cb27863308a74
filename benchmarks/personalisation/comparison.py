"""This file knows the table of all ways of learning: the same clients, captures and steps for each, every seed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.personalisation.clients import Inputs, Machine, clients_of, distance_scores
from benchmarks.personalisation.learning import Course, judge, open_step
from benchmarks.personalisation.methods import METHODS, Method
from benchmarks.robust_rules.federation import area

COURSE = Course(rounds=20, steps=40, learning_rate=2e-3)  # what `aggregator fit` does
ALONE, MERGED = "local only", "product"
DEFAULT = "fleet or own"  # what gateways do when nobody sets anything
MOST_BELOW = 0.01
TITLES: Mapping[Inputs, str] = {
    "own": "Rows less each point's own baseline (FedBN-style local standardisation, as the product)",
    "common": "Rows less mean and spread of all clients together",
}
HEADINGS = (
    "| method | clients | AUROC mean | worst client | loss, healthy | largest fall below local only "
    "| the same, worst seed | clients below by > .01 |"
)


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """One way of learning: AUROC and healthy score of each client, shape (seeds, clients)."""

    auroc: NDArray[np.float64]
    loss: NDArray[np.float64]

    @property
    def by_client(self) -> NDArray[np.float64]:
        """AUROC of each client, mean over the seeds."""
        mean: NDArray[np.float64] = self.auroc.mean(axis=0)
        return mean

    def below(self, other: "Result") -> NDArray[np.float64]:
        """How far each client falls below another way of learning, mean over the seeds; negative where it gains."""
        return other.by_client - self.by_client

    def worst_below(self, other: "Result") -> float:
        """The largest fall of any client with any one seed."""
        return float((other.auroc - self.auroc).max())


def compare(
    machines: Sequence[Machine],
    inputs: Inputs,
    seeds: int,
    methods: Mapping[str, Method] = METHODS,
    tell: Callable[[str], None] = lambda _text: None,
) -> dict[str, Result]:
    """Let every way of learning have its turn."""
    clients, step = clients_of(machines, inputs), open_step("adam_prox_step")
    results = {}
    for name, method in methods.items():
        judged = [
            [judge(client, step, theta) for client, theta in zip(clients, method(clients, seed, COURSE), strict=True)]
            for seed in range(seeds)
        ]
        auroc, loss = (np.array([[getattr(one, what) for one in row] for row in judged]) for what in ("auroc", "loss"))
        results[name] = Result(auroc, loss)
        tell(f"{inputs}, {name}: {auroc.mean():.4f}, worst {auroc.mean(axis=0).min():.3f}")
    return results


def best_safe(results: Mapping[str, Result]) -> str:
    """The best on average of those that let no client fall by more than allowed, but for learning alone."""
    alone = results[ALONE]
    safe = [name for name, result in results.items() if name != ALONE and result.below(alone).max() <= MOST_BELOW]
    return max([ALONE, *safe], key=lambda name: float(results[name].auroc.mean()))


def report(machines: Sequence[Machine], inputs: Inputs, results: Mapping[str, Result]) -> list[str]:
    """Say it as Markdown."""
    alone = results[ALONE]
    lines = [
        f"## {TITLES[inputs]}", "",
        HEADINGS,
        "|---" * 8 + "|",
    ]  # fmt: skip
    for name, result in results.items():
        below = result.below(alone)
        at = int(below.argmax())
        where = f" ({machines[at].name})" if below[at] > MOST_BELOW else ""
        worst = f"{result.by_client.min():.3f} ({machines[int(result.by_client.argmin())].name})"
        lines.append(
            f"| {name} | {len(machines)} | {result.auroc.mean():.4f} | {worst} | {result.loss.mean():.3f} "
            f"| {max(below[at], 0):.3f}{where} | {max(result.worst_below(alone), 0):.3f} "
            f"| {int((below > MOST_BELOW).sum())} |"
        )
    distance = [_by_distance(machine) for machine in machines]
    worst = f"worst client {min(distance):.3f} ({machines[int(np.argmin(distance))].name})"
    lines += ["", f"Without a network, by distance from each point's own baseline: {np.mean(distance):.4f}, {worst}."]
    lines += ["", f"Best of those that fall nowhere by more than {MOST_BELOW}: **{best_safe(results)}**.", ""]
    lines += ["| client | captures learnt, tested, faulty | " + " | ".join(results) + " |"]
    lines += ["|---" * (len(results) + 2) + "|"]
    for at, machine in enumerate(machines):
        counts = f"{len(machine.learnt)}, {len(machine.tested)}, {sum(map(len, machine.faulty.values()))}"
        numbers = " | ".join(f"{result.by_client[at]:.3f}" for result in results.values())
        lines.append(f"| {machine.name} | {counts} | {numbers} |")
    return [*lines, ""]


def _by_distance(machine: Machine) -> float:
    healthy, faulty = distance_scores(machine)
    return float(np.mean([area(healthy, scores) for scores in faulty.values()]))
