"""This file knows how guessing of passwords is made slow: each name waits longer and longer, all together do too."""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable

FREE = 5  # wrong passwords of one name, until it waits
FIRST_WAIT_S, LONGEST_WAIT_S = 30.0, 900.0  # doubled with each further wrong one
FORGOTTEN_AFTER_S = 3600.0  # without a wrong one
MAX_NAMES = 1000  # the one longest without a wrong password is forgotten; at ALL_FREE a minute that takes half an hour
ALL_FREE, ALL_WINDOW_S = 30, 60.0  # wrong passwords of all names together, until nobody may try


class Lockout:
    """Counts wrong passwords; safe to use from many threads."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._lock = threading.Lock()
        self._names: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._all_at_s: deque[float] = deque(maxlen=ALL_FREE)
        self._turned_away = 0

    def wait_s(self, name: str) -> float:
        """How long this name may not try; 0 when it may."""
        now_s = self._now_s()
        with self._lock:
            count, wrong_at_s = self._names.get(name.casefold(), (0, 0.0))
            own_s = wrong_at_s + _wait_after(count) - now_s if count >= FREE else 0.0
            all_s = self._all_at_s[0] + ALL_WINDOW_S - now_s if len(self._all_at_s) == ALL_FREE else 0.0
            wait_s = max(own_s, all_s, 0.0)
            self._turned_away += wait_s > 0.0
            return wait_s

    def wrong(self, name: str) -> int:
        """Count a wrong password; returns how many of this name there have been in a row."""
        now_s, key = self._now_s(), name.casefold()
        with self._lock:
            count, wrong_at_s = self._names.pop(key, (0, 0.0))
            count = 1 if now_s - wrong_at_s > FORGOTTEN_AFTER_S else count + 1
            self._names[key] = (count, now_s)
            while len(self._names) > MAX_NAMES:
                self._names.popitem(last=False)
            self._all_at_s.append(now_s)
            return count

    def right(self, name: str) -> None:
        """Forget the wrong passwords of a name that has shown the right one."""
        with self._lock:
            self._names.pop(name.casefold(), None)

    def take_turned_away(self) -> int:
        """How often somebody was turned away unheard since this was last asked."""
        with self._lock:
            count, self._turned_away = self._turned_away, 0
            return count


def _wait_after(count: int) -> float:
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(count - FREE, 20))
