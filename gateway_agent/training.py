"""This file knows how a gateway learns from its own healthy rows: pure calculation, no I/O, the seed comes in.

It knows no learning rule. What a training graph wants fed, and what of its outputs goes on into the step after, is
said by the release (`schemas.training_graph`), so that a rule written tomorrow runs on a gateway installed today.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gateway_agent.errors import GatewayError
from schemas.parameter_levels import ParameterLevels
from schemas.training_graph import LOSS, StepInput, TrainingGraph

MIN_ROWS = 64
HELD_BACK_SHARE = 0.2
MAX_WEIGHT = 4096.0  # rows beyond that add no voice: a gateway caps itself, whoever counts its rows
SCORED_AT_ONCE = 1024  # rows; a convolution's intermediate values take some 100 times as much memory as its rows
ALWAYS_ASKED = frozenset({"learning_rate", "proximal"})  # every task says these; a rule without them needs none

Rows = NDArray[np.float32]
Noise = Callable[[int], Rows]
"""So many standard normal numbers, known to nobody but this gateway."""


class TrainingRefused(GatewayError):
    """This gateway cannot learn from what it has; the message says why."""


class Step(Protocol):
    """What `gateway_agent.model_slot.TrainStep` does.

    Attributes:
        graph: What goes in and comes out.
        levels: Which parameters are merged where.
        teacher: Parameters to learn from, shape (P,).
    """

    graph: TrainingGraph
    levels: ParameterLevels
    teacher: Rows

    def __call__(self, feed: Mapping[str, Rows]) -> dict[str, Rows]:
        """Run the graph once: inputs by name to outputs by name, which hold until the call after the next."""

    def score(self, theta: Rows, rows: Rows) -> Rows:
        """Scores, shape (n,), that parameters (P,) give rows (n, F)."""


@dataclass(frozen=True, slots=True, eq=False)
class OwnParameters:
    """What a gateway keeps for itself; None where it has nothing yet, or the release wants nothing.

    Attributes:
        personal: A whole personal model beside the shared one, shape (P,).
        machine: Parameters of which those of level "machine" count, shape (P,).
    """

    personal: Rows | None = None
    machine: Rows | None = None


NOTHING_OWN = OwnParameters()


@dataclass(frozen=True, slots=True, eq=False)
class TrainingResult:
    """What came of one round on one gateway.

    Attributes:
        delta: New parameters minus old, shape (P,); 0 where they are merged nowhere.
        loss_before: Mean loss of the old parameters on the rows held back.
        loss_after: The same with the new ones.
        rows: Rows learnt from.
        held_back_rows: Rows held back.
        weight: `rows`, capped.
        own: What stays here.
    """

    delta: Rows
    loss_before: float
    loss_after: float
    rows: int
    held_back_rows: int
    weight: float
    own: OwnParameters = NOTHING_OWN


def split_by_time(rows: Rows, *, min_rows: int = MIN_ROWS) -> tuple[Rows, Rows]:
    """Hold back the last fifth, in one block: neighbours in time are alike and must not be on both sides.

    Args:
        rows: Standardised healthy features, shape (n, F), oldest first.
        min_rows: Fewer are too few to learn from.

    Raises:
        TrainingRefused: Fewer than `min_rows`, or a row is not finite.
    """
    if len(rows) < min_rows:
        raise TrainingRefused(f"{len(rows)} healthy rows found, at least {min_rows} needed to learn")
    if not np.isfinite(rows).all():
        raise TrainingRefused("healthy rows hold NaN or infinity")
    cut = len(rows) - math.ceil(HELD_BACK_SHARE * len(rows))
    return rows[:cut], rows[cut:]


def check_settings(graph: TrainingGraph, asked: Mapping[str, float]) -> dict[str, float]:
    """Say what each setting of a graph will be: what a task asks, or the release's default.

    Raises:
        TrainingRefused: A setting is outside the release's limits, or the graph has none of its name.
    """
    unknown = sorted(asked.keys() - graph.settings.keys() - ALWAYS_ASKED)
    if unknown:
        raise TrainingRefused(f"settings {unknown} asked; this release's training has {sorted(graph.settings)}")
    chosen = {name: float(asked.get(name, each.default)) for name, each in graph.settings.items()}
    for name, each in graph.settings.items():
        if not each.lowest <= chosen[name] <= each.highest:  # so NaN is refused as well
            allowed = f"{each.lowest:g} to {each.highest:g} allowed by the release"
            raise TrainingRefused(f"{name} {chosen[name]} asked, {allowed}")
    return chosen


def train(
    theta: Rows,
    rows: Rows,
    step: Step,
    *,
    steps: int,
    learning_rate: float,
    proximal: float,
    seed: int,
    settings: Mapping[str, float] | None = None,
    own: OwnParameters = NOTHING_OWN,
    noise: Noise | None = None,
    min_rows: int = MIN_ROWS,
) -> TrainingResult:
    """Do `steps` training steps from `theta` and tell what they changed.

    Args:
        theta: Parameters to start from and to be pulled back to, shape (P,).
        rows: Standardised healthy features, shape (n, F), oldest first.
        step: The training graph.
        steps: How many batches to learn from; epochs are shuffled anew.
        learning_rate: Step size.
        proximal: Weight of the pull back to `theta` (FedProx), where the graph has one.
        seed: For the shuffling.
        settings: Further settings of the graph; the release's defaults for those that are missing.
        own: This gateway's own parameters.
        noise: Where a graph that hides its rows gets its noise from.
        min_rows: Fewer rows are too few to learn from.

    Raises:
        TrainingRefused: Too few rows, rows that are not finite, settings beyond their limits, no noise where some is
            needed, or a training that diverged.
    """
    graph = step.graph
    learnt, held_back = split_by_time(np.ascontiguousarray(rows, np.float32), min_rows=min_rows)
    chosen = check_settings(graph, {"learning_rate": learning_rate, "proximal": proximal, **(settings or {})})
    start = starting_parameters(step, theta, own)
    feed = first_feed(step, start, own, chosen)
    shuffled, batches, reports, noisy = _Shuffled(learnt, seed), graph.batches, graph.reports, graph.named("noise")
    for _ in range(steps):
        for x, weight, count in batches:
            feed[x], feed[weight] = _filled(shuffled.take(count), count)
        for name in noisy:
            feed[name] = _drawn(noise, start.size)
        results = step(feed)
        told = {name: float(results[name]) for name in reports}
        if not all(map(math.isfinite, told.values())):
            raise TrainingRefused(f"training diverged: {', '.join(f'{name} is {n}' for name, n in told.items())}")
        feed |= {into: results[output] for output, into in graph.next_values.items()}
    feed |= {into: feed[into].copy() for into in graph.next_values.values()}
    learnt_theta = feed[graph.input("parameters").name]
    loss_before = _loss(start, learnt, held_back, step, first_feed(step, start, own, chosen))
    loss_after = _loss(learnt_theta, learnt, held_back, step, feed)
    kept = _own_after(step, learnt_theta, feed)
    finite = all(np.isfinite(feed[name]).all() for name in graph.next_values.values())
    if not (finite and math.isfinite(loss_after)):
        raise TrainingRefused("training diverged: parameters are not finite")
    return TrainingResult(
        delta=np.where(step.levels.machine, np.float32(0), learnt_theta - start),
        loss_before=loss_before,
        loss_after=loss_after,
        rows=len(learnt),
        held_back_rows=len(held_back),
        weight=min(float(len(learnt)), MAX_WEIGHT),
        own=kept,
    )


def held_back_loss(
    theta: Rows,
    rows: Rows,
    step: Step,
    *,
    settings: Mapping[str, float],
    own: OwnParameters = NOTHING_OWN,
    min_rows: int = MIN_ROWS,
) -> tuple[float, int]:
    """Mean loss of shared parameters, with this gateway's own parts, on the rows it holds back; and how many those are.

    A rule that learns to adapt (one with a second batch) is judged as it is used: after adapting to a batch of the
    rows before.

    Raises:
        TrainingRefused: As in `train`.
    """
    learnt, held_back = split_by_time(np.ascontiguousarray(rows, np.float32), min_rows=min_rows)
    start = starting_parameters(step, theta, own)
    feed = first_feed(step, start, own, check_settings(step.graph, settings))
    return _loss(start, learnt, held_back, step, feed), len(held_back)


def mean_score(theta: Rows, rows: Rows, step: Step) -> float:
    """Mean score that parameters (P,) give rows (n, F)."""
    pieces = range(0, len(rows), SCORED_AT_ONCE)
    total = sum(float(step.score(theta, rows[at : at + SCORED_AT_ONCE]).sum(dtype=np.float64)) for at in pieces)
    return total / len(rows)


def starting_parameters(step: Step, theta: Rows, own: OwnParameters) -> Rows:
    """Shared parameters with this gateway's own parts put in, shape (P,)."""
    theta = np.ascontiguousarray(theta, np.float32)
    return theta if own.machine is None else np.where(step.levels.machine, own.machine, theta)


