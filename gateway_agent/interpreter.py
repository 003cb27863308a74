"""This file knows how the threads of a gateway share Python's interpreter, of which only one runs at a time."""

import sys

# Who learns, or takes a release, computes for tenths of a second; the thread that judges captures leaves the
# interpreter for a moment in every transform and had to wait 5 ms, Python's default, to get it back each time.
SWITCH_S = 0.0005


def share_interpreter() -> None:
    """Let a thread that waits have the interpreter soon."""
    sys.setswitchinterval(SWITCH_S)
