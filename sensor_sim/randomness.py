"""This file knows how one seed becomes many independent streams of chance, each with a name.

A capture is a function of (seed, machine, position, number): it does not matter what else was drawn before it,
so a plant of hundreds of sensors gives the same bytes in whatever order its captures are made.
"""

import hashlib

import numpy as np

Seed = tuple[int, ...]


def seed_of(seed: int, *names: str | int) -> Seed:
    """Name a stream; streams of different names are independent."""
    return (seed, *(name if isinstance(name, int) else _number_of(name) for name in names))


def stream(seed: Seed, *names: str | int) -> np.random.Generator:
    """Open the stream of this seed and these names from its beginning."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed_of(*seed, *names))))


def _number_of(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
