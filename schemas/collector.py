"""This file knows how Python looks for cycles in a service that makes thousands of objects at once and no cycles."""

import gc

# Objects made until the collector looks for cycles, and rounds until it looks at older ones. A batch of captures or of
# records makes thousands of objects and no cycles: at Python's 700 the looking took 6 % of a gateway's path and half of
# the time a site reads records in.
COLLECT_EVERY = (20_000, 20, 50)


def tune_collector() -> None:
    """Look for cycles more rarely, and never again at what exists by now."""
    gc.set_threshold(*COLLECT_EVERY)
    gc.collect()
    gc.freeze()