def first_feed(step: Step, start: Rows, own: OwnParameters, settings: Mapping[str, float]) -> dict[str, Rows]:
    """Everything a graph takes but batches and noise, as it is before the first step.

    Args:
        step: The training graph.
        start: Parameters to start from, shape (P,).
        own: This gateway's own parameters.
        settings: As `check_settings` gives them.
    """
    personal = start if own.personal is None else own.personal

    def value(each: StepInput) -> Rows:
        match each.role:
            case "parameters" | "anchor":
                return start
            case "personal":
                return personal
            case "teacher":
                return step.teacher
            case "mask":
                return step.levels.mask(each.levels or ()).astype(np.float32)
            case _ if each.setting is not None:
                return np.asarray(settings[each.setting.name], np.float32)
            case _:
                return np.zeros(each.shape, np.float32)

    return {each.name: value(each) for each in step.graph.inputs}


def try_once(step: Step, theta: Rows) -> None:
    """Do one step on invented rows, as a release must stand before it is taken into use.

    Raises:
        TrainingRefused: What it gives cannot be fed to the step after, or is not finite.
    """
    feed = first_feed(step, theta, NOTHING_OWN, check_settings(step.graph, {}))
    for each in step.graph.inputs:
        if each.role in {"samples", "weights", "second_samples", "second_weights"}:
            feed[each.name] = np.ones(each.shape, np.float32)
    results = step(feed)
    for output, value in results.items():
        into = step.graph.next_values.get(output)
        shape = () if into is None else feed[into].shape
        if value.shape != shape or value.dtype != np.float32 or not np.isfinite(value).all():
            raise TrainingRefused(
                f"one step gives {output} as {value.dtype} {value.shape}, finite float32 {shape} needed"
            )


