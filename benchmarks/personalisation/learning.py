"""This file knows how clients learn, alone or together: the gateway's training and the site's merge, round by round."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aggregator.foundry.artefacts import BUILT
from aggregator.merge.pipeline import merge
from aggregator.merge.rule_names import Rule
from aggregator.merge.validate import Base, Update
from aggregator.release_making import first_release
from benchmarks.personalisation.clients import Client, Rows
from benchmarks.robust_rules.federation import area
from gateway_agent.model_slot import TrainStep, load_model
from gateway_agent.training import NOTHING_OWN, OwnParameters, Step, check_settings, first_feed, train
from schemas.parameter_levels import MergeLevel
from schemas.signing import Signer

FAMILY = "dense_autoencoder_48"
MIN_ROWS = 10  # as `aggregator fit`

Parameters = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Course:
    """How long and how far clients learn.

    Attributes:
        rounds: How many.
        steps: Of each client a round.
        learning_rate: Of each step.
        proximal: Pull to what the round started from, where the rule has one.
        merging: How updates become one.
        settings: Further settings of the rule.
    """

    rounds: int
    steps: int
    learning_rate: float
    proximal: float = 0.0
    merging: Rule = "mean"
    settings: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """What came of it: merged parameters (P,), and what each client kept for itself."""

    theta: Parameters
    own: Sequence[OwnParameters]


def open_step(rule: str, levels: Mapping[str, MergeLevel] | None = None) -> TrainStep:
    """The product's training graph of a rule."""
    release = first_release(BUILT / FAMILY, Signer.generate(), created_at_us=0, rule=rule, levels=levels)
    return load_model(release).train_step()


def first_parameters(seed: int) -> Parameters:
    """Those that everybody starts from."""
    return first_release(BUILT / FAMILY, Signer.generate(), created_at_us=0, seed=seed).parameters()


def learn(rows: Sequence[Rows], step: Step, theta: Parameters, course: Course, seed: int) -> Learnt:
    """Learn for so many rounds; one client alone is a federation of one."""
    own = [NOTHING_OWN] * len(rows)
    for number in range(course.rounds):
        updates = []
        for at, mine in enumerate(rows):
            result = train(
                theta, mine, step, steps=course.steps, learning_rate=course.learning_rate, proximal=course.proximal,
                seed=1_000_000 * seed + 1000 * number + at, settings=course.settings, own=own[at], min_rows=MIN_ROWS,
            )  # fmt: skip
            own[at] = result.own
            updates.append(Update(f"client-{at:02d}", 1, result.delta, result.weight))
        outcome = merge(updates, Base(1, theta.size), course.merging)
        if outcome.delta is not None:
            theta = theta + outcome.delta
    return Learnt(theta, own)


def adapted(theta: Parameters, rows: Rows, step: Step, learning_rate: float) -> Parameters:
    """Parameters after one gradient step on a few rows, by a rule that steps down the plain gradient."""
    feed = first_feed(step, theta, NOTHING_OWN, check_settings(step.graph, {"learning_rate": learning_rate}))
    batch = step.graph.batch
    x, weight = np.zeros((batch, rows.shape[1]), np.float32), np.zeros(batch, np.float32)
    x[: len(rows)], weight[: len(rows)] = rows[:batch], 1.0
    feed[step.graph.input("samples").name], feed[step.graph.input("weights").name] = x, weight
    output = next(
        output for output, into in step.graph.next_values.items() if into == step.graph.input("parameters").name
    )
    return step(feed)[output]


@dataclass(frozen=True, slots=True)
class Judgement:
    """How parameters do on one client: AUROC, mean over its faults, and mean score of healthy captures."""

    auroc: float
    loss: float


def judge(client: Client, step: Step, theta: Parameters) -> Judgement:
    """Hold parameters against the captures that nobody learnt from."""
    healthy = _scores(step, theta, client.tested)
    areas = [area(healthy, _scores(step, theta, rows)) for rows in client.faulty.values()]
    return Judgement(float(np.mean(areas)), float(healthy.mean()))


def _scores(step: Step, theta: Parameters, captures: Rows) -> NDArray[np.float64]:
    """Score of each capture, mean over its channels."""
    flat = np.ascontiguousarray(captures.reshape(-1, captures.shape[-1]))
    scores: NDArray[np.float64] = step.score(theta, flat).astype(np.float64)
    return np.asarray(scores.reshape(captures.shape[:2]).mean(axis=1))
