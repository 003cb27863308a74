"""This file knows how fast a gateway's training step is, beside the same step by hand in numpy and in PyTorch.

Each side lives in a process of its own, as it would on a gateway, so that none disturbs another's memory; they are
started together, given the same samples and first parameters, and timed in turns, one thread each.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from statistics import median
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure
from gateway_agent.memory import tune_allocator

BATCH = 32
DENSE_WIDTHS = (128, 64, 16, 64, 128)
CONV_WIDTHS, CONV_SAMPLES, CONV_LABELS = (16, 32, 64, 128, 256), 2048, 10
LEARNING_RATE, PULL = 1e-3, 0.1
TURNS = 7
WARM_UP_STEPS = 20  # a turn; frequencies and caches settle
STEPS = {"dense": 1000, "conv": 60}  # a turn, about a second
TARGETS = {"dense numpy": 0.9, "conv numpy": 1.0, "dense torch": 3.0, "conv torch": 1.0}
MOST_DIFFERENCE = 1e-3  # of the update after one step, relative; single precision in another order leaves 1e-5
PATIENCE_S = 300.0

Array = NDArray[np.float32]
NetworkName = Literal["dense", "conv"]
Side = Literal["graph", "plain", "numpy", "torch"]
HOW_TO_MEASURE = {
    "graph": "the extra foundry (jax, onnx) is not installed: pip install -e '.[foundry]'",
    "torch": "PyTorch is not installed: pip install -e '.[bench]' (a download of 3 GB), then make bench again",
}


@dataclass(frozen=True, slots=True)
class Task:
    """What every side gets: first parameters (P,), samples (N, F), a weight for each (N,), and the training graph."""

    network: NetworkName
    theta: Array
    x: Array
    weight: Array
    graph: bytes


def training_step_dense_ratio_to_numpy() -> Figure:
    """Speed of the dense autoencoder's step over numpy's."""
    return _figure("dense", "numpy")


def training_step_conv_ratio_to_numpy() -> Figure:
    """Speed of the separable convolutional classifier's step over numpy's."""
    return _figure("conv", "numpy")


def training_step_dense_ratio_to_torch() -> Figure:
    """Speed of the dense autoencoder's step over PyTorch's."""
    return _figure("dense", "torch")


def training_step_conv_ratio_to_torch() -> Figure:
    """Speed of the separable convolutional classifier's step over PyTorch's."""
    return _figure("conv", "torch")


FIGURES = (
    training_step_dense_ratio_to_numpy,
    training_step_conv_ratio_to_numpy,
    training_step_dense_ratio_to_torch,
    training_step_conv_ratio_to_torch,
)


def _figure(network: NetworkName, other: Side) -> Figure:
    name, target = f"training_step_{network}_ratio_to_{other}", TARGETS[f"{network} {other}"]
    for needed, package in (("graph", "jax"), ("torch", "torch")):
        if needed in {"graph", other} and importlib.util.find_spec(package) is None:
            note = f"NOT MEASURED: {HOW_TO_MEASURE[needed]}"
            return Figure(name, None, "", target, "above", None, None, (), note)
    task = _task(network)
    sides: tuple[Side, ...] = ("graph", "plain", other)
    updates, times_ms = _in_turns(task, sides)
    repeats = tuple(theirs / ours for ours, theirs in zip(times_ms["graph"], times_ms[other], strict=True))
    ours_ms, plain_ms, other_ms = (median(times_ms[side]) for side in sides)
    difference = float(np.linalg.norm(updates["graph"] - updates[other]) / np.linalg.norm(updates[other]))
    note = (
        f"{task.theta.size} parameters, batch {BATCH}, {task.x.shape[1]} values a row, one thread; median of "
        f"{STEPS[network]} steps in ms: ours {ours_ms:.3f} (by plain run() {plain_ms:.3f}), {other} {other_ms:.3f}; "
        f"updates differ by {difference:.1e}"
    )
    value = median(repeats) if difference <= MOST_DIFFERENCE else None
    return Figure(name, value, "", target, "above", ours_ms, other_ms, repeats, note)


def _task(network: NetworkName) -> Task:
    from aggregator.foundry.build import export_rule
    from aggregator.foundry.families import DenseAutoencoder, Family
    from aggregator.foundry.families_conv import ConvClassifier
    from aggregator.foundry.rules import RULES

    draw = np.random.default_rng(0)
    family: Family
    if network == "dense":
        family = DenseAutoencoder(DENSE_WIDTHS[0], DENSE_WIDTHS[1:-1])
        x = draw.standard_normal((BATCH, family.features))
    else:
        family = ConvClassifier(CONV_SAMPLES + CONV_LABELS, CONV_LABELS, CONV_WIDTHS)
        label = np.eye(CONV_LABELS)[draw.integers(0, CONV_LABELS, BATCH)]
        x = np.concatenate([draw.standard_normal((BATCH, CONV_SAMPLES)), label], axis=1)
    graph = export_rule(RULES["adam_prox_step"], family, BATCH).SerializeToString()
    return Task(network, family.initial_theta(0), x.astype(np.float32), np.ones(BATCH, np.float32), graph)


def _in_turns(task: Task, sides: Iterable[Side]) -> tuple[dict[str, Array], dict[str, list[float]]]:
    """Time all sides in turns.

    Returns:
        By side: what the first step changed of the parameters, and the median milliseconds of a step in each turn.
    """
    context = multiprocessing.get_context("spawn")
    ends, processes = {}, []
    try:
        for side in sides:
            ends[side], far_end = context.Pipe()
            processes.append(context.Process(target=_serve, args=(side, task, far_end), daemon=True))
            processes[-1].start()
            far_end.close()
        updates: dict[str, Array] = {side: _received(end) for side, end in ends.items()}
        times_ms: dict[str, list[float]] = {side: [] for side in ends}
        for _ in range(TURNS):
            for side, end in ends.items():
                end.send(STEPS[task.network])
                times_ms[side].append(_received(end))
    finally:
        for end in ends.values():
            end.close()  # ends the other side
        for process in processes:
            process.join(PATIENCE_S)
    return updates, times_ms


def _received(end: Connection) -> Any:
    if not end.poll(PATIENCE_S):
        raise TimeoutError(f"a side of the training benchmark gave nothing for {PATIENCE_S:g} s")
    return end.recv()


def _serve(side: Side, task: Task, end: Connection) -> None:
    """Be one side: tell the first update, then for each number received the median time of so many steps."""
    tune_allocator()
    step, theta = {"graph": _graph_side, "plain": _plain_side, "numpy": _numpy_side, "torch": _torch_side}[side](task)
    step()
    end.send(theta() - task.theta)
    try:
        while True:
            steps = end.recv()
            for _ in range(WARM_UP_STEPS):
                step()
            times_s = []
            for _ in range(steps):
                began_s = time.process_time()
                step()
                times_s.append(time.process_time() - began_s)
            end.send(1e3 * median(times_s))
    except EOFError:
        return


def _graph_side(task: Task) -> tuple[Callable[[], object], Callable[[], Array]]:
    """The graph as a gateway runs it."""
    from gateway_agent.model_slot import BoundGraph

    graph = BoundGraph(task.graph, "train_step.onnx")
    fixed, carried = _feed(task)
    feed = fixed | carried

    def step() -> float:
        results = graph.run(feed)
        feed.update(zip(carried, (results[name] for name in graph.outputs), strict=False))
        return float(results[graph.outputs[-1]])

    return step, lambda: feed["theta"]


def _plain_side(task: Task) -> tuple[Callable[[], object], Callable[[], Array]]:
    """The graph by `run`, which makes new arrays for its results in every step."""
    from aggregator.foundry.verification import open_session

    session = open_session(task.graph)
    fixed, carried = _feed(task)
    outputs = [output.name for output in session.get_outputs()]

    def step() -> float:
        *values, loss = session.run(outputs, fixed | carried)
        carried.update(zip(carried, values, strict=True))
        return float(loss)

    return step, lambda: carried["theta"]


def _feed(task: Task) -> tuple[dict[str, Array], dict[str, Array]]:
    """What stays the same from step to step, and what is carried on, in the order of the results."""
    zeros = np.zeros_like(task.theta)
    settings = {"lr": np.asarray(LEARNING_RATE, np.float32), "mu": np.asarray(PULL, np.float32)}
    fixed = {"anchor": task.theta, "x": task.x, "weight": task.weight, **settings}
    return fixed, {"theta": task.theta, "m": zeros, "v": zeros.copy(), "t": np.zeros((), np.float32)}


def _numpy_side(task: Task) -> tuple[Callable[[], object], Callable[[], Array]]:
    from benchmarks.training_step_numpy import AdamProx, Dense, Network, SeparableClassifier

    theta = task.theta.copy()
    network: Network
    if task.network == "dense":
        network = Dense(theta, DENSE_WIDTHS, BATCH)
    else:
        network = SeparableClassifier(theta, CONV_WIDTHS, CONV_SAMPLES, CONV_LABELS, BATCH)
    learner = AdamProx(network, theta)
    return lambda: learner.step(task.x, task.weight, learning_rate=LEARNING_RATE, pull=PULL), lambda: learner.theta


def _torch_side(task: Task) -> tuple[Callable[[], object], Callable[[], Array]]:
    import torch  # type: ignore[import-not-found, unused-ignore]  # extra bench, not in every environment

    from benchmarks.training_step_torch import AdamProx, Autoencoder, Classifier

    network = Autoencoder(DENSE_WIDTHS) if task.network == "dense" else Classifier(CONV_WIDTHS, CONV_LABELS)
    learner = AdamProx(network, task.theta, learning_rate=LEARNING_RATE, pull=PULL)
    x, weight = torch.from_numpy(task.x), torch.from_numpy(task.weight)
    return lambda: learner.step(x, weight), lambda: learner.theta
