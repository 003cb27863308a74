"""Merge rules written with loops, one number at a time: slow, obvious, and sharing no code with what they check."""

import math
from collections.abc import Sequence

Vector = Sequence[float]


def distance(a: Vector, b: Vector) -> float:
    return math.sqrt(sum((p - q) ** 2 for p, q in zip(a, b, strict=True)))


def weighted_mean(updates: Sequence[tuple[Vector, float]]) -> list[float]:
    total = sum(weight for _, weight in updates)
    size = len(updates[0][0])
    return [sum(weight * delta[i] for delta, weight in updates) / total for i in range(size)]


def median(deltas: Sequence[Vector]) -> list[float]:
    result = []
    for i in range(len(deltas[0])):
        ordered = sorted(delta[i] for delta in deltas)
        middle = len(ordered) // 2
        result.append(ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2)
    return result


def trimmed_mean(deltas: Sequence[Vector], wrong: int) -> list[float]:
    result = []
    for i in range(len(deltas[0])):
        kept = sorted(delta[i] for delta in deltas)[wrong : len(deltas) - wrong]
        result.append(sum(kept) / len(kept))
    return result


def clip_to_median(deltas: Sequence[Vector]) -> list[list[float]]:
    norms = [distance(delta, [0.0] * len(delta)) for delta in deltas]
    most = median([[norm] for norm in norms])[0]
    return [
        [value * min(1.0, most / norm) if norm > 0 else value for value in delta]
        for delta, norm in zip(deltas, norms, strict=True)
    ]


def nearest_neighbour_mixing(deltas: Sequence[Vector], wrong: int) -> list[list[float]]:
    mixed = []
    for delta in deltas:
        nearest = sorted(deltas, key=lambda other: distance(delta, other))[: len(deltas) - wrong]
        mixed.append([sum(other[i] for other in nearest) / len(nearest) for i in range(len(delta))])
    return mixed
