"""This file knows how the C library's memory is to behave in a gateway: few arenas, buffers that are reused.

Captures and workspaces are 16 to 500 kB, just where glibc would map and unmap memory for each of them; keeping them
on the heap saves the page faults. Two arenas instead of eight per core keep the resident size flat. What is made at
start stays for good, and Python's collector of cycles need not look at it over and over.
"""

import ctypes
import gc

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
KEEP_BYTES = 8 << 20
ARENAS = 2
# Objects made until the collector looks for cycles, and rounds until it looks at older ones. A batch of captures makes
# some thousand objects and no cycles: at Python's 700 the looking took 6 % of the path.
COLLECT_EVERY = (20_000, 20, 50)


def tune_collector() -> None:
    """Look for cycles more rarely, and never again at what exists by now."""
    gc.set_threshold(*COLLECT_EVERY)
    gc.collect()
    gc.freeze()


def give_back() -> bool:
    """Give the system the free pages between those in use: a flood's buffers lie among what points have learnt."""
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (OSError, AttributeError):
        return False


def tune_allocator() -> bool:
    """Set the thresholds; False where the C library has no `mallopt` (nothing is lost but speed)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    done = [
        mallopt(option, value)
        for option, value in (
            (_M_ARENA_MAX, ARENAS), (_M_MMAP_THRESHOLD, KEEP_BYTES), (_M_TRIM_THRESHOLD, 2 * KEEP_BYTES),
        )
    ]  # fmt: skip
    return all(done)
