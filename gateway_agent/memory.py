"""This file knows how the C library's memory is to behave in a gateway: few arenas, buffers that are reused.

Captures and workspaces are 16 to 500 kB, just where glibc would map and unmap memory for each of them; keeping them
on the heap saves the page faults. Two arenas instead of eight per core keep the resident size flat.
"""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
KEEP_BYTES = 8 << 20
ARENAS = 2


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
