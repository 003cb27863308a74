"""This file knows the release of 18,720 parameters: 48 - 96 - 48 - 96 - 48, as large as a gateway's features allow it.

What ships has 3,704. Made with JAX by a process of its own, `python -m benchmarks.large_release FOLDER`, in a folder
that the environment then names to the processes of a benchmark: they read it as a gateway reads what its site sends.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway_agent.builtin import builtin_release
from schemas.release import Release, read_release_folder
from schemas.signing import KeyRing, Signer

FOLDER = "BENCH_RELEASE"  # not of our settings, whose names begin with UNDERTONE_
FEATURES, HIDDEN = 48, (96, 48, 96)


@contextmanager
def large_release() -> Iterator[Release]:
    """Let this process, and those it starts, find the large release, for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="undertone-bench-") as folder:
        subprocess.run([sys.executable, "-m", "benchmarks.large_release", folder], check=True)
        os.environ[FOLDER] = str(Path(folder) / "release")
        try:
            yield release_to_measure()
        finally:
            del os.environ[FOLDER]


def release_to_measure() -> Release:
    """The release in the folder that the environment names; the one that ships with the product if it names none."""
    folder = os.environ.get(FOLDER)
    release = builtin_release() if folder is None else read_release_folder(Path(folder), KeyRing([]))
    assert release is not None, "the product ships with a release"
    return release


def make(folder: Path) -> None:
    """Build the graphs and the release, with first parameters."""
    from aggregator.foundry.build import build_family
    from aggregator.foundry.families import DenseAutoencoder
    from aggregator.foundry.rules import RULES
    from aggregator.release_making import LEARNING_RULE, first_release

    graphs, family = folder / "graphs", DenseAutoencoder(FEATURES, HIDDEN)
    build_family(family, [RULES[LEARNING_RULE]], graphs)
    release = first_release(graphs, Signer.generate(), created_at_us=1, parameters=family.initial_theta(0))
    release.save(folder / "release")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
