"""This file knows what stands for a capture of which only a part has come."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waiting:
    """A piece of a capture that is not whole yet; whoever sent it may not forget it before `over`."""

    over: Callable[[], bool]
    """Whether the capture has become whole or was given up since."""
