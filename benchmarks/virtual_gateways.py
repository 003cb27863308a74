"""This file knows how many rounds a minute a thousand gateways on one machine take, beside Flower's simulation on Ray.

Both sides run the same apps and the same strategy; each side is a process tree of its own, started afresh. The figures
are taken with members that have next to no work, so that engines are compared and not onnxruntime with itself; the
notes say what comes of it with a gateway's own app, one training step and one evaluation.

As a program it is one side: `python -m benchmarks.virtual_gateways ours|ray small|real --members 1000 --rounds 3`.
"""

import argparse
import functools
import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from aggregator.carriers.local_fleet import local_fleet
from aggregator.carriers.ray_simulation import simulated_fleet
from aggregator.merge.rule_names import Rule
from benchmarks.figures import Figure
from benchmarks.fleet_app import APPS, PARAMETERS, rounds_s
from benchmarks.process_tree import watched

MEMBERS, ROUNDS, REPEATS = 1000, 2, 2
RULE: Rule = "mean"  # merging is the same on both sides, and measured elsewhere
RATE_TARGET, MEMORY_TARGET = 5.0, 0.5
NO_RAY = "RAY IS NOT INSTALLED, nothing was compared: make bench ONLY=... VENV=.venv-nightly LOCK=nightly"


def virtual_gateways_rate_ratio() -> Figure:
    """Time of a round over Ray, over ours."""
    name, ours = "virtual_gateways_rate_ratio", _round_s("ours", "small")
    if not _has_ray():
        return Figure(name, None, "", RATE_TARGET, "above", ours, None, (), f"s a round; {NO_RAY}")
    ray = _round_s("ray", "small")
    real_ours, real_ray = (_round_s(side, "real") for side in ("ours", "ray"))
    note = (
        f"s a round of {MEMBERS} members, {REPEATS} runs of {ROUNDS} rounds a side, messages of {PARAMETERS} "
        f"parameters and no work; with a gateway's own app {real_ours:.3g} against {real_ray:.3g}, "
        f"{real_ray / real_ours:.2g} times"
    )
    pairs = zip(_sides("ours", "small"), _sides("ray", "small"), strict=True)
    repeats = tuple(median(theirs.taken_s) / median(mine.taken_s) for mine, theirs in pairs)
    return Figure(name, median(repeats), "", RATE_TARGET, "above", ours, ray, repeats, note)


def virtual_gateways_memory_ratio() -> Figure:
    """Most memory that our side held, over that of Ray's; with a gateway's own app."""
    name, ours = "virtual_gateways_memory_ratio", _peak_mb("ours", "real")
    if not _has_ray():
        return Figure(name, None, "", MEMORY_TARGET, "below", ours, None, (), f"MB; {NO_RAY}")
    ray = _peak_mb("ray", "real")
    note = (
        f"MB, proportional set size of all processes of a side, its most in a run of {MEMBERS} gateways' own apps; "
        f"with the members of the other figure {_peak_mb('ours', 'small'):.0f} against {_peak_mb('ray', 'small'):.0f}"
    )
    pairs = zip(_sides("ours", "real"), _sides("ray", "real"), strict=True)
    repeats = tuple(mine.peak_mb / theirs.peak_mb for mine, theirs in pairs)
    return Figure(name, median(repeats), "", MEMORY_TARGET, "below", ours, ray, repeats, note)


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


def _round_s(side: str, app: str) -> float:
    return median(taken_s for run in _sides(side, app) for taken_s in run.taken_s)


def _peak_mb(side: str, app: str) -> float:
    return median(run.peak_mb for run in _sides(side, app))


@functools.cache
def _sides(side: str, app: str) -> tuple[Side, ...]:
    return tuple(_run(side, app) for _ in range(REPEATS))


def _run(side: str, app: str) -> Side:
    command = [sys.executable, "-m", "benchmarks.virtual_gateways", side, app]
    command += ["--members", str(MEMBERS), "--rounds", str(ROUNDS)]
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
