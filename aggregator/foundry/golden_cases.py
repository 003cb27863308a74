"""This file knows which golden cases are made for a graph, and computes their outputs with JAX in double precision.

Needs the extra `foundry`. Inputs are numbers of half precision, which halves the file and costs nothing, as they are
invented; an input has the same numbers in every rule that has one of its name, so that they are kept once. Steps are
long (rates from 0.3 to 3 where the rule bears it), so that an update is not lost in the rounding of the parameters it
changes; among the weights are full, partial, uneven and empty batches.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from aggregator.foundry.families import Family
from aggregator.foundry.golden import GoldenGraph, kept, kept_count
from aggregator.foundry.rules import Kind, LearningRule, Setting

CASES = 10
SAMPLE_ROWS = 3  # batches, taken in turn
SCORED_SAMPLES = 4
QUICKLY_COMPILED = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # for ten runs


def golden_step(rule: LearningRule, family: Family, batch: int, seed: int) -> GoldenGraph:
    """Make the cases of a learning rule's graph."""
    inputs = {name: _rows(name, kind, family, batch, seed).astype(np.float16) for name, kind in rule.inputs.items()}
    return _with_outputs(inputs, rule.make(family), rule.outputs)


def golden_score(family: Family, seed: int) -> GoldenGraph:
    """Make the cases of the inference graph."""
    draw = np.random.default_rng(seed)
    samples = draw.standard_normal((CASES, SCORED_SAMPLES, family.features))
    thetas = _rows("theta", Kind.MODEL, family, SCORED_SAMPLES, seed)
    inputs = {"x": samples.astype(np.float16), "theta": thetas.astype(np.float16)}
    return _with_outputs(inputs, lambda x, theta: family.score(theta, x), ("score", "reconstruction"))


def double_precision(function: Callable[..., tuple[Any, ...]]) -> Callable[..., list[NDArray[np.float64]]]:
    """Compute a step with JAX in float64: the reference every graph is measured against."""
    compiled = jax.jit(function, compiler_options=QUICKLY_COMPILED)

    def compute(*arguments: NDArray[Any]) -> list[NDArray[np.float64]]:
        with jax.enable_x64(True):
            results = compiled(*(np.asarray(each, np.float64) for each in arguments))
            return [np.asarray(result, np.float64) for result in results]

    return compute


def _with_outputs(
    inputs: Mapping[str, NDArray[np.floating]], function: Callable[..., tuple[Any, ...]], outputs: tuple[str, ...]
) -> GoldenGraph:
    reference = double_precision(function)
    golden = GoldenGraph(CASES, dict(inputs), {})
    results = [reference(*golden.feed(case).values()) for case in range(CASES)]
    for place, name in enumerate(outputs):
        count = kept_count(results[0][place].size, CASES)
        rows = [kept(result[place], case, CASES, count) for case, result in enumerate(results)]
        golden.outputs[name] = np.asarray(rows, np.float32)
    return golden


def _rows(name: str, kind: Kind | Setting, family: Family, batch: int, seed: int) -> NDArray[Any]:
    if isinstance(kind, Setting):
        return np.asarray(kind.tried)
    own = zlib.crc32(name.encode())
    draw = np.random.default_rng([seed, own])
    vector = draw.standard_normal(family.parameters.count)
    match kind:
        case Kind.MODEL | Kind.ANCHOR | Kind.PERSONAL | Kind.TEACHER:
            return np.asarray([family.initial_theta(own % 1000) + 0.05 * vector])
        case Kind.MASK:
            return np.asarray([vector > 0, vector > -1])
        case Kind.NOISE:
            return np.asarray([vector])
        case Kind.MOMENT:
            return np.asarray([0 * vector, 0.01 * vector])
        case Kind.SQUARE:
            return np.asarray([0 * vector, 1e-3 * vector**2])
        case Kind.COUNT:
            return np.asarray([0, 40])
        case Kind.SAMPLES | Kind.QUERY_SAMPLES:
            return draw.standard_normal((SAMPLE_ROWS, batch, family.features))
        case Kind.WEIGHTS | Kind.QUERY_WEIGHTS:
            return _weights(batch, draw)


def _weights(batch: int, draw: np.random.Generator) -> NDArray[np.float64]:
    full, empty = np.ones(batch), np.zeros(batch)
    partial = [np.arange(batch) < batch * share for share in (0.03, 0.3, 0.6, 0.9)]
    uneven = [draw.uniform(0, 1, batch) for _ in range(CASES - 3 - len(partial))]
    return np.stack([full, full, *partial, *uneven, empty])
