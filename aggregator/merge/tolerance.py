"""This file knows how many members may be wrong: the number every rule is set for, and what a round needs for it."""

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


def promised(invited: int) -> int:
    """How many wrong members a round of so many may promise to withstand; 0 below 6.

    It takes 2 wrong + 3 accepted updates, and the round must come to those although as many members stay silent as may
    be wrong: 3 wrong + 3 invited.
    """
    return min(tolerated(invited), max(0, (invited - 3) // 3)) if invited else 0


def needed(wrong: int) -> int:
    """Accepted updates without which so many wrong members are too many; 0 where none is promised."""
    return 2 * wrong + 3 if wrong else 0
