"""A service that is asked to end ends, whatever its main thread is doing when the signal comes."""

import subprocess
import sys
import threading

import pytest

from schemas.supervision import Asked

INTERRUPTED = """
import faulthandler, signal, time
from schemas.supervision import Asked
asked = Asked()
signal.signal(signal.SIGALRM, lambda *_: asked.set())
faulthandler.dump_traceback_later(30, exit=True)
signal.setitimer(signal.ITIMER_REAL, 2e-5, 2e-5)
until_s = time.monotonic() + 1.0
while time.monotonic() < until_s:
    asked.wait(1e-4)
    asked.clear()
signal.setitimer(signal.ITIMER_REAL, 0)
print("ended")
"""


def test_a_signal_in_the_middle_of_any_wait_is_no_dead_end() -> None:
    """Thousands of signals a second, each of which sets what the thread it interrupts is waiting for."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr[-3000:]


def test_what_was_set_is_seen_by_everybody_who_waits_and_by_who_comes_later() -> None:
    asked, seen = Asked(), []
    waiting = [threading.Thread(target=lambda: seen.append(asked.wait(30.0))) for _ in range(3)]
    for thread in waiting:
        thread.start()
    asked.set()
    for thread in waiting:
        thread.join(30.0)
    assert seen == [True, True, True]
    assert asked.wait(0.0)


def test_what_was_cleared_is_waited_for_anew() -> None:
    asked = Asked()
    for _ in range(3):
        asked.set()
    asked.clear()
    assert (asked.is_set(), asked.wait(0.0)) == (False, False)


@pytest.mark.parametrize("times", [1, 5])
def test_being_asked_again_changes_nothing(times: int) -> None:
    asked = Asked()
    for _ in range(times):
        asked.set()
    assert all(asked.wait(0.0) for _ in range(9))
