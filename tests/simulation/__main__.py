"""This file knows the command `python -m tests.simulation`: many seeds, and how to see a failing one again."""

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.simulation.planted import PLANTED
from tests.simulation.world import Outcome, Plan, again, simulate, workshop


def main() -> int:
    """Run seeds; 1 when one of them breaks a promise."""
    parser = argparse.ArgumentParser(description="Simulate hours of a whole plant, one a seed.")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--gateways", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    parser.add_argument("--plant", choices=PLANTED, help="a defect that must be found")
    options = parser.parse_args()
    plan = PLANTED[options.plant] if options.plant else Plan(gateways=options.gateways)
    seeds = range(options.start, options.start + options.seeds)
    began_s = time.monotonic()
    broken, totals = 0, Counter[str]()
    with workshop() as folder, ProcessPoolExecutor(options.jobs) as pool:
        run = partial(simulate, workshop=folder, plan=plan)
        outcomes = pool.map(run, seeds) if options.jobs > 1 else map(run, seeds)
        for number, outcome in enumerate(outcomes, 1):
            print(outcome.seed, outcome.digest, "holds" if outcome.holds else "broken")
            totals.update(outcome.counts)
            if not outcome.holds:
                broken += 1
                _tell(outcome)
            if number % 20 == 0 or number == len(seeds):
                elapsed_s = time.monotonic() - began_s
                print(f"{number} of {len(seeds)} seeds in {elapsed_s:.0f} s, {broken} broken", file=sys.stderr)
    print(", ".join(f"{event} {count}" for event, count in sorted(totals.items())), file=sys.stderr)
    return 1 if broken else 0


def _tell(outcome: Outcome) -> None:
    print(*outcome.newest, *outcome.broken, sep="\n", file=sys.stderr)
    print(again(outcome.seed), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
