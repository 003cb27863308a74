"""This file knows how whole lives of many gateways become the knowledge of one release, without a capture moving.

Two rounds. In the first every life says what it teaches; in the second it is given the sums of all the *others* and
says where its own truth lay in what they foretold. What travels are the sums of `schemas.lives`, nothing else.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.lives import LifeSums, LivesRejected, total


class Life(Protocol):
    """A whole life, at the gateway that saw it."""

    def learn(self) -> dict[str, NDArray[np.float64]]:
        """Say what it teaches, as arrays of `LifeSums`."""
        ...

    def examine(self, others: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
        """Say where its truth lay in what the others foretold; arrays of `LifeSums` with `truth_levels` only."""
        ...


def learn_lives(lives: Mapping[str, Life]) -> LifeSums:
    """Learn from lives.

    Args:
        lives: By a name that a person knows them by, such as the file.

    Returns:
        Sums of them all; with a single life nothing is examined, for there are no others.

    Raises:
        LivesRejected: A life says what cannot be; the message begins with its name.
    """
    taught = {name: checked(name, life.learn(), lives=1.0) for name, life in lives.items()}
    everything = total(taught.values())
    if len(taught) < 2:
        return everything
    examined = []
    for name, life in lives.items():
        counts = checked(name, life.examine(everything.without(taught[name]).arrays()), lives=0.0)
        examined.append(counts)
    return everything + total(examined)


def checked(name: str, arrays: Mapping[str, NDArray[np.float64]], *, lives: float) -> LifeSums:
    """Read what one life says; none weighs more than one life, whoever tells it.

    Raises:
        LivesRejected: It cannot be; the message begins with the life's name.
    """
    try:
        sums = LifeSums.from_arrays(arrays, tested=1.0)
    except LivesRejected as error:
        raise LivesRejected(f"{name}: {error}") from error
    if sums.lives != lives:
        raise LivesRejected(f"{name}: {sums.lives:g} lives found, {lives:g} expected")
    return sums
