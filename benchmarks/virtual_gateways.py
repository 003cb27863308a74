"""This file knows how many rounds a minute a thousand gateways on one machine take, beside Flower's simulation on Ray.

Both sides run the same apps and the same strategy; each side is a process tree of its own, started afresh. The figures
are taken with members that have next to no work, so that engines are compared and not onnxruntime with itself; the
notes say what comes of it with a gateway's own app, one training step and one evaluation.

As a program it is one side: `python -m benchmarks.virtual_gateways ours|ray small|real --members 1000 --rounds 3`.
"""

import os
import sys

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")  # before numpy, as in the agent itself

import argparse  # noqa: E402
import functools  # noqa: E402
import importlib.util  # noqa: E402
import json  # noqa: E402
import subprocess  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from statistics import median  # noqa: E402

from aggregator.carriers.local_fleet import local_fleet  # noqa: E402
from aggregator.carriers.ray_simulation import simulated_fleet  # noqa: E402
from aggregator.merge.rule_names import Rule  # noqa: E402
from benchmarks.figures import Figure  # noqa: E402
from benchmarks.fleet_app import APPS, PARAMETERS, rounds_s  # noqa: E402
from benchmarks.process_tree import watched  # noqa: E402

MEMBERS, ROUNDS = 1000, 2
RULE: Rule = "mean"  # merging is the same on both sides, and measured elsewhere
RATE_TARGET, MEMORY_TARGET = 5.0, 0.5
NO_RAY = "RAY IS NOT INSTALLED, nothing was compared: pip install 'undertone[simulation]'"


def virtual_gateways_rate_ratio() -> Figure:
    """Time of a round over Ray, over ours."""
    name, ours = "virtual_gateways_rate_ratio", median(_side("ours", "small").taken_s)
    if not _has_ray():
        return Figure(name, None, "", RATE_TARGET, "above", ours, None, (), f"s a round; {NO_RAY}")
    ray_s = _side("ray", "small").taken_s
    real_ours, real_ray = (median(_side(side, "real").taken_s) for side in ("ours", "ray"))
    note = (
        f"s a round of {MEMBERS} members, {ROUNDS} rounds a side, messages of {PARAMETERS} parameters and no work; "
        f"with a gateway's own app {real_ours:.3g} against {real_ray:.3g}, {real_ray / real_ours:.2g} times"
    )
    repeats = tuple(one / ours for one in ray_s)
    return Figure(name, median(repeats), "", RATE_TARGET, "above", ours, median(ray_s), repeats, note)


def virtual_gateways_memory_ratio() -> Figure:
    """Most memory that our side held, over that of Ray's; with a gateway's own app."""
    name, ours = "virtual_gateways_memory_ratio", _side("ours", "real").peak_mb
    if not _has_ray():
        return Figure(name, None, "", MEMORY_TARGET, "below", ours, None, (), f"MB; {NO_RAY}")
    ray = _side("ray", "real").peak_mb
    small_ours, small_ray = (_side(side, "small").peak_mb for side in ("ours", "ray"))
    note = (
        f"MB, proportional set size of all processes of a side, its most in a run of {MEMBERS} gateways' own apps; "
        f"with the members of the other figure {small_ours:.0f} against {small_ray:.0f}"
    )
    return Figure(name, ours / ray, "", MEMORY_TARGET, "below", ours, ray, (ours / ray,), note)


FIGURES = (virtual_gateways_rate_ratio, virtual_gateways_memory_ratio)


def _has_ray() -> bool:
    return importlib.util.find_spec("ray") is not None


@dataclass(frozen=True, slots=True)
class Side:
    """What one side took.

    Attributes:
        taken_s: Seconds of each round.
        peak_mb: The most that all its processes held.
    """

    taken_s: tuple[float, ...]
    peak_mb: float


@functools.cache
def _side(side: str, app: str, members: int = MEMBERS, rounds: int = ROUNDS) -> Side:
    command = [sys.executable, "-m", "benchmarks.virtual_gateways", side, app]
    command += ["--members", str(members), "--rounds", str(rounds)]
    with watched() as processes:
        done = subprocess.run(command, env=processes.environment, stdout=subprocess.PIPE, check=True)
    return Side(tuple(json.loads(done.stdout.splitlines()[-1])), processes.peak_mb)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one side and print the seconds of its rounds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=("ours", "ray"))
    parser.add_argument("app", choices=sorted(APPS))
    parser.add_argument("--members", type=int, default=MEMBERS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    names = [f"gw-{number}" for number in range(options.members)]
    make_app = APPS[options.app]
    if options.side == "ours":
        with local_fleet(names, make_app) as beside:
            taken_s = rounds_s(beside, options.app, options.rounds, RULE)
    else:
        with simulated_fleet(names, make_app) as fleet:
            taken_s = rounds_s(fleet, options.app, options.rounds, RULE)
    print(json.dumps(taken_s))
    return 0


if __name__ == "__main__":
    sys.exit(main())