class _Shuffled:
    """Rows in a new order each epoch; the last batch of an epoch is what is left of it."""

    def __init__(self, rows: Rows, seed: int) -> None:
        self._rows = rows
        self._draw = np.random.default_rng(seed)
        self._order = np.zeros(0, np.int64)

    def take(self, count: int) -> Rows:
        """The next rows, at most `count`, at least one."""
        if not self._order.size:
            self._order = self._draw.permutation(len(self._rows))
        taken, self._order = self._order[:count], self._order[count:]
        return self._rows[taken]


def _loss(theta: Rows, learnt: Rows, held_back: Rows, step: Step, feed: Mapping[str, Rows]) -> float:
    """Mean loss on the rows held back, after adapting to the last batch of those before where the rule adapts."""
    first, *second = step.graph.batches
    if not second:
        return mean_score(theta, held_back, step)
    (x, weight, count), (x_query, weight_query, query_count) = first, second[0]
    support_x, support_weight = _filled(learnt[-count:], count)
    given = {**feed, step.graph.input("parameters").name: theta, x: support_x, weight: support_weight}
    total = 0.0
    for at in range(0, len(held_back), query_count):
        rows = held_back[at : at + query_count]
        given[x_query], given[weight_query] = _filled(rows, query_count)
        total += float(step(given)[LOSS]) * len(rows)
    return total / len(held_back)


def _own_after(step: Step, theta: Rows, feed: Mapping[str, Rows]) -> OwnParameters:
    personal = step.graph.named("personal")
    return OwnParameters(
        personal=feed[personal[0]] if personal else None, machine=theta if step.levels.machine.any() else None
    )


def _drawn(noise: Noise | None, count: int) -> Rows:
    if noise is None:
        raise TrainingRefused("this release hides rows behind noise, and nothing here draws any")
    return noise(count)


def _filled(rows: Rows, batch: int) -> tuple[Rows, Rows]:
    x = np.zeros((batch, rows.shape[1]), np.float32)
    x[: len(rows)] = rows
    weight = np.zeros(batch, np.float32)
    weight[: len(rows)] = 1.0
    return x, weight
