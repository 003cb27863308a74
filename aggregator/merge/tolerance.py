"""This file knows how many members may be wrong: the one number `wrong` that every rule is set for."""

import math

TOLERATED_SHARE = 0.2


def tolerated(count: int) -> int:
    """How many of `count` members may be wrong: a fifth, at least one, always fewer than half."""
    return min(max(1, math.ceil(TOLERATED_SHARE * count)), (count - 1) // 2)


def check_tolerance(count: int, wrong: int) -> None:
    """Refuse what no rule can do.

    Raises:
        ValueError: `wrong` is not between 0 and fewer than half of `count`.
    """
    if not 0 <= 2 * wrong < count:
        raise ValueError(f"{wrong} wrong of {count} updates cannot be withstood; fewer than half allowed")
