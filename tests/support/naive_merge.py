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


def level_to_median(deltas: Sequence[Vector]) -> list[list[float]]:
    norms = [distance(delta, [0.0] * len(delta)) for delta in deltas]
    most = median([[norm] for norm in norms])[0]
    return [[value * most / norm for value in delta] for delta, norm in zip(deltas, norms, strict=True)]


def nearest_neighbour_mixing(deltas: Sequence[Vector], wrong: int) -> list[list[float]]:
    mixed = []
    for delta in deltas:
        nearest = sorted(deltas, key=lambda other: distance(delta, other))[: len(deltas) - wrong]
        mixed.append([sum(other[i] for other in nearest) / len(nearest) for i in range(len(delta))])
    return mixed


def nearest(deltas: Sequence[Vector], one: Vector, wrong: int) -> list[Vector]:
    return sorted(deltas, key=lambda other: distance(one, other))[: len(deltas) - wrong]


def krum_order(deltas: Sequence[Vector], wrong: int) -> list[Vector]:
    """Best first: those whose nearest, themselves among them, are nearest."""
    return sorted(deltas, key=lambda one: sum(distance(one, other) ** 2 for other in nearest(deltas, one, wrong)))


def krum(deltas: Sequence[Vector], wrong: int) -> Vector:
    return krum_order(deltas, wrong)[0]


def multi_krum(deltas: Sequence[Vector], wrong: int) -> list[float]:
    best = krum_order(deltas, wrong)[: len(deltas) - wrong]
    return weighted_mean([(delta, 1.0) for delta in best])


def geometric_median(deltas: Sequence[Vector]) -> list[float]:
    """Steps along each axis, halved when none helps: no derivative, no formula."""
    middle, step = weighted_mean([(delta, 1.0) for delta in deltas]), 1.0

    def far(point: Vector) -> float:
        return sum(distance(point, delta) for delta in deltas)

    while step > 1e-10:
        tries = [
            [value + sign * step * (place == axis) for place, value in enumerate(middle)]
            for axis in range(len(middle))
            for sign in (1, -1)
        ]
        best = min(tries, key=far)
        if far(best) < far(middle):
            middle = best
        else:
            step /= 2
    return middle


def centred_clipping(deltas: Sequence[Vector], start: Vector, radius: float, steps: int) -> list[float]:
    centre = list(start)
    for _ in range(steps):
        moves = []
        for delta in deltas:
            away = [p - c for p, c in zip(delta, centre, strict=True)]
            length = distance(delta, centre)
            moves.append([value * min(1.0, radius / length) if length > 0 else 0.0 for value in away])
        centre = [c + sum(move[i] for move in moves) / len(moves) for i, c in enumerate(centre)]
    return centre


def fltrust(deltas: Sequence[Vector], root: Vector) -> list[float]:
    none = [0.0] * len(root)
    pairs = []
    for delta in deltas:
        cosine = sum(p * q for p, q in zip(delta, root, strict=True)) / (distance(delta, none) * distance(root, none))
        same_length = [value * distance(root, none) / distance(delta, none) for value in delta]
        pairs.append((same_length, max(cosine, 0.0)))
    return weighted_mean(pairs)
